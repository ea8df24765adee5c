"""Integrate-and-fire neuron without leak."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits.spiking import SpikingCircuit


@final
@dataclass(frozen=True, kw_only=True)
class IF(SpikingCircuit):
    r"""Integrate-and-fire: v[t] = v[t-1] + gain drive[t]; a spike when v > v_threshold, then the reset.

     drive ──►──┬───────┬──[ v > v_threshold ]──► spike
                ┴       │                           │
                ┬ C     └── reset ◄─────────────────┘
                ⏚

    v, drive: volts. Source: Wu et al. 2021 (tandem learning), with its soft reset as `soft_reset=True`.

    >>> IF(soft_reset=True).reset
    'v -= v_threshold - v_reset'
    """

    per_neuron: ClassVar[tuple[str, ...]] = ("v_threshold", "v_reset", "gain", "v_rest", "v_floor", "v_ceiling")
    roles: ClassVar[Mapping[str, str]] = {"threshold": "v_threshold", "reset": "v_reset", "gain": "gain"}

    @property
    def equations(self) -> str:
        return "v : volt"
