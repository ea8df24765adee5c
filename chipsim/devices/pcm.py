"""Phase-change memory: conductances that drift, and read with noise that accumulates."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.arrays import AnyArray
from chipsim.devices.ageing import Flickering
from chipsim.devices.curves import Curve, Logarithm, Polynomial, PowerLaw, Split
from chipsim.quantity import quantity

MICRO = 1e-6
YEAR = 3.2e7


@final
@dataclass(frozen=True, kw_only=True)
class Pcm(Flickering):
    r"""Phase-change cell; x = target / g_max, N(0, 1) drawn at each write and kept until the next:

        programming    g = max(0, target + spread(x) g_max / g_fit N)                     spread in microsiemens
        drift          g(age) = g ((age + t_0) / t_0)^-nu         nu = |drift_mean(x) + drift_std(x) N|
        read noise     sigma = g(age) noise(x) sqrt(ln((age + t_0 + t_read) / (2 t_read)))

    age: seconds from the first measurement, t_0 after the write. The exponent depends on the target. x is at least
    1e-7. That the power law holds for a year is a design choice.
    """

    drifts: ClassVar[bool] = True

    g_max: float = quantity(25e-6, "S", (1e-12, 1.0), "Nandakumar et al. 2019")
    g_fit: float = quantity(25e-6, "S", (1e-12, 1.0), "Nandakumar et al. 2019")
    """Largest conductance of the cells that `spread` was fitted to."""
    t_0: float = quantity(20.0, "s", (1e-9, 1e6), "Joshi et al. 2020")
    t_read: float = quantity(250e-9, "s", (1e-12, 1.0), "Joshi et al. 2020")
    measured_until: float = quantity(YEAR, "s", (0.0, 1e12))
    spread: Curve = Polynomial(powers=(0.26348, 1.9650, -1.1731))
    drift_mean: Curve = Logarithm(slope=-0.0155, offset=0.0244, low=0.049, high=0.1)
    drift_std: Curve = Logarithm(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045)
    noise: Curve = PowerLaw(factor=0.0088, exponent=-0.65, high=0.2)

    def sigma(self, g: AnyArray) -> AnyArray:
        return self.spread(g / self.g_max) * (MICRO * self.g_max / self.g_fit)

    def exponent(self, target: AnyArray, drawn: AnyArray) -> AnyArray:
        """Return the drift exponents of cells written to `target` [S] with the standard normal numbers `drawn`."""
        x = target / self.g_max
        return abs(self.drift_mean(x) + self.drift_std(x) * drawn)

    def aged(self, g: AnyArray, target: AnyArray, drawn: AnyArray | None, age: AnyArray) -> AnyArray:
        return g * ((age + self.t_0) / self.t_0) ** -self.exponent(target, drawn)

    def flicker(self, g: AnyArray, target: AnyArray) -> AnyArray:
        return g * self.noise(target / self.g_max)


PCM_NANDAKUMAR_2019 = Pcm()
"""Mushroom cells of a million-device array, 25 uS. Source: Nandakumar et al., ICECS 2019; Joshi et al., Nat. Commun.
2020; fits as in aihwkit (PCMLikeNoiseModel). The read noise is that of the target, as its documentation has it."""

PCM_JOSHI_2020 = Pcm(spread=Polynomial(powers=(0.28638599, 0.07585724 * 25, -0.00178767 * 25**2)))
"""The same cells with the fit of the programming noise that CrossSim has of Joshi et al., Nat. Commun. 2020."""

_LOW_MEAN = Logarithm(slope=-0.0387, offset=-0.0182, low=0.072, high=0.13)
_MEAN = Split(at=0.0945, below=_LOW_MEAN, above=Polynomial(powers=(0.0736, -0.0126, -0.0436)))

PCM_HERMES = Pcm(
    g_max=10.35e-6,
    g_fit=10.35e-6,
    t_0=200.0,
    t_read=512e-9,
    spread=Polynomial(powers=(0.15781817, 2.32443916, -2.16310839, 0.68841818)),
    drift_mean=_MEAN,
    drift_std=Split(
        at=0.3039,
        below=Logarithm(slope=-0.0120, offset=-0.0023, low=0.0124, high=0.04),
        above=Polynomial(powers=(0.0104, 0.0116, -0.0165)),
    ),
    noise=Split(
        at=0.1591,
        below=Logarithm(slope=-0.0078, offset=0.0038, low=0.0179, high=0.04),
        above=Polynomial(powers=(0.0088, 0.0768, -0.1352, 0.0664)),
    ),
)
"""14 nm cells of the HERMES chip, one a side. Source: Le Gallo et al., Nat. Electron. 2023; Khaddam-Aljameh et al.
2022; Vasilopoulos et al. 2023; fits as in aihwkit."""

PCM_HERMES_PAIR = Pcm(
    g_max=20.7e-6,
    g_fit=20.7e-6,
    t_0=300.0,
    t_read=512e-9,
    spread=Polynomial(powers=(0.16603222, 4.71806468, -8.48101252, 4.68961419)),
    drift_mean=_MEAN,
    drift_std=Split(
        at=0.3055,
        below=Logarithm(slope=-0.0117, offset=-0.0057, low=0.0091, high=0.04),
        above=Polynomial(powers=(0.0073, 0.0093, -0.0118)),
    ),
    noise=Split(
        at=0.16,
        below=Logarithm(slope=-0.0117, offset=-0.0069, low=0.015, high=0.04),
        above=Polynomial(powers=(0.0123, 0.0211, -0.0280, 0.0069)),
    ),
)
"""The same chip with two cells a side."""
