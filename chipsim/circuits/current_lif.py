"""Current-mode leaky integrate-and-fire neuron."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits.subthreshold import Subthreshold


@final
@dataclass(frozen=True, kw_only=True)
class CurrentLIF(Subthreshold):
    r"""First-order current-mode integrate-and-fire: a DPI far above its gain current, a linear low-pass of currents:

        tau dI/dt = alpha gain I_in - I        tau = C U_T / (kappa I_tau)

    A spike when I > i_threshold; then I := i_reset for t_refractory. Under a constant input it settles at
    I_end = alpha gain I_in, or fires every t_refractory + tau ln((I_end - i_reset) / (I_end - i_threshold)). Integrated
    exactly, so any step is valid. Temperature: see `Subthreshold`.

    Source: Chicca et al. 2014 (the DPI's first-order form); the defaults are the DYNAP-SE1 values of dynapse-simulator.

    >>> hot = CurrentLIF(temperature=333.15)
    >>> round(hot.tau / CurrentLIF().tau, 3), round(hot.leakage / hot.i_0)
    (1.148, 42)
    """

    method: ClassVar[str] = "exponential_euler"  # exact for a linear equation whose input holds for the step

    @property
    def equations(self) -> str:
        return "di_mem/dt = (alpha * gain * drive - i_mem) / tau : amp (unless refractory)" + self.thermal
