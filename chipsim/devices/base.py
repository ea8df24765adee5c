"""What every memory cell declares: its conductance range, its levels, and what programming does to a target."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, namespace
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity, whole
from chipsim.streams import Draw

Frozen = Mapping[str, NDArray[np.float64]]
"""What is drawn at fabrication, by kind."""


@dataclass(frozen=True, kw_only=True)
class Device(Parameters, ABC):
    """A memory cell with a conductance in g_min .. g_max [S], ohmic when read.

    levels: number of evenly spaced target conductances, ends included; None for a continuous cell.
    """

    draws: ClassVar[bool] = False
    """Whether a write meets noise; cells that are not written draw none."""
    ages: ClassVar[bool] = False
    """Whether what stands is other than what the last write left: whether `aged` does something."""
    drifts: ClassVar[bool] = False
    """Whether that takes a number of each cell's own, drawn at every write and kept until the next one."""
    pulses: ClassVar[bool] = False
    """Whether the cell answers to single pulses: whether it has `pulse`."""
    fluctuates: ClassVar[bool] = False
    """Whether a read differs from the conductance."""

    g_min: float = quantity(0.0, "S", (0.0, 1.0))
    g_max: float = quantity(100e-6, "S", (1e-12, 1.0))
    levels: int | None = None
    endurance: float = quantity(math.inf, "1", (1.0, math.inf))
    """Writes and pulses after which a cell no longer moves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not self.g_min < self.g_max:
            raise ParameterError(f"{name}.g_min = {self.g_min:g} S must lie below g_max = {self.g_max:g} S")
        if self.levels is not None:
            whole(self.levels, f"{name}.levels", 2, 2**24)

    @property
    def wears(self) -> bool:
        """Whether cells end at all."""
        return self.endurance < math.inf

    def within(self, g: AnyArray) -> AnyArray:
        """Return the conductances [S] that the cell can be programmed to, nearest to each of `g`."""
        xp = namespace(g)  # ends as arrays, since the compiler takes numbers that are fields for ones that change
        low, high = (xp.asarray(end, dtype=g.dtype, device=device(g)) for end in (self.g_min, self.g_max))
        return xp.clip(g, min=low, max=high)

    def quantise(self, g: AnyArray) -> AnyArray:
        """Return the level nearest to each conductance; `g` itself for a continuous cell."""
        if self.levels is None:
            return g
        spacing = (self.g_max - self.g_min) / (self.levels - 1)
        return self.g_min + namespace(g).round((g - self.g_min) / spacing) * spacing

    def programme(self, target: AnyArray, rng: np.random.Generator) -> AnyArray:
        """Return the conductances [S] that writing `target` [S] leaves behind; `target` is not edited.

        Raises ParameterError for a target outside the device's range: the measurement says nothing there.
        """
        slack = 1e-6 * self.g_max  # rounding of the weight scale
        low, high = (float(end) for end in (target.min(), target.max())) if 0 not in target.shape else (self.g_min,) * 2
        if not (self.g_min - slack <= low and high <= self.g_max + slack):
            raise ParameterError(
                f"{type(self).__name__} cannot be programmed to {low:g} .. {high:g} S: "
                f"valid range {self.g_min:g} to {self.g_max:g} S"
            )
        return self.written(target, rng)

    def fabricate(self, shape: tuple[int, ...], draw: Draw) -> Frozen:
        """Draw what is frozen of each cell, arrays of `shape`; nothing by default."""
        return {}

    def limit(self, g: AnyArray, cell: Mapping[str, AnyArray]) -> AnyArray:
        """Return the conductances [S] that cells end at which were asked for `g`; cell: what is frozen of them."""
        return g

    def pulse(self, g: AnyArray, counts: AnyArray, cell: Mapping[str, AnyArray], rng: np.random.Generator) -> AnyArray:
        """Return the states [S] after `counts` pulses to each cell, upwards where positive; nothing is edited. What a
        read sees of a state is what `written` makes of it.
        """
        raise ParameterError(f"{type(self).__name__} has no measured answer to pulses; take a Pulsed device")

    @property
    def pulse_size(self) -> float:
        """Conductance that a controller takes a pulse to move any cell by [S]; 0 for no answer to pulses."""
        return 0.0

    def check_age(self, age: float) -> None:
        """Raise ParameterError where cells of `age` seconds since their write are beyond what was measured."""

    def aged(self, g: AnyArray, target: AnyArray, drawn: AnyArray | None, age: AnyArray) -> AnyArray:
        """Return the conductances [S], `age` seconds after the write to `target` that left `g`.

        drawn: what `drifts` says was drawn at the write, standard normal; None where it does not.
        """
        return g

    def slow(self, g: AnyArray, target: AnyArray, age: AnyArray, step: float) -> AnyArray:
        """Return the standard deviation [S] of the part of the read noise that stands still during a step [s]."""
        return g * 0.0

    def variance(self, g: AnyArray, target: AnyArray, step: float) -> AnyArray:
        """Return the variance [S^2] of the part of the read noise that is another one in every step [s]."""
        return g * 0.0

    @abstractmethod
    def written(self, target: AnyArray, rng: np.random.Generator | None) -> AnyArray:
        """Return the conductances [S] after a write to targets that are known to be within range."""
