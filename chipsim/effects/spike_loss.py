"""Spikes that do not happen."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.effects.base import Effect, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class SpikeLoss(Effect):
    """A neuron whose threshold is met does not fire with probability `rate`, fresh for every step, sample and neuron;
    it keeps its charge, so that it may fire in the next step. It is how Yang et al. 2022 (released code) model silenced
    neurons; neurons that are dead for good are DeadNeurons.

    >>> SpikeLoss(rate=0.1).loss()
    0.1
    """

    name: ClassVar[str] = "spike_loss"
    by_rate: ClassVar[bool] = True

    rate: float = quantity(0.05, "1", (0.0, 1.0))

    @property
    def strength(self) -> float:
        return self.rate

    def check(self, circuit: Circuit, device: object) -> None:
        self._must_spike(circuit)

    def loss(self) -> float:
        return self.rate

    def measure(self, seen: Seen) -> dict[str, float]:
        lost, count = seen.noise
        return {"share of steps that would lose a spike": lost / count} if count else {}
