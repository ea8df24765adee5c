"""What an engine is given and what it must do: run stages of circuits, window after window, in one go."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipsim.circuits import Circuit

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One layer for an engine: a bank of circuits behind an array.

    parameters: per-neuron values [neurons] in SI, as fabricated. weights: gives the array as it is now
    [rows, neurons], in volts of membrane per unit of input. bias_rows: last rows, driven by 1 in every step.
    """

    circuit: Circuit
    parameters: Mapping[str, Array]
    weights: Callable[[], Array]
    bias_rows: int = 0

    @property
    def neurons(self) -> int:
        return len(next(iter(self.parameters.values())))


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One batch of samples for one window: inputs [batch, rows without bias rows], held for the whole window.

    noise: for each stage None, or the voltage [steps, batch, neurons] added to the membranes step by step.
    """

    inputs: Array
    noise: tuple[Array | None, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class StageState:
    """One stage in one step, sampled after the threshold and before the reset; arrays are the caller's to keep.

    pre [batch, rows]: what drove the rows, bias rows included. spikes [batch, neurons]: 0 or 1.
    v [batch, neurons]: membrane [V].
    """

    pre: Array
    spikes: Array
    v: Array


OnStep = Callable[[int, Sequence[StageState]], bool]
"""Called after each step with its index and the states of all stages; returns whether it changed any weights."""
OnWindow = Callable[[Array], None]
"""Called after each window with the last stage's membrane [batch, neurons] in volts, before it is cleared."""


class Engine(ABC):
    """Runs circuits' equation text.

    Within a step, stage after stage: advance the circuit's equations by the step, add the charge of the array (driven
    by the spikes of the stage before in this same step, or by the inputs), test the threshold, sample, reset. Every
    window starts from the circuit's initial state.
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
        on_step: OnStep | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        """Run `count` windows of `steps` steps of `step` seconds; every window holds `batch` samples."""
