import numpy as np
import pytest

import chipsim as cs
from chipsim.effects import SenseAmplifiers
from chipsim.network import Network
from chipsim.streams import stream

SIZE = {"tiles": 16, "rows": 12, "columns": 8, "neurons": 64}
ENGINES = (cs.Brian(), cs.Torch(dtype="float64"))


def deployed(*effects, engine=None, chips=1):
    design = cs.ChipDesign(circuit=cs.LIF(), effects=effects, **SIZE)
    dies = [cs.fabricate(design, seed) for seed in range(chips)]
    return cs.deploy(Network.random((20, 12, 4), seed=0), dies if chips > 1 else dies[0], window=8, engine=engine)


def inputs(count=6):
    return stream(0, "sense", "inputs").uniform(0, 2, (count, 20))


def test_a_columns_offset_is_that_of_all_its_tiles_and_acts_in_every_step() -> None:
    snn, ideal = deployed(SenseAmplifiers(gain=0.0, offset=0.2)), deployed()
    blocks, frozen = snn.placement.layers[0].blocks, snn._frozen[0][0]
    first = [block for block in blocks if block.columns.start == 0]
    assert len(first) == 2
    total = 0.2 * sum(snn.chip.tile(block.tile)[0]["offset"][0, 0] for block in first) * snn.placement.layers[0].w_max
    np.testing.assert_allclose(snn.arrays[0].offset()[:8], total)
    assert np.count_nonzero(frozen["offset"]) == 2 * 12
    last = snn.outputs(np.zeros((1, 20))) - ideal.outputs(np.zeros((1, 20)))
    moved = np.asarray(snn._driving[0].weights - ideal._driving[0].weights)
    np.testing.assert_allclose(moved[:-1], 0.0, atol=1e-15)
    np.testing.assert_allclose(moved[-1], snn.arrays[0].offset() * snn.stages[0].circuit.unit_drive)
    assert np.abs(last).max() > 0


def test_gain_and_droop_scale_whole_columns() -> None:
    snn, ideal = deployed(SenseAmplifiers(gain=0.1, offset=0.0, hold=0.5, hold_tau=1.0)), deployed()
    ratio = snn.weights(1) / ideal.weights(1)
    gains = snn.chip.tile(snn.placement.layers[1].blocks[0].tile)[0]["gain"][0, 0, :4]
    np.testing.assert_allclose(ratio[:12], np.broadcast_to(gains * np.exp(-0.5), (12, 4)), rtol=1e-9)


def test_amplifiers_stand_behind_the_wires() -> None:
    """They scale what arrives, and change neither the currents in the lines nor the energy of a read."""
    wires, amplifiers = cs.WireResistance(row=20.0, column=20.0), SenseAmplifiers(offset=0.0, hold=1.0, hold_tau=0.5)
    behind, plain = deployed(wires, amplifiers), deployed(wires)
    gains = behind._frozen[1][1]["gain"][0] * np.exp(-2.0)
    np.testing.assert_allclose(behind.weights(1), plain.weights(1) * gains, rtol=1e-9)
    samples = type("Some", (), {"inputs": np.zeros((2, 20)), "labels": np.zeros(2, dtype=int)})()
    one, other = (cs.inference_cost(snn, samples).energy.sel(part="synapse", layer=0) for snn in (behind, plain))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_noise_of_the_columns_has_its_variance() -> None:
    snn, ideal = deployed(SenseAmplifiers(gain=0.0, offset=0.0, noise=0.3)), deployed()
    still = np.zeros((4000, 20))
    variance = snn._driving[1].variance
    tiles = len({block.rows.start for block in snn.placement.layers[1].blocks})
    expected = 0.09 * tiles * (snn.placement.layers[1].w_max * snn.stages[1].circuit.unit_drive) ** 2
    np.testing.assert_allclose(variance[-1], expected)
    np.testing.assert_array_equal(variance[:-1], 0.0)
    spread = (snn.outputs(still) - ideal.outputs(still)).std(axis=0)
    own = np.sqrt(0.09 * tiles / 8) * snn.placement.layers[1].w_max
    assert (spread > 0.9 * own).all()


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_engines_agree(noise: float) -> None:
    effects = (SenseAmplifiers(gain=0.05, offset=0.1, noise=noise), cs.Mismatch(sigma=0.2), cs.ReadNoise(sigma=0.01))
    one, other = (deployed(*effects, engine=engine).outputs(inputs()) for engine in ENGINES)
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)


def test_several_chips_have_amplifiers_of_their_own() -> None:
    engine = cs.Torch(dtype="float64")
    effect = SenseAmplifiers(gain=0.05, offset=0.1, noise=0.1)
    together, alone = (deployed(effect, engine=engine, chips=chips).outputs(inputs()) for chips in (2, 1))
    np.testing.assert_allclose(together[0], alone, rtol=1e-9, atol=1e-12)
    assert not np.allclose(together[0], together[1])


def test_learning_goes_through_amplifiers_with_offset() -> None:
    snn = deployed(SenseAmplifiers(gain=0.05, offset=0.1), engine=cs.Torch(dtype="float64"))
    samples = type("Some", (), {"inputs": inputs(40), "labels": np.arange(40) % 4})()
    cs.learn(snn, samples, rule=cs.Delta(warm_up=2), progress=False, batch=8)
    given = np.asarray(snn._driving[1].weights)
    snn.restore(snn.snapshot())
    np.testing.assert_allclose(given, np.asarray(snn._driving[1].weights), rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES, ids=["brian", "torch"])
def test_amplifiers_whose_offset_was_measured_to_be_0_are_noisy_all_the_same(engine) -> None:
    effect = SenseAmplifiers(gain=0.0, offset=0.05, noise=0.5)
    design = cs.ChipDesign(circuit=cs.LIF(), effects=(effect,), **SIZE)
    zero = np.zeros((2, SIZE["rows"], SIZE["columns"]))
    measured = {f"tiles/{tile}/sense_amplifiers/offset": zero for tile in range(SIZE["tiles"])}
    chip = cs.Chip.from_measurements(design, measured, seed=0)
    snn = cs.deploy(Network.random((20, 12, 4), seed=0), chip, window=8, engine=engine)
    assert snn.outputs(np.ones((50, 20))).std(axis=0).min() > 0.01
    quiet = SenseAmplifiers(gain=0.01, offset=0.0, noise=0.5)
    report = cs.deploy(
        Network.random((20, 12, 4), seed=0), cs.fabricate(cs.ChipDesign(effects=(quiet,), **SIZE), 0)
    ).effect_report()
    assert np.isfinite([float(size) for size in report["sense_amplifiers"].values()]).all()


def test_the_report_names_the_parts_that_are_on() -> None:
    report = deployed(SenseAmplifiers(gain=0.0, offset=0.1, noise=0.2)).effect_report()["sense_amplifiers"]
    assert set(report) == {"rms offset, cells at w_max", "noise of a step, cells at w_max"}
    assert report["rms offset, cells at w_max"] == pytest.approx(0.1, rel=0.5)
