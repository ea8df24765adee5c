"""Ways to win a chip back beside each other: accuracy of every chip, and yield, for each method and strength.

Yield is the share of chips that come within one point of the ideal chip: of the same circuit, at strength 0, before
anything was learned. Differences between methods are taken die by die, against the reference method.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, titled
from chipsim.results import interval, share_interval

FEW = 5
"""Chips below which a yield says little, and is not drawn."""
WITHIN = 0.01
REFERENCE = "ltl-online"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The numbers of a figure, as variables over (approach, sigma).

    mean, low, high: accuracy after learning and the 95 % confidence interval of its mean over chips; worst: of the
    chips; before: the mean before learning; yielded, yield_low, yield_high: share of chips within one point of the
    ideal chip, and its 95 % interval, where there are ideal chips; ahead, ahead_low, ahead_high: mean difference to
    `reference`, paired by chip. dots (chip, approach, sigma): accuracy of every chip.
    """

    numbers: xr.Dataset
    reference: str
    title: str


def data(dataset: xr.Dataset, *, reference: str = REFERENCE) -> Comparison:
    """The numbers of a study over chip, approach, sigma and stage; of several paces of learning, each approach at each
    pace is one.
    """
    if "pace" in dataset.dims:
        dataset = _at_each_pace(dataset)
    accuracy = dataset["accuracy"]
    if missing := {"chip", "approach", "sigma", "stage"} - set(accuracy.dims):
        raise ParameterError(f"a comparison needs the dimension {min(missing)!r}, which this result does not have")
    methods = [str(name) for name in dataset["approach"].values]
    reference = reference if reference in methods else methods[0]
    after, before = accuracy.sel(stage="after", drop=True), accuracy.sel(stage="before", drop=True)
    ahead = after - after.sel(approach=reference, drop=True)
    found = {
        "mean": after.mean("chip"),
        "worst": after.min("chip"),
        "before": before.mean("chip"),
        "ahead": ahead.mean("chip"),
        "dots": after,
    }
    limited = {"": interval(after), "ahead_": interval(ahead)}
    if 0.0 in dataset["sigma"].values:
        ideal, count = before.sel(sigma=0.0, drop=True), dataset.sizes["chip"]
        hits = (after >= ideal - WITHIN - 1e-9).sum("chip")
        found["yielded"], limited["yield_"] = hits / count, share_interval(hits, count)
    for name, limits in limited.items():
        found |= {f"{name}low": limits["low"], f"{name}high": limits["high"]}
    return Comparison(
        numbers=xr.Dataset(found),
        reference=reference,
        title=titled(dataset),
    )


def _at_each_pace(dataset: xr.Dataset) -> xr.Dataset:
    if dataset.sizes["pace"] == 1:
        return dataset.isel(pace=0, drop=True)
    parts = []
    for pace in dataset["pace"].values:
        part = dataset[["accuracy"]].sel(pace=pace, drop=True)
        parts.append(part.assign_coords(approach=[f"{name}, pace {pace:g}" for name in part["approach"].values]))
    return xr.concat(parts, "approach").assign_attrs(dataset.attrs)


def layout(data: Comparison) -> tuple[tuple[int, int], tuple[float, float]]:
    """Two panels, as high as there are approaches."""
    return (1, 2), (9.6, max(5.6, 1.2 + 0.28 * data.numbers.sizes["approach"]))


def _ranked(numbers: xr.Dataset) -> list[str]:
    """Methods, the worst first, by their mean at the strength in the middle of those above 0."""
    strengths = [float(value) for value in numbers["sigma"].values if value > 0] or [float(numbers["sigma"].max())]
    means = numbers["mean"].sel(sigma=strengths[len(strengths) // 2])
    return [str(name) for name in numbers["approach"].values[np.argsort(means.values, kind="stable")]]


def draw(axes: Any, data: Comparison) -> None:
    """Draw accuracy (left: mean, interval and every chip) and yield (right: chips out of all, if they are not few) by
    method.
    """
    left, right = axes[0]
    order = _ranked(data.numbers)
    numbers = data.numbers.sel(approach=order)
    sigmas = [float(value) for value in numbers["sigma"].values]
    offsets = np.linspace(0.32, -0.32, len(sigmas)) if len(sigmas) > 1 else np.zeros(1)
    rows = np.arange(len(order), dtype=float)
    for index, (sigma, offset) in enumerate(zip(sigmas, offsets, strict=True)):
        part, colour = numbers.sel(sigma=sigma), COLOURS[index % len(COLOURS)]
        dots = 100 * part["dots"].transpose("chip", "approach").values
        at = np.broadcast_to(rows + offset, dots.shape)
        left.scatter(dots, at, s=6, color=colour, alpha=0.35, linewidth=0)
        left.hlines(rows + offset, 100 * part["low"], 100 * part["high"], color=colour, linewidth=1.4)
        left.scatter(
            100 * part["mean"], rows + offset, s=20, color=colour, edgecolor="white", linewidth=0.6, zorder=4,
            label=f"{sigma:g}",
        )  # fmt: skip
    lowest, least, worst = (100 * float(numbers[name].min()) for name in ("mean", "low", "dots"))
    left.set_xlim(left=max(0.0, min(lowest - 4, max(lowest - 10, least - 0.5), worst - 0.5)))  # intervals may be cut
    left.set_yticks(rows, order)
    left.set_ylim(-0.6, len(order) - 0.4)
    left.grid(visible=False, axis="y")
    left.set_xlabel("accuracy after learning [%]: mean, 95 % interval, chips")
    left.legend(title="sigma", fontsize=8, title_fontsize=8.5, loc="upper left", alignment="left")
    if data.title:
        left.set_title(data.title, loc="left", fontsize=10.5, color="#222222")
    if numbers.sizes["chip"] < FEW or "yielded" not in numbers:
        right.remove()
        left.set_subplotspec(left.get_gridspec()[:, :])
        return
    chips, shares = numbers.sizes["chip"], numbers["yielded"].transpose("approach", "sigma").values
    right.imshow(shares, cmap="Greens", vmin=0, vmax=1.3, aspect="auto", origin="lower")
    for row, column in np.ndindex(*shares.shape):
        right.text(
            column, row, f"{shares[row, column] * chips:.0f}",
            ha="center", va="center", fontsize=8.5, color="#222222",
        )  # fmt: skip
    right.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    right.set_yticks([])
    right.set_ylim(-0.6, len(order) - 0.4)
    right.grid(visible=False)
    right.set_xlabel("sigma")
    right.set_title(f"yield: of {chips} chips, within 1 point of the ideal chip", loc="left", fontsize=9.5)


def words(data: Comparison) -> str:
    """A table: of each method and strength the mean with its interval, the worst chip, the yield, and the lead."""
    numbers, counted = data.numbers, "yielded" in data.numbers
    meaning = "yield: chips within 1 point of the ideal chip; " if counted else ""
    columns = f"{'yield':>8}{'interval':>14}" if counted else ""
    width = max(22, *(len(str(name)) for name in numbers["approach"].values))
    lines = [
        f"95 % confidence intervals; {meaning}lead: over {data.reference}, paired by chip, in points",
        f"{'approach':{width}}{'sigma':>6}{'mean':>8}{'interval':>16}{'worst':>8}{columns}{'lead':>8}{'interval':>17}",
    ]
    for method in reversed(_ranked(numbers)):
        for sigma in numbers["sigma"].values:
            part = {name: float(numbers[name].sel(approach=method, sigma=sigma)) for name in numbers if name != "dots"}
            percent = {name: 100 * value for name, value in part.items()}
            if counted:
                columns = f"{percent['yielded']:6.0f} %{percent['yield_low']:8.0f}..{percent['yield_high']:3.0f}%"
            lines.append(
                f"{method:{width}}{sigma:6g}{percent['mean']:8.2f}"
                f"{percent['low']:9.2f}..{percent['high']:5.2f}{percent['worst']:8.2f}{columns}"
                f"{percent['ahead']:+8.2f}{percent['ahead_low']:+9.2f}..{percent['ahead_high']:+5.2f}"
            )
    return "\n".join(lines)
