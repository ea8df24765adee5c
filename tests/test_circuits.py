import math

import brian2
import numpy as np
import pytest

from chipsim.circuits import IF, LIF, Integrator
from chipsim.errors import ParameterError
from chipsim.testing.conformance.circuit import respond


def test_lif_is_the_published_neuron_by_default() -> None:
    circuit = LIF()
    assert circuit.threshold == "v > v_threshold"
    assert circuit.reset == "v = v_reset"
    assert (circuit.v_threshold, circuit.v_reset, circuit.v_rest, circuit.tau) == (0.6, 0.0, 0.0, 10e-3)
    assert circuit.leak(1e-3) == math.exp(-0.1)
    assert circuit.leak(5e-3) == pytest.approx(circuit.leak(1e-3) ** 5)
    assert IF().leak(1.0) == Integrator().leak(1.0) == 1.0


def test_lif_trace_by_hand() -> None:
    lam, q = math.exp(-0.1), 0.25
    v, spikes = respond(LIF(), [q], steps=4)
    expected = [q, q + lam * q, q + lam * q + lam**2 * q, q]  # 0.25, 0.476, 0.681 spikes, then from zero
    np.testing.assert_allclose(v[0, :, 0, 0], expected, rtol=1e-12)
    assert spikes[0, :, 0, 0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(("soft", "membrane"), [(False, [0.5, 1.0, 0.5, 1.0]), (True, [0.5, 1.0, 0.75, 1.25])])
def test_if_trace_by_hand_with_hard_and_soft_reset(soft: bool, membrane: list[float]) -> None:
    v, spikes = respond(IF(v_threshold=0.75, soft_reset=soft), [0.5], steps=4)
    np.testing.assert_allclose(v[0, :, 0, 0], membrane)
    assert spikes[0, :, 0, 0].tolist() == [0, 1, 0, 1]


def test_a_soft_reset_goes_down_by_threshold_minus_reset() -> None:
    v, _ = respond(IF(v_threshold=0.75, v_reset=0.25, soft_reset=True), [0.5], steps=3)
    np.testing.assert_allclose(v[0, :, 0, 0], [0.5, 1.0, 1.0])  # 1.0 - (0.75 - 0.25) + 0.5


def test_a_soft_reset_keeps_the_excess_and_a_hard_one_drops_it() -> None:
    rates = {}
    for soft in (False, True):
        _, spikes = respond(IF(v_threshold=1.0, soft_reset=soft), [0.7], steps=100)
        rates[soft] = spikes.mean()
    assert rates[False] == 0.5
    assert rates[True] == pytest.approx(0.7, abs=0.02)


def test_a_membrane_at_its_threshold_does_not_fire() -> None:
    _, spikes = respond(IF(v_threshold=1.0), [0.5, np.nextafter(0.5, 1)], steps=2)
    assert spikes[0, 1, :, 0].tolist() == [0.0, 1.0]


def test_gain_multiplies_the_charge_and_not_the_noise() -> None:
    v, _ = respond(Integrator(gain=3.0), [0.5], kick=0.25, steps=2)
    np.testing.assert_allclose(v[0, :, 0, 0], [1.75, 3.25])


def test_lif_relaxes_to_its_rest() -> None:
    v, _ = respond(LIF(v_rest=0.2, tau=2e-3), [0.0], kick=0.3, steps=40)
    np.testing.assert_allclose(v[0, :, 0, 0], 0.2 + 0.3 * np.exp(-np.arange(40) / 2), rtol=1e-9)


def test_rails_stand_in_the_text_only_where_there_are_any() -> None:
    assert "clip" not in LIF().inject
    assert "clip" in LIF(v_floor=-1.0).inject
    assert "clip" in LIF(v_ceiling=1.0).inject


def test_a_floor_forgets_what_went_below_it() -> None:
    _, free = respond(IF(), [-5.0], steps=3)
    v, _ = respond(IF(v_floor=-0.25), [-5.0], steps=3)
    assert not free.any()
    np.testing.assert_allclose(v[0, :, 0, 0], -0.25)


def test_swing_is_from_rest_to_threshold() -> None:
    assert LIF(v_rest=0.1, v_threshold=0.5).swing == pytest.approx(0.4)
    assert Integrator(v_unit=0.7).swing == 0.7


def test_nominal_values_are_the_fields() -> None:
    circuit = LIF(tau=3 * brian2.ms, gain=1.5)
    assert circuit.nominal() == {
        "tau": 3e-3,
        "v_threshold": 0.6,
        "v_reset": 0.0,
        "gain": 1.5,
        "v_rest": 0.0,
        "v_floor": -math.inf,
        "v_ceiling": math.inf,
    }
    assert "tau" not in IF().nominal()


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (LIF, {"v_reset": 0.7}, "LIF.v_threshold = 0.6 V must lie above v_rest = 0 V and v_reset = 0.7 V, or the neur"),
        (IF, {"v_rest": 0.6}, "IF.v_threshold = 0.6 V must lie above"),
        (LIF, {"v_ceiling": 0.5}, "LIF rails -inf V to 0.5 V must enclose rest, reset and threshold"),
        (LIF, {"v_floor": 0.1}, "rails 0.1 V to inf V must enclose"),
        (IF, {"v_reset": -0.5, "v_floor": -0.4}, "must enclose rest, reset and threshold"),
        (LIF, {"tau": 0.0}, "LIF.tau = 0 s is outside its valid range"),
        (LIF, {"tau": 10 * brian2.mV}, "wrong unit: expected s"),
        (LIF, {"gain": -1.0}, "LIF.gain"),
        (Integrator, {"v_unit": 0.0}, "Integrator.v_unit"),
        (Integrator, {"v_floor": 0.5}, "Integrator rails 0.5 V to inf V must enclose rest"),
        (Integrator, {"v_floor": 2.0, "v_ceiling": -2.0}, "must enclose rest"),
    ],
)
def test_impossible_circuits_are_refused(kind: type, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        kind(**fields)
