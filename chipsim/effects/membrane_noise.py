"""Noise on the membranes."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Effect, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class MembraneNoise(Effect):
    """White noise on each spiking membrane: a Gaussian voltage once a step of length h, of standard deviation

        sigma (v_threshold - v_rest) sqrt(h / reference)

    with nominal values; fresh for every sample, step and neuron. sigma is thus what gathers in the reference time of
    1 ms without leak, whatever the step.

    >>> MembraneNoise(sigma=0.05).noisy
    True
    """

    name: ClassVar[str] = "membrane_noise"

    sigma: float = quantity(0.05, "1", (0.0, 10.0))
    reference: float = quantity(1e-3, "s", (1e-12, 1e3))

    @property
    def strength(self) -> float:
        return self.sigma

    def check(self, circuit: Circuit, device: object) -> None:
        self._must_spike(circuit)

    def membrane(self, circuit: Circuit, seconds: float) -> float:
        return self.sigma * circuit.swing * math.sqrt(seconds / self.reference)

    def measure(self, seen: Seen) -> dict[str, float]:
        squares, count = seen.noise
        return {"rms per step, in the membrane's unit": math.sqrt(squares / count)} if count else {}

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return self.membrane(circuit, circuit.step)
