import numpy as np
import pytest

import chipsim as cs
from chipsim.mapping import Avoid, place
from chipsim.network import Network
from chipsim.streams import stream

SIZE = {"tiles": 8, "rows": 16, "columns": 16, "neurons": 64, "readouts": 16}
NETWORK = Network.random((12, 20, 4), seed=0)


def deployed(*effects, avoid=None, verify=False, device=None, engine=None):
    design = cs.ChipDesign(circuit=cs.LIF(), device=device or cs.Ideal(), effects=effects, **SIZE)
    return cs.deploy(NETWORK, cs.fabricate(design, 1), window=8, avoid=avoid, verify=verify, engine=engine)


def reachable(snn, layer):
    """Pairs with one cell that is stuck at g_max, of which the other may rise until the difference is w."""
    frozen, wanted = snn._frozen[layer][0], np.asarray(snn.cells[layer].wanted)
    stuck = np.asarray(frozen["stuck"])
    at_max = (np.asarray(frozen["level"]) * stuck).max(0) == snn.chip.design.device.g_max
    return (stuck.sum(0) == 1) & at_max & (np.where(stuck[0] > 0, 1.0, -1.0) * wanted >= 0)


def inputs():
    return stream(0, "faults").uniform(0, 2, (40, 12))


def test_placement_leaves_out_what_is_to_be_avoided() -> None:
    placement = place(NETWORK, cs.ChipDesign(**SIZE), Avoid(tiles=[1, 3], neurons=[0, 5, 6], readouts=(2,)))
    hidden, readout = placement.layers
    assert [block.tile for block in hidden.blocks] == [0, 2]
    assert [block.tile for block in readout.blocks] == [4, 5]
    assert hidden.bank.tolist() == [1, 2, 3, 4, *range(7, 23)]
    assert readout.bank.tolist() == [0, 1, 3, 4]
    plain = place(NETWORK, cs.ChipDesign(**SIZE))
    np.testing.assert_array_equal(plain.layers[0].weight, hidden.weight)


@pytest.mark.parametrize("engine", [cs.Brian(), cs.Torch(dtype="float64")], ids=["brian", "torch"])
def test_a_network_that_avoids_dead_neurons_is_an_ideal_one(engine) -> None:
    dead = cs.DeadNeurons(rate=0.2)
    plain = deployed(dead, engine=engine)
    found = np.flatnonzero(plain.chip.frozen_neurons[0]["dead"])
    assert len(found) > 3
    aware = deployed(dead, avoid=Avoid(neurons=found), engine=engine)
    ideal = deployed(engine=engine)
    np.testing.assert_array_equal(aware.outputs(inputs()), ideal.outputs(inputs()))
    assert not np.array_equal(plain.outputs(inputs()), ideal.outputs(inputs()))


def test_a_chip_with_too_little_that_is_good_is_refused() -> None:
    with pytest.raises(cs.ChipsimError, match="needs"):
        deployed(avoid=Avoid(neurons=range(50)))
    with pytest.raises(cs.ChipsimError, match="tiles"):
        deployed(avoid=Avoid(tiles=range(6)))
    with pytest.raises(cs.ChipsimError, match="from 0 on"):
        Avoid(neurons=[-1])


@pytest.mark.parametrize("device", [cs.Ideal(), cs.Ideal(g_min=2e-6, levels=64)], ids=["continuous", "levels"])
def test_the_partner_of_a_stuck_cell_makes_up_for_it_as_far_as_it_can(device) -> None:
    stuck = cs.StuckCells(rate=0.2)
    ideal, plain, aware = (
        deployed(device=device),
        deployed(stuck, device=device),
        deployed(stuck, device=device, verify=True),
    )
    for layer in range(2):
        wanted = ideal.weights(layer)
        errors = [np.abs(each.weights(layer) - wanted) for each in (plain, aware)]
        assert errors[1].mean() < 0.5 * errors[0].mean()
        level, made_up = 2 * aware.placement.layers[layer].w_max / 63, reachable(aware, layer)
        assert (errors[1][made_up] <= level + 1e-12).all()
        assert (errors[1] <= errors[0] + level).all()


def test_compensation_holds_while_the_chip_learns() -> None:
    samples = type("Some", (), {"inputs": inputs(), "labels": np.arange(40) % 4})()
    plain, aware = (
        deployed(cs.StuckCells(rate=0.2), verify=verify, engine=cs.Torch(dtype="float64")) for verify in (False, True)
    )
    errors, before = [], np.asarray(aware.cells[1].wanted)
    for snn in (plain, aware):
        cs.learn(snn, samples, rule=cs.Delta(warm_up=2), progress=False, batch=8)
        errors.append(np.abs(snn.weights(1) - np.asarray(snn.cells[1].wanted)))
    wanted, made_up = np.asarray(aware.cells[1].wanted), reachable(aware, 1)
    assert np.count_nonzero(wanted[made_up] != before[made_up]) > 3
    assert (errors[0][reachable(plain, 1)] > 1e-3).all()
    np.testing.assert_allclose(errors[1][made_up], 0.0, atol=1e-12)
    np.testing.assert_allclose(errors[1][np.asarray(aware._frozen[1][0]["stuck"]).sum(0) == 0], 0.0, atol=1e-12)
    assert np.median(errors[1]) == pytest.approx(0.0, abs=1e-12)


def test_it_makes_up_through_the_gain_of_the_cell_that_makes_up() -> None:
    """Also where that cell was to be at 0, so that the first look at it said nothing of its gain."""
    snn = deployed(cs.StuckCells(rate=0.2), cs.Mismatch(sigma=0.3, kinds=("cell_gain",)), verify=True)
    wanted, (frozen, mismatch) = np.asarray(snn.cells[0].wanted), snn._frozen[0]
    stuck, (plus, minus) = frozen["stuck"][0] > 0, mismatch["cell_gain"]
    gain, other = np.where(stuck, plus, minus), np.where(stuck, minus, plus)
    share = (gain - np.abs(wanted) / snn.placement.layers[0].w_max) / other  # of g_max, which the other cell needs
    made_up = reachable(snn, 0) & (share >= 0) & (share <= 1)
    assert np.count_nonzero(made_up & (share > 0.1) & (abs(other - 1) > 0.1)) > 3
    np.testing.assert_allclose(snn.weights(0)[made_up], wanted[made_up], atol=1e-12)


@pytest.mark.parametrize("pair", ["minimum", "reference"])
@pytest.mark.parametrize("device", [cs.Ideal(g_min=10e-6), cs.Pulsed()], ids=["ideal", "pulsed"])
def test_what_is_verified_makes_up_for_the_gain_of_every_cell(device, pair) -> None:
    mismatch = cs.Mismatch(sigma=0.3, kinds=("cell_gain",))
    exact, plain, aware = (
        cs.deploy(
            NETWORK,
            cs.fabricate(cs.ChipDesign(device=device, effects=effects, pair=pair, headroom=4.0), 1),
            window=8,
            verify=verify,
        )
        for effects, verify in (((), False), ((mismatch,), False), ((mismatch,), True))
    )
    for layer in range(2):
        wanted = exact.weights(layer)
        errors = [np.abs(each.weights(layer) - wanted) for each in (plain, aware)]
        assert errors[0].mean() > 0.1 * np.abs(wanted).mean()
        assert np.mean(errors[1] > 1e-9) < 0.25, "a pair out of range"
        assert errors[1].mean() < 0.25 * errors[0].mean()


@pytest.mark.parametrize("engine", [cs.Brian(), cs.Torch(dtype="float32", device="cpu")], ids=["brian", "float32"])
def test_where_one_cell_is_enough_rounding_does_not_write_the_other(engine) -> None:
    design = cs.ChipDesign(effects=(cs.Mismatch(sigma=0.3, kinds=("cell_gain",)),), headroom=10.0)
    snn = cs.deploy(Network.random((200, 100, 4), seed=0), cs.fabricate(design, 1), verify=True, engine=engine)
    for cells in snn.cells:
        assert (np.asarray(cells.target).min(axis=0) == 0).all()
