"""Figures: `data(dataset)` gives the numbers, `draw(axes, data)` the drawing; one module each, registered in ALL.

Only this folder imports matplotlib, and only when something is drawn.
"""

from pathlib import Path
from types import ModuleType

import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots import canvas, degradation, learning_curve
from chipsim.results import replace_file

ALL: dict[str, ModuleType] = {"degradation": degradation, "learning_curve": learning_curve}


def save(name: str, dataset: xr.Dataset, path: Path) -> None:
    """Draw the figure called `name` of `dataset` into `path`; the ending says the format (png, pdf, svg)."""
    if name not in ALL:
        raise ParameterError(f"unknown figure {name!r}; known: {', '.join(ALL)}")
    numbers = ALL[name].data(dataset)
    content = canvas.render(lambda axes: ALL[name].draw(axes, numbers), path.suffix.lstrip(".") or "png")
    replace_file(path, content)
