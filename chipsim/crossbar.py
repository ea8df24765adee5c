"""Crossbar: signed weights as differential pairs of cells, and what reads and writes of a whole array do to them.

A weight w is a minimum pair: one cell carries |w|, its partner stays at g_min,

    w = (g_plus - g_minus) / g_scale,    g_scale = (g_max - g_min) / w_max,    |w| <= w_max

or, where a design says so, a cell beside a reference cell that learning leaves alone, with half of that g_scale.

and an array drives its columns with q = v_unit x W, x [batch, rows]. A layer larger than a tile is split over tiles
whose partial sums add as currents, so one product with the whole matrix is exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from chipsim.arrays import AnyArray, like, namespace, to_numpy
from chipsim.devices import Device
from chipsim.effects import Effect
from chipsim.streams import SideBySide

Streams = np.random.Generator | Sequence[np.random.Generator]
"""A stream of random numbers, or one for each chip."""


def by_chip(rng: Streams) -> Iterator[tuple[np.random.Generator, tuple[Any, ...]]]:
    """The stream of each chip, and its place in arrays [2, chips, rows, columns]; of one chip [2, rows, columns]."""
    if isinstance(rng, Sequence):
        yield from ((stream, (slice(None), chip)) for chip, stream in enumerate(rng))
    else:
        yield rng, (slice(None),)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The state of one layer's array at a moment. Arrays are replaced, never edited, but by a writer of pulses, which
    edits its own. They are of the kind that the deployment's engine computes with.

    wanted [rows, columns] the controller's weights, or the sum of what was asked of a writer that keeps none; pending
    [rows, columns] what of it a writer has put off (None where none does). target, g, written, drawn, wear [2, rows,
    columns], plus and minus cell: the level last asked for, or where pulses left the cell [S], the conductance that the
    last write left [S], its time [s], what else the device keeps of a cell (None for nothing): a number that was drawn
    then, of one that drifts, or the state [S] that the next pulse starts from, and how many writes and pulses it has
    had. Of several chips: [chips, rows, columns] and [2, chips, rows, columns].
    """

    wanted: AnyArray
    target: AnyArray
    g: AnyArray
    written: AnyArray
    drawn: AnyArray | None = None
    wear: AnyArray = None
    pending: AnyArray | None = None

    def copied(self) -> "Cells":
        """Return the same in arrays of its own."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return Cells(
            **{
                name: values if values is None else namespace(values).asarray(values, copy=True)
                for name, values in parts.items()
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """What one layer's array is beside its cells: its device, the effects on its cells as fabricated, its weight scale
    (a number as its engine computes with it), the step in which a read takes place [s], the slow noise of its
    cells for the time being (standard normal numbers [2, rows, columns], or None for devices that have none), what is
    frozen of its cells, what its wires do to them (which share of each conductance reaches its column, and what arrives
    there beside; None for wires without resistance), whether its pairs are "minimum" or "reference", and whether a
    controller verifies what it programmes.
    """

    device: Device
    effects: tuple[tuple[Effect, Mapping[str, AnyArray]], ...]
    w_max: Any
    step: float = 1e-3
    slow: AnyArray | None = None
    frozen: Mapping[str, AnyArray] = field(default_factory=dict)
    wired: tuple[AnyArray, AnyArray] | None = None
    pair: str = "minimum"
    verifies: bool = False

    @property
    def g_scale(self) -> Any:
        """Conductance of a weight of 1 [S]; of a reference pair, on the side of the reference that has fewer levels."""
        device, share = self.device, 1.0
        if self.pair == "reference":
            share = 0.5 if device.levels is None else (device.levels - 1) // 2 / (device.levels - 1)
        return share * (device.g_max - device.g_min) / self.w_max

    def _met(self, hook: Literal["programme", "read"], g: AnyArray, *, on_average: bool = False) -> AnyArray:
        """Conductances [2, rows, columns] as all effects leave them, or as they do on average over time."""
        for effect, frozen in self.effects:
            passing = effect.moments if on_average else ()
            g = getattr(effect, hook)(g, {kind: values for kind, values in frozen.items() if kind not in passing})
        return g

    def clip(self, weight: AnyArray) -> AnyArray:
        """Return the weights [rows, columns] that the pair can hold."""
        return namespace(weight).clip(weight, min=-self.w_max, max=self.w_max)

    def targets(self, weight: AnyArray, cells: Cells | None = None) -> AnyArray:
        """Target conductances [2, rows, columns] of weights within +-w_max, on the device's levels; reference cells
        stay where they are.
        """
        xp, device = namespace(weight), self.device
        scaled = weight * self.g_scale
        if self.pair == "reference":
            middle = xp.full_like(scaled, (device.g_min + device.g_max) / 2)
            reference = device.quantise(middle) if cells is None else cells.target[1]
            plus = device.quantise(device.within(reference + scaled))
            targets = xp.stack([plus, reference])
        else:
            g = xp.clip(xp.stack([scaled, -scaled]), min=0.0)
            targets = device.quantise(g + device.g_min if device.g_min else g)
        return self._verified(targets, scaled, first=cells is None) if self.verifies else targets

    def _verified(self, targets: AnyArray, scaled: AnyArray, *, first: bool) -> AnyArray:
        """Targets [2, rows, columns] that make reads differ by `scaled` [S], noise and wires aside: what a controller
        finds that reads each pair through its own read path, and corrects the cell that carries the weight, then the
        other one; a reference cell at its first write alone.
        """
        xp, device = namespace(targets), self.device
        signed, plus = xp.stack([scaled, -scaled]), scaled >= 0
        if self.pair == "reference":
            plus = xp.ones_like(plus)
        turns = [xp.stack([plus, ~plus]), xp.stack([~plus, plus])]
        if self.pair == "minimum":
            turns *= 2  # of a cell that was seen at 0 nobody knew the read path
        elif not first:
            turns = turns[:1]
        for corrected in turns:
            seen = self._amplified(self._met("read", self._met("programme", targets), on_average=True))
            aim = xp.flip(seen, axis=0) + signed
            missed = xp.abs(aim - seen) > 8 * xp.finfo(targets.dtype).eps * device.g_max  # by more than rounding
            scale = xp.where(seen > 0, targets / xp.where(seen > 0, seen, 1.0), 1.0)
            better = device.quantise(device.within(aim * scale))
            targets = xp.where(corrected & missed, better, targets)
        return targets

    def asked(self, wanted: AnyArray, cells: Cells) -> AnyArray:
        """Target conductances [2, rows, columns] of wanted weights; a weight that was wanted before keeps its target,
        also where a controller that verifies would find another one by now.
        """
        targets = self.targets(wanted, cells)
        return namespace(targets).where(wanted == cells.wanted, cells.target, targets) if self.verifies else targets

    def programme(self, cells: Cells | None, wanted: AnyArray, rng: Streams | None, time: Any) -> Cells:
        """Write every cell whose target level differs from the one last asked for; all of them when `cells` is None.

        Each written cell meets the device's programming noise afresh, around its target. rng: a stream, or one for
        each chip; None for a device that draws nothing.
        """
        wanted = self.clip(wanted)
        if cells is None:
            return self.rewritten(None, wanted, self.targets(wanted), None, rng, time)
        target = self.asked(wanted, cells)
        return self.rewritten(cells, wanted, target, target != cells.target, rng, time)

    def rewritten(
        self, cells: Cells | None, wanted: AnyArray, target: AnyArray, moved: AnyArray, rng: Streams | None, time: Any
    ) -> Cells:
        """Write the cells that `moved` to `target` [2, rows, columns] at `time` [s]; all when `cells` is None. One that
        is worn out stays as it is, and so does what it was last written to.
        """
        xp = namespace(target)
        if cells is not None and self.device.wears:
            moved = moved & (cells.wear < self.device.endurance)
            target = xp.where(moved, target, cells.target)
        g, drawn = self._programmed(target, cells, moved, rng)
        g = self._met("programme", g)
        if cells is None:
            written, wear, pending = xp.full_like(target, time), xp.ones_like(target), None
        else:
            written, pending = xp.where(moved, time, cells.written), cells.pending
            wear = cells.wear + xp.astype(moved, target.dtype)
        return Cells(wanted=wanted, target=target, g=g, written=written, drawn=drawn, wear=wear, pending=pending)

    def pulse(self, cells: Cells, places: tuple[AnyArray, ...], counts: AnyArray, rng: Streams, time: Any) -> AnyArray:
        """Give the cells at `places`, indices into [2, rows, columns] or [2, chips, rows, columns], `counts` pulses,
        upwards where positive, at `time` [s]: `cells` is edited. Return how many pulses were given.
        """
        if self.device.wears:
            alive = cells.wear[places] < self.device.endurance
            places, counts = tuple(index[alive] for index in places), counts[alive]
        draws: Any = SideBySide(rng, to_numpy(places[1])) if isinstance(rng, Sequence) else rng
        cell = {name: values[places] for name, values in self.frozen.items()}
        assert cells.drawn is not None
        state = self.device.pulse(cells.drawn[places], counts, cell, draws)
        g = self.device.written(state, draws)
        for effect, frozen in self.effects:
            if effect.programmes:
                g = effect.programme(g, {name: values[places] for name, values in frozen.items()})
        cells.drawn[places], cells.g[places], cells.target[places] = state, g, state
        cells.written[places], cells.wear[places] = time, cells.wear[places] + abs(counts)
        return abs(counts).sum()

    def _programmed(
        self, target: AnyArray, cells: Cells | None, moved: AnyArray, rng: Streams | None
    ) -> tuple[AnyArray, AnyArray | None]:
        """What the cells that moved, or all, are left at, and what was drawn of each for its drift."""
        device, xp = self.device, namespace(target)
        if device.pulses:
            target = device.limit(target, self.frozen)
        if not device.draws:  # an unwritten cell is where a write would leave it
            g = device.written(target, None)
            return (g if cells is None or not device.wears else xp.where(moved, g, cells.g)), None
        g = xp.empty_like(target) if cells is None else xp.asarray(cells.g, copy=True)
        drawn: AnyArray | None = None
        if device.drifts or device.pulses:
            drawn = xp.empty_like(target) if cells is None else xp.asarray(cells.drawn, copy=True)
        assert rng is not None
        for stream, place in by_chip(rng):
            chosen = ... if moved is None else moved[place]
            aim = target[place][chosen]
            g[place][chosen] = device.written(aim, stream)
            if drawn is not None:
                own = aim if device.pulses else like(stream.standard_normal(tuple(aim.shape)), aim)
                drawn[place][chosen] = own
        return g, drawn

    def seen(self, cells: Cells, time: Any) -> AnyArray:
        """Conductances [2, rows, columns] that a read of the array at `time` [s] sees."""
        g = self.alone(cells, time)
        return g if self.wired is None else g * self.wired[0] + self.wired[1]

    def alone(self, cells: Cells, time: Any) -> AnyArray:
        """Conductances [2, rows, columns] of the cells at `time` [s] that a read sees, wires aside."""
        return self._read(self._aged(cells, time))

    def _aged(self, cells: Cells, time: Any) -> AnyArray:
        """Conductances [2, rows, columns] that the device has at `time` [s], before any effect where it ages."""
        g, device = cells.g, self.device
        if device.ages:
            age = time - cells.written
            device.check_age(float(age.max()))
            g = device.aged(g, cells.target, cells.drawn, age)
            if self.slow is not None:
                g = namespace(g).clip(g + device.slow(g, cells.target, age, self.step) * self.slow, min=0.0)
        return g

    def _read(self, g: AnyArray) -> AnyArray:
        """Conductances [2, rows, columns] that a read sees of those that the device has."""
        return self._met("read", self._met("programme", g) if self.device.ages else g)

    def weights(self, cells: Cells, time: Any) -> AnyArray:
        """Effective weights [rows, columns] at `time` [s]: the differences of the pairs over g_scale, times what is
        behind the columns.
        """
        g = self.seen(cells, time)
        return self._amplified((g[0] - g[1]) / self.g_scale)

    def _amplified(self, values: AnyArray, power: int = 1) -> AnyArray:
        """What comes of cells [..., rows, columns] behind their columns; power: 2 for variances."""
        for effect, frozen in self.effects:
            if (gain := effect.column_gain(frozen)) is not None:
                values = values * gain**power
        return values

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
        every = [effect.column_variance(frozen) for effect, frozen in self.effects]
        columns = [part for part in every if part is not None]
        if not (noisy or columns or self.device.fluctuates):
            return None
        device, stands = self.device, self._aged(cells, time)
        g = self._read(stands)
        of_cells = sum((effect.variance(g, device.g_max) for effect in noisy), start=g[..., :1, :1] * 0.0)
        for effect, frozen in self.effects:
            if effect.cuts:
                of_cells = of_cells * effect.read(g * 0.0 + 1.0, frozen)
        if device.fluctuates:
            of_device, little = device.variance(stands, cells.target, self.step), device.g_max / 1024
            if self.effects:  # which pass on a little more as they pass on the noise
                of_device = of_device * ((self._read(stands + little) - g) / little) ** 2
            of_cells = of_cells + of_device
        if self.wired is not None:  # to first order
            of_cells = of_cells * self.wired[0] ** 2
        found = self._amplified((of_cells[0] + of_cells[1]) / self.g_scale / self.g_scale, power=2)
        if columns:
            found = namespace(g).broadcast_to(found, cells.wanted.shape) + 0.0
            found[..., -1, :] += sum(columns) * self.w_max**2
        return found
