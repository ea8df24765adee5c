import dataclasses

import numpy as np
import pytest

from chipsim.crossbar import Cells, Crossbar
from chipsim.devices import (
    PCM_NANDAKUMAR_2019,
    RRAM_MILO_2021,
    RRAM_WAN_2022,
    SONOS_AGRAWAL_2022,
    Device,
    Ideal,
    Pulsed,
)  # fmt: skip
from chipsim.effects import Mismatch, StuckCells
from chipsim.streams import Draw, stream
from chipsim.writers import Direct, Writer, WriteVerify

DEVICE = Ideal(g_min=10e-6, g_max=50e-6)


def array(device: object = DEVICE, effects: tuple = (), w_max: float = 2.0) -> Crossbar:
    return Crossbar(device=device, effects=effects, w_max=w_max)  # type: ignore[arg-type]


def first_write(crossbar: Crossbar, wanted: object, time: float = 0.0) -> Cells:
    return crossbar.programme(None, np.array(wanted, dtype=float), stream(0, "first"), time)


def test_a_weight_is_a_minimum_pair_by_hand() -> None:
    crossbar = array()
    assert crossbar.g_scale == pytest.approx(20e-6)
    target = crossbar.targets(np.array([[1.0, -0.5], [0.0, 2.0]]))
    np.testing.assert_allclose(target[0], [[30e-6, 10e-6], [10e-6, 50e-6]])
    np.testing.assert_allclose(target[1], [[10e-6, 20e-6], [10e-6, 10e-6]])


def test_weights_are_the_differences_of_what_a_read_sees() -> None:
    crossbar = array()
    g = np.array([[[30e-6, 10e-6]], [[10e-6, 40e-6]]])
    cells = Cells(wanted=np.zeros((1, 2)), target=g, g=g, written=np.zeros_like(g))
    np.testing.assert_allclose(crossbar.weights(cells, 0.0), [[1.0, -1.5]])


def test_weights_beyond_w_max_are_clipped() -> None:
    cells = first_write(array(), [[5.0, -3.0, 1.0]])
    assert cells.wanted.tolist() == [[2.0, -2.0, 1.0]]
    np.testing.assert_allclose(array().weights(cells, 0.0), [[2.0, -2.0, 1.0]])


def test_only_cells_whose_level_moved_are_written() -> None:
    crossbar = array(RRAM_MILO_2021)
    cells = first_write(crossbar, [[1.0, -1.0], [0.5, 0.0]], time=1.0)
    wanted = cells.wanted + np.array([[0.0, 0.3], [1e-4, 0.0]])  # one cell of one pair by levels, one by less
    after = crossbar.programme(cells, wanted, stream(0, "second"), 2.0)
    moved = np.argwhere(after.g != cells.g)
    assert moved.tolist() == [[1, 0, 1]]
    assert after.written[1, 0, 1] == 2.0
    assert np.count_nonzero(after.written == 2.0) == 1
    np.testing.assert_array_equal(after.wanted, wanted)


def test_a_weight_that_changes_sign_writes_both_cells() -> None:
    crossbar = array(RRAM_MILO_2021)
    cells = first_write(crossbar, [[1.0]])
    after = crossbar.programme(cells, np.array([[-1.0]]), stream(0, "second"), 2.0)
    assert (after.written == 2.0).all()
    assert (after.g != cells.g).all()


def test_fresh_noise_lies_around_the_target_not_around_the_cell() -> None:
    crossbar = array(RRAM_MILO_2021, w_max=1.0)
    cells = first_write(crossbar, np.full((50, 50), 0.5))
    for write in range(20):
        wanted = np.full((50, 50), 0.5 if write % 2 else 0.6)
        cells = crossbar.programme(cells, wanted, stream(0, "again", write), write + 1.0)
    deviation = (cells.g - cells.target)[0]
    sigma = RRAM_MILO_2021.sigma(cells.target[0])
    assert abs(deviation.std() / sigma[0, 0] - 1) < 4 / np.sqrt(2 * 2500)
    assert abs(deviation.mean()) < 4 * sigma[0, 0] / 50


def test_cell_gain_acts_at_every_read_and_leaves_the_cells() -> None:
    gain = np.stack([np.full((1, 2), 1.5), np.full((1, 2), 0.5)])
    crossbar = array(effects=((Mismatch(), {"cell_gain": gain}),))
    cells = first_write(crossbar, [[1.0, -1.0]])
    np.testing.assert_allclose(cells.g, cells.target)
    np.testing.assert_allclose(crossbar.weights(cells, 0.0), [[(30 * 1.5 - 10 * 0.5) / 20, (10 * 1.5 - 30 * 0.5) / 20]])


def test_stuck_cells_ignore_first_and_later_writes() -> None:
    frozen = {"stuck": np.array([[[1.0, 0.0]], [[0.0, 0.0]]]), "level": np.full((2, 1, 2), 50e-6)}
    crossbar = array(effects=((StuckCells(), frozen),))
    cells = first_write(crossbar, [[0.0, 0.0]])
    np.testing.assert_allclose(crossbar.weights(cells, 0.0), [[2.0, 0.0]])
    after = crossbar.programme(cells, np.array([[1.0, 1.0]]), stream(0, "second"), 1.0)
    np.testing.assert_allclose(crossbar.weights(after, 1.0), [[2.0, 1.0]])


def test_levels_round_the_weights() -> None:
    crossbar = array(Ideal(levels=5), w_max=1.0)
    cells = first_write(crossbar, [[0.3, -0.6, 0.9, 0.1]])
    np.testing.assert_allclose(crossbar.weights(cells, 0.0), [[0.25, -0.5, 1.0, 0.0]])
    assert cells.wanted.tolist() == [[0.3, -0.6, 0.9, 0.1]]


@pytest.mark.parametrize("levels", [3, 4, 5, 32, None])
def test_a_reference_pair_holds_the_largest_weight_of_either_sign(levels: int | None) -> None:
    crossbar = dataclasses.replace(array(Ideal(levels=levels), w_max=1.0), pair="reference")
    cells = first_write(crossbar, [[1.0, -1.0, 0.0]])
    np.testing.assert_allclose(crossbar.weights(cells, 0.0), [[1.0, -1.0, 0.0]], atol=1e-12)


def test_a_cell_that_is_worn_out_no_longer_moves_and_the_report_says_how_far_it_is() -> None:
    for device in (Ideal(endurance=3.0), dataclasses.replace(RRAM_MILO_2021, endurance=3.0), Pulsed(endurance=3.0)):
        frozen = device.fabricate((2, 1, 2), Draw(0, "device", ()))
        crossbar = Crossbar(device=device, effects=(), w_max=1.0, frozen=frozen)
        cells = crossbar.programme(None, np.zeros((1, 2)), stream(0, "first"), 0.0)
        seen = []
        for write in range(5):
            wanted = np.array([[0.1 * (write + 1), 0.0]])
            cells = crossbar.programme(cells, wanted, stream(0, "w", write), write + 1.0)
            seen.append(float(cells.g[0, 0, 0]))
        assert seen[1] != seen[0]
        assert seen[1:] == [seen[1]] * 4
        assert cells.wear[:, 0].tolist() == [[3.0, 1.0], [1.0, 1.0]]
        assert cells.written[0, 0, 0] == 2.0


@pytest.mark.parametrize(
    "device", [PCM_NANDAKUMAR_2019, RRAM_WAN_2022, SONOS_AGRAWAL_2022], ids=lambda device: type(device).__name__
)
@pytest.mark.parametrize("writer", [Direct(), WriteVerify(rounds=1)], ids=["direct", "write-verify"])
def test_a_cell_that_is_worn_out_goes_on_ageing_from_where_it_was_written(writer: Writer, device: Device) -> None:
    device = dataclasses.replace(device, endurance=2.0)
    crossbar = Crossbar(device=device, effects=(), w_max=1.0, frozen=device.fabricate((2, 1, 2), Draw(0, "device", ())))
    cells, before = crossbar.programme(None, np.array([[0.9, 0.1]]), stream(0, "first"), 0.0), 0.0
    for write, change in enumerate((0.05, -0.95, 0.4)):
        cells = writer.write(crossbar, cells, np.array([[change, 0.0]]), stream(0, "w", write), 0.0)
        seen = crossbar.alone(cells, 1.0)[0, 0, 0]
        if write:
            assert seen == before
            assert cells.wear[0, 0, 0] == 2.0
        before = seen
    assert cells.wanted[0, 0] == pytest.approx(0.4)


def test_pulses_wear_a_cell_out() -> None:
    device = Pulsed(step=0.01, endurance=10.0)
    crossbar = Crossbar(device=device, effects=(), w_max=1.0, frozen=device.fabricate((2, 1, 1), Draw(0, "d", ())))
    cells = crossbar.programme(None, np.zeros((1, 1)), stream(0, "first"), 0.0)
    both = np.nonzero(np.ones((2, 1, 1)))
    for turn in range(4):
        given = crossbar.pulse(cells, both, np.full(2, 6.0), stream(0, "p", turn), 1.0)
        assert given == (12.0 if turn < 2 else 0.0)
    assert cells.wear.ravel().tolist() == [13.0, 13.0]
    assert device.relative(cells.g)[0, 0, 0] == pytest.approx(-1.0 + 12 * 0.01)
