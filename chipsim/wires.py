r"""Wires: the exact currents of a crossbar whose lines have resistance.

Word line i is driven with v_i through its source, bit line j ends at a virtual ground; the cell where they cross has
conductance g_ij. With ohmic cells, and idle rows that are driven to ground through their sources, the array is a linear
network, and its currents are a product with one matrix, which `star_mesh` finds:

    i_j = sum_i v_i effective_ij

For all voltages, with segments of conductance, every crossing is two nodes, w_ij on the word line and b_ij on the bit
line, and Kirchhoff's current law at all of them reads

    T_i w_i = G_i b_i + s_i v_i                               T_i tridiagonal: the segments of word line i and its cells
    M_i b_i = C_i b_i-1 + C_i+1 b_i+1 + G_i T_i^-1 s_i v_i    M_i = G_i + C_i + C_i+1 - G_i T_i^-1 G_i

G_i, C_i diagonal: the cells of row i, and the bit lines' segments above it. The first line eliminates the word lines,
the second is block tridiagonal and symmetric, and is eliminated from the top: S_i = M_i - C_i S_i-1^-1 C_i.

Cells that are not ohmic are solved by Newton's method, each step of which is such an elimination: a cell at v is its
slope, G = di/dv, and a source of i(v) - G v beside it.
"""

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.errors import ChipsimError, ParameterError
from chipsim.iv import IV
from chipsim.quantity import Parameters, check_unit, quantity
from chipsim.star_mesh import transfer

Array = NDArray[np.float64]
Ends = Literal["near", "far", "both"]
Idle = Literal["grounded", "floating", "gated"]
LEAK = 1e-15
"""Conductance to ground, relative to a segment's, that the nodes of an array with broken lines have, so that those that
are cut off have a voltage.
"""
STEPS, TOLERANCE = 30, 1e-10
"""Newton's method: how many steps at most, and the residual that ends it."""
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

    def lattice(
        self,
        cells: ArrayLike,
        broken: "Broken | None" = None,
        *,
        shorts: "Shorts | None" = None,
        iv: IV | None = None,
    ) -> "Lattice":
        """Return an array of cells [rows, columns], in siemens, with these wires.

        iv: what the cells carry at higher voltages, transistors included; ohmic without it.
        Raises ParameterError for conductances that are negative, NaN or infinite, or outside of the range of `iv`.
        """
        check_unit(cells, "S", "cells")
        g = np.array(cells, dtype=np.float64)
        if g.ndim != 2 or 0 in g.shape:
            raise ParameterError(f"cells must be conductances [rows, columns], not of shape {g.shape}")
        if not (np.isfinite(g).all() and (g >= 0).all()):
            raise ParameterError("cells hold conductances that are negative, NaN or infinite")
        if iv is not None:
            iv.check_conductance(g)
            if self.access or shorts is not None:
                raise ParameterError("an I-V curve is that of a whole cell: give it no Wires.access, and no shorts")
        g = g / (1 + g * self.access)
        least = SHORTEST / (float(g.max()) or 1.0)
        rows = self._segments(g.shape, self.row, self.source, self.drive, least)
        columns = self._segments(g.T.shape, self.column, self.terminal, self.sense, least)[:, ::-1].T
        past = np.zeros_like(g) if shorts is None else shorts.conductances(g.shape, least)
        lattice = Lattice(cells=g + past, rows=rows, columns=columns, shorts=past, iv=iv)
        return lattice if broken is None else broken.cut(lattice)

    @staticmethod
    def _segments(shape: tuple[int, int], inner: float, end: float, ends: Ends, least: float) -> Array:
        """Conductances [lines, cells + 1] of lines, from the near end on; 0 where an end is open."""
        lines, cells = shape
        segments = np.full((lines, cells + 1), 1 / max(inner, least))
        for place, name in ((0, "near"), (-1, "far")):
            segments[:, place] = 1 / max(end, least) if ends in (name, "both") else 0.0
        return segments


def side_by_side(g: Array) -> Array:
    """Return cells [2, rows, columns], plus and minus, as those of the array that they stand in, [rows, 2 columns]: the
    two bit lines of a column next to each other.
    """
    return np.stack([g[0], g[1]], axis=-1).reshape(g.shape[1], -1)


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
        return replace(lattice, rows=rows, columns=columns)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Shorts(Parameters):
    """Places (row, column) where a word line touches its bit line, past the cell, with some resistance."""

    cells: tuple[tuple[int, int], ...]
    resistance: float = quantity(0.0, "ohm", (0.0, 1e9))

    def conductances(self, shape: tuple[int, ...], least: float) -> Array:
        """Return these shorts [rows, columns], in siemens; least: the resistance that one of 0 counts."""
        found = np.zeros(shape)
        for row, column in self.cells:
            if not (0 <= row < shape[0] and 0 <= column < shape[1]):
                raise ParameterError(f"there is no cell {(row, column)} to short in an array of {shape}")
            found[row, column] = 1 / max(self.resistance, least)
        return found


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
    """Conductances of an array: cells [rows, columns], shorts past them included; rows [rows, columns + 1], segments of
    word lines, the first and last to sources; columns [rows + 1, columns], segments of bit lines, the first and last to
    virtual grounds; 0 for an open one. shorts: what no transistor of a cell switches off, [rows, columns]. iv: the
    curve of cells that are not ohmic.
    """

    cells: Array
    rows: Array
    columns: Array
    shorts: Array
    iv: IV | None = None

    def idle(self, driven: ArrayLike, state: Idle = "grounded") -> "Lattice":
        """Return the array while only the rows of the mask `driven` [rows] are driven.

        state: what the others do. "grounded": their sources hold 0 V, and nothing changes. "floating": their sources
        are off. "gated": the transistors of their cells are off, as where a word line is the gates of its row; shorts
        stay.
        """
        mask = np.asarray(driven)
        if mask.dtype != bool or mask.shape != self.cells.shape[:1]:
            raise ParameterError(f"driven must be a mask of {self.cells.shape[0]} truth values, one for each row")
        if state == "floating":
            rows = self.rows.copy()
            rows[~mask, 0] = rows[~mask, -1] = 0.0
            return replace(self, rows=rows)
        if state == "gated":
            return replace(self, cells=np.where(mask[:, None], self.cells, self.shorts))
        if state != "grounded":
            raise ParameterError(f"idle rows are grounded, floating or gated, not {state!r}")
        return self

    def effective(self) -> Array:
        """Return the matrix [rows, columns] with currents = v @ effective, in siemens.

        Raises ParameterError for cells that are not ohmic, whose currents are no product.
        """
        if self.iv is not None:
            raise ParameterError("currents of cells with an I-V curve are no product with a matrix; solve each input")
        return transfer(self.cells, self.rows, self.columns)

    def solve(self, v: ArrayLike, driven: ArrayLike | None = None, idle: Idle = "floating") -> Solution:
        """Return the voltages for the inputs v [rows].

        driven: a mask [rows] of the rows that are driven, the others as `idle` says; all without it.
        Raises ParameterError for inputs that take a cell out of the voltages for which its curve is known,
        ChipsimError where Newton's method finds no solution.
        """
        check_unit(v, "V", "inputs")
        given = np.asarray(v, dtype=np.float64)
        if given.shape != self.cells.shape[:1] or not np.isfinite(given).all():
            raise ParameterError(f"inputs must be {self.cells.shape[0]} finite voltages, not of shape {given.shape}")
        if driven is not None:
            mask = np.asarray(driven)
            return self.idle(mask, idle).solve(np.where(mask, given, 0.0))
        drop, bit = Elimination(self).voltages(given, np.zeros_like(self.cells))
        if self.iv is not None:
            drop, bit = self._newton(self.iv, given, drop, bit)
            self.iv.check_voltage(given[:, None] + drop - bit)
        currents = self.columns[-1] * bit[-1] + self.columns[0] * bit[0]
        return Solution(
            word=given[:, None] + drop, bit=bit, currents=currents, residual=self._residual(drop, bit, given)
        )

    def _newton(self, iv: IV, given: Array, drop: Array, bit: Array) -> tuple[Array, Array]:
        """Voltages at which the currents of the cells are those of their curve, from those of ohmic cells."""
        low, high = min(0.0, float(given.min())), max(0.0, float(given.max()))  # no node of passive cells leaves these
        for _ in range(STEPS):
            if self._residual(drop, bit, given) < TOLERANCE:
                return drop, bit
            v = given[:, None] + drop - bit
            slope = iv.slope(self.cells, v)
            slope = np.where(slope > 0, slope, self.cells)  # a chord where a curve turns back
            tangent = Elimination(replace(self, cells=slope, iv=None))
            drop, bit = tangent.voltages(given, iv.current(self.cells, v) - slope * v)
            drop, bit = np.clip(drop, low - given[:, None], high - given[:, None]), np.clip(bit, low, high)
        raise ChipsimError(
            f"no voltages were found at which this array carries what its {type(iv).__name__} says: after {STEPS} "
            f"steps {self._residual(drop, bit, given):.2g} of a cell's current is left over; drive it with less"
        )

    def _residual(self, drop: Array, bit: Array, v: Array) -> float:
        """Largest sum of currents at a node over the largest current of a cell."""
        along = self.rows * np.diff(drop, axis=1, prepend=0.0, append=0.0)
        down = self.columns * np.diff(bit, axis=0, prepend=0.0, append=0.0)
        across = v[:, None] + drop - bit
        through = self.cells * across if self.iv is None else self.iv.current(self.cells, across)
        sums = np.diff(along, axis=1) - through, np.diff(down, axis=0) + through
        return float(max(np.abs(part).max() for part in sums) / (np.abs(through).max() or 1.0))


class Elimination:
    """A linear array in blocks of a row: T_i^-1 and S_i^-1 [rows, columns, columns], each symmetric."""

    def __init__(self, lattice: Lattice) -> None:
        cells, rows, columns = lattice.cells, lattice.rows, lattice.columns
        self.lattice = lattice
        ends = (rows[:, 0] + rows[:, -1], columns[0] + columns[-1])
        whole = all(part.all() for part in (rows[:, 1:-1], columns[1:-1], *ends))
        leak = 0.0 if whole else LEAK * max(float(part.max(initial=0.0)) for part in (rows, columns))
        places = np.arange(cells.shape[1])
        blocks = np.zeros((*cells.shape, len(places)))
        blocks[:, places, places] = cells + rows[:, :-1] + rows[:, 1:] + leak
        blocks[:, places[1:], places[:-1]] = blocks[:, places[:-1], places[1:]] = -rows[:, 1:-1]
        self.words = np.linalg.inv(blocks)
        self.bits = np.empty_like(self.words)
        for i, g in enumerate(cells):
            block = -g[:, None] * self.words[i] * g
            block[places, places] += g + columns[i] + columns[i + 1] + leak
            if i:
                block -= columns[i][:, None] * self.bits[i - 1] * columns[i]
            self.bits[i] = np.linalg.inv(block)

    def voltages(self, v: Array, sources: Array) -> tuple[Array, Array]:
        """Voltages [rows, columns] of word lines, relative to their inputs v [rows], and of bit lines. sources
        [rows, columns]: currents that flow from word to bit line beside the cells.

        Relative, since a drop along a good line is lost in the rounding of the voltage that it is taken from.
        """
        cells, columns = self.lattice.cells, self.lattice.columns
        forced = cells * v[:, None] + sources
        right = forced - cells * self._words(forced)
        for i in range(1, len(right)):
            right[i] += columns[i] * (self.bits[i - 1] @ right[i - 1])
        bit = np.empty_like(right)
        for i in reversed(range(len(right))):
            below = columns[i + 1] * bit[i + 1] if i + 1 < len(right) else 0.0
            bit[i] = self.bits[i] @ (right[i] + below)
        return self._words(cells * bit - forced), bit

    def _words(self, currents: Array) -> Array:
        found: Array = np.einsum("ijk,ik->ij", self.words, currents)
        return found
