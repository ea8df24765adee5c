"""Memory cells: conductance range, levels, programming, ageing. To add one: a file here and a line in `ALL`."""

from chipsim.devices.ageing import Ageing, ExtrapolationWarning
from chipsim.devices.base import Device
from chipsim.devices.fit import Fitted, fit
from chipsim.devices.flash import SONOS_AGRAWAL_2022, Sonos
from chipsim.devices.ideal import Ideal
from chipsim.devices.pcm import PCM_HERMES, PCM_HERMES_PAIR, PCM_JOSHI_2020, PCM_NANDAKUMAR_2019, Pcm
from chipsim.devices.pulsed import (
    CAPACITOR_LI_2018,
    ECRAM_MO_KIM_2019,
    ECRAM_TANG_2018,
    ECRAM_WOX_2023,
    GOKMEN_VLASOV_2016,
    IDEALIZED,
    PCM_NANDAKUMAR_2020,
    RERAM_ARRAY_HFO2_2022,
    RERAM_ARRAY_OM_2022,
    RERAM_ES_GONG_2018,
    RERAM_SB_GONG_2018,
    Exponential,
    Linear,
    Pulsed,
)
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

ALL: tuple[type[Device], ...] = (Ideal, Rram, Relaxing, Cmo, Pcm, Sonos, Pulsed)

__all__ = [
    "ALL",
    "CAPACITOR_LI_2018",
    "ECRAM_MO_KIM_2019",
    "ECRAM_TANG_2018",
    "ECRAM_WOX_2023",
    "GOKMEN_VLASOV_2016",
    "IDEALIZED",
    "PCM_HERMES",
    "PCM_HERMES_PAIR",
    "PCM_JOSHI_2020",
    "PCM_NANDAKUMAR_2019",
    "PCM_NANDAKUMAR_2020",
    "RERAM_ARRAY_HFO2_2022",
    "RERAM_ARRAY_OM_2022",
    "RERAM_ES_GONG_2018",
    "RERAM_SB_GONG_2018",
    "RRAM_FALCONE_2025",
    "RRAM_FALCONE_2025_FINE",
    "RRAM_MILO_2021",
    "RRAM_WAN_2022",
    "RRAM_WAN_2022_CROSSSIM",
    "SONOS_AGRAWAL_2022",
    "Ageing",
    "Cmo",
    "Device",
    "Exponential",
    "ExtrapolationWarning",
    "Fitted",
    "Ideal",
    "Linear",
    "Pcm",
    "Pulsed",
    "Relaxing",
    "Rram",
    "Sonos",
    "fit",
]
