"""What a writer is: it turns the change that a rule wants into writes on the cells of one array."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from chipsim.arrays import AnyArray
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.quantity import Parameters


@dataclass(frozen=True, kw_only=True)
class Writer(Parameters, ABC):
    """Turns a wanted change into writes.

    pure: whether `write` is operations on arrays alone and draws no numbers of its own, so that an engine may compile
    it together with what comes before and after.
    """

    pure: ClassVar[bool] = False

    @abstractmethod
    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams | None, time: Any) -> Cells:
        """Return the cells after writing `change` [rows, columns], in weights, at `time` [s]; nothing is edited.

        rng: None where neither the device nor the writer draws.
        """
