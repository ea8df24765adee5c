"""What a learning rule is: a pure pair of init and update on the signals of one array."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chipsim.arrays import AnyArray, namespace
from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity
from chipsim.signals import LocalSignals


@dataclass(frozen=True, kw_only=True)
class Rule(Parameters, ABC):
    """A local learning rule. Each array of the chip runs it alone, from its own `LocalSignals`.

    The rule makes a column signal d_i; the cell where row j crosses column i multiplies it with what the row carries,

        dL/dW_ij = sum over steps, samples and positions of row_j d_i

    reads: the signals it uses in hidden and in read-out arrays; all others arrive as None. looks_back: whether the
    column signal comes for earlier steps too, so that rows have to remember what they carried. hidden: whether hidden
    arrays learn. by_column: whether a hidden column learns from its own signals alone, and not from those of the other
    columns of its array. gate: half-width of the comparator window around the threshold, relative to the circuit's
    scale.
    """

    reads: ClassVar[frozenset[str]]
    looks_back: ClassVar[bool] = False
    hidden: ClassVar[bool] = True
    by_column: ClassVar[bool] = True
    gate: float = quantity(0.2, "1", (0.0, 1e3), "Yang 2022, released code")

    def silent(self, window: int) -> int:
        """Return how many steps of a window pass before the rule looks at the gate."""
        return 0

    def errors(self, window: int) -> int:
        """Return how many errors a column makes in a window: one at its end for a rule that looks back, else one in
        each step that is not silent.
        """
        return 1 if self.looks_back else window - self.silent(window)

    def rows(self, readout: bool) -> Literal["pre", "trace"]:
        """Return what the rows carry for learning: "pre", their spikes or input codes of the step, or "trace", the
        leaky sum of these that a row circuit keeps, with the design's `trace_tau`.
        """
        return "pre"

    def check(self, circuit: Circuit) -> None:
        """Raise ParameterError where the rule is wrong for this neuron circuit."""

    def _check_window(self, warm_up: int, signals: LocalSignals) -> None:
        if warm_up >= signals.window:
            raise ParameterError(
                f"{type(self).__name__}.warm_up = {warm_up} leaves no step to teach in a window of {signals.window}"
            )

    @abstractmethod
    def init(self) -> Any:
        """Return the state at the start of a window."""

    @abstractmethod
    def update(self, state: Any, signals: LocalSignals) -> tuple[Any, AnyArray | None]:
        """Take one step's signals; return the new state, and the column signal [steps, batch, neurons] of the last
        steps up to this one, of a local loss averaged over the batch; None where this step teaches nothing. Arrays are
        of the engine's kind: operators, and functions of `namespace`. Neither argument is edited.
        """


def seen(signal: AnyArray | None) -> AnyArray:
    """Return a signal that a rule declares and its array has; ParameterError for another."""
    if signal is None:
        raise ParameterError(
            "a rule read a signal that it does not declare in `reads`, or that this array does not have: a value is of "
            "read-outs, spikes, gate and membrane are of hidden arrays (see `signals.readout`)"
        )
    return signal


def softmax(values: AnyArray) -> AnyArray:
    """Softmax over the columns."""
    xp = namespace(values)
    powers = xp.exp(values - xp.max(values, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def counted(counter: AnyArray | None, signals: LocalSignals) -> AnyArray:
    """Return the spike counter of a hidden array after this step; None in a read-out array."""
    if signals.readout:
        return None
    return stopped(seen(signals.spikes) if counter is None else counter + seen(signals.spikes), signals)


def stopped(count: AnyArray, signals: LocalSignals) -> AnyArray:
    """Return a number of spikes as the counter holds it."""
    return count if signals.largest == math.inf else namespace(count).clip(count, max=signals.largest)


def gated(signals: LocalSignals, values: AnyArray) -> AnyArray:
    """Return values [batch, neurons] where the comparator is open, else 0."""
    return namespace(values).where(seen(signals.gate), values, 0.0)


def readout_error(signals: LocalSignals, target: AnyArray) -> AnyArray:
    """Return the column signal of the cross-entropy of a read-out's running value against a target distribution."""
    elapsed = signals.step + 1
    return signals.sent(softmax(seen(signals.value) / elapsed) - target) * (1 / (len(target) * elapsed))
