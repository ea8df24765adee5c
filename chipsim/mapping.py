"""Network + ChipDesign -> Placement: which tiles and neurons a layer takes, its scale and its wanted weights."""

import math
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chipsim.chip import ChipDesign
from chipsim.effects.base import Frozen
from chipsim.errors import CapacityError, ParameterError
from chipsim.network import Network
from chipsim.wiring import Wiring

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
    wiring: how inputs reach the rows, and columns the neurons. blocks: its tiles. bank: which of the chip's neurons it
    has, or of its read-outs for the last layer. shortcut: earlier layer whose spikes reach these neurons past the
    array, and what one of them delivers relative to the drive that stands for a rate of 1.
    """

    weight: Array
    bias_rows: int
    w_max: float
    clipped: float
    wiring: Wiring
    blocks: tuple[Block, ...]
    bank: slice | NDArray[np.intp]
    readout: bool
    shortcut: tuple[int, float] | None = None

    @property
    def rows(self) -> int:
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        return int(self.weight.shape[1])

    @property
    def neurons(self) -> int:
        return self.wiring.neurons

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


@dataclass(frozen=True, kw_only=True)
class Avoid:
    """Tiles, neurons and read-outs, by number, that a placement leaves alone, as a test of the chip found them bad."""

    tiles: Collection[int] = ()
    neurons: Collection[int] = ()
    readouts: Collection[int] = ()

    def __post_init__(self) -> None:
        for name in ("tiles", "neurons", "readouts"):
            try:
                numbers = [operator.index(number) for number in getattr(self, name)]
            except TypeError as error:
                raise ParameterError(f"Avoid.{name} must hold whole numbers: {error}") from error
            if any(number < 0 for number in numbers):
                raise ParameterError(f"Avoid.{name} must hold numbers from 0 on, not {min(numbers)}")
            object.__setattr__(self, name, tuple(sorted(set(numbers))))

    def good(self, kind: str, start: int, count: int) -> NDArray[np.intp]:
        """Return the first `count` numbers from `start` on that are not avoided."""
        bad = np.array(getattr(self, kind), dtype=np.intp)
        numbers = np.arange(start, start + count + len(bad), dtype=np.intp)
        return numbers[~np.isin(numbers, bad)][:count]


NOTHING = Avoid()


def place(network: Network, design: ChipDesign, avoid: Avoid = NOTHING) -> Placement:
    """Place a network on a chip: layer after layer on the next free tiles and neurons, but for those to avoid.

    A hidden weight becomes w = firing_drive / (unit_drive gain) W c_below / c, so that a teacher activation of c (its
    percentile constant) drives the neuron by the circuit's `firing_drive`, that of a rate of 1 for those that can fire
    so fast; the read-out's becomes w = W c_below / gain. w_max = headroom x the 99.9 % quantile of the layer's |w|. A
    bias is shared by max(1, ceil(max |b| / w_max)) rows that are always driven. A convolution is one array, used for
    one position after another, and every position has neurons of its own; groups stand on tiles of their own. Average
    pooling and residual addition are summed on the routing side and take no cells: a spike of layer k adds c_k / c of a
    firing drive to the neuron that it reaches.
    Raises CapacityError when tiles, neurons or read-outs do not suffice.
    """
    placed: list[PlacedLayer] = []
    tile = neuron = 0
    below = 1.0
    for index, layer in enumerate(network.layers):
        readout = index == len(network.layers) - 1
        circuit = design.readout if readout else design.circuit
        scale = (1.0 if readout else circuit.firing_drive / circuit.unit_drive / layer.constant) / circuit.gain
        weight, w_max, bias_rows, clipped = _array(layer.matrix * (below * scale), layer.bias * scale, design.headroom)
        wiring = network.wirings[index]
        blocks = _blocks(weight.shape[0], wiring, design, tile, avoid)
        kind, start = ("readouts", 0) if readout else ("neurons", neuron)
        bank: slice | NDArray[np.intp] = slice(start, end := start + wiring.neurons)
        if getattr(avoid, kind):
            bank = avoid.good(kind, start, wiring.neurons)
            end = int(bank[-1]) + 1
        _check_capacity(index, blocks[-1].tile + 1, end, readout, design)
        placed.append(
            PlacedLayer(
                weight=weight,
                bias_rows=bias_rows,
                w_max=w_max,
                clipped=clipped,
                wiring=wiring,
                blocks=blocks,
                bank=bank,
                readout=readout,
                shortcut=_shortcut(network, index),
            )
        )
        tile, neuron, below = blocks[-1].tile + 1, end, layer.constant
    return Placement(layers=tuple(placed))


def _array(weight: Array, bias: Array, headroom: float) -> tuple[Array, float, int, float]:
    largest = float(np.quantile(np.abs(weight), 0.999)) or float(np.abs(weight).max()) or 1.0
    w_max = headroom * largest
    bias_rows = max(1, math.ceil(float(np.abs(bias).max()) / w_max))
    array = np.vstack([weight, np.broadcast_to(bias / bias_rows, (bias_rows, len(bias)))])
    clipped = float(np.mean(np.abs(array) > w_max))
    return np.clip(array, -w_max, w_max), w_max, bias_rows, clipped


def _shortcut(network: Network, index: int) -> tuple[int, float] | None:
    layer = network.layers[index]
    if layer.shortcut is None:
        return None
    return layer.shortcut, network.layers[layer.shortcut].constant / layer.constant


def _blocks(rows: int, wiring: Wiring, design: ChipDesign, first: int, avoid: Avoid) -> tuple[Block, ...]:
    share = wiring.columns // wiring.groups
    parts = [
        (row, slice(column, min(column + design.columns, (group + 1) * share)))
        for group in range(wiring.groups)
        for row in range(0, rows, design.rows)
        for column in range(group * share, (group + 1) * share, design.columns)
    ]
    tiles = avoid.good("tiles", first, len(parts)) if avoid.tiles else range(first, first + len(parts))
    return tuple(
        Block(tile=int(tile), rows=slice(row, min(row + design.rows, rows)), columns=columns)
        for tile, (row, columns) in zip(tiles, parts, strict=True)
    )


def required(network: Network, design: ChipDesign) -> dict[str, int]:
    """Return the tiles, neurons and read-outs that a network takes on chips of this design, by the name of the field.

    >>> required(Network.random((300, 40, 10), seed=0), ChipDesign())
    {'tiles': 3, 'neurons': 40, 'readouts': 10}
    """
    *hidden, readout = place(network, replace(design, tiles=2**62, neurons=2**62, readouts=2**62)).layers
    neurons = sum(layer.neurons for layer in hidden)
    return {"tiles": readout.blocks[-1].tile + 1, "neurons": neurons, "readouts": readout.neurons}


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
