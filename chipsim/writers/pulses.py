"""Writers that give pulses: how a wanted change becomes a whole number of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from chipsim.arrays import AnyArray, namespace
from chipsim.crossbar import Cells, Crossbar
from chipsim.quantity import quantity
from chipsim.writers.base import Fresh, PulseWriter

Uniform = Callable[[], AnyArray]


@final
@dataclass(frozen=True, kw_only=True)
class PulseTrain(PulseWriter):
    """n = round(change / size): the nearest number of pulses, none for less than half of one."""

    faithful: ClassVar[bool] = False

    def counts(self, change: AnyArray, size: Any, uniform: Uniform) -> AnyArray:
        xp = namespace(change)
        return xp.clip(xp.round(change / size), min=-self.most, max=self.most)


@final
@dataclass(frozen=True, kw_only=True)
class StochasticPulses(PulseWriter):
    """n = sign(change) floor(|change| / size + u), u uniform in [0, 1): as many pulses as asked for on average, in
    steps of 2^-24 of one.
    """

    def counts(self, change: AnyArray, size: Any, uniform: Uniform) -> AnyArray:
        xp, asked = namespace(change), change / size
        return xp.clip(xp.trunc(asked + xp.copysign(uniform(), asked)), min=-self.most, max=self.most)


@final
@dataclass(frozen=True, kw_only=True)
class SignPulses(PulseWriter):
    """n = sign(change) where |change| exceeds `least`, in weights: one pulse, whatever the size of the change."""

    faithful: ClassVar[bool] = False

    least: float = quantity(0.0, "1", (0.0, 1e6))

    def counts(self, change: AnyArray, size: Any, uniform: Uniform) -> AnyArray:
        xp = namespace(change)
        return xp.where(abs(change) > self.least, xp.sign(change), change * 0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Accumulate(PulseWriter):
    """Mixed precision: a digital memory beside each weight gathers the changes, and a pulse is given for every whole
    one in it:

        memory += change        n = trunc(memory / size)        memory -= n size

    Source: Nandakumar et al., Front. Neurosci. 2020.
    """

    words: ClassVar[int] = 1

    def begin(self, array: Crossbar, cells: Cells, streams: Fresh, time: Any) -> Cells:
        cells = super().begin(array, cells, streams, time)
        return replace(cells, pending=cells.wanted * 0.0) if cells.pending is None else cells

    def counts(self, change: AnyArray, size: Any, uniform: Uniform) -> AnyArray:
        xp = namespace(change)
        return xp.clip(xp.trunc(change / size), min=-self.most, max=self.most)

    def given(
        self, change: AnyArray, size: Any, cells: Cells, uniform: Uniform
    ) -> tuple[tuple[AnyArray, ...], AnyArray]:
        memory: AnyArray = cells.pending
        memory += change
        places = namespace(change).nonzero(abs(memory) >= size)
        counts = self.counts(memory[places], size, uniform)
        memory[places] = memory[places] - counts * size
        return places, counts
