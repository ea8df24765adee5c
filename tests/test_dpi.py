"""The subthreshold DPI neuron: closed forms and what its currents do."""

from dataclasses import replace

import numpy as np
import pytest

import chipsim as cs
from chipsim.circuits import DPI
from chipsim.errors import ParameterError
from chipsim.population import bench
from chipsim.testing.conformance.circuit import ENGINES, respond

UNIT = 100e-12
every_engine = pytest.mark.parametrize("engine", ENGINES, ids=["brian", "torch"])


@every_engine
def test_without_input_and_feedback_the_current_decays_with_its_time_constant(engine: cs.Brian) -> None:
    circuit = DPI(i_fb_gain=0.0, i_0=1e-15, i_reset=0.0)
    steps, kick = 400, 1e-9
    v, spikes = respond(circuit, [0.0], steps=steps, kick=kick, engine=engine)
    assert not spikes.any()
    elapsed = np.arange(steps)
    np.testing.assert_allclose(v[0, :, 0, 0], v[0, 0, 0, 0] * (1 - circuit.step / circuit.tau) ** elapsed, rtol=1e-9)
    exact = v[0, 0, 0, 0] * np.exp(-elapsed * circuit.step / circuit.tau)
    np.testing.assert_allclose(
        v[0, :, 0, 0], exact, rtol=circuit.step / circuit.tau * steps * circuit.step / circuit.tau
    )
    assert circuit.tau == pytest.approx(2e-12 * 25e-3 / (0.75 * 5e-12))


@every_engine
def test_a_constant_input_without_feedback_settles_where_the_equations_balance(engine: cs.Brian) -> None:
    """0 = alpha (gain I_in - I_tau) - I, so I = alpha (gain I_in - I_tau)."""
    circuit = DPI(i_fb_gain=0.0, alpha=10.0, i_threshold=1e-6, gain=2.0)
    drives = np.array([5e-12, 10e-12, 40e-12])
    v, _ = respond(circuit, drives, steps=4000, engine=engine)
    np.testing.assert_allclose(v[0, -1, :, 0], 10.0 * (2.0 * drives - 5e-12), rtol=1e-5)


@every_engine
def test_the_leakage_is_a_floor(engine: cs.Brian) -> None:
    v, _ = respond(DPI(), [-UNIT, 0.0], steps=50, kick=-1e-9, engine=engine)
    np.testing.assert_allclose(v, DPI().i_0)


@every_engine
def test_feedback_makes_the_spike(engine: cs.Brian) -> None:
    """From the threshold of the feedback on, the current runs away."""
    with_feedback, without = (replace(DPI(), i_fb_gain=gain) for gain in (100e-12, 0.0))
    drive = 6.5e-12  # without feedback it settles at alpha (I_in - I_tau) = 0.3 nA, far below threshold
    for circuit, fires in ((with_feedback, True), (without, False)):
        _, spikes = respond(circuit, [drive], steps=4000, kick=1.1e-9, engine=engine)
        assert spikes.any() == fires


def test_the_rate_grows_with_the_current_up_to_the_refractory_limit() -> None:
    currents = np.array([0.0, 0.05, 0.1, 0.3, 1.0, 3.0, 30.0, 3000.0]) * UNIT
    found = bench(DPI(), current=currents, duration=0.5, step=1e-4, engine=cs.Torch(dtype="float64", device="cpu"))
    rate = found.rate[:, 0].to_numpy()
    assert rate[0] == 0
    assert (np.diff(rate) >= 0).all()
    assert len(np.unique(rate)) >= 5
    assert 0.9 / 5e-3 < rate[-1] <= 1 / 5e-3 + 2  # one spike more in 0.5 s than whole periods
    assert found.v.attrs["units"] == "A"


def test_a_refractory_time_keeps_spikes_apart() -> None:
    for time in (0.0, 1e-3, 7.3e-3):
        _, spikes = respond(DPI(t_refractory=time), [3000 * UNIT], steps=1000)
        gaps = np.diff(np.flatnonzero(spikes[0, :, 0, 0])) * 1e-4
        assert gaps.min() >= time - 1e-9
        assert gaps.min() < time + 1e-3


def test_a_spike_begins_the_refractory_time_at_the_reset_current() -> None:
    circuit = DPI(i_reset=7e-12)
    v, spikes = respond(circuit, [30 * UNIT], steps=300)
    first = int(np.argmax(spikes[0, :, 0, 0]))
    assert v[0, first, 0, 0] > circuit.i_threshold
    np.testing.assert_allclose(v[0, first + 1 : first + 50, 0, 0], 7e-12)
    assert v[0, first + 52, 0, 0] > 7e-12


@pytest.mark.parametrize(
    ("circuit", "longest"),
    [
        (DPI(), 0.75 * 25e-3 * 2e-12 / (0.75**2 * 100e-12) / 5),  # a fifth of the growth under feedback
        (DPI(i_fb_gain=0.0), DPI().tau / 20),
        (DPI(capacitance=1e-12, i_fb_gain=1e-12), DPI().tau / 40),
    ],
)
def test_steps_that_are_too_long_for_the_equations_are_refused(circuit: DPI, longest: float) -> None:
    circuit.check_step(0.999 * longest)
    with pytest.raises(ParameterError, match=r"is too long for this DPI circuit, .* at most .*; give step=0.0001"):
        circuit.check_step(1.001 * longest)


def test_a_chip_of_dpi_neurons_refuses_a_long_step_and_runs_in_its_own() -> None:
    chip = cs.fabricate(cs.ChipDesign(circuit=DPI(), effects=(cs.Mismatch(sigma=0.1),)), 0)
    network = cs.Network.random((4, 6, 3), seed=0)
    with pytest.raises(ParameterError, match=r"a step of 0\.001 s is too long"):
        cs.deploy(network, chip)
    with pytest.raises(ParameterError, match=r"a step of 0\.001 s is too long"):
        bench(DPI(), chip, current=1e-10, step=1e-3)
    assert np.isfinite(bench(DPI(), chip, current=1e-10, duration=1e-2).v).all()
    outputs = cs.deploy(network, chip, step=1e-4, window=300).outputs(np.ones((2, 4)))
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"i_reset": 3e-9}, r"DPI.i_reset = 3e-09 A must lie below i_threshold = 2e-09 A"),
        ({"i_0": 0.9e-9, "i_threshold": 0.5e-9}, r"DPI.i_0 = 9e-10 A must lie below i_threshold"),
        ({"i_tau": 0.0}, "DPI.i_tau"),
        ({"kappa": 1.1}, "DPI.kappa"),
    ],
)
def test_impossible_neurons_are_refused(fields: dict[str, float], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        DPI(**fields)


def test_the_exact_rule_refuses_a_current_port() -> None:
    with pytest.raises(ParameterError, match="the gradient of a membrane that gathers charge, which DPI does not"):
        cs.LocalTandemOffline().check(DPI(i_reset=0.0))
