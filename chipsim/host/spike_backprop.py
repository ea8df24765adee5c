"""Spike-based back-propagation (Lee et al., Frontiers in Neuroscience 2020): gradients as without leak, corrected."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.host.base import HostMethod, Readings, Slopes, Twin, TwinLayer, read, unrolled


@final
@dataclass(frozen=True, kw_only=True)
class SpikeBackprop(HostMethod):
    """Back-propagation through the spike times of leaky neurons with a reset to rest. In the gradient a membrane does
    not leak, a spike passes 1 / theta and cuts what went before, and the leak comes back as one factor per neuron:

        ds[t] / du[t] = k / theta at a spike, else 0        du[t+1] / du[t] = 1 - s[t]
        k = 1[F > 1e-3] + ln(leak) F / N        F = sum over spikes of leak^(T - t_spike)        N: number of spikes

    The loss is half the squared error of outputs / T against one-hot labels, a mean over the batch (published: a sum).
    The read-out is the chip's, without leak as a rule, where the published one leaks. cross_entropy: whether the loss
    is that of the other methods instead, as suits weights that cross-entropy has trained. Source: Lee et al. 2020.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "outputs"})
    cross_entropy: bool = False

    def check(self, circuit: Circuit) -> None:
        super().check(circuit)
        if getattr(circuit, "soft_reset", False):
            raise ParameterError(
                f"SpikeBackprop needs a reset to rest; take {type(circuit).__name__}(soft_reset=False)"
            )

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        inputs = twin.each
        for layer, spikes in zip(twin.hidden, read(seen.spikes), strict=True):
            inputs = unrolled(layer.drive(inputs), spikes, self._slopes(layer, spikes))
        outputs = twin.shown(inputs.mean(0), read(seen.outputs))
        return outputs if self.cross_entropy else outputs / twin.window

    def _slopes(self, layer: TwinLayer, spikes: Tensor) -> Slopes:
        height = self._correction(spikes, layer.leak) / layer.threshold
        return lambda t: (spikes[t] * height, 1 - spikes[t])

    @staticmethod
    def _correction(spikes: Tensor, leak: float) -> Tensor:
        window = len(spikes)
        left = leak ** torch.arange(window, 0, -1, dtype=spikes.dtype, device=spikes.device)
        remembered, count = torch.tensordot(left, spikes, 1), spikes.sum(0)
        correction: Tensor = (remembered > 1e-3).to(spikes.dtype) + math.log(leak) * remembered / count.clamp(min=1)
        return correction

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.cross_entropy:
            return super().loss(outputs, labels)
        wanted = functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
        return 0.5 * (outputs - wanted).square().sum(1).mean()
