"""Resistive memory cells with a measured, conductance-dependent programming noise."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.devices.ageing import Ageing, Drawn, Flickering
from chipsim.devices.curves import LEAST, Curve, Polynomial
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

MICRO = 1e-6
FALCONE = "Falcone et al. 2025, as in aihwkit"


@final
@dataclass(frozen=True, kw_only=True)
class Rram(Drawn):
    """g = max(0, target + sigma(target) N(0, 1)),   sigma(g) = max(0, sigma_offset + sigma_slope g).

    g, target, sigma: siemens; sigma_slope: 1. A draw below zero is truncated at zero. Valid for conductances in
    fit_min .. fit_max; a cell that is asked to leave that range raises ParameterError.
    """

    sigma_offset: float = quantity(0.0, "S", (0.0, 1.0))
    sigma_slope: float = quantity(0.0, "1", (-1.0, 1.0))
    fit_min: float = quantity(0.0, "S", (0.0, 1.0))
    fit_max: float = quantity(1.0, "S", (0.0, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fit_min <= self.g_min < self.g_max <= self.fit_max:
            raise ParameterError(
                f"Rram range {self.g_min:g} to {self.g_max:g} S leaves the measured range "
                f"{self.fit_min:g} to {self.fit_max:g} S, where sigma is not known"
            )

    def sigma(self, g: AnyArray) -> AnyArray:
        """Standard deviation of the programmed conductance [S] around the target `g` [S]."""
        return namespace(g).clip(self.sigma_offset + self.sigma_slope * g, min=0.0)


RRAM_MILO_2021 = Rram(
    g_min=50e-6,
    g_max=225e-6,
    levels=32,  # design choice
    sigma_offset=4.782321e-6,
    sigma_slope=-0.009107,
    fit_min=50e-6,
    fit_max=225e-6,
)
"""130 nm HfO2 cell, 50-225 uS, sigma = 4.782 uS - 0.009107 g. Source: Milo et al., IRPS 2021, fit as in CrossSim.
The number of levels (32) is a design choice."""


@final
@dataclass(frozen=True, kw_only=True)
class Relaxing(Ageing):
    """g(age) = max(0, target + spread(age, x) N(0, 1)),   x = target / g_max, one number for each cell and write.

    spread: curves in microsiemens, one for each of `times` since the write [s]; between two times they are interpolated
    in the logarithm of time (a design choice), before the first they are those of the first.
    """

    times: tuple[float, ...] = (1.0,)
    spreads: tuple[Curve, ...] = (Polynomial(powers=(1.0,)),)

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = self.times and list(self.times) == sorted({*self.times}) and self.times[0] > 0
        if not rising or len(self.times) != len(self.spreads):
            raise ParameterError("Relaxing.times must rise, above 0 s, with one of `spreads` for each")
        x = np.linspace(self.g_min / self.g_max, 1.0, 100)
        first, later = self.spreads[0](x), [curve(x) for curve in self.spreads[1:]]
        if any(((first <= LEAST) & (each > LEAST)).any() for each in later):
            raise ParameterError(
                "Relaxing.spreads grow from nothing, but a cell goes on from where its write left it: give the first "
                "one a spread above 0 wherever a later one has"
            )

    @property
    def ages(self) -> bool:  # type: ignore[override]
        return math.isfinite(self.measured_until) or any(curve != self.spreads[0] for curve in self.spreads)

    def sigma(self, g: AnyArray) -> AnyArray:
        return MICRO * self.spreads[0](g / self.g_max)

    def spread(self, target: AnyArray, age: AnyArray) -> AnyArray:
        """Return the standard deviation [S] of cells around `target` [S] at `age` [s]."""
        x, xp = target / self.g_max, namespace(target)
        found, log_age = self.spreads[0](x), xp.log(xp.clip(age, min=self.times[0]))
        ends = zip(self.times[:-1], self.times[1:], self.spreads[:-1], self.spreads[1:], strict=True)
        for start, end, before, after in ends:
            passed = (log_age - math.log(start)) / math.log(end / start)
            if end != self.times[-1]:
                passed = xp.clip(passed, max=1.0)
            found = found + xp.clip(passed, min=0.0) * (after(x) - before(x))
        return MICRO * xp.clip(found, min=0.0)

    def aged(self, g: AnyArray, target: AnyArray, drawn: AnyArray | None, age: AnyArray) -> AnyArray:
        if not self.ages:
            return g
        xp, first = namespace(g), self.sigma(target)
        return xp.clip(target + (g - target) * self.spread(target, age) / xp.clip(first, min=LEAST * MICRO), min=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Cmo(Flickering):
    r"""Conductive-metal-oxide / HfOx cell, programmed within an acceptance window; G in microsiemens, age in seconds:

        programming    sigma = spread(G)
        relaxation     G(age) = G + shift ln(age) + (slope ln(age) + offset) N(0, 1)                 from 1 s on
        read noise     sigma = noise log10(G(age)) sqrt(ln((age + t_read) / (2 t_read)))

    whatever the level; within g_min .. g_max. Before 1 s the cell is as at 1 s.
    """

    drifts: ClassVar[bool] = True

    g_min: float = quantity(9e-6, "S", (9e-6, 88.19e-6), FALCONE)
    g_max: float = quantity(88.19e-6, "S", (9e-6, 88.19e-6), FALCONE)
    t_read: float = quantity(1e-6, "s", (1e-12, 1.0), FALCONE)
    spread: Curve = Polynomial(powers=(0.0112185391, 0.01129027418))
    shift: float = quantity(-0.08900206, "1", (-10.0, 10.0), FALCONE)
    slope: float = quantity(0.04201137, "1", (0.0, 10.0), FALCONE)
    offset: float = quantity(0.41183342, "1", (0.0, 10.0), FALCONE)
    noise: float = quantity(0.0277316483, "1", (0.0, 10.0), FALCONE)

    def sigma(self, g: AnyArray) -> AnyArray:
        return MICRO * self.spread(g / MICRO)

    def aged(self, g: AnyArray, target: AnyArray, drawn: AnyArray | None, age: AnyArray) -> AnyArray:
        xp = namespace(g)
        log_age = xp.log(xp.clip(age, min=1.0))
        moved = g + MICRO * (self.shift * log_age + (self.slope * log_age + self.offset) * drawn)
        return self.within(moved)

    def flicker(self, g: AnyArray, target: AnyArray) -> AnyArray:
        xp = namespace(g)
        return MICRO * self.noise * xp.log10(xp.clip(g / MICRO, min=1.0))


WAN = (
    Polynomial(powers=(0.348, 16.030, -43.853, 45.393, -16.815)),
    Polynomial(powers=(0.701, 22.086, -50.773, 47.095, -16.458)),
    Polynomial(powers=(0.782, 20.274, -43.507, 37.062, -11.934)),
)
DAY = 86_400.0

RRAM_WAN_2022 = Relaxing(g_min=1e-6, g_max=40e-6, times=(1.0, DAY, 2 * DAY), spreads=WAN, measured_until=2 * DAY)
"""130 nm HfOx cell of NeuRRAM, 1-40 uS, after relaxation for 1 s, 1 day and 2 days. Source: Wan et al., Nature 2022, as
fitted in aihwkit. The paper's short-term read noise of about 1 % is `ReadNoise(sigma=0.01, relative_to="cell")`."""

_CUBIC = (1.053, 0.2374 * 39.26, -1.167e-2 * 39.26**2, 1.536e-4 * 39.26**3)
RRAM_WAN_2022_CROSSSIM = Relaxing(g_min=1e-6, g_max=39.26e-6, spreads=(Polynomial(powers=_CUBIC),), measured_until=1)
"""The same figure at 1 s as fitted in CrossSim, up to 39.26 uS. The two fits differ by 17 % at 4 and 20 uS and by half
at the upper end: that is the uncertainty of the model."""

RRAM_FALCONE_2025 = Cmo(levels=32, measured_until=3600.0)
"""CMO/HfOx cell, 9-88.19 uS, 2 % acceptance window. Source: Falcone et al., arXiv 2502.04524, as fitted in aihwkit.
Measured for an hour; what the paper says of ten years is extrapolated."""

RRAM_FALCONE_2025_FINE = Cmo(levels=32, spread=Polynomial(powers=(0.00081107, 0.00106879)), measured_until=3600.0)
"""The same with an acceptance window of 0.2 %."""
