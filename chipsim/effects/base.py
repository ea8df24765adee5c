"""What every non-ideality may do: draw what is frozen at fabrication, and act on parameters, cells and membranes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.quantity import Parameters

Array = NDArray[np.float64]
Frozen = Mapping[str, Array]
Draw = Callable[[str], np.random.Generator]
"""A named stream of the neuron bank or tile that is being fabricated."""


@dataclass(frozen=True, kw_only=True)
class Effect(Parameters, ABC):
    """A non-ideality. All hooks are optional and pure: they edit no argument, and do nothing unless overridden.

    fabricate_neurons, fabricate_cells  draw what stays frozen; called by `fabricate` only
    neurons    parameters of a bank of neurons as this effect leaves them
    programme  conductances [2, rows, columns] after a write; applied to written and unwritten cells: idempotent
    read       conductances [2, rows, columns] as a read sees them
    step       voltage added to each membrane per step, from standard normals of the same shape
    measure    how large the effect turned out on what a deployment uses; shown in the effect report
    """

    name: ClassVar[str]
    by_rate: ClassVar[bool] = False
    """Whether the effect is a count of rare events, of which a small chip may have none."""

    @property
    @abstractmethod
    def strength(self) -> float:
        """Size of the effect; 0 means off."""

    def check(self, circuit: Circuit, device: Device) -> None:
        """Raise ParameterError where the effect cannot act on this design."""

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        """Draw the frozen arrays, each [count], of a bank of `count` neurons."""
        return {}

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        """Draw the frozen arrays, each [2, rows, columns] (plus and minus cell), of one tile."""
        return {}

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        """Return the per-neuron parameters `values` as the frozen variation leaves them."""
        return values

    def programme(self, g: Array, frozen: Frozen) -> Array:
        """Return the conductances that really stand after a write that left `g`."""
        return g

    def read(self, g: Array, frozen: Frozen) -> Array:
        """Return the conductances that a read of cells at `g` sees."""
        return g

    @property
    def noisy(self) -> bool:
        """Whether the effect adds noise to membranes: whether it overrides `step`."""
        return type(self).step is not Effect.step

    def step(self, circuit: Circuit, normals: Array, seconds: float) -> Array:
        """Return the voltage [V] added to each membrane in a step of `seconds`, from standard normals of that shape."""
        return np.zeros_like(normals)

    @abstractmethod
    def measure(self, neurons: Sequence[Frozen], cells: Sequence[Frozen], noise: Array) -> dict[str, float]:
        """Return the measured size of each part of the effect, given the frozen arrays that a deployment uses.

        neurons, cells: of each layer, the read-out last. noise: sum of squares of the voltage that `step` added, and
        number of values; both 0 before the first sample. Nothing is returned where the effect finds nothing to act on.
        """
