import math

import numpy as np
import pytest

from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import IF, LIF, Integrator
from chipsim.devices import Ideal
from chipsim.effects import DeadNeurons, Effect, MembraneNoise, Mismatch, Seen, StuckCells
from chipsim.effects.base import Frozen
from chipsim.effects.mismatch import FACTORS, KINDS, log_normal
from chipsim.errors import ParameterError
from chipsim.population import bench
from chipsim.streams import stream

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
        (lambda: Mismatch(sigma=-1), "Mismatch.sigma = -1 1 is outside its valid range 0 to 2"),
        (lambda: Mismatch(kinds=("treshold",)), "unknown kind of mismatch 'treshold'; known: threshold, time_constant"),
        (lambda: Mismatch(kinds=()), "Mismatch.kinds is empty"),
        (
            lambda: ChipDesign(circuit=IF(), effects=(Mismatch(kinds=("time_constant",)),)),
            "IF has no time_constant for",
        ),
        (lambda: DeadNeurons(rate=1.5), "DeadNeurons.rate"),
        (lambda: DeadNeurons().check(Integrator(), None), "Integrator does not spike, so DeadNeurons cannot act on it"),
        (lambda: MembraneNoise().check(Integrator(), None), "so MembraneNoise cannot act on it"),
        (lambda: StuckCells(rate=0.1, at_max=2.0), "StuckCells.at_max"),
    ],
)
def test_impossible_effects_are_refused(call: object, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call()  # type: ignore[operator]


def test_every_kind_of_mismatch_is_known() -> None:
    assert {*FACTORS, "reset", "cell_gain"} == set(KINDS)
