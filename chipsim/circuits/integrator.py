"""Non-spiking read-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits.membrane import Membrane


@final
@dataclass(frozen=True, kw_only=True)
class Integrator(Membrane):
    """Read-out that neither leaks nor spikes: v[t] = v[t-1] + gain drive[t]; its value is v / (v_unit window).

    v, drive: volts. Source: Yang et al. 2022 (released code), output layer.

    >>> Integrator().threshold is None
    True
    """

    per_neuron: ClassVar[tuple[str, ...]] = ("gain", "v_rest", "v_floor", "v_ceiling")
    roles: ClassVar[Mapping[str, str]] = {"gain": "gain"}

    @property
    def equations(self) -> str:
        return "v : volt"
