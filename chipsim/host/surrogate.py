"""Surrogate-gradient back-propagation through time (STBP, Wu et al. 2018), in the loop as in Cramer et al. 2022."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from chipsim.host.base import HostMethod, Readings, Slopes, Twin, TwinLayer, read, unrolled
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class Surrogate(HostMethod):
    """The twin is unrolled over the window, its membranes and spikes in every step are those of the chip:

        u[t] = leak u[t-1] (1 - s[t-1]) + W x[t] + b        leak (u[t-1] - theta s[t-1]) + ... for a soft reset
        ds/du = 1 where |u - theta| < gate, else 0

    and outputs = sum over t of W_L s[t] + b_L. The gradient goes through the reset too. gate: half-width of the window
    around the threshold, relative to the circuit's scale, as in local rules. The loss is the cross-entropy of outputs.
    Source: Wu et al. 2018; the window of height 1: Yang et al. 2022 (released code).
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "membranes", "outputs"})
    gate: float = quantity(0.2, "1", (0.0, 1e3), "Yang 2022, released code")

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        inputs = twin.each
        shown = zip(read(seen.spikes), read(seen.membranes), strict=True)
        for layer, (spikes, membranes) in zip(twin.hidden, shown, strict=True):
            inputs = unrolled(layer.drive(inputs), spikes, self._slopes(layer, spikes, membranes))
        return twin.shown(inputs.mean(0), read(seen.outputs))

    def _slopes(self, layer: TwinLayer, spikes: Tensor, membranes: Tensor) -> Slopes:
        soft, threshold = bool(getattr(layer.circuit, "soft_reset", False)), layer.threshold

        def slopes(t: int) -> tuple[Tensor, Tensor]:
            slope = ((membranes[t] - threshold).abs() < self.gate).to(membranes.dtype)
            return slope, layer.leak * (1 - (threshold * slope if soft else spikes[t] + membranes[t] * slope))

        return slopes
