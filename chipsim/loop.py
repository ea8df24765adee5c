"""What every way of learning shares: the parts that a caller gives, optimisers, and the controller that writes.

An optimiser is a pure pair: `init(weights) -> state`, `step(state, gradient, progress) -> (state, change)`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar, final

import numpy as np
from array_api_compat import device

from chipsim.arrays import AnyArray, namespace
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.deployment import Deployment, Driving, driving
from chipsim.errors import ChipsimError, ParameterError
from chipsim.quantity import Parameters, quantity
from chipsim.writers import PulseWriter, Writer

Part = TypeVar("Part")


def part_of(name: str, kind: type, given: Part | None, usual: Part) -> Part:
    """Return what a caller gave of a way to learn, or the usual one; ParameterError where it is none of its kind."""
    if given is None:
        return usual
    if not isinstance(given, kind):
        raise ParameterError(f"{name} must be one, as {type(usual).__name__}() is, not {given!r}")
    return given


@dataclass(frozen=True, kw_only=True)
class Optimiser(Parameters, ABC):
    """Turns gradients into changes of weights. The rate falls linearly over the whole run, from lr at the first update
    towards `final` times lr, which an update after the last one would have.

    relative: lr counts in units of the root mean square of an array's weights at the start of the run, so that arrays
    with few and with many rows, whose weights differ in size, learn at the same pace; else it counts in weights.
    """

    words: ClassVar[int] = 0
    """Digital numbers that it keeps beside each weight."""

    lr: float = quantity(1e-3, "1", (0.0, 1e9))
    final: float = quantity(1.0, "1", (0.0, 1.0))
    relative: bool = False

    def rate(self, progress: float) -> float:
        """Learning rate at `progress`: the share of the run's samples that came before."""
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
    """Adam's state: what lr counts in, number of steps [array of no dimension, so that a compiler takes it as a number
    that changes], running first and second moments of the gradient.
    """

    unit: AnyArray
    steps: AnyArray
    first: AnyArray
    second: AnyArray


@final
@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015): change = -lr m / (sqrt(v) + eps), moments corrected for their start at 0.

    The host-side reference of the LTL paper: it needs two numbers of memory per weight.
    """

    words: ClassVar[int] = 2

    beta1: float = quantity(0.9, "1", (0.0, 0.9999999), "Kingma and Ba 2015")
    beta2: float = quantity(0.999, "1", (0.0, 0.9999999), "Kingma and Ba 2015")
    epsilon: float = quantity(1e-8, "1", (1e-30, 1.0), "Kingma and Ba 2015")

    def init(self, weights: AnyArray) -> Moments:
        xp = namespace(weights)
        steps = xp.zeros((), dtype=xp.float64, device=device(weights))
        return Moments(self.unit(weights), steps, weights * 0.0, weights * 0.0)

    def step(self, state: Moments, gradient: AnyArray, progress: float) -> tuple[Moments, AnyArray]:
        steps = state.steps + 1
        first = self.beta1 * state.first + (1 - self.beta1) * gradient
        second = self.beta2 * state.second + (1 - self.beta2) * gradient**2
        scale = -self.rate(progress) / (1 - self.beta1**steps) * state.unit
        change = scale * first / (namespace(second).sqrt(second / (1 - self.beta2**steps)) + self.epsilon)
        return Moments(state.unit, steps, first, second), change


CELL_SECONDS = 2e-8
"""What an update takes for one of the cells of an array when it is not compiled, about."""


def update(
    optimiser: Optimiser, writer: Writer, array: Crossbar, unit: Any, state: Any, gradient: AnyArray, progress: Any,
    cells: Cells, rng: Streams | None, time: Any,
) -> tuple[Any, Cells, AnyArray, AnyArray, Driving]:  # fmt: skip
    """Take a gradient to the cells of one array; return the optimiser's state, the cells, how many of them were
    written, the sum of their weights, and what the array gives its neurons from now on.
    """
    state, change = optimiser.step(state, gradient, progress)
    written = writer.write(array, cells, change, rng, time)
    moved = (written.wear - cells.wear).sum()
    return state, written, moved, written.wanted.sum(), driving(array, written, unit, time)


class Controller:
    """Takes gradients to the cells of a deployment: the optimiser's memory of every array, and the writer.

    expected: about how many updates of each array there will be, which says whether compiling them is worth it.
    arrays: those that learn, all by default; the writer leaves others as they are. writes [layers]: cell writes so far,
    those with which the writer begins included; a caller may set it to 0.
    """

    def __init__(
        self,
        deployment: Deployment,
        writer: Writer,
        optimiser: Optimiser,
        expected: int = 0,
        arrays: Collection[int] | None = None,
    ) -> None:
        self.deployment, self.writer, self.optimiser = deployment, writer, optimiser
        self.pure = writer.pure and not deployment.chip.design.device.draws
        work = CELL_SECONDS * expected * sum(math.prod(cells.g.shape) for cells in deployment.cells)
        engine = deployment.engine
        self.update = engine.fused(update, work) if self.pure else update
        self.states = [optimiser.init(cells.wanted) for cells in deployment.cells]
        self.writes = np.zeros(len(self.states))
        for index in range(len(self.states)) if arrays is None else sorted(arrays):
            array, cells = deployment.arrays[index], deployment.cells[index]
            begun = writer.begin(array, cells, deployment.write_stream, deployment.time)
            if isinstance(writer, PulseWriter):  # which edits cells: nobody else's
                begun = begun.copied()
            if begun is not cells:
                self.writes[index] += float((begun.wear - cells.wear).sum())
                deployment.write(index, begun)

    def write(self, index: int, gradient: AnyArray, progress: float) -> None:
        """Let the optimiser make a change of a gradient [rows, columns], and the writer write it."""
        deployment, scalar = self.deployment, self.deployment.engine.scalar
        if isinstance(self.writer, PulseWriter):
            self.states[index], change = self.optimiser.step(self.states[index], gradient, progress)
            self.change(index, change)
            return
        self.states[index], written, moved, total, given = self.update(
            self.optimiser, self.writer, deployment.arrays[index], scalar(deployment.unit(index)),
            self.states[index], gradient, scalar(progress), deployment.cells[index],
            None if self.pure else deployment.write_stream(), scalar(deployment.time),
        )  # fmt: skip
        self._take(index, written, moved, total, given)

    def change(self, index: int, change: AnyArray) -> None:
        """Let the writer write a change [rows, columns] of an array's weights."""
        deployment = self.deployment
        array, cells = deployment.arrays[index], deployment.cells[index]
        if isinstance(self.writer, PulseWriter):
            stream = deployment.write_stream()
            moved = self.writer.into(array, cells, change, stream, deployment.time)
            self._take(index, cells, moved, cells.wanted.sum(), None)
            return
        written = self.writer.write(array, cells, change, deployment.write_stream(), deployment.time)
        self._take(index, written, (written.wear - cells.wear).sum(), written.wanted.sum(), None)

    def snapshot(self) -> Any:
        """Return what `restore` brings back: the deployment's snapshot, the optimiser's memory and the writes."""
        return self.deployment.snapshot(), list(self.states), self.writes.copy()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        deployment, states, writes = snapshot
        self.states, self.writes = list(states), writes.copy()
        self.deployment.restore(deployment)

    def _take(self, index: int, written: Cells, moved: AnyArray, total: AnyArray, given: Driving | None) -> None:
        if not math.isfinite(float(total)):
            raise ChipsimError(f"the change of array {index} holds NaN: learning diverged; take a smaller lr")
        self.writes[index] += float(moved)
        self.deployment.write(index, written, given)
