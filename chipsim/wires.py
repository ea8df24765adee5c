r"""Wires: the exact currents of a crossbar whose lines have resistance.

Word line i is driven with v_i through its source, bit line j ends at a virtual ground; the cell where they cross has
conductance g_ij. With segments of conductance, every crossing is two nodes, w_ij on the word line and b_ij on the bit
line, and Kirchhoff's current law at all of them reads

    T_i w_i = G_i b_i + s_i v_i                               T_i tridiagonal: the segments of word line i and its cells
    M_i b_i = C_i b_i-1 + C_i+1 b_i+1 + G_i T_i^-1 s_i v_i    M_i = G_i + C_i + C_i+1 - G_i T_i^-1 G_i

G_i, C_i diagonal: the cells of row i, and the bit lines' segments above it. The first line eliminates the word lines,
the second is block tridiagonal and symmetric, and is eliminated from the top: S_i = M_i - C_i S_i-1^-1 C_i. So the
array costs about 2 rows columns^3 operations once, and its currents are then a product with one matrix:

    i_j = sum_i v_i effective_ij

It holds for ohmic cells, and for idle rows that are driven to ground through their sources.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.errors import ParameterError
from chipsim.quantity import Parameters, quantity

Array = NDArray[np.float64]
Ends = Literal["near", "far", "both"]
LEAK = 1e-15
"""Conductance to ground, relative to a segment's, that the nodes of an array with broken lines have, so that those that
are cut off have a voltage.
"""
SHORTEST = 1e-9
"""What a resistance of 0 counts, relative to that of the array's most conductive cell."""


@dataclass(frozen=True, kw_only=True)
class Wires(Parameters):
    """Resistance of the lines of an array.

    row, column: of a segment between two cells of a word or bit line. source, terminal: between a source and the first
    cell of its word line, and between the last cell of a bit line and its virtual ground. access: in series with every
    cell (its transistor). drive, sense: whether word lines are driven, and bit lines read, at the end of the first
    column or last row ("near" is the side of column 0 for word lines and of the last row for bit lines), at the other
    one, or at both.
    """

    row: float = quantity(1.0, "ohm", (0.0, 1e9))
    column: float = quantity(1.0, "ohm", (0.0, 1e9))
    source: float = quantity(0.0, "ohm", (0.0, 1e9))
    terminal: float = quantity(0.0, "ohm", (0.0, 1e9))
    access: float = quantity(0.0, "ohm", (0.0, 1e12))
    drive: Ends = "near"
    sense: Ends = "near"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("drive", "sense"):
            if getattr(self, name) not in ("near", "far", "both"):
                raise ParameterError(f"Wires.{name} must be near, far or both, not {getattr(self, name)!r}")

    def lattice(self, cells: ArrayLike, broken: "Broken | None" = None) -> "Lattice":
        """Return an array of cells [rows, columns], in siemens, with these wires.

        Raises ParameterError for conductances that are negative, NaN or infinite.
        """
        g = np.array(cells, dtype=np.float64)
        if g.ndim != 2 or 0 in g.shape:
            raise ParameterError(f"cells must be conductances [rows, columns], not of shape {g.shape}")
        if not (np.isfinite(g).all() and (g >= 0).all()):
            raise ParameterError("cells hold conductances that are negative, NaN or infinite")
        if self.access:
            g = g / (1 + g * self.access)
        least = SHORTEST / (float(g.max()) or 1.0)
        rows = self._segments(g.shape, self.row, self.source, self.drive, least)
        columns = self._segments(g.T.shape, self.column, self.terminal, self.sense, least)[:, ::-1].T
        lattice = Lattice(cells=g, rows=rows, columns=columns)
        return lattice if broken is None else broken.cut(lattice)

    @staticmethod
    def _segments(shape: tuple[int, int], inner: float, end: float, ends: Ends, least: float) -> Array:
        """Conductances [lines, cells + 1] of lines, from the near end on; 0 where an end is open."""
        lines, cells = shape
        segments = np.full((lines, cells + 1), 1 / max(inner, least))
        for place, name in ((0, "near"), (-1, "far")):
            segments[:, place] = 1 / max(end, least) if ends in (name, "both") else 0.0
        return segments


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Broken:
    """Places (line, segment) where lines are open, counted from the near end of a word line and from the far end of a
    bit line, the segments to sources and terminals included.
    """

    rows: tuple[tuple[int, int], ...] = ()
    columns: tuple[tuple[int, int], ...] = ()

    def cut(self, lattice: "Lattice") -> "Lattice":
        """Return the lattice with these segments open."""
        rows, columns = lattice.rows.copy(), lattice.columns.copy()
        for segments, places in ((rows, self.rows), (columns.T, self.columns)):
            for line, place in places:
                if not (0 <= line < segments.shape[0] and 0 <= place < segments.shape[1]):
                    raise ParameterError(f"there is no segment {place} of line {line} to break")
                segments[line, place] = 0.0
        return Lattice(cells=lattice.cells, rows=rows, columns=columns)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Voltages of an array for one input: word, bit [rows, columns] [V], the currents of the bit lines [columns] [A],
    and the largest sum of currents at a node, relative to the largest current of a cell.
    """

    word: Array
    bit: Array
    currents: Array
    residual: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """Conductances of an array: cells [rows, columns]; rows [rows, columns + 1], segments of word lines, the first and
    last to sources; columns [rows + 1, columns], segments of bit lines, the first and last to virtual grounds; 0 for an
    open one.
    """

    cells: Array
    rows: Array
    columns: Array

    @property
    def _leak(self) -> float:
        inner = (self.rows[:, 1:-1], self.columns[1:-1])
        ends = (self.rows[:, 0] + self.rows[:, -1], self.columns[0] + self.columns[-1])
        whole = all(part.all() for part in (*inner, *ends))
        return 0.0 if whole else LEAK * max(float(part.max(initial=0.0)) for part in (self.rows, self.columns))

    @cached_property
    def _inverted(self) -> Array:
        """T_i^-1 [rows, columns, columns] of every word line."""
        rows, count = self.cells.shape
        blocks = np.zeros((rows, count, count))
        places = np.arange(count)
        blocks[:, places, places] = self.cells + self.rows[:, :-1] + self.rows[:, 1:] + self._leak
        blocks[:, places[1:], places[:-1]] = blocks[:, places[:-1], places[1:]] = -self.rows[:, 1:-1]
        inverted: Array = np.asarray(np.linalg.inv(blocks), dtype=np.float64)
        return inverted

    @cached_property
    def _sources(self) -> Array:
        """What a volt at the sources of a word line drives into its bit lines, G_i T_i^-1 s_i [rows, columns]."""
        ends = self._inverted[:, :, 0] * self.rows[:, :1] + self._inverted[:, :, -1] * self.rows[:, -1:]
        return self.cells * ends

    @cached_property
    def _eliminated(self) -> Array:
        """S_i^-1 [rows, columns, columns], each symmetric."""
        columns, found = self.columns, np.empty_like(self._inverted)
        before: Array | None = None
        for i, g in enumerate(self.cells):
            block = -g[:, None] * self._inverted[i] * g
            block.flat[:: len(g) + 1] += g + columns[i] + columns[i + 1] + self._leak
            if before is not None:
                block -= columns[i][:, None] * before * columns[i]
            before = found[i] = np.linalg.inv(block)
        return found

    def effective(self) -> Array:
        """Return the matrix [rows, columns] with currents = v @ effective, in siemens."""
        if self.cells.shape[1] > self.cells.shape[0]:  # blocks of the shorter side; the network is reciprocal
            return self._exchanged().effective().T
        # what bit lines read of a current into their nodes, from the last row up: the adjoint of elimination
        eliminated, columns = self._eliminated, self.columns
        read = np.diag(columns[-1])
        passed = [np.diag(columns[0])] if columns[0].any() else []
        for i in range(1, len(eliminated)) if passed else ():
            passed.append(columns[i][:, None] * (eliminated[i - 1] @ passed[-1]))
        found = np.empty_like(self.cells)
        for i in reversed(range(len(eliminated))):
            if i < len(eliminated) - 1:
                read = columns[i + 1][:, None] * read
            if passed:
                read = read + passed[i]
            read = eliminated[i] @ read
            found[i] = self._sources[i] @ read
        return found

    def _exchanged(self) -> "Lattice":
        """The same network with sources and terminals exchanged."""
        return Lattice(cells=self.cells.T, rows=self.columns.T, columns=self.rows.T)

    def solve(self, v: ArrayLike) -> Solution:
        """Return the voltages for the inputs v [rows]."""
        given = np.asarray(v, dtype=np.float64)
        if given.shape != self.cells.shape[:1] or not np.isfinite(given).all():
            raise ParameterError(f"inputs must be {self.cells.shape[0]} finite voltages, not of shape {given.shape}")
        columns, eliminated = self.columns, self._eliminated
        right = self._sources * given[:, None]
        for i in range(1, len(right)):
            right[i] += columns[i] * (eliminated[i - 1] @ right[i - 1])
        bit = np.empty_like(right)
        for i in reversed(range(len(right))):
            below = columns[i + 1] * bit[i + 1] if i + 1 < len(right) else 0.0
            bit[i] = eliminated[i] @ (right[i] + below)
        driven = self.cells * bit
        driven[:, 0] += self.rows[:, 0] * given
        driven[:, -1] += self.rows[:, -1] * given
        word = np.einsum("ijk,ik->ij", self._inverted, driven)
        currents = columns[-1] * bit[-1] + columns[0] * bit[0]
        return Solution(word=word, bit=bit, currents=currents, residual=self._residual(word, bit, given))

    def _residual(self, word: Array, bit: Array, v: Array) -> float:
        """Largest sum of currents at a node over the largest current of a cell."""
        ends = np.concatenate([v[:, None], word, v[:, None]], axis=1)
        ground = np.zeros((1, bit.shape[1]))
        stack = np.concatenate([ground, bit, ground])
        along, down = self.rows * np.diff(ends, axis=1), self.columns * np.diff(stack, axis=0)
        through = self.cells * (word - bit)
        sums = (
            np.diff(along, axis=1) - through - self._leak * word,
            np.diff(down, axis=0) + through - self._leak * bit,
        )
        return float(max(np.abs(part).max() for part in sums) / (np.abs(through).max() or 1.0))
