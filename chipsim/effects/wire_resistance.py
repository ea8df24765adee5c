"""Resistance of the lines of an array: what a cell's current loses on its way."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Array, Effect, Seen
from chipsim.quantity import whole
from chipsim.wires import Wires, side_by_side


@final
@dataclass(frozen=True, kw_only=True)
class WireResistance(Wires, Effect):
    """Every tile is a resistive network: a word line a row, its plus and minus bit lines side by side, segment after
    segment, solved exactly (`chipsim.wires`). A tile's rows and columns that the network does not use are not selected.

    The currents are a product with an effective matrix, found anew after `refresh` writes of an array; between two,
    what cells lose on their way is taken to stay: every conductance counts with the share that reached its column then,
    and sneak currents stand. Rows that are idle are held at ground through their sources.
    """

    name: ClassVar[str] = "wires"

    refresh: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.refresh, "WireResistance.refresh", 1)

    @property
    def strength(self) -> float:
        return max(self.row, self.column, self.source, self.terminal, self.access)

    def tile(self, g: Array) -> Array:
        """Return the effective conductances [2, rows, columns] of a tile's cells `g`, plus and minus [S]."""
        effective = self.lattice(side_by_side(g)).effective().reshape(*g.shape[1:], 2)
        return np.moveaxis(effective, -1, 0)

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return math.nan

    def measure(self, seen: Seen) -> dict[str, float]:
        alone = sum(float(g.sum()) for g in seen.alone)
        return {"mean loss of current": 1.0 - sum(float(g.sum()) for g in seen.conductances) / alone if alone else 0.0}
