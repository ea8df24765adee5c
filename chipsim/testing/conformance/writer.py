"""What every writer must do. One that gives pulses is tried on cells that answer to them, beside reference cells."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.crossbar import Cells, Crossbar
from chipsim.devices import ECRAM_MO_KIM_2019, RERAM_ARRAY_OM_2022, RRAM_MILO_2021, Device, Ideal, Pulsed
from chipsim.errors import ParameterError
from chipsim.streams import Draw, stream
from chipsim.testing.conformance.parameters import PARAMETERS, raises
from chipsim.writers import Writer

Array = NDArray[np.float64]
ROWS, COLUMNS, W_MAX = 12, 9, 1.5
DEVICES: tuple[Device, ...] = (Ideal(), Ideal(levels=32), RRAM_MILO_2021)
PULSED: tuple[Device, ...] = (Pulsed(step=1 / 64), RERAM_ARRAY_OM_2022, ECRAM_MO_KIM_2019)
"""The first is ideal: it moves by the same step up and down, everywhere."""


def _rng(*names: str | int) -> np.random.Generator:
    return stream(0, "conformance", *names)


def _devices(writer: Writer) -> tuple[Device, ...]:
    return PULSED if writer.pulses else DEVICES


def _ideal(writer: Writer) -> tuple[Device, ...]:
    return PULSED[:1] if writer.pulses else DEVICES[:2]


def _array(writer: Writer, device: Device) -> tuple[Crossbar, Cells]:
    frozen = device.fabricate((2, ROWS, COLUMNS), Draw(0, "device", ("conformance",)))
    pair = "reference" if device.pulses else "minimum"
    array = Crossbar(device=device, effects=(), w_max=W_MAX, frozen=frozen, pair=pair)
    cells = array.programme(None, _rng("wanted").uniform(-0.8, 0.8, (ROWS, COLUMNS)), _rng("first write"), 0.0)
    return array, writer.begin(array, cells, lambda: _rng("begin"), 0.0)


def _change(size: float) -> Array:
    return _rng("change").uniform(-size, size, (ROWS, COLUMNS))


def _level(array: Crossbar) -> float:
    """Weight of one pulse, or of one level of the pair; a rounding error for a continuous cell."""
    device = array.device
    if device.pulses:
        return float(device.pulse_size / array.g_scale)
    return W_MAX / (device.levels - 1) if device.levels else 1e-9


def _moved(array: Crossbar, cells: Cells, after: Cells) -> Array:
    """How weights moved, write noise aside."""
    change: Array = ((after.g - cells.g)[0] - (after.g - cells.g)[1]) / array.g_scale
    return change


def _states(cells: Cells) -> dict[str, Any]:
    states = {field.name: getattr(cells, field.name) for field in fields(cells)}
    return {name: values for name, values in states.items() if values is not None}


def needs_a_device_that_suits_it(writer: Writer) -> None:
    """A writer that gives pulses refuses a device without an answer to them."""
    if writer.pulses:
        array = Crossbar(device=Ideal(), effects=(), w_max=W_MAX)
        cells = array.programme(None, np.zeros((ROWS, COLUMNS)), None, 0.0)
        raises(ParameterError, lambda: writer.begin(array, cells, lambda: _rng("begin"), 0.0), "pulses must be refused")


def writes_nothing_for_no_change(writer: Writer) -> None:
    """A change of zero leaves every cell, its noise, its wear and its time stamp as they were."""
    for device in _devices(writer):
        array, cells = _array(writer, device)
        after = writer.write(array, cells, np.zeros((ROWS, COLUMNS)), _rng("write"), 1.0)
        for name in ("target", "written", "wear"):
            assert np.array_equal(_states(after)[name], _states(cells)[name]), f"no change, but {name} moved"
        assert np.allclose(after.g, cells.g, rtol=1e-12), "no change, but a conductance moved"


def moves_weights_as_asked(writer: Writer) -> None:
    """On ideal cells every weight moves by the change, to within a level or pulse, and never against it; by a writer
    that is not faithful at least in its direction.
    """
    for device in _ideal(writer):
        array, cells = _array(writer, device)
        change, level = _change(0.4), _level(array)
        moved = _moved(array, cells, writer.write(array, cells, change, _rng("write"), 1.0))
        large = np.abs(change) > level
        assert (np.sign(moved[large]) == np.sign(change[large])).all(), "a weight moved against the change"
        if writer.faithful:
            off = float(np.abs(moved - change).max())
            assert off <= level * (1 + 1e-6), f"a weight is {off:g} from where it was asked to go"


def gathers_small_changes(writer: Writer) -> None:
    """Of many changes that are each smaller than a level or pulse, a faithful writer writes the sum, on average."""
    if not writer.faithful:
        return
    for device in _ideal(writer):
        array, cells = _array(writer, device)
        level, count = _level(array), 40
        share = _rng("shares").uniform(-0.3, 0.3, (ROWS, COLUMNS))
        after = cells
        for turn in range(count):
            after = writer.write(array, after, share * level, _rng("write", turn), 1.0)
        asked, moved = count * share * level, _moved(array, cells, after)
        spread = level * np.sqrt(count * 0.25)
        written = float((moved * asked).sum() / (asked**2).sum())
        assert abs(written - 1) <= 4 * spread / np.linalg.norm(asked), f"of small changes {written:.0%} are written"
        astray = float((moved - asked).mean())
        assert abs(astray) <= 4 * spread / np.sqrt(asked.size) + 1e-9, (
            f"small changes go astray by {astray:g} on average"
        )
        assert np.abs(moved - asked).max() <= level + 5 * spread, "a weight is far from the sum of its changes"


def stays_within_bounds(writer: Writer) -> None:
    """However large the change, targets stay on the device's levels and in its range, and cells within their limits."""
    for device in _devices(writer):
        array, cells = _array(writer, device)
        after = cells
        for turn in range(3):
            after = writer.write(array, after, _change(100.0), _rng("write", turn), 1.0)
        assert (after.g >= 0).all(), "a cell has a negative conductance"
        assert np.isfinite(after.g).all(), "a cell has a conductance that is NaN or infinite"
        state = after.g if after.drawn is None or not device.pulses else after.drawn
        assert np.allclose(device.limit(state, array.frozen), state, rtol=1e-12), "a cell is beyond its limits"
        assert np.abs(after.wanted).max() <= W_MAX * (1 + 1e-9), "a wanted weight exceeds w_max"
        if not writer.pulses:
            slack = 1e-9 * device.g_max
            assert after.target.min() >= device.g_min - slack, "a target lies below g_min"
            assert after.target.max() <= device.g_max + slack, "a target lies above g_max"
            assert np.allclose(after.target, device.quantise(after.target), rtol=1e-12), "a target is on no level"


def edits_no_argument(writer: Writer) -> None:
    """The cells and the change that it is given stay as they were."""
    for device in _devices(writer):
        array, cells = _array(writer, device)
        change = _change(0.5)
        before = {name: values.copy() for name, values in {**_states(cells), "change": change}.items()}
        writer.write(array, cells, change, _rng("write"), 1.0)
        for name, values in {**_states(cells), "change": change}.items():
            assert np.array_equal(values, before[name]), f"{name} was edited"


def touches_only_cells_that_move(writer: Writer) -> None:
    """A cell that is not written keeps its conductance, noise, wear and time stamp; one that is written gets others."""
    device = _devices(writer)[-1]
    array, cells = _array(writer, device)
    change = _change(0.1) * (np.arange(COLUMNS) % 2)
    after = writer.write(array, cells, change, _rng("write"), 1.0)
    touched: NDArray[np.bool_] = np.asarray(after.wear) > np.asarray(cells.wear)
    assert touched.any(), "a change of some levels moved no cell"
    assert not touched[:, :, 0::2].any(), "a cell was written of which no change was asked"
    kept: NDArray[np.bool_] = np.asarray(np.isclose(after.g, cells.g, rtol=1e-12))
    assert kept[~touched].all(), "a cell that was not written moved"
    assert (after.written[~touched] == 0.0).all(), "a cell that was not written got a new time stamp"
    assert (after.written[touched] == 1.0).all(), "a cell that was written kept its old time stamp"
    assert (after.g[touched] != cells.g[touched]).all(), "a cell that was written kept its conductance"
    if cells.drawn is not None and after.drawn is not None:
        assert np.array_equal(after.drawn[~touched], cells.drawn[~touched]), "a cell that was not written got new noise"


def counts_what_it_gives(writer: Writer) -> None:
    """On ideal cells wear grows by the pulses that moved a cell; of a cell that is programmed, by one a write."""
    array, cells = _array(writer, _ideal(writer)[-1])
    after = writer.write(array, cells, _change(0.1), _rng("write"), 1.0)
    given = after.wear - cells.wear
    if array.device.pulses:
        applied = np.abs(after.g - cells.g) / array.device.pulse_size
        inside = np.abs(array.device.limit(after.g, array.frozen) - after.g) == 0
        assert np.allclose(given[inside], applied[inside], atol=1e-6), "wear is not the number of applied pulses"
    else:
        assert np.array_equal(given > 0, after.target != cells.target), "wear is not the number of writes"


def repeats_with_its_stream(writer: Writer) -> None:
    """The same stream writes the same conductances."""
    array, cells = _array(writer, _devices(writer)[-1])
    first, again = (writer.write(array, cells, _change(0.5), _rng("write"), 1.0) for _ in range(2))
    assert np.array_equal(first.g, again.g), "the same stream wrote other conductances"


def writes_each_of_several_chips_as_alone(writer: Writer) -> None:
    """Cells of several chips [2, chips, rows, columns] are written as those of each, by its own stream."""
    for device in _devices(writer):
        array, cells = _array(writer, device)
        change = _change(0.5)
        chips = {
            "one": (cells, change),
            "other": (writer.write(array, cells, _change(0.3)[::-1], _rng("before"), 1.0), -change),
        }
        both = Cells(
            **{
                name: np.stack([_states(own)[name] for own, _ in chips.values()], axis=0 if values.ndim == 2 else 1)
                for name, values in _states(cells).items()
            }
        )
        frozen = {name: np.stack([values, values], axis=1) for name, values in array.frozen.items()}
        pair = Crossbar(device=device, effects=(), w_max=W_MAX, frozen=frozen, pair=array.pair)
        changes = np.stack([own for _, own in chips.values()])
        found = writer.write(pair, both, changes, [_rng(name) for name in chips], 2.0)
        for chip, (name, (own, change)) in enumerate(chips.items()):
            alone = writer.write(array, own, change, _rng(name), 2.0)
            assert np.allclose(found.g[:, chip], alone.g, rtol=1e-12), "a chip is written otherwise beside another"


def runs_on_either_kind_of_array(writer: Writer) -> None:
    """Tensors of PyTorch are written as numpy's arrays are."""
    for device in _devices(writer):
        array, cells = _array(writer, device)
        tensors = Cells(**{name: torch.tensor(values) for name, values in _states(cells).items()})
        frozen = {name: torch.tensor(values) for name, values in array.frozen.items()}
        other = Crossbar(device=device, effects=(), w_max=W_MAX, frozen=frozen, pair=array.pair)
        ours = writer.write(array, cells, _change(0.5), _rng("write"), 1.0)
        theirs = writer.write(other, tensors, torch.tensor(_change(0.5)), _rng("write"), 1.0)
        for name, values in _states(ours).items():
            same = np.allclose(to_numpy(_states(theirs)[name]), values, rtol=1e-12, atol=1e-15)
            assert same, f"tensors give another {name}"


WRITER: tuple[Callable[[Writer], None], ...] = (
    *PARAMETERS,
    needs_a_device_that_suits_it,
    writes_nothing_for_no_change,
    moves_weights_as_asked,
    gathers_small_changes,
    stays_within_bounds,
    edits_no_argument,
    touches_only_cells_that_move,
    counts_what_it_gives,
    repeats_with_its_stream,
    writes_each_of_several_chips_as_alone,
    runs_on_either_kind_of_array,
)
