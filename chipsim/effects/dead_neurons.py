"""Neurons that never fire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.circuits import Circuit
from chipsim.effects.base import Array, Draw, Effect, Frozen
from chipsim.errors import ParameterError
from chipsim.quantity import INF, quantity


@final
@dataclass(frozen=True, kw_only=True)
class DeadNeurons(Effect):
    """Each spiking neuron is dead with probability `rate`, for good: no input reaches it and it never fires.

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
        if "threshold" not in circuit.roles:
            raise ParameterError(f"{type(circuit).__name__} does not spike, so DeadNeurons cannot act on it")

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        if "threshold" not in circuit.roles:
            return {}
        return {"dead": (draw("dead").random(count) < self.rate).astype(float)}

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        if "dead" not in frozen:
            return values
        dead = frozen["dead"] > 0
        threshold, gain = circuit.roles["threshold"], circuit.roles["gain"]
        return {
            **values,
            threshold: np.where(dead, INF, values[threshold]),
            gain: np.where(dead, 0.0, values[gain]),
        }

    def measure(self, neurons: Frozen, cells: Sequence[Frozen], noise: Array) -> dict[str, float]:
        dead = neurons["dead"]
        return {"share of dead neurons": float(dead.mean())} if dead.size else {}
