"""What the figures share: one line per condition with its spread over chips, and every chip as a dot."""

import json
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.results import REPEATS, spread

# Okabe & Ito (2008): told apart with any colour vision; markers tell the lines apart without colour.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHED = {"linewidth": 1.0, "linestyle": "--"}
MANY = 5
"""Categories above which their names are broken into lines."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The numbers of a figure.

    lines: variables mean, std, lowest, highest (line, x) and dots (repeat, line, x), and of accuracies published
    (line, x) where a study has it; `line` holds the legend's words.
    """

    lines: xr.Dataset
    x: str
    x_label: str
    y_label: str
    title: str
    repeat: str


def curves(dataset: xr.Dataset, *, variable: str, x: str) -> Curves:
    """The numbers of `variable` against `x`: a line for each combination of the other dimensions."""
    if variable not in dataset:
        raise ParameterError(
            f"the result has no variable {variable!r}; it has {', '.join(map(str, dataset.data_vars))}"
        )
    array = dataset[variable]
    if x not in array.dims:
        raise ParameterError(f"{variable!r} does not depend on {x!r}; it depends on {', '.join(map(str, array.dims))}")
    repeats = [name for name in REPEATS if name in array.dims]
    others = [str(name) for name in array.dims if name not in (x, *repeats)]
    size = dataset.sizes[x]
    lines = xr.Dataset(
        {name: (("line", x), _flat(part, [*others, x], (-1, size))) for name, part in spread(array).items()},
        coords={"line": _words(dataset, variable, others), x: dataset[x]},
    )
    shape = (-1, lines.sizes["line"], size)
    lines["dots"] = (("repeat", "line", x), _flat(array, [*repeats, *others, x], shape))
    if variable == "accuracy" and "published" in dataset and dataset["published"].notnull().any():
        published = dataset["published"].broadcast_like(array).mean(repeats)
        lines["published"] = (("line", x), _flat(published, [*others, x], (-1, size)))
    return Curves(
        lines=lines,
        x=x,
        x_label=_label(dataset[x], x),
        y_label=_label(dataset[variable], variable, percent=_is_share(dataset[variable])),
        title=_title(dataset),
        repeat=" x ".join(map(str, repeats)) or "run",
    )


def _flat(array: xr.DataArray, order: list[str], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray(array.transpose(*order).values, dtype=np.float64).reshape(shape)


def _words(dataset: xr.Dataset, variable: str, others: list[str]) -> list[str]:
    """The legend: the values of the dimensions that vary, `after, T = 16`."""
    varying = [name for name in others if dataset.sizes[name] > 1]
    sizes = [dataset[variable].sizes[name] for name in others]
    words = []
    for index in np.ndindex(*sizes):
        values = {name: dataset[name].values[i] for name, i in zip(others, index, strict=True) if name in varying}
        words.append(", ".join(str(v) if isinstance(v, str) else f"{name} = {v:g}" for name, v in values.items()))
    return words


def _label(array: xr.DataArray, name: str, *, percent: bool = False) -> str:
    unit = "%" if percent else array.attrs.get("units", "1")
    words = array.attrs.get("long_name") or name
    return words if unit == "1" else f"{words} [{unit}]"


def _is_share(array: xr.DataArray) -> bool:
    return "accuracy" in str(array.name)


def _title(dataset: xr.Dataset) -> str:
    question = textwrap.wrap(str(dataset.attrs.get("question", "")), 58)
    return "\n".join([*question, *([str(dataset.attrs["dataset"])] if "dataset" in dataset.attrs else [])])


def titled(dataset: xr.Dataset) -> str:
    """The question of a study, and its data set in a line below."""
    return f"{dataset.attrs.get('question', '')}\n{dataset.attrs.get('dataset', '')}".strip()


def each_repeat(array: xr.DataArray) -> xr.DataArray:
    """An array with all chips, seeds and dies in one dimension, `repeat`."""
    over = [name for name in REPEATS if name in array.dims]
    return array.stack(repeat=over).drop_vars(["repeat", *over])


def draw_bars(axes: Any, rows: Any, mean: Any, ends: tuple[Any, Any], dots: Any = None, **style: Any) -> None:
    """Draw horizontal bars with their intervals, and every repeat as a dot; dots [repeats, rows]."""
    axes.barh(rows, mean, height=0.55, **style)
    axes.hlines(rows, *ends, color="#222222", linewidth=1.2, zorder=3)
    if dots is not None:
        axes.scatter(
            dots, np.broadcast_to(rows, dots.shape), s=8, color="#444444", alpha=0.5, linewidth=0, label="chips"
        )
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.grid(visible=False, axis="y")


def default_variable(dataset: xr.Dataset) -> str:
    """The first variable of the study's table."""
    return str(json.loads(dataset.attrs.get("table", '["accuracy"]'))[0])


def draw_curves(axes: Any, numbers: Curves, *, dodge: float = 0.0) -> None:
    """Draw mean lines, a band of one standard deviation, and each repeat as a dot; over names instead of numbers marks
    and bars, since nothing lies between them. What is published is dashed.

    dodge: how far neighbouring lines are moved apart along x, as a share of the smallest step, so that dots stay seen.
    """
    lines, x = numbers.lines, numbers.lines[numbers.x]
    categorical = x.dtype.kind not in "fiu"
    positions = np.arange(x.size, dtype=np.float64) if categorical else x.values.astype(np.float64)
    scale = 100.0 if numbers.y_label.endswith("[%]") else 1.0
    step = _smallest_gap(positions)
    count = lines.sizes["line"]
    for index in range(count):
        line = lines.isel(line=index)
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        shifted = positions + step * dodge * (index - (count - 1) / 2)
        mean, std = scale * line["mean"].values, scale * line["std"].values
        top = np.minimum(mean + std, scale) if scale == 100.0 else mean + std
        if line.sizes["repeat"] > 1:
            if categorical:
                axes.vlines(shifted, mean - std, top, color=colour, alpha=0.5, linewidth=1.4)
            else:
                axes.fill_between(shifted, mean - std, top, color=colour, alpha=0.16, linewidth=0)
            dots = scale * line["dots"].values
            at = np.broadcast_to(shifted, dots.shape)
            axes.scatter(at, dots, s=11, color=colour, alpha=0.55, linewidth=0, marker=marker, zorder=3)
        label = str(line["line"].values) or None
        axes.plot(
            shifted, mean, color=colour, linewidth=0.0 if categorical else 1.8, marker=marker, markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.8, label=label, zorder=4,
        )  # fmt: skip
        if "published" in line:
            axes.plot(positions, scale * line["published"], color=colour, **DASHED)
    if "published" in lines:
        axes.plot([], [], color="#555555", label="published", **DASHED)  # of all lines, for the legend
    _finish(axes, numbers, positions, categorical)


def _smallest_gap(positions: NDArray[np.float64]) -> float:
    gaps = np.diff(np.sort(positions))
    return float(gaps[gaps > 0].min()) if (gaps > 0).any() else 0.0


def _labels(names: NDArray[Any]) -> list[str]:
    """Names of categories, broken at their hyphens where there are many."""
    return [str(name).replace("-", "-\n") if len(names) > MANY else str(name) for name in names]


def _finish(axes: Any, numbers: Curves, positions: NDArray[np.float64], categorical: bool) -> None:
    """Axes, legend and title."""
    values = numbers.lines[numbers.x].values
    if len(positions) <= 12:
        axes.set_xticks(positions, _labels(values) if categorical else [f"{value:g}" for value in values])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(numbers.x_label)
    axes.set_ylabel(numbers.y_label)
    if numbers.title:
        axes.set_title(numbers.title, loc="left", fontsize=10.5, color="#222222")
    repeats = numbers.lines.sizes["repeat"]
    if axes.get_legend_handles_labels()[0]:
        title = f"mean ± sd, {repeats} {numbers.repeat}s" if repeats > 1 else None
        axes.legend(title=title, title_fontsize=8.5, fontsize=9, alignment="left")
