"""LocalSignals: everything that the learning circuit of one array can see, and nothing else; and LearningCircuits, how
well a chip's circuits make and carry these signals.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from chipsim.arrays import AnyArray, namespace
from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity

SIGNED = ("value", "error")
BITS = ("counter", "target", "row", *SIGNED)


@final
@dataclass(frozen=True, kw_only=True)
class LearningCircuits(Parameters):
    """Limits of the circuits that make and carry the signals of learning; 0 is without limit everywhere. Every scale is
    a constant: nothing is normalised by what a batch happens to hold.

    counter_bits   a neuron's spike counter stops at 2^bits - 1
    target_bits    targets have 2^bits levels from 0 to 1
    value_bits     a read-out column's mean value is converted to 2^bits - 1 levels within +-value_range (in weights)
    error_bits     an error of a column has 2^bits - 1 levels within -1..1, beyond which it stops
    error_offset   standard deviation over columns, in errors of 1, of an offset before that conversion; frozen
    error_noise    the same of what is drawn anew whenever an error is made
    gate_offset    standard deviation over neurons, in the circuit's scale as the rule's gate, of where the comparator's
                   window stands; frozen
    gate_noise     the same of what is drawn anew in every step
    row_bits       what an input carries for learning has 2^bits levels from 0 to its largest, in front of any pooling
    trace_spread   coefficient of variation over rows of the time constant of their traces; log-normal, frozen

    Host methods use none of them. Source of the list: what Yang et al. 2022 leave out; sizes are a design's choice.
    """

    counter_bits: int = 0
    target_bits: int = 0
    value_bits: int = 0
    value_range: float = quantity(16.0, "1", (1e-6, 1e6), "design choice")
    error_bits: int = 0
    error_offset: float = quantity(0.0, "1", (0.0, 1.0))
    error_noise: float = quantity(0.0, "1", (0.0, 1.0))
    gate_offset: float = quantity(0.0, "1", (0.0, 10.0))
    gate_noise: float = quantity(0.0, "1", (0.0, 10.0))
    row_bits: int = 0
    trace_spread: float = quantity(0.0, "1", (0.0, 2.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in BITS:
            bits, least = getattr(self, f"{name}_bits"), 1 + (name in SIGNED)
            if not (bits == 0 or least <= bits <= 24):
                raise ParameterError(
                    f"LearningCircuits.{name}_bits must be 0 (without limit) or {least} to 24, not {bits!r}"
                )

    @property
    def largest_count(self) -> float:
        """What a spike counter holds at most."""
        return float(self.levels("counter")) if self.counter_bits else math.inf

    def levels(self, name: str) -> int:
        """Return how many levels above 0 the bits of `name` give, and below it to a value with a sign."""
        bits = int(getattr(self, f"{name}_bits"))
        return 2 ** (bits - (name in SIGNED)) - 1 if bits else 0

    @property
    def shapes_errors(self) -> bool:
        """Whether an error is not sent as it is."""
        return bool(self.error_bits or self.error_offset or self.error_noise)

    def unused(self, reads: frozenset[str], traced: bool, sends: bool) -> list[str]:
        """Return the limits that have nothing to limit for a rule that reads these signals."""
        needs = {
            "counter_bits": "spikes" in reads,
            "target_bits": "target" in reads,
            "value_bits": "value" in reads,
            "gate_offset": "gate" in reads,
            "gate_noise": "gate" in reads,
            "trace_spread": traced,
            "error_bits": sends,
            "error_offset": sends,
            "error_noise": sends,
        }
        return [name for name, met in needs.items() if getattr(self, name) and not met]


def on_levels(values: AnyArray, levels: int, largest: float = 1.0) -> AnyArray:
    """Return values rounded to `levels` levels above 0 and as many below, of which the last is `largest`; themselves
    where levels is 0.

    >>> import numpy as np
    >>> on_levels(np.array([-2.0, 0.2, 0.7]), 3)
    array([-1.        ,  0.33333333,  0.66666667])
    """
    if not levels:
        return values
    xp, per_level = namespace(values), largest / levels
    return xp.clip(xp.round(values * (1 / per_level)) * per_level, -largest, largest)


def unchanged(error: AnyArray) -> AnyArray:
    """Send an error as it is."""
    return error


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSignals:
    """One step of one array, for a batch of samples presented side by side. A rule gets the fields that it declares
    in `reads`; the others are None. Membranes are relative to the circuit's scale, so that they compare to weights.
    What the rows carry is not among them: it meets the rule's column signal in the cells (see `Rule`).

    spikes     [batch, neurons]  postsynaptic spikes of this step
    gate       [batch, neurons]  comparator: membrane within the window around the neuron's threshold, before reset
    membrane   [batch, neurons]  membrane before reset
    value      [batch, neurons]  accumulated value of a read-out column; None in hidden arrays
    target     [batch, neurons]  the neuron's target rate; in a read-out array, the label's or teacher's share per class
    label      [batch, classes]  1 for the sample's class, else 0: what a rule without teacher is told
    array      number of the array, counted from the input side
    step       index of the step, 0 .. window - 1
    window     steps per sample
    leak       nominal fraction of the membrane that is left after one step
    readout    whether this is a read-out array
    largest    number at which a spike counter stops
    sent       what the columns' circuits make of errors [batch, neurons], of which 1 is the largest: a rule passes each
               error through it before it scales it
    """

    step: int
    window: int
    leak: float
    readout: bool
    array: int = 0
    spikes: AnyArray | None = None
    gate: AnyArray | None = None
    membrane: AnyArray | None = None
    value: AnyArray | None = None
    target: AnyArray | None = None
    label: AnyArray | None = None
    largest: float = math.inf
    sent: Callable[[AnyArray], AnyArray] = unchanged
