"""Crossbar: signed weights as differential pairs of cells, and what reads and writes of a whole array do to them.

A weight w is a minimum pair: one cell carries |w|, its partner stays at g_min,

    w = (g_plus - g_minus) / g_scale,    g_scale = (g_max - g_min) / w_max,    |w| <= w_max

and an array drives its columns with q = v_unit x W, x [batch, rows]. A layer larger than a tile is split over tiles
whose partial sums add as currents, so one product with the whole matrix is exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipsim.devices import Device
from chipsim.effects import Effect
from chipsim.effects.base import Frozen

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The state of one layer's array at a moment; all arrays are replaced, never edited.

    wanted [rows, columns] the controller's weights. target, g, written [2, rows, columns], plus and minus cell: the
    level last asked for [S], the conductance now [S], and the time of the last write [s].
    """

    wanted: Array
    target: Array
    g: Array
    written: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """The fixed part of one layer's array: its device, the effects on its cells as fabricated, and its weight scale."""

    device: Device
    effects: tuple[tuple[Effect, Frozen], ...]
    w_max: float

    @property
    def g_scale(self) -> float:
        """Conductance of a weight of 1 [S]."""
        return (self.device.g_max - self.device.g_min) / self.w_max

    def clip(self, weight: Array) -> Array:
        """Return the weights [rows, columns] that the pair can hold."""
        return np.clip(weight, -self.w_max, self.w_max)

    def targets(self, weight: Array) -> Array:
        """Target conductances [2, rows, columns] of weights within +-w_max, on the device's levels."""
        g = np.stack([weight, -weight])
        np.maximum(g, 0.0, out=g)
        g *= self.g_scale
        g += self.device.g_min
        return self.device.quantise(g)

    def programme(self, cells: Cells | None, wanted: Array, rng: np.random.Generator, time: float) -> Cells:
        """Write every cell whose target level differs from the one last asked for; all of them when `cells` is None.

        Each written cell meets the device's programming noise afresh, around its target.
        """
        wanted = self.clip(wanted)
        target = self.targets(wanted)
        if cells is None:
            g, written = self.device.programme(target, rng), np.full(target.shape, time)
        else:
            moved = np.flatnonzero(target != cells.target)
            g, written = cells.g.copy(), cells.written.copy()
            g.flat[moved] = self.device.programme(target.flat[moved], rng)
            written.flat[moved] = time
        for effect, frozen in self.effects:
            g = effect.programme(g, frozen)
        return Cells(wanted=wanted, target=target, g=g, written=written)

    def seen(self, cells: Cells) -> Array:
        """Conductances [2, rows, columns] that a read of the cells as they are sees [S]."""
        g = cells.g
        for effect, frozen in self.effects:
            g = effect.read(g, frozen)
        return g

    def weights(self, cells: Cells) -> Array:
        """Effective weights [rows, columns]: the differences of the pairs over g_scale."""
        g = self.seen(cells)
        weights: Array = (g[0] - g[1]) / self.g_scale
        return weights
