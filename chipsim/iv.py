"""I-V curves: the current of a memory cell that is not ohmic."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class IV(Parameters, ABC):
    """Current i(g, v) [A] of cells of conductance g [S] near 0 V at v [V], and its slope; arrays of equal shape.

    A g of 0 is no cell, which carries nothing. v_max: up to where, of either sign, the curve is known. g_min, g_max:
    the conductances for which it is.
    """

    v_max: float = quantity(0.5, "V", (0.0, 100.0))
    g_min: float = quantity(0.0, "S", (0.0, 1.0))
    g_max: float = quantity(1.0, "S", (0.0, 1.0))

    @abstractmethod
    def current(self, g: Array, v: Array) -> Array:
        """Return i(g, v) [A]."""

    @abstractmethod
    def slope(self, g: Array, v: Array) -> Array:
        """Return di/dv [S]."""

    def check_conductance(self, g: Array) -> None:
        """Raise ParameterError for cells of a conductance whose curve is not known."""
        cells = g[g > 0]
        slack = 1e-9 * self.g_max
        if cells.size and not (self.g_min - slack <= cells.min() and cells.max() <= self.g_max + slack):
            raise ParameterError(
                f"cells of {cells.min():g} to {cells.max():g} S leave the range {self.g_min:g} to {self.g_max:g} S in "
                f"which this {type(self).__name__} is known"
            )

    def check_voltage(self, v: Array) -> None:
        """Raise ParameterError for a voltage at a cell at which its curve is not known."""
        if (largest := float(np.abs(v).max())) > self.v_max:
            raise ParameterError(
                f"a cell sees {largest:.4g} V, but this {type(self).__name__} is known up to {self.v_max:g} V; "
                "drive the array with less"
            )


@final
@dataclass(frozen=True, kw_only=True)
class CubicIV(IV):
    """i = g v + a2(g) v^2 + a3(g) v^3, with a2 [A/V^2] and a3 [A/V^3] polynomials in log10(g / 1 S).

    second, third: their coefficients, that of the highest power first.

    >>> curve = CubicIV(second=(0.0,), third=(1e-5,))
    >>> curve.current(np.array([1e-4]), np.array([0.5]))
    array([5.125e-05])
    """

    second: tuple[float, ...] = (0.0,)
    third: tuple[float, ...] = (0.0,)

    def coefficients(self, g: Array) -> tuple[Array, Array]:
        """Return a2 [A/V^2] and a3 [A/V^3] of cells of conductance g [S]."""
        there = g > 0
        decades = np.log10(np.where(there, g, 1.0))
        return tuple(np.where(there, np.polyval(each, decades), 0.0) for each in (self.second, self.third))  # type: ignore[return-value]

    def current(self, g: Array, v: Array) -> Array:
        second, third = self.coefficients(g)
        return v * (g + v * (second + v * third))

    def slope(self, g: Array, v: Array) -> Array:
        second, third = self.coefficients(g)
        return g + v * (2 * second + v * 3 * third)


IV_MILO_2021 = CubicIV(
    v_max=0.5,
    g_min=50e-6,
    g_max=225e-6,
    second=(1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3),
    third=(8.8710e-5, 6.7919e-4, 1.2968e-3),
)
"""130 nm HfO2 cell with its transistor, |v| <= 0.5 V. Source: Milo et al., IRPS 2021, Fig. 1, fit as in CrossSim, in
siemens and amperes. The fit has data of four states between 62.5 and 110 uS, and a fifth, linear by assumption, at
225 uS; below 62.5 uS it is an extrapolation, above 110 uS an interpolation to that assumption. Its terms cancel: the
digits that are published fix a2 to about 1.5e-5 A/V^2, at 62.5 uS more than half of its value."""
