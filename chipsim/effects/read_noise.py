"""Noise of reading a memory cell."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.effects.base import Effect, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class ReadNoise(Effect):
    """White noise of every access to every cell: a Gaussian of standard deviation

        sigma g_max      (relative_to = "range", the default)        sigma g      (relative_to = "cell")

    fresh for every step, sample and cell. A column adds many cells, x [rows], so its current has exactly the variance
    v_read^2 sum of x_j^2 sigma_j^2: one more product with the variances replaces a draw per cell, and where all cells
    have one sigma, the sum of squares of what drives the rows.

    >>> ReadNoise(sigma=0.01).reads_noisily
    True
    """

    name: ClassVar[str] = "read_noise"

    sigma: float = quantity(0.01, "1", (0.0, 1.0))
    relative_to: Literal["range", "cell"] = "range"

    @property
    def strength(self) -> float:
        return self.sigma

    def variance(self, g: AnyArray, g_max: float) -> AnyArray:
        if self.relative_to == "cell":
            return (self.sigma * g) ** 2
        return namespace(g).full_like(g[..., :1, :1], (self.sigma * g_max) ** 2)

    def measure(self, seen: Seen) -> dict[str, float]:
        variance = np.concatenate([self.variance(g, seen.g_max).ravel() for g in seen.conductances])
        return {"rms of an access, share of g_max": math.sqrt(float(variance.mean())) / seen.g_max}
