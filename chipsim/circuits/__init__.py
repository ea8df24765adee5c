"""Neuron and read-out circuits: parameters plus Brian2 equation text. To add one: a file here and a line in `ALL`."""

from chipsim.circuits.base import Circuit
from chipsim.circuits.dpi import DPI
from chipsim.circuits.integrate_fire import IF
from chipsim.circuits.integrator import Integrator
from chipsim.circuits.leaky_integrate_fire import LIF

ALL: tuple[type[Circuit], ...] = (DPI, IF, LIF, Integrator)

__all__ = ["ALL", "DPI", "IF", "LIF", "Circuit", "Integrator"]
