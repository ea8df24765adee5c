"""Random telegraph noise: single traps that switch the current of a cell between two levels."""

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
class TelegraphNoise(Effect):
    """A share of the cells has a trap; while it is occupied, the cell's conductance is g (1 - depth).

    Which cells have one, and their depth, exponential of mean `depth` and at most 1, are frozen. A trap is occupied
    with probability `occupancy`; it stands while samples are presented, and is drawn anew whenever time is waited: for
    traps that are slow against a window. All sizes are design choices.
    """

    name: ClassVar[str] = "telegraph_noise"
    by_rate: ClassVar[bool] = True
    moments: ClassVar[tuple[str, ...]] = ("occupied",)

    share: float = quantity(0.1, "1", (0.0, 1.0))
    depth: float = quantity(0.1, "1", (0.0, 1.0))
    occupancy: float = quantity(0.5, "1", (0.0, 1.0))

    @property
    def strength(self) -> float:
        return self.share if self.depth and self.occupancy else 0.0

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        trapped = draw("trap").random((2, *shape)) < self.share
        return {"depth": trapped * np.minimum(1.0, self.depth * draw("depth").standard_exponential((2, *shape)))}

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        if "occupied" not in frozen:  # a cell on average
            return g * (1.0 - self.occupancy * frozen["depth"])
        return g * namespace(g).where(frozen["occupied"] < self.occupancy, 1.0 - frozen["depth"], 1.0)

    def measure(self, seen: Seen) -> dict[str, float]:
        depth = np.concatenate([cells["depth"].ravel() for cells in seen.cells])
        return {"share of cells with a trap": float(np.mean(depth > 0))}
