"""Network + ChipDesign -> Placement: which tiles and neurons a layer takes, its scale and its wanted weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipsim.chip import ChipDesign
from chipsim.effects.base import Frozen
from chipsim.errors import CapacityError
from chipsim.network import Network

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The part of a layer's array that one tile holds, from the tile's first row and column on."""

    tile: int
    rows: slice
    columns: slice


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedLayer:
    """One layer on the chip.

    weight [rows, columns]: wanted weights, bias rows last, clipped to +-w_max; clipped: share of weights that were.
    blocks: its tiles. neurons: its slice of the chip's neurons, or of its read-outs for the last layer.
    """

    weight: Array
    bias_rows: int
    w_max: float
    clipped: float
    blocks: tuple[Block, ...]
    neurons: slice
    readout: bool

    @property
    def rows(self) -> int:
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        return int(self.weight.shape[1])

    def gather(self, tile: Callable[[int], tuple[Frozen, ...]]) -> tuple[dict[str, Array], ...]:
        """Assemble the frozen arrays of the layer's tiles, each [2, rows, columns], one mapping per effect."""
        gathered: list[dict[str, Array]] = []
        for block in self.blocks:
            rows, columns = block.rows.stop - block.rows.start, block.columns.stop - block.columns.start
            for index, frozen in enumerate(tile(block.tile)):
                if index == len(gathered):
                    gathered.append({kind: np.empty((2, self.rows, self.columns)) for kind in frozen})
                for kind, values in frozen.items():
                    gathered[index][kind][:, block.rows, block.columns] = values[:, :rows, :columns]
        return tuple(gathered)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where every layer of a network stands on a chip."""

    layers: tuple[PlacedLayer, ...]


def place(network: Network, design: ChipDesign) -> Placement:
    """Place a network on a chip: layer after layer on the next free tiles and neurons.

    A hidden weight becomes w = swing / (v_unit gain) W c_below / c, so that a teacher activation of c (its percentile
    constant) drives the neuron by one swing from rest to threshold in every step; the read-out's becomes
    w = W c_below / gain. w_max = headroom x the 99.9 % quantile of the layer's |w|. A bias is shared by
    max(1, ceil(max |b| / w_max)) rows that are always driven.
    Raises CapacityError when tiles, neurons or read-outs do not suffice.
    """
    placed: list[PlacedLayer] = []
    tile = neuron = 0
    below = 1.0
    for index, layer in enumerate(network.layers):
        readout = index == len(network.layers) - 1
        circuit = design.readout if readout else design.circuit
        scale = (1.0 if readout else circuit.swing / circuit.v_unit / layer.constant) / circuit.gain
        weight, w_max, bias_rows, clipped = _array(layer.weight * (below * scale), layer.bias * scale, design.headroom)
        blocks = _blocks(weight.shape[0], weight.shape[1], design, tile)
        start = 0 if readout else neuron
        _check_capacity(index, blocks[-1].tile + 1, start + layer.outputs, readout, design)
        placed.append(
            PlacedLayer(
                weight=weight,
                bias_rows=bias_rows,
                w_max=w_max,
                clipped=clipped,
                blocks=blocks,
                neurons=slice(start, start + layer.outputs),
                readout=readout,
            )
        )
        tile, neuron, below = blocks[-1].tile + 1, start + layer.outputs, layer.constant
    return Placement(layers=tuple(placed))


def _array(weight: Array, bias: Array, headroom: float) -> tuple[Array, float, int, float]:
    largest = float(np.quantile(np.abs(weight), 0.999)) or float(np.abs(weight).max()) or 1.0
    w_max = headroom * largest
    bias_rows = max(1, math.ceil(float(np.abs(bias).max()) / w_max))
    array = np.vstack([weight, np.broadcast_to(bias / bias_rows, (bias_rows, len(bias)))])
    clipped = float(np.mean(np.abs(array) > w_max))
    return np.clip(array, -w_max, w_max), w_max, bias_rows, clipped


def _blocks(rows: int, columns: int, design: ChipDesign, first: int) -> tuple[Block, ...]:
    corners = [(row, column) for row in range(0, rows, design.rows) for column in range(0, columns, design.columns)]
    return tuple(
        Block(
            tile=first + index,
            rows=slice(row, min(row + design.rows, rows)),
            columns=slice(column, min(column + design.columns, columns)),
        )
        for index, (row, column) in enumerate(corners)
    )


def _check_capacity(index: int, tiles: int, neurons: int, readout: bool, design: ChipDesign) -> None:
    circuits = design.readouts if readout else design.neurons
    kind = "readouts" if readout else "neurons"
    if tiles > design.tiles:
        raise CapacityError(
            f"layer {index} needs tiles up to number {tiles}, but the chip has {design.tiles} of "
            f"{design.rows} x {design.columns}; raise ChipDesign.tiles, rows or columns"
        )
    if neurons > circuits:
        raise CapacityError(
            f"layer {index} needs {neurons} {kind}, but the chip has {circuits}; raise ChipDesign.{kind}"
        )
