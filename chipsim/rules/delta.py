"""The delta rule (Widrow and Hoff 1960): the read-out alone learns, each column from its own error."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.arrays import AnyArray
from chipsim.quantity import whole
from chipsim.rules.base import Rule, seen
from chipsim.signals import LocalSignals


@final
@dataclass(frozen=True, kw_only=True)
class Delta(Rule):
    """Least mean squares in the read-out array, in every step; hidden arrays stay as they are. With its running value
    z[t] / (t+1) and t counted from 0,

        dL/dW_ij = sum over t >= warm_up of 1 / (B N) (z_i[t] / (t+1) - label_i) / (t+1) x_j[t]

    It needs no teacher, and a column needs nothing of the other columns. warm_up: steps before teaching begins.
    Source: Widrow and Hoff 1960; the running value and the warm-up as in Yang et al. 2022 (released code).

    >>> Delta().hidden
    False
    """

    reads: ClassVar[frozenset[str]] = frozenset({"value", "label"})
    hidden: ClassVar[bool] = False
    warm_up: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.warm_up, f"{type(self).__name__}.warm_up", 0)

    def silent(self, window: int) -> int:
        return self.warm_up

    def init(self) -> None:
        return None

    def update(self, state: None, signals: LocalSignals) -> tuple[None, AnyArray | None]:
        self._check_window(self.warm_up, signals)
        if not signals.readout or signals.step < self.warm_up:
            return None, None
        elapsed, label = signals.step + 1, seen(signals.label)
        error = signals.sent(seen(signals.value) / elapsed - label)
        return None, (error * (1 / (math.prod(label.shape) * elapsed)))[None]
