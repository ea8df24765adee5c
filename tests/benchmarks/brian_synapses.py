"""The peer: the same network as a Brian2 user writes it, with `Synapses` objects and the cython target."""

import time

import brian2
import numpy as np
from brian2 import ms


class SynapseNetwork:
    """A LIF network of `Synapses`: analog inputs through a summed variable, spikes through on_pre, a bias per step.

    As usual in Brian2 a spike reaches the next layer one step later; otherwise the recursion is the same. `outputs`
    returns the read-out sums [samples, outputs]; `seconds` is the time of the run alone, code generation apart.
    """

    def __init__(self, network, *, window=16, tau=10, threshold=0.6, target="cython"):
        self.network, self.window, self.tau, self.threshold, self.target = network, window, tau, threshold, target

    def outputs(self, inputs, *, one_run=True):
        brian2.prefs.codegen.target = self.target
        brian2.defaultclock.dt = 1 * ms
        objects, readout = self._objects(inputs)
        monitor = brian2.StateMonitor(readout, "v", record=True, dt=self.window * ms, when="start", order=-1)
        brian = brian2.Network(*objects, monitor)
        brian.run(0 * ms, namespace={})  # generates and compiles the code
        start = time.perf_counter()
        if one_run:
            brian.run(len(inputs) * self.window * ms, namespace={})
        else:
            for _ in inputs:
                brian.run(self.window * ms, namespace={})
        self.seconds = time.perf_counter() - start
        brian.run(1 * ms, namespace={})  # the monitor samples a window's end at the start of the next
        return np.array(monitor.v).T[1:]

    def _objects(self, inputs):
        pixels = brian2.TimedArray(np.vstack([inputs, inputs[-1:]]), dt=self.window * ms)
        below = brian2.NeuronGroup(inputs.shape[1], "x : 1", namespace={"pixels": pixels})
        below.run_regularly("x = pixels(t, i)", dt=self.window * ms, when="start")
        objects = [below]
        for index, layer in enumerate(self.network.layers):
            first, last = index == 0, index == len(self.network.layers) - 1
            group = self._group(layer, first, last)
            model, on_pre = ("w : 1\ndrive_post = w * x_pre : 1 (summed)", None) if first else ("w : 1", "v_post += w")
            synapses = brian2.Synapses(below, group, model, on_pre=on_pre)
            synapses.connect()
            synapses.w = (layer.weight if last else layer.weight * self.threshold).ravel()
            objects += [group, synapses]
            below = group
        return objects, below

    def _group(self, layer, first, last):
        dynamics = "v : 1" if last else "dv/dt = -v / tau : 1"
        group = brian2.NeuronGroup(
            layer.outputs,
            f"{dynamics}\nbias : 1 (constant)\ndrive : 1",
            threshold=None if last else "v > theta",
            reset=None if last else "v = 0",
            method="exact",
            namespace={"tau": self.tau * ms, "theta": self.threshold},
        )
        group.bias = layer.bias if last else layer.bias * self.threshold
        group.run_regularly("v = 0", dt=self.window * ms, when="start")
        group.run_regularly("v += bias + drive" if first else "v += bias", when="before_thresholds")
        return group
