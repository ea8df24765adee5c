"""Accuracy after learning against the number of samples, on a logarithmic axis, a panel for each rule."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, Curves, curves, draw_curves, titled
from chipsim.results import REPEATS, interval

SHARES = (0.5, 0.9)
"""Shares of what was lost whose recovery is looked for."""


@dataclass(frozen=True, kw_only=True)
class DataNeeded:
    """The numbers of a figure: the curves of each rule, and as variables over rule, writer and samples mean, low, high
    (95 % confidence interval over chips) [1]; recovered, the share won back of what the chips had lost to the ideal
    one, on average; over rule and writer before and ideal [1]; needed (share, rule, writer), the smallest number of
    samples from which on at least that share is won back, NaN where it never is.
    """

    curves: dict[str, Curves]
    numbers: xr.Dataset
    title: str


def data(dataset: xr.Dataset) -> DataNeeded:
    """The numbers of a study over chip, die, rule, writer, samples and stage."""
    accuracy = dataset["accuracy"]
    if missing := {"rule", "writer", "samples", "stage"} - set(accuracy.dims):
        raise ParameterError(f"this figure needs the dimension {min(missing)!r}, which this result does not have")
    over = [name for name in REPEATS if name in accuracy.dims]
    after, before = accuracy.sel(stage="after", drop=True), accuracy.sel(stage="before", drop=True)
    mean, start = after.mean(over), before.mean([*over, "samples"])
    ideal = dataset["ideal"].mean([name for name in (*over, "samples") if name in dataset["ideal"].dims])
    share = (mean - start) / (ideal - start).where(ideal > start)
    found = {"mean": mean, "before": start, "ideal": ideal, "recovered": share}
    found |= {name: interval(after)[name] for name in ("low", "high")}
    found["needed"] = xr.concat([_needed(share, least) for least in SHARES], dim=xr.Variable("share", list(SHARES)))
    part = dataset[["accuracy"]].sel(stage="after", drop=True)
    lines = {
        str(rule): curves(part.sel(rule=rule, drop=True), variable="accuracy", x="samples") for rule in part.rule.values
    }
    return DataNeeded(
        curves=lines,
        numbers=xr.Dataset(found),
        title=titled(dataset),
    )


def _needed(share: xr.DataArray, least: float) -> xr.DataArray:
    """The smallest number of samples from which on at least a share is won back."""
    ordered = share.sortby("samples", ascending=False)
    kept = (ordered >= least - 1e-9).astype(int).cumprod("samples")
    return share["samples"].where(kept.astype(bool)).min("samples")


def layout(data: DataNeeded) -> tuple[tuple[int, int], tuple[float, float]]:
    """Three panels in a row, one for each rule."""
    count = len(data.curves)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    return (rows, columns), (1.0 + 4.0 * columns, 0.7 + 3.1 * rows)


def draw(axes: Any, data: DataNeeded) -> None:
    """Draw a line with its chips for each writer; dashed: the ideal chip, dotted: the chips before learning."""
    panels = np.atleast_1d(axes).ravel()
    columns = layout(data)[0][1]
    for number, (panel, (rule, lines)) in enumerate(zip(panels, data.curves.items(), strict=False)):
        draw_curves(panel, lines)
        if number and (legend := panel.get_legend()) is not None:
            legend.remove()
        if number % columns:
            panel.set_ylabel("")
        numbers = data.numbers.sel(rule=rule)
        panel.axhline(100 * float(numbers["ideal"].mean()), color="#555555", linewidth=1.0, linestyle="--")
        starts = numbers["before"].values
        for writer, start in enumerate(starts):  # writers of equal cells start alike
            colour = COLOURS[writer % len(COLOURS)] if np.sum(np.isclose(starts, start)) == 1 else "#555555"
            panel.axhline(100 * start, color=colour, linewidth=1.0, linestyle=":")
        samples = lines.lines["samples"].values
        panel.set_xscale("log")
        panel.set_xticks(samples, [f"{number:,}" for number in samples])
        panel.minorticks_off()
        panel.set_title(rule, loc="left", fontsize=10.5)
    for panel in panels[len(data.curves) :]:
        panel.set_visible(False)
    shown = [lines.lines["dots"].values.ravel() for lines in data.curves.values()]
    values = 100 * np.concatenate([*shown, *(data.numbers[name].values.ravel() for name in ("ideal", "before"))])
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low) or 1.0
    for panel in panels:
        panel.set_ylim(low - margin, high + margin)
    if data.title:
        panels[0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def words(data: DataNeeded) -> str:
    """A table: of each rule and writer the accuracy by number of samples, and what half and 90 % of the loss need."""
    numbers, samples = data.numbers, [int(number) for number in data.numbers["samples"].values]
    lines = [
        "accuracy [%] by number of samples, 95 % confidence interval of the largest, and the samples that win back "
        "half and 90 % of the loss to the ideal chip",
        f"{'rule':14}{'writer':14}{'ideal':>8}{'before':>8}"
        + "".join(f"{number:>8,}" for number in samples)
        + f"{'interval':>18}{'half':>8}{'90 %':>8}",
    ]
    for rule in numbers["rule"].values:
        for writer in numbers["writer"].values:
            part = numbers.sel(rule=rule, writer=writer)
            last = part.sel(samples=max(samples))
            means = "".join(f"{100 * float(part['mean'].sel(samples=number)):8.2f}" for number in samples)
            limits = f"{100 * float(last['low']):.2f} .. {100 * float(last['high']):.2f}"
            needed = "".join(f"{'-' if np.isnan(value) else f'{value:,.0f}':>8}" for value in part["needed"].values)
            ends = "".join(f"{100 * float(part[name]):8.2f}" for name in ("ideal", "before"))
            lines.append(f"{rule:14}{writer:14}{ends}{means}{limits:>18}{needed}")
    return "\n".join(lines)
