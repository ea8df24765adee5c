from collections.abc import Callable

import numpy as np
import pytest

from chipsim.rules import ALL, LocalTandem, LocalTandemTrace, Rule
from chipsim.testing import conformance
from chipsim.testing.conformance.rule import ROW_LEAK, STEPS, taught

VARIANTS: dict[str, Rule] = {
    "LocalTandem without warm-up": LocalTandem(warm_up=0),
    "LocalTandem, wide gate": LocalTandem(gate=0.6),
}
RULES = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.RULE)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule(rule: Rule, check: Callable[[Rule], None]) -> None:
    check(rule)


def test_the_trace_rule_weighs_an_input_by_how_long_ago_it_came() -> None:
    whole = np.ones((STEPS, 1, 1))
    gradients = []
    for opened in (2, 5):
        first, gate = np.zeros_like(whole), np.zeros_like(whole)
        first[0], gate[opened] = 1.0, 1.0
        seen = {"pre": first, "spikes": 0.0 * whole, "gate": gate > 0, "membrane": 0.5 * whole, "target": whole}
        gradients.append(taught(LocalTandemTrace(), seen, readout=False).item())
    np.testing.assert_allclose(gradients, [-2 / STEPS * ROW_LEAK**2, -2 / STEPS * ROW_LEAK**5], rtol=1e-12)
