"""The peer: the same network as a Brian2 user writes it, with `Synapses` objects and the cython target."""

import brian2
import numpy as np
from brian2 import ms


def outputs(weights, biases, inputs, *, window, target="cython", threshold=0.6, tau=10, one_run=True):
    """Read-out sums [samples, outputs] of a LIF network: analog inputs through summed synapses, spikes through on_pre.

    One long run over all samples, or one run() per sample.
    """
    brian2.prefs.codegen.target = target
    brian2.defaultclock.dt = 1 * ms
    pixels = brian2.TimedArray(inputs, dt=window * ms)
    source = brian2.NeuronGroup(inputs.shape[1], "x : 1", namespace={"pixels": pixels})
    source.run_regularly("x = pixels(t, i)", dt=window * ms, when="start")
    objects, before = [source], source
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = index == len(weights) - 1
        leak = "dv/dt = -v / tau : 1" if not last else "v : 1"
        extra = "\ndrive : 1" if index == 0 else ""
        group = brian2.NeuronGroup(
            weight.shape[1],
            f"{leak}\nbias : 1 (constant){extra}",
            threshold=None if last else "v > theta",
            reset=None if last else "v = 0",
            method="exact",
            namespace={"tau": tau * ms, "theta": threshold},
        )
        group.bias = bias
        group.run_regularly("v += bias" + (" + drive" if index == 0 else ""), dt=1 * ms, when="before_thresholds")
        group.run_regularly("v = 0", dt=window * ms, when="start")
        if index == 0:
            synapses = brian2.Synapses(before, group, "w : 1\ndrive_post = w * x_pre : 1 (summed)")
        else:
            synapses = brian2.Synapses(before, group, "w : 1", on_pre="v_post += w")
        synapses.connect()
        synapses.w = weight.ravel()
        objects += [group, synapses]
        before = group
    monitor = brian2.StateMonitor(before, "v", record=True, dt=window * ms, when="end")
    network = brian2.Network(*objects, monitor)
    if one_run:
        network.run(len(inputs) * window * ms, namespace={})
    else:
        for _ in inputs:
            network.run(window * ms, namespace={})
    return np.array(monitor.v).T
