"""What subthreshold circuits share: a membrane that is a current, and its dependence on temperature."""

import math
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from chipsim.circuits.base import BOLTZMANN, CHARGE, Circuit, Density
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

SE1 = "dynapse-simulator, SE1"
THERMAL = BOLTZMANN / CHARGE
"""k / q [V/K]."""
SOURCE = 25e-3 / THERMAL
"""Temperature at which U_T is the 25 mV of the simulators whose values are taken, 290.1 K [K]."""


@dataclass(frozen=True, kw_only=True)
class Subthreshold(Circuit, ABC):
    """A membrane that is a current I [A], the logarithm of which is a voltage on a capacitor, at a temperature T:

        tau = C U_T / (kappa I_tau)    U_T = k T / q    leakage = i_0 2^((T - i_0_temperature) / i_0_doubling)

    A spike when I > i_threshold; then I := i_reset for t_refractory. I never falls below the leakage. A current port.
    `dataclasses.replace(circuit, temperature=333.15)` moves a design to another temperature. All other currents stay as
    they are: a temperature-compensated bias generator is taken to hold them (design choice). The default temperature is
    that of the sources' U_T = 25 mV, and i_0 is stated at it.

    Its noise is the shot noise 2 q I of the two currents that meet on the capacitor, which in balance are I_tau each:
    4 q I_tau [A^2/Hz]. On the membrane it grows with I; it is stated for I at the threshold, where it decides.
    Raises ParameterError when reset or leakage is not below the threshold.
    """

    per_neuron: ClassVar[tuple[str, ...]] = (
        "i_threshold",
        "i_reset",
        "capacitance",
        "i_tau",
        "gain",
        "i_0",
        "t_refractory",
    )
    roles: ClassVar[Mapping[str, str]] = {"threshold": "i_threshold", "time_constant": "capacitance", "gain": "gain"}
    initial: ClassVar[Mapping[str, str]] = {"i_mem": "i_0"}
    port: ClassVar[Literal["charge", "current"]] = "current"
    membrane: ClassVar[str] = "i_mem"
    membrane_unit: ClassVar[str] = "A"
    refractory: ClassVar[str | None] = "t_refractory"

    capacitance: float = quantity(2e-12, "F", (1e-15, 1e-9), SE1)
    i_tau: float = quantity(5e-12, "A", (1e-14, 1e-6), SE1)
    """Leak current, which sets the time constant."""
    alpha: float = quantity(200.0, "1", (1e-2, 1e5), SE1 + ": gain current of 1000 i_0 over i_tau")
    """Gain current over leak current."""
    i_0: float = quantity(1e-12, "A", (1e-15, 1e-9), SE1)
    """Leakage at i_0_temperature; at the circuit's own temperature it is the floor of all currents."""
    i_0_doubling: float = quantity(8.0, "K", (4.0, 20.0), "design choice; 8 to 10 K are common")
    """Rise of temperature that doubles the leakage."""
    i_0_temperature: float = quantity(SOURCE, "K", (200.0, 430.0), SE1 + ": U_T = 25 mV")
    temperature: float = quantity(SOURCE, "K", (200.0, 430.0), SE1 + ": U_T = 25 mV")
    kappa: float = quantity(0.75, "1", (0.3, 1.0), SE1)
    i_threshold: float = quantity(2e-9, "A", (1e-12, 1e-5), SE1 + ": 2000 i_0")
    i_reset: float = quantity(1.2e-12, "A", (0.0, 1e-5), SE1 + ": 1.2 i_0")
    t_refractory: float = quantity(5e-3, "s", (0.0, 1.0), SE1)
    i_unit: float = quantity(100e-12, "A", (1e-14, 1e-5))
    """Current of an input of 1 through a weight of 1, and of an input that stands for a rate of 1 [A]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not self.i_reset < self.i_threshold:
            raise ParameterError(
                f"{name}.i_reset = {self.i_reset:g} A must lie below i_threshold = {self.i_threshold:g} A"
            )
        if not self.leakage < self.i_threshold:
            raise ParameterError(
                f"{name}.i_0 = {self.i_0:g} A must lie below i_threshold = {self.i_threshold:g} A, but is "
                f"{self.leakage:g} A at {self.temperature:g} K"
            )

    @property
    def u_t(self) -> float:
        """Thermal voltage [V]."""
        return THERMAL * self.temperature

    @property
    def tau(self) -> float:
        """Nominal time constant of the membrane [s]."""
        return self.capacitance * self.u_t / (self.kappa * self.i_tau)

    @property
    def leakage(self) -> float:
        """Nominal leakage at the circuit's temperature [A]."""
        return self.i_0 * math.exp2((self.temperature - self.i_0_temperature) / self.i_0_doubling)

    def nominal(self) -> dict[str, float]:
        return {**super().nominal(), "i_0": self.leakage}

    @property
    def thermal(self) -> str:
        """Equation text of tau and U_T."""
        return f"""
        tau = capacitance * u_t / (kappa * i_tau) : second
        u_t = temperature * {THERMAL!r} * volt / kelvin : volt
        """

    @property
    def inject(self) -> str:
        return "i_mem = clip(i_mem + noise, i_0, 1 * amp)"

    @property
    def threshold(self) -> str | None:
        return "i_mem > i_threshold"

    @property
    def reset(self) -> str | None:
        return "i_mem = i_reset"

    @property
    def step(self) -> float:
        return 1e-4

    @property
    def answers_within(self) -> float:
        return 0.1

    @property
    def unit_drive(self) -> float:
        return self.i_unit

    @property
    def firing_drive(self) -> float:
        return self.i_unit

    @property
    def rest(self) -> float:
        return 0.0

    @property
    def swing(self) -> float:
        return self.i_threshold

    @property
    def scale(self) -> float:
        return self.i_threshold

    def leak(self, step: float) -> float:
        return math.exp(-step / self.tau)

    def density(self, temperature: float) -> Density | None:
        return Density(2 * CHARGE * self.i_threshold**2 / (self.tau**2 * self.i_tau), self.tau)


@dataclass(frozen=True, kw_only=True)
class Soma(Subthreshold, ABC):
    """A differential-pair integrator with positive feedback, as the body of a neuron:

        tau (1 + alpha I_tau / I) dI/dt = alpha (I_in - I_sum) - I_sum I / I_tau
        I_fb = i_fb_gain / (1 + exp(-(I - i_fb_threshold) / i_fb_norm))

    A circuit gives its text i_in, i_sum and pace, the tau of the left side. Without input I decays with tau; a strong
    input lifts it until the feedback takes over and makes the spike. Steps of at most a twentieth of the shortest time
    constant, and of a fifth of the time in which the feedback lets I grow e-fold; `check_step` refuses longer ones.
    """

    i_fb_gain: float = quantity(100e-12, "A", (0.0, 1e-6), SE1 + ": 100 i_0")
    i_fb_threshold: float = quantity(1e-9, "A", (1e-13, 1e-5), SE1 + ": 1000 i_0")
    i_fb_norm: float = quantity(20e-12, "A", (1e-14, 1e-6), SE1 + ": 20 i_0")

    @property
    def soma(self) -> str:
        """Equation text of i_mem, i_fb and tau."""
        return (
            """
        di_mem/dt = i_mem * (alpha * (i_in - i_sum) - i_sum * i_mem / i_tau)
                    / (pace * (i_mem + alpha * i_tau)) : amp (unless refractory)
        i_fb = i_fb_gain / (1 + exp((i_fb_threshold - i_mem) / i_fb_norm)) : amp
        """
            + self.thermal
        )

    @property
    def longest(self) -> float:
        """The longest step that the equations allow [s]."""
        growth = self.tau * self.i_tau / self.i_fb_gain if self.i_fb_gain else self.tau
        return min(self.shortest / 20, growth / 5)

    @property
    def step(self) -> float:
        """0.1 ms, or the next number with one digit below what the equations allow, if that is less."""
        digit = 10.0 ** math.floor(math.log10(self.longest))
        return min(1e-4, math.floor(self.longest / digit) * digit)

    @property
    def shortest(self) -> float:
        """The shortest time constant [s]."""
        return self.tau
