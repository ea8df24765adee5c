"""Accuracy against the time since programming, on a logarithmic axis, beside what another simulator makes of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, Curves, curves, draw_curves

MARKS = ((1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (86_400.0, "1 day"), (2_592_000.0, "1 month"))
PEER = "aihwkit"


@dataclass(frozen=True, kw_only=True)
class OverTime:
    """The numbers of a figure: curves over age, and the peer's means [line, age] in the order of their lines."""

    curves: Curves
    peer: NDArray[np.float64]


def data(dataset: xr.Dataset) -> OverTime:
    """The numbers of a study over chip and age."""
    if "age" not in dataset.dims:
        raise ParameterError("accuracy over time needs the dimension 'age', which this result does not have")
    found = curves(dataset, variable="accuracy", x="age")
    peer = np.full((found.lines.sizes["line"], dataset.sizes["age"]), np.nan)
    if PEER in dataset and dataset[PEER].notnull().any():
        peer = curves(dataset, variable=PEER, x="age").lines["mean"].values
    return OverTime(curves=found, peer=np.asarray(peer, dtype=np.float64))


def draw(axes: Any, data: OverTime) -> None:
    """Draw a line with its chips for each device and remedy, and hollow squares for the peer."""
    draw_curves(axes, data.curves)
    ages = data.curves.lines["age"].values
    for index, values in enumerate(data.peer):
        if not np.isnan(values).all():
            style = {"facecolor": "none", "edgecolor": COLOURS[index % len(COLOURS)], "linewidth": 1.4}
            label = f"{PEER}, {data.curves.lines['line'].values[index]}"
            axes.scatter(ages, 100 * values, s=90, marker="s", zorder=5, label=label, **style)
    axes.set_xscale("log")
    shown = [(age, words) for age, words in MARKS if ages.min() / 2 <= age <= ages.max() * 2]
    axes.set_xticks([age for age, _ in shown], [words for _, words in shown])
    axes.set_xlabel(data.curves.x_label.split(" [")[0])
    axes.legend(fontsize=9, loc="best")
