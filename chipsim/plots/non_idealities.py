"""Non-idealities, a panel each: accuracy against strength in two models of the chip, before and after learning."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.curves import COLOURS, MARKERS
from chipsim.results import interval

LABELS = {
    "mismatch": "sigma",
    "quantisation": "resolution of a signed weight",
    "thermal": "sigma",
    "silencing": "probability",
}
PANELS, SIZE = (2, 2), (8.2, 6.4)
NEEDED = {"accuracy": ("chip", "kind", "model", "level", "stage"), "strength": ("kind", "level")}


@dataclass(frozen=True, kw_only=True)
class NonIdealities:
    """The numbers of a figure, as variables over (kind, model, level, stage): mean, low, high (95 % confidence interval
    of the mean over chips), worst; strength (kind, level).
    """

    numbers: xr.Dataset
    title: str


def data(dataset: xr.Dataset) -> NonIdealities:
    """The numbers of a study over chip, kind, model, level and stage."""
    for name, dimensions in NEEDED.items():
        if name not in dataset or (missing := set(dimensions) - set(dataset[name].dims)):
            lacking = f"{name!r} over {', '.join(sorted(missing))}" if name in dataset else repr(name)
            raise ParameterError(f"this figure needs {lacking}, which this result does not have")
    accuracy, strength = dataset["accuracy"], dataset["strength"]
    limits = interval(accuracy)
    return NonIdealities(
        numbers=xr.Dataset(
            {
                "mean": accuracy.mean("chip"),
                "low": limits["low"],
                "high": limits["high"],
                "worst": accuracy.min("chip"),
                "strength": strength.mean([name for name in strength.dims if name not in ("kind", "level")]),
            }
        ),
        title=f"{dataset.attrs.get('question', '')} {dataset.attrs.get('dataset', '')}".strip(),
    )


def _said(kind: str, strength: float) -> str:
    if kind == "quantisation":
        return f"{strength:g} bit" if strength else "any"
    return f"{strength:g}"


def draw(axes: Any, data: NonIdealities) -> None:
    """Draw a panel for each non-ideality: models by colour, before learning dashed, after it solid."""
    numbers = data.numbers
    for panel, kind in zip(axes.ravel(), numbers["kind"].values, strict=False):
        part = numbers.sel(kind=kind)
        at = np.arange(part.sizes["level"], dtype=float)
        for index, model in enumerate(part["model"].values):
            for stage, dashes in (("before", "--"), ("after", "-")):
                line = part.sel(model=model, stage=stage)
                panel.fill_between(
                    at, 100 * line["low"], 100 * line["high"], color=COLOURS[index], alpha=0.15, linewidth=0
                )
                panel.plot(
                    at, 100 * line["mean"], dashes, color=COLOURS[index], marker=MARKERS[index], markersize=4,
                    markerfacecolor="white" if stage == "before" else COLOURS[index], label=f"{model}, {stage}",
                )  # fmt: skip
        panel.set_title(str(kind), loc="left", fontsize=10)
        panel.set_xticks(at, [_said(str(kind), float(value)) for value in part["strength"].values])
        panel.set_xlabel(LABELS.get(str(kind), "strength"))
    for panel in axes[:, 0]:
        panel.set_ylabel("accuracy [%]")
    axes[0, 0].legend(fontsize=8.5, loc="lower left", title="mean, 95 % interval", title_fontsize=8.5, alignment="left")
    if data.title:
        axes[0, 0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def words(data: NonIdealities) -> str:
    """A table: of each non-ideality, strength and model the mean before and after learning, and the worst chip."""
    lines = [f"{'':14}{'strength':>10}  {'model':12}{'before':>8}{'after':>8}{'interval':>16}{'worst after':>13}"]
    for kind in data.numbers["kind"].values:
        for level in data.numbers["level"].values:
            for model in data.numbers["model"].values:
                part = data.numbers.sel(kind=kind, level=level, model=model)
                after = {name: 100 * float(part[name].sel(stage="after")) for name in ("mean", "low", "high", "worst")}
                strength = _said(str(kind), float(part["strength"]))
                lines.append(
                    f"{kind:14}{strength:>10}  {model:12}{100 * float(part['mean'].sel(stage='before')):8.2f}"
                    f"{after['mean']:8.2f}{after['low']:9.2f}..{after['high']:5.2f}{after['worst']:13.2f}"
                )
    return "\n".join(lines)
