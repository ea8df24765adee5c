"""Figures: `data(dataset)` gives the numbers, `draw(axes, data)` the drawing; one module each, registered in ALL.

A module of several panels says so in PANELS = (rows, columns) and draws on an array of axes; SIZE is that of its
picture in inches. One whose panels depend on the numbers has a function `layout(data)` that returns both. One that
defines `words(data)` has something to say beside the tables of a result.

Only this folder imports matplotlib, and only when something is drawn.
"""

from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import xarray as xr

from chipsim.devices import Device
from chipsim.errors import ParameterError
from chipsim.files import replace_file
from chipsim.plots import (
    array_map,
    canvas,
    circuit,
    comparison,
    cost_of_learning,
    data_needed,
    degradation,
    device,
    die,
    headlines,
    learning_curve,
    limits,
    non_idealities,
    over_time,
    population,
    remedies,
    traces,
)

ALL: dict[str, ModuleType] = {
    "array_map": array_map,
    "circuit": circuit,
    "comparison": comparison,
    "cost_of_learning": cost_of_learning,
    "data_needed": data_needed,
    "degradation": degradation,
    "device": device,
    "die": die,
    "headlines": headlines,
    "learning_curve": learning_curve,
    "limits": limits,
    "non_idealities": non_idealities,
    "over_time": over_time,
    "population": population,
    "remedies": remedies,
    "traces": traces,
}


def check(path: Path) -> None:
    """Raise ChipsimError where no figure can be drawn into `path`, whose ending says the format (png, pdf, svg)."""
    canvas.check(_kind(path))


def _kind(path: Path) -> str:
    return path.suffix.lstrip(".") or "png"


def save(name: str, dataset: xr.Dataset | Device, path: str | PathLike[str]) -> None:
    """Draw the figure called `name` of `dataset` into `path`; the ending says the format (png, pdf, svg).

    dataset: what the figure's `data` takes: a result, or a device for the figure of devices.
    """
    path = Path(path)
    if name not in ALL:
        raise ParameterError(f"unknown figure {name!r}; known: {', '.join(ALL)}")
    module = ALL[name]
    numbers = module.data(dataset)
    layout: dict[str, Any] = {key.lower(): getattr(module, key) for key in ("PANELS", "SIZE") if hasattr(module, key)}
    if hasattr(module, "layout"):
        layout["panels"], layout["size"] = module.layout(numbers)
    content = canvas.render(lambda axes: module.draw(axes, numbers), _kind(path), **layout)
    replace_file(path, content)


def words(name: str, dataset: xr.Dataset) -> str:
    """What the figure called `name` says of `dataset` in words; empty where it leaves that to the tables."""
    module: Any = ALL.get(name)
    return str(module.words(module.data(dataset))) if hasattr(module, "words") else ""
