"""Pictures of a device or of a circuit by name, for `chipsim show`."""

import dataclasses
from functools import partial
from types import ModuleType

import numpy as np
import xarray as xr

from chipsim import circuits, devices
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects import Mismatch
from chipsim.engines import Torch
from chipsim.population import bench

NEURONS, CURRENTS = 60, 25


def named(package: ModuleType, base: type) -> dict[str, object]:
    """Presets of a family, and its kinds with their defaults, by their names in small letters."""
    kinds = {kind.__name__: kind() for kind in package.ALL}
    presets = {name: part for name, part in vars(package).items() if isinstance(part, base)}
    return {name.lower(): part for name, part in {**kinds, **presets}.items()}


def all_devices() -> dict[str, Device]:
    """Every cell that can be shown."""
    return named(devices, Device)  # type: ignore[return-value]


def all_circuits() -> dict[str, Circuit]:
    """Every circuit that can be shown."""
    return named(circuits, Circuit)  # type: ignore[return-value]


def benched(name: str, circuit: Circuit, *, sigma: float, seed: int) -> xr.Dataset:
    """Return what 60 fabricated neurons do at currents up to the one that stands for a rate of 1, and the rates, or
    final membranes, of a nominal one as `nominal`.

    Circuits that gather charge are run in tenths of their step: at one spike a step, curves would be stairs.
    """
    spikes, design = circuit.threshold is not None, ChipDesign(effects=(Mismatch(sigma=sigma),))
    design = dataclasses.replace(design, circuit=circuit) if spikes else dataclasses.replace(design, readout=circuit)
    step = circuit.step / 10 if circuit.port == "charge" else circuit.step
    run = partial(
        bench,
        circuit,
        current=np.linspace(0.0, circuit.firing_drive / circuit.per_ampere(circuit.step), CURRENTS),
        duration=(5 if spikes else 1) * circuit.answers_within,
        step=step,
        engine=Torch(dtype="float64", device="cpu", compile=False),
    )
    found, alone = run(fabricate(design, seed), neurons=NEURONS), run()
    nominal = (alone["rate"] if spikes else alone["v"].isel(time=-1, drop=True)).isel(neuron=0, drop=True)
    kind = type(circuit).__name__
    words = kind if name == kind.lower() else f"{name.upper()} ({kind})"
    title = f"{words}: {NEURONS} neurons as fabricated, mismatch of {100 * sigma:g} %"
    return found.assign(nominal=nominal).assign_attrs(title=title)
