import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from chipsim.arrays import to_numpy
from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.circuits import BRAINSCALES2, DPI, DYNAP_SE2, IF, LIF, AdEx, Circuit, CurrentLIF, Integrator
from chipsim.deployment import Deployment, deploy
from chipsim.devices import Ideal
from chipsim.effects import (
    CircuitNoise,
    Converters,
    DeadNeurons,
    DriverNoise,
    Effect,
    Grid,
    MembraneNoise,
    Mismatch,
    ReadNoise,
    Seen,
    SpikeLoss,
    StuckCells,
)
from chipsim.effects.base import Draw, Frozen
from chipsim.effects.mismatch import FACTORS, log_normal
from chipsim.encoders import Poisson
from chipsim.engines import Engine, Torch
from chipsim.engines.base import codes, gridded
from chipsim.engines.brian import Brian
from chipsim.errors import ChipsimError, ParameterError
from chipsim.network import Conv2d, Dense, Network
from chipsim.population import bench
from chipsim.probe import Record
from chipsim.streams import stream
from chipsim.testing import strategies

COUNT = 20_000
DEVICE = Ideal(g_min=1e-6, g_max=5e-6)


def neurons(effect: Effect, circuit: object = None) -> Frozen:
    return effect.fabricate_neurons(circuit or LIF(), COUNT, lambda name: stream(3, "test", name))


def cells(effect: Effect) -> Frozen:
    return effect.fabricate_cells(DEVICE, (100, 100), lambda name: stream(3, "test", name))


def seen(**fields: object) -> Seen:
    nothing = {"neurons": (), "cells": (), "noise": np.zeros(2), "conductances": (), "g_max": DEVICE.g_max}
    return Seen(**{**nothing, **fields})  # type: ignore[arg-type]


def has_moments(values: np.ndarray, mean: float, spread: float) -> None:
    """Mean and standard deviation within 4 standard errors, the latter's from the sample's fourth moment."""
    values = values.ravel()
    deviation = values - values.mean()
    assert abs(values.mean() - mean) <= 4 * spread / math.sqrt(values.size)
    error = math.sqrt((np.mean(deviation**4) - values.var() ** 2) / values.size) / (2 * values.std())
    assert abs(values.std() - spread) <= 4 * error


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("kind", FACTORS)
def test_factors_are_log_normal_of_mean_1_and_cv_sigma(kind: str, sigma: float) -> None:
    factors = neurons(Mismatch(sigma=sigma))[kind]
    assert factors.min() > 0
    has_moments(factors, 1.0, sigma)
    s = math.sqrt(math.log1p(sigma**2))
    has_moments(np.log(factors), -(s**2) / 2, s)
    skewness = np.mean((np.log(factors) - np.log(factors).mean()) ** 3) / s**3
    assert abs(skewness) < 4 * math.sqrt(6 / COUNT)


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_cell_gains_are_log_normal_and_differ_between_the_cells_of_a_pair(sigma: float) -> None:
    gains = cells(Mismatch(sigma=sigma))["cell_gain"]
    assert gains.shape == (2, 100, 100)
    has_moments(gains, 1.0, sigma)
    assert abs(np.corrcoef(gains[0].ravel(), gains[1].ravel())[0, 1]) < 4 / 100


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_reset_offsets_are_gaussian_in_units_of_threshold_minus_reset(sigma: float) -> None:
    circuit = LIF(v_threshold=0.8, v_reset=-0.2)
    effect = Mismatch(sigma=sigma, kinds=("reset",))
    values = {name: np.full(COUNT, value) for name, value in circuit.nominal().items()}
    changed = effect.neurons(circuit, values, neurons(effect, circuit))
    has_moments(changed["v_reset"], -0.2, sigma * 1.0)
    assert all(changed[name] is values[name] for name in values if name != "v_reset")


def test_reset_offsets_do_not_depend_on_the_order_of_kinds() -> None:
    """The offset is in units of the nominal swing, not of a threshold that mismatch has moved already."""
    values = {name: np.full(COUNT, value) for name, value in LIF().nominal().items()}
    both, alone = (
        effect.neurons(LIF(), values, neurons(effect))["v_reset"]
        for effect in (Mismatch(sigma=0.3), Mismatch(sigma=0.3, kinds=("reset",)))
    )
    np.testing.assert_array_equal(both, alone)


@pytest.mark.parametrize("zero", [0.0, 0.3, -70e-3])
@pytest.mark.parametrize("kind", [LIF, AdEx])
def test_where_voltages_are_0_does_not_matter(kind: type[Circuit], zero: float) -> None:
    names = ("v_rest", "v_reset", "v_threshold", "v_floor", "v_ceiling") if kind is LIF else (
        "e_l", "v_t", "v_peak", "v_reset")  # fmt: skip
    moved = dataclasses.replace(kind(), **{name: getattr(kind(), name) + zero for name in names})
    here, there = (
        fabricate(ChipDesign(circuit=circuit, effects=(Mismatch(sigma=0.3),), neurons=50), 0).neurons
        for circuit in (kind(), moved)
    )
    for name, values in here.items():
        np.testing.assert_allclose(there[name] - (zero if name in names else 0.0), values, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("threshold", "v_threshold"), ("time_constant", "tau"), ("gain", "gain"), ("reset", "v_reset")],
)
def test_each_kind_moves_its_own_field(kind: str, field: str) -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.2, kinds=(kind,)),), neurons=50), 0)
    varied = {name for name, values in chip.neurons.items() if len(np.unique(values)) > 1}
    assert varied == {field}
    assert len(np.unique(chip.neurons[field])) == 50
    assert not chip.tile(0)[0]


def test_kinds_draw_from_streams_of_their_own() -> None:
    every = neurons(Mismatch(sigma=0.2))
    for kind in every:
        np.testing.assert_array_equal(neurons(Mismatch(sigma=0.2, kinds=(kind,)))[kind], every[kind])
    correlations = np.corrcoef(np.stack(list(every.values())))
    assert np.abs(correlations - np.eye(len(every))).max() < 5 / math.sqrt(COUNT)


def test_a_stronger_mismatch_is_the_same_mismatch_scaled() -> None:
    weak, strong = (np.log(neurons(Mismatch(sigma=sigma))["gain"]) for sigma in (0.1, 0.4))
    assert np.corrcoef(weak, strong)[0, 1] == pytest.approx(1.0)


def test_by_default_a_circuit_gets_the_kinds_that_it_has() -> None:
    assert set(neurons(Mismatch(), LIF())) == {"threshold", "time_constant", "gain", "reset"}
    assert set(neurons(Mismatch(), IF())) == {"threshold", "gain", "reset"}
    assert set(neurons(Mismatch(), Integrator())) == {"gain"}


def test_log_normal_of_no_spread_is_one() -> None:
    assert (log_normal(stream(0), 0.0, (3, 4)) == 1.0).all()


def test_dead_neurons_never_fire() -> None:
    chip = fabricate(ChipDesign(effects=(DeadNeurons(rate=0.3),), neurons=COUNT), 0)
    dead = chip.frozen_neurons[0]["dead"] > 0
    assert abs(dead.mean() - 0.3) < 4 * math.sqrt(0.21 / COUNT)
    assert np.isinf(chip.neurons["v_threshold"][dead]).all()
    assert (chip.neurons["v_threshold"][~dead] == 0.6).all()
    spikes = bench(LIF(), chip, current=1e-9, duration=0.01, neurons=50).spikes
    np.testing.assert_array_equal(spikes.any(("current", "time")).values, ~dead[:50])


@pytest.mark.parametrize("engine", [Torch(dtype="float64", device="cpu", compile=False), Brian()])
@pytest.mark.parametrize("circuit", [LIF(), IF(soft_reset=True), DPI(), CurrentLIF(), AdEx(), BRAINSCALES2])
def test_dead_neurons_of_any_circuit_are_silent_where_others_fire(circuit: Circuit, engine: Engine) -> None:
    current = 1.5 * circuit.firing_drive / circuit.per_ampere(circuit.step)
    for rate, fires in ((0.0, True), (1.0, False)):
        chip = fabricate(ChipDesign(circuit=circuit, effects=(DeadNeurons(rate=rate),), neurons=3), 0)
        found = bench(circuit, chip, current=[current], duration=500 * circuit.step, step=circuit.step, engine=engine)
        assert found.spikes.values.any() == fires
        assert np.isfinite(found.v.values).all()


def test_dead_neurons_stay_dead_under_mismatch_in_either_order() -> None:
    for effects in ((DeadNeurons(rate=0.5), Mismatch()), (Mismatch(), DeadNeurons(rate=0.5))):
        chip = fabricate(ChipDesign(effects=effects, neurons=100), 0)
        dead = chip.frozen_neurons[effects.index(DeadNeurons(rate=0.5))]["dead"] > 0
        assert np.isinf(chip.neurons["v_threshold"][dead]).all()


@pytest.mark.parametrize(("at_max", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_stuck_cells_stay_at_an_end_whatever_is_written(at_max: float, share: float) -> None:
    effect = StuckCells(rate=0.2, at_max=at_max)
    frozen = cells(effect)
    stuck = frozen["stuck"] > 0
    assert abs(stuck.mean() - 0.2) < 4 * math.sqrt(0.16 / stuck.size)
    written = np.full(stuck.shape, 2.5e-6)
    after = effect.programme(written, frozen)
    assert (after[~stuck] == 2.5e-6).all()
    assert np.isin(after[stuck], [DEVICE.g_min, DEVICE.g_max]).all()
    allowed = 4 * math.sqrt(share * (1 - share) / stuck.sum())
    assert abs(np.mean(after[stuck] == DEVICE.g_max) - share) <= allowed


def test_membrane_noise_is_in_units_of_the_swing() -> None:
    circuit = LIF(v_rest=0.1, v_threshold=0.5)
    assert MembraneNoise(sigma=0.1).membrane(circuit, 1e-3) == pytest.approx(0.04)
    assert MembraneNoise(sigma=0.1).membrane(circuit, 0.25e-3) == pytest.approx(0.02)


BOLTZMANN, CHARGE = 1.380649e-23, 1.602176634e-19


def stationary(effect: CircuitNoise, circuit: Circuit, tau: float) -> float:
    """Variance that white noise gathers on a membrane of time constant tau."""
    return float(effect.membrane(circuit, 1e-9) ** 2 / 1e-9 * tau / 2)


def test_thermal_noise_of_a_leak_gathers_k_t_over_c() -> None:
    for circuit, tau in ((LIF(capacitance=20e-15), 10e-3), (AdEx(), 281e-12 / 30e-9)):
        for temperature in (250.0, 350.0):
            found = stationary(CircuitNoise(temperature=temperature), circuit, tau)
            assert found == pytest.approx(BOLTZMANN * temperature / circuit.capacitance)
            double = CircuitNoise(temperature=temperature, excess=2.0)
            assert stationary(double, circuit, tau) == pytest.approx(2 * found)


@pytest.mark.parametrize("circuit", [DPI(), CurrentLIF(temperature=340.0), DYNAP_SE2])
def test_shot_noise_gathers_k_t_over_kappa_c_on_the_capacitor(circuit: DPI) -> None:
    """dI / I = kappa dV / U_T; and 2 q I of two currents I_tau: the two ways to the same noise."""
    volts = (
        stationary(CircuitNoise(), circuit, circuit.tau) * (circuit.u_t / (circuit.kappa * circuit.i_threshold)) ** 2
    )
    assert volts == pytest.approx(BOLTZMANN * circuit.temperature / (circuit.kappa * circuit.capacitance))
    current = 2 * (2 * CHARGE * circuit.i_tau) / 2 / circuit.capacitance**2  # V^2/s, of a one-sided density
    assert volts == pytest.approx(current * circuit.tau / 2)


@pytest.mark.parametrize("engine", [Brian(), Torch(dtype="float64", device="cpu", compile=False)])
def test_a_noisy_membrane_spreads_as_its_density_says(engine: Engine) -> None:
    """128 neurons of 2 fF for 20 time constants after the first two: k T / C = (1.44 mV)^2."""
    circuit = LIF(capacitance=2e-15, v_threshold=1.0)
    chip = fabricate(ChipDesign(circuit=circuit, effects=(CircuitNoise(),), neurons=128), 0)
    v = bench(circuit, chip, current=0.0, duration=0.22, step=0.5e-3, neurons=128, engine=engine).v.values[0, 40:]
    x = 0.5e-3 / 10e-3
    expected = BOLTZMANN * 300 / 2e-15 * 2 * x / (1 - math.exp(-2 * x))  # of steps of x time constants
    independent = 128 * 20 / 2
    assert abs(v.var() / expected - 1) < 4 * math.sqrt(2 / independent)


def test_flicker_noise_is_the_integral_of_what_passes_the_membrane() -> None:
    for corner, window, tau in ((1e3, 0.1, 10e-3), (1e4, 1.0, 1e-3), (50.0, 0.5, 10e-6)):
        passed = quad(
            lambda f, c, t: c / f / (1 + (2 * math.pi * f * t) ** 2), 1 / window, corner, (corner, tau), limit=500
        )
        effect = CircuitNoise(corner=corner, window=window)
        assert effect.flicker(tau) == pytest.approx(passed[0] * 4 * tau, rel=1e-6)
        circuit = LIF(tau=tau)
        ratio = effect.membrane(circuit, 1e-6) / CircuitNoise().membrane(circuit, 1e-6)
        assert ratio**2 == pytest.approx(1 + effect.flicker(tau))
    assert CircuitNoise(corner=10.0, window=0.1).flicker(1e-3) == 0.0


def test_measured_sizes_are_of_what_was_drawn() -> None:
    factors = {"threshold": np.array([0.9, 1.1]), "reset": np.array([0.3, -0.3])}
    sizes = Mismatch().measure(seen(neurons=[factors], cells=[{"cell_gain": np.array([[[1.2]], [[0.8]]])}]))
    assert sizes == pytest.approx({"threshold CV": 0.1, "reset CV": 0.3, "cell_gain CV": 0.2})
    assert Mismatch().measure(seen(neurons=[{"gain": np.array([0.7, 1.3])}])) == pytest.approx({"gain CV": 0.3})
    assert MembraneNoise().measure(seen(noise=np.array([8.0, 2.0]))) == {"rms per step, in the membrane's unit": 2.0}
    assert MembraneNoise().measure(seen()) == {}
    stuck = [{"stuck": np.array([1.0, 0.0])}, {"stuck": np.array([0.0, 0.0])}]
    assert StuckCells().measure(seen(cells=stuck)) == {"share of stuck cells": 0.25}
    assert DeadNeurons().measure(seen(neurons=[{"dead": np.array([1.0, 0.0])}])) == {"share of dead neurons": 0.5}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Mismatch(sigma=-1), "Mismatch.sigma = -1 is outside its valid range 0 to 2"),
        (lambda: Mismatch(kinds=("treshold",)), "unknown kind of mismatch 'treshold'; known: threshold, time_constant"),
        (lambda: Mismatch(kinds=()), "Mismatch.kinds is empty"),
        (
            lambda: ChipDesign(circuit=IF(), effects=(Mismatch(kinds=("time_constant",)),)),
            "IF has no time_constant for",
        ),
        (lambda: DeadNeurons(rate=1.5), "DeadNeurons.rate"),
        (lambda: DeadNeurons().check(Integrator(), None), "Integrator does not spike, so DeadNeurons cannot act on it"),
        (lambda: MembraneNoise().check(Integrator(), None), "so MembraneNoise cannot act on it"),
        (lambda: CircuitNoise().check(Integrator(), None), "so CircuitNoise cannot act on it"),
        (lambda: ChipDesign(circuit=IF(), effects=(CircuitNoise(),)), "IF states no density of noise for CircuitNoise"),
        (lambda: StuckCells(rate=0.1, at_max=2.0), "StuckCells.at_max"),
    ],
)
def test_impossible_effects_are_refused(call: object, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("relative_to", ["range", "cell"])
@pytest.mark.parametrize("engine", [Brian(), Torch(dtype="float64", device="cpu", compile=False)])
def test_read_noise_is_what_sampling_every_cell_would_give(relative_to: str, engine: Engine) -> None:
    """The spread of a column against cells that are drawn one by one, for one driven step of a read-out."""
    effect = ReadNoise(sigma=0.2, relative_to=relative_to)
    rng, count = np.random.default_rng(0), 4000
    network = Network((Dense(weight=rng.normal(size=(5, 3)), bias=rng.normal(size=3)),))
    snn = deploy(network, fabricate(ChipDesign(device=DEVICE, effects=(effect,)), 1), window=1, engine=engine)
    x = rng.uniform(-1, 2, 5)
    found = snn.outputs(np.tile(x, (count, 1)))
    g = to_numpy(snn.cells[0].g)
    sigma = effect.sigma * (DEVICE.g_max if relative_to == "range" else g)
    drives = np.concatenate([x, np.ones(snn.placement.layers[0].bias_rows)])
    sampled = np.stack([one_by_one(g + sigma * rng.standard_normal(g.shape), drives) for _ in range(count)])
    scale = float(snn.arrays[0].g_scale)
    sampled /= scale
    mean = one_by_one(g, drives) / scale
    spread = np.sqrt(one_by_one(np.broadcast_to(sigma, g.shape) ** 2, drives**2, sign=1)) / scale
    for values in (found, sampled):
        assert (np.abs(values.mean(axis=0) - mean) < 4 * spread / math.sqrt(count)).all()
        assert (np.abs(values.std(axis=0) / spread - 1) < 4 / math.sqrt(2 * count)).all()
        np.testing.assert_array_less(np.abs(np.corrcoef(values.T) - np.eye(3)), 4 / math.sqrt(count) + 1e-9)


def one_by_one(g: np.ndarray, drives: np.ndarray, sign: int = -1) -> np.ndarray:
    """Sum over rows of drive times the pair's conductances."""
    total: np.ndarray = drives @ (g[0] + sign * g[1])
    return total


def test_read_noise_is_fresh_for_every_step_sample_and_layer_and_not_for_every_run() -> None:
    network = Network(tuple(Dense(weight=np.eye(4), bias=np.zeros(4)) for _ in range(2)))
    design = ChipDesign(circuit=LIF(v_threshold=100.0, tau=1e-6), effects=(ReadNoise(sigma=0.01),))
    snn = deploy(network, fabricate(design, 1), window=3)
    v = snn.present(np.ones((5, 4)), Record(v=True)).v.to_numpy()
    assert len(np.unique(v)) == 5 * 3 * 4
    np.testing.assert_array_equal(snn.present(np.ones((5, 4)), Record(v=True)).v.to_numpy(), v)
    deep = Network((Dense(weight=np.eye(4), bias=np.zeros(4)), *network.layers))
    twice = deploy(deep, fabricate(design, 1), window=3)
    biases = [twice.present(np.zeros((5, 4)), Record(layer=layer, v=True)).v.to_numpy() for layer in (0, 1)]
    units = [float(twice.unit(layer) / twice.arrays[layer].g_scale) for layer in (0, 1)]
    alike = [v / unit for v, unit in zip(biases, units, strict=True)]  # of the driven bias row alone, in siemens
    assert not np.isclose(*alike, rtol=1e-6, atol=0).any()
    quiet = deploy(network, fabricate(replace(design, effects=()), 1), window=3).outputs(np.zeros((1, 4)))
    assert (snn.outputs(np.zeros((2, 4))) != quiet).all()  # the bias row is always driven


def test_read_noise_measures_its_strength() -> None:
    g = np.full((2, 3, 3), 2e-6)
    relative, absolute = ReadNoise(sigma=0.1, relative_to="cell"), ReadNoise(sigma=0.1)
    part = "rms of an access, share of g_max"
    assert relative.measure(seen(conductances=[g])) == pytest.approx({part: 0.04})
    assert absolute.measure(seen(conductances=[g])) == pytest.approx({part: 0.1})


def test_converters_round_to_codes_and_clip_to_their_range() -> None:
    effect = Converters(dac_bits=3, adc_bits=4, dac_range=1.5, adc_range=7.0)
    assert effect.rows() == pytest.approx((0.5, 1.5))
    assert effect.columns() == pytest.approx((1.0, 7.0))
    network = Network((Dense(weight=np.ones((2, 1)), bias=np.zeros(1)),))
    snn = deploy(network, fabricate(ChipDesign(effects=(effect,), headroom=1.0), 1), window=4)
    assert snn.placement.layers[0].w_max == 1.0
    inputs = np.array([[0.3, 0.3], [0.7, 0.3], [9.0, 9.0], [-9.0, -9.0], [0.1, 0.2], [1.3, 1.3]])
    np.testing.assert_allclose(snn.outputs(inputs)[:, 0], [1.0, 1.0, 3.0, -3.0, 0.0, 3.0])
    coarse = replace(effect, adc_bits=2, adc_range=1.0)
    snn = deploy(network, fabricate(ChipDesign(effects=(coarse,), headroom=1.0), 1), window=4)
    np.testing.assert_allclose(snn.outputs(inputs)[:, 0], [1.0, 1.0, 1.0, -1.0, 0.0, 1.0])


def test_spikes_pass_no_converter_on_their_way_in() -> None:
    network = Network.random((6, 3), seed=0)
    plain, coarse = (
        deploy(network, fabricate(ChipDesign(effects=effects), 1), encoder=Poisson()).outputs(np.full((4, 6), 0.5))
        for effects in ((), (Converters(dac_bits=2, dac_range=1.7, adc_bits=0),))
    )
    np.testing.assert_array_equal(plain, coarse)
    for bits, encoder in ((0, Poisson()), (8, Poisson()), (0, None)):
        design = ChipDesign(effects=(Converters(dac_bits=2, dac_range=1.7, adc_bits=bits),))
        snn = deploy(network, fabricate(design, 1), encoder=encoder)
        parts = {f"{name} step, share of range" for name, there in (("DAC", not encoder), ("ADC", bits)) if there}
        if parts:
            assert set(snn.effect_report()["converters"]) == parts
            continue
        with pytest.raises(ChipsimError, match="gives it nothing to act on"):
            snn.effect_report()


def test_converters_of_no_bits_are_none_and_many_bits_change_little() -> None:
    assert Converters(dac_bits=0).rows() is None
    assert Converters(adc_bits=0).columns() is None
    assert Converters(dac_bits=0, adc_bits=0).strength == 0
    network, inputs = Network.random((6, 3), seed=0), np.random.default_rng(0).uniform(-1, 1, (9, 6))
    ideal, fine, coarse = (
        deploy(network, fabricate(ChipDesign(effects=effects), 1)).outputs(inputs)
        for effects in ((), (Converters(dac_bits=24, adc_bits=24),), (Converters(dac_bits=4, adc_bits=6),))
    )
    np.testing.assert_allclose(fine, ideal, atol=1e-5)
    assert 1e-3 < np.abs(coarse - ideal).max() < 1.0


REAL = Converters(dac_bits=0, adc_bits=8, adc_range=5.0, adc_gain=0.02, adc_offset=2.0, adc_unit=0.05)


def transitions(effect: Converters, code: int) -> np.ndarray:
    """Inputs, in ideal steps, from which on each of 20,000 converters gives at least `code`; by bisection."""
    errors = effect.column_errors(neurons(effect))
    low, high = np.full(COUNT, code - 40.0), np.full(COUNT, code + 40.0)
    for _ in range(50):
        middle = (low + high) / 2
        reached = codes(middle, errors) >= code
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


@pytest.mark.parametrize(("bits", "unit"), [(6, 0.02), (8, 0.01), (12, 0.002)])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_transitions_of_a_capacitive_adc_spread_as_their_units_do(bits: int, unit: float, share: float) -> None:
    """Of code c of 2^N units: unit sqrt(2^N share (1 - share)) steps, in the middle unit sqrt(2^N) / 2."""
    effect, code = Converters(adc_bits=bits, adc_unit=unit), int((share - 0.5) * 2**bits)
    has_moments(transitions(effect, code) - (code - 0.5), 0.0, unit * math.sqrt(2**bits * share * (1 - share)))


def test_steps_around_the_middle_of_an_adc_spread_most() -> None:
    """Differential non-linearity there: the highest capacitor against all lower ones, unit sqrt(2^N - 1) steps."""
    effect = Converters(adc_bits=8, adc_unit=0.01)
    has_moments(transitions(effect, 0) - transitions(effect, -1) - 1.0, 0.0, 0.01 * math.sqrt(255))
    quarter = transitions(effect, 1) - transitions(effect, 0) - 1.0
    assert quarter.std() < 0.03  # of the lowest bit alone


def test_gain_and_offset_of_an_adc_have_their_spread() -> None:
    gain = transitions(replace(REAL, adc_offset=0.0, adc_unit=0.0), 100)
    has_moments(99.5 / gain, 1.0, 0.02)
    has_moments(transitions(replace(REAL, adc_gain=0.0, adc_unit=0.0), 100) - 99.5, 0.0, 2.0)


@settings(max_examples=30)
@given(st.integers(2, 12), *(st.floats(0.0, high) for high in (0.3, 10.0, 0.3)), st.data())
def test_codes_rise_with_what_comes_in_and_stay_within_range(
    bits: int, gain: float, offset: float, unit: float, data: st.DataObject
) -> None:
    effect = Converters(adc_bits=bits, adc_gain=gain, adc_offset=offset, adc_unit=unit)
    errors = effect.column_errors(effect.fabricate_neurons(LIF(), 5, Draw(data.draw(strategies.SEEDS), "test", ())))
    x = np.linspace(-(2.0**bits), 2.0**bits, 501)[:, None] * np.ones(5)
    kept = x.copy()
    found = codes(x, errors)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.abs(gridded(x, Grid(1.0, 2.0 ** (bits - 1) - 1), errors)) < 2.0 ** (bits - 1)).all()
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(found, np.round(found))
    if errors is None:
        np.testing.assert_array_equal(found, np.round(x))


def test_an_adc_without_spread_is_the_ideal_one() -> None:
    x = np.random.default_rng(0).uniform(-150, 150, (400, COUNT // 400))
    errors = replace(REAL, adc_gain=0.0, adc_offset=1e-12, adc_unit=0.0).column_errors
    effect = replace(REAL, adc_gain=0.0, adc_offset=1e-12, adc_unit=0.0)
    frozen = {kind: values[: x.shape[1]] for kind, values in neurons(effect).items()}
    np.testing.assert_array_equal(gridded(x, Grid(1.0, 127.0), errors(frozen)), gridded(x, Grid(1.0, 127.0)))


@pytest.mark.parametrize("engine", [Brian(), Torch(dtype="float64", device="cpu", compile=False)])
def test_every_column_has_a_converter_of_its_own_on_both_engines(engine: Engine) -> None:
    """The same current in all columns: each neuron gets what its own frozen errors make of it, layer by layer."""
    rng = np.random.default_rng(0)
    network = Network((Dense(weight=np.ones((1, 20)), bias=np.zeros(20)),))
    chip = fabricate(ChipDesign(effects=(REAL,), headroom=1.0), 1)
    snn = deploy(network, chip, window=2, engine=engine)
    x = rng.uniform(-6, 6, (30, 1))
    frozen, step = chip.frozen_readouts[0], 5.0 / 127
    units = x / step * frozen["gain"][:20] + frozen["offset"][:20] + 128.5
    weights = np.stack([frozen[f"bit_{k}"][:20] for k in range(8)])
    taken = (np.arange(256)[:, None] >> np.arange(8)) & 1  # every code, and what it weighs on each converter
    levels = taken @ weights
    expected = np.empty((30, 20))
    for sample in range(30):
        for column in range(20):
            # the bits from the highest on that still fit: the largest in the order of codes, not of levels
            fits, total = 0, 0.0
            for k in reversed(range(8)):
                if total + weights[k, column] <= units[sample, column]:
                    fits, total = fits + 2**k, total + weights[k, column]
            assert total == pytest.approx(levels[fits, column])
            expected[sample, column] = np.clip(fits - 128, -127, 127) * step
    np.testing.assert_allclose(snn.outputs(x), expected, atol=1e-9)
    assert len({*expected[:, 0], *expected[:, 1]}) > 10
    other = deploy(network, fabricate(ChipDesign(effects=(REAL,), headroom=1.0), 2), window=2, engine=engine)
    assert (other.outputs(x) != expected).any()
    report = snn.effect_report()["converters"]
    assert report["ADC rms gain error"] == pytest.approx(np.sqrt(np.mean((frozen["gain"][:20] - 1) ** 2)))
    assert report["ADC rms non-linearity in the middle, steps"] == pytest.approx(0.05 * 8, rel=0.6)


def test_one_converter_serves_all_positions_of_a_convolution() -> None:
    layer = Conv2d(weight=np.ones((3, 1, 1, 1)), bias=np.zeros(3))
    network = Network((layer, Dense(weight=np.ones((12, 1)), bias=np.zeros(1))), (1, 2, 2))
    snn = deploy(network, fabricate(ChipDesign(circuit=LIF(v_threshold=100.0), effects=(REAL,)), 1), window=1)
    v = snn.present(np.full((1, 4), 0.3), Record(layer=0, v=list(range(12)))).v.values.reshape(3, 4)
    assert (v == v[:, :1]).all()
    assert len(np.unique(v)) == 3


def test_measured_converters_stand_in_place_of_drawn_ones() -> None:
    design = ChipDesign(effects=(REAL,), readouts=4)
    chip = Chip.from_measurements(design, {"readouts/converters/offset": [0.0, 1.0, 2.0, 300.0]})
    network = Network((Dense(weight=np.ones((1, 4)), bias=np.zeros(4)),))
    assert deploy(network, chip).outputs(np.zeros((1, 1)))[0, 3] > 4 * 1.5  # at the end of its range


def test_spikes_need_no_converter() -> None:
    """Rows of later layers are driven by spikes, which no DAC touches: a range below 1 leaves them."""
    network, inputs = Network.random((6, 8, 3), seed=0), np.random.default_rng(0).uniform(0, 0.1, (9, 6))
    effects = (Converters(dac_bits=24, dac_range=0.1, adc_bits=0),)
    ideal, small = (
        deploy(network, fabricate(ChipDesign(effects=chosen), 1)).outputs(inputs) for chosen in ((), effects)
    )
    np.testing.assert_allclose(small, ideal, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"dac_bits": 1}, r"Converters.dac_bits must be 0 \(none\) or 2 to 24, not 1"),
        ({"adc_bits": 25}, "Converters.adc_bits must be 0"),
        ({"adc_bits": 8.0}, "Converters.adc_bits must be a whole number"),
        ({"adc_bits": True}, "Converters.adc_bits must be a whole number"),
        ({"adc_range": 0.0}, "Converters.adc_range"),
        ({"adc_unit": 0.4}, "Converters.adc_unit = 0.4 is outside"),
        ({"adc_gain": -0.1}, "Converters.adc_gain"),
        ({"adc_bits": 0, "adc_offset": 1.0}, "no ADC that could err"),
    ],
)
def test_impossible_converters_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Converters(**fields)  # type: ignore[arg-type]


def test_read_noise_relative_to_something_else_is_refused() -> None:
    with pytest.raises(ParameterError, match=r'ReadNoise\.relative_to must be "range" or "cell", not \'chip\''):
        ReadNoise(relative_to="chip")


ENGINES = [Torch(dtype="float64", device="cpu"), Brian()]


def one_layer(effect: Effect, engine: Engine, weight: np.ndarray, bias: np.ndarray, window: int) -> Deployment:
    """A layer of neurons and a read-out that counts the spikes of each."""
    size = weight.shape[1]
    network = Network(
        (Dense(weight=weight, bias=bias), Dense(weight=np.eye(size), bias=np.zeros(size))), (weight.shape[0],)
    )
    design = ChipDesign(circuit=IF(soft_reset=True, v_threshold=1.0), effects=(effect,))
    return deploy(network, fabricate(design, seed=0), window=window, engine=engine)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_a_lost_spike_leaves_the_charge_where_it_is(engine: Engine) -> None:
    # 0.53 a step against a threshold of 1: without losses a spike every second step. A lost one comes later, and
    # charge is conserved: membrane = what came in less a threshold for each spike.
    snn = one_layer(SpikeLoss(rate=0.3), engine, np.full((1, 40), 0.53), np.zeros(40), 50)
    found = snn.present(np.ones((20, 1)), Record(layer=0, spikes=list(range(40)), v=list(range(40))))
    spikes = found.spikes.values.astype(float)
    steps = np.arange(1, 51)[:, None]
    before = np.concatenate([np.zeros_like(spikes[:, :1]), spikes.cumsum(1)[:, :-1]], axis=1)
    np.testing.assert_allclose(found.v.values, 0.53 * steps - before, atol=1e-9)
    ready = found.v.values > 1.0
    assert not (spikes.astype(bool) & ~ready).any()
    lost = 1 - spikes[ready].mean()
    assert abs(lost - 0.3) < 4 * math.sqrt(0.3 * 0.7 / ready.sum())
    assert snn.effect_report()["spike_loss"]["share of steps that would lose a spike"] == pytest.approx(0.3, abs=0.02)
    patterns = {spikes[sample, :, neuron].tobytes() for sample in range(4) for neuron in range(4)}
    assert len(patterns) == 16  # anew for every sample and neuron


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_driver_noise_is_one_factor_for_a_row_in_a_step_and_bias_rows_are_quiet(engine: Engine) -> None:
    weight = np.array([[0.3, 0.6, 0.0], [0.2, 0.4, 0.0]])
    # below threshold the membrane is the sum of what came in
    snn = one_layer(DriverNoise(sigma=0.1), engine, weight / 100, np.array([0.0, 0.0, 0.0025]), 40)
    found = snn.present(np.tile([1.0, 2.0], (50, 1)), Record(layer=0, v=[0, 1, 2]))
    drive = 100 * np.diff(found.v.values, axis=1, prepend=0.0)
    np.testing.assert_allclose(drive[..., 1], 2 * drive[..., 0], rtol=1e-8)
    np.testing.assert_allclose(drive[..., 2], 0.25, rtol=1e-8)
    has_moments(drive[..., 0], 0.7, 0.1 * math.hypot(0.3, 2 * 0.2))
    assert abs(np.corrcoef(drive[:, :-1, 0].ravel(), drive[:, 1:, 0].ravel())[0, 1]) < 4 / math.sqrt(50 * 39)
    assert snn.effect_report()["driver_noise"]["rms of the factors drawn for rows, less 1"] == pytest.approx(
        0.1, rel=0.1
    )


def test_a_bench_loses_spikes_too() -> None:
    design = ChipDesign(circuit=IF(soft_reset=True), effects=(SpikeLoss(rate=0.5),))
    found = bench(design.circuit, current=[400e-12], duration=0.2, chip=fabricate(design, seed=0), neurons=50)
    ready = found.v.values >= design.circuit.v_threshold
    assert 0.3 < found.spikes.values[ready].mean() < 0.7
