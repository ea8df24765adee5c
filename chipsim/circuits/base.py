"""What every neuron and read-out circuit declares; the engines run its text and know nothing else of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chipsim.errors import ParameterError
from chipsim.quantity import INF, Parameters, quantity


@dataclass(frozen=True, kw_only=True)
class Circuit(Parameters, ABC):
    """A neuron or read-out circuit: parameters plus Brian2 equation text.

    The text may use any name in `per_neuron` (a fabricated value for each neuron), the state variables that it
    defines, and in `charge` two inputs in volts: `q`, the charge that the array delivered in this step divided by the
    membrane capacitance, and `noise`, what noise effects add in this step.

    `per_neuron`: fields that differ from neuron to neuron. `roles`: which field each kind of mismatch acts on
    (threshold, time_constant, reset, gain). `initial`: value of each state variable at the start of a window, as the
    name of a field. `method`: Brian2's integrator.
    """

    per_neuron: ClassVar[tuple[str, ...]]
    roles: ClassVar[Mapping[str, str]]
    initial: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    method: ClassVar[str] = "exact"

    v_unit: float = quantity(1.0, "V", (1e-6, 1e3))
    """Membrane step for an input of 1 through a weight of 1, at a gain of 1 [V]."""
    capacitance: float = quantity(1e-12, "F", (1e-18, 1e-3))
    v_rest: float = quantity(0.0, "V", (-10.0, 10.0))
    gain: float = quantity(1.0, "1", (1e-6, 1e6))
    """Gain of the input branch; the mapping divides weights by the nominal one."""
    v_floor: float = quantity(-INF, "V")
    """Lower rail of the membrane; minus infinity for none."""
    v_ceiling: float = quantity(INF, "V")
    """Upper rail of the membrane; infinity for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.v_floor <= self.v_rest <= self.v_ceiling:
            raise ParameterError(
                f"{type(self).__name__} rails {self.v_floor:g} V to {self.v_ceiling:g} V "
                f"must enclose rest, {self.v_rest:g} V"
            )

    @property
    @abstractmethod
    def equations(self) -> str:
        """Brian2 model text: differential equations, or a plain state variable where nothing happens between inputs."""

    @property
    def charge(self) -> str:
        """Brian2 statement that moves the membrane by the charge of a step, within the rails."""
        if math.isinf(self.v_floor) and math.isinf(self.v_ceiling):
            return "v += gain * q + noise"
        return "v = clip(v + gain * q + noise, v_floor, v_ceiling)"

    @property
    def threshold(self) -> str | None:
        """Brian2 condition for a spike; None for a circuit that does not spike."""
        return None

    @property
    def reset(self) -> str | None:
        """Brian2 statement run after a spike."""
        return None

    @property
    def swing(self) -> float:
        """Span from rest to threshold [V]: the drive that just makes one spike. `v_unit` where nothing spikes."""
        return self.v_unit

    def leak(self, step: float) -> float:
        """Nominal fraction of the membrane that is left after `step` seconds."""
        return 1.0

    def nominal(self) -> dict[str, float]:
        """Return the nominal value of every per-neuron field."""
        return {name: getattr(self, name) for name in self.per_neuron}
