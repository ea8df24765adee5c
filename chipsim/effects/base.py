"""What every non-ideality may do: draw what is frozen at fabrication, and act on parameters, cells and membranes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.devices.base import Frozen as Frozen
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters
from chipsim.streams import Draw as Draw

Array = NDArray[np.float64]

DRAWN = ("membrane", "driver", "loss")
"""Kinds of what effects draw anew in a step, each a hook."""


class Grid(NamedTuple):
    """A converter: values are clipped to +-limit and rounded to multiples of step."""

    step: float
    limit: float


class Errors(NamedTuple):
    """What is wrong with the converters behind columns: what a value, in steps, is multiplied with and shifted by, and
    the weights of the bits, in steps, the highest first. A code is what is found bit by bit with these weights.
    """

    gain: AnyArray
    offset: AnyArray
    bits: tuple[AnyArray, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a deployment uses of one effect, for measuring it.

    neurons, cells: frozen arrays of each layer, the read-out last. noise: of a sample of what it drew anew, the sum of
    squares (of noise on membranes and drivers; 1 for an event that loses a spike) and the number of values; both 0
    before the first sample of the data. coded: whether inputs reach the first array as analog codes. conductances:
    [2, rows, columns] of each layer as read now; alone: what they would be without the resistance of wires.
    """

    neurons: Sequence[Frozen]
    cells: Sequence[Frozen]
    noise: Array
    conductances: Sequence[Array]
    g_max: float
    alone: Sequence[Array] = ()
    coded: bool = True


@dataclass(frozen=True, kw_only=True)
class Effect(Parameters, ABC):
    """A non-ideality. All hooks are optional and pure: they edit no argument, and do nothing unless overridden. Hooks
    on cells get arrays of the engine's kind, numpy's or PyTorch's: operators, and functions of `namespace(g)`.

    fabricate_neurons, fabricate_cells  draw what stays frozen; called by `fabricate` only
    neurons    parameters of a bank of neurons as this effect leaves them
    programme  conductances [2, rows, columns] after a write; applied to written and unwritten cells: idempotent
    settled    what is frozen of a tile's cells, with what follows from it
    read       conductances [2, rows, columns] as a read sees them
    variance   of the noise that every access to a cell meets anew, [2, rows, columns]
    column_gain   what a column's current is multiplied with behind its wires
    column_offset, column_variance   what columns give beside their cells' currents, and its noise
    membrane   standard deviation of the white noise that it adds to each membrane in a step
    driver     relative standard deviation of what drives a row in a step
    loss       probability that a spike is lost
    rows, columns   grids of the converters in front of the rows and behind the columns
    column_errors   what is wrong with those behind the columns
    measure    how large the effect turned out on what a deployment uses; shown in the effect report
    stated     how large it should turn out; its strength unless overridden
    """

    name: ClassVar[str]
    by_rate: ClassVar[bool] = False
    """Whether the effect is a count of rare events, of which a small chip may have none."""
    cuts: ClassVar[bool] = False
    """Whether `read` takes cells away, so that their noise does not arrive either."""
    moments: ClassVar[tuple[str, ...]] = ()
    """Kinds of uniform numbers of each cell that `read` gets beside what is frozen, drawn anew when time is waited."""

    @property
    @abstractmethod
    def strength(self) -> float:
        """Size of the effect; 0 means off."""

    @property
    def designed(self) -> frozenset[str]:
        """Names of the frozen arrays that the design itself places, so that they are the same on every die."""
        return frozenset()

    def check(self, circuit: Circuit, device: Device) -> None:
        """Raise ParameterError where the effect cannot act on this design."""

    def _must_spike(self, circuit: Circuit) -> None:
        if "threshold" not in circuit.roles:
            raise ParameterError(f"{type(circuit).__name__} does not spike, so {type(self).__name__} cannot act on it")

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        """Draw the frozen arrays, each [count], of a bank of `count` neurons."""
        return {}

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        """Draw the frozen arrays, each [2, rows, columns] (plus and minus cell), of one tile."""
        return {}

    def settled(self, frozen: Frozen) -> Frozen:
        """Return the frozen arrays of a tile, measured ones in place of drawn ones, with what follows from them."""
        return frozen

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        """Return the per-neuron parameters `values` as the frozen variation leaves them."""
        return values

    def programme(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        """Return the conductances that really stand after a write that left `g`."""
        return g

    @property
    def programmes(self) -> bool:
        """Whether a write meets it: whether it has a `programme`."""
        return type(self).programme is not Effect.programme

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        """Return the conductances that a read of cells at `g` sees."""
        return g

    @property
    def noisy(self) -> bool:
        """Whether the effect draws anew in every step: whether it overrides `membrane`, `driver` or `loss`."""
        return any(getattr(type(self), hook) is not getattr(Effect, hook) for hook in DRAWN)

    @property
    def reads_noisily(self) -> bool:
        """Whether every access meets noise anew: whether the effect overrides `variance`."""
        return type(self).variance is not Effect.variance

    def variance(self, g: AnyArray, g_max: float) -> AnyArray:
        """Return the variance [S^2] of each access to cells at `g` [S], independent from access to access: of the shape
        of `g`, or with one row and one column where it is the same for all cells.
        """
        return g[..., :1, :1] * 0.0

    def column_gain(self, frozen: Mapping[str, AnyArray]) -> AnyArray | None:
        """Return the factor [rows, columns] on what comes of each cell, noise included, behind the wires; None for 1.
        It is the same down a column of a tile.
        """
        return None

    def column_offset(self, frozen: Mapping[str, AnyArray]) -> AnyArray | None:
        """Return what the columns give in every step beside their cells' currents, [columns], in currents of one driven
        cell pair at w_max; None for nothing.
        """
        return None

    def column_variance(self, frozen: Mapping[str, AnyArray]) -> AnyArray | None:
        """Return the variance of what the columns give, fresh in every step, [columns], in squares of that current."""
        return None

    def membrane(self, circuit: Circuit, seconds: float) -> float:
        """Return the standard deviation of the Gaussian added to each membrane in a step, in the membrane's unit."""
        return 0.0

    def driver(self) -> float:
        """Return the standard deviation of the factor on what drives each row, independent from step to step."""
        return 0.0

    def loss(self) -> float:
        """Return the probability that a neuron whose threshold is met does not fire in this step, and is not reset."""
        return 0.0

    def drawn(self, kind: str, circuit: Circuit, seconds: float) -> float:
        """Return the size of what the effect draws anew in a step, by kind, of DRAWN."""
        return {"membrane": self.membrane(circuit, seconds), "driver": self.driver(), "loss": self.loss()}[kind]

    def rows(self) -> Grid | None:
        """Return the grid of the converters that drive rows with analog inputs; None for none."""
        return None

    def columns(self) -> Grid | None:
        """Return the grid of the converters that read the columns, in currents of a cell at full scale."""
        return None

    def column_errors(self, frozen: Mapping[str, AnyArray]) -> Errors | None:
        """Return what is wrong with these converters, for what is frozen of the columns' circuits; None for nothing."""
        return None

    @abstractmethod
    def measure(self, seen: Seen) -> dict[str, float]:
        """Return the measured size of each part of the effect on what a deployment uses.

        Nothing is returned where the effect finds nothing to act on.
        """

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        """Return what `measure` of a part comes to on average, for neurons of this circuit and cells at g_max; NaN
        where that cannot be said beforehand.
        """
        return self.strength
