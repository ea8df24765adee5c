"""What `chipsim export spice` writes: a tile of the demo's network on a chip, a neuron, or a synapse."""

from pathlib import Path

import chipsim as cs
from chipsim.circuits import DPI, LIF
from chipsim.errors import ParameterError
from chipsim.export import spice
from chipsim.wires import Wires, side_by_side
from studies.reference_teacher import LEARNING, NETWORKS, fitted
from teachers import datasets, train

SIDES = ("plus", "minus")
ALL = "both"
PERCENTILE = next(float(option.values[0]) for option in LEARNING if option.name == "percentile")
CIRCUITS = {"lif": LIF(), "dpi": DPI()}
KINDS = ("tile", *CIRCUITS, "synapse", "synapse-behavioural")


def tile(chip: Path | None, number: int, side: str, wires: Wires | None, dataset: str = "digits") -> str:
    """Return the netlist of a programmed tile, every row at the design's v_read.

    The network is the MLP teacher of a data set with seed 0, as in `chipsim demo`; the chip is the one stored in a
    file, or one without effects. number: of the tile, among those that the network takes. side: "both", plus and minus
    bit lines side by side, as they stand on a die, or one of them alone on its word lines. wires: those of the design's
    WireResistance by default, or segments of 1 ohm. Raises ParameterError where there is no such tile.
    """
    data = datasets.load(dataset)
    teacher = train(NETWORKS["mlp"](data), data, seed=0, progress=False)
    network = teacher.network(percentile=PERCENTILE)
    die = cs.Chip.load(chip) if chip is not None else cs.fabricate(fitted(cs.ChipDesign(), network), seed=0)
    snn = cs.deploy(network, die, step=die.design.circuit.step)
    blocks = [(layer, block) for layer, placed in enumerate(snn.placement.layers) for block in placed.blocks]
    if not 0 <= number < len(blocks):
        raise ParameterError(f"there is no tile {number}: this network takes tiles 0 to {len(blocks) - 1} of the chip")
    layer, block = blocks[number]
    pairs = snn.arrays[layer].alone(snn.cells[layer], snn.time)[:, block.rows, block.columns]
    g = side_by_side(pairs) if side == ALL else pairs[SIDES.index(side)]
    stated = next((effect for effect in die.design.acting if isinstance(effect, Wires)), None)
    wires = wires or stated or Wires(row=1.0, column=1.0, source=1.0, terminal=1.0)
    return spice.netlist(wires.lattice(g), [die.design.v_read] * len(g))


def circuit(kind: str, current: float, duration: float) -> str:
    """Return the netlist of a neuron with a constant input, or of a DPI synapse with a pulse of 1 ms after 1 ms."""
    if kind in CIRCUITS:
        return spice.neuron(CIRCUITS[kind], current=current, duration=duration)
    pulses, transistors = [(1e-3, 1e-3)], kind == "synapse"
    return spice.synapse(DPI(), weight=current, pulses=pulses, duration=duration, transistors=transistors)
