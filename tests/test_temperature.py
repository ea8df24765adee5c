import dataclasses

import numpy as np
import pytest

import chipsim as cs
from chipsim.network import Network
from chipsim.streams import stream

COLD, HOT = 298.15, 333.15
SIZE = {"tiles": 4, "rows": 24, "columns": 24, "neurons": 64}
CIRCUIT = cs.CurrentLIF(temperature=COLD, t_refractory=0.0)
ENGINES = (cs.Brian(), cs.Torch(dtype="float64"))


def deployed(circuit=CIRCUIT, engine=None, seed=3):
    design = cs.ChipDesign(circuit=circuit, effects=(cs.Mismatch(sigma=0.2),), **SIZE)
    return cs.deploy(Network.random((12, 20, 4), seed=0), cs.fabricate(design, seed), window=16, engine=engine)


def inputs():
    return stream(0, "temperature").uniform(0, 2, (8, 12))


@pytest.mark.parametrize("engine", ENGINES, ids=["brian", "torch"])
def test_a_chip_that_is_warmed_is_the_chip_of_a_warm_design(engine) -> None:
    snn, warm = deployed(engine=engine), deployed(dataclasses.replace(CIRCUIT, temperature=HOT), engine=engine)
    cold = snn.outputs(inputs())
    snn.set_temperature(HOT)
    assert snn.temperature == HOT
    np.testing.assert_array_equal(snn.outputs(inputs()), warm.outputs(inputs()))
    assert not np.array_equal(snn.outputs(inputs()), cold)
    snn.set_temperature(COLD)
    np.testing.assert_array_equal(snn.outputs(inputs()), cold)


def test_what_the_die_drew_stays() -> None:
    snn = deployed()
    cold = snn.stages[0].parameters
    snn.set_temperature(HOT)
    for name, values in snn.stages[0].parameters.items():
        if name == "i_0":
            np.testing.assert_allclose(values / cold[name], 2 ** ((HOT - COLD) / 8), rtol=1e-9)
        else:
            np.testing.assert_array_equal(values, cold[name])
    assert snn.stages[0].circuit.tau / CIRCUIT.tau == pytest.approx(HOT / COLD)


def test_learning_at_one_temperature_and_a_snapshot() -> None:
    snn = deployed(engine=cs.Torch(dtype="float64"))
    snapshot = snn.snapshot()
    snn.set_temperature(HOT)
    samples = type("Some", (), {"inputs": inputs(), "labels": np.arange(8) % 4})()
    cs.learn(snn, samples, rule=cs.Delta(), progress=False)
    assert snn.temperature == HOT
    snn.restore(snapshot)
    assert snn.temperature == COLD
    assert snn.stages[0].circuit.tau == CIRCUIT.tau


@pytest.mark.parametrize("temperature", [0.0, 500.0, np.nan, "hot"])
def test_temperatures_out_of_range_are_refused_and_change_nothing(temperature) -> None:
    snn = deployed()
    with pytest.raises(cs.ChipsimError):
        snn.set_temperature(temperature)
    assert snn.temperature == COLD


def test_a_circuit_without_temperature_is_refused() -> None:
    with pytest.raises(cs.ChipsimError, match="states no temperature"):
        deployed(cs.LIF()).set_temperature(HOT)


def test_a_chip_follows_a_profile_of_temperature() -> None:
    snn, warm = deployed(), deployed(dataclasses.replace(CIRCUIT, temperature=(HOT + COLD) / 2))
    cold = snn.outputs(inputs())
    with snn.held():
        snn.follow_temperature([0.0, 100.0, 200.0], [COLD, COLD, HOT])
    assert snn.temperature == COLD
    begun = snn.snapshot()
    snn.wait(150.0 - snn.time)
    assert snn.temperature == pytest.approx((HOT + COLD) / 2)
    with snn.held():
        np.testing.assert_allclose(snn.outputs(inputs()), warm.outputs(inputs()), rtol=1e-6)
    snn.wait(1000.0)
    assert snn.temperature == HOT
    snn.restore(begun)
    assert snn.temperature == COLD
    np.testing.assert_array_equal(snn.outputs(inputs()), cold)
    snn.wait(1000.0)
    assert snn.temperature == HOT, "a profile is part of a snapshot"
    snn.set_temperature(COLD)
    snn.wait(1.0)
    assert snn.temperature == COLD


def test_a_snapshot_knows_whether_a_chip_follows_a_profile() -> None:
    snn = deployed()
    without, before = snn.snapshot(), snn.outputs(inputs())
    snn.follow_temperature([0.0, 1.0], [HOT, HOT])
    following = snn.snapshot()
    snn.restore(without)
    np.testing.assert_array_equal(snn.outputs(inputs()), before)
    snn.set_temperature(COLD)
    snn.restore(following)
    snn.wait(1.0)
    assert snn.temperature == HOT


def test_presenting_samples_takes_a_chip_along_its_profile() -> None:
    snn = deployed()
    snn.follow_temperature([0.0, 1e-3], [COLD, HOT])
    snn.outputs(inputs())
    assert snn.temperature == COLD, "a run meets the temperature at its start"
    snn.outputs(inputs())
    assert snn.temperature == HOT


def test_a_chip_along_a_profile_learns_without_checkpoints(tmp_path) -> None:
    snn = deployed()
    snn.follow_temperature([0.0, 1e-3], [COLD, HOT])
    samples = type("Some", (), {"inputs": inputs(), "labels": np.zeros(len(inputs()), dtype=int)})()
    with pytest.raises(cs.ChipsimError, match="temperature profile cannot learn with a checkpoint"):
        cs.learn(snn, samples, rule=cs.Delta(), checkpoint=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "profile", [([0.0, 1.0], [300.0]), ([1.0, 0.0], [300.0, 310.0]), ([0.0, 1.0], [300.0, 900.0]), ([np.nan], [300.0])]
)
def test_impossible_profiles_are_refused(profile) -> None:
    snn = deployed()
    with pytest.raises(cs.ChipsimError):
        snn.follow_temperature(*profile)
    snn.wait(10.0)
    assert snn.temperature == COLD
