"""What brings a chip that has aged back: points below its first day, for each cell and remedy.

Losses are in points of accuracy against the same chip on its first day.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, draw_bars, each_repeat, titled
from chipsim.results import REPEATS, interval

WITHIN = 0.5
"""Points below the first day that count as back."""


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """The numbers of a figure, as variables over device and remedy: loss, its 95 % confidence interval low, high over
    chips, and worst, the loss of the worst chip [points]; aged, the mean loss before the remedy; written, the share of
    cells that it wrote; dots (repeat, device, remedy): the loss of every chip. first [%]: mean accuracy on the first
    day, by device.
    """

    numbers: xr.Dataset
    first: xr.DataArray
    title: str


def data(dataset: xr.Dataset) -> Remedies:
    """The numbers of a study over chip, device, remedy and stage."""
    accuracy = dataset["accuracy"]
    if missing := {"device", "remedy", "stage"} - set(accuracy.dims):
        raise ParameterError(f"this figure needs the dimension {min(missing)!r}, which this result does not have")
    over = [name for name in REPEATS if name in accuracy.dims]
    points = 100 * accuracy
    first, aged, after = (points.sel(stage=stage, drop=True) for stage in ("day 0", "aged", "remedied"))
    loss = first - after
    found = {"loss": loss.mean(over), "worst": loss.max(over), "aged": (first - aged).mean(over)}
    found |= {name: interval(loss)[name] for name in ("low", "high")}
    found["written"] = dataset["written"].mean(over)
    found["dots"] = each_repeat(loss)
    return Remedies(
        numbers=xr.Dataset(found),
        first=first.mean([*over, "remedy"]),
        title=titled(dataset),
    )


def layout(data: Remedies) -> tuple[tuple[int, int], tuple[float, float]]:
    """One panel for each device."""
    count = data.numbers.sizes["device"]
    return (1, count), (1.6 + 4.2 * count, 1.4 + 0.38 * data.numbers.sizes["remedy"])


def draw(axes: Any, data: Remedies) -> None:
    """Draw a panel for each device, a row for each remedy: mean, interval and every chip."""
    names = [str(name) for name in data.numbers["remedy"].values]
    rows = np.arange(len(names), dtype=float)
    panels = np.atleast_1d(axes).ravel()
    for index, (panel, device) in enumerate(zip(panels, data.numbers["device"].values, strict=True)):
        part = data.numbers.sel(device=device)
        panel.axvspan(-WITHIN, WITHIN, color="#dddddd", linewidth=0, label=f"within {WITHIN} point of day 0")
        dots = part["dots"].transpose("repeat", "remedy").values
        style = {"color": COLOURS[0], "label": "mean, 95 % interval"}
        draw_bars(panel, rows, part["loss"], (part["low"], part["high"]), dots, **style)
        panel.set_yticks(rows, names if index == 0 else [""] * len(names))
        panel.invert_yaxis()
        panel.set_xlabel(f"loss to day 0 [points], of {float(data.first.sel(device=device)):.1f} %")
        panel.set_title(str(device), fontsize=9.5, loc="left")
    panels[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.27), ncols=3)
    if data.title:
        panels[0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def _within(loss: float) -> str:
    return "-" if np.isnan(loss) else "yes" if loss <= WITHIN + 1e-9 else "no"


def words(data: Remedies) -> str:
    """A table: of each device and remedy the points below day 0 with their interval, of the worst chip, whether the
    mean, and whether its whole interval, is within half a point, and the cells written.
    """
    lines = [
        f"points below day 0, 95 % confidence interval over chips; back: within {WITHIN} point, the mean | all of its "
        "interval",
        f"{'device':16}{'remedy':24}{'loss':>8}{'interval':>18}{'worst':>8}{'back':>12}{'cells written':>16}",
    ]
    for device in data.numbers["device"].values:
        for remedy in data.numbers["remedy"].values:
            values = data.numbers.sel(device=device, remedy=remedy)
            part = {name: float(value) for name, value in values.items() if name != "dots"}
            limits = f"{part['low']:.2f} .. {part['high']:.2f}"
            back = " | ".join(_within(part[name]) for name in ("loss", "high"))
            lines.append(
                f"{device:16}{remedy:24}{part['loss']:8.2f}{limits:>18}{part['worst']:8.2f}{back:>12}"
                f"{100 * part['written']:14.1f} %"
            )
    return "\n".join(lines)
