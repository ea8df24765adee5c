"""What a writer is: it turns the change that a rule wants into writes on the cells of one array."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chipsim.arrays import AnyArray, like, namespace
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, whole

Fresh = Callable[[], Streams]


@dataclass(frozen=True, kw_only=True)
class Writer(Parameters, ABC):
    """Turns a wanted change into writes.

    pure: whether `write` is operations on arrays alone and draws no numbers of its own, so that an engine may compile
    it together with what comes before and after. pulses: whether it gives pulses to cells, and so needs a device that
    answers to them.
    """

    pure: ClassVar[bool] = False
    pulses: ClassVar[bool] = False
    faithful: ClassVar[bool] = True
    """Whether it writes what it is asked for, on average over many changes, however small."""
    words: ClassVar[int] = 0
    """Digital numbers that it keeps beside each weight."""

    def begin(self, array: Crossbar, cells: Cells, streams: Fresh, time: Any) -> Cells:
        """Return the cells as a run of writes finds them, with what this writer keeps beside them; `cells` themselves
        where it keeps nothing. streams: gives a fresh stream. Raises ParameterError for a device that does not suit it.
        """
        return cells

    @abstractmethod
    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams | None, time: Any) -> Cells:
        """Return the cells after writing `change` [rows, columns], in weights, at `time` [s]; nothing is edited.

        rng: None where neither the device nor the writer draws.
        """


@dataclass(frozen=True, kw_only=True)
class PulseWriter(Writer, ABC):
    """Gives cells pulses, without looking at them and without a copy of the weights: n pulses for a change of n times
    what a pulse is taken to move a cell. Of a minimum pair, both cells get half as many, in opposite directions: of a
    change away from 0 only half comes about, since one of them stands at its bound.

    most: pulses that a cell gets at most in one write. zero_shift: 0, or how many pairs of pulses, up and down, each
    cell gets at the start, so that it comes to where its steps are equal, which its reference cell then takes for zero
    (a reference pair only; after Kim et al. 2019). The weights are then programmed anew.
    """

    pulses: ClassVar[bool] = True

    most: int = 31
    zero_shift: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("most", 1), ("zero_shift", 0)):
            whole(getattr(self, name), f"{type(self).__name__}.{name}", least)

    @abstractmethod
    def counts(self, change: AnyArray, size: Any, uniform: Callable[[], AnyArray]) -> AnyArray:
        """Return how many pulses each weight gets, upwards where positive.

        size: what one pulse moves the weight of an average cell. uniform: gives uniform numbers like `change`.
        """

    def given(
        self, change: AnyArray, size: Any, cells: Cells, uniform: Callable[[], AnyArray]
    ) -> tuple[tuple[AnyArray, ...], AnyArray]:
        """Return which weights get pulses, as indices, and how many; what is kept in `cells` is edited."""
        counts = self.counts(change, size, uniform)
        places = namespace(counts).nonzero(counts)
        return places, counts[places]

    def begin(self, array: Crossbar, cells: Cells, streams: Fresh, time: Any) -> Cells:
        name = type(self).__name__
        if not array.device.pulses:
            raise ParameterError(
                f"{name} gives pulses, to which {type(array.device).__name__} has no measured answer; take a Pulsed "
                "device"
            )
        if self.zero_shift and array.pair != "reference":
            raise ParameterError(f'{name}.zero_shift needs a reference cell: ChipDesign(pair="reference")')
        return self._shifted(array, cells.copied(), streams, time) if self.zero_shift else cells

    def _shifted(self, array: Crossbar, cells: Cells, streams: Fresh, time: Any) -> Cells:
        xp, wanted = namespace(cells.g), cells.wanted
        state: Any = cells.drawn
        plus = xp.nonzero(xp.stack([xp.ones_like(wanted), xp.zeros_like(wanted)]))
        for _ in range(self.zero_shift):
            for direction in (1.0, -1.0):
                array.pulse(cells, plus, xp.full_like(state[plus], direction), streams(), time)
        reference = xp.stack([state[0], state[0]])
        moved = xp.stack([xp.zeros_like(wanted), xp.ones_like(wanted)]) > 0
        cells = array.rewritten(cells, wanted, reference, moved, streams(), time)
        target = array.targets(wanted, cells)  # of the reference that moved, also where no weight did
        return array.rewritten(cells, wanted, target, target != cells.target, streams(), time)

    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams | None, time: Any) -> Cells:
        assert rng is not None
        written = cells.copied()
        self.into(array, written, change, rng, time)
        return written

    def into(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams, time: Any) -> AnyArray:
        """Write `change` into `cells`, which are edited; return how many pulses were given."""
        xp, size = namespace(change), array.device.pulse_size / array.g_scale
        if array.pair == "minimum":
            size = 2 * size
        wanted: AnyArray = cells.wanted
        wanted += change
        wanted[...] = array.clip(wanted)

        def uniform() -> AnyArray:
            shape = tuple(change.shape)
            if isinstance(rng, Sequence):
                return xp.stack([like(one.random(shape[1:], np.float32), change) for one in rng])
            return like(rng.random(shape, np.float32), change)  # of 24 bits: rounded to them, others can become 1

        places, counts = self.given(change, size, cells, uniform)
        plus, minus = xp.zeros_like(places[0]), xp.ones_like(places[0])
        if array.pair == "minimum":
            both = (xp.concat([plus, minus]), *(xp.concat([index, index]) for index in places))
            return array.pulse(cells, both, xp.concat([counts, -counts]), rng, time)
        return array.pulse(cells, (plus, *places), counts, rng, time)
