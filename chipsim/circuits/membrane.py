"""Circuits that gather charge on a membrane capacitance, between rails."""

import math
from abc import ABC
from dataclasses import dataclass

from chipsim.circuits.base import Circuit
from chipsim.errors import ParameterError
from chipsim.quantity import INF, quantity


@dataclass(frozen=True, kw_only=True)
class Membrane(Circuit, ABC):
    """A membrane v [V] with a charge port: v += gain drive + noise once a step, within its rails.

    Raises ParameterError when the rails do not enclose rest.
    """

    v_unit: float = quantity(1.0, "V", (1e-6, 1e3))
    """Membrane step for an input of 1 through a weight of 1, at a gain of 1 [V]."""
    capacitance: float = quantity(1e-12, "F", (1e-18, 1e-3))
    v_rest: float = quantity(0.0, "V", (-10.0, 10.0))
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
    def inject(self) -> str:
        if math.isinf(self.v_floor) and math.isinf(self.v_ceiling):
            return "v += gain * drive + noise"
        return "v = clip(v + gain * drive + noise, v_floor, v_ceiling)"

    @property
    def unit_drive(self) -> float:
        return self.v_unit

    def per_ampere(self, step: float) -> float:
        return step / self.capacitance

    @property
    def firing_drive(self) -> float:
        return self.swing

    @property
    def rest(self) -> float:
        return self.v_rest

    @property
    def swing(self) -> float:
        return self.v_unit

    @property
    def scale(self) -> float:
        return self.v_unit
