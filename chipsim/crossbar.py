"""Crossbar: signed weights as differential pairs of cells, and what reads and writes of a whole array do to them.

A weight w is a minimum pair: one cell carries |w|, its partner stays at g_min,

    w = (g_plus - g_minus) / g_scale,    g_scale = (g_max - g_min) / w_max,    |w| <= w_max

and an array drives its columns with q = v_unit x W, x [batch, rows]. A layer larger than a tile is split over tiles
whose partial sums add as currents, so one product with the whole matrix is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chipsim.arrays import AnyArray, namespace
from chipsim.devices import Device
from chipsim.effects import Effect

Streams = np.random.Generator | Sequence[np.random.Generator]
"""A stream of random numbers, or one for each chip."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The state of one layer's array at a moment; all arrays are replaced, never edited. They are of the kind that the
    deployment's engine computes with.

    wanted [rows, columns] the controller's weights. target, g, written [2, rows, columns], plus and minus cell: the
    level last asked for [S], the conductance now [S], and the time of the last write [s]. Of several chips: [chips,
    rows, columns] and [2, chips, rows, columns].
    """

    wanted: AnyArray
    target: AnyArray
    g: AnyArray
    written: AnyArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """The fixed part of one layer's array: its device, the effects on its cells as fabricated, and its weight scale: a
    float, or a number as an engine compiles it.
    """

    device: Device
    effects: tuple[tuple[Effect, Mapping[str, AnyArray]], ...]
    w_max: Any

    @property
    def g_scale(self) -> Any:
        """Conductance of a weight of 1 [S]."""
        return (self.device.g_max - self.device.g_min) / self.w_max

    def clip(self, weight: AnyArray) -> AnyArray:
        """Return the weights [rows, columns] that the pair can hold."""
        return namespace(weight).clip(weight, min=-self.w_max, max=self.w_max)

    def targets(self, weight: AnyArray) -> AnyArray:
        """Target conductances [2, rows, columns] of weights within +-w_max, on the device's levels."""
        xp = namespace(weight)
        scaled = weight * self.g_scale
        g = xp.clip(xp.stack([scaled, -scaled]), min=0.0)
        return self.device.quantise(g + self.device.g_min if self.device.g_min else g)

    def programme(self, cells: Cells | None, wanted: AnyArray, rng: Streams | None, time: Any) -> Cells:
        """Write every cell whose target level differs from the one last asked for; all of them when `cells` is None.

        Each written cell meets the device's programming noise afresh, around its target. rng: a stream, or one for
        each chip; None for a device that draws nothing.
        """
        wanted = self.clip(wanted)
        xp, target = namespace(wanted), self.targets(wanted)
        if cells is None:
            g, written = self._programmed(target, None, None, rng), xp.full_like(target, time)
        else:
            moved = target != cells.target
            written = xp.where(moved, time, cells.written)
            g = self._programmed(target, cells.g, moved, rng)
        for effect, frozen in self.effects:
            g = effect.programme(g, frozen)
        return Cells(wanted=wanted, target=target, g=g, written=written)

    def _programmed(self, target: AnyArray, before: AnyArray, moved: AnyArray, rng: Streams | None) -> AnyArray:
        if not self.device.draws:  # an unwritten cell is where a write would leave it
            return self.device.written(target, None)
        if isinstance(rng, Sequence):
            chips = [
                self._programmed(
                    target[:, k], None if before is None else before[:, k], None if moved is None else moved[:, k], one
                )
                for k, one in enumerate(rng)
            ]
            return namespace(target).stack(chips, axis=1)
        if moved is None:
            return self.device.written(target, rng)
        g = namespace(target).asarray(before, copy=True)
        g[moved] = self.device.written(target[moved], rng)
        return g

    def seen(self, cells: Cells) -> AnyArray:
        """Conductances [2, rows, columns] that a read of the cells as they are sees [S]."""
        g = cells.g
        for effect, frozen in self.effects:
            g = effect.read(g, frozen)
        return g

    def weights(self, cells: Cells) -> AnyArray:
        """Effective weights [rows, columns]: the differences of the pairs over g_scale."""
        g = self.seen(cells)
        return (g[0] - g[1]) / self.g_scale

    def variance(self, cells: Cells) -> AnyArray | None:
        """Variance of every access to the weights [rows, columns]; None where reading is quiet."""
        noisy = [effect for effect, _ in self.effects if effect.reads_noisily]
        if not noisy:
            return None
        g = self.seen(cells)
        cells_variance = sum(effect.variance(g, self.device.g_max) for effect in noisy)
        return (cells_variance[0] + cells_variance[1]) / self.g_scale**2
