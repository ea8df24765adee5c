"""Subthreshold DPI neuron of the DYNAP-SE family, with its synapses and its adaptation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

from chipsim.circuits.subthreshold import SE1, Soma
from chipsim.quantity import quantity

ROCKPOOL = "rockpool DynapSim"
NEWTON = "i_relative = i_relative * (1 + i_log - log(i_relative)) / (1 + i_relative)"
CHARGED = [
    "i_log = log(i_ahp / (alpha_ahp * i_tau_ahp)) + (i_ahp + i_ahp_charge) / (alpha_ahp * i_tau_ahp)",
    "i_relative = log1p(exp(clip(i_log, -80, 80)))",
    NEWTON,
    NEWTON,
    "i_ahp = i_relative * alpha_ahp * i_tau_ahp",
]
"""Text of a charge that a DPI takes at once, y + ln y = i_log with y = i_ahp / I_g, by Newton's method."""


@final
@dataclass(frozen=True, kw_only=True)
class DynapSE(Soma):
    r"""DPI neuron with excitatory and inhibitory DPI synapses, adaptation, positive feedback and refractory time:

        tau (1 + alpha I_tau / I) dI/dt = alpha (I_in - I_sum) - I_sum I / I_tau        tau = C U_T / (kappa I_tau)
        I_in = I_exc I / (I + i_nmda) - (1 - shunt) I_inh        I_sum = I_tau + I_ahp + shunt I_inh - I_fb

    and each of I_exc, I_inh, I_ahp =: J is a differential-pair integrator of time constant tau_J = C_J U_T / (kappa
    I_tau,J) and gain current I_g = alpha_J I_tau,J, which a current I_w drives during a pulse:

        tau_J (1 + I_g / J) dJ/dt = alpha_J I_w - I_g - J      linear=True: tau_J dJ/dt = alpha_J I_w - J, for J >> I_g

    All of J, I and I_in stay above the leakage i_0, I_ahp also where there is no adaptation: without input, I decays
    with tau below its gain current alpha I_tau, and with tau / (1 + i_0 / I_tau) far above it. I_fb: see `Soma`;
    temperature: see `Subthreshold`. Second-order Runge-Kutta; where inhibition or adaptation makes the membrane's own
    time, tau I_tau / I_sum, shorter than a step, it is slowed down to a step, so that it settles where it should.

    The array's current in a step, of the rows that spike in it, is I_w: of I_exc where it is above 0, of I_inh where it
    is below; what excites and inhibits in one step cancels before the synapses. A pulse extender makes each spike a
    pulse of t_pulse, mostly far shorter than a step: here the charge of the pulse is spread over its step, as
    I_w t_pulse / step. An input that is held counts as one pulse in every step. After a spike, i_ahp_weight flows into
    the adaptation during t_pulse_ahp; its charge arrives at once: I_ahp + I_g ln I_ahp, or I_ahp where linear, rises by
    alpha_ahp i_ahp_weight t_pulse_ahp / tau_ahp. i_ahp_weight, i_nmda and shunt switch their branches off at 0.

    `DYNAP_SE1` are dynapse-simulator's values, `DYNAP_SE2` has the chip's 7.7 pF and rockpool's currents and times,
    `ROCKPOOL_DYNAPSIM` rockpool's 3 pF and linear synapses (its own positive feedback has another form: it is off).
    Source: Chicca et al. 2014 (equations); the class's defaults are DYNAP_SE1.

    >>> round(DYNAP_SE2.tau, 4), round(DYNAP_SE2.tau_ahp, 4)
    (0.02, 0.05)
    """

    method: ClassVar[str] = "rk2"
    initial: ClassVar[Mapping[str, str]] = {"i_mem": "i_0", "i_exc": "i_0", "i_inh": "i_0", "i_ahp": "i_0"}

    c_synapse: float = quantity(2e-12, "F", (1e-15, 1e-9), SE1)
    i_tau_exc: float = quantity(20e-12, "A", (1e-14, 1e-6), SE1 + ": AMPA, 20 i_0")
    i_tau_inh: float = quantity(5e-12, "A", (1e-14, 1e-6), SE1 + ": GABA, 5 i_0")
    alpha_synapse: float = quantity(50.0, "1", (1e-2, 1e5), SE1 + ": gain current of 1000 i_0 over i_tau_exc")
    t_pulse: float = quantity(100e-6, "s", (1e-9, 1.0))
    """Width of the pulse that a spike becomes at a synapse."""
    shunt: float = quantity(0.0, "1", (0.0, 1.0))
    """Share of the inhibitory current that divides, by adding to the leak, instead of being subtracted."""
    i_nmda: float = quantity(0.0, "A", (0.0, 1e-5))
    """Membrane current at which half of the excitatory current passes; 0 for no such gate."""
    c_ahp: float = quantity(4e-12, "F", (1e-15, 1e-9), SE1)
    i_tau_ahp: float = quantity(2e-12, "A", (1e-14, 1e-6))
    alpha_ahp: float = quantity(1.0, "1", (1e-2, 1e5), ROCKPOOL)
    i_ahp_weight: float = quantity(0.0, "A", (0.0, 1e-5))
    """Current of the adaptation's pulse; 0 for no adaptation."""
    t_pulse_ahp: float = quantity(100e-6, "s", (1e-9, 1.0))
    """Width of the adaptation's pulse after a spike."""
    linear: bool = False
    """Whether synapses and adaptation are first-order low-pass filters, as far above their gain currents."""

    @property
    def tau_exc(self) -> float:
        """Time constant of excitation [s]."""
        return self.c_synapse * self.u_t / (self.kappa * self.i_tau_exc)

    @property
    def tau_inh(self) -> float:
        """Time constant of inhibition [s]."""
        return self.c_synapse * self.u_t / (self.kappa * self.i_tau_inh)

    @property
    def tau_ahp(self) -> float:
        """Time constant of adaptation [s]."""
        return self.c_ahp * self.u_t / (self.kappa * self.i_tau_ahp)

    @property
    def shortest(self) -> float:
        return min(self.tau, self.tau_exc, self.tau_inh, self.tau_ahp)

    def _synapse(self, name: str) -> str:
        """Equation text of i_NAME, driven by w_NAME."""
        share = "" if self.linear else f" * i_{name} / (i_{name} + alpha_synapse * i_tau_{name})"
        return f"""
        di_{name}/dt = (alpha_synapse * w_{name}{share} - i_{name}) / tau_{name} : amp
        tau_{name} = c_synapse * u_t / (kappa * i_tau_{name}) : second
        """

    @property
    def equations(self) -> str:
        gate = " * i_mem / (i_mem + i_nmda)" if self.i_nmda else ""
        return (
            self.soma
            + self._synapse("exc")
            + self._synapse("inh")
            + f"""
        di_ahp/dt = -i_ahp / tau_ahp : amp
        tau_ahp = c_ahp * u_t / (kappa * i_tau_ahp) : second
        w_exc = clip(gain * drive, 0 * amp, 1 * amp) * t_pulse / dt : amp
        w_inh = clip(-gain * drive, 0 * amp, 1 * amp) * t_pulse / dt : amp
        pace = tau * clip(i_sum * dt / (i_tau * tau), 1, 1e9) : second
        i_in = clip(i_exc{gate} - (1 - shunt) * i_inh, i_0, 1 * amp) : amp
        i_sum = i_tau + i_ahp + shunt * i_inh - i_fb : amp
        """
        )

    @property
    def inject(self) -> str:
        floors = [f"i_{name} = clip(i_{name}, i_0, 1 * amp)" for name in ("exc", "inh", "ahp")]
        return "\n".join([super().inject, *floors])

    @property
    def reset(self) -> str | None:
        text = ["i_mem = i_reset"]
        if self.i_ahp_weight:
            text.append("i_ahp_charge = alpha_ahp * i_ahp_weight * t_pulse_ahp / tau_ahp")
            text += ["i_ahp += i_ahp_charge"] if self.linear else CHARGED
        return "\n".join(text)

    def per_ampere(self, step: float) -> float:
        return step / self.t_pulse


DYNAP_SE1 = DynapSE()
"""dynapse-simulator. Pulses and adaptation are design choices."""


def _leak(capacitance: float, tau: float) -> float:
    """Leak current [A] for a time constant [s], at U_T = 25 mV and rockpool's mean kappa."""
    return capacitance * 25e-3 / (0.705 * tau)


DYNAP_SE2 = DynapSE(
    capacitance=7.7e-12,  # SE2; all that follows from rockpool
    i_tau=_leak(7.7e-12, 20e-3),
    alpha=4.0,
    i_0=0.5e-12,
    kappa=0.705,  # mean of n (0.75) and p (0.66)
    i_threshold=100e-9,
    i_reset=0.5e-12,
    i_fb_gain=0.0,
    t_refractory=1e-3,
    i_unit=10e-9,
    c_synapse=24.5e-12,
    i_tau_exc=_leak(24.5e-12, 10e-3),
    i_tau_inh=_leak(24.5e-12, 10e-3),
    alpha_synapse=100.0,
    t_pulse=10e-6,
    c_ahp=25e-12,
    i_tau_ahp=_leak(25e-12, 50e-3),
    t_pulse_ahp=1e-6,
)
"""The chip's membrane capacitor of 7.7 pF (Richter et al., arXiv 2310.00564), all else as in rockpool's DynapSim."""

ROCKPOOL_DYNAPSIM = replace(DYNAP_SE2, capacitance=3e-12, i_tau=_leak(3e-12, 20e-3), linear=True)
"""rockpool's DynapSim: a membrane capacitor of 3 pF and linear synapses."""
