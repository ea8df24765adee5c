"""Memory cells: conductance range, levels, programming. To add one: a file here and a line in `ALL`."""

from chipsim.devices.base import Device
from chipsim.devices.ideal import Ideal
from chipsim.devices.rram import RRAM_MILO_2021, Rram

ALL: tuple[type[Device], ...] = (Ideal, Rram)

__all__ = ["ALL", "RRAM_MILO_2021", "Device", "Ideal", "Rram"]
