"""A die beside measured arrays: spread against setting, its map, its outliers, and what its parts share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS
from chipsim.results import spread

PANELS, SIZE = (2, 2), (10.4, 7.6)
NEEDED = ("cv", "local_cv", "with_threshold", "with_tau", "along_rows", "along_columns", "slow", "fast", "tau")
MEASURED_CV = {3e-3: 0.27, 21e-3: 0.12, 79e-3: 0.08, 186e-3: 0.04}
"""CV of slow weights by peak [V]: own statistics of the DYNAP-SE arrays published with Büchel et al. 2021, as are all
measured numbers here.
"""
ROW_RISE = 0.15
"""Measured rise of the row means, from 0.91 to 1.06."""
LARGE = 79e-3
"""Setting [V] at which outliers and places were read; the map and the marks are of the nearest one of the study."""
TALL = 1.5
"""Over the median from which a neuron counts as an outlier."""


@dataclass(frozen=True, kw_only=True)
class Die:
    """The numbers of a figure.

    cv, local_cv: mean, lowest, highest over dies, by peak. map (row, column) of the die `chip`, whose row means rise by
    `rise`; edge: mean of its outermost columns over that of the others. fast, tau: all neurons of all dies, over their
    medians. marks: mean, lowest, highest and measured from, to by what is compared. peak: setting of all but cv [V].
    """

    cv: xr.Dataset
    local_cv: xr.DataArray
    map: xr.DataArray
    chip: int
    rise: float
    edge: float
    fast: xr.DataArray
    tau: xr.DataArray
    marks: xr.Dataset
    peak: float
    title: str


def data(dataset: xr.Dataset) -> Die:
    """The numbers of a study over chip and peak."""
    if missing := [name for name in NEEDED if name not in dataset]:
        raise ParameterError(f"this figure needs {', '.join(missing)}, which this result does not have")
    peak = float(dataset["peak"].values[np.abs(np.log(dataset["peak"].values / LARGE)).argmin()])
    one = dataset.sel(peak=peak)
    rises = _rise(one["slow"])
    nearest = int(np.abs(np.abs(rises) - ROW_RISE).argmin())
    shown = one["slow"].isel(chip=nearest)
    columns = shown.mean("row").values
    compared = {
        "time constant, robust CV": (_robust(one["tau"]), 0.06, 0.10),
        "time constants above 1.5x": (_tall(one["tau"]), 0.01, 0.02),
        "fast weights above 1.5x": (_tall(one["fast"]), 0.18, 0.18),
        "neighbours in a row": (one["along_rows"], 0.27, 0.27),
        "neighbours in a column": (one["along_columns"], 0.34, 0.34),
        "weight and threshold*": (one["with_threshold"], 0.20, 0.20),
        "weight and time constant": (one["with_tau"], 0.06, 0.06),
    }
    marks = [
        spread(values).drop_vars("peak", errors="ignore").assign(low=low, high=high)
        for values, low, high in compared.values()
    ]
    return Die(
        cv=spread(dataset["cv"]),
        local_cv=dataset["local_cv"].mean("chip"),
        map=shown,
        chip=int(one["chip"].values[nearest]),
        rise=float(rises[nearest]),
        edge=float(columns[[0, -1]].mean() / columns[1:-1].mean()),
        fast=one["fast"].stack(all=("chip", "neuron")),
        tau=one["tau"].stack(all=("chip", "neuron")),
        marks=xr.concat(marks, "mark").assign_coords(mark=list(compared)),
        peak=peak,
        title=str(dataset.attrs.get("question", "")),
    )


def _rise(slow: xr.DataArray) -> np.ndarray:
    """Rise of the row means from the first to the last row of each die, by regression [chip]."""
    rows = slow.mean("column").transpose("row", "chip").values
    slope: np.ndarray = np.polyfit(np.linspace(-0.5, 0.5, len(rows)), rows, 1)[0]
    return slope


def _robust(values: xr.DataArray) -> xr.DataArray:
    """Spread over neurons from the median absolute deviation; values are over their medians."""
    deviation: xr.DataArray = abs(values - 1)
    return 1.4826 * deviation.median("neuron")


def _tall(values: xr.DataArray) -> xr.DataArray:
    return (values > TALL).mean("neuron")


def draw(axes: Any, data: Die) -> None:
    """Draw the four panels."""
    _settings(axes[0, 0], data)
    _map(axes[0, 1], data)
    _outliers(axes[1, 0], data)
    _marks(axes[1, 1], data)
    if data.title:
        axes[0, 0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def _settings(panel: Any, data: Die) -> None:
    peaks = 1e3 * data.cv["peak"].values
    panel.fill_between(
        peaks, 100 * data.cv["lowest"], 100 * data.cv["highest"], color=COLOURS[1], alpha=0.18, linewidth=0
    )
    panel.plot(peaks, 100 * data.cv["mean"], "-o", color=COLOURS[1], markersize=4, label="dies: mean, lowest, highest")
    panel.plot(peaks, 100 * data.local_cv, "--", color=COLOURS[1], linewidth=1, label="local mismatch alone")
    measured = {1e3 * peak: 100 * cv for peak, cv in MEASURED_CV.items()}
    panel.plot([*measured], [*measured.values()], "D", color=COLOURS[6], markersize=5, label="measured")
    panel.annotate(
        "near a ceiling", (186, 4), (0, -11), textcoords="offset points", ha="center", va="center", fontsize=8
    )
    panel.set_xscale("log")
    panel.set_xticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    panel.set_ylim(0)
    panel.set_xlabel("setting: peak of the membrane [mV]")
    panel.set_ylabel("CV of slow weights [%]")
    panel.legend(fontsize=8.5)


def _map(panel: Any, data: Die) -> None:
    values = data.map.values
    far = float(np.abs(values - 1).max())
    panel.imshow(values, cmap="RdBu_r", vmin=1 - far, vmax=1 + far, aspect="auto")
    panel.grid(visible=False)
    panel.set_xlim(-0.5, 1.42 * values.shape[1])
    panel.set_xticks(np.arange(0, values.shape[1], 5))
    panel.set_xlabel("column", x=0.35)
    panel.set_ylabel("row")
    panel.set_title(
        f"one die at {1e3 * data.peak:.0f} mV: slow weights over their mean,\n"
        f"{1 - far:.2f} (blue) to {1 + far:.2f} (red); rows rise by {abs(data.rise):.2f}\n"
        f"(measured 0.15), edge columns at {data.edge:.2f} (0.95 to 0.97)",
        loc="left", fontsize=8.5,
    )  # fmt: skip
    beside = panel.inset_axes([0.75, 0.0, 0.25, 1.0], sharey=panel)
    beside.plot(values.mean(axis=1), np.arange(len(values)), "-o", color=COLOURS[1], markersize=3)
    beside.axvline(1.0, color="#999999", linewidth=0.8)
    beside.tick_params(labelleft=False)
    beside.set_xticks([0.9, 1.0])
    beside.set_xlabel("row mean")


def _outliers(panel: Any, data: Die) -> None:
    bins = np.linspace(0.4, 3.2, 57)
    for values, name, colour, measured in (
        (data.fast, f"fast weights at {1e3 * data.peak:.0f} mV", COLOURS[0], "18 %"),
        (data.tau, "time constants", COLOURS[2], "1 to 2 %"),
    ):
        found = 100 * float((values > TALL).mean())
        panel.hist(
            np.clip(values, bins[0], bins[-1]), bins, weights=np.full(values.size, 100 / values.size),
            histtype="stepfilled", alpha=0.35, color=colour,
            label=f"{name}:\n{found:.1f} % above {TALL:g} (measured {measured})",
        )  # fmt: skip
    panel.axvline(TALL, color="#555555", linestyle=":", linewidth=1)
    panel.set_yscale("log")
    panel.set_ylim(0.02, 300)
    panel.set_xlabel("over the median of the die")
    panel.set_ylabel("neurons [%]")
    panel.legend(fontsize=8.5, loc="upper right")


def _marks(panel: Any, data: Die) -> None:
    marks, at = data.marks, np.arange(data.marks.sizes["mark"])[::-1]
    panel.hlines(at, marks["lowest"], marks["highest"], color=COLOURS[1], alpha=0.35, linewidth=5)
    panel.plot(marks["mean"], at, "o", color=COLOURS[1], markersize=5, label="dies: mean, lowest to highest")
    panel.hlines(at - 0.28, marks["low"], marks["high"], color=COLOURS[6], linewidth=1.5)
    panel.plot((marks["low"] + marks["high"]) / 2, at - 0.28, "D", color=COLOURS[6], markersize=4, label="measured")
    panel.axvline(0.0, color="#999999", linewidth=0.8)
    panel.set_yticks(at, [str(name) for name in marks["mark"].values])
    panel.set_ylim(-2.4, len(at) - 0.4)
    panel.set_xlabel(f"share, CV or correlation, at {1e3 * data.peak:.0f} mV")
    panel.legend(fontsize=8.5, loc="lower right", title="* measured: fast and slow weight", title_fontsize=8.5)
