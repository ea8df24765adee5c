"""What subthreshold circuits share: temperature, floors and closed forms of the current-mode LIF and DynapSE."""

from dataclasses import replace

import numpy as np
import pytest

import chipsim as cs
from chipsim.circuits import DPI, DYNAP_SE1, DYNAP_SE2, ROCKPOOL_DYNAPSIM, Circuit, CurrentLIF, DynapSE
from chipsim.circuits.subthreshold import Subthreshold
from chipsim.errors import ParameterError
from chipsim.population import bench, step_error
from chipsim.testing.conformance.circuit import ENGINES, respond

FAST = ENGINES[1]
COLD, HOT = 273.15, 353.15
every_kind = pytest.mark.parametrize("kind", [DPI, CurrentLIF, DynapSE])


@every_kind
def test_by_default_the_thermal_voltage_is_that_of_the_sources(kind: type[Subthreshold]) -> None:
    circuit = kind()
    assert circuit.u_t == pytest.approx(25e-3, rel=1e-12)
    assert circuit.temperature == pytest.approx(290.1, abs=0.05)
    assert circuit.nominal()["i_0"] == circuit.leakage == circuit.i_0 == 1e-12


@every_kind
def test_time_constants_rise_with_temperature_and_the_leakage_doubles(kind: type[Subthreshold]) -> None:
    circuit = kind()
    hot = replace(circuit, temperature=circuit.temperature + 16.0)
    assert hot.tau / circuit.tau == pytest.approx(hot.temperature / circuit.temperature, rel=1e-12)
    assert hot.leakage / circuit.leakage == pytest.approx(4.0)
    slow = replace(hot, i_0_doubling=16.0)
    assert slow.leakage / circuit.leakage == pytest.approx(2.0)
    biases = ("i_tau", "i_threshold", "i_reset", "i_unit")
    assert all(getattr(hot, name) == getattr(circuit, name) for name in biases)


def test_every_time_constant_of_the_full_neuron_follows() -> None:
    one, hot = DYNAP_SE2, replace(DYNAP_SE2, temperature=HOT)
    for name in ("tau", "tau_exc", "tau_inh", "tau_ahp"):
        assert getattr(hot, name) / getattr(one, name) == pytest.approx(HOT / one.temperature, rel=1e-12)


def test_a_hot_neuron_decays_more_slowly_down_to_a_higher_floor() -> None:
    """The time in which 1 nA falls to 0.5 nA is tau ln 2."""
    for temperature in (COLD, HOT):
        circuit = CurrentLIF(temperature=temperature, i_0=1e-14)
        v, _ = respond(circuit, [0.0], kick=1e-9, steps=4000, engine=FAST)
        trace = v[0, :, 0, 0]
        half = int(np.argmax(trace < 0.5 * trace[0])) * circuit.step
        assert half == pytest.approx(circuit.tau * np.log(2), abs=circuit.step)
        assert trace[-1] == pytest.approx(circuit.leakage)
        assert circuit.tau == pytest.approx(CurrentLIF().tau * temperature / CurrentLIF().temperature)


def test_the_leakage_must_stay_below_the_threshold_at_the_circuits_temperature() -> None:
    with pytest.raises(ParameterError, match=r"DPI.i_0 = 1e-12 A must lie below .* but is .* A at 400 K"):
        DPI(temperature=400.0, i_threshold=10e-9)
    assert DPI(i_threshold=10e-9, temperature=380.0).leakage < 10e-9


def test_the_current_mode_neuron_has_its_closed_f_i_curve() -> None:
    circuit = CurrentLIF()
    currents = np.array([0.9, 1.1, 2.0, 5.0, 20.0]) * circuit.i_threshold / circuit.alpha
    found = bench(circuit, current=currents, duration=0.4, step=2e-5, engine=FAST)
    ends = circuit.alpha * currents[1:]
    period = circuit.t_refractory + circuit.tau * np.log((ends - circuit.i_reset) / (ends - circuit.i_threshold))
    assert found.rate[0, 0] == 0
    np.testing.assert_allclose(found.v[0, -1, 0], 0.9 * circuit.i_threshold, rtol=1e-6)
    intervals = [np.diff(np.flatnonzero(train)).mean() * 2e-5 for train in found.spikes[1:, :, 0].values]
    np.testing.assert_allclose(intervals, period, rtol=5e-3)


# ------------------------------------------------------------------------------------------------- the full neuron

QUIET = DynapSE(i_fb_gain=0.0, i_threshold=1e-6, i_0=1e-15, alpha=10.0)


@pytest.mark.parametrize("linear", [True, False])
def test_a_held_current_settles_where_synapse_and_soma_balance(linear: bool) -> None:
    """I_exc = alpha_s I_w, less I_g where not linear; I = alpha (I_in - I_tau) I_tau / I_tau."""
    circuit = replace(QUIET, linear=linear)
    currents = np.array([50e-12, 100e-12, 300e-12])
    found = bench(circuit, current=currents, duration=0.5, step=1e-4, engine=FAST)
    excitation = circuit.alpha_synapse * (currents - (0.0 if linear else circuit.i_tau_exc))
    np.testing.assert_allclose(found.v[:, -1, 0], circuit.alpha * (excitation - circuit.i_tau), rtol=1e-3)


def test_a_current_is_the_same_whatever_the_step() -> None:
    assert step_error(QUIET, current=100e-12, duration=0.05, engine=FAST).v_error.item() < 1e-4


def test_adaptation_lowers_the_rate_to_where_its_mean_current_says() -> None:
    """Linear, I_ahp averages alpha_ahp i_ahp_weight t_pulse_ahp times the rate, and the neuron fires as one of a leak
    of I_sum = I_tau + that: far above its gain current, a first-order low-pass of tau I_tau / I_sum.
    """
    c = replace(ROCKPOOL_DYNAPSIM, i_ahp_weight=100e-9)
    current = 2e-9
    intervals = []
    for circuit in (ROCKPOOL_DYNAPSIM, c):
        found = bench(circuit, current=current, duration=0.3, step=5e-5, engine=FAST)
        intervals.append(np.diff(np.flatnonzero(found.spikes[0, :, 0].values)) * 5e-5)
    plain, adapting = intervals[0][-20:].mean(), intervals[1][-20:].mean()

    def period(i_ahp: float) -> float:
        i_sum = c.i_tau + i_ahp
        tau, end = c.tau * c.i_tau / i_sum, c.alpha * (c.alpha_synapse * current - i_sum) * c.i_tau / i_sum
        return c.t_refractory + tau * float(np.log(end / (end - c.i_threshold)))

    assert plain == pytest.approx(period(c.i_0), rel=0.03)
    assert adapting == pytest.approx(period(c.alpha_ahp * c.i_ahp_weight * c.t_pulse_ahp / adapting), rel=0.03)
    assert adapting > 1.1 * plain


def test_linear_is_true_or_false() -> None:
    with pytest.raises(ParameterError, match=r"DynapSE.linear must be True or False, not 1"):
        DynapSE(linear=1)  # type: ignore[arg-type]


def test_presets_have_the_published_time_constants() -> None:
    for preset in (DYNAP_SE2, ROCKPOOL_DYNAPSIM):
        times = (preset.tau, preset.tau_exc, preset.tau_ahp)
        assert times == pytest.approx((20e-3, 10e-3, 50e-3))
    assert (DYNAP_SE2.capacitance, ROCKPOOL_DYNAPSIM.capacitance) == (7.7e-12, 3e-12)
    se1 = [getattr(DYNAP_SE1, name) for name in ("i_0", "i_tau", "i_threshold", "i_reset", "capacitance")]
    assert se1 == [1e-12, 5e-12, 2e-9, 1.2e-12, 2e-12]
    assert DynapSE() == DYNAP_SE1


@pytest.mark.parametrize(
    ("circuit", "longest"),
    [
        (DYNAP_SE2, 10e-3 / 20),
        (replace(DYNAP_SE2, i_tau_inh=10 * DYNAP_SE2.i_tau_inh), 1e-3 / 20),
        (DYNAP_SE1, 0.75 * 25e-3 * 2e-12 / (0.75**2 * 100e-12) / 5),
    ],
)
def test_the_shortest_time_constant_limits_the_step(circuit: Circuit, longest: float) -> None:
    circuit.check_step(0.999 * longest)
    with pytest.raises(ParameterError, match="is too long for this DynapSE circuit"):
        circuit.check_step(1.001 * longest)


def test_a_noisy_chip_of_full_neurons_runs_in_its_own_step() -> None:
    design = cs.ChipDesign(circuit=DynapSE(), effects=(cs.Mismatch(sigma=0.1), cs.CircuitNoise()))
    chip, network = cs.fabricate(design, 0), cs.Network.random((4, 6, 3), seed=0)
    outputs = cs.deploy(network, chip, step=1e-4, window=200, engine=FAST).outputs(np.ones((2, 4)))
    assert np.isfinite(outputs).all()
    assert outputs.any()


@pytest.mark.parametrize(
    "circuit",
    [DPI(i_fb_gain=200e-12), DPI(temperature=210), DPI(i_tau=40e-12), DynapSE(i_tau_exc=60e-12), DYNAP_SE1],
    ids=lambda circuit: type(circuit).__name__,
)
def test_a_circuit_has_a_step_that_it_allows(circuit: DPI | DynapSE) -> None:
    circuit.check_step(circuit.step)
    assert 0.5 * min(1e-4, circuit.longest) < circuit.step <= 1e-4
