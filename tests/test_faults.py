"""Faults by rate and by place: neurons, cells, lines and tiles."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.circuits import DPI, IF, LIF, Circuit
from chipsim.deployment import deploy
from chipsim.devices import Ideal
from chipsim.effects import (
    BrokenLines,
    DeadNeurons,
    Effect,
    FailingTiles,
    HotNeurons,
    Mismatch,
    ReadNoise,
    SiliconMismatch,
    StuckCells,
)
from chipsim.engines import Engine, Torch
from chipsim.engines.brian import Brian
from chipsim.errors import ParameterError
from chipsim.network import Dense, Network
from chipsim.population import bench
from chipsim.report import RareEventWarning

DEVICE = Ideal(g_min=1e-6, g_max=5e-6)
SIZE = {"device": DEVICE, "tiles": 200, "rows": 10, "columns": 12}
ENGINES = [Torch(dtype="float64", device="cpu", compile=False), Brian()]


def die(*effects: Effect, circuit: Circuit = LIF(), neurons: int = 20_000) -> Chip:
    return fabricate(ChipDesign(circuit=circuit, effects=effects, neurons=neurons, **SIZE), 0)  # type: ignore[arg-type]


def read(chip: Chip, tile: int) -> np.ndarray:
    """What a read of cells at 2 uS sees."""
    (effect,) = chip.design.acting
    return effect.read(np.full((2, 10, 12), 2e-6), chip.tile(tile)[0])  # type: ignore[return-value]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("circuit", [LIF(), IF(v_reset=-0.3), LIF(v_floor=-0.1, v_ceiling=0.7)])
def test_hot_neurons_fire_in_every_step_whatever_drives_them(circuit: Circuit, engine: Engine) -> None:
    chip = die(HotNeurons(rate=0.3), circuit=circuit, neurons=30)
    hot = chip.frozen_neurons[0]["hot"] > 0
    assert 0 < hot.sum() < 30
    found = bench(circuit, chip, current=[-1e-8, 0.0, 1e-10], duration=0.02, neurons=30, engine=engine)
    assert (found.spikes.values[:, :, hot] == 1).all()
    assert not found.spikes.values[:2, :, ~hot].any()
    assert np.isfinite(found.v.values).all()


def test_cells_that_are_cut_off_make_no_noise() -> None:
    network, noise = Network.random((10, 4), seed=0), ReadNoise(sigma=0.1)
    for fault in (FailingTiles(rate=1.0), BrokenLines(rate=1.0)):
        snn = deploy(network, die(noise, fault), window=2, engine=ENGINES[0])
        assert not snn.outputs(np.ones((5, 10))).any()


def test_measured_open_lines_stand_in_place_of_drawn_ones() -> None:
    chip = die(BrokenLines(rate=0.02))
    words = np.zeros((2, 10, 12))
    words[0, 3, 5] = 1.0
    measured = {"tiles/0/broken_lines/open_words": words, "tiles/0/broken_lines/open_bits": np.zeros((2, 10, 12))}
    mine = Chip.from_measurements(chip.design, measured)
    cut = read(mine, 0) == 0
    assert cut[0, 3, 5:].all()
    assert cut.sum() == 7
    assert (read(mine, 1) == read(chip, 1)).all()
    with pytest.raises(ParameterError, match="unknown measured array"):
        Chip.from_measurements(chip.design, {"tiles/0/broken_lines/cut": words})


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_hot_neurons_rest_for_their_refractory_time(engine: Engine) -> None:
    circuit = DPI(t_refractory=2e-3)
    chip = die(HotNeurons(rate=0.0, places=(1,)), circuit=circuit, neurons=3)
    found = bench(circuit, chip, current=[0.0], duration=0.1, step=1e-4, neurons=3, engine=engine)
    assert found.spikes.values.sum(axis=1)[0].tolist() == [0, 50, 0]
    assert np.isfinite(found.v.values).all()


def test_hot_neurons_stay_hot_under_mismatch_in_either_order() -> None:
    hot = HotNeurons(rate=0.0, places=(0, 2))
    for other in (Mismatch(), SiliconMismatch()):
        for effects in ((hot, other), (other, hot)):
            threshold = die(*effects, neurons=3).neurons["v_threshold"]
            assert np.isneginf(threshold).tolist() == [True, False, True]


def test_circuits_whose_reset_uses_the_threshold_are_refused_hot_neurons() -> None:
    with pytest.raises(ParameterError, match="HotNeurons cannot act on this IF, whose reset or equations use its"):
        die(HotNeurons(), circuit=IF(soft_reset=True))
    die(HotNeurons(rate=0.0), circuit=IF(soft_reset=True))


@pytest.mark.parametrize(("kind", "name"), [(DeadNeurons, "dead"), (HotNeurons, "hot")])
def test_neurons_at_fault_have_their_rate_and_places(kind: type[DeadNeurons] | type[HotNeurons], name: str) -> None:
    drawn = die(kind(rate=0.02)).frozen_neurons[0][name]
    assert abs(drawn.mean() - 0.02) < 4 * math.sqrt(0.02 * 0.98 / drawn.size)
    both = die(kind(rate=0.02, places=(7, 3, 7)))
    np.testing.assert_array_equal(both.frozen_neurons[0][name], drawn)
    at_fault = np.isinf(both.neurons["v_threshold"])
    assert set(np.flatnonzero(at_fault)) == {3, 7, *np.flatnonzero(drawn)}
    only = die(kind(rate=0.0, places=(7, 3)))
    assert np.flatnonzero(np.isinf(only.neurons["v_threshold"])).tolist() == [3, 7]
    assert (np.isposinf if name == "dead" else np.isneginf)(only.neurons["v_threshold"][3])


def test_cells_stick_by_place() -> None:
    chip = die(StuckCells(rate=0.0, at_max=1.0, places=((3, 1, 4, 5), (0, 0, 0, 0))))
    (effect,) = chip.design.acting
    written = np.full((2, 10, 12), 2e-6)
    for tile, where in ((3, (1, 4, 5)), (0, (0, 0, 0)), (1, None)):
        after = effect.programme(written, chip.tile(tile)[0])
        expected = written.copy()
        if where:
            expected[where] = DEVICE.g_max
        np.testing.assert_array_equal(after, expected)
    drawn = die(StuckCells(rate=0.1)).tile(3)[0]
    both = die(StuckCells(rate=0.1, places=((3, 1, 4, 5),))).tile(3)[0]
    for name, values in drawn.items():
        np.testing.assert_array_equal(both[name], values)


def test_tiles_fail_by_rate_and_by_place() -> None:
    chip = die(FailingTiles(rate=0.2, places=(5,)))
    failed = np.array([not read(chip, tile).any() for tile in range(200)])
    whole = np.array([(read(chip, tile) == 2e-6).all() for tile in range(200)])
    assert (failed ^ whole).all()
    assert failed[5]
    drawn = np.array([chip.tile(tile)[0]["failing"][0, 0, 0] for tile in range(200)])
    assert abs(drawn.mean() - 0.2) < 4 * math.sqrt(0.16 / 200)
    np.testing.assert_array_equal(failed, (drawn > 0) | (np.arange(200) == 5))


def test_an_open_word_line_cuts_off_what_lies_beyond_and_an_open_bit_line_what_lies_before() -> None:
    chip = die(BrokenLines(rate=0.0, word_places=((2, 0, 3, 4), (2, 1, 9, 0)), bit_places=((2, 0, 6, 7),)))
    expected = np.full((2, 10, 12), 2e-6)
    expected[0, 3, 4:] = 0
    expected[1, 9, :] = 0
    expected[0, :7, 7] = 0
    np.testing.assert_array_equal(read(chip, 2), expected)
    assert (read(chip, 1) == 2e-6).all()


def test_broken_lines_are_the_limit_of_wires_with_an_open_segment() -> None:
    """Against Kirchhoff's laws on wires of next to no resistance, one segment of which is open."""
    rng = np.random.default_rng(0)
    g, drive = rng.uniform(1e-6, 5e-6, (6, 5)), rng.uniform(0.1, 0.2, 6)
    network = _nodal(g, drive, word=(2, 3), bit=(3, 1))
    effect = BrokenLines(rate=0.0, word_places=((0, 0, 2, 3),), bit_places=((0, 0, 3, 1),))
    chip = fabricate(ChipDesign(device=DEVICE, effects=(effect,), tiles=1, rows=6, columns=5), 0)
    seen = effect.read(np.stack([g, g]), chip.tile(0)[0])[0]
    ideal = drive @ g
    assert np.abs(network / ideal - 1).max() > 0.1
    np.testing.assert_allclose(drive @ seen, network, rtol=1e-6)


def _nodal(g: np.ndarray, drive: np.ndarray, word: tuple[int, int], bit: tuple[int, int]) -> np.ndarray:
    """Currents of the bit lines into virtual grounds behind the last row; `word`, `bit`: the open segments."""
    rows, columns = g.shape
    wire, size = 1e4, rows * columns
    matrix, source = np.zeros((2 * size, 2 * size)), np.zeros(2 * size)

    def join(one: int, other: int, conductance: float) -> None:
        matrix[[one, other], [one, other]] += conductance
        matrix[[one, other], [other, one]] -= conductance

    for r in range(rows):
        for c in range(columns):
            here = r * columns + c
            join(here, size + here, g[r, c])
            if c == 0:
                matrix[here, here] += wire
                source[here] += wire * drive[r]
            elif (r, c) != word:
                join(here, here - 1, wire)
            if r == rows - 1:
                matrix[size + here, size + here] += wire
            elif (r, c) != bit:
                join(size + here, size + here + columns, wire)
    v = np.linalg.solve(matrix, source)
    return wire * v[2 * size - columns :]


def test_segments_open_by_rate_and_lines_by_their_length() -> None:
    rate = 0.02
    chip = die(BrokenLines(rate=rate))
    frozen = [chip.tile(tile)[0] for tile in range(200)]
    for kind, axis, length in (("open_words", 2, 12), ("open_bits", 1, 10)):
        marks = np.stack([each[kind] for each in frozen])
        assert abs(marks.mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / marks.size)
        broken = marks.any(axis=1 + axis)
        expected = 1 - (1 - rate) ** length
        assert abs(broken.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / broken.size)
    cut = np.stack([each["cut"] for each in frozen])
    column, row = np.arange(12), np.arange(10)[:, None]
    expected_cut = 1 - (1 - rate) ** (column + 1 + 10 - row)
    error = np.sqrt(expected_cut * (1 - expected_cut) / 400)
    assert (np.abs(cut.mean(axis=(0, 1)) - expected_cut) < 4.5 * error).all()


@pytest.mark.parametrize(
    "effect",
    [
        DeadNeurons(rate=1e-9),
        HotNeurons(rate=1e-9),
        StuckCells(rate=1e-9),
        FailingTiles(rate=1e-9),
        BrokenLines(rate=1e-9),
        DeadNeurons(rate=0.0, places=(19_999,)),
        StuckCells(rate=0.0, places=((199, 0, 0, 0),)),
        FailingTiles(rate=0.0, places=(199,)),
        BrokenLines(rate=0.0, word_places=((199, 0, 0, 0),)),
    ],
    ids=str,
)
def test_faults_that_no_part_of_the_network_meets_warn(effect: Effect) -> None:
    snn = deploy(Network.random((4, 5, 3), seed=0), die(effect))
    with pytest.warns(RareEventWarning, match="measured exactly 0: no such event on this chip"):
        snn.effect_report()


def test_the_report_counts_rates_and_places_apart() -> None:
    effects = (
        DeadNeurons(rate=0.3, places=(1, 2)),
        StuckCells(rate=0.2, places=((0, 0, 0, 0),)),
        FailingTiles(rate=0.2, places=(1,)),
        BrokenLines(rate=0.1, word_places=((0, 0, 0, 0),), bit_places=((0, 0, 1, 1), (1, 0, 1, 1))),
    )
    snn = deploy(Network.random((30, 40, 3), seed=0), die(*effects))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = snn.effect_report()
    assert report["dead_neurons"]["dead neurons by place"] == 2
    assert report["stuck_cells"]["stuck cells by place"] == 1
    assert report["failing_tiles"]["failing tiles by place"] == 1
    assert report["broken_lines"]["open word lines by place"] == 1
    assert report["broken_lines"]["open bit lines by place"] == 2
    shares = [report[name][part] for name, part in (("dead_neurons", "share of dead neurons"),
              ("failing_tiles", "share of failing tiles"), ("broken_lines", "share of open segments"))]  # fmt: skip
    assert all(share is not None and 0 < share < 0.6 for share in shares)
    tiles = sum(len(layer.blocks) for layer in snn.placement.layers)
    assert report["failing_tiles"]["share of failing tiles"] * tiles == pytest.approx(  # type: ignore[operator]
        sum(die(*effects).tile(k)[2]["failing"][0, 0, 0] for k in range(tiles))
    )


def test_a_layer_on_a_failing_tile_gets_nothing_from_it() -> None:
    network = Network((Dense(weight=np.ones((4, 3)), bias=np.zeros(3)),))
    outputs = deploy(network, die(FailingTiles(rate=0.0, places=(0,)))).outputs(np.ones((2, 4)))
    assert (outputs == 0).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: DeadNeurons(places=(-1,)), r"DeadNeurons.places must hold whole numbers of at least 0, not \(-1,\)"),
        (lambda: HotNeurons(places=3), "HotNeurons.places must be a tuple"),
        (lambda: FailingTiles(places=(1.0,)), r"FailingTiles.places\[0\] must be a whole number"),
        (lambda: FailingTiles(places="12"), "FailingTiles.places must be a tuple"),
        (lambda: StuckCells(places=((0, 2, 0, 0),)), r"StuckCells.places must hold cells \(tile, side, row, column\)"),
        (lambda: StuckCells(places=(3,)), r"StuckCells.places\[0\] must be a tuple, .* not 3"),
        (lambda: BrokenLines(bit_places=((0, 0, 1),)), r"BrokenLines.bit_places\[0\] must hold 4 values, not"),
        (lambda: BrokenLines(rate=1.1), "BrokenLines.rate"),
        (
            lambda: die(DeadNeurons(places=(20_000,))).neurons,
            "DeadNeurons.places names neuron 20000, but this chip has neurons 0 to 19999",
        ),
        (
            lambda: die(StuckCells(places=((0, 0, 10, 0),))).tile(0),
            "StuckCells.places names the cell in row 10 and column 0, but tiles have 10 x 12 cells",
        ),
        (
            lambda: die(BrokenLines(word_places=((0, 0, 0, 12),))).tile(1),
            "BrokenLines.word_places names the cell in row 0 and column 12",
        ),
    ],
)
def test_impossible_faults_are_refused(call: object, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call()  # type: ignore[operator]


def test_places_survive_a_saved_chip(tmp_path: object) -> None:
    chip = die(StuckCells(rate=0.0, places=((1, 0, 2, 3),)), DeadNeurons(rate=0.0, places=(4,)), neurons=9)
    chip.save(tmp_path / "chip.h5")  # type: ignore[operator]
    again = Chip.load(tmp_path / "chip.h5")  # type: ignore[operator]
    assert again.hash == chip.hash
    assert replace(again.design) == chip.design


def test_a_line_that_is_open_below_the_rows_in_use_is_reported_by_the_cells_that_it_cuts_off() -> None:
    design = ChipDesign(effects=(BrokenLines(rate=0.0, bit_places=((0, 0, 63, 3),)),), rows=64, columns=64)
    snn = deploy(Network.random((20, 8, 4), seed=0), fabricate(design, 0))
    with pytest.warns(RareEventWarning):
        report = snn.effect_report()["broken_lines"]
    assert report["open bit lines by place"] == 0
    rows = [array.weights(cells, 0.0).shape for array, cells in zip(snn.arrays, snn.cells, strict=True)]
    cut = rows[0][0] / (2 * sum(height * width for height, width in rows))  # one cell of every pair of a column
    assert report["share of cells cut off"] == pytest.approx(cut)
