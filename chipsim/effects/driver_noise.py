"""Noise of what drives the rows."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.effects.base import Effect, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class DriverNoise(Effect):
    """White multiplicative noise of what drives the rows: an input of the layer, analog or spike, is multiplied by

        1 + sigma N(0, 1)

    fresh for every step, sample and input; bias rows are quiet, and an input without a spike has none. A layer has a
    driver for each input, in front of any average pooling, and a convolution shows what it gives to all rows and
    positions that see this input. It is how Yang et al. 2022 (released code) model thermal noise.

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
