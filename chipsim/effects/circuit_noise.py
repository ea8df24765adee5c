"""Noise of the neuron circuits' own elements: thermal, shot and flicker noise."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Effect, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class CircuitNoise(Effect):
    """Noise of each spiking circuit's own elements: a Gaussian on the membrane once a step of length h, of variance

        excess (1 + flicker) density h        flicker = 4 tau integral of corner / f / (1 + (2 pi f tau)^2) df

    density: the variance that the circuit states for a second (`Circuit.density`), of the thermal noise of its leak or
    the shot noise of its bias currents; excess: by how much real transistors are noisier than that, in power.
    Flicker noise has the white noise's density at `corner` and falls with the frequency f as 1/f. What of it, from
    1 / window to the corner, passes the membrane's low-pass of time constant tau raises the white noise, of which
    1 / (4 tau) passes, to the same power.

    Approximations: steps are short against tau. Flicker noise is as white as the rest, though its samples really hang
    together; slower than a window it is mismatch, and above the corner it is left out. Values are nominal; of
    subthreshold circuits, whose noise grows with the membrane, that at the threshold. Synapses and adaptation add none.
    Raises ParameterError for a circuit that states no density.

    >>> CircuitNoise(corner=1e3, window=0.1).flicker(10e-3) > CircuitNoise(corner=100.0, window=0.1).flicker(10e-3) > 0
    True
    """

    name: ClassVar[str] = "circuit_noise"

    excess: float = quantity(1.0, "1", (0.0, 1e6))
    """Power over that of the ideal elements; 0 switches the noise off."""
    temperature: float = quantity(300.0, "K", (200.0, 430.0))
    """Of the resistive leaks; subthreshold circuits have their own."""
    corner: float = quantity(0.0, "Hz", (0.0, 1e9))
    """Frequency at which flicker and white noise are equal; 0 for no flicker noise."""
    window: float = quantity(16e-3, "s", (1e-9, 1e6))
    """Time of a presentation, the inverse of which is the lowest frequency of the flicker noise."""

    @property
    def strength(self) -> float:
        return self.excess

    def check(self, circuit: Circuit, device: object) -> None:
        self._must_spike(circuit)
        if circuit.density(self.temperature) is None:
            raise ParameterError(
                f"{type(circuit).__name__} states no density of noise for CircuitNoise; take MembraneNoise, whose size "
                "you state, or a circuit with a leak"
            )

    def flicker(self, tau: float) -> float:
        """Return the power of flicker noise over that of white noise, behind a low-pass of time constant `tau` [s]."""
        lowest = 1 / self.window
        if self.corner <= lowest:
            return 0.0

        def passed(frequency: float) -> float:
            return math.log(frequency) - math.log1p((2 * math.pi * frequency * tau) ** 2) / 2

        return 4 * tau * self.corner * (passed(self.corner) - passed(lowest))

    def membrane(self, circuit: Circuit, seconds: float) -> float:
        density = circuit.density(self.temperature)
        if density is None:
            return 0.0
        return math.sqrt(self.excess * (1 + self.flicker(density.tau)) * density.per_second * seconds)

    def measure(self, seen: Seen) -> dict[str, float]:
        squares, count = seen.noise
        return {"rms per step, in the membrane's unit": math.sqrt(squares / count)} if count else {}

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return self.membrane(circuit, circuit.step)
