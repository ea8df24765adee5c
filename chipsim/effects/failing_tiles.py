"""Tiles of which nothing comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Draw, Frozen, Seen
from chipsim.effects.places import Fault, indices
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class FailingTiles(Fault):
    """Each tile fails with probability `rate`, for good: its cells can be written, but all of them read 0.

    places: tiles, by number, that fail beside those.

    >>> FailingTiles(rate=0.0, places=(2,)).strength
    1.0
    """

    name: ClassVar[str] = "failing_tiles"
    cuts: ClassVar[bool] = True

    rate: float = quantity(0.1, "1", (0.0, 1.0))
    places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "places", indices("FailingTiles.places", self.places))

    @property
    def designed(self) -> frozenset[str]:
        return super().designed | {"first"}

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        everywhere, first = np.ones((2, *shape)), np.zeros((2, *shape))
        first[0, 0, 0] = 1.0  # what is used of a tile begins there, so that this counts tiles
        frozen = {"failing": everywhere * (draw("failing").random() < self.rate), "first": first}
        if self.places:
            frozen["placed"] = everywhere * (draw.place[-1] in self.places)
        return frozen

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        for kind in ("failing", "placed"):
            if kind in frozen:
                g = g * (1.0 - frozen[kind])
        return g

    def measure(self, seen: Seen) -> dict[str, float]:
        """The share of tiles in use that `rate` drew, and the count of those placed."""

        def tiles(kind: str) -> float:
            return sum(float((layer[kind] * layer["first"]).sum()) for layer in seen.cells)

        sizes = {}
        if self.rate:
            sizes["share of failing tiles"] = tiles("failing") / tiles("first")
        if self.places:
            sizes["failing tiles by place"] = tiles("placed")
        return sizes

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return float(len(self.places)) if part.endswith("by place") else self.rate
