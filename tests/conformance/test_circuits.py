from collections.abc import Callable

import pytest

from chipsim.circuits import ALL, DPI, IF, LIF, Circuit, Integrator
from chipsim.testing import conformance

VARIANTS = {
    "IF soft, railed": IF(soft_reset=True, v_floor=-1.0, v_ceiling=2.0, v_rest=0.1, gain=0.7),
    "LIF soft, slow": LIF(soft_reset=True, tau=50e-3, v_reset=-0.2, v_unit=0.5),
    "LIF railed": LIF(v_floor=0.0, v_ceiling=0.7),
    "Integrator, railed": Integrator(v_floor=-2.0, v_ceiling=3.0, v_rest=0.2, gain=1.5),
    "DPI without feedback": DPI(i_fb_gain=0.0, i_threshold=1e-9, i_unit=50e-12),
    "DPI without refractory time": DPI(t_refractory=0.0, gain=2.0),
}
CIRCUITS = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.CIRCUIT)
@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
def test_circuit(circuit: Circuit, check: Callable[[Circuit], None]) -> None:
    check(circuit)
