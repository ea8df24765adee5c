"""What learning costs: points recovered by each rule and writer, and the energy of each of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.canvas import prefixed
from chipsim.plots.curves import COLOURS, draw_bars, each_repeat, titled
from chipsim.results import REPEATS, interval

PANELS, SIZE = (1, 2), (9.6, 6.0)


@dataclass(frozen=True, kw_only=True)
class CostOfLearning:
    """The numbers of a figure, as variables over method (a rule and a writer): recovered and its 95 % confidence
    interval low, high over chips [points]; energy [J], pulses of a cell, worn, the largest share of endurance used, and
    latency [s], means over chips; with `_per_point`, of a recovered point, NaN where the interval of these reaches 0;
    largest_part, the part that takes most of the energy, and its share. dots (repeat, method): points of every chip.
    """

    numbers: xr.Dataset
    title: str


def data(dataset: xr.Dataset) -> CostOfLearning:
    """The numbers of a study over chip, die, rule and writer."""
    if missing := {"rule", "writer"} - set(dataset.dims):
        raise ParameterError(f"this figure needs the dimension {min(missing)!r}, which this result does not have")
    stacked = dataset.stack(method=("rule", "writer"))
    names = [f"{rule}, {writer}" for rule, writer in stacked["method"].values]
    stacked = stacked.drop_vars(["method", "rule", "writer"]).assign_coords(method=names)
    points, parts = stacked["recovered"], _mean(stacked["energy"])
    mean, limits = _mean(points), interval(points)
    sure = mean.where(limits["low"].fillna(mean) > 0)
    costs = {
        "energy": parts.sum("part"),
        "pulses": _mean(stacked["pulses_per_cell"]),
        "worn": _mean(stacked["worn"].max("layer")),
    }
    return CostOfLearning(
        numbers=xr.Dataset(
            {
                "recovered": mean,
                "low": limits["low"],
                "high": limits["high"],
                **costs,
                **{f"{name}_per_point": cost / sure for name, cost in costs.items()},
                "latency": _mean(stacked["latency"]),
                "largest_part": parts["part"][parts.argmax("part")].drop_vars("part"),
                "largest_share": parts.max("part") / parts.sum("part"),
                "dots": each_repeat(points),
            }
        ),
        title=titled(dataset),
    )


def _mean(array: xr.DataArray) -> xr.DataArray:
    return array.mean([name for name in REPEATS if name in array.dims])


def draw(axes: Any, data: CostOfLearning) -> None:
    """Draw points recovered (left: mean, interval and every chip) and the energy of each of them (right)."""
    left, right = axes.ravel()
    numbers = data.numbers
    names = [str(name) for name in numbers["method"].values]
    rules = list(dict.fromkeys(name.split(", ")[0] for name in names))
    colours = [COLOURS[rules.index(name.split(", ")[0]) % len(COLOURS)] for name in names]
    rows = np.arange(len(names), dtype=float)
    dots = numbers["dots"].transpose("repeat", "method").values
    draw_bars(left, rows, numbers["recovered"], (numbers["low"], numbers["high"]), dots, color=colours)
    left.set_xlabel("points recovered: mean, 95 % interval, chips")
    energy = numbers["energy_per_point"].values
    priced = np.isfinite(energy)
    factor, unit = prefixed("J", float(energy[priced].max()) if priced.any() else 0.0)
    if priced.any():
        right.set_xscale("log")
        decades = np.log10(factor * energy[priced])
        right.set_xlim(10 ** np.floor(decades.min() - 0.1), 10 ** np.ceil(decades.max()))
        right.barh(rows[priced], factor * energy[priced], height=0.55, color=np.array(colours)[priced])
        right.tick_params(axis="x", which="minor", labelbottom=False)
    for row in rows[~priced]:
        said = "interval reaches 0" if float(numbers["recovered"][int(row)]) > 0 else "nothing recovered"
        right.text(0.01, row, said, transform=right.get_yaxis_transform(), va="center", fontsize=8)
    right.set_xlabel(f"energy of a recovered point [{unit}]")
    for panel, labels in ((left, names), (right, [""] * len(names))):
        panel.set_yticks(rows, labels)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.grid(visible=False, axis="y")
    if data.title:
        left.figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def words(data: CostOfLearning) -> str:
    """A table: of each method the points recovered with their interval, and energy, pulses and endurance, in all and of
    a recovered point.
    """
    lines = [
        "95 % confidence intervals over chips; in all, and (of a recovered point)",
        f"{'method':28}{'points':>8}{'interval':>18}{'energy [J]':>22}{'pulses of a cell':>22}{'endurance used':>22}"
        f"{'time [s]':>10}{'largest part':>20}",
    ]
    for index, method in enumerate(data.numbers["method"].values):
        part = data.numbers.isel(method=index)
        limits = f"{float(part['low']):.2f} .. {float(part['high']):.2f}"
        costs = ""
        for name in ("energy", "pulses", "worn"):
            each = float(part[f"{name}_per_point"])
            said = "-" if np.isnan(each) else f"{each:.3g}"
            costs += f"{f'{float(part[name]):.3g} ({said})':>22}"
        largest = f"{part['largest_part'].item()} {100 * float(part['largest_share']):.0f} %"
        lines.append(
            f"{method:28}{float(part['recovered']):8.2f}{limits:>18}{costs}{float(part['latency']):10.3g}{largest:>20}"
        )
    return "\n".join(lines)
