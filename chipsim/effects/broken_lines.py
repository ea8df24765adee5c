"""Word and bit lines that are open somewhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Draw, Effect, Frozen, Seen
from chipsim.effects.places import at_cells, crossings
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class BrokenLines(Effect):
    """Each segment of a tile's word and bit lines is open with probability `rate`, for good.

    A word line is driven from the side of column 0, a bit line is read behind the last row. A cell whose way to either
    is open reads 0: with a word line open in front of column c, the cells of that row in columns c and up; with a bit
    line open behind row r, those of that column in rows up to r. A line of n segments is broken somewhere with
    probability 1 - (1 - rate)^n. Plus and minus cells stand on lines of their own.

    word_places, bit_places: cells (tile, side, row, column), side 0 for the plus and 1 for the minus cell of a pair, in
    front of which a word line, or behind which a bit line, is open beside those. It is the limit of wires without
    resistance, exact but for the currents where cut-off parts of a word and a bit line cross. Raises ParameterError at
    fabrication for a row or column that tiles do not have.

    >>> BrokenLines(rate=1e-4).strength
    0.0001
    """

    name: ClassVar[str] = "broken_lines"
    by_rate: ClassVar[bool] = True
    cuts: ClassVar[bool] = True

    rate: float = quantity(1e-3, "1", (0.0, 1.0))
    word_places: tuple[tuple[int, int, int, int], ...] = ()
    bit_places: tuple[tuple[int, int, int, int], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("word_places", "bit_places"):
            object.__setattr__(self, name, crossings(f"BrokenLines.{name}", getattr(self, name)))

    @property
    def strength(self) -> float:
        return self.rate or float(len(self.word_places) + len(self.bit_places))

    @property
    def designed(self) -> frozenset[str]:
        placed = frozenset({"placed_words", "placed_bits"})
        return placed if self.rate else placed | {"cut"}

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        words, bits = ((draw(line).random((2, *shape)) < self.rate).astype(float) for line in ("word", "bit"))
        frozen = {"open_words": words, "open_bits": bits}
        for line, places in (("words", self.word_places), ("bits", self.bit_places)):
            if places:
                frozen[f"placed_{line}"] = at_cells(f"BrokenLines.{line[:-1]}_places", places, shape, draw)
        return frozen

    def settled(self, frozen: Frozen) -> Frozen:
        words = frozen["open_words"] + frozen.get("placed_words", 0.0)
        bits = frozen["open_bits"] + frozen.get("placed_bits", 0.0)
        cut = np.cumsum(words, axis=2) + np.cumsum(bits[:, ::-1], axis=1)[:, ::-1]
        return {**frozen, "cut": (cut > 0).astype(float)}

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return g * (1.0 - frozen["cut"])

    def measure(self, seen: Seen) -> dict[str, float]:
        """The share of segments that `rate` opened, and the count of those placed, on the cells in use; and the share
        of these cells that do not reach their columns, or rows, by any open segment of their tiles.
        """
        sizes = {"share of cells cut off": float(np.concatenate([layer["cut"].ravel() for layer in seen.cells]).mean())}
        if self.rate:
            kinds = ("open_words", "open_bits")
            found = np.concatenate([layer[kind].ravel() for layer in seen.cells for kind in kinds])
            sizes["share of open segments"] = float(found.mean())
        for line, places in (("words", self.word_places), ("bits", self.bit_places)):
            if places:
                sizes[f"open {line[:-1]} lines by place"] = sum(
                    float(layer[f"placed_{line}"].sum()) for layer in seen.cells
                )
        return sizes

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        counts = {
            "open word lines by place": float(len(self.word_places)),
            "open bit lines by place": float(len(self.bit_places)),
            "share of cells cut off": math.nan,
        }
        return counts.get(part, self.rate)
