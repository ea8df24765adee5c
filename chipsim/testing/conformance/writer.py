"""What every writer must do."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.crossbar import Cells, Crossbar
from chipsim.devices import RRAM_MILO_2021, Device, Ideal
from chipsim.streams import stream
from chipsim.testing.conformance.parameters import PARAMETERS
from chipsim.writers import Writer

Array = NDArray[np.float64]
ROWS, COLUMNS, W_MAX = 12, 9, 1.5
DEVICES: tuple[Device, ...] = (Ideal(), Ideal(levels=32), RRAM_MILO_2021)


def _rng(name: str) -> np.random.Generator:
    return stream(0, "conformance", name)


def _array(device: Device) -> tuple[Crossbar, Cells]:
    array = Crossbar(device=device, effects=(), w_max=W_MAX)
    wanted = _rng("wanted").uniform(-0.8, 0.8, (ROWS, COLUMNS))
    return array, array.programme(None, wanted, _rng("first write"), 0.0)


def _change(size: float) -> Array:
    return _rng("change").uniform(-size, size, (ROWS, COLUMNS))


def _level(device: Device) -> float:
    """Weight of one level of the pair; a rounding error for a continuous cell."""
    return W_MAX / (device.levels - 1) if device.levels else 1e-9


def _states(cells: Cells) -> dict[str, Array]:
    states = {field.name: getattr(cells, field.name) for field in fields(cells)}
    return {name: values for name, values in states.items() if values is not None}


def writes_nothing_for_no_change(writer: Writer) -> None:
    """A change of zero leaves every cell, its noise and its time stamp as they were."""
    for device in DEVICES:
        array, cells = _array(device)
        after = writer.write(array, cells, np.zeros((ROWS, COLUMNS)), _rng("write"), 1.0)
        for name in ("target", "g", "written"):
            assert np.array_equal(_states(after)[name], _states(cells)[name]), f"no change, but {name} moved"


def moves_weights_as_asked(writer: Writer) -> None:
    """On ideal cells every weight moves by the change, to within a level, and in its direction."""
    for device in DEVICES[:2]:
        array, cells = _array(device)
        change = _change(0.5)
        moved = array.weights(writer.write(array, cells, change, _rng("write"), 1.0), 1.0) - array.weights(cells, 1.0)
        off = float(np.abs(moved - change).max())
        assert off <= _level(device) * (1 + 1e-6), f"a weight is {off:g} from where it was asked to go"
        large = np.abs(change) > _level(device)
        assert (np.sign(moved[large]) == np.sign(change[large])).all(), "a weight moved against the change"


def stays_within_bounds(writer: Writer) -> None:
    """However large the change, targets stay on the device's levels and in its range, and weights within w_max."""
    for device in DEVICES:
        array, cells = _array(device)
        after = writer.write(array, cells, _change(100.0), _rng("write"), 1.0)
        slack = 1e-9 * device.g_max
        assert after.target.min() >= device.g_min - slack, "a target lies below g_min"
        assert after.target.max() <= device.g_max + slack, "a target lies above g_max"
        assert np.allclose(after.target, device.quantise(after.target), rtol=1e-12), "a target is on no level"
        assert (after.g >= 0).all(), "a cell has a negative conductance"
        assert np.isfinite(after.g).all(), "a cell has a conductance that is NaN or infinite"
        if isinstance(device, Ideal):
            assert np.abs(array.weights(after, 1.0)).max() <= W_MAX * (1 + 1e-9), "a weight exceeds w_max"


def edits_no_argument(writer: Writer) -> None:
    """The cells and the change that it is given stay as they were."""
    for device in DEVICES:
        array, cells = _array(device)
        change = _change(0.5)
        before = {name: values.copy() for name, values in {**_states(cells), "change": change}.items()}
        writer.write(array, cells, change, _rng("write"), 1.0)
        for name, values in {**_states(cells), "change": change}.items():
            assert np.array_equal(values, before[name]), f"{name} was edited"


def touches_only_cells_that_move(writer: Writer) -> None:
    """A cell whose target stays keeps its conductance and time stamp; one that moves gets new ones."""
    array, cells = _array(RRAM_MILO_2021)
    after = writer.write(array, cells, _change(0.1), _rng("write"), 1.0)
    moved = after.target != cells.target
    assert moved.any(), "a change of some levels moved no cell"
    assert not moved.all(), "every cell was written"
    assert np.array_equal(after.g[~moved], cells.g[~moved]), "a cell that did not move got new noise"
    assert (after.written[~moved] == 0.0).all(), "a cell that did not move got a new time stamp"
    assert (after.written[moved] == 1.0).all(), "a cell that moved kept its old time stamp"
    assert (after.g[moved] != cells.g[moved]).all(), "a cell that moved kept its conductance"
    assert (after.g[moved] != after.target[moved]).all(), "a cell that moved met no programming noise"


def repeats_with_its_stream(writer: Writer) -> None:
    """The same stream writes the same conductances."""
    array, cells = _array(RRAM_MILO_2021)
    first, again = (writer.write(array, cells, _change(0.5), _rng("write"), 1.0) for _ in range(2))
    assert np.array_equal(first.g, again.g), "the same stream wrote other conductances"


def runs_on_either_kind_of_array(writer: Writer) -> None:
    """Tensors of PyTorch are written as numpy's arrays are."""
    for device in DEVICES:
        array, cells = _array(device)
        tensors = Cells(**{name: torch.tensor(values) for name, values in _states(cells).items()})
        ours = writer.write(array, cells, _change(0.5), _rng("write"), 1.0)
        theirs = writer.write(array, tensors, torch.tensor(_change(0.5)), _rng("write"), 1.0)
        for name, values in _states(ours).items():
            assert np.allclose(to_numpy(_states(theirs)[name]), values, rtol=1e-12), f"tensors give another {name}"


WRITER: tuple[Callable[[Writer], None], ...] = (
    *PARAMETERS,
    writes_nothing_for_no_change,
    moves_weights_as_asked,
    stays_within_bounds,
    edits_no_argument,
    touches_only_cells_that_move,
    repeats_with_its_stream,
    runs_on_either_kind_of_array,
)
