"""Flash: charge-trapping transistors in subthreshold, whose currents spread and drift with the days."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.arrays import AnyArray, namespace
from chipsim.devices.ageing import Ageing
from chipsim.devices.curves import Saturation, polynomial
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

NANO = 1e-9
V_READ = 0.2
"""Voltage at which the currents were measured: I over g of the source [V]."""
DAY = 86_400.0
AGRAWAL = "Agrawal et al. 2022, as in CrossSim"


@final
@dataclass(frozen=True, kw_only=True)
class Sonos(Ageing):
    r"""Subthreshold SONOS cell; I = V_READ g, in nanoamperes, days since the write:

        programming    I = max(0, target + spread_0(target) N(0, 1))
        drift          I(d) = I + sum_k c_dk target^k + (spread_d / spread_0 - 1) (I - target)
        read noise     sigma = A (1 - exp(-target / B)), another one at every access
        spread_d(I) = A_d (1 - exp(-I / B_d))

    Between two days spreads and drifts are interpolated linearly. Measured over five days and up to 1,800 nA: there the
    polynomials leave their range.
    """

    fluctuates: ClassVar[bool] = True
    goes_on: ClassVar[bool] = False

    g_max: float = quantity(9e-6, "S", (1e-9, 9e-6), AGRAWAL)
    measured_until: float = quantity(5 * DAY, "s", (0.0, 5 * DAY), AGRAWAL)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extrapolate:
            raise ParameterError("Sonos cannot be extrapolated beyond five days: its polynomials say nothing there")

    def sigma(self, g: AnyArray) -> AnyArray:
        return SPREADS[0](_current(g)) * (NANO / V_READ)

    def aged(self, g: AnyArray, target: AnyArray, drawn: AnyArray | None, age: AnyArray) -> AnyArray:
        xp, aim = namespace(g), _current(target)
        start = SPREADS[0](aim)
        days, drift, spread = age / DAY, aim * 0.0, start
        for day, coefficients in enumerate(DRIFT):
            passed = xp.clip(days - day, min=0.0)
            passed = passed if day == len(DRIFT) - 1 else xp.clip(passed, max=1.0)
            drift = drift + passed * (polynomial(coefficients, aim) - (polynomial(DRIFT[day - 1], aim) if day else 0.0))
            spread = spread + passed * (SPREADS[day + 1](aim) - SPREADS[day](aim))
        deviation = _current(g - target) * spread / xp.clip(start, min=1e-9)
        return xp.clip(aim + drift + deviation, min=0.0) * (NANO / V_READ)

    def variance(self, g: AnyArray, target: AnyArray, step: float) -> AnyArray:
        return (READ(_current(target)) * (NANO / V_READ)) ** 2


def _current(g: AnyArray) -> AnyArray:
    return g * (V_READ / NANO)


SPREADS = tuple(
    Saturation(height=height, scale=scale)
    for height, scale in (
        (19.88665, 176.3115),
        (25.59102, 186.85544),
        (28.72753, 193.56834),
        (31.04318, 198.90332),
        (33.76214, 204.77023),
        (34.57909, 207.34309),
    )
)
"""Spread of the current [nA] over the target current [nA] on days 0 to 5."""
READ = Saturation(height=12.58037, scale=215.36557)
"""Read noise [nA] over the target current [nA]."""
DRIFT = (
    (1.72684e-1, 5.72552e-2, -6.85715e-4, 3.50271e-6, -9.37682e-9, 1.40575e-11, -1.19803e-14, 5.41293e-18, -8.85448e-22,
     -1.66869e-25, 5.95180e-29),
    (2.50712e-1, 6.62195e-2, -6.83218e-4, 2.99442e-6, -6.78255e-9, 7.70482e-12, -3.04983e-15, -2.15919e-18, 2.94617e-21,
     -1.23359e-24, 1.85329e-28),
    (-1.75300e-2, 9.76883e-2, -9.63791e-4, 4.55551e-6, -1.22391e-8, 1.93786e-11, -1.85899e-14, 1.07659e-17,
     -3.58211e-21, 5.96785e-25, -3.30410e-29),
    (4.03338e-2, 1.03111e-1, -1.04740e-3, 4.83961e-6, -1.28132e-8, 1.99484e-11, -1.85139e-14, 1.00008e-17, -2.84944e-21,
     3.01008e-25, 1.18747e-29),
    (3.19927e-1, 1.06596e-1, -1.04054e-3, 4.50290e-6, -1.10352e-8, 1.56477e-11, -1.27592e-14, 5.45513e-18, -7.26841e-22,
     -2.43893e-25, 7.14608e-29),
)  # fmt: skip
"""Mean drift of the current [nA] after 1 to 5 days: powers 0 to 10 of the target current [nA]."""

SONOS_AGRAWAL_2022 = Sonos()
"""40 nm subthreshold SONOS cells. Source: Agrawal et al., IEDM 2022, 128,000 devices, as fitted in CrossSim."""
