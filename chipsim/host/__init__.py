"""Host methods: training of a chip in the loop that needs a host. To add one: a file here and a line in `ALL`."""

from chipsim.host.base import HostMethod, Readings, Twin, TwinLayer
from chipsim.host.perturbation import perturb_in_the_loop
from chipsim.host.proxy import Proxy
from chipsim.host.recalibration import recalibrate
from chipsim.host.spike_backprop import SpikeBackprop
from chipsim.host.spike_count import SpikeCount
from chipsim.host.surrogate import Surrogate
from chipsim.host.tandem import Tandem
from chipsim.host.training import train_in_the_loop

ALL: tuple[type[HostMethod], ...] = (Proxy, SpikeBackprop, SpikeCount, Surrogate, Tandem)

__all__ = [
    "ALL",
    "HostMethod",
    "Proxy",
    "Readings",
    "SpikeBackprop",
    "SpikeCount",
    "Surrogate",
    "Tandem",
    "Twin",
    "TwinLayer",
    "perturb_in_the_loop",
    "recalibrate",
    "train_in_the_loop",
]
