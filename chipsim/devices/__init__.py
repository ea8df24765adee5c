"""Memory cells: conductance range, levels, programming, ageing. To add one: a file here and a line in `ALL`."""

from chipsim.devices.ageing import Ageing, ExtrapolationWarning
from chipsim.devices.base import Device
from chipsim.devices.flash import SONOS_AGRAWAL_2022, Sonos
from chipsim.devices.ideal import Ideal
from chipsim.devices.pcm import PCM_HERMES, PCM_HERMES_PAIR, PCM_JOSHI_2020, PCM_NANDAKUMAR_2019, Pcm
from chipsim.devices.rram import (
    RRAM_FALCONE_2025,
    RRAM_FALCONE_2025_FINE,
    RRAM_MILO_2021,
    RRAM_WAN_2022,
    RRAM_WAN_2022_CROSSSIM,
    Cmo,
    Relaxing,
    Rram,
)

ALL: tuple[type[Device], ...] = (Ideal, Rram, Relaxing, Cmo, Pcm, Sonos)

__all__ = [
    "ALL",
    "PCM_HERMES",
    "PCM_HERMES_PAIR",
    "PCM_JOSHI_2020",
    "PCM_NANDAKUMAR_2019",
    "RRAM_FALCONE_2025",
    "RRAM_FALCONE_2025_FINE",
    "RRAM_MILO_2021",
    "RRAM_WAN_2022",
    "RRAM_WAN_2022_CROSSSIM",
    "SONOS_AGRAWAL_2022",
    "Ageing",
    "Cmo",
    "Device",
    "ExtrapolationWarning",
    "Ideal",
    "Pcm",
    "Relaxing",
    "Rram",
    "Sonos",
]
