"""The adaptive exponential neuron: closed forms, its time scales, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

import chipsim as cs
from chipsim.circuits import BRAINSCALES2, AdEx
from chipsim.errors import ParameterError
from chipsim.population import bench
from chipsim.testing.conformance.circuit import ENGINES, respond

FAST = ENGINES[1]
every_preset = pytest.mark.parametrize("circuit", [AdEx(), BRAINSCALES2], ids=["biology", "BrainScaleS-2"])


@every_preset
def test_it_fires_from_its_rheobase_on(circuit: AdEx) -> None:
    plain = replace(circuit, a=0.0, b=0.0)
    currents = np.array([0.98, 1.02]) * plain.rheobase
    found = bench(plain, current=currents, duration=100 * plain.tau, step=plain.step, engine=FAST)
    assert found.spikes[0].sum() == 0
    assert found.spikes[1].sum() > 0


@every_preset
def test_it_rests_where_leak_and_exponential_balance(circuit: AdEx) -> None:
    v, _ = respond(circuit, [0.0], steps=5000, engine=FAST)
    assert v[0, -1, 0, 0] == pytest.approx(circuit.rest, rel=1e-6, abs=1e-9)
    lift = circuit.g_l * circuit.delta_t * np.exp((circuit.rest - circuit.v_t) / circuit.delta_t)
    assert (circuit.g_l + circuit.a) * (circuit.rest - circuit.e_l) == pytest.approx(lift)


def test_without_slope_and_adaptation_it_is_a_leaky_neuron_with_its_f_i_curve() -> None:
    """A sharp exponential above the peak never matters: T = t_ref + tau ln((RI - v_reset) / (RI - v_peak))."""
    circuit = AdEx(a=0.0, b=0.0, delta_t=1e-4, v_t=40e-3, v_peak=30e-3, t_refractory=2e-3)
    ends = np.array([33e-3, 40e-3, 60e-3])
    found = bench(circuit, current=ends * circuit.g_l, duration=0.5, step=2e-5, engine=FAST)
    period = 2e-3 + circuit.tau * np.log(ends / (ends - circuit.v_peak))
    intervals = [np.diff(np.flatnonzero(train)).mean() * 2e-5 for train in found.spikes[:, :, 0].values]
    np.testing.assert_allclose(intervals, period, rtol=5e-3)


def test_adaptation_slows_it_to_where_its_mean_current_says() -> None:
    """Over whole periods of a steady train the mean of w is tau_w b rate, where a is 0."""
    intervals = []
    for b in (0.0, 80.5e-12):
        found = bench(AdEx(a=0.0, b=b), current=1.5e-9, duration=0.8, step=1e-4, engine=FAST)
        intervals.append(np.diff(np.flatnonzero(found.spikes[0, :, 0].values)) * 1e-4)
    plain, adapting = intervals
    assert plain[-1] == pytest.approx(plain[0], abs=2e-4)
    assert adapting[-1] > 2 * adapting[0]
    mean_w = 144e-3 * 80.5e-12 / adapting[-1]
    weaker = bench(AdEx(a=0.0, b=0.0), current=1.5e-9 - mean_w, duration=0.2, step=1e-4, engine=FAST)
    held = np.diff(np.flatnonzero(weaker.spikes[0, :, 0].values)) * 1e-4
    assert held[-1] == pytest.approx(adapting[-1], rel=0.1)  # the mean of w does most of it


def test_accelerated_hardware_runs_in_steps_of_a_tenth_of_a_microsecond() -> None:
    assert BRAINSCALES2.step == pytest.approx(1e-7)
    assert BRAINSCALES2.tau == pytest.approx(10e-6)
    chip = cs.fabricate(cs.ChipDesign(circuit=BRAINSCALES2, effects=(cs.Mismatch(sigma=0.1), cs.CircuitNoise())), 0)
    with pytest.raises(ParameterError, match=r"a step of 0\.001 s is too long for this AdEx .*; give step=1e-07"):
        cs.deploy(cs.Network.random((4, 6, 3), seed=0), chip)
    outputs = [
        cs.deploy(cs.Network.random((4, 6, 3), seed=0), chip, step=1e-7, window=400, engine=engine).outputs(
            np.ones((2, 4))
        )
        for engine in ENGINES
    ]
    assert outputs[0].any()
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)


def test_a_peak_far_above_the_threshold_stays_finite() -> None:
    """The authors' peak of +20 mV, 35 slopes up."""
    v, spikes = respond(AdEx(v_peak=90.6e-3), [2e-9], steps=1000, engine=FAST)
    assert spikes.any()
    assert np.isfinite(v).all()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"v_peak": 0.2}, r"AdEx.v_peak = 0.2 V lies more than 50 slopes of 0.002 V above v_t"),
        ({"v_reset": 31e-3}, "AdEx.v_peak = 0.0302 V must lie above e_l = 0 V and v_reset = 0.031 V"),
        ({"e_l": 25e-3}, "AdEx.v_t = 0.0202 V must lie above e_l"),
        ({"delta_t": 30e-3}, "AdEx has no resting state: its rheobase is .*; raise v_t above e_l, or lower delta_t"),
        ({"a": -40e-9}, "AdEx.a = -4e-08 S must lie above -g_l = -3e-08 S"),
        ({"tau_w": 0.0}, "AdEx.tau_w"),
    ],
)
def test_impossible_neurons_are_refused(fields: dict[str, float], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        AdEx(**fields)
