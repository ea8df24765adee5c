from collections.abc import Callable

import numpy as np
import pytest

from chipsim.rules import ALL, LocalTandem, LocalTandemTrace, Rule
from chipsim.testing import conformance
from chipsim.testing.conformance.rule import STEPS, observed, taught

VARIANTS: dict[str, Rule] = {
    "LocalTandem without warm-up": LocalTandem(warm_up=0),
    "LocalTandem, wide gate": LocalTandem(gate=0.6),
}
RULES = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.RULE)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule(rule: Rule, check: Callable[[Rule], None]) -> None:
    check(rule)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("readout", [False, True])
def test_inputs_held_in_one_array_teach_the_same_as_copies_of_it(rule: Rule, readout: bool) -> None:
    seen = observed(rule, readout=readout)
    held = np.broadcast_to(seen["pre"][:1], seen["pre"].shape)
    copies = np.repeat(seen["pre"][:1], len(held), axis=0)
    one, other = (taught(rule, {**seen, "pre": pre}, readout=readout) for pre in (held, copies))
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_the_trace_rule_weighs_an_input_by_how_long_ago_it_came() -> None:
    whole = np.ones((STEPS, 1, 1))
    gradients = []
    for opened in (2, 5):
        first, gate = np.zeros_like(whole), np.zeros_like(whole)
        first[0], gate[opened] = 1.0, 1.0
        seen = {"pre": first, "spikes": 0.0 * whole, "gate": gate, "membrane": 0.5 * whole, "target": whole}
        gradients.append(taught(LocalTandemTrace(), seen, readout=False).item())
    row_leak = 0.8  # of the conformance suite's signals
    np.testing.assert_allclose(gradients, [-2 / STEPS * row_leak**2, -2 / STEPS * row_leak**5], rtol=1e-12)
