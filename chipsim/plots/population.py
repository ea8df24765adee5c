"""What neurons of one design answer to a current: the f-I curves of fabricated ones, their mean and the nominal one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots.canvas import prefixed
from chipsim.plots.curves import COLOURS

SHOWN = 40
"""How many neurons are drawn one by one."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The numbers of a figure.

    neurons (current, neuron): firing rates, or where the membranes of a read-out ended; mean, low, high (current): over
    neurons, and the central 90 % of them; nominal (current), or None.
    """

    neurons: xr.DataArray
    spread: xr.Dataset
    nominal: xr.DataArray | None


def data(dataset: xr.Dataset) -> Answers:
    """The numbers of a `bench` over several currents; its variable `nominal` (current), where there is one, is what the
    nominal neuron did.
    """
    if "current" not in dataset.dims or dataset.sizes["current"] < 2:
        raise ParameterError("an f-I curve needs a result over the dimension 'current': bench() with several currents")
    found = dataset["rate"] if "rate" in dataset else dataset["v"].isel(time=-1, drop=True)
    if "rate" not in dataset:
        found = found.assign_attrs(long_name="membrane at the end")
    found = found.sortby("current").transpose("current", "neuron")
    low, high = (found.quantile(q, "neuron").drop_vars("quantile") for q in (0.05, 0.95))
    return Answers(
        neurons=found,
        spread=xr.Dataset({"mean": found.mean("neuron"), "low": low, "high": high}),
        nominal=dataset["nominal"].sortby("current") if "nominal" in dataset else None,
    )


def draw(axes: Any, data: Answers) -> None:
    """Draw single neurons thin, their mean thick in a band, and the nominal neuron dashed."""
    across, of_current = prefixed("A", float(np.abs(data.neurons["current"]).max()))
    scale, unit = prefixed(data.neurons.attrs.get("units", "1"), float(np.abs(data.neurons).max()))
    current, spread = across * data.neurons["current"].values, scale * data.spread
    if (many := data.neurons.sizes["neuron"]) > 1:
        axes.fill_between(current, spread["low"], spread["high"], color=COLOURS[1], alpha=0.16, linewidth=0,
                          label="90 % of neurons")  # fmt: skip
        axes.plot(current, scale * data.neurons[:, :SHOWN], color=COLOURS[1], linewidth=0.5, alpha=0.45)
        axes.plot([], [], color=COLOURS[1], linewidth=0.6, label="single neurons")
    label = f"mean of {many} neurons" if many > 1 else "the neuron"
    axes.plot(current, spread["mean"], color=COLOURS[1], linewidth=2.4, label=label)
    if data.nominal is not None:
        axes.plot(
            current, scale * data.nominal, "--", color=COLOURS[0], linewidth=1.8, label="nominal neuron", zorder=4
        )
    words = data.neurons.attrs.get("long_name", "answer")
    axes.set_xlabel(f"input current [{of_current}]")
    axes.set_ylabel(words if unit == "1" else f"{words} [{unit}]")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    axes.legend(fontsize=8.5, loc="upper left")
