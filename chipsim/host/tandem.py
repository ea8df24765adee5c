"""Tandem learning (Wu et al., TNNLS 2021): each twin layer starts from the spike counts that the chip showed."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from chipsim.host.base import HostMethod, Readings, Twin, anchored, rate, read


@final
@dataclass(frozen=True, kw_only=True)
class Tandem(HostMethod):
    """Spike counts forward, twin activations backward, layer by layer:

        a_l = max(0, rate(W_l c_{l-1} / T + b_l))     c_l: counts of the chip, with the gradient of a_l
        outputs = W_L c_{L-1} + T b_L                 as the chip shows them, with the gradient of the twin

    The error reaches earlier layers through f'(a_l) alone: no time is unrolled. The outputs are read for the loss.
    `chipsim.host.base.rate` says of which neurons it is the rate; those of others it takes for theirs.
    Source: Wu et al. 2021.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"counts", "outputs"})

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        window, inputs = twin.window, twin.mean
        for layer, count in zip(twin.hidden, read(seen.counts), strict=True):
            inputs = anchored(rate(layer, layer.drive(inputs), window).relu(), count) / window
        return twin.shown(inputs, read(seen.outputs))
