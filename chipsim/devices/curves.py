"""Curves of one variable, as published fits have them: what a cell's numbers are at a conductance."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from chipsim.arrays import AnyArray, namespace
from chipsim.quantity import INF, Parameters

LEAST = 1e-7
"""Smallest variable of curves that have none at 0."""


def polynomial(powers: tuple[float, ...], x: AnyArray) -> AnyArray:
    """Return sum_k powers[k] x^k, of any sign, for a number or an array of either kind."""
    value = x * 0.0
    for power in reversed(powers):
        value = value * x + power
    return value


@dataclass(frozen=True, kw_only=True)
class Curve(Parameters, ABC):
    """A function of a variable x >= 0, usually g / g_max, in the unit that the field which holds it states."""

    @abstractmethod
    def __call__(self, x: AnyArray) -> AnyArray:
        """Return the values at `x`, of the same kind and shape."""


@final
@dataclass(frozen=True, kw_only=True)
class Polynomial(Curve):
    """max(0, sum_k powers[k] x^k).

    >>> Polynomial(powers=(1.0, 2.0))(3.0), Polynomial(powers=(-1.0,))(3.0)
    (7.0, 0.0)
    """

    powers: tuple[float, ...]

    def __call__(self, x: AnyArray) -> AnyArray:
        value = polynomial(self.powers, x)
        return max(0.0, value) if isinstance(value, float) else namespace(value).clip(value, min=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Logarithm(Curve):
    """slope ln x + offset, within low .. high; x at least 1e-7."""

    slope: float
    offset: float
    low: float = -INF
    high: float = INF

    def __call__(self, x: AnyArray) -> AnyArray:
        xp = namespace(x)
        return xp.clip(self.slope * xp.log(xp.clip(x, min=LEAST)) + self.offset, min=self.low, max=self.high)


@final
@dataclass(frozen=True, kw_only=True)
class PowerLaw(Curve):
    """factor x^exponent, at most high; x at least 1e-7."""

    factor: float
    exponent: float
    high: float = INF

    def __call__(self, x: AnyArray) -> AnyArray:
        xp = namespace(x)
        return xp.clip(self.factor * xp.clip(x, min=LEAST) ** self.exponent, max=self.high)


@final
@dataclass(frozen=True, kw_only=True)
class Saturation(Curve):
    """height (1 - exp(-x / scale))."""

    height: float
    scale: float

    def __call__(self, x: AnyArray) -> AnyArray:
        return -self.height * namespace(x).expm1(-x / self.scale)


@final
@dataclass(frozen=True, kw_only=True)
class Split(Curve):
    """One curve below x = at, another from there on."""

    at: float
    below: Curve
    above: Curve

    def __call__(self, x: AnyArray) -> AnyArray:
        return namespace(x).where(x < self.at, self.below(x), self.above(x))


ALL: tuple[type[Curve], ...] = (Polynomial, Logarithm, PowerLaw, Saturation, Split)
