"""Memory cells that no longer move."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Draw, Frozen, Seen
from chipsim.effects.places import Fault, at_cells, crossings
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class StuckCells(Fault):
    """Each cell is stuck with probability `rate`, at g_max with probability `at_max`, else at g_min; writes do nothing.

    places: cells (tile, side, row, column) that are stuck beside those; side 0 is the plus cell of a pair, 1 the minus
    cell. Raises ParameterError at fabrication for a row or column that tiles do not have.

    >>> StuckCells(rate=0.01).strength
    0.01
    """

    name: ClassVar[str] = "stuck_cells"

    rate: float = quantity(0.01, "1", (0.0, 1.0))
    at_max: float = quantity(0.5, "1", (0.0, 1.0))
    places: tuple[tuple[int, int, int, int], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "places", crossings("StuckCells.places", self.places))

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        stuck = draw("stuck").random((2, *shape)) < self.rate
        at_max = draw("level").random((2, *shape)) < self.at_max
        frozen = {"stuck": stuck.astype(float), "level": np.where(at_max, device.g_max, device.g_min)}
        if self.places:
            frozen["placed"] = at_cells("StuckCells.places", self.places, shape, draw)
        return frozen

    def programme(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        stuck = frozen["stuck"] + frozen["placed"] if "placed" in frozen else frozen["stuck"]
        return namespace(g).where(stuck > 0, frozen["level"], g)

    def measure(self, seen: Seen) -> dict[str, float]:
        sizes = {}
        if self.rate:
            stuck = sum(float(layer["stuck"].sum()) for layer in seen.cells)
            sizes["share of stuck cells"] = stuck / sum(layer["stuck"].size for layer in seen.cells)
        if self.places:
            sizes["stuck cells by place"] = sum(float(layer["placed"].sum()) for layer in seen.cells)
        return sizes

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return float(len(self.places)) if part.endswith("by place") else self.rate
