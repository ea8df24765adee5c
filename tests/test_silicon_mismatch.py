"""Mismatch as silicon does it: each law alone, against its closed form."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.circuits import DPI, LIF, Circuit, Integrator
from chipsim.deployment import deploy
from chipsim.devices import Ideal
from chipsim.effects import DYNAP_SE2_DIE, SiliconMismatch
from chipsim.errors import ParameterError
from chipsim.network import Network

Array = NDArray[np.float64]
COUNT = 20_000
LOCAL = SiliconMismatch(gradient=0.0, lot_sigma=0.0, die_sigma=0.0)
"""Local mismatch alone."""
WIDE = DPI(i_reset=0.5e-9, i_threshold=2e-9)
ROOT = math.sqrt(2)
"""Over a single transistor's deviation, that of the difference of two, which a_vt and its like are of."""
SLOPE = 0.75 / 25e-3
"""g_m / I in weak inversion [1/V]."""


def die(effect: SiliconMismatch, circuit: Circuit = WIDE, seed: int = 0, count: int = COUNT) -> Chip:
    return fabricate(ChipDesign(circuit=circuit, effects=(effect,), neurons=count), seed)


def factors(effect: SiliconMismatch, name: str, circuit: Circuit = WIDE, seed: int = 0, count: int = COUNT) -> Array:
    """What the parameter `name` of every neuron is, over its nominal value."""
    return die(effect, circuit, seed, count).neurons[name] / circuit.nominal()[name]


def has_cv(values: Array, cv: float) -> None:
    """Mean 1 and this CV within 4 standard errors, the latter's from the sample's fourth moment."""
    deviation = values - values.mean()
    assert abs(values.mean() - 1) <= 4 * cv / math.sqrt(values.size)
    error = math.sqrt((np.mean(deviation**4) - values.var() ** 2) / values.size) / (2 * values.std())
    assert abs(values.std() - cv) <= 4 * error


def from_logarithm(*parts: float) -> float:
    """CV of log-normal factors from the standard deviations that make up that of their logarithm."""
    return math.sqrt(math.expm1(sum(part**2 for part in parts)))


def inversion(current: float, i_spec: float = 100e-9) -> float:
    return 2 / (1 + math.sqrt(1 + 4 * current / i_spec))


@pytest.mark.parametrize("current", [0.0, 10e-9, 1e-6, 100e-6])
def test_gains_vary_as_the_area_law_and_the_transistor_equation_say(current: float) -> None:
    effect = replace(LOCAL, area_weight=0.25e-12, i_weight=current)
    expected = from_logarithm(SLOPE * inversion(current) * 5e-3 / 0.5 / ROOT, 0.01 / 0.5 / ROOT)
    has_cv(factors(effect, "gain"), expected)
    assert effect.coefficient_of_variation(area=0.25e-12, current=current) == pytest.approx(expected)


def test_every_block_has_the_transistor_of_its_own_role() -> None:
    effect = replace(LOCAL, area_threshold=2e-12, area_reset=0.5e-12, area_bias=8e-12, area_capacitor=1e-14, a_beta=0.0)
    pair = {name: 5e-3 / math.sqrt(area) for name, area in (("threshold", 2), ("reset", 0.5), ("bias", 8))}
    v_t = {name: deviation / ROOT for name, deviation in pair.items()}
    capacitor = 0.01 / math.sqrt(1e-2) / ROOT
    has_cv(factors(effect, "i_threshold"), from_logarithm(SLOPE * inversion(2e-9) * v_t["threshold"]))
    has_cv(factors(effect, "i_tau"), from_logarithm(SLOPE * inversion(5e-12) * v_t["bias"]))
    has_cv(factors(effect, "i_reset"), from_logarithm(SLOPE * inversion(0.5e-9) * v_t["bias"]))
    has_cv(factors(effect, "capacitance"), from_logarithm(capacitor))
    has_cv(factors(effect, "t_refractory"), from_logarithm(capacitor, SLOPE * inversion(5e-12) * v_t["bias"]))
    has_cv(factors(effect, "tau", LIF()), from_logarithm(capacitor, SLOPE * inversion(5e-12) * v_t["bias"]))
    chip = die(effect, LIF(v_reset=-0.2))
    for name, nominal, role in (("v_threshold", 0.6, "threshold"), ("v_reset", -0.2, "reset")):
        offsets = chip.neurons[name] - nominal
        assert abs(offsets.mean()) <= 4 * pair[role] / math.sqrt(COUNT)
        assert abs(offsets.std() / pair[role] - 1) <= 4 / math.sqrt(2 * COUNT)
    assert (chip.neurons["v_rest"] == 0).all()


def test_two_transistors_differ_by_what_their_process_states() -> None:
    """Pelgrom's constant is that of the difference of two, so a pair of neighbours shows it, as a comparator does."""
    d = np.log(factors(replace(LOCAL, area_weight=0.25e-12, i_weight=0.0, a_beta=0.0), "gain")) / SLOPE
    assert (d[::2] - d[1::2]).std() == pytest.approx(5e-3 / 0.5, rel=4 / math.sqrt(COUNT))
    offsets = die(replace(LOCAL, area_threshold=0.25e-12), LIF()).neurons["v_threshold"]
    assert offsets.std() == pytest.approx(5e-3 / 0.5, rel=4 / math.sqrt(2 * COUNT))


def test_four_times_the_area_halves_the_spread() -> None:
    for name, field in (("gain", "area_weight"), ("i_threshold", "area_threshold"), ("capacitance", "area_capacitor")):
        small, large = (np.log(factors(replace(LOCAL, **{field: area}), name)) for area in (1e-12, 4e-12))
        assert small.std() / large.std() == pytest.approx(2.0, rel=1e-9)  # the same draws
    offsets = [die(replace(LOCAL, area_threshold=a), LIF()).neurons["v_threshold"] - 0.6 for a in (1e-12, 4e-12)]
    assert offsets[0].std() / offsets[1].std() == pytest.approx(2.0, rel=1e-9)


def test_from_weak_to_strong_inversion() -> None:
    """kappa / U_T far below i_spec, 0.618 times as much at it, and (kappa / U_T) sqrt(i_spec / I) far above."""
    assert LOCAL.transconductance(0.0) == pytest.approx(SLOPE)
    assert LOCAL.transconductance(100e-9) == pytest.approx(SLOPE * 2 / (1 + math.sqrt(5)))
    assert LOCAL.transconductance(1.0) == pytest.approx(SLOPE * math.sqrt(100e-9), rel=1e-3)


def test_a_die_is_the_same_at_every_setting() -> None:
    """V_T and beta are frozen: the gains of two settings correlate as far as these weigh the same in both."""
    settings = (1e-9, 100e-9, 10e-6, 100e-6)
    gains = [np.log(factors(replace(LOCAL, i_weight=current), "gain")) for current in settings]
    weights = [np.array([SLOPE * inversion(current) * 5e-3, 0.01]) for current in settings]
    for (one, p), (other, q) in itertools.pairwise(zip(gains, weights, strict=True)):
        expected = p @ q / math.sqrt((p @ p) * (q @ q))
        assert expected > 0.8
        found = np.corrcoef(one, other)[0, 1]
        assert abs(math.atanh(found) - math.atanh(expected)) < 4 / math.sqrt(COUNT)
    np.testing.assert_array_equal(factors(LOCAL, "gain"), factors(LOCAL, "gain"))


def test_blocks_are_independent_but_for_what_they_share() -> None:
    names = ("gain", "i_threshold", "i_tau", "capacitance", "i_reset", "i_0", "t_refractory")
    apart = np.corrcoef([np.log(factors(LOCAL, name)) for name in names])
    assert np.abs(apart - np.eye(len(names))).max() < 4.5 / math.sqrt(COUNT)
    effect = replace(LOCAL, gradient=0.3)
    gain, threshold, leak = (np.log(factors(effect, name)) for name in ("gain", "i_threshold", "i_tau"))
    field = np.log(die(effect).frozen_neurons[0]["field"])
    expected = field.var() / (gain.std() * threshold.std())
    assert expected > 0.05
    assert np.corrcoef(gain, threshold)[0, 1] == pytest.approx(expected, abs=4 / math.sqrt(COUNT))
    assert abs(np.corrcoef(gain, leak)[0, 1]) < 4 / math.sqrt(COUNT)


def test_gradient_and_edges_are_what_a_regression_over_the_places_finds() -> None:
    rows, columns, cores, dies = 10, 20, 50, 400
    effect = replace(LOCAL, core_rows=rows, core_columns=columns, gradient=0.2, edge_columns=0.9, edge_rows=1.2)
    row, column = (values.ravel() for values in np.mgrid[:rows, :columns])
    design = np.stack(
        [
            np.ones(rows * columns),
            row / (rows - 1) - 0.5,
            column / (columns - 1) - 0.5,
            np.isin(column, (0, columns - 1)),
            np.isin(row, (0, rows - 1)),
        ],
        axis=1,
    ).astype(float)
    error = np.sqrt(np.linalg.inv(design.T @ design).diagonal()) * LOCAL._log_deviation(LOCAL.blocks(WIDE)[4])
    values = np.log(factors(effect, "gain", count=cores * rows * columns).reshape(cores, -1))
    found = np.linalg.lstsq(design, values.T, rcond=None)[0]
    rises = found[1:3].mean(axis=1)
    np.testing.assert_array_less(np.abs(found[3:].mean(axis=1) - np.log([0.9, 1.2])), 4 * error[3:] / math.sqrt(cores))
    np.testing.assert_array_less(  # all cores of a die see the gradient that the die has
        np.abs(found[1:3].std(axis=1, ddof=1) / error[1:3] - 1), 4 / math.sqrt(2 * cores)
    )
    drawn = [
        np.linalg.lstsq(design, np.log(die(effect, seed=k, count=rows * columns).frozen_neurons[0]["field"]), None)[0]
        for k in range(dies)
    ]
    np.testing.assert_allclose(np.array(drawn)[:, 3:], np.broadcast_to(np.log([0.9, 1.2]), (dies, 2)), atol=1e-12)
    along = np.array(drawn)[:, 1:3]
    assert (np.abs(along.mean(axis=0)) < 4 * 0.2 / math.sqrt(2 * dies)).all()
    assert (np.abs(along.std(axis=0) / (0.2 / math.sqrt(2)) - 1) < 4 / math.sqrt(2 * dies)).all()
    assert abs(np.corrcoef(along.T)[0, 1]) < 4 / math.sqrt(dies)
    np.testing.assert_array_less(np.abs(rises - along[0]), 4 * error[1:3] / math.sqrt(cores))


def test_leaks_and_voltages_see_no_gradient() -> None:
    steep = replace(LOCAL, gradient=1.0)
    for circuit, names in ((WIDE, ("i_tau", "capacitance")), (LIF(), ("tau", "v_threshold", "v_reset"))):
        for name in names:
            np.testing.assert_array_equal(
                die(steep, circuit).neurons[name], die(LOCAL, circuit).neurons[name], err_msg=name
            )
    assert "field" in die(steep, LIF()).frozen_neurons[0]  # its gain sees it


@pytest.mark.parametrize(("field", "name"), [("outliers_weight", "gain"), ("outliers_bias", "i_tau")])
def test_outliers_have_their_share_and_their_factor(field: str, name: str) -> None:
    effect = replace(LOCAL, a_vt=0.0, a_beta=0.0, outlier_low=1.5, outlier_high=3.0, **{field: 0.2})
    found = factors(effect, name)
    found = found if name == "gain" else 1 / found  # a starved leak: the time constant grows
    out = found[np.abs(found - 1) > 1e-12]
    assert abs(out.size / COUNT - 0.2) < 4 * math.sqrt(0.16 / COUNT)
    assert out.min() >= 1.5
    assert out.max() <= 3.0
    place = np.log(out / 1.5) / math.log(2)
    assert abs(place.mean() - 0.5) < 4 / math.sqrt(12 * out.size)
    assert abs(place.std() * math.sqrt(12) - 1) < 4 * math.sqrt(0.2 / out.size)
    assert (factors(effect, "i_threshold") == 1).all()


def test_times_that_are_parameters_grow_with_a_starved_bias() -> None:
    effect = replace(LOCAL, a_vt=0.0, a_beta=0.0, a_c=0.0, outliers_bias=0.1)
    assert factors(effect, "tau", LIF()).max() > 1.4
    assert factors(effect, "tau", LIF()).min() == 1.0


def test_dies_of_a_lot_share_its_shift_and_lots_differ() -> None:
    lots, dies = 80, 5
    effect = replace(LOCAL, a_vt=0.0, a_beta=0.0, a_c=0.0, lot_sigma=8e-3, die_sigma=3e-3)

    def shift(lot: int, seed: int) -> float:
        gain = factors(replace(effect, lot=lot), "gain", seed=seed, count=3)
        assert len(np.unique(gain)) == 1
        return float(-np.log(gain[0]) / (SLOPE * inversion(1e-9)))

    assert [shift(1, seed) - shift(2, seed) for seed in range(3)] == pytest.approx([shift(1, 0) - shift(2, 0)] * 3)
    found = np.array([[shift(lot, 1000 * lot + seed) for seed in range(dies)] for lot in range(lots)])
    within = math.sqrt(found.var(axis=1, ddof=1).mean())
    assert abs(within / 3e-3 - 1) < 4 / math.sqrt(2 * lots * (dies - 1))
    expected = math.sqrt(8e-3**2 + 3e-3**2 / dies)
    assert abs(found.mean(axis=1).std(ddof=1) / expected - 1) < 4 / math.sqrt(2 * (lots - 1))


def test_a_shift_of_the_die_moves_all_its_currents_together_and_no_offset() -> None:
    effect = replace(LOCAL, a_vt=0.0, a_beta=0.0, a_c=0.0, die_sigma=10e-3)
    chip = die(effect, seed=4, count=5)
    shift = chip.frozen_neurons[0]["shift"][0]
    for name, current in (("i_threshold", 2e-9), ("i_tau", 5e-12), ("gain", 1e-9)):
        expected = math.exp(-SLOPE * inversion(current) * shift)
        np.testing.assert_allclose(chip.neurons[name] / WIDE.nominal()[name], expected, rtol=1e-12)
    assert chip.readouts["gain"][0] == chip.neurons["gain"][0]  # read-outs stand on the same die
    lif = die(effect, LIF(), seed=4, count=5)
    np.testing.assert_allclose(lif.neurons["tau"] / 10e-3, math.exp(SLOPE * inversion(5e-12) * shift), rtol=1e-12)
    assert (lif.neurons["v_threshold"] == 0.6).all()


def test_scale_0_is_the_identity_and_a_scale_multiplies_every_deviation() -> None:
    off = die(replace(DYNAP_SE2_DIE, scale=0.0))
    for name, nominal in WIDE.nominal().items():
        assert (off.neurons[name] == nominal).all()
    effect = replace(
        SiliconMismatch(edge_columns=0.9, outliers_weight=0.1, outliers_bias=0.1, die_sigma=5e-3), i_weight=1e-6
    )
    for name in ("gain", "i_threshold", "i_tau", "t_refractory"):
        one, two = (np.log(factors(replace(effect, scale=scale), name)) for scale in (1.0, 2.0))
        np.testing.assert_allclose(np.diff(two), 2 * np.diff(one), atol=1e-12)


def test_cells_that_are_transistors_vary_most_at_small_conductances() -> None:
    device = Ideal(g_min=0.0, g_max=5e-6)
    effect = SiliconMismatch(transistor_cells=True, area_weight=0.5e-12, v_read=0.1, a_beta=1e-7)
    design = ChipDesign(device=device, effects=(effect,), rows=100, columns=100, v_read=0.1)
    frozen = fabricate(design, 0).tile(0)[0]
    spread = 5e-3 / math.sqrt(0.5) / ROOT
    for g in (1e-9, 1e-7, 5e-6):
        seen = effect.read(np.full((2, 100, 100), g), frozen)
        has_cv(seen.ravel() / g, from_logarithm(SLOPE * inversion(0.1 * g) * spread, 0.1 / math.sqrt(0.5) / ROOT))
        assert abs(np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1]) < 4 / 100
    assert (effect.read(np.zeros((2, 100, 100)), frozen) == 0).all()
    assert not fabricate(replace(design, effects=(SiliconMismatch(),)), 0).tile(0)[0]


def test_a_larger_chip_begins_with_the_same_neurons() -> None:
    small, large = (die(DYNAP_SE2_DIE, count=count) for count in (60, 600))
    np.testing.assert_array_equal(small.neurons["gain"], large.neurons["gain"][:60])


def test_measured_arrays_stand_in_place_of_drawn_ones() -> None:
    design = ChipDesign(circuit=WIDE, effects=(LOCAL,), neurons=4)
    chip = Chip.from_measurements(design, {"neurons/silicon_mismatch/gain": [0.9, 1.0, 1.1, 1.2]})
    np.testing.assert_allclose(chip.neurons["gain"], [0.9, 1.0, 1.1, 1.2])


def test_the_report_says_how_large_each_block_varies() -> None:
    design = ChipDesign(effects=(replace(DYNAP_SE2_DIE, transistor_cells=True),))
    report = deploy(Network.random((30, 500, 10), seed=0), fabricate(design, 0)).effect_report()["silicon_mismatch"]
    assert set(report) == {
        "time_constant CV",
        "time_constant_outliers, share",
        "threshold_offset [V]",
        "reset_offset [V]",
        "gain CV",
        "cell_gain CV",
        "gradient and edges",
    }
    assert report["time_constant CV"] == pytest.approx(0.081, rel=0.15)
    quiet = replace(LOCAL, a_vt=0.0, a_beta=0.0, a_c=0.0, edge_columns=0.9)
    chip = fabricate(replace(design, effects=(quiet,)), 0)
    found = deploy(Network.random((30, 500, 10), seed=0), chip).effect_report()["silicon_mismatch"]
    assert set(found) == {"gradient and edges"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"scale": -0.1}, "SiliconMismatch.scale = -0.1 is outside its valid range 0 to 10"),
        ({"area_weight": 0.0}, "SiliconMismatch.area_weight = 0 m2 is outside"),
        ({"i_spec": 0.0}, "SiliconMismatch.i_spec"),
        ({"core_rows": 0}, "SiliconMismatch.core_rows must be a whole number of at least 1, not 0"),
        ({"core_columns": 2.0}, "SiliconMismatch.core_columns must be a whole number"),
        ({"lot": -1}, "SiliconMismatch.lot must be a whole number of at least 0, not -1"),
        ({"lot": True}, "SiliconMismatch.lot"),
        ({"transistor_cells": 1}, "SiliconMismatch.transistor_cells must be True or False, not 1"),
        ({"outlier_low": 3.0}, "outlier_low = 3 must not lie above outlier_high = 2.5"),
        ({"outliers_bias": 1.1}, "SiliconMismatch.outliers_bias"),
        ({"edge_rows": 0.0}, "SiliconMismatch.edge_rows"),
    ],
)
def test_impossible_silicon_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        SiliconMismatch(**fields)  # type: ignore[arg-type]


def test_a_part_that_is_not_measured_is_not_stated() -> None:
    with pytest.raises(ParameterError, match="SiliconMismatch measures no 'colour' of LIF"):
        SiliconMismatch().stated("colour", LIF(), Ideal())
    assert SiliconMismatch().stated("gain CV", Integrator(), Ideal()) == pytest.approx(0.1056, rel=1e-3)
