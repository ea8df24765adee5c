"""Time on a chip: cells that drift while nobody looks, read noise that stands still, and the clock."""

import dataclasses

import numpy as np
import pytest

import chipsim as cs
from chipsim.devices import (
    PCM_NANDAKUMAR_2019,
    RRAM_FALCONE_2025,
    RRAM_WAN_2022,
    SONOS_AGRAWAL_2022,
    Device,
    Pcm,
)
from chipsim.devices.curves import PowerLaw
from chipsim.effects import TelegraphNoise
from chipsim.engines import Engine
from chipsim.learning import Labelled
from chipsim.network import Network
from chipsim.streams import stream

SIZE = {"tiles": 4, "rows": 24, "columns": 24, "neurons": 64}
DRIFTING = dataclasses.replace(PCM_NANDAKUMAR_2019, noise=PowerLaw(factor=0.0, exponent=-0.65))
ENGINES = (cs.Brian(), cs.Torch(dtype="float64"))


def deployed(device: Device, *effects: cs.effects.Effect, engine: Engine | None = None, chips: int = 1):
    design = cs.ChipDesign(circuit=cs.LIF(), device=device, effects=effects, **SIZE)
    dies = [cs.fabricate(design, seed) for seed in range(chips)]
    return cs.deploy(Network.random((12, 20, 4), seed=0), dies if chips > 1 else dies[0], window=8, engine=engine)


def inputs(count: int = 6):
    return stream(0, "time", "inputs").uniform(0, 2, (count, 12))


@pytest.mark.parametrize("engine", ENGINES, ids=["brian", "torch"])
def test_pcm_cells_decay_by_their_own_power_law(engine: Engine) -> None:
    snn = deployed(DRIFTING, engine=engine)
    cells, at_once = snn.cells[0], snn.weights(0)
    snn.wait(3600.0)
    assert snn.time == 3600.0
    nu = np.asarray(DRIFTING.exponent(cells.target, cells.drawn))
    pairs = np.asarray(cells.g) * (3620 / 20) ** -nu
    weights = (pairs[0] - pairs[1]) / float(snn.arrays[0].g_scale)
    np.testing.assert_allclose(snn.weights(0), weights, rtol=1e-9, atol=1e-12)
    assert np.abs(snn.weights(0)).sum() < 0.9 * np.abs(at_once).sum()


def test_a_wait_in_parts_ages_cells_as_one_wait_does() -> None:
    one, parts = deployed(DRIFTING), deployed(DRIFTING)
    one.wait(1000.0)
    for seconds in (1.0, 99.0, 900.0):
        parts.wait(seconds)
    np.testing.assert_allclose(one.weights(0), parts.weights(0), rtol=1e-12)


def test_only_cells_that_are_written_start_anew() -> None:
    snn = deployed(DRIFTING)
    snn.wait(1e5)
    cells, array = snn.cells[0], snn.arrays[0]
    wanted = np.array(cells.wanted, copy=True)
    wanted[0] *= 0.5
    snn.write(0, array.programme(cells, wanted, snn.write_stream(), snn.time))
    after, moved = snn.cells[0], np.asarray(snn.cells[0].target != cells.target)
    assert moved.any()
    assert not moved[:, 1:].any()
    assert (np.asarray(after.written)[moved] == 1e5).all()
    assert (np.asarray(after.drawn)[moved] != np.asarray(cells.drawn)[moved]).all()
    np.testing.assert_array_equal(np.asarray(after.drawn)[~moved], np.asarray(cells.drawn)[~moved])
    g = np.asarray(array.seen(after, snn.time))
    np.testing.assert_array_equal(g[moved], np.asarray(after.g)[moved])
    assert (g[~moved & (np.asarray(after.g) > 0)] < np.asarray(after.g)[~moved & (np.asarray(after.g) > 0)]).all()


def test_slow_noise_stands_still_until_time_is_waited() -> None:
    snn = deployed(PCM_NANDAKUMAR_2019)
    snn.wait(100.0)
    with snn.held():
        first, again = snn.weights(0), snn.weights(0)
        np.testing.assert_array_equal(first, again)
    snn.wait(1e-9)
    other = snn.weights(0)
    assert np.count_nonzero(other != first) > 0.9 * np.count_nonzero(first)
    quiet = deployed(DRIFTING)
    quiet.wait(100.0)
    before = quiet.weights(0)
    quiet.wait(1e-9)
    np.testing.assert_allclose(quiet.weights(0), before, rtol=1e-9)


def test_two_reads_at_one_time_differ_by_read_noise_alone_and_repeat() -> None:
    snn, twin, quiet = deployed(PCM_NANDAKUMAR_2019), deployed(PCM_NANDAKUMAR_2019), deployed(DRIFTING)
    for each in (snn, twin, quiet):
        each.wait(50.0)
    with snn.held(), twin.held(), quiet.held():
        one, other = snn.outputs(inputs(), first=0), snn.outputs(inputs(), first=100)
        assert not np.array_equal(one, other)
        np.testing.assert_array_equal(one, twin.outputs(inputs(), first=0))
        np.testing.assert_array_equal(quiet.outputs(inputs(), first=0), quiet.outputs(inputs(), first=100))


def test_presenting_takes_time_unless_it_is_held() -> None:
    snn = deployed(DRIFTING)
    with snn.held():
        snn.outputs(inputs())
        assert snn.time == 0.0
    snn.outputs(inputs())
    assert snn.time == pytest.approx(6 * 8 * 1e-3)


def test_a_chip_that_is_held_twice_is_held_until_the_last_end() -> None:
    snn = deployed(DRIFTING)
    with snn.held():
        with snn.held():
            pass
        snn.outputs(inputs())
    assert snn.time == 0.0


def test_presenting_takes_no_cell_beyond_what_was_measured() -> None:
    snn = deployed(RRAM_FALCONE_2025)
    snn.wait(3600.0)
    with pytest.raises(cs.ChipsimError, match="older than Cmo was measured"):
        snn.outputs(inputs())
    assert snn.time == 3600.0
    with snn.held():
        snn.outputs(inputs())
    snn.effect_report()
    snn.compensate()


def test_cells_drift_while_a_long_run_lasts() -> None:
    fast = dataclasses.replace(DRIFTING, t_0=1e-3)
    snn = deployed(fast)
    before = snn._driving[0].weights
    snn.outputs(inputs(300))
    now = snn._driving[0].weights
    ratio = np.abs(now).sum() / np.abs(before).sum()
    assert ratio < 0.9
    assert np.abs(now).sum() * snn.stages[0].circuit.unit_drive ** -1 == pytest.approx(
        np.abs(snn.weights(0)).sum(), rel=0.002
    )


def test_engines_agree_on_a_chip_that_drifted() -> None:
    found = []
    for engine in ENGINES:
        snn = deployed(PCM_NANDAKUMAR_2019, cs.Mismatch(sigma=0.2), cs.StuckCells(rate=0.05), engine=engine)
        snn.wait(1e4)
        found.append(snn.outputs(inputs()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_several_chips_age_as_each_would_alone() -> None:
    engine = cs.Torch(dtype="float64")
    together = deployed(PCM_NANDAKUMAR_2019, engine=engine, chips=2)
    alone = deployed(PCM_NANDAKUMAR_2019, engine=engine)
    together.wait(500.0)
    alone.wait(500.0)
    np.testing.assert_allclose(together.weights(0)[0], alone.weights(0), rtol=1e-12)
    np.testing.assert_allclose(together.outputs(inputs())[0], alone.outputs(inputs()), rtol=1e-9)


def test_stuck_cells_stay_stuck_whatever_time_passes() -> None:
    snn = deployed(PCM_NANDAKUMAR_2019, cs.StuckCells(rate=0.3))
    frozen = snn._frozen[0][0]
    stuck = frozen["stuck"] > 0
    snn.wait(1e6)
    np.testing.assert_array_equal(np.asarray(snn.arrays[0].seen(snn.cells[0], snn.time))[stuck], frozen["level"][stuck])


@pytest.mark.parametrize("device", [PCM_NANDAKUMAR_2019, SONOS_AGRAWAL_2022], ids=["pcm", "sonos"])
def test_effects_pass_on_the_noise_of_cells_as_they_pass_on_their_currents(device: Device) -> None:
    gains, stuck = cs.Mismatch(sigma=0.3, kinds=("cell_gain",)), cs.StuckCells(rate=0.3)
    plain, varied, still = deployed(device), deployed(device, gains), deployed(device, stuck)

    def fast(snn: cs.Deployment) -> np.ndarray:
        """Variance of the weights of the first array."""
        found = snn.arrays[0].variance(snn.cells[0], snn.time)
        assert found is not None
        return np.asarray(found) * float(snn.arrays[0].g_scale) ** 2

    for snn in (plain, varied, still):
        snn.wait(100.0)
    (cell_gain,) = (frozen["cell_gain"] for frozen in varied._frozen[0])
    array, cells = plain.arrays[0], plain.cells[0]
    g = array.seen(cells, plain.time)
    own = device.variance(g, cells.target, array.step)
    assert (own > 0).any()
    np.testing.assert_allclose(fast(plain), own.sum(0))
    np.testing.assert_allclose(fast(varied), (own * cell_gain**2).sum(0), rtol=1e-6)
    (moves,) = (1 - frozen["stuck"] for frozen in still._frozen[0])
    np.testing.assert_allclose(fast(still), (own * moves).sum(0), rtol=1e-6, atol=1e-30)


def test_a_snapshot_goes_back_to_its_time() -> None:
    snn = deployed(PCM_NANDAKUMAR_2019)
    snn.wait(100.0)
    snapshot, before = snn.snapshot(), snn.weights(0)
    snn.wait(1e5)
    assert not np.array_equal(snn.weights(0), before)
    snn.restore(snapshot)
    assert snn.time == 100.0
    np.testing.assert_array_equal(snn.weights(0), before)


def test_drift_compensation_brings_each_arrays_sum_of_weights_back() -> None:
    snn = deployed(DRIFTING)
    before = [snn.weights(layer) for layer in range(2)]
    snn.compensate()
    assert snn.gains == (1.0, 1.0)
    snn.wait(1e6)
    drifted = [snn.weights(layer) for layer in range(2)]
    snn.compensate()
    for layer in range(2):
        after = snn.weights(layer)
        assert np.abs(drifted[layer]).sum() < 0.8 * np.abs(before[layer]).sum()
        assert np.abs(after).sum() == pytest.approx(np.abs(before[layer]).sum(), rel=1e-9)
        np.testing.assert_allclose(after, snn.gains[layer] * drifted[layer], rtol=1e-12)
        assert np.abs(after - before[layer]).mean() < 0.5 * np.abs(drifted[layer] - before[layer]).mean()


def test_a_compensated_array_drives_its_neurons_with_its_gain() -> None:
    snn, plain = deployed(DRIFTING), deployed(DRIFTING)
    for each in (snn, plain):
        each.wait(1e6)
    snn.compensate()
    for layer in range(2):
        ratio = np.asarray(snn._driving[layer].weights) / np.where(plain.weights(layer) == 0, 1, plain.weights(layer))
        used = plain.weights(layer) != 0
        unit = snn.stages[layer].circuit.unit_drive
        np.testing.assert_allclose(ratio[used], snn.gains[layer] * unit, rtol=1e-9)


def test_gains_are_each_chips_own_and_go_back_with_a_snapshot() -> None:
    engine = cs.Torch(dtype="float64")
    together, alone = (deployed(DRIFTING, engine=engine, chips=chips) for chips in (2, 1))
    snapshot = together.snapshot()
    for each in (together, alone):
        each.wait(1e6)
        each.compensate()
    assert together.gains[0].shape == (2, 1, 1)
    assert float(together.gains[0][0, 0, 0]) == pytest.approx(alone.gains[0], rel=1e-9)
    np.testing.assert_allclose(together.outputs(inputs())[0], alone.outputs(inputs()), rtol=1e-9)
    cs.learn(together, Labelled(samples=Some()), rule=cs.Delta(warm_up=2), progress=False)
    together.restore(snapshot)
    assert all(bool((gain == 1.0).all()) for gain in together.gains)


def test_each_of_several_chips_is_read_with_noise_of_its_own_gain() -> None:
    engine, noise = cs.Torch(dtype="float64"), cs.ReadNoise(sigma=0.05)
    design = cs.ChipDesign(circuit=cs.LIF(), device=RRAM_WAN_2022, effects=(noise,), **SIZE)
    dies, network = [cs.fabricate(design, seed) for seed in (0, 1, 2)], Network.random((12, 20, 4), seed=0)
    found = []
    for chips in (dies, *dies):
        snn = cs.deploy(network, chips, window=8, engine=engine)
        snn.wait(86_400.0)
        snn.compensate()
        found.append(snn.outputs(inputs()))
    together, *alone = found
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-6, atol=1e-6)
    assert len({float(gain) for gain in np.ravel(snn.gains)}) > 1


def test_weights_that_are_gone_cannot_be_compensated() -> None:
    snn = deployed(dataclasses.replace(cs.Ideal()), cs.StuckCells(rate=1.0, at_max=0.0))
    with pytest.raises(cs.ChipsimError, match="no gain brings them back"):
        snn.compensate()


def test_learning_goes_on_while_cells_drift() -> None:
    snn = deployed(PCM_NANDAKUMAR_2019)
    snn.wait(1e5)
    history = cs.learn(snn, Labelled(samples=Some()), rule=cs.Delta(warm_up=2), progress=False)
    assert history.writes.values.sum() > 0
    written = np.asarray(snn.cells[-1].written)
    assert written.max() > 1e5
    assert np.isfinite(snn.weights(1)).all()


class Some:
    inputs = inputs(64)
    labels = np.arange(64) % 4


def test_the_report_says_how_far_cells_drifted_and_how_noisily_they_are_read() -> None:
    snn = deployed(PCM_NANDAKUMAR_2019)
    assert snn.effect_report()["drift"]["rms change of cells since their write, share of range"] == 0.0
    snn.wait(1e5)
    report = snn.effect_report()
    assert report["drift"]["mean change of cells since their write, share of range"] < -0.01
    assert report["device noise"]["rms of what is slower than a step, share of range"] > 1e-3
    assert "device noise" not in {entry.effect for entry in deployed(RRAM_WAN_2022).effect_report().entries}


@pytest.mark.parametrize("engine", ENGINES, ids=["brian", "torch"])
def test_traps_switch_when_time_is_waited_and_only_then(engine: Engine) -> None:
    effect = TelegraphNoise(share=0.5, depth=0.3, occupancy=0.4)
    snn, ideal = deployed(cs.Ideal(), effect, engine=engine), deployed(cs.Ideal(), engine=engine).weights(0)
    depth = snn._frozen[0][0]["depth"]
    single = (np.minimum(ideal, 0) != 0).astype(int), ideal != 0
    of_cell = np.take_along_axis(depth, single[0][None], axis=0)[0]
    seen = []
    for _ in range(60):
        first, again = snn.weights(0), snn.weights(0)
        np.testing.assert_array_equal(first, again)
        lost = 1 - np.divide(first, ideal, out=np.ones_like(ideal), where=single[1])
        assert (np.isclose(lost, 0, atol=1e-9) | np.isclose(lost, of_cell, atol=1e-9))[single[1]].all()
        seen.append(~np.isclose(lost, 0, atol=1e-9)[single[1] & (of_cell > 1e-6)])
        snn.wait(1.0)
    occupied = np.array(seen)
    assert abs(occupied.mean() - 0.4) <= 4 * np.sqrt(0.24 / occupied.size)
    assert abs(np.mean(of_cell[single[1]] > 0) - 0.5) <= 4 * 0.5 / np.sqrt(single[1].sum())


def test_traps_go_back_with_a_snapshot() -> None:
    snn = deployed(cs.Ideal(), TelegraphNoise(share=0.5))
    snn.wait(1.0)
    snapshot, before = snn.snapshot(), snn.weights(0)
    snn.wait(1.0)
    assert not np.array_equal(snn.weights(0), before)
    snn.restore(snapshot)
    np.testing.assert_array_equal(snn.weights(0), before)


@pytest.mark.parametrize("seconds", [-1.0, np.nan, np.inf, "long"])
def test_impossible_waits_are_refused(seconds: object) -> None:
    with pytest.raises(cs.ChipsimError):
        deployed(Pcm()).wait(seconds)


def test_a_wait_beyond_what_was_measured_is_refused_and_changes_nothing() -> None:
    snn = deployed(RRAM_FALCONE_2025)
    snn.wait(3000.0)
    before = snn.weights(0)
    with pytest.raises(cs.ChipsimError, match="older than Cmo was measured"):
        snn.wait(1000.0)
    assert snn.time == 3000.0
    np.testing.assert_array_equal(snn.weights(0), before)


def test_a_cell_that_does_not_age_waits_for_nothing() -> None:
    snn = deployed(cs.Ideal())
    before = snn.weights(0)
    snn.wait(1e9)
    np.testing.assert_array_equal(snn.weights(0), before)
