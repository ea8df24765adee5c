"""Memory cells that no longer move."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.devices import Device
from chipsim.effects.base import Draw, Effect, Frozen, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class StuckCells(Effect):
    """Each cell is stuck with probability `rate`, at g_max with probability `at_max`, else at g_min; writes do nothing.

    >>> StuckCells(rate=0.01).strength
    0.01
    """

    name: ClassVar[str] = "stuck_cells"
    by_rate: ClassVar[bool] = True

    rate: float = quantity(0.01, "1", (0.0, 1.0))
    at_max: float = quantity(0.5, "1", (0.0, 1.0))

    @property
    def strength(self) -> float:
        return self.rate

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        stuck = draw("stuck").random((2, *shape)) < self.rate
        at_max = draw("level").random((2, *shape)) < self.at_max
        return {"stuck": stuck.astype(float), "level": np.where(at_max, device.g_max, device.g_min)}

    def programme(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return namespace(g).where(frozen["stuck"] > 0, frozen["level"], g)

    def measure(self, seen: Seen) -> dict[str, float]:
        stuck = sum(float(layer["stuck"].sum()) for layer in seen.cells)
        return {"share of stuck cells": stuck / sum(layer["stuck"].size for layer in seen.cells)}
