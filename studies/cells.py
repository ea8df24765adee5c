"""Memory cells by name, for studies: published ones, and those that a user measured."""

import dataclasses
import functools
import warnings
from collections.abc import Mapping

from chipsim import devices
from chipsim.devices import Device, ExtrapolationWarning, Ideal, fit
from chipsim.errors import ParameterError

MEASURED = ".csv"
"""What a file of measurements, as `devices.fit` takes them, ends with."""
AGEING: Mapping[str, Device] = {
    "pcm": devices.PCM_NANDAKUMAR_2019,
    "pcm-hermes": devices.PCM_HERMES,
    "pcm-hermes-pair": devices.PCM_HERMES_PAIR,
    "rram-cmo": dataclasses.replace(devices.RRAM_FALCONE_2025, extrapolate=True),
    "rram-neurram": devices.RRAM_WAN_2022,
    "flash-sonos": devices.SONOS_AGRAWAL_2022,
}
CELLS: Mapping[str, Device] = {"ideal": Ideal(), "rram-milo": devices.RRAM_MILO_2021, **AGEING}


def cell(name: str) -> Device:
    """Return a cell by its name here, or the one that was fitted to a file, PATH#DIGEST as a Factor keeps it."""
    return CELLS[name] if name in CELLS else _fitted(name)


@functools.lru_cache(maxsize=8)
def _fitted(name: str) -> Device:
    return fit(name.rpartition("#")[0]).device


def programmed(name: str) -> None:
    """Refuse a cell that is moved by pulses, which a study that programmes its cells says nothing about."""
    if cell(name).pulses:
        raise ParameterError(
            f"{name} answers to pulses: learn with a writer of pulses, as `help(chipsim.writers)` shows, or take the "
            "studies ltl-on-real-silicon and data-needed-to-recover"
        )


def check_age(name: str, age: float) -> None:
    """Refuse a cell without drift, and an age [s] that its drift was not measured for nor extrapolates to."""
    if not cell(name).ages:
        raise ParameterError(f"{name} does not drift: measure its cells at several times, or take another one")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        cell(name).check_age(age)
