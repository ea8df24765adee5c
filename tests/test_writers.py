import dataclasses

import numpy as np
import pytest

import chipsim as cs
from chipsim.crossbar import Crossbar
from chipsim.devices import RERAM_ARRAY_OM_2022, RRAM_MILO_2021, RRAM_WAN_2022, Ideal, Linear, Pulsed
from chipsim.errors import ParameterError
from chipsim.streams import Draw, stream
from chipsim.writers import Accumulate, Direct, PulseTrain, PulseWriter, SignPulses, StochasticPulses, WriteVerify


def test_changes_below_a_level_add_up_until_they_make_one() -> None:
    array = Crossbar(device=Ideal(levels=11), effects=(), w_max=1.0)
    cells = array.programme(None, np.zeros((1, 1)), stream(0), 0.0)
    seen = []
    for write in range(6):
        cells = Direct().write(array, cells, np.array([[0.02]]), stream(0, write), write + 1.0)
        seen.append((round(array.weights(cells, 1.0).item(), 9), cells.written.max()))
    assert seen == [(0.0, 0.0), (0.0, 0.0), (0.1, 3.0), (0.1, 3.0), (0.1, 3.0), (0.1, 3.0)]
    assert cells.wanted.item() == pytest.approx(0.12)


def test_the_wanted_weight_saturates_and_turns_back_at_once() -> None:
    array = Crossbar(device=Ideal(), effects=(), w_max=1.0)
    cells = array.programme(None, np.zeros((1, 1)), stream(0), 0.0)
    for change, weight in ((5.0, 1.0), (-0.25, 0.75), (-9.0, -1.0)):
        cells = Direct().write(array, cells, np.array([[change]]), stream(0), 1.0)
        assert array.weights(cells, 1.0).item() == pytest.approx(weight)


def test_many_writes_do_not_pile_up_noise() -> None:
    """Measured with a writer that adds to the noisy cell instead, a network forgets: 82.4 to 18.6 %."""
    array = Crossbar(device=RRAM_MILO_2021, effects=(), w_max=1.0)
    cells = array.programme(None, np.full((40, 40), 0.5), stream(0, "first"), 0.0)
    first = (cells.g - cells.target)[0].std()
    for write in range(100):
        change = np.full((40, 40), 0.1 if write % 2 == 0 else -0.1)
        cells = Direct().write(array, cells, change, stream(0, "write", write), 1.0)
    np.testing.assert_allclose(cells.wanted, 0.5, atol=1e-9)
    assert (cells.g - cells.target)[0].std() == pytest.approx(first, rel=0.1)


def pulsed(device: Pulsed, shape: tuple[int, int] = (30, 30), weight: float = 0.0, pair: str = "reference"):
    array = Crossbar(
        device=device, effects=(), w_max=1.0, frozen=device.fabricate((2, *shape), Draw(0, "device", ("w",))), pair=pair
    )
    return array, array.programme(None, np.full(shape, weight), stream(0, "first"), 0.0)


def begun(writer: PulseWriter, array: Crossbar, cells):
    count = iter(range(10_000))
    return writer.begin(array, cells, lambda: stream(0, "begin", next(count)), 0.0)


def test_a_reference_pair_holds_its_weights_in_one_cell() -> None:
    array, cells = pulsed(Pulsed(), weight=0.5)
    middle = (array.device.g_min + array.device.g_max) / 2
    np.testing.assert_allclose(cells.g[1], middle)
    np.testing.assert_allclose(cells.g[0], middle + 0.25 * (array.device.g_max - array.device.g_min))
    np.testing.assert_allclose(array.weights(cells, 0.0), 0.5)


@pytest.mark.parametrize(
    ("writer", "change", "pulses"),
    [
        (PulseTrain(), 0.74, 1.0),
        (PulseTrain(), 0.49, 0.0),
        (PulseTrain(), -2.6, -3.0),
        (PulseTrain(most=2), 9.0, 2.0),
        (SignPulses(), 0.01, 1.0),
        (SignPulses(), -7.0, -1.0),
        (SignPulses(least=1.0), 0.01, 0.0),
        (Accumulate(), 0.74, 0.0),
        (Accumulate(), -2.6, -2.0),
    ],
)
def test_how_many_pulses_a_change_becomes(writer: PulseWriter, change: float, pulses: float) -> None:
    array, cells = pulsed(Pulsed(step=0.01), (3, 2))
    size = array.device.pulse_size / array.g_scale
    cells = begun(writer, array, cells)
    after = writer.write(array, cells, np.full((3, 2), change * size), stream(0), 1.0)
    np.testing.assert_allclose(array.weights(after, 1.0), pulses * size, atol=1e-12)
    np.testing.assert_array_equal(after.wear - cells.wear, [np.full((3, 2), abs(pulses)), np.zeros((3, 2))])


def test_what_is_put_off_is_kept_and_given_later() -> None:
    array, cells = pulsed(Pulsed(step=0.01), (1, 1))
    writer, size = Accumulate(), array.device.pulse_size / array.g_scale
    cells, seen = begun(writer, array, cells), []
    for turn in range(7):
        cells = writer.write(array, cells, np.full((1, 1), 0.4 * size), stream(0, turn), 1.0)
        seen.append(round(float(array.weights(cells, 1.0).item() / size), 6))
    assert seen == [0, 0, 1, 1, 2, 2, 2]
    assert cells.pending.item() == pytest.approx(0.8 * size)


def test_a_minimum_pair_is_pulsed_at_both_of_its_cells_of_which_one_may_stand_at_its_bound() -> None:
    array, cells = pulsed(Pulsed(step=0.01), (1, 1), pair="minimum")
    cells = begun(PulseTrain(), array, cells)
    after = PulseTrain().write(array, cells, np.full((1, 1), 0.2), stream(0), 1.0)
    assert (after.wear - cells.wear).ravel().tolist() == [20.0, 20.0]
    assert array.weights(after, 1.0).item() - array.weights(cells, 1.0).item() == pytest.approx(0.1)
    assert (after.g - cells.g)[1].item() == pytest.approx(0.0, abs=1e-18)
    back = PulseTrain().write(array, after, np.full((1, 1), -0.1), stream(0), 2.0)
    assert (back.g - after.g).ravel() / array.g_scale == pytest.approx([-0.05, 0.05])


def test_zero_shifting_takes_the_pull_out_of_soft_bounds() -> None:
    device = Pulsed(step=0.02, step_spread=0.2, asymmetry_spread=0.2, top_spread=0.2, bottom_spread=0.2,
                    response=Linear(up=1.0, down=1.0))  # fmt: skip
    found = {}
    for shift in (0, 400):
        writer = StochasticPulses(zero_shift=shift)
        array, cells = pulsed(device)
        cells = begun(writer, array, cells)
        start = array.weights(cells, 0.0)
        np.testing.assert_allclose(start, 0.0, atol=0.02)
        for turn in range(60):
            step = np.full((30, 30), 0.02 if turn % 2 == 0 else -0.02)
            cells = writer.write(array, cells, step, stream(0, "shake", turn), 1.0)
        found[shift] = float(np.abs(array.weights(cells, 1.0)).mean())
    assert found[400] < 0.35 * found[0]


def test_zero_shifting_counts_its_pulses_and_needs_a_reference_cell() -> None:
    array, cells = pulsed(Pulsed(response=Linear(up=1.0, down=1.0)), (2, 2))
    after = begun(PulseTrain(zero_shift=10), array, cells)
    assert (after.wear[0] - cells.wear[0] >= 20).all()
    assert (after.wear[1] - cells.wear[1] == 1).all()
    other, cells = pulsed(Pulsed(), (2, 2), pair="minimum")
    with pytest.raises(ParameterError, match="needs a reference cell"):
        begun(PulseTrain(zero_shift=10), other, cells)


QUIET = dataclasses.replace(RERAM_ARRAY_OM_2022, write_noise=0.0)


@pytest.mark.parametrize(
    ("device", "left"),
    [(RRAM_WAN_2022, 0.3), (QUIET, 0.3), (RERAM_ARRAY_OM_2022, 0.5)],
    ids=["programmed", "pulsed", "pulsed, with write noise"],
)
def test_verified_cells_end_nearer_to_their_targets(device, left) -> None:
    errors = []
    for rounds in (1, 8):
        frozen = device.fabricate((2, 40, 40), Draw(0, "device", ("v",)))
        array = Crossbar(device=device, effects=(), w_max=1.0, frozen=frozen)
        cells = array.programme(None, np.zeros((40, 40)), stream(0, "first"), 0.0)
        after = WriteVerify(rounds=rounds, window=0.02).write(
            array, cells, stream(0, "change").uniform(0.2, 0.8, (40, 40)), stream(0, "verify"), 1.0
        )
        error = np.abs(device.limit(after.target, frozen) - after.g)[0] / (device.g_max - device.g_min)
        errors.append(float(np.mean(error > 0.02)))
    assert errors[1] < left * errors[0]


@pytest.mark.parametrize("writer", [StochasticPulses(), Accumulate(), WriteVerify()], ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("chips", [1, 2])
def test_a_network_learns_by_pulses_and_goes_on_from_a_checkpoint(tmp_path, writer, chips: int) -> None:
    design = cs.ChipDesign(
        circuit=cs.LIF(), device=Pulsed(step=0.01, cycle=0.3, write_noise=0.2), pair="reference", tiles=4, rows=24,
        columns=24, neurons=64,
    )  # fmt: skip
    inputs = stream(0, "lesson").uniform(0, 2, (48, 12))
    samples = type("Some", (), {"inputs": inputs, "labels": (inputs[:, :4].argmax(1))})()

    def learned(epochs: list[int], path):
        for count in epochs:
            dies = [cs.fabricate(design, seed) for seed in range(chips)]
            snn = cs.deploy(
                cs.Network.random((12, 20, 4), seed=0), dies if chips > 1 else dies[0], window=16,
                engine=cs.Torch(dtype="float64"),
            )  # fmt: skip

            def stop(epoch: int, count: int = count) -> None:
                if epoch == count and count < 3:
                    raise KeyboardInterrupt

            try:
                history = cs.learn(
                    snn, samples, rule=cs.Delta(warm_up=4), writer=writer, optimiser=cs.SGD(lr=0.05), epochs=3, batch=4,
                    progress=False, checkpoint=path, on_epoch=stop,
                )  # fmt: skip
            except KeyboardInterrupt:
                continue
            return snn, history
        raise AssertionError

    snn, history = learned([3], None)
    assert history.writes.values.sum() > 0
    assert float(np.asarray(snn.cells[1].wear).sum()) > 0
    again, _ = learned([1, 3], tmp_path / "checkpoint")
    np.testing.assert_array_equal(again.weights(1), snn.weights(1))


def test_pulses_need_a_device_that_answers() -> None:
    snn = cs.deploy(cs.Network.random((3, 4, 2), seed=0), cs.fabricate(cs.ChipDesign(tiles=2), 0))
    samples = type("Some", (), {"inputs": np.ones((4, 3)), "labels": np.zeros(4, dtype=int)})()
    with pytest.raises(ParameterError, match="take a Pulsed device"):
        cs.learn(snn, samples, rule=cs.Delta(), writer=Accumulate(), progress=False)
