"""Subthreshold differential-pair-integrator neuron."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from chipsim.circuits.base import Circuit
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

SE1 = "dynapse-simulator, SE1"


@final
@dataclass(frozen=True, kw_only=True)
class DPI(Circuit):
    r"""Subthreshold DPI neuron with positive feedback and refractory time; its membrane is a current I [A]:

        tau (1 + alpha I_tau / I) dI/dt = alpha (gain I_in - I_sum) - I_sum I / I_tau        tau = C U_T / (kappa I_tau)
        I_sum = I_tau - I_fb        I_fb = i_fb_gain / (1 + exp(-(I - i_fb_threshold) / i_fb_norm))

    A spike when I > i_threshold; then I := i_reset for t_refractory. I never falls below the leakage i_0. A current
    port: the array's current I_in flows through the whole step. Without input I decays with tau; a strong input lifts
    it until the feedback takes over and makes the spike. Forward Euler: steps of at most tau / 20, and of a fifth of
    the time in which the feedback lets I grow e-fold; `check_step` refuses longer ones.

    Source: Chicca et al. 2014 (equations); the defaults are the DYNAP-SE1 values of dynapse-simulator.

    >>> round(DPI().tau, 4), DPI().leak(1e-4) > 0.99
    (0.0133, True)
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
    method: ClassVar[str] = "euler"
    port: ClassVar[Literal["charge", "current"]] = "current"
    membrane: ClassVar[str] = "i_mem"
    membrane_unit: ClassVar[str] = "A"
    refractory: ClassVar[str | None] = "t_refractory"
    step: ClassVar[float] = 1e-4
    answers_within: ClassVar[float] = 0.1

    capacitance: float = quantity(2e-12, "F", (1e-15, 1e-9), SE1)
    i_tau: float = quantity(5e-12, "A", (1e-14, 1e-6), SE1)
    """Leak current, which sets the time constant."""
    alpha: float = quantity(200.0, "1", (1e-2, 1e5), SE1 + ": gain current of 1000 i_0 over i_tau")
    """Gain current over leak current."""
    i_0: float = quantity(1e-12, "A", (1e-15, 1e-9), SE1)
    """Leakage, the floor of all currents."""
    kappa: float = quantity(0.75, "1", (0.3, 1.0), SE1)
    u_t: float = quantity(25e-3, "V", (15e-3, 40e-3), SE1)
    i_threshold: float = quantity(2e-9, "A", (1e-12, 1e-5), SE1 + ": 2000 i_0")
    i_reset: float = quantity(1.2e-12, "A", (0.0, 1e-5), SE1 + ": 1.2 i_0")
    i_fb_gain: float = quantity(100e-12, "A", (0.0, 1e-6), SE1 + ": 100 i_0")
    i_fb_threshold: float = quantity(1e-9, "A", (1e-13, 1e-5), SE1 + ": 1000 i_0")
    i_fb_norm: float = quantity(20e-12, "A", (1e-14, 1e-6), SE1 + ": 20 i_0")
    t_refractory: float = quantity(5e-3, "s", (0.0, 1.0), SE1)
    i_unit: float = quantity(100e-12, "A", (1e-14, 1e-5))
    """Current of an input of 1 through a weight of 1, and of an input that stands for a rate of 1 [A]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.i_reset < self.i_threshold:
            raise ParameterError(
                f"DPI.i_reset = {self.i_reset:g} A must lie below i_threshold = {self.i_threshold:g} A"
            )
        if not self.i_0 < self.i_threshold:
            raise ParameterError(f"DPI.i_0 = {self.i_0:g} A must lie below i_threshold = {self.i_threshold:g} A")

    @property
    def tau(self) -> float:
        """Nominal time constant of the membrane [s]."""
        return self.capacitance * self.u_t / (self.kappa * self.i_tau)

    @property
    def equations(self) -> str:
        return """
        di_mem/dt = i_mem * (alpha * (gain * drive - i_sum) - i_sum * i_mem / i_tau)
                    / (tau * (i_mem + alpha * i_tau)) : amp (unless refractory)
        i_sum = i_tau - i_fb_gain / (1 + exp((i_fb_threshold - i_mem) / i_fb_norm)) : amp
        tau = capacitance * u_t / (kappa * i_tau) : second
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
        return 1.0 - step / self.tau

    def check_step(self, step: float) -> None:
        growth = self.tau * self.i_tau / self.i_fb_gain if self.i_fb_gain else self.tau
        longest = min(self.tau / 20, growth / 5)
        if step > longest:
            raise ParameterError(
                f"a step of {step:g} s is too long for this DPI circuit, whose equations need steps of at most "
                f"{longest:.3g} s; give step={self.step:g} and a longer window"
            )
