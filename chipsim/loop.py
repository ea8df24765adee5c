"""What every way of learning shares: optimisers, the controller that writes, and the progress bar over batches.

An optimiser is a pure pair: `init(weights) -> state`, `step(state, gradient, progress) -> (state, change)`.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.deployment import Deployment
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity
from chipsim.writers import Writer

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Optimiser(Parameters, ABC):
    """Turns gradients into changes of weights. lr falls linearly to `final` times its value over the whole run.

    relative: lr counts in units of the root mean square of an array's weights at the start of the run, so that arrays
    with few and with many rows, whose weights differ in size, learn at the same pace; else it counts in weights.
    """

    lr: float = quantity(1e-3, "1", (0.0, 1e9))
    final: float = quantity(1.0, "1", (0.0, 1.0))
    relative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.relative, bool):
            raise ParameterError(f"{type(self).__name__}.relative must be True or False, not {self.relative!r}")

    def rate(self, progress: float) -> float:
        """Learning rate at `progress`, 0 at the start of the run and 1 at its end."""
        return self.lr * (1 + (self.final - 1) * progress)

    def unit(self, weights: AnyArray) -> AnyArray:
        """Return what lr counts in for an array of weights [rows, columns], or [chips, rows, columns]."""
        if not self.relative:
            return 1.0
        xp = namespace(weights)
        unit = xp.sqrt(xp.mean(weights * weights, axis=(-2, -1), keepdims=True))
        if not bool(xp.all(unit > 0)):
            raise ParameterError(
                f"{type(self).__name__}.relative = True needs weights that are not all 0; take relative=False"
            )
        return unit

    @abstractmethod
    def init(self, weights: AnyArray) -> Any:
        """Return the state for one array of weights."""

    @abstractmethod
    def step(self, state: Any, gradient: AnyArray, progress: float) -> tuple[Any, AnyArray]:
        """Return the new state and the change of the weights; nothing is edited."""


@final
@dataclass(frozen=True, kw_only=True)
class SGD(Optimiser):
    """Plain gradient descent: change = -lr gradient. What a chip can do without memory beside its cells.

    >>> SGD(lr=0.5).step(1.0, 1.0, progress=0.0)[1]
    -0.5
    """

    def init(self, weights: AnyArray) -> AnyArray:
        return self.unit(weights)

    def step(self, state: AnyArray, gradient: AnyArray, progress: float) -> tuple[AnyArray, AnyArray]:
        return state, -self.rate(progress) * state * gradient


class Moments(NamedTuple):
    """Adam's state: what lr counts in, number of steps, running first and second moments of the gradient."""

    unit: AnyArray
    steps: int
    first: AnyArray
    second: AnyArray


@final
@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015): change = -lr m / (sqrt(v) + eps), moments corrected for their start at 0.

    The host-side reference of the LTL paper: it needs two numbers of memory per weight.
    """

    beta1: float = quantity(0.9, "1", (0.0, 0.9999999), "Kingma and Ba 2015")
    beta2: float = quantity(0.999, "1", (0.0, 0.9999999), "Kingma and Ba 2015")
    epsilon: float = quantity(1e-8, "1", (1e-30, 1.0), "Kingma and Ba 2015")

    def init(self, weights: AnyArray) -> Moments:
        return Moments(self.unit(weights), 0, weights * 0.0, weights * 0.0)

    def step(self, state: Moments, gradient: AnyArray, progress: float) -> tuple[Moments, AnyArray]:
        steps = state.steps + 1
        first = self.beta1 * state.first + (1 - self.beta1) * gradient
        second = self.beta2 * state.second + (1 - self.beta2) * gradient**2
        scale = -self.rate(progress) / (1 - self.beta1**steps) * state.unit
        change = scale * first / (namespace(second).sqrt(second / (1 - self.beta2**steps)) + self.epsilon)
        return Moments(state.unit, steps, first, second), change


class Controller:
    """Takes gradients to the cells of a deployment: the optimiser's memory of every array, and the writer.

    writes [layers]: cell writes so far; a caller may set it to 0.
    """

    def __init__(self, deployment: Deployment, writer: Writer, optimiser: Optimiser) -> None:
        self.deployment, self.writer, self.optimiser = deployment, writer, optimiser
        self.states = [optimiser.init(cells.wanted) for cells in deployment.cells]
        self.writes = np.zeros(len(self.states))

    def write(self, index: int, gradient: AnyArray, progress: float) -> None:
        """Let the optimiser make a change of a gradient [rows, columns], and the writer write it."""
        self.states[index], change = self.optimiser.step(self.states[index], gradient, progress)
        self.change(index, change)

    def change(self, index: int, change: AnyArray) -> None:
        """Let the writer write a change [rows, columns] of an array's weights."""
        deployment = self.deployment
        array, cells = deployment.arrays[index], deployment.cells[index]
        written = self.writer.write(array, cells, change, deployment.write_stream(), deployment.time)
        self.writes[index] += float((written.target != cells.target).sum())
        deployment.write(index, written)


def with_progress(batches: Iterable[T], total: int, title: str, shown: bool) -> Iterator[T]:
    """Yield the batches behind a progress bar on the terminal, if `shown` and there is one."""
    if not (shown and sys.stderr.isatty()):
        yield from batches
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(batches, title, total=total, console=Console(stderr=True), transient=True)
