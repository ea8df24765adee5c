"""recalibrate(): gains and offsets of the columns, so that a chip's rates spread as those of a nominal chip do."""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from chipsim.arrays import AnyArray, like, to_numpy
from chipsim.chip import fabricate
from chipsim.deployment import Deployment, deploy
from chipsim.devices import Ideal
from chipsim.encoders import Analog
from chipsim.engines import StageState, Watch
from chipsim.errors import ParameterError
from chipsim.loop import SGD, Controller, part_of
from chipsim.probe import variable
from chipsim.progress import with_progress
from chipsim.quantity import canonical_json, whole
from chipsim.schema import DIMENSIONS
from chipsim.writers import Direct, Writer

Array = NDArray[np.float64]
CONSTANT = 1e-6
"""Spread of rates below which a column counts as one that never changes: what rounding leaves of it."""
LIMIT = 2.0
"""Largest change of a gain in a round."""


class Moments(NamedTuple):
    """Mean and standard deviation of what the columns of an array show [columns]: rates, or a read-out's values."""

    mean: Array
    std: Array


def recalibrate(
    deployment: Deployment,
    inputs: ArrayLike,
    *,
    by: Literal["column", "layer"] = "column",
    rounds: int = 8,
    pace: float = 0.5,
    writer: Writer | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Give every column (or layer) of a chip the gain and offset with which its rates have the mean and the spread that
    a nominal chip of the same network has, which the host simulates. No label and no teacher is needed.

        w_ij <- k_i w_ij      b_i <- k_i b_i + pace (mean_i' - k_i mean_i) d      k_i = (std_i' / std_i)^pace, 1/2 .. 2

    mean, std: over the samples (and positions of a kernel) on the chip; with a prime, on the nominal chip; d: the drive
    that stands for a rate of 1. Read-outs take their values for rates. All arrays move in each of `rounds` rounds, that
    present all `inputs`; a column that never changes keeps its gain. The network is taken as it was deployed: what was
    learned since is pulled back in its gains and offsets. by: "column", or "layer" for one gain and offset for all,
    from the means of its columns' means and variances.

    pace: how far a round goes, above 0 and up to 1. An offset comes through cells and a neuron with gains of their own,
    which nobody knows: with a product above 2 / pace it overshoots ever further.

    Returns deviation(epoch, layer), the root mean square over columns of mean - mean' before each round, and
    writes(epoch, layer). Raises ParameterError for arguments out of range and for several chips.
    """
    if by not in ("column", "layer"):
        raise ParameterError(f'by must be "column" or "layer", not {by!r}')
    whole(rounds, "rounds", 1)
    if not 0 < pace <= 1:
        raise ParameterError(f"pace must be above 0 and at most 1, not {pace!r}")
    if len(deployment.chips) > 1:
        raise ParameterError("a host recalibrates one chip at a time; deploy the network on each chip alone")
    flat = deployment.flat(inputs)
    if len(flat) < 2:
        raise ParameterError(f"recalibrate needs at least 2 samples, not {len(flat)}")
    writer = part_of("writer", Writer, writer, Direct())
    nominal, controller = _nominal(deployment), Controller(deployment, writer, SGD())
    wanted = _measured(nominal, flat, 0)
    deviations, writes = [], []
    for turn in with_progress(range(rounds), rounds, "recalibrating", progress):
        found = _measured(deployment, flat, turn * len(flat))
        if turn and not isinstance(deployment.encoder, Analog):  # other spikes in every round, the same on both chips
            wanted = _measured(nominal, flat, turn * len(flat))
        deviations.append([float(np.sqrt(np.mean((a.mean - b.mean) ** 2))) for a, b in zip(found, wanted, strict=True)])
        for index, (now, aim) in enumerate(zip(found, wanted, strict=True)):
            pair = (now, aim) if by == "column" else (_together(now), _together(aim))
            controller.change(index, _change(deployment, index, *pair, pace))
        writes.append(controller.writes)
        controller.writes = np.zeros(len(controller.writes))
    dims = ("epoch", "layer")
    return xr.Dataset(
        {
            "deviation": variable(dims, np.array(deviations), "1", "root mean square deviation of the columns' means"),
            "writes": variable(dims, np.array(writes), "1", "cell writes"),
        },
        coords={
            "epoch": variable(("epoch",), np.arange(1, rounds + 1), *DIMENSIONS["epoch"]),
            "layer": variable(("layer",), np.arange(len(wanted)), *DIMENSIONS["layer"]),
        },
        attrs={
            **deployment.chip.provenance,
            "writer": canonical_json(writer),
            "by": by,
            "pace": pace,
            "samples": len(flat),
        },
    )


def _nominal(deployment: Deployment) -> Deployment:
    """The network on a chip of the same design without device and effects."""
    design = dataclasses.replace(deployment.chip.design, device=Ideal(), effects=())
    return deploy(
        deployment.network,
        fabricate(design, seed=0),
        window=deployment.window,
        step=deployment.step,
        engine=deployment.engine,
        encoder=deployment.encoder,
        seed=deployment.seed,
    )


def _measured(deployment: Deployment, inputs: Array, first: int) -> list[Moments]:
    """Present the samples, the first of number `first`; return what the columns of each array showed."""
    layers = deployment.placement.layers
    sums = [np.zeros((2, layer.wiring.columns)) for layer in layers]
    counts: list[AnyArray] = [0.0] * (len(layers) - 1)
    readout = deployment.chip.design.readout

    def see(index: int, _first: int, state: StageState) -> bool:
        if index < len(counts):
            counts[index] = counts[index] + state.spikes.sum(0)
        return False

    def gather(value: AnyArray) -> None:
        rates = [to_numpy(count) / deployment.window for count in counts]
        values = (to_numpy(value) - readout.rest) / (readout.unit_drive * deployment.window)
        for total, shown, layer in zip(sums, [*rates, values], layers, strict=True):
            by_column = shown.reshape(len(shown), layer.wiring.columns, -1)
            total += [by_column.sum((0, 2)), (by_column**2).sum((0, 2))]
        counts[:] = [0.0] * len(counts)

    deployment.run_all(inputs, first=first, purpose="recalibrate", watch=Watch(see=see), on_window=gather)
    found = []
    for total, layer in zip(sums, layers, strict=True):
        mean, square = total / (len(inputs) * layer.neurons / layer.wiring.columns)
        found.append(Moments(mean, np.sqrt(np.maximum(square - mean**2, 0.0))))
    return found


def _together(moments: Moments) -> Moments:
    """The mean of the columns' means, and the root of the mean of their variances, for every column."""
    mean, std = moments.mean.mean(), np.sqrt(np.mean(moments.std**2))
    return Moments(np.full_like(moments.mean, mean), np.full_like(moments.std, std))


def _change(deployment: Deployment, index: int, now: Moments, aim: Moments, pace: float) -> AnyArray:
    """The change of an array's weights [rows, columns] that takes its columns from what they show towards their aim."""
    layer, cells = deployment.placement.layers[index], deployment.cells[index]
    circuit = deployment.stages[index].circuit
    varies = (now.std > CONSTANT) & (aim.std > CONSTANT)
    gain = np.where(varies, aim.std / np.where(varies, now.std, 1.0), 1.0) ** pace
    gain = gain.clip(1 / LIMIT, LIMIT)
    drive = (1.0 if layer.readout else circuit.firing_drive / circuit.unit_drive) / circuit.gain
    change = (gain - 1) * to_numpy(cells.wanted)
    behind = float(to_numpy(deployment.gains[index]))  # of the array, which an offset goes through too
    change[-layer.bias_rows :] += pace * (aim.mean - gain * now.mean) * drive / behind / layer.bias_rows
    return like(change, cells.wanted)
