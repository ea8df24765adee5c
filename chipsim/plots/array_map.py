"""Map of an array with wires: voltages of word and bit lines at every cell, and what its wires take from each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from chipsim.errors import ParameterError
from chipsim.schema import DIMENSIONS
from chipsim.wires import Lattice

PANELS, SIZE = (1, 3), (11.0, 3.6)
NEEDED = ("word", "bit", "cells", "effective")


@dataclass(frozen=True, kw_only=True)
class ArrayMap:
    """The numbers of a figure, over (row, column): word, bit [V]; error, of the effective conductance relative to the
    cell's, NaN where there is none [1].
    """

    numbers: xr.Dataset
    title: str


def solved(lattice: Lattice, v: ArrayLike) -> xr.Dataset:
    """Return what this figure shows of an array of ohmic cells and its inputs v [rows], and the residual."""
    solution = lattice.solve(v)
    shown = {
        "word": (solution.word, "V", "voltage of the word line"),
        "bit": (solution.bit, "V", "voltage of the bit line"),
        "cells": (lattice.cells, "S", "conductance of the cell"),
        "effective": (lattice.effective(), "S", "current at the bit line's end per volt at the word line's source"),
    }
    coords = {
        name: (name, np.arange(size), {"units": DIMENSIONS[name][0], "long_name": DIMENSIONS[name][1]})
        for name, size in zip(("row", "column"), lattice.cells.shape, strict=True)
    }
    return xr.Dataset(
        {
            name: (("row", "column"), values, {"units": unit, "long_name": words})
            for name, (values, unit, words) in shown.items()
        },
        coords=coords,
        attrs={"residual": solution.residual},
    )


def data(dataset: xr.Dataset) -> ArrayMap:
    """The numbers of an array as `solved` gives it."""
    for name in NEEDED:
        if name not in dataset or set(dataset[name].dims) != {"row", "column"}:
            raise ParameterError(f"this figure needs {name!r} over row, column, as array_map.solved gives it")
    ordered = {name: dataset[name].transpose("row", "column") for name in NEEDED}
    error = (ordered["effective"] / ordered["cells"].where(ordered["cells"] > 0)) - 1
    return ArrayMap(
        numbers=xr.Dataset({"word": ordered["word"], "bit": ordered["bit"], "error": error}),
        title=str(dataset.attrs.get("question", "")),
    )


def draw(axes: Any, data: ArrayMap) -> None:
    """Draw three maps, row 0 on top; the error's colours are centred on none."""
    numbers = data.numbers
    worst = 100 * float(np.nanmax(np.abs(numbers["error"].values), initial=0.0)) or 1.0
    maps: tuple[tuple[str, xr.DataArray, dict[str, Any]], ...] = (
        ("word lines [V]", numbers["word"], {"cmap": "viridis"}),
        ("bit lines [V]", numbers["bit"], {"cmap": "viridis"}),
        ("conductance error [%]", 100 * numbers["error"], {"cmap": "RdBu", "vmin": -worst, "vmax": worst}),
    )
    for panel, (title, values, look) in zip(axes.ravel(), maps, strict=True):
        image = panel.imshow(values.values, interpolation="nearest", aspect="auto", **look)
        panel.figure.colorbar(image, ax=panel)
        panel.grid(visible=False)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel("column")
    axes.ravel()[0].set_ylabel("row")
    if data.title:
        axes.ravel()[0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")
