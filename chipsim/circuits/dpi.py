"""Subthreshold differential-pair-integrator neuron."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits.subthreshold import Soma


@final
@dataclass(frozen=True, kw_only=True)
class DPI(Soma):
    r"""Subthreshold DPI neuron with positive feedback and refractory time; its membrane is a current I [A]:

        tau (1 + alpha I_tau / I) dI/dt = alpha (gain I_in - I_sum) - I_sum I / I_tau        tau = C U_T / (kappa I_tau)
        I_sum = I_tau - I_fb        I_fb = i_fb_gain / (1 + exp(-(I - i_fb_threshold) / i_fb_norm))

    The array's current I_in flows into the neuron through the whole step. Forward Euler, fast but late: in steps of
    0.1 ms by up to 5 % of a spike's time. Temperature: see `Subthreshold`; feedback: see `Soma`; with synapses,
    adaptation and a better integrator: `DynapSE`.

    Source: Chicca et al. 2014 (equations); the defaults are the DYNAP-SE1 values of dynapse-simulator.

    >>> round(DPI().tau, 4), DPI().leak(1e-4) > 0.99
    (0.0133, True)
    """

    method: ClassVar[str] = "euler"

    @property
    def equations(self) -> str:
        return (
            self.soma
            + """
        pace = tau : second
        i_in = gain * drive : amp
        i_sum = i_tau - i_fb : amp
        """
        )

    def leak(self, step: float) -> float:
        return 1.0 - step / self.tau
