"""Noise of what drives the rows."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.effects.base import Effect, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class DriverNoise(Effect):
    """White multiplicative noise of row drivers: what drives row j, analog input or spike, is multiplied by

        1 + sigma N(0, 1)

    fresh for every step, sample and row, and the same for all columns; bias rows are quiet. A row without a spike has
    none. It is how Yang et al. 2022 (released code) model thermal noise.

    >>> DriverNoise(sigma=0.1).driver()
    0.1
    """

    name: ClassVar[str] = "driver_noise"

    sigma: float = quantity(0.05, "1", (0.0, 10.0))

    @property
    def strength(self) -> float:
        return self.sigma

    def driver(self) -> float:
        return self.sigma

    def measure(self, seen: Seen) -> dict[str, float]:
        squares, count = seen.noise
        return {"rms of the factors drawn for rows, less 1": math.sqrt(squares / count)} if count else {}
