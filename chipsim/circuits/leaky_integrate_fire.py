"""Leaky integrate-and-fire neuron."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits.base import BOLTZMANN, Density
from chipsim.circuits.spiking import SpikingCircuit
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class LIF(SpikingCircuit):
    r"""Leaky integrate-and-fire: dv/dt = (v_rest - v) / tau, then v += gain drive once a step.

    Per step of length h this is the recursion of the LTL paper, with lam = exp(-h / tau):

        v[t] = lam v[t-1] (1 - s[t-1]) + gain drive[t],   s[t] = 1 where v[t] > v_threshold

     drive ──►──┬────┬──────┬──[ v > v_threshold ]──► spike
                ┴    ╷      │                           │
              C ┬    R      └── reset ◄─────────────────┘
                ⏚    ⏚   tau = R C

    v, drive: volts; tau: seconds. The exact solution is used, so any step is valid. Its noise is that of the resistor:
    4 k T / R [A^2/Hz] on C, of variance k T / C at rest.
    Source: Yang et al. 2022 (released code): tau = 10 steps of 1 ms, threshold 0.6, reset to zero.

    >>> round(LIF().leak(1e-3), 4)
    0.9048
    """

    per_neuron: ClassVar[tuple[str, ...]] = ("tau", "v_threshold", "v_reset", "gain", "v_rest", "v_floor", "v_ceiling")
    roles: ClassVar[Mapping[str, str]] = {
        "threshold": "v_threshold",
        "time_constant": "tau",
        "reset": "v_reset",
        "gain": "gain",
    }

    tau: float = quantity(10e-3, "s", (1e-9, 1e6), "Yang 2022, released code: 10 steps")

    @property
    def equations(self) -> str:
        return "dv/dt = (v_rest - v) / tau : volt"

    def leak(self, step: float) -> float:
        return math.exp(-step / self.tau)

    def density(self, temperature: float) -> Density | None:
        return Density(2 * BOLTZMANN * temperature / (self.capacitance * self.tau), self.tau)
