"""A rule without teacher (after DECOLLE, Kaiser et al. 2020): each array learns to tell the label by itself."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, like
from chipsim.quantity import quantity, whole
from chipsim.rules.base import Rule, counted, gated, readout_error, seen, softmax
from chipsim.signals import LocalSignals
from chipsim.streams import stream


@functools.lru_cache(maxsize=64)
def local_readout(seed: int, array: int, neurons: int, classes: int) -> NDArray[np.float64]:
    """Return the fixed random read-out [neurons, classes] of an array, drawn from N(0, 1 / neurons)."""
    return stream(seed, "local readout", array).standard_normal((neurons, classes)) / math.sqrt(neurons)


@final
@dataclass(frozen=True, kw_only=True)
class Decolle(Rule):
    """A fixed random read-out G of each hidden array guesses the label; its error comes back through the same G. With
    the spike counter c[t], the row's trace p[t], and t counted from 0,

        y[t] = gain c[t] / (t+1) G              G_ik ~ N(0, 1 / N), fixed
        e[t] = gain / (B (t+1)) (softmax(y[t]) - label) G^T
        dL/dW_ij = sum over t >= warm_up of e_i[t] sigma'(u_i[t]) p_j[t]

    Read-out arrays take the cross-entropy of their running value against the label. No teacher is needed; the error of
    one column comes from all columns of its own array, and from no other array. warm_up: steps before teaching begins.
    gain: of the local read-out. seed: of G. Source: Kaiser et al. 2020 (local random read-outs, errors of every step);
    the warm-up, the gate sigma', which is a window around the threshold, counters in place of filtered spikes, and
    cross-entropy in place of a squared error, are design choices.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "gate", "value", "label"})
    by_column: ClassVar[bool] = False
    warm_up: int = 12
    gain: float = quantity(10.0, "1", (1e-6, 1e6), "design choice")
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.warm_up, f"{type(self).__name__}.warm_up", 0)

    def silent(self, window: int) -> int:
        return self.warm_up

    def rows(self, readout: bool) -> Literal["pre", "trace"]:
        return "pre" if readout else "trace"

    def init(self) -> None:
        return None

    def update(self, state: AnyArray | None, signals: LocalSignals) -> tuple[AnyArray | None, AnyArray | None]:
        self._check_window(self.warm_up, signals)
        counter = counted(state, signals)
        if signals.step < self.warm_up:
            return counter, None
        elapsed, label = signals.step + 1, seen(signals.label)
        if counter is None:
            return None, readout_error(signals, label)[None]
        back = like(local_readout(self.seed, signals.array, counter.shape[1], label.shape[1]), counter)
        error = softmax(counter @ back * (self.gain / elapsed)) - label
        width = math.sqrt(counter.shape[1])
        delta = signals.sent(error @ back.T * width) * (self.gain / width / (len(label) * elapsed))
        return counter, gated(signals, delta)[None]
