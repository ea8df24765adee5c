"""What stands in the way: what each limit of the hardware costs alone, and what leaving it out of all of them gains.

Losses are in points against the float reference, `none`, after learning, chip by chip; both are of the same dies.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, draw_bars, each_repeat
from chipsim.results import REPEATS, interval

PANELS, SIZE = (1, 2), (10.0, 4.8)
ONLY, BUT = "only ", "all but "


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The numbers of a figure, as variables over condition [points]: loss and its 95 % confidence interval low, high
    over chips, worst, the loss of the worst chip, and before, the mean loss before learning; gain, gain_low, gain_high,
    of a condition against `all`, paired by chip; dots (repeat, condition): the loss of every chip. reference [%]: mean
    accuracy of the reference.
    """

    numbers: xr.Dataset
    reference: float
    title: str


def data(dataset: xr.Dataset) -> Limits:
    """The numbers of a study over chip, die, limits and stage."""
    accuracy = dataset["accuracy"]
    if missing := {"limits", "stage"} - set(accuracy.dims):
        raise ParameterError(f"this figure needs the dimension {min(missing)!r}, which this result does not have")
    if "none" not in (names := [str(name) for name in dataset["limits"].values]):
        raise ParameterError("this figure needs the reference to count from: run the study with limits = none too")
    over = [name for name in REPEATS if name in accuracy.dims]
    points = 100 * accuracy.rename(limits="condition")
    after, before = points.sel(stage="after", drop=True), points.sel(stage="before", drop=True)
    reference = after.sel(condition="none", drop=True)
    loss = reference - after
    found = {"loss": loss.mean(over), "worst": loss.max(over), "before": (reference - before).mean(over)}
    found |= {"low": interval(loss)["low"], "high": interval(loss)["high"]}
    if "all" in names:
        gain = after - after.sel(condition="all", drop=True)
        ends = interval(gain)
        found |= {"gain": gain.mean(over), "gain_low": ends["low"], "gain_high": ends["high"]}
    found["dots"] = each_repeat(loss)
    return Limits(
        numbers=xr.Dataset(found), reference=float(reference.mean()), title=str(dataset.attrs.get("question", ""))
    )


def _part(numbers: xr.Dataset, prefix: str, by: str, *, others: bool) -> tuple[xr.Dataset, list[str]]:
    """The conditions of a panel, the largest of `by` first; then those of no prefix, where `others`."""
    names = [str(name) for name in numbers["condition"].values if name != "none"]
    chosen = [name for name in names if name.startswith(prefix)]
    order = sorted(chosen, key=lambda name: float(numbers[by].sel(condition=name)), reverse=True)
    order += [name for name in names if others and not name.startswith((ONLY, BUT))]
    return numbers.sel(condition=order), [name.removeprefix(prefix) for name in order]


def draw(axes: Any, data: Limits) -> None:
    """Draw two panels: the loss with one limit alone, and all of them; the gain of all but one over all."""
    left, right = axes.ravel()
    numbers, names = _part(data.numbers, ONLY, "loss", others=True)
    rows = np.arange(len(names), dtype=float)
    dots = numbers["dots"].transpose("repeat", "condition").values
    style = {"color": COLOURS[0], "label": "mean, 95 % interval"}
    draw_bars(left, rows, numbers["loss"], (numbers["low"], numbers["high"]), dots, **style)
    left.scatter(numbers["before"], rows, marker="|", s=110, color=COLOURS[1], label="before learning", zorder=4)
    _finish(left, rows, names, f"loss against float [points], of {data.reference:.1f} %", "one limit alone, and all")
    left.legend(fontsize=8.5, loc="center right", bbox_to_anchor=(1, 0.55))
    if "gain" not in data.numbers:
        right.set_visible(False)
        return
    numbers, names = _part(data.numbers, BUT, "gain", others=False)
    rows = np.arange(len(names), dtype=float)
    draw_bars(right, rows, numbers["gain"], (numbers["gain_low"], numbers["gain_high"]), color=COLOURS[2])
    _finish(right, rows, names, "gain over all limits [points]", "all but one")
    if data.title:
        left.figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def _finish(axes: Any, rows: Any, names: list[str], label: str, title: str) -> None:
    axes.set_yticks(rows, [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=9.5, loc="left")


def words(data: Limits) -> str:
    """A table: of each condition the loss with its interval, of the worst chip and before learning; and the gain of
    leaving its limit out.
    """
    lines = [f"points below {data.reference:.2f} %, the float reference"]
    lines.append(f"{'limits':20}{'loss':>8}{'interval':>18}{'worst chip':>12}{'before':>8}{'gain over all':>16}")
    for name in data.numbers["condition"].values:
        part = data.numbers.sel(condition=name)
        said = {key: f"{float(values):.2f}" for key, values in part.items() if key != "dots"}
        limits = f"{said['low']} .. {said['high']}"
        lines.append(
            f"{name:20}{said['loss']:>8}{limits:>18}{said['worst']:>12}{said['before']:>8}{said.get('gain', ''):>16}"
        )
    return "\n".join(lines)
