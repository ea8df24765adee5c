"""Neurons that never fire."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.circuits import Circuit
from chipsim.effects.base import Array, Draw, Effect, Frozen, Seen
from chipsim.quantity import INF, quantity


@final
@dataclass(frozen=True, kw_only=True)
class DeadNeurons(Effect):
    """Each spiking neuron is dead with probability `rate`, for good: its membrane moves, its threshold is never met.

    >>> DeadNeurons(rate=0.05).by_rate
    True
    """

    name: ClassVar[str] = "dead_neurons"
    by_rate: ClassVar[bool] = True

    rate: float = quantity(0.05, "1", (0.0, 1.0))

    @property
    def strength(self) -> float:
        return self.rate

    def check(self, circuit: Circuit, device: object) -> None:
        self._must_spike(circuit)

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        if "threshold" not in circuit.roles:
            return {}
        return {"dead": (draw("dead").random(count) < self.rate).astype(float)}

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        if "dead" not in frozen:
            return values
        threshold = circuit.roles["threshold"]
        return {**values, threshold: np.where(frozen["dead"] > 0, INF, values[threshold])}

    def measure(self, seen: Seen) -> dict[str, float]:
        dead = [layer["dead"] for layer in seen.neurons if "dead" in layer]
        return {"share of dead neurons": float(np.concatenate(dead).mean())} if dead else {}
