from collections.abc import Callable

import pytest

from chipsim.circuits import (
    ALL,
    BRAINSCALES2,
    DPI,
    DYNAP_SE2,
    IF,
    LIF,
    ROCKPOOL_DYNAPSIM,
    AdEx,
    Circuit,
    CurrentLIF,
    DynapSE,
    Integrator,
)
from chipsim.testing import conformance

VARIANTS = {
    "IF soft, railed": IF(soft_reset=True, v_floor=-1.0, v_ceiling=2.0, v_rest=0.1, gain=0.7),
    "LIF soft, slow": LIF(soft_reset=True, tau=50e-3, v_reset=-0.2, v_unit=0.5),
    "LIF railed": LIF(v_floor=0.0, v_ceiling=0.7),
    "Integrator, railed": Integrator(v_floor=-2.0, v_ceiling=3.0, v_rest=0.2, gain=1.5),
    "DPI without feedback": DPI(i_fb_gain=0.0, i_threshold=1e-9, i_unit=50e-12),
    "DPI without refractory time": DPI(t_refractory=0.0, gain=2.0),
    "DPI, hot": DPI(temperature=333.15),
    "DynapSE that adapts, shunts and gates": DynapSE(i_ahp_weight=1e-9, shunt=0.5, i_nmda=5e-12),
    "DynapSE that adapts, linear": DynapSE(i_ahp_weight=1e-9, linear=True, gain=1.5),
    "DYNAP_SE2": DYNAP_SE2,
    "ROCKPOOL_DYNAPSIM": ROCKPOOL_DYNAPSIM,
    "BRAINSCALES2": BRAINSCALES2,
    "AdEx without adaptation": AdEx(a=0.0, b=0.0, t_refractory=2e-3, gain=0.8),
    "CurrentLIF, hot": CurrentLIF(temperature=333.15, i_reset=0.0, t_refractory=0.0),
}
CIRCUITS = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.CIRCUIT)
@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
def test_circuit(circuit: Circuit, check: Callable[[Circuit], None]) -> None:
    check(circuit)
