"""ChipDesign (what is drawn) -> fabricate(design, seed) -> Chip (one die, frozen)."""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, final

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim import circuits, devices, effects
from chipsim.circuits import LIF, Circuit, Integrator
from chipsim.devices import Device, Ideal
from chipsim.devices.curves import ALL as CURVES
from chipsim.devices.pulsed import STEPS
from chipsim.effects import Effect
from chipsim.effects.base import Draw, Frozen
from chipsim.errors import ParameterError, StoredFileError
from chipsim.files import replace_file
from chipsim.quantity import Parameters, canonical_json, declarations, from_json, quantity, whole
from chipsim.schema import VERSION
from chipsim.signals import LearningCircuits
from chipsim.streams import White, noise_key, stream

Array = NDArray[np.float64]

MODEL_VERSION = 1
"""Rises whenever the same design and seed would fabricate another die."""
TRIM = "trim/"
"""Where a file keeps the trim."""


@final
@dataclass(frozen=True, kw_only=True)
class ChipDesign(Parameters):
    """What is drawn: circuits, cells, effects and size.

    circuit: the spiking neuron; readout: the circuit of the output layer; device: the memory cell; effects: the
    non-idealities, applied in this order, each type once. tiles crossbars of rows x columns differential pairs;
    neurons and readouts: circuits of either kind on the die.
    Raises ParameterError for an effect that cannot act on this design.

    >>> ChipDesign(effects=(effects.Mismatch(sigma=0.3),)).neurons
    8192
    """

    circuit: Circuit = LIF()
    readout: Circuit = Integrator()
    device: Device = Ideal()
    effects: tuple[Effect, ...] = ()
    tiles: int = 64
    rows: int = 256
    columns: int = 256
    neurons: int = 8192
    readouts: int = 256
    v_read: float = quantity(0.2, "V", (1e-6, 10.0))
    """Voltage of a driven row [V]."""
    pair: Literal["minimum", "reference"] = "minimum"
    """How two cells hold a weight: "minimum", one of them at g_min, or "reference", one of them in the middle and left
    alone when the chip learns, as cells need that are changed by pulses in either direction.
    """
    headroom: float = quantity(1.5, "1", (1e-3, 1e6))
    """w_max over the 99.9 % quantile of a layer's weights."""
    learning: LearningCircuits = LearningCircuits()
    """Limits of the circuits of learning."""
    trace_tau: float = quantity(10e-3, "s", (1e-9, 1e6))
    """Time constant of the trace that a row circuit keeps for learning [s]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tiles", "rows", "columns", "neurons", "readouts"):
            whole(getattr(self, name), f"ChipDesign.{name}", 1)
        if self.circuit.threshold is None:
            raise ParameterError(f"ChipDesign.circuit must spike; {type(self.circuit).__name__} does not (a read-out?)")
        if self.readout.threshold is not None:
            raise ParameterError(f"ChipDesign.readout must not spike; {type(self.readout).__name__} does")
        if self.pair == "reference" and self.device.levels == 2:
            raise ParameterError(
                "a reference cell stands in the middle, which a device of 2 levels has not; give it more"
            )
        names = [effect.name for effect in self.effects]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ParameterError(f"effect {repeated.pop()} stands twice in ChipDesign.effects; give each effect once")
        for effect in self.effects:
            effect.check(self.circuit, self.device)
            if isinstance(effect, effects.SiliconMismatch) and effect.transistor_cells and effect.v_read != self.v_read:
                raise ParameterError(
                    f"SiliconMismatch.v_read = {effect.v_read:g} V is not the design's, of {self.v_read:g} V"
                )

    @property
    def acting(self) -> tuple[Effect, ...]:
        """The effects of a strength above 0."""
        return tuple(effect for effect in self.effects if effect.strength > 0)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of the design."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()


def known_types() -> dict[str, type[Parameters]]:
    """Return the classes that a stored design may name."""
    types: tuple[type[Parameters], ...] = (
        ChipDesign,
        LearningCircuits,
        *circuits.ALL,
        *devices.ALL,
        *CURVES,
        *STEPS,
        *effects.ALL,
    )
    return {kind.__name__: kind for kind in types}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """One fabricated die. Frozen arrays are drawn when first asked for, each from its own named stream, so a chip is
    the same whatever network runs on it and whatever is asked first.

    measured: arrays that stand in place of drawn ones; see `from_measurements`. trim: what each circuit's own bias does
    to what was fabricated, as `calibrate` finds it: by key, `neurons/ROLE` [neurons] or `readouts/ROLE` [readouts],
    factors above 0 on that role's parameter; of a reset, offsets in nominal spans from reset to threshold.
    Raises ParameterError for a key, a shape or a value that cannot be.
    """

    design: ChipDesign
    seed: int
    measured: Mapping[str, Array] = field(default_factory=dict)
    trim: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.design, ChipDesign):
            raise ParameterError(f"a chip is fabricated from a ChipDesign, not from {self.design!r}")
        stream(self.seed, "check")
        for key, values in self.measured.items():
            self._check_measured(key, values)
            values.flags.writeable = False
        trim = {key: np.array(values, dtype=np.float64) for key, values in self.trim.items()}
        for key, values in trim.items():
            self._check_trim(key, values)
            values.flags.writeable = False
        object.__setattr__(self, "trim", trim)
        if self.measured:
            self._check_range(self.design.circuit, self.neurons)
            self._check_range(self.design.readout, self.readouts)
        for index in sorted({int(key.split("/")[1]) for key in self.measured if key.startswith("tiles/")}):
            self._check_cells(index)

    @classmethod
    def from_measurements(cls, design: ChipDesign, measured: Mapping[str, ArrayLike], *, seed: int = 0) -> Self:
        """Return a die with the user's own frozen arrays in place of drawn ones.

        measured: by key, `neurons/EFFECT/KIND` or `readouts/EFFECT/KIND` [count], `tiles/K/EFFECT/KIND`
        [2, rows, columns], for example {"neurons/mismatch/threshold": measured_threshold / nominal_threshold}.
        What is not given is drawn from `seed`. Raises ParameterError for an unknown key or a wrong shape.
        """
        arrays = {key: np.array(values, dtype=np.float64) for key, values in measured.items()}
        return cls(design=design, seed=seed, measured=arrays)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical design JSON, the seed, the model version, any measured arrays and any trim."""
        digest = hashlib.sha256(f"{canonical_json(self.design)}|{self.seed}|{MODEL_VERSION}".encode())
        given = {**self.measured, **self._stored_trim}
        for key in sorted(given):
            digest.update(key.encode() + np.ascontiguousarray(given[key]).tobytes())
        return digest.hexdigest()

    @cached_property
    def frozen_neurons(self) -> tuple[Frozen, ...]:
        """Frozen arrays of the spiking neurons, one mapping per acting effect."""
        return self._bank("neurons", self.design.circuit, self.design.neurons)

    @cached_property
    def frozen_readouts(self) -> tuple[Frozen, ...]:
        """Frozen arrays of the read-out circuits, one mapping per acting effect."""
        return self._bank("readouts", self.design.readout, self.design.readouts)

    @cached_property
    def neurons(self) -> Mapping[str, Array]:
        """Parameters of every spiking neuron as fabricated and trimmed, each [neurons], SI units."""
        return self._parameters("neurons", self.design.circuit, self.design.neurons, self.frozen_neurons)

    @cached_property
    def readouts(self) -> Mapping[str, Array]:
        """Parameters of every read-out circuit as fabricated and trimmed, each [readouts], SI units."""
        return self._parameters("readouts", self.design.readout, self.design.readouts, self.frozen_readouts)

    def tile(self, index: int) -> tuple[Frozen, ...]:
        """Frozen arrays [2, rows, columns] of the cells of one tile, one mapping per acting effect."""
        pairs = zip(self.design.acting, self._drawn_tile(index), strict=True)
        return tuple(effect.settled(frozen) for effect, frozen in pairs)

    def _drawn_tile(self, index: int) -> tuple[Frozen, ...]:
        """What is drawn, or measured, of the cells of a tile."""
        self._check_tile(index)
        device, shape = self.design.device, (self.design.rows, self.design.columns)
        return tuple(
            self._overridden(
                f"tiles/{index}/{effect.name}",
                effect.fabricate_cells(device, shape, Draw(self.seed, effect.name, ("tile", index))),
            )
            for effect in self.design.acting
        )

    def cells(self, index: int) -> Frozen:
        """Frozen arrays [2, rows, columns] of the device itself, of one tile."""
        self._check_tile(index)
        shape = (2, self.design.rows, self.design.columns)
        draw = Draw(self.seed, "device", ("tile", index))
        return self._overridden(f"tiles/{index}/device", self.design.device.fabricate(shape, draw))

    def _check_tile(self, index: int) -> None:
        if not 0 <= index < self.design.tiles:
            raise ParameterError(f"tile {index} does not exist; this chip has tiles 0 to {self.design.tiles - 1}")

    def noise(self, kind: str, circuit: Circuit, names: tuple[str | int, ...], step: float) -> dict[int, White]:
        """Return what effects draw anew of one kind, of `effects.base.DRAWN`, by the effect's place among the acting.

        names: what keys the draws, beside chip and effect. step: length of a step [s].
        """
        return {
            place: White((noise_key(self.seed, effect.name, *names),), sigma)
            for place, effect in enumerate(self.design.acting)
            if (sigma := effect.drawn(kind, circuit, step)) > 0
        }

    @property
    def provenance(self) -> dict[str, str | int]:
        """What a result says of the chip that it comes from, as attributes."""
        design = canonical_json(self.design)
        return {"schema_version": VERSION, "design": design, "chip_hash": self.hash, "chip_seed": int(self.seed)}

    def save(self, path: str | PathLike[str]) -> None:
        """Write design, seed, measured arrays and trim to an HDF5 file; drawn arrays are drawn again on loading."""
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.attrs["kind"] = "chipsim chip"
            file.attrs["model_version"] = MODEL_VERSION
            file.attrs["design"] = canonical_json(self.design)
            file.attrs["seed"], file.attrs["hash"] = self.seed, self.hash
            for key, values in {**self.measured, **self._stored_trim}.items():
                file[key] = values
        replace_file(Path(path), content.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str], *, known: Sequence[type[Parameters]] = ()) -> Self:
        """Read what `save` wrote. Raises StoredFileError for a missing, damaged or foreign file or another version.

        known: classes of the user's own that the design may name, beside chipsim's.
        """
        if not Path(path).is_file():
            raise StoredFileError(f"there is no file {path}; give one that Chip.save wrote")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("kind") != "chipsim chip":
                    raise StoredFileError(f"{path} is an HDF5 file, but not of a chip")
                if (version := int(file.attrs["model_version"])) != MODEL_VERSION:
                    raise StoredFileError(
                        f"{path} was written by model version {version}; this one is {MODEL_VERSION}, "
                        "which would fabricate another die: fabricate it again from its design and seed"
                    )
                design = from_json(
                    json.loads(file.attrs["design"]), known_types() | {kind.__name__: kind for kind in known}
                )
                measured: dict[str, Array] = {}
                file.visititems(lambda name, item: _collect(measured, name, item))
                trim = {key[len(TRIM) :]: measured.pop(key) for key in list(measured) if key.startswith(TRIM)}
                found = cls(design=design, seed=int(file.attrs["seed"]), measured=measured, trim=trim)
                if file.attrs.get("hash", found.hash) != found.hash:
                    raise StoredFileError(f"{path} cannot be read as a chip: it is damaged, and gives another die")
                return found
        except (OSError, KeyError, ValueError) as error:
            raise StoredFileError(f"{path} cannot be read as a chip: {error}") from error

    def _bank(self, bank: str, circuit: Circuit, count: int) -> tuple[Frozen, ...]:
        return tuple(
            self._overridden(
                f"{bank}/{effect.name}",
                effect.fabricate_neurons(circuit, count, Draw(self.seed, effect.name, (bank,))),
            )
            for effect in self.design.acting
        )

    def _parameters(self, bank: str, circuit: Circuit, count: int, frozen: tuple[Frozen, ...]) -> Mapping[str, Array]:
        values: Mapping[str, Array] = {name: np.full(count, value) for name, value in circuit.nominal().items()}
        for effect, arrays in zip(self.design.acting, frozen, strict=True):
            values = effect.neurons(circuit, values, arrays)
        trim = {key.rpartition("/")[2]: moved for key, moved in self.trim.items() if key.startswith(f"{bank}/")}
        values = effects.Mismatch(sigma=0.0).neurons(circuit, values, trim)  # a bias moves what mismatch moves
        for array in values.values():
            array.flags.writeable = False
        return values

    def _overridden(self, place: str, drawn: Frozen) -> Frozen:
        found = {kind: self.measured.get(f"{place}/{kind}", values) for kind, values in drawn.items()}
        for kind, values in found.items():
            if values.shape != drawn[kind].shape:
                raise ParameterError(
                    f"measured array {f'{place}/{kind}'!r} must have shape {drawn[kind].shape}, not {values.shape}"
                )
        return found

    @staticmethod
    def _check_range(circuit: Circuit, parameters: Mapping[str, Array]) -> None:
        """Raise ParameterError where measured arrays take a parameter out of its range, or a threshold below rest;
        infinite means dead.
        """
        if field := circuit.roles.get("threshold"):
            lowest = parameters[field][np.isfinite(parameters[field])].min(initial=math.inf)
            if lowest <= circuit.zero:
                raise ParameterError(
                    f"measured arrays give {field} down to {lowest:g} {circuit.membrane_unit}, not above rest, "
                    f"{circuit.zero:g} {circuit.membrane_unit}: such neurons fire without input; give factors above 0"
                )
        for name, declared in declarations(circuit).items():
            values = parameters.get(name, np.empty(0))
            values = values[np.isfinite(values)]
            low, high = declared.range
            if values.size and not (low <= values.min() and values.max() <= high):
                raise ParameterError(
                    f"measured arrays give {name} from {values.min():g} to {values.max():g} {declared.unit}, outside "
                    f"its valid range {low:g} to {high:g} {declared.unit}"
                )

    def _check_cells(self, index: int) -> None:
        """Raise ParameterError where measured arrays give cells of a tile a conductance that no cell has."""
        for level in (self.design.device.g_min, self.design.device.g_max):
            g = np.full((2, self.design.rows, self.design.columns), level)
            for hook in ("programme", "read"):
                for effect, frozen in zip(self.design.acting, self.tile(index), strict=True):
                    g = getattr(effect, hook)(g, frozen)
            if not (g.min() >= 0 and g.max() <= 1.0):
                raise ParameterError(
                    f"measured arrays give cells of tile {index} from {g.min():g} to {g.max():g} S; give conductances "
                    "in siemens, and factors of at least 0"
                )

    @property
    def _stored_trim(self) -> dict[str, Array]:
        return {f"{TRIM}{key}": values for key, values in self.trim.items()}

    def _check_trim(self, key: str, values: Array) -> None:
        bank, _, role = key.partition("/")
        circuits = {"neurons": self.design.circuit, "readouts": self.design.readout}
        known = [f"{bank}/{role}" for bank, circuit in circuits.items() for role in circuit.roles]
        if key not in known:
            raise ParameterError(f"unknown trim {key!r} of this design; known: {', '.join(known)}")
        shape = (getattr(self.design, bank),)
        if values.shape != shape:
            raise ParameterError(f"trim {key!r} must have shape {shape}, not {values.shape}")
        if not np.isfinite(values).all():
            raise ParameterError(f"trim {key!r} holds NaN or infinite values")
        if role != "reset" and not (values > 0).all():
            raise ParameterError(f"trim {key!r} must hold factors above 0, not {values.min():g}")

    def _check_measured(self, key: str, values: Array) -> None:
        bank, _, kind = key.rpartition("/")[0].rpartition("/")
        place, name = bank, f"{kind}/{key.rpartition('/')[2]}"
        of_device: Frozen = {}
        if place == "neurons":
            drawn = self.frozen_neurons
        elif place == "readouts":
            drawn = self.frozen_readouts
        elif place.startswith("tiles/") and place[6:].isdigit():
            drawn = self._drawn_tile(int(place[6:]))
            of_device = self.cells(int(place[6:]))
        else:
            drawn = ()
        known = {
            f"{effect.name}/{kind}"
            for effect, arrays in zip(self.design.acting, drawn, strict=bool(drawn))
            for kind in arrays
        } | {f"device/{kind}" for kind in of_device}
        if name not in known:
            raise ParameterError(
                f"unknown measured array {key!r}; keys: neurons/EFFECT/KIND, readouts/EFFECT/KIND, tiles/K/EFFECT/KIND "
                f"of the effects that act in this design ({', '.join(sorted(known)) or 'none there'})"
            )
        if not np.isfinite(values).all():
            raise ParameterError(f"measured array {key!r} holds NaN or infinite values")


def _collect(measured: dict[str, Array], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        measured[name] = item[()]


def fabricate(design: ChipDesign, seed: int) -> Chip:
    """Fabricate one die: the only place where frozen variation comes from.

    >>> fabricate(ChipDesign(), seed=7).hash == fabricate(ChipDesign(), seed=7).hash
    True
    """
    return Chip(design=design, seed=seed)
