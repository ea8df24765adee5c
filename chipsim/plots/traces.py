"""What neurons do over time: membranes with their thresholds, spikes as marks, and the input below."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.plots.canvas import prefixed
from chipsim.plots.curves import COLOURS

PANELS, SIZE = (2, 1), (7.2, 5.0)
SHOWN, SPIKES = 3, 6
"""How many neurons are drawn, and about how many spikes of each."""
INPUTS = ("current", "drive")
"""What a result may know of the input: a coordinate of `bench`, variables of `present`."""


@dataclass(frozen=True, kw_only=True)
class Traces:
    """The numbers of a figure.

    v (time, neuron): membranes before reset; threshold (neuron), None where unknown; spikes: times [s] of each neuron;
    input (time, line): what drives them, None where unknown.
    """

    v: xr.DataArray
    threshold: NDArray[np.float64] | None
    spikes: list[NDArray[np.float64]]
    input: xr.DataArray | None


def data(dataset: xr.Dataset, *, at: int | None = None) -> Traces:
    """The numbers of the first neurons of a `bench`, or of a `present` that recorded v, until they fired some spikes.

    at: which of the currents or samples; by default the first one at which all of them fire more than once. A result
    of `present` holds no threshold: give it the variable `threshold` (neuron).
    """
    dims = set(dataset["v"].dims) if "v" in dataset else set()
    if not {"time", "neuron"} <= dims or len(dims) != 3:
        raise ParameterError(
            "traces need 'v' over current or sample, time and neuron: take bench(), or present() with Record(v=...)"
        )
    (given,) = dims - {"time", "neuron"}
    few = dataset.isel(neuron=slice(SHOWN))
    fired = few["spikes"] if "spikes" in few else xr.zeros_like(few["v"])
    if at is None:
        busy = (fired.sum("time") > 1).all("neuron").values
        at = int(np.argmax(busy)) if busy.any() else dataset.sizes[given] - 1
    one = few.isel({given: at})
    marks = fired.isel({given: at}).transpose("time", "neuron").values > 0
    counts = np.cumsum(marks, axis=0).min(axis=1)
    end = int(np.argmax(counts >= SPIKES)) + 1 if counts[-1] >= SPIKES else len(counts)
    one = one.isel(time=slice(end + end // 20))
    time = one["time"].values
    return Traces(
        v=one["v"].transpose("time", "neuron"),
        threshold=one["threshold"].values if "threshold" in one else None,
        spikes=[time[column] for column in marks[: len(time)].T],
        input=_input(one),
    )


def _input(one: xr.Dataset) -> xr.DataArray | None:
    name = next((name for name in INPUTS if name in one.variables), None)
    if name is None:
        return None
    found = one[name]
    if "time" not in found.dims:
        found = found.expand_dims(time=one["time"])
    lines = [dim for dim in found.dims if dim != "time"]
    return found.transpose("time", *lines) if lines else found.expand_dims("line", -1)


def draw(axes: Any, data: Traces) -> None:
    """Draw membranes above, and the input below."""
    above, below = axes[0, 0], axes[1, 0]
    time = data.v["time"].values
    seconds, unit = prefixed("s", float(time[-1]))
    _membranes(above, data, seconds * time)
    if data.input is None:
        below.remove()
        above.set_subplotspec(above.get_gridspec()[:, 0])
        last = above
    else:
        axes[0, 0].get_gridspec().set_height_ratios([3.2, 1])
        above.tick_params(labelbottom=False)
        _drive(below, data.input, seconds * time)
        last = below
    last.set_xlabel(f"time [{unit}]")
    for panel in (above, last):
        panel.set_xlim(-0.04 * seconds * time[-1], seconds * time[-1])


def _membranes(panel: Any, data: Traces, time: NDArray[np.float64]) -> None:
    values, count = data.v.values, data.v.sizes["neuron"]
    thresholds = np.zeros(0) if data.threshold is None else data.threshold[np.isfinite(data.threshold)]
    reached = np.concatenate([values.ravel(), thresholds])
    scale, unit = prefixed(data.v.attrs.get("units", "1"), float(np.abs(reached).max()))
    seconds, low, top = time[-1] / data.v["time"].values[-1], scale * values.min(), scale * reached.max()
    row = 0.07 * ((top - low) or 1.0)
    for index in range(count):
        colour = COLOURS[index]
        panel.plot(time, scale * values[:, index], color=colour, linewidth=1.3)
        if data.threshold is not None and np.isfinite(data.threshold[index]):
            panel.axhline(scale * data.threshold[index], color=colour, linestyle="--", linewidth=0.9)
        fired = seconds * data.spikes[index]
        panel.plot(fired, np.full(len(fired), top + (1 + count - index) * row), "|", color=colour, markersize=7)
    if len(thresholds):
        _beside(panel, scale * thresholds.mean(), "thresholds" if len(thresholds) > 1 else "threshold")
    if any(len(fired) for fired in data.spikes):
        _beside(panel, top + (1 + count / 2) * row, "spikes")
    panel.set_ylim(low - row, top + (2 + count) * row)
    words = str(data.v.attrs.get("long_name", "membrane"))
    panel.set_ylabel(words if unit == "1" else f"{words} [{unit}]")


def _beside(panel: Any, at: float, words: str) -> None:
    panel.text(1.01, at, words, transform=panel.get_yaxis_transform(), va="center", fontsize=8.5, color="#555555")


def _drive(panel: Any, given: xr.DataArray, time: NDArray[np.float64]) -> None:
    scale, unit = prefixed(given.attrs.get("units", "1"), float(np.abs(given).max()))
    start = 2 * time[0] - time[1] if len(time) > 1 else 0.0
    edges = np.array([-time[-1], start, *time])
    values = scale * given.values
    steps = np.concatenate([np.zeros((1, values.shape[1])), values, values[-1:]])
    panel.plot(edges, steps, color="#555555", linewidth=1.2, drawstyle="steps-post")
    panel.set_ylim(min(0.0, 1.25 * values.min()), 1.25 * max(values.max(), 0.0) or 1.0)
    panel.set_ylabel("input" + (f" [{unit}]" if unit != "1" else ""))
