"""Adaptive exponential integrate-and-fire neuron."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from chipsim.circuits.base import BOLTZMANN, Circuit, Density
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

BRETTE = "Brette and Gerstner 2005, as in Brette's scripts (ModelDB 114242)"
STEEPEST = 50.0
"""Slopes from v_t to v_peak at most: exp(50) is still a number in single precision."""


@final
@dataclass(frozen=True, kw_only=True)
class AdEx(Circuit):
    r"""Adaptive exponential integrate-and-fire:

        C dv/dt = -g_l (v - e_l) + g_l delta_t exp((min(v, v_peak) - v_t) / delta_t) - w + gain I_in
        tau_w dw/dt = a (v - e_l) - w

    A spike when v > v_peak; then v := v_reset for t_refractory, and w := w + b. The array's current I_in flows through
    the whole step. Only differences of voltages matter; the defaults count them from e_l = 0. Second-order Runge-Kutta:
    steps of at most a twentieth of the shortest time constant, which is microseconds on accelerated hardware;
    `check_step` refuses longer ones. The exponential is clipped before it is evaluated. Its noise is that of the leak,
    4 k T g_l [A^2/Hz] on C.

    Source: Brette and Gerstner 2005; the defaults are their regular spiking neuron. Raises ParameterError for a neuron
    without a resting state, whose exponential lifts it to a spike without input.

    >>> round(AdEx().rheobase * 1e12), round(BRAINSCALES2.step * 1e9)
    (627, 100)
    """

    per_neuron: ClassVar[tuple[str, ...]] = (
        "v_t",
        "v_peak",
        "v_reset",
        "e_l",
        "capacitance",
        "g_l",
        "delta_t",
        "tau_w",
        "a",
        "b",
        "gain",
        "t_refractory",
    )
    roles: ClassVar[Mapping[str, str]] = {
        "threshold": "v_t",
        "time_constant": "capacitance",
        "reset": "v_reset",
        "gain": "gain",
    }
    initial: ClassVar[Mapping[str, str]] = {"v": "e_l"}
    method: ClassVar[str] = "rk2"
    port: ClassVar[Literal["charge", "current"]] = "current"
    refractory: ClassVar[str | None] = "t_refractory"

    capacitance: float = quantity(281e-12, "F", (1e-15, 1e-6), BRETTE)
    g_l: float = quantity(30e-9, "S", (1e-12, 1e-3), BRETTE)
    e_l: float = quantity(0.0, "V", (-10.0, 10.0), BRETTE + ": -70.6 mV, from where voltages are counted here")
    v_t: float = quantity(20.2e-3, "V", (-10.0, 10.0), BRETTE + ": -50.4 mV")
    delta_t: float = quantity(2e-3, "V", (1e-5, 1.0), BRETTE)
    """Slope of the exponential."""
    v_peak: float = quantity(30.2e-3, "V", (-10.0, 10.0), BRETTE + ": v_t + 5 delta_t")
    v_reset: float = quantity(0.0, "V", (-10.0, 10.0), BRETTE + ": -70.6 mV")
    tau_w: float = quantity(144e-3, "s", (1e-9, 1e3), BRETTE)
    a: float = quantity(4e-9, "S", (-1e-3, 1e-3), BRETTE)
    b: float = quantity(80.5e-12, "A", (0.0, 1e-3), BRETTE)
    t_refractory: float = quantity(0.0, "s", (0.0, 1.0), BRETTE)
    i_unit: float = quantity(1e-9, "A", (1e-14, 1e-3))
    """Current of an input of 1 through a weight of 1, and of an input that stands for a rate of 1 [A]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not max(self.v_reset, self.e_l) < self.v_peak:
            raise ParameterError(
                f"AdEx.v_peak = {self.v_peak:g} V must lie above e_l = {self.e_l:g} V and v_reset = {self.v_reset:g} V"
            )
        if not self.e_l < self.v_t:
            raise ParameterError(f"AdEx.v_t = {self.v_t:g} V must lie above e_l = {self.e_l:g} V")
        if self.v_peak - self.v_t > STEEPEST * self.delta_t:
            raise ParameterError(
                f"AdEx.v_peak = {self.v_peak:g} V lies more than {STEEPEST:g} slopes of {self.delta_t:g} V above v_t, "
                "where the exponential is no number any more; lower v_peak, since the spike is over long before"
            )
        if not self.g_l + self.a > 0:
            raise ParameterError(f"AdEx.a = {self.a:g} S must lie above -g_l = {-self.g_l:g} S, or the leak is none")
        if not self.rheobase > 0:
            raise ParameterError(
                f"AdEx has no resting state: its rheobase is {self.rheobase:g} A; raise v_t above e_l, or lower delta_t"
            )

    @property
    def tau(self) -> float:
        """Nominal time constant of the membrane [s]."""
        return self.capacitance / self.g_l

    @property
    def rheobase(self) -> float:
        """Constant current above which it has no resting state [A]."""
        slope = self.delta_t * math.log1p(self.a / self.g_l) - self.delta_t
        return (self.g_l + self.a) * (self.v_t - self.e_l + slope)

    @property
    def equations(self) -> str:
        return """
        dv/dt = (g_l * (e_l - v) + g_l * delta_t * upswing - w + gain * drive) / capacitance : volt (unless refractory)
        dw/dt = (a * (v - e_l) - w) / tau_w : amp
        upswing = exp(clip((v - v_t) / delta_t, -100, (v_peak - v_t) / delta_t)) : 1
        """

    @property
    def inject(self) -> str:
        return "v += noise"

    @property
    def threshold(self) -> str | None:
        return "v > v_peak and (v - v_t) / delta_t > -1e9"  # the latter is false of a dead neuron alone: v_t infinite

    @property
    def reset(self) -> str | None:
        return "v = v_reset\nw += b"

    @property
    def step(self) -> float:
        return min(self.tau, self.tau_w) / 100

    @property
    def answers_within(self) -> float:
        return 10 * self.tau

    @property
    def unit_drive(self) -> float:
        return self.i_unit

    @property
    def firing_drive(self) -> float:
        return self.i_unit

    @property
    def rest(self) -> float:
        v = self.e_l
        for _ in range(50):  # Newton's method on a convex curve, from the left of its first root
            pull, lift = self.g_l + self.a, self.g_l * math.exp((v - self.v_t) / self.delta_t)
            v += (lift * self.delta_t - pull * (v - self.e_l)) / (pull - lift)
        return v

    @property
    def swing(self) -> float:
        return self.v_t - self.e_l

    @property
    def scale(self) -> float:
        return self.swing

    def leak(self, step: float) -> float:
        return math.exp(-step / self.tau * (1 - math.exp((self.rest - self.v_t) / self.delta_t)))

    def density(self, temperature: float) -> Density | None:
        return Density(2 * BOLTZMANN * temperature * self.g_l / self.capacitance**2, self.tau)


LSB = 1.2 / 256
"""Of the parallel converter: 8 bit over the supply of 1.2 V (design choice) [V]."""

BRAINSCALES2 = AdEx(
    capacitance=2.2e-12,  # full scale of the code
    g_l=2.2e-12 / 10e-6,  # tau of 10 us
    v_t=30 * LSB,  # 110 over a leak of 80
    delta_t=50e-3,
    v_peak=45 * LSB,  # 125 over 80
    v_reset=-10 * LSB,  # 70 over 80
    tau_w=100e-6,
    a=0.0,
    b=2e-9,
    t_refractory=2e-6,
    i_unit=100e-9,
)
"""BrainScaleS-2: potentials and times are calix's defaults, of which the exponential's slope is taken to be in volts.
Design choices: the capacitance (not verified), the volts of an LSB, a, b and i_unit.
"""
