"""Accuracy against the passes over the learning samples, mean and each seed."""

from typing import Any

import xarray as xr

from chipsim.plots.curves import Curves, curves, default_variable, draw_curves


def data(dataset: xr.Dataset, *, variable: str | None = None) -> Curves:
    """The numbers: `variable` (default: the study's first) against `epoch`."""
    return curves(dataset, variable=variable or default_variable(dataset), x="epoch")


def draw(axes: Any, data: Curves) -> None:
    """Draw them on matplotlib axes."""
    draw_curves(axes, data)
