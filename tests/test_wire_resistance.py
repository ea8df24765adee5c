"""Wires in a deployment: every tile is solved as a network of its own."""

import dataclasses

import numpy as np
import pytest

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.effects import WireResistance
from chipsim.engines import Engine
from chipsim.network import Network
from chipsim.streams import stream
from chipsim.wires import Lattice

SIZE = {"tiles": 16, "rows": 12, "columns": 8, "neurons": 64}
WIRES = WireResistance(row=20.0, column=35.0, source=100.0, terminal=50.0)
ENGINES = (cs.Brian(), cs.Torch(dtype="float64"))


def deployed(*effects: cs.effects.Effect, device=None, engine: Engine | None = None, chips: int = 1):
    design = cs.ChipDesign(circuit=cs.LIF(), device=device or cs.Ideal(g_min=5e-6), effects=effects, **SIZE)
    dies = [cs.fabricate(design, seed) for seed in range(chips)]
    return cs.deploy(Network.random((20, 12, 4), seed=0), dies if chips > 1 else dies[0], window=8, engine=engine)


def inputs(count: int = 6):
    return stream(0, "wires", "inputs").uniform(0, 2, (count, 20))


def by_hand(snn, layer: int):
    """Weights of a layer, from a nodal solve of each of its tiles by one input after the other."""
    g = np.asarray(snn.cells[layer].g)
    found = np.zeros(g.shape[1:])
    for block in snn.placement.layers[layer].blocks:
        part = g[:, block.rows, block.columns]
        lines = np.empty((part.shape[1], 2 * part.shape[2]))
        lines[:, 0::2], lines[:, 1::2] = part
        lattice = WIRES.lattice(lines)
        currents = np.stack([lattice.solve(one).currents for one in np.eye(len(lines))])
        found[block.rows, block.columns] = currents[:, 0::2] - currents[:, 1::2]
    return found / float(snn.arrays[layer].g_scale)


@pytest.mark.parametrize("layer", [0, 1])
def test_weights_are_those_of_the_solved_tiles(layer: int) -> None:
    snn = deployed(WIRES)
    assert len(snn.placement.layers[0].blocks) > 1
    np.testing.assert_allclose(snn.weights(layer), by_hand(snn, layer), rtol=1e-9, atol=1e-12)
    ideal = deployed().weights(layer)
    assert np.abs(snn.weights(layer)).sum() < 0.98 * np.abs(ideal).sum()


def test_samples_meet_one_product_as_without_wires(monkeypatch: pytest.MonkeyPatch) -> None:
    wired, plain = (deployed(*effects, engine=ENGINES[1]) for effects in ((WIRES,), ()))
    monkeypatch.delattr(Lattice, "effective")
    wired.outputs(inputs())  # nothing is solved anew
    for one, other in zip(wired.stages, plain.stages, strict=True):
        assert one.weights().shape == other.weights().shape
        assert one.weights().dtype == other.weights().dtype
        assert one.variance() is None


def test_engines_agree_with_wires_and_all_else() -> None:
    effects = (cs.Mismatch(sigma=0.2), cs.StuckCells(rate=0.1), cs.ReadNoise(sigma=0.02), WIRES)
    one, other = (deployed(*effects, device=cs.RRAM_MILO_2021, engine=engine).outputs(inputs()) for engine in ENGINES)
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_several_chips_have_the_wires_of_each() -> None:
    engine = cs.Torch(dtype="float64")
    together = deployed(cs.Mismatch(sigma=0.3), WIRES, engine=engine, chips=2)
    for chip, die in enumerate(together.chips):
        alone = cs.deploy(together.network, die, window=8, engine=engine)
        np.testing.assert_allclose(together.weights(0)[chip], alone.weights(0), rtol=1e-12)
        np.testing.assert_allclose(together.outputs(inputs())[chip], alone.outputs(inputs()), rtol=1e-9)


def test_the_matrix_is_exact_again_after_so_many_writes_and_near_in_between() -> None:
    snn = deployed(dataclasses.replace(WIRES, refresh=3))
    rng = stream(0, "wires", "writes")
    errors = []
    for _ in range(3):
        cells = snn.cells[0]
        wanted = np.asarray(cells.wanted) + 0.05 * rng.standard_normal(cells.wanted.shape)
        snn.write(0, snn.arrays[0].programme(cells, wanted, snn.write_stream(), snn.time))
        exact = by_hand(snn, 0)
        errors.append(np.abs(snn.weights(0) - exact).mean() / np.abs(exact).mean())
        lossless = np.abs(snn.arrays[0].clip(wanted) - exact).mean() / np.abs(exact).mean()
        assert errors[-1] < 0.2 * lossless
    assert errors[2] < 1e-9 < errors[0] < errors[1]


def test_learning_writes_through_wires() -> None:
    snn = deployed(dataclasses.replace(WIRES, refresh=1), engine=cs.Torch(dtype="float64"))
    samples = type("Some", (), {"inputs": inputs(40), "labels": np.arange(40) % 4})()
    before = snn.weights(1)
    cs.learn(snn, samples, rule=cs.Delta(warm_up=2), progress=False, batch=8)
    after = by_hand(snn, 1)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(snn.weights(1), after, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(to_numpy(snn.stages[1].weights()), after * snn.unit(1), rtol=1e-9, atol=1e-12)


def test_the_report_gives_the_mean_loss_of_current() -> None:
    snn = deployed(WIRES)
    seen = sum(float(array.seen(cells, 0.0).sum()) for array, cells in zip(snn.arrays, snn.cells, strict=True))
    loss = snn.effect_report()["wires"]["mean loss of current"]
    assert 0.005 < loss < 0.2
    assert 1 - seen / sum(float(cells.g.sum()) for cells in snn.cells) == pytest.approx(loss, rel=1e-9)


def test_swapping_rows_and_columns_resistance_changes_the_answer() -> None:
    swapped = dataclasses.replace(WIRES, row=35.0, column=20.0)
    assert not np.allclose(deployed(WIRES).weights(0), deployed(swapped).weights(0), rtol=1e-4)


@pytest.mark.parametrize("changes", [{"row": -1.0}, {"refresh": 0}, {"refresh": 1.5}, {"drive": "up"}])
def test_impossible_wires_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(cs.ChipsimError):
        dataclasses.replace(WIRES, **changes)
