"""Crossbar: signed weights as differential pairs of cells, and what reads and writes of a whole array do to them.

A weight w is a minimum pair: one cell carries |w|, its partner stays at g_min,

    w = (g_plus - g_minus) / g_scale,    g_scale = (g_max - g_min) / w_max,    |w| <= w_max

and an array drives its columns with q = v_unit x W, x [batch, rows]. A layer larger than a tile is split over tiles
whose partial sums add as currents, so one product with the whole matrix is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chipsim.arrays import AnyArray, like, namespace
from chipsim.devices import Device
from chipsim.effects import Effect

Streams = np.random.Generator | Sequence[np.random.Generator]
"""A stream of random numbers, or one for each chip."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The state of one layer's array at a moment; all arrays are replaced, never edited. They are of the kind that the
    deployment's engine computes with.

    wanted [rows, columns] the controller's weights. target, g, written, drawn [2, rows, columns], plus and minus cell:
    the level last asked for [S], the conductance that the last write left [S], its time [s], and a number of the cell's
    own that was drawn then, for devices that drift (None for others). Of several chips: [chips, rows, columns] and [2,
    chips, rows, columns].
    """

    wanted: AnyArray
    target: AnyArray
    g: AnyArray
    written: AnyArray
    drawn: AnyArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """What one layer's array is beside its cells: its device, the effects on its cells as fabricated, its weight scale
    (a float, or a number as an engine compiles it), the step in which a read takes place [s], the slow noise of its
    cells for the time being (standard normal numbers [2, rows, columns], or None for devices that have none), what is
    frozen of its cells, and what its wires do to them: which share of each conductance reaches its column, and what
    arrives there beside (None for wires without resistance).
    """

    device: Device
    effects: tuple[tuple[Effect, Mapping[str, AnyArray]], ...]
    w_max: Any
    step: float = 1e-3
    slow: AnyArray | None = None
    frozen: Mapping[str, AnyArray] = field(default_factory=dict)
    wired: tuple[AnyArray, AnyArray] | None = None

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
        moved = None if cells is None else target != cells.target
        written = xp.full_like(target, time) if cells is None else xp.where(moved, time, cells.written)
        g, drawn = self._programmed(target, cells, moved, rng)
        g = self.device.limit(g, self.frozen)
        for effect, frozen in self.effects:
            g = effect.programme(g, frozen)
        return Cells(wanted=wanted, target=target, g=g, written=written, drawn=drawn)

    def _programmed(
        self, target: AnyArray, cells: Cells | None, moved: AnyArray, rng: Streams | None
    ) -> tuple[AnyArray, AnyArray | None]:
        """What the cells that moved, or all, are left at, and what was drawn of each for its drift."""
        device, xp = self.device, namespace(target)
        if not device.draws:  # an unwritten cell is where a write would leave it
            return device.written(target, None), None
        streams = rng if isinstance(rng, Sequence) else [rng]
        places = [(slice(None), k) if isinstance(rng, Sequence) else (slice(None),) for k in range(len(streams))]
        g = xp.empty_like(target) if cells is None else xp.asarray(cells.g, copy=True)
        drawn: AnyArray | None = None
        if device.drifts:
            drawn = xp.empty_like(target) if cells is None else xp.asarray(cells.drawn, copy=True)
        for stream, place in zip(streams, places, strict=True):
            assert stream is not None
            chosen = ... if moved is None else moved[place]
            aim = target[place][chosen]
            g[place][chosen] = device.written(aim, stream)
            if drawn is not None:
                drawn[place][chosen] = like(stream.standard_normal(tuple(aim.shape)), aim)
        return g, drawn

    def seen(self, cells: Cells, time: Any) -> AnyArray:
        """Conductances [2, rows, columns] that a read of the array at `time` [s] sees."""
        g = self.alone(cells, time)
        return g if self.wired is None else g * self.wired[0] + self.wired[1]

    def alone(self, cells: Cells, time: Any) -> AnyArray:
        """Conductances [2, rows, columns] of the cells at `time` [s], wires aside."""
        g, device = cells.g, self.device
        if device.ages:
            age = time - cells.written
            device.check_age(float(age.max()))
            g = device.aged(g, cells.target, cells.drawn, age)
            if self.slow is not None:
                g = namespace(g).clip(g + device.slow(g, cells.target, age, self.step) * self.slow, min=0.0)
            for effect, frozen in self.effects:
                g = effect.programme(g, frozen)
        for effect, frozen in self.effects:
            g = effect.read(g, frozen)
        return g

    def weights(self, cells: Cells, time: Any) -> AnyArray:
        """Effective weights [rows, columns] at `time` [s]: the differences of the pairs over g_scale."""
        g = self.seen(cells, time)
        return (g[0] - g[1]) / self.g_scale

    def offset(self) -> AnyArray | None:
        """What the columns give in every step beside their cells, [columns], in weights; None for nothing."""
        found = [effect.column_offset(frozen) for effect, frozen in self.effects]
        given = [part for part in found if part is not None]
        return sum(given) * self.w_max if given else None

    def variance(self, cells: Cells, time: Any) -> AnyArray | None:
        """Variance of every access to the weights [rows, columns] at `time` [s], that of the columns with the last row,
        which is driven by 1 in every step; None where reading is quiet.
        """
        noisy = [effect for effect, _ in self.effects if effect.reads_noisily]
        columns = [part for effect, frozen in self.effects if (part := effect.column_variance(frozen)) is not None]
        if not (noisy or columns or self.device.fluctuates):
            return None
        g = self.alone(cells, time)
        of_cells = sum((effect.variance(g, self.device.g_max) for effect in noisy), start=g[..., :1, :1] * 0.0)
        if self.device.fluctuates:
            of_cells = of_cells + self.device.variance(g, cells.target, self.step)
        if self.wired is not None:  # to first order
            of_cells = of_cells * self.wired[0] ** 2
        found = (of_cells[0] + of_cells[1]) / self.g_scale**2
        if columns:
            found = namespace(g).broadcast_to(found, cells.wanted.shape) + 0.0
            found[..., -1, :] += sum(columns) * self.w_max**2
        return found
