"""What every case reached, beside its mark, its own ANN and what its paper states."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS
from chipsim.results import interval

SIZE = (7.6, 4.8)
NEEDED = ("accuracy", "ann", "published", "recalled", "mark", "full", "epochs")


@dataclass(frozen=True, kw_only=True)
class Headlines:
    """The numbers of a figure, as variables over case: mean, low, high (95 % confidence interval of the mean over
    chips, within 0 and 1), ann, published, mark; dots (chip, case); epochs; recalled: whether the published score was
    not looked up; full: whether the network is the published one.
    """

    numbers: xr.Dataset
    title: str


def data(dataset: xr.Dataset) -> Headlines:
    """The numbers of a study over chip and case."""
    if missing := [name for name in ("chip", "case") if name not in dataset.dims]:
        raise ParameterError(f"headlines need the dimension {missing[0]!r}, which this result does not have")
    if missing := [name for name in NEEDED if name not in dataset]:
        raise ParameterError(f"headlines need the variable {missing[0]!r}, which this result does not have")
    accuracy, limits = dataset["accuracy"], interval(dataset["accuracy"]).clip(0.0, 1.0)
    found = {"mean": accuracy.mean("chip"), "low": limits["low"], "high": limits["high"], "dots": accuracy}
    for name in NEEDED[1:]:
        found[name] = dataset[name].mean("chip")
    return Headlines(numbers=xr.Dataset(found), title=str(dataset.attrs.get("question", "")))


def draw(axes: Any, data: Headlines) -> None:
    """Draw a row for each case: chips, their mean, the mark, its own ANN, the published score."""
    numbers = data.numbers.isel(case=slice(None, None, -1))
    rows = np.arange(numbers.sizes["case"], dtype=float)
    dots = 100 * numbers["dots"].transpose("chip", "case").values
    axes.hlines(rows, 100 * numbers["low"], 100 * numbers["high"], color=COLOURS[0], linewidth=1.6)
    axes.scatter(dots, np.broadcast_to(rows, dots.shape), s=10, color=COLOURS[0], alpha=0.4, linewidth=0)
    shown: dict[str, tuple[str, dict[str, Any]]] = {
        "measured: mean, 95 % interval, chips": ("mean", {"marker": "o", "color": COLOURS[0], "zorder": 4}),
        "its own ANN": ("ann", {"marker": "s", "facecolor": "none", "edgecolor": "#555555"}),
        "mark to reach": ("mark", {"marker": "|", "color": COLOURS[1], "s": 160, "linewidth": 2}),
        "published": ("published", {"marker": "D", "facecolor": "none", "edgecolor": COLOURS[2]}),
    }
    for label, (name, style) in shown.items():
        axes.scatter(100 * numbers[name], rows, label=label, **({"s": 34} | style))
    axes.set_yticks(rows, [f"{name}{' *' * bool(numbers['full'].sel(case=name))}" for name in numbers["case"].values])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(visible=False, axis="y")
    networks = "networks: * as published, others scaled" if numbers["full"].any() else "all networks scaled"
    axes.set_xlabel(f"accuracy [%]        {networks}")
    axes.legend(fontsize=8.5, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)
    if data.title:
        axes.figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def words(data: Headlines) -> str:
    """A table: of each case the network, the mean with its interval, the mark and whether it was reached, its ANN, what
    is published.
    """
    lines = [
        "network: scaled, or full as published; published scores with a ~ were recalled, not looked up",
        f"{'case':24}{'network':>8}{'mean':>8}{'interval':>16}{'mark':>8}{'':>9}{'own ANN':>9}{'published':>11}"
        f"{'epochs':>8}",
    ]
    for case in data.numbers["case"].values:
        part = {name: float(values.sel(case=case)) for name, values in data.numbers.items() if name != "dots"}
        said = {
            name: "-" if np.isnan(value) else f"{100 * value:.2f}" for name, value in part.items() if name != "epochs"
        }
        met = "" if np.isnan(part["mark"]) else "reached" if part["mean"] >= part["mark"] - 1e-9 else "MISSED"
        published = "~" * bool(part["recalled"] and said["published"] != "-") + said["published"]
        lines.append(
            f"{case:24}{'full' if part['full'] else 'scaled':>8}{said['mean']:>8}"
            f"{said['low'] + '..' + said['high']:>16}{said['mark']:>8}{met:>9}"
            f"{said['ann']:>9}{published:>11}{part['epochs']:8.0f}"
        )
    return "\n".join(lines)
