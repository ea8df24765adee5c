"""Neurons that never fire."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.effects.places import FaultyThresholds
from chipsim.quantity import INF


@final
@dataclass(frozen=True, kw_only=True)
class DeadNeurons(FaultyThresholds):
    """Each spiking neuron is dead with probability `rate`, for good: its membrane moves, its threshold is never met.

    places: neurons of the die, by number, that are dead beside those.

    >>> DeadNeurons(rate=0.05).by_rate
    True
    """

    name: ClassVar[str] = "dead_neurons"
    fault: ClassVar[str] = "dead"

    @property
    def threshold(self) -> float:
        return INF
