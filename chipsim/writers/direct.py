"""The direct writer: a controller that remembers the weights it wants."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from chipsim.arrays import AnyArray
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.writers.base import Writer


@final
@dataclass(frozen=True, kw_only=True)
class Direct(Writer):
    """wanted += change, clipped to +-w_max; then only the cells whose target moved by at least one level are
    programmed, each with fresh programming noise around its target. A cell that is not programmed keeps its noise.

    The controller's memory of `wanted` is exact (a digital copy of every weight).
    """

    pure: ClassVar[bool] = True
    words: ClassVar[int] = 1

    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams | None, time: Any) -> Cells:
        return array.programme(cells, cells.wanted + change, rng, time)
