"""Neuron and read-out circuits: parameters plus Brian2 equation text. To add one: a file here and a line in `ALL`."""

from chipsim.circuits.adex import BRAINSCALES2, AdEx
from chipsim.circuits.base import Circuit
from chipsim.circuits.current_lif import CurrentLIF
from chipsim.circuits.dpi import DPI
from chipsim.circuits.dynapse import DYNAP_SE1, DYNAP_SE2, ROCKPOOL_DYNAPSIM, DynapSE
from chipsim.circuits.integrate_fire import IF
from chipsim.circuits.integrator import Integrator
from chipsim.circuits.leaky_integrate_fire import LIF

ALL: tuple[type[Circuit], ...] = (DPI, IF, LIF, AdEx, CurrentLIF, DynapSE, Integrator)

__all__ = [
    "ALL",
    "BRAINSCALES2",
    "DPI",
    "DYNAP_SE1",
    "DYNAP_SE2",
    "IF",
    "LIF",
    "ROCKPOOL_DYNAPSIM",
    "AdEx",
    "Circuit",
    "CurrentLIF",
    "DynapSE",
    "Integrator",
]
