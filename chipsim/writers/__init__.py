"""Writers: how a wanted change becomes writes on cells. To add one: a file here and a line in `ALL`."""

from chipsim.writers.base import PulseWriter, Writer
from chipsim.writers.direct import Direct
from chipsim.writers.pulses import Accumulate, PulseTrain, SignPulses, StochasticPulses
from chipsim.writers.write_verify import WriteVerify

ALL: tuple[type[Writer], ...] = (Direct, WriteVerify, PulseTrain, StochasticPulses, SignPulses, Accumulate)

__all__ = [
    "ALL",
    "Accumulate",
    "Direct",
    "PulseTrain",
    "PulseWriter",
    "SignPulses",
    "StochasticPulses",
    "WriteVerify",
    "Writer",
]
