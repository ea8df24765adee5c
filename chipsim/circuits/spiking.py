"""Threshold and reset shared by circuits that integrate on a membrane and fire."""

from abc import ABC
from dataclasses import dataclass

from chipsim.circuits.membrane import Membrane
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


@dataclass(frozen=True, kw_only=True)
class SpikingCircuit(Membrane, ABC):
    """A membrane with a comparator: a spike when v > v_threshold, then v := v_reset (hard), or the membrane falls by
    v_threshold - v_reset (soft).

    Raises ParameterError when rest or reset is not below the threshold, or a rail cuts them off.
    """

    v_threshold: float = quantity(0.6, "V", (-1e3, 1e3), "Yang 2022, released code: 0.6 unit steps")
    v_reset: float = quantity(0.0, "V", (-1e3, 1e3), "Yang 2022, released code")
    soft_reset: bool = False
    """Subtract v_threshold - v_reset at a spike, instead of going to v_reset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not max(self.v_rest, self.v_reset) < self.v_threshold:
            raise ParameterError(
                f"{name}.v_threshold = {self.v_threshold:g} V must lie above v_rest = {self.v_rest:g} V "
                f"and v_reset = {self.v_reset:g} V, or the neuron fires without input"
            )
        if not self.v_floor <= min(self.v_rest, self.v_reset) or not self.v_threshold < self.v_ceiling:
            raise ParameterError(
                f"{name} rails {self.v_floor:g} V to {self.v_ceiling:g} V must enclose rest, reset and threshold"
            )

    @property
    def threshold(self) -> str | None:
        return "v > v_threshold"

    @property
    def reset(self) -> str | None:
        return "v -= v_threshold - v_reset" if self.soft_reset else "v = v_reset"

    @property
    def swing(self) -> float:
        return self.v_threshold - self.v_rest
