"""What an engine is given and what it must do: run stages of circuits, window after window, in one go."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, namespace
from chipsim.circuits import Circuit
from chipsim.effects import Errors, Grid
from chipsim.streams import White
from chipsim.wiring import Wiring

Array = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])


def codes(values: AnyArray, errors: Errors | None) -> AnyArray:
    """Return the codes of values in steps: the nearest, or where there are errors what successive approximation finds,
    which takes each bit, from the highest on, that still fits in with the weights of those taken before.
    """
    xp = namespace(values)
    if errors is None:
        return xp.round(values)
    middle = 2.0 ** (len(errors.bits) - 1)
    left = values * errors.gain + (errors.offset + middle + 0.5)
    code = xp.zeros_like(left)
    for weight in errors.bits:
        taken = left >= weight
        left = xp.where(taken, left - weight, left)
        code = 2.0 * code + xp.astype(taken, left.dtype)
    return code - middle


def gridded(values: AnyArray, grid: Grid | None, errors: Errors | None = None) -> AnyArray:
    """Return what a converter makes of values."""
    if grid is None:
        return values
    return namespace(values).clip(codes(values / grid.step, errors) * grid.step, min=-grid.limit, max=grid.limit)


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Residual addition: spikes of an earlier stage that reach this one's neurons past the array.

    source: index of that stage. inputs, outputs: shapes of its neurons and of this stage's. drive: what one of its
    spikes delivers, in units of the circuit's port. Images are subsampled; missing channels get nothing.
    """

    source: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    drive: float

    def __call__(self, spikes: AnyArray) -> AnyArray:
        """Return spikes [..., neurons of the source] at the places that they reach, [..., channels, *size]."""
        image = spikes.reshape(*spikes.shape[:-1], *self.inputs)
        if len(self.inputs) == 3:
            stride = self.inputs[1] // self.outputs[1]
            image = image[..., ::stride, ::stride]
        return image


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One layer for an engine: a bank of circuits behind an array.

    parameters: per-neuron values [neurons] in SI, as fabricated. weights: gives the array as it is now, an array of the
    engine's kind [rows + bias rows, columns], in units of the circuit's port per unit of input. wiring: how inputs
    reach its rows; a plain dense array by default. bias_rows: last rows, driven by 1 in every step. variance: gives
    the variance of an access to the array, or None; with one row and one column where all weights have the same.
    grid_in, grid_out: converters before the rows (of analog inputs) and behind the columns (in units of the port).
    errors_out: of the latter, each array [neurons]. lossy: whether spikes may be lost. Of several chips side by side,
    parameters and errors are [chips, neurons] and weights and variance [chips, rows + bias rows, columns]; samples then
    come chip after chip, [chips x batch].
    """

    circuit: Circuit
    parameters: Mapping[str, Array]
    weights: Callable[[], AnyArray]
    wiring: Wiring | None = None
    bias_rows: int = 0
    variance: Callable[[], AnyArray | None] = lambda: None
    shortcut: Shortcut | None = None
    grid_in: Grid | None = None
    grid_out: Grid | None = None
    errors_out: Errors | None = None
    lossy: bool = False

    @property
    def neurons(self) -> int:
        return int(next(iter(self.parameters.values())).shape[-1])

    def size(self, kind: str) -> int:
        """How many numbers a kind of noise draws in a step: one for each input of the array, or for each neuron."""
        return self.geometry.size if kind == "driver" else self.neurons

    @property
    def geometry(self) -> Wiring:
        """The wiring, by default that of a dense array."""
        if self.wiring is not None:
            return self.wiring
        return Wiring(inputs=(self.weights().shape[-2] - self.bias_rows,), columns=self.neurons)

    @property
    def chips(self) -> int:
        """Number of chips that are simulated side by side."""
        values = next(iter(self.parameters.values()))
        return len(values) if values.ndim > 1 else 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One batch of samples for one window: inputs [batch, size of a sample], held for the whole window, or [steps,
    batch, size of a sample].

    numbers: of the samples [batch], which key their noise. noise: for each stage None, the values [steps, batch,
    neurons] that are added to the membranes step by step, or white noise. reads: for each stage None, or the keys (one
    for each chip) of the noise of reading its array. drives: for each stage None, or white noise of the factors on what
    drives its rows, bias rows apart. losses: for each stage None, or the events that lose a spike; of lossy stages
    only. All chips see the same samples.
    """

    inputs: Array
    numbers: Sequence[int] = ()
    noise: tuple[Array | tuple[White, ...] | None, ...] = ()
    reads: tuple[tuple[int, ...] | None, ...] = ()
    drives: tuple[tuple[White, ...] | None, ...] = ()
    losses: tuple[tuple[White, ...] | None, ...] = ()

    def drive(self, index: int) -> tuple[White, ...]:
        """The noise of what drives the rows of a stage."""
        return (self.drives[index] if index < len(self.drives) else None) or ()

    def loss(self, index: int) -> tuple[White, ...]:
        """The events that lose spikes of a stage."""
        return (self.losses[index] if index < len(self.losses) else None) or ()


@dataclass(frozen=True, kw_only=True, eq=False)
class StageState:
    """One stage in consecutive steps, sampled after the threshold and before the reset; arrays of the engine's kind,
    the caller's to keep.

    inputs [steps, batch, size]: what drove the rows, bias rows apart. held: whether it is the same in every step.
    spikes [steps, batch, neurons]: 0 or 1. v, gate [steps, batch, neurons]: membrane, and whether it was within the
    gate around the neuron's threshold; None where nobody asked for them.
    """

    inputs: AnyArray
    held: bool
    spikes: AnyArray
    v: AnyArray | None = None
    gate: AnyArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """What a run hands out while it goes on.

    see: called with the index of a stage, the first of the steps, and its state in them; stage after stage, then on to
    the next steps. It returns whether it changed any weights. every_step: whether it may do so after any step, so that
    no step may run ahead. v, gate: for each stage, whether its membrane is handed out, and the half-width of the gate
    [in the membrane's unit] or None; before step `gate_from` it is not looked at and stands closed.
    """

    see: Callable[[int, int, StageState], bool]
    every_step: bool = False
    v: Sequence[bool] = ()
    gate: Sequence[float | None] = ()
    gate_from: int = 0


OnWindow = Callable[[AnyArray], None]
"""Called after each window with the last stage's membrane [batch, neurons], before it is cleared."""


class Engine(ABC):
    """Runs circuits' equation text.

    Within a step, stage after stage: drive the array by the spikes of the stage before in this same step, or by the
    inputs; advance the circuit's equations by the step; inject charge and noise, test the threshold, sample, reset.
    Every window starts from the circuit's initial state.
    """

    @abstractmethod
    def array(self, values: NDArray[np.floating]) -> AnyArray:
        """Return values as an array of the kind that this engine computes with."""

    def scalar(self, value: float) -> Any:
        """Return a number as this engine computes with it."""
        return value

    def fused(self, function: F, seconds: float) -> F:
        """Return a function of arrays, of about `seconds` of work in all, as this engine runs it best: as it is, or
        compiled; it is given numbers that change as `scalar` gives them.
        """
        return function

    @abstractmethod
    def outer(self, stage: Stage, inputs: AnyArray, bias: Sequence[float], delta: AnyArray, *, held: bool) -> AnyArray:
        """Return the sum over steps, samples and positions of row drive times column signal, [rows, columns].

        inputs [steps, batch, size]; bias: drive of the bias rows [steps]; delta [steps, batch, neurons]; held: whether
        the inputs are the same in every step.
        """

    @abstractmethod
    def run(
        self,
        stages: Sequence[Stage],
        windows: Iterable[Window],
        *,
        count: int,
        batch: int,
        steps: int,
        step: float,
        watch: Watch | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        """Run `count` windows of `steps` steps of `step` seconds; every window holds `batch` samples."""
