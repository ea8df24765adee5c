"""Non-idealities around the cells and circuits. To add one: a file here and a line in `ALL`."""

from chipsim.effects.base import Effect
from chipsim.effects.dead_neurons import DeadNeurons
from chipsim.effects.membrane_noise import MembraneNoise
from chipsim.effects.mismatch import Mismatch
from chipsim.effects.stuck_cells import StuckCells

ALL: tuple[type[Effect], ...] = (DeadNeurons, MembraneNoise, Mismatch, StuckCells)

__all__ = ["ALL", "DeadNeurons", "Effect", "MembraneNoise", "Mismatch", "StuckCells"]
