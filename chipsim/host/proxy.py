"""Proxy learning (Kheradpisheh et al., IEEE Access 2022): the chip's error, the twin's activations."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from chipsim.host.base import HostMethod, Readings, Twin, rate, read


@final
@dataclass(frozen=True, kw_only=True)
class Proxy(HostMethod):
    """The twin runs on its own; only its outputs are replaced by the chip's before the loss:

        a_l = max(0, rate(W_l a_{l-1} / T + b_l))     outputs: the chip's, with the gradient of W_L a_{L-1} + T b_L

    Nothing but the outputs is read from the chip. The loss is the cross-entropy of these, in place of the published
    squared error of spike counts; neurons that leak are an extension. `chipsim.host.base.rate` says of which neurons it
    is the rate; those of others it takes for theirs. Source: Kheradpisheh et al. 2022.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"outputs"})

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        window, inputs = twin.window, twin.mean
        for layer in twin.hidden:
            inputs = rate(layer, layer.drive(inputs), window).relu() / window
        return twin.shown(inputs, read(seen.outputs))
