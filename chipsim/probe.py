"""Record: what to probe while samples are presented, and Probe, which collects it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.engines import StageState
from chipsim.errors import ParameterError
from chipsim.mapping import PlacedLayer
from chipsim.schema import DIMENSIONS

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Probes on one layer: membranes `v` and `spikes` of neurons, drive of `rows`, `current` of cells (row, column).

    Give indices, or True for all (not for cells).
    """

    layer: int = 0
    v: Sequence[int] | bool = False
    spikes: Sequence[int] | bool = False
    rows: Sequence[int] | bool = False
    current: Sequence[tuple[int, int]] = ()


def variable(dims: tuple[str, ...], values: NDArray[np.generic], unit: str, long_name: str) -> xr.Variable:
    """Return an xarray variable with its unit and long name."""
    return xr.Variable(dims, values, {"units": unit, "long_name": long_name})


class Probe:
    """Collects what a Record asks for, step by step.

    units: of every layer's membranes. current: gives the differential current [A] of pairs of the probed layer at
    [rows], [columns] when driven by 1.
    """

    def __init__(
        self,
        record: Record,
        layers: Sequence[PlacedLayer],
        units: Sequence[str],
        current: Callable[[NDArray[np.intp], NDArray[np.intp]], Array],
    ) -> None:
        if not isinstance(record, Record):
            raise ParameterError(f"record must be one Record, not {record!r}; present samples again for another")
        if not isinstance(record.layer, int | np.integer) or not 0 <= record.layer < len(layers):
            raise ParameterError(
                f"Record.layer {record.layer!r} does not exist; the network has layers 0 to {len(layers) - 1}"
            )
        self.record, self.unit, self.current = record, units[record.layer], current
        layer = layers[record.layer]
        if (layer.wiring.kernel is not None or layer.wiring.pool > 1) and (record.rows or record.current):
            raise ParameterError(
                f"rows of layer {record.layer} are driven once for every position of the image, or by pooled values; "
                "probe the spikes of the layer below instead"
            )
        self.bias_rows = layer.bias_rows
        self.v = _indices(record.v, layer.neurons, "v")
        self.spikes = _indices(record.spikes, layer.neurons, "spikes")
        if len(self.v) and len(self.spikes) and not np.array_equal(self.v, self.spikes):
            raise ParameterError(
                "Record.v and Record.spikes must name the same neurons; present samples twice for different ones"
            )
        self.rows = _indices(record.rows, layer.rows, "rows")
        cells = np.asarray(record.current)
        cells = cells if cells.size else np.empty((0, 2), dtype=np.intp)
        if cells.ndim != 2 or cells.shape[1] != 2:
            raise ParameterError(f"Record.current must hold cells (row, column), not {record.current!r}")
        self.cell_rows = _indices(cells[:, 0].tolist(), layer.rows, "current")
        self.cell_columns = _indices(cells[:, 1].tolist(), layer.columns, "current")
        self.taken: dict[str, list[Array]] = {name: [] for name in ("v", "spikes", "drive", "current")}

    def see(self, index: int, first: int, state: StageState) -> bool:
        """Take some steps of one batch; changes no weights."""
        if index == self.record.layer:
            assert state.v is not None
            self.taken["v"] += list(to_numpy(state.v[..., self.v]))
            self.taken["spikes"] += list(to_numpy(state.spikes[..., self.spikes]))
            if len(self.rows) or len(self.cell_rows):
                pre = to_numpy(state.inputs)
                pre = np.concatenate([pre, np.ones((*pre.shape[:2], self.bias_rows))], axis=2)
                current = self.current(self.cell_rows, self.cell_columns)
                self.taken["drive"] += list(pre[..., self.rows])
                self.taken["current"] += list(pre[..., self.cell_rows] * current)
        return False

    def variables(self, window: int) -> dict[str, xr.Variable]:
        """Return what was probed in windows of `window` steps, by name."""
        shown = {
            "v": ("neuron", self.unit, "membrane before reset", self.v),
            "spikes": ("neuron", "1", "spikes", self.spikes),
            "drive": ("row", "1", "drive of the rows", self.rows),
            "current": ("cell", "A", "differential current of the cell pair", self.cell_rows),
        }
        return {
            name: variable(("sample", "time", dim), self._stacked(name, window), unit, long_name)
            for name, (dim, unit, long_name, chosen) in shown.items()
            if len(chosen)
        }

    def _stacked(self, name: str, window: int) -> Array:
        steps = self.taken[name]
        batches = [np.stack(steps[k : k + window], axis=1) for k in range(0, len(steps), window)]
        return np.concatenate(batches)

    def coordinates(self, window: int, step: float) -> dict[str, xr.Variable]:
        """Return the coordinates of what was probed; a time is the end of its step."""
        time = (np.arange(window) + 1) * step
        found = {"time": variable(("time",), time, *DIMENSIONS["time"])}
        neurons = self.v if len(self.v) else self.spikes
        for dim, values in (("neuron", neurons), ("row", self.rows)):
            if len(values):
                found[dim] = variable((dim,), values, *DIMENSIONS[dim])
        return found


def _indices(chosen: Sequence[int] | bool, count: int, name: str) -> NDArray[np.intp]:
    if isinstance(chosen, bool):
        return np.arange(count if chosen else 0)
    given = np.asarray(chosen)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ParameterError(f"Record.{name} must be True or whole-number indices, not {chosen!r}")
    indices = given.astype(np.intp)
    if (wrong := indices[(indices < 0) | (indices >= count)]).size:
        raise ParameterError(f"Record.{name} asks for index {wrong[0]}; there are {count}, from 0 on")
    return indices
