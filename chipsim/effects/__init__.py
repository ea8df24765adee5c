"""Non-idealities around the cells and circuits. To add one: a file here and a line in `ALL`."""

from chipsim.effects.base import Effect, Errors, Grid, Seen
from chipsim.effects.broken_lines import BrokenLines
from chipsim.effects.circuit_noise import CircuitNoise
from chipsim.effects.converters import Converters
from chipsim.effects.dead_neurons import DeadNeurons
from chipsim.effects.driver_noise import DriverNoise
from chipsim.effects.failing_tiles import FailingTiles
from chipsim.effects.hot_neurons import HotNeurons
from chipsim.effects.membrane_noise import MembraneNoise
from chipsim.effects.mismatch import Mismatch
from chipsim.effects.read_noise import ReadNoise
from chipsim.effects.sense_amplifiers import SenseAmplifiers
from chipsim.effects.silicon_mismatch import DYNAP_SE2_DIE, DYNAP_SE2_FAST, SiliconMismatch
from chipsim.effects.spike_loss import SpikeLoss
from chipsim.effects.stuck_cells import StuckCells
from chipsim.effects.telegraph_noise import TelegraphNoise
from chipsim.effects.wire_resistance import WireResistance

ALL: tuple[type[Effect], ...] = (
    CircuitNoise,
    BrokenLines,
    Converters,
    DeadNeurons,
    DriverNoise,
    FailingTiles,
    HotNeurons,
    MembraneNoise,
    Mismatch,
    ReadNoise,
    SenseAmplifiers,
    SiliconMismatch,
    SpikeLoss,
    StuckCells,
    TelegraphNoise,
    WireResistance,
)

__all__ = [
    "ALL",
    "DYNAP_SE2_DIE",
    "DYNAP_SE2_FAST",
    "BrokenLines",
    "CircuitNoise",
    "Converters",
    "DeadNeurons",
    "DriverNoise",
    "Effect",
    "Errors",
    "FailingTiles",
    "Grid",
    "HotNeurons",
    "MembraneNoise",
    "Mismatch",
    "ReadNoise",
    "Seen",
    "SenseAmplifiers",
    "SiliconMismatch",
    "SpikeLoss",
    "StuckCells",
    "TelegraphNoise",
    "WireResistance",
]
