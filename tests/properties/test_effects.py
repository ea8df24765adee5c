"""Every effect keeps the conformance suite at any strength, but for what asks for an ordinary one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipsim.effects import ALL, Effect
from chipsim.testing import conformance, strategies
from chipsim.testing.conformance.effect import acts, measures_what_it_states

CHECKS = [check for check in conformance.EFFECT if check not in (acts, measures_what_it_states)]


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=2)
@given(data=st.data())
def test_effects_conform(kind: type[Effect], data: st.DataObject) -> None:
    effect = data.draw(strategies.effect(kind))
    for check in CHECKS:
        check(effect)
