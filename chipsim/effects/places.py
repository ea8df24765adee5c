"""Faults by place: which neurons, cells and tiles of a die are named, beside those that a rate draws."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Array, Draw, Effect, Frozen, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


def indices(name: str, places: Any) -> tuple[int, ...]:
    """Return `places` as indices of neurons or tiles; raises ParameterError, by the parameter's `name`, for others."""
    if not isinstance(places, Sequence) or isinstance(places, str) or not all(map(_whole, places)):
        raise ParameterError(f"{name} must hold whole numbers of at least 0, not {places!r}")
    return tuple(dict.fromkeys(places))


def crossings(name: str, places: Any) -> tuple[tuple[int, int, int, int], ...]:
    """Return `places` as cells (tile, side, row, column), side 0 for the plus and 1 for the minus cell of a pair."""
    found = tuple(tuple(place) if isinstance(place, Sequence) else place for place in places)
    for place in found:
        good = isinstance(place, tuple) and len(place) == 4 and all(map(_whole, place)) and place[1] <= 1
        if not good:
            raise ParameterError(
                f"{name} must hold cells (tile, side, row, column) of whole numbers of at least 0, side 0 for the plus "
                f"and 1 for the minus cell of a pair, not {place!r}"
            )
    return tuple(dict.fromkeys(found))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def at_neurons(name: str, places: tuple[int, ...], count: int) -> Array:
    """Return 1 at the neurons of `places`, else 0, [count]; raises ParameterError for one that does not exist."""
    if beyond := [place for place in places if place >= count]:
        raise ParameterError(f"{name} names neuron {beyond[0]}, but this chip has neurons 0 to {count - 1}")
    marks = np.zeros(count)
    marks[list(places)] = 1.0
    return marks


def at_cells(name: str, places: tuple[tuple[int, int, int, int], ...], shape: tuple[int, int], draw: Draw) -> Array:
    """Return 1 at the cells of `places` on the tile that `draw` fabricates, else 0, [2, rows, columns]; raises
    ParameterError for one that does not exist.
    """
    marks = np.zeros((2, *shape))
    for tile, side, row, column in places:
        if row >= shape[0] or column >= shape[1]:
            raise ParameterError(
                f"{name} names the cell in row {row} and column {column}, but tiles have {shape[0]} x {shape[1]} cells"
            )
        if tile == draw.place[-1]:
            marks[side, row, column] = 1.0
    return marks


@dataclass(frozen=True, kw_only=True)
class Fault(Effect, ABC):
    """What happens with probability `rate`, and at `places` beside."""

    by_rate: ClassVar[bool] = True

    rate: float
    places: tuple[Any, ...] = ()

    @property
    def strength(self) -> float:
        return self.rate or float(len(self.places))

    @property
    def designed(self) -> frozenset[str]:
        return frozenset({"placed"})


@dataclass(frozen=True, kw_only=True)
class FaultyThresholds(Fault, ABC):
    """Each spiking neuron has with probability `rate`, for good, a threshold of no finite value.

    places: neurons of the die, by number, that have it beside those. Raises ParameterError at fabrication for a neuron
    that the chip does not have.
    """

    fault: ClassVar[str]
    """What such a neuron is called."""

    rate: float = quantity(0.05, "1", (0.0, 1.0))
    places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "places", indices(f"{type(self).__name__}.places", self.places))

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The threshold of a neuron at fault."""

    def check(self, circuit: Circuit, device: object) -> None:
        self._must_spike(circuit)

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        if "threshold" not in circuit.roles:
            return {}
        frozen = {self.fault: (draw(self.fault).random(count) < self.rate).astype(float)}
        if self.places:
            frozen["placed"] = at_neurons(f"{type(self).__name__}.places", self.places, count)
        return frozen

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        changed = dict(values)
        for marks in frozen.values():
            field = circuit.roles["threshold"]
            changed[field] = np.where(marks > 0, self.threshold, changed[field])
        return changed

    def measure(self, seen: Seen) -> dict[str, float]:
        layers = [layer for layer in seen.neurons if layer]
        sizes = {}
        if layers and self.rate:
            sizes[f"share of {self.fault} neurons"] = float(np.concatenate([x[self.fault] for x in layers]).mean())
        if layers and self.places:
            sizes[f"{self.fault} neurons by place"] = float(np.concatenate([x["placed"] for x in layers]).sum())
        return sizes

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return float(len(self.places)) if part.endswith("by place") else self.rate
