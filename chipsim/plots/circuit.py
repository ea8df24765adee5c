"""A circuit at a glance: what its neurons do over time, and beside it what a population answers to a current."""

from dataclasses import dataclass
from typing import Any

import xarray as xr

from chipsim.plots import population, traces

PANELS, SIZE = (2, 2), (11.6, 5.0)


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The numbers of a figure: those of its two parts."""

    traces: traces.Traces
    answers: population.Answers
    title: str


def data(dataset: xr.Dataset) -> Circuit:
    """The numbers of a `bench` over several currents; see `traces` and `population`."""
    return Circuit(
        traces=traces.data(dataset), answers=population.data(dataset), title=str(dataset.attrs.get("title", ""))
    )


def draw(axes: Any, data: Circuit) -> None:
    """Draw both."""
    right = axes[0, 1]
    axes[1, 1].remove()
    right.set_subplotspec(axes[0, 0].get_gridspec()[:, 1])
    traces.draw(axes, data.traces)
    population.draw(right, data.answers)
    if data.title:
        right.figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")
