import dataclasses
from typing import Literal

import numpy as np
import pytest

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.engines import Brian, Engine, Torch, Watch
from chipsim.errors import ParameterError
from chipsim.network import Conv2d, Dense

FAST = Torch(dtype="float64", device="cpu", compile=False)
SIZES = (8, 20, 15, 4)


def inputs(count: int = 150, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1.5, (count, size))


def deployed(*effects: cs.Mismatch, engine: Engine = FAST, network: cs.Network | None = None) -> cs.Deployment:
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), effects=effects, headroom=20.0)
    network = network or cs.Network.random(SIZES, seed=0)
    return cs.deploy(network, cs.fabricate(design, seed=1), window=24, engine=engine)


@pytest.mark.parametrize("engine", [FAST, Brian()], ids=["torch", "brian"])
def test_a_nominal_chip_is_left_alone(engine: Engine) -> None:
    snn = deployed(engine=engine)
    history = cs.recalibrate(snn, inputs(), rounds=2, progress=False)
    assert not history.writes.any()
    assert not history.deviation.any()


@pytest.mark.parametrize("pace", [1.0, 0.5])
@pytest.mark.parametrize("by", ["column", "layer"])
def test_a_round_is_its_formula(by: Literal["column", "layer"], pace: float) -> None:
    """Rates by the counts of a probe; a rate of 1 is a drive of the threshold, 0.6, and a read-out shows its drive."""
    snn, shown = deployed(cs.Mismatch(sigma=0.3)), inputs(40)
    before = [to_numpy(cells.wanted) for cells in snn.cells]

    def moments(chip: cs.Deployment) -> list[tuple[np.ndarray, np.ndarray]]:
        rates = [
            chip.present(shown, cs.Record(layer=layer, spikes=list(range(size)))).spikes.values.mean(1)
            for layer, size in enumerate(SIZES[1:-1])
        ]
        found = [(value.mean(0), value.std(0)) for value in (*rates, chip.outputs(shown))]
        if by == "layer":
            found = [(np.full_like(a, a.mean()), np.full_like(s, np.sqrt((s**2).mean()))) for a, s in found]
        return found

    pairs = zip(before, moments(snn), moments(deployed()), snn.placement.layers, (0.6, 0.6, 1.0), strict=True)
    wanted = []
    for weights, (mean, std), (aim, spread), layer, drive in pairs:
        gain = np.where((std > 1e-6) & (spread > 1e-6), spread / np.maximum(std, 1e-6), 1.0)
        gain = np.clip(gain**pace, 0.5, 2.0)
        changed = gain * weights
        changed[-layer.bias_rows :] += pace * (aim - gain * mean) * drive / layer.bias_rows
        wanted.append(changed)
    cs.recalibrate(snn, shown, by=by, rounds=1, pace=pace, progress=False)
    for cells, weights, old in zip(snn.cells, wanted, before, strict=True):
        np.testing.assert_allclose(to_numpy(cells.wanted), weights, rtol=1e-9, atol=1e-12)
        assert np.abs(weights - old).max() > 1e-3


def test_gains_of_columns_win_back_the_gains_of_neurons() -> None:
    """A gain of a neuron is undone by the inverse gain of its column, where rates vary and do not saturate."""
    nominal, snn = deployed(), deployed(cs.Mismatch(sigma=0.3, kinds=("gain",)))
    rates = nominal.present(inputs(400), cs.Record(layer=0, spikes=list(range(SIZES[1])))).spikes.values.mean(1)
    varied = rates.std(axis=0) > 0.25
    before = [to_numpy(cells.wanted) for cells in snn.cells]
    history = cs.recalibrate(snn, inputs(400), rounds=40, progress=False)
    drawn = snn.chip.frozen_neurons[0]["gain"]
    layer = snn.placement.layers[0]
    found = (to_numpy(snn.cells[0].wanted) / before[0])[: -layer.bias_rows].mean(axis=0)
    gains = drawn[layer.bank][varied]
    assert np.count_nonzero(abs(gains - 1) > 0.1) > 5
    np.testing.assert_allclose(found[varied] * gains, 1.0, atol=0.01)
    assert (history.deviation[-1, :2] < 0.25 * history.deviation[0, :2]).all()


def test_it_settles_where_offsets_come_through_large_gains() -> None:
    """A round of its own length overshoots behind cells and neurons of more than twice their nominal gain."""
    left = {}
    for pace in (1.0, 0.5):
        snn = deployed(cs.Mismatch(sigma=0.8, kinds=("gain", "cell_gain")))
        found = cs.recalibrate(snn, inputs(), rounds=16, pace=pace, progress=False).deviation
        left[pace] = float(found[-1].mean() / found[0].mean())
    assert left[0.5] < 0.2
    assert left[0.5] < 0.3 * left[1.0]


def test_an_offset_counts_the_gain_that_stands_behind_an_array() -> None:
    snn, other = deployed(cs.Mismatch(sigma=0.3)), deployed(cs.Mismatch(sigma=0.3))
    snn.gains = (2.0,) * 3
    for index, cells in enumerate(snn.cells):
        snn.cells[index] = snn.arrays[index].programme(None, cells.wanted / 2, None, 0.0)
        snn._read(index, snn.time)
    for chip in (snn, other):
        cs.recalibrate(chip, inputs(), rounds=1, progress=False)
    for ours, theirs in zip(snn.cells, other.cells, strict=True):
        np.testing.assert_allclose(2 * to_numpy(ours.wanted), to_numpy(theirs.wanted), rtol=1e-9, atol=1e-12)


def test_a_column_that_never_changes_keeps_its_gain() -> None:
    """Of equal samples every column shows a constant, whose variance is rounding alone."""
    snn = deployed(cs.Mismatch(sigma=0.3, kinds=("gain",)))
    before = to_numpy(snn.cells[0].wanted)
    cs.recalibrate(snn, np.repeat(inputs(1), 30, axis=0), rounds=2, progress=False)
    bias_rows = snn.placement.layers[0].bias_rows
    np.testing.assert_array_equal(to_numpy(snn.cells[0].wanted)[:-bias_rows], before[:-bias_rows])


def test_with_poisson_spikes_a_nominal_chip_is_left_alone_too() -> None:
    network, design = cs.Network.random(SIZES, seed=0), cs.ChipDesign(circuit=cs.IF(soft_reset=True), headroom=20.0)
    chip = cs.fabricate(design, seed=1)
    snn = cs.deploy(network, chip, window=24, engine=FAST, encoder=cs.Poisson(), seed=3)
    assert not cs.recalibrate(snn, inputs() / 1.5, rounds=2, progress=False).writes.any()


def test_by_layer_all_columns_share_one_gain() -> None:
    snn = deployed(cs.Mismatch(sigma=0.4, kinds=("gain", "cell_gain")))
    before = [to_numpy(cells.wanted) for cells in snn.cells]
    cs.recalibrate(snn, inputs(), by="layer", rounds=1, progress=False)
    for layer, wanted, cells in zip(snn.placement.layers, before, snn.cells, strict=True):
        gains = to_numpy(cells.wanted)[: -layer.bias_rows] / wanted[: -layer.bias_rows]
        assert np.ptp(gains) < 1e-9
        assert not np.isclose(gains.mean(), 1.0, atol=1e-6)


def test_a_kernel_is_calibrated_over_its_positions() -> None:
    kernel = Conv2d(weight=np.zeros((3, 1, 2, 2)), bias=np.zeros(3))
    readout = Dense(weight=np.zeros((27, 3)), bias=np.zeros(3))
    network = cs.Network((kernel, readout), (1, 4, 4)).redrawn(seed=0)
    snn = deployed(cs.Mismatch(sigma=0.3, kinds=("cell_gain",)), network=network)
    history = cs.recalibrate(snn, inputs(150, 16), progress=False)
    assert float(history.deviation[-1, 0]) < 0.3 * float(history.deviation[0, 0])
    assert to_numpy(snn.cells[0].wanted).shape == (5, 3)


def test_it_reads_counts_and_outputs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Watch | None] = []
    original = Torch.run

    def spied(self: Torch, *args: object, watch: Watch | None = None, **kwargs: object) -> None:
        asked.append(watch)
        original(self, *args, watch=watch, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Torch, "run", spied)
    cs.recalibrate(deployed(), inputs(), rounds=1, progress=False)
    assert asked
    assert all(watch is not None and not watch.v and not watch.gate for watch in asked)


def test_it_repeats_and_says_what_it_did() -> None:
    one, two = (cs.recalibrate(deployed(cs.Mismatch(sigma=0.3)), inputs(), rounds=2, progress=False) for _ in "ab")
    assert one.identical(two)
    assert one.attrs["by"] == "column"
    assert {"units", "long_name"} <= set(one.deviation.attrs)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"by": "neuron"}, 'by must be "column" or "layer"'),
        ({"rounds": 0}, "rounds must be a whole number"),
        ({"pace": 0.0}, "pace must be above 0 and at most 1, not 0.0"),
        ({"pace": 1.5}, "pace must be above 0 and at most 1, not 1.5"),
        ({"writer": "direct"}, r"writer must be one, as Direct\(\) is, not 'direct'"),
    ],
)
def test_impossible_recalibration_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        cs.recalibrate(deployed(), inputs(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="at least 2 samples"):
        cs.recalibrate(deployed(), inputs(1))
    design = dataclasses.replace(cs.ChipDesign())
    chips = [cs.fabricate(design, seed=seed) for seed in (0, 1)]
    with pytest.raises(ParameterError, match="one chip at a time"):
        cs.recalibrate(cs.deploy(cs.Network.random(SIZES, seed=0), chips, engine=FAST), inputs())
