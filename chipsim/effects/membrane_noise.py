"""Noise on the membranes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.effects.base import Array, Effect, Frozen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class MembraneNoise(Effect):
    """Gaussian voltage added to each spiking membrane once a step, of standard deviation sigma (v_threshold - v_rest),
    nominal values; fresh for every sample, step and neuron.

    >>> MembraneNoise(sigma=0.05).noisy
    True
    """

    name: ClassVar[str] = "membrane_noise"
    noisy: ClassVar[bool] = True

    sigma: float = quantity(0.05, "1", (0.0, 10.0))

    @property
    def strength(self) -> float:
        return self.sigma

    def check(self, circuit: Circuit, device: object) -> None:
        if "threshold" not in circuit.roles:
            raise ParameterError(f"{type(circuit).__name__} does not spike, so MembraneNoise cannot act on it")

    def step(self, circuit: Circuit, normals: Array) -> Array:
        return self.sigma * circuit.swing * normals

    def measure(self, neurons: Frozen, cells: Sequence[Frozen], noise: Array) -> dict[str, float]:
        squares, count = noise
        return {"rms per step [V]": math.sqrt(squares / count)} if count else {}
