"""Accuracy against a factor (how strong a mismatch, how long a drift), before and after learning."""

import json
from typing import Any

import xarray as xr

from chipsim.plots.curves import Curves, curves, default_variable, draw_curves


def data(dataset: xr.Dataset, *, variable: str | None = None, factor: str | None = None) -> Curves:
    """The numbers: `variable` (default: the study's first) against `factor` (default: the first that varies)."""
    return curves(dataset, variable=variable or default_variable(dataset), x=factor or _first_factor(dataset))


def draw(axes: Any, data: Curves) -> None:
    """Draw them on matplotlib axes."""
    draw_curves(axes, data, dodge=0.06)


def _first_factor(dataset: xr.Dataset) -> str:
    """The first factor with more than one value, numbers before words; else the first factor."""
    grid = json.loads(dataset.attrs.get("grid", "{}"))
    factors = [name for name in grid if name not in ("chip", "seed")] or ["stage"]
    varying = [name for name in factors if dataset.sizes.get(name, 1) > 1] or factors
    numeric = [name for name in varying if dataset[name].dtype.kind in "fiu"] or varying
    return str(numeric[0])
