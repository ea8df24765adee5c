"""Non-idealities around the cells and circuits. To add one: a file here and a line in `ALL`."""

from chipsim.effects.base import Effect, Grid, Seen
from chipsim.effects.broken_lines import BrokenLines
from chipsim.effects.converters import Converters
from chipsim.effects.dead_neurons import DeadNeurons
from chipsim.effects.driver_noise import DriverNoise
from chipsim.effects.failing_tiles import FailingTiles
from chipsim.effects.hot_neurons import HotNeurons
from chipsim.effects.membrane_noise import MembraneNoise
from chipsim.effects.mismatch import Mismatch
from chipsim.effects.read_noise import ReadNoise
from chipsim.effects.silicon_mismatch import DYNAP_SE2_DIE, DYNAP_SE2_FAST, SiliconMismatch
from chipsim.effects.spike_loss import SpikeLoss
from chipsim.effects.stuck_cells import StuckCells

ALL: tuple[type[Effect], ...] = (
    BrokenLines,
    Converters,
    DeadNeurons,
    DriverNoise,
    FailingTiles,
    HotNeurons,
    MembraneNoise,
    Mismatch,
    ReadNoise,
    SiliconMismatch,
    SpikeLoss,
    StuckCells,
)

__all__ = [
    "ALL",
    "DYNAP_SE2_DIE",
    "DYNAP_SE2_FAST",
    "BrokenLines",
    "Converters",
    "DeadNeurons",
    "DriverNoise",
    "Effect",
    "FailingTiles",
    "Grid",
    "HotNeurons",
    "MembraneNoise",
    "Mismatch",
    "ReadNoise",
    "Seen",
    "SiliconMismatch",
    "SpikeLoss",
    "StuckCells",
]
