"""chipsim: will a spiking network still work on a chip as it is fabricated, and what does on-chip learning win back?

The flow, in order; each name loads its module when first used:

    Network                                       what a teacher hands over: plain arrays
    ChipDesign, IF, LIF, DPI, DynapSE, AdEx,      what is drawn
      CurrentLIF, Integrator, DYNAP_SE1,
      DYNAP_SE2, ROCKPOOL_DYNAPSIM, BRAINSCALES2,
      Ideal, Rram, RRAM_MILO_2021,
      Relaxing, RRAM_WAN_2022, Cmo,
      RRAM_FALCONE_2025, Pcm,
      PCM_NANDAKUMAR_2019, Sonos,
      SONOS_AGRAWAL_2022, Pulsed,
      RERAM_ARRAY_OM_2022, ECRAM_MO_KIM_2019,
      Mismatch, SiliconMismatch, DYNAP_SE2_DIE,
      MembraneNoise, CircuitNoise, ReadNoise,
      TelegraphNoise, DriverNoise, Converters,
      SenseAmplifiers, WireResistance,
      DeadNeurons, HotNeurons, StuckCells,
      BrokenLines, FailingTiles, SpikeLoss
    fabricate -> Chip                             one die, frozen
    calibrate -> Calibrated, Bias, Adc            each neuron's own bias codes, searched on what the die shows
    bench, step_error                             one circuit population alone; what its step costs
    deploy -> Deployment, Avoid, Record, Analog,  a network on the chip; what it leaves alone; what to
      Poisson                                     probe; how inputs drive it
    Brian, Torch                                  the engines: the reference, and the fast one
    LearningCircuits                              how well its circuits make and carry the signals of learning
    learn, LocalTandem, LocalTandemOffline,       learning on the chip
      LocalTandemTrace, Decolle, Delta,
      Direct, WriteVerify, PulseTrain,
      StochasticPulses, SignPulses, Accumulate,
      SGD, Adam
    train_in_the_loop, Tandem, SpikeCount,        training of the chip from a host, which reads what it shows
      SpikeBackprop, Proxy, Surrogate
    recalibrate, perturb_in_the_loop              what local learning has to beat, beside these
    inference_cost, learning_cost, Prices,        what it costs: operations, energy and time, at prices
      SPIKESIM_PRICES, DYNAP_SE1_PRICES           with a source
    ChipsimError                                  anything it refuses to do
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chipsim.calibration import Bias as Bias
    from chipsim.calibration import Calibrated as Calibrated
    from chipsim.calibration import calibrate as calibrate
    from chipsim.chip import Chip as Chip
    from chipsim.chip import ChipDesign as ChipDesign
    from chipsim.chip import fabricate as fabricate
    from chipsim.circuits import BRAINSCALES2 as BRAINSCALES2
    from chipsim.circuits import DPI as DPI
    from chipsim.circuits import DYNAP_SE1 as DYNAP_SE1
    from chipsim.circuits import DYNAP_SE2 as DYNAP_SE2
    from chipsim.circuits import IF as IF
    from chipsim.circuits import LIF as LIF
    from chipsim.circuits import ROCKPOOL_DYNAPSIM as ROCKPOOL_DYNAPSIM
    from chipsim.circuits import AdEx as AdEx
    from chipsim.circuits import CurrentLIF as CurrentLIF
    from chipsim.circuits import DynapSE as DynapSE
    from chipsim.circuits import Integrator as Integrator
    from chipsim.costs import inference_cost as inference_cost
    from chipsim.costs import learning_cost as learning_cost
    from chipsim.deployment import Deployment as Deployment
    from chipsim.deployment import deploy as deploy
    from chipsim.devices import ECRAM_MO_KIM_2019 as ECRAM_MO_KIM_2019
    from chipsim.devices import PCM_NANDAKUMAR_2019 as PCM_NANDAKUMAR_2019
    from chipsim.devices import RERAM_ARRAY_OM_2022 as RERAM_ARRAY_OM_2022
    from chipsim.devices import RRAM_FALCONE_2025 as RRAM_FALCONE_2025
    from chipsim.devices import RRAM_MILO_2021 as RRAM_MILO_2021
    from chipsim.devices import RRAM_WAN_2022 as RRAM_WAN_2022
    from chipsim.devices import SONOS_AGRAWAL_2022 as SONOS_AGRAWAL_2022
    from chipsim.devices import Cmo as Cmo
    from chipsim.devices import Ideal as Ideal
    from chipsim.devices import Pcm as Pcm
    from chipsim.devices import Pulsed as Pulsed
    from chipsim.devices import Relaxing as Relaxing
    from chipsim.devices import Rram as Rram
    from chipsim.devices import Sonos as Sonos
    from chipsim.effects import DYNAP_SE2_DIE as DYNAP_SE2_DIE
    from chipsim.effects import BrokenLines as BrokenLines
    from chipsim.effects import CircuitNoise as CircuitNoise
    from chipsim.effects import Converters as Converters
    from chipsim.effects import DeadNeurons as DeadNeurons
    from chipsim.effects import DriverNoise as DriverNoise
    from chipsim.effects import FailingTiles as FailingTiles
    from chipsim.effects import HotNeurons as HotNeurons
    from chipsim.effects import MembraneNoise as MembraneNoise
    from chipsim.effects import Mismatch as Mismatch
    from chipsim.effects import ReadNoise as ReadNoise
    from chipsim.effects import SenseAmplifiers as SenseAmplifiers
    from chipsim.effects import SiliconMismatch as SiliconMismatch
    from chipsim.effects import SpikeLoss as SpikeLoss
    from chipsim.effects import StuckCells as StuckCells
    from chipsim.effects import TelegraphNoise as TelegraphNoise
    from chipsim.effects import WireResistance as WireResistance
    from chipsim.encoders import Analog as Analog
    from chipsim.encoders import Poisson as Poisson
    from chipsim.engines import Brian as Brian
    from chipsim.engines import Torch as Torch
    from chipsim.errors import ChipsimError as ChipsimError
    from chipsim.host import Proxy as Proxy
    from chipsim.host import SpikeBackprop as SpikeBackprop
    from chipsim.host import SpikeCount as SpikeCount
    from chipsim.host import Surrogate as Surrogate
    from chipsim.host import Tandem as Tandem
    from chipsim.host import perturb_in_the_loop as perturb_in_the_loop
    from chipsim.host import recalibrate as recalibrate
    from chipsim.host import train_in_the_loop as train_in_the_loop
    from chipsim.learning import learn as learn
    from chipsim.loop import SGD as SGD
    from chipsim.loop import Adam as Adam
    from chipsim.mapping import Avoid as Avoid
    from chipsim.network import Network as Network
    from chipsim.population import bench as bench
    from chipsim.population import step_error as step_error
    from chipsim.prices import DYNAP_SE1_PRICES as DYNAP_SE1_PRICES
    from chipsim.prices import SPIKESIM_PRICES as SPIKESIM_PRICES
    from chipsim.prices import Prices as Prices
    from chipsim.probe import Record as Record
    from chipsim.responses import Adc as Adc
    from chipsim.rules import Decolle as Decolle
    from chipsim.rules import Delta as Delta
    from chipsim.rules import LocalTandem as LocalTandem
    from chipsim.rules import LocalTandemOffline as LocalTandemOffline
    from chipsim.rules import LocalTandemTrace as LocalTandemTrace
    from chipsim.signals import LearningCircuits as LearningCircuits
    from chipsim.writers import Accumulate as Accumulate
    from chipsim.writers import Direct as Direct
    from chipsim.writers import PulseTrain as PulseTrain
    from chipsim.writers import SignPulses as SignPulses
    from chipsim.writers import StochasticPulses as StochasticPulses
    from chipsim.writers import WriteVerify as WriteVerify

_MODULES = {
    "population": ("bench", "step_error"),
    "calibration": ("Bias", "Calibrated", "calibrate"),
    "chip": ("Chip", "ChipDesign", "fabricate"),
    "circuits": (
        "BRAINSCALES2",
        "DPI",
        "DYNAP_SE1",
        "DYNAP_SE2",
        "IF",
        "LIF",
        "ROCKPOOL_DYNAPSIM",
        "AdEx",
        "CurrentLIF",
        "DynapSE",
        "Integrator",
    ),
    "costs": ("inference_cost", "learning_cost"),
    "deployment": ("Deployment", "deploy"),
    "devices": (
        "ECRAM_MO_KIM_2019",
        "PCM_NANDAKUMAR_2019",
        "RERAM_ARRAY_OM_2022",
        "RRAM_FALCONE_2025",
        "RRAM_MILO_2021",
        "RRAM_WAN_2022",
        "SONOS_AGRAWAL_2022",
        "Cmo",
        "Ideal",
        "Pcm",
        "Pulsed",
        "Relaxing",
        "Rram",
        "Sonos",
    ),
    "effects": (
        "DYNAP_SE2_DIE",
        "CircuitNoise",
        "BrokenLines",
        "Converters",
        "DeadNeurons",
        "DriverNoise",
        "FailingTiles",
        "HotNeurons",
        "MembraneNoise",
        "Mismatch",
        "ReadNoise",
        "SenseAmplifiers",
        "SiliconMismatch",
        "SpikeLoss",
        "StuckCells",
        "TelegraphNoise",
        "WireResistance",
    ),
    "encoders": ("Analog", "Poisson"),
    "engines": ("Brian", "Torch"),
    "errors": ("ChipsimError",),
    "host": (
        "Proxy",
        "SpikeBackprop",
        "SpikeCount",
        "Surrogate",
        "Tandem",
        "perturb_in_the_loop",
        "recalibrate",
        "train_in_the_loop",
    ),
    "learning": ("learn",),
    "loop": ("SGD", "Adam"),
    "mapping": ("Avoid",),
    "network": ("Network",),
    "prices": ("DYNAP_SE1_PRICES", "SPIKESIM_PRICES", "Prices"),
    "probe": ("Record",),
    "responses": ("Adc",),
    "signals": ("LearningCircuits",),
    "rules": ("Decolle", "Delta", "LocalTandem", "LocalTandemOffline", "LocalTandemTrace"),
    "writers": ("Accumulate", "Direct", "PulseTrain", "SignPulses", "StochasticPulses", "WriteVerify"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chipsim' has no attribute {name!r}")
    return getattr(import_module(f"chipsim.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
