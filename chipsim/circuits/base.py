"""What every neuron and read-out circuit declares; the engines run its text and know nothing else of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity

BOLTZMANN = 1.380649e-23
"""k [J/K]."""
CHARGE = 1.602176634e-19
"""q, of an electron [C]."""


class Density(NamedTuple):
    """White noise of a membrane: the variance that gathers in a second without leak, in the square of the membrane's
    unit, and the time constant of the leak [s].
    """

    per_second: float
    tau: float


@dataclass(frozen=True, kw_only=True)
class Circuit(Parameters, ABC):
    """A neuron or read-out circuit: parameters plus Brian2 equation text.

    The text may use any name in `per_neuron` (a fabricated value for each neuron), the state variables that it
    defines, and two inputs that hold for a step: `drive`, what the array delivered, and `noise`, what noise effects add
    to the membrane. The `port` says what a drive is. "charge": volts, the charge of the step divided by the membrane
    capacitance, which `inject` adds at once. "current": amperes, which the equations integrate through the step.

    `membrane`: the state variable that meets the threshold, in `membrane_unit`. `per_neuron`: fields that differ from
    neuron to neuron. `roles`: which field each kind of mismatch acts on (threshold, time_constant, reset, gain).
    `initial`: value of each state variable at the start of a window, as the name of a field; 0 where nothing is said.
    `method`: Brian2's integrator. `refractory`: the field that holds the time after a spike in which no other can be.
    """

    per_neuron: ClassVar[tuple[str, ...]]
    roles: ClassVar[Mapping[str, str]]
    initial: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    method: ClassVar[str] = "exact"
    port: ClassVar[Literal["charge", "current"]] = "charge"
    membrane: ClassVar[str] = "v"
    membrane_unit: ClassVar[str] = "V"
    refractory: ClassVar[str | None] = None

    gain: float = quantity(1.0, "1", (1e-6, 1e6))
    """Gain of the input branch; the mapping divides weights by the nominal one."""

    @property
    @abstractmethod
    def equations(self) -> str:
        """Brian2 model text: differential equations, or a plain state variable where nothing happens between inputs."""

    @property
    @abstractmethod
    def inject(self) -> str:
        """Brian2 statement, run once a step after the equations, that moves the membrane by charge and noise."""

    @property
    def threshold(self) -> str | None:
        """Brian2 condition for a spike; None for a circuit that does not spike."""
        return None

    @property
    def reset(self) -> str | None:
        """Brian2 statements run after a spike."""
        return None

    @property
    def step(self) -> float:
        """A step that suits the equations [s]."""
        return 1e-3

    @property
    def answers_within(self) -> float:
        """Time in which a firing drive makes spikes [s]."""
        return 20e-3

    @property
    @abstractmethod
    def unit_drive(self) -> float:
        """What an input of 1 through a weight of 1 delivers, in units of the port (V or A)."""

    @property
    @abstractmethod
    def firing_drive(self) -> float:
        """Nominal drive that stands for a rate of 1, in units of the port: one spike in every step where the circuit
        can fire that fast; `unit_drive` where nothing spikes.
        """

    @property
    @abstractmethod
    def rest(self) -> float:
        """Nominal membrane towards which it leaks without input, in `membrane_unit`."""

    @property
    @abstractmethod
    def swing(self) -> float:
        """Nominal span from rest to threshold, in `membrane_unit`; that of an input of 1 where nothing spikes."""

    @property
    def zero(self) -> float:
        """Where a threshold would be at rest, in its unit; mismatch counts from there."""
        return float(getattr(self, self.roles["threshold"])) - self.swing

    @property
    @abstractmethod
    def scale(self) -> float:
        """What counts as a membrane of 1 when signals of a circuit are compared to weights, in `membrane_unit`."""

    def leak(self, step: float) -> float:
        """Nominal fraction of a small deflection of the membrane that is left after `step` seconds."""
        return 1.0

    def per_ampere(self, step: float) -> float:
        """What a constant current of 1 A delivers in a step of `step` seconds, in units of the port."""
        return 1.0

    def density(self, temperature: float) -> Density | None:
        """Nominal white noise of the membrane at `temperature` [K], of the circuit's own elements; None where it states
        none.
        """
        return None

    @property
    def longest(self) -> float:
        """Longest step for the equations [s]: five that suit them, unless a method of exponentials solves them."""
        return math.inf if self.method in ("exact", "exponential_euler") else 5 * self.step

    def check_step(self, step: float) -> None:
        """Raise ParameterError where steps of `step` seconds are too long for the equations."""
        if step > self.longest:
            raise ParameterError(
                f"a step of {step:g} s is too long for this {type(self).__name__} circuit, whose equations need steps "
                f"of at most {self.longest:.3g} s; give step={self.step:.3g} and a window of as many more steps"
            )

    def nominal(self) -> dict[str, float]:
        """Return the nominal value of every per-neuron field."""
        return {name: getattr(self, name) for name in self.per_neuron}
