"""Deployment: a network on a chip. The one mutable object: conductances now, the clock, and what was measured."""

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from chipsim.arrays import AnyArray, to_numpy
from chipsim.checkpoint import Checkpoint
from chipsim.chip import Chip
from chipsim.circuits import Circuit
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.effects import Errors, Grid, Seen, WireResistance
from chipsim.effects.base import DRAWN, Frozen
from chipsim.encoders import Analog, Encoder
from chipsim.engines import Engine, Shortcut, Stage, Torch, Watch, Window, reference
from chipsim.engines.base import OnWindow
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.mapping import Avoid, PlacedLayer, place
from chipsim.network import Network
from chipsim.population import step_error
from chipsim.probe import Probe, Record, variable
from chipsim.progress import Bar
from chipsim.quantity import canonical_json, check_unit, to_si, whole
from chipsim.report import EffectReport, Entry, entries
from chipsim.streams import White, noise_key, stream

Array = NDArray[np.float64]
BATCH = 128
ENOUGH = 100_000
"""Values from which on noise counts as measured."""


class Samples(Protocol):
    """Inputs [samples, ...] and their labels [samples]."""

    @property
    def inputs(self) -> NDArray[np.floating]: ...

    @property
    def labels(self) -> NDArray[np.integer]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Samples presented side by side: inputs [batch, inputs], and the number of each that keys its noise."""

    inputs: Array
    numbers: Sequence[int]


class Snapshot(NamedTuple):
    """All that changes in a deployment: the cells of each layer, the clock [s], the number of writes, which keys their
    noise, what was seen of noise for the effect report, how often time was waited, which keys slow read noise, the
    gain of each array, the temperature of the circuits [K] (NaN for circuits that have none), when all cells and each
    layer's were last read [s], what wires did to each layer when they were last solved, and how many writes ago, the
    temperature profile [2, points], and whether any sample was presented.
    """

    cells: list[Cells]
    time: float
    writes: int
    noise: Array
    waits: int
    gains: tuple[Any, ...]
    temperature: float
    read_at: float
    layers_read_at: tuple[float, ...]
    wired: tuple[tuple[AnyArray, AnyArray] | None, ...]
    unwired: tuple[int, ...]
    profile: Array
    presented: bool


class Driving(NamedTuple):
    """What an array gives its neurons: weights [rows, columns] in units of the port, and the variance of reading them
    (None where it is quiet).
    """

    weights: AnyArray
    variance: AnyArray | None


def driving(array: Crossbar, cells: Cells, unit: Any, time: Any) -> Driving:
    """Return what an array gives its neurons at a time [s]; unit: the circuit's unit drive."""
    weights, variance, offset = array.weights(cells, time), array.variance(cells, time), array.offset()
    if offset is not None:  # the last row is a bias row: driven by 1 in every step
        weights[..., -1, :] += offset
    return Driving(weights * unit, None if variance is None else variance * unit**2)


class Deployment:
    """A network deployed on a chip; made by `deploy`.

    network, chip, placement: as given and as placed. cells: the state of each layer's array. time: the clock [s].
    gains: of each array, 1 until it is compensated. temperature: of the circuits [K], NaN where they have none.
    """

    def __init__(
        self,
        network: Network,
        chips: tuple[Chip, ...],
        engine: Engine,
        encoder: Encoder,
        window: int,
        step: float,
        seed: int,
        avoid: Avoid,
        verify: bool,
    ) -> None:
        self.network, self.chips, self.engine, self.encoder = network, chips, engine, encoder
        self.chip = chip = chips[0]
        self.window, self.step, self.time = window, step, 0.0
        self.placement = place(network, chip.design, avoid)
        chip.design.circuit.check_step(step)
        self._frozen = tuple(
            _together([layer.gather(chip.tile) for chip in chips], axis=1) for layer in self.placement.layers
        )
        self._cells = tuple(
            _together([layer.gather(lambda k, chip=chip: (chip.cells(k),)) for chip in chips], axis=1)[0]  # type: ignore[misc]
            for layer in self.placement.layers
        )
        self.arrays = tuple(
            Crossbar(
                device=chip.design.device,
                effects=tuple(zip(chip.design.acting, map(self._native, frozen), strict=True)),
                w_max=engine.scalar(layer.w_max),
                step=step,
                frozen=self._native(cells),
                pair=chip.design.pair,
                verifies=verify,
            )
            for layer, frozen, cells in zip(self.placement.layers, self._frozen, self._cells, strict=True)
        )
        self._noise_seen = np.zeros((len(chip.design.acting), 2))
        self._writes, self._waits, self.seed = 0, 0, seed
        self._held = self._presented = False
        self._loaded = ""  # the digest of what was loaded
        self._profile = np.empty((2, 0))  # times [s], temperatures [K]
        self._dies, self.temperature = chips, float(getattr(chip.design.circuit, "temperature", math.nan))
        one = 1.0 if len(chips) == 1 else engine.array(np.ones((len(chips), 1, 1)))
        self.gains: tuple[Any, ...] = (one,) * len(self.placement.layers)
        self._driving: list[Any] = [None] * len(self.placement.layers)
        self._layers_read_at = [0.0] * len(self._driving)
        self.stages = tuple(self._stage(index, layer) for index, layer in enumerate(self.placement.layers))
        self.cells: list[Cells] = [
            array.programme(None, engine.array(self._for_each(layer.weight)), self.write_stream(), self.time)
            for array, layer in zip(self.arrays, self.placement.layers, strict=True)
        ]
        self._draw_slow()
        wires = [effect for effect in chip.design.acting if isinstance(effect, WireResistance)]
        self._wires, self._unwired = (wires[0] if wires else None), [0] * len(self.cells)
        self._refresh()

    def _for_each(self, values: Array) -> Array:
        return values if len(self.chips) == 1 else np.broadcast_to(values, (len(self.chips), *values.shape))

    def _native(self, frozen: Frozen) -> dict[str, AnyArray]:
        return {kind: self.engine.array(values) for kind, values in frozen.items()}

    def _stage(self, index: int, layer: PlacedLayer) -> Stage:
        banks = [die.readouts if layer.readout else die.neurons for die in self._dies]
        design = self._dies[0].design
        circuit = design.readout if layer.readout else design.circuit
        grids = {side: self._grid(side) for side in ("rows", "columns")}
        full, grid = layer.w_max * circuit.unit_drive, grids["columns"]
        driving = self._driving  # not `self`: a deployment that nobody holds is freed at once
        return Stage(
            circuit=circuit,
            parameters={
                name: np.stack([bank[name][layer.bank] for bank in banks]) if len(banks) > 1 else values[layer.bank]
                for name, values in banks[0].items()
            },
            weights=lambda: driving[index].weights,
            wiring=layer.wiring,
            bias_rows=layer.bias_rows,
            variance=lambda: driving[index].variance,
            shortcut=self._shortcut(layer, circuit),
            grid_in=None if index or self.encoder.spikes else grids["rows"],
            grid_out=None if grid is None else Grid(grid.step * full, grid.limit * full),
            errors_out=self._errors(index, layer),
            lossy=not layer.readout and any(effect.loss() > 0 for effect in self.chip.design.acting),
        )

    def _shortcut(self, layer: PlacedLayer, circuit: Circuit) -> Shortcut | None:
        if layer.shortcut is None:
            return None
        source, share = layer.shortcut
        return Shortcut(
            source=source,
            inputs=self.placement.layers[source].wiring.outputs,
            outputs=layer.wiring.outputs,
            drive=share * circuit.firing_drive / circuit.gain,
        )

    def _grid(self, side: str) -> Grid | None:
        found = [grid for effect in self.chip.design.acting if (grid := getattr(effect, side)()) is not None]
        return found[0] if found else None

    def _errors(self, index: int, layer: PlacedLayer) -> Errors | None:
        """What is wrong with the converters behind a layer's columns: each that of the column's first neuron."""
        shape = (len(self.chips), layer.columns, layer.wiring.positions)
        for number, effect in enumerate(self.chip.design.acting):
            frozen = {
                kind: np.repeat(values.reshape(shape)[:, :, 0], shape[-1], axis=1)
                for kind, values in self._frozen_circuits(number)[index].items()
            }
            of_chips = frozen if len(self.chips) > 1 else {kind: values[0] for kind, values in frozen.items()}
            if (found := effect.column_errors(of_chips)) is not None:
                return found
        return None

    def _read(self, index: int, time: float, given: Driving | None = None) -> None:
        """Take what the cells of a layer give its neurons at a time [s] as what they give from now on; given: that,
        where it is known.
        """
        self._driving[index] = given or driving(self.arrays[index], self.cells[index], self.unit(index), time)
        self._layers_read_at[index] = time

    def unit(self, index: int) -> Any:
        """What a weight of 1 in an array gives its neurons: the circuit's unit drive times the array's gain."""
        return self.stages[index].circuit.unit_drive * self.gains[index]

    def _draw_slow(self) -> None:
        """Draw the noise of all cells that stands still for the time being."""
        acting = self.chip.design.acting
        if not (self.chip.design.device.fluctuates or any(effect.moments for effect in acting)):
            return

        def drawn(kind: str, index: int, *names: str) -> AnyArray:
            size = (2, *self.placement.layers[index].weight.shape)
            streams = [stream(chip.seed, "slow", self.seed, self._waits, index, *names) for chip in self.chips]
            chips = [getattr(each, kind)(size) for each in streams]
            return self.engine.array(np.stack(chips, axis=1) if len(chips) > 1 else chips[0])

        self.arrays = tuple(
            replace(
                array,
                slow=drawn("standard_normal", index) if self.chip.design.device.fluctuates else None,
                effects=tuple(
                    (effect, {**frozen, **{kind: drawn("random", index, effect.name, kind) for kind in effect.moments}})
                    for effect, frozen in array.effects
                ),
            )
            for index, array in enumerate(self.arrays)
        )

    def wait(self, seconds: Any) -> None:
        """Let time pass without samples: cells drift, and their slow read noise becomes another.

        seconds: of at least 0; a Brian2 quantity is accepted. Raises ParameterError where the cells become older than
        their device was measured.
        """
        passed = to_si(seconds, "s", "seconds")
        if not 0 <= passed < np.inf:
            raise ParameterError(f"a wait must be of at least 0 s and finite, not of {passed:g} s")
        device, oldest = self.chip.design.device, min(float(cells.written.min()) for cells in self.cells)
        device.check_age(self.time + passed - oldest)
        self.time += passed
        self._waits += 1
        self._warm()
        self._draw_slow()
        self._refresh()

    def set_temperature(self, temperature: Any) -> None:
        """Bring the chip's circuits to a temperature [K]; a Brian2 quantity is accepted. What the die drew stays.

        Raises ParameterError for circuits that state no temperature, or a step that is too long for them then.
        """
        self._bring_to(to_si(temperature, "K", "temperature"))
        self._profile = np.empty((2, 0))

    def _bring_to(self, temperature: float) -> None:
        """Give the circuits a temperature [K], whatever profile they follow."""
        design = self.chip.design
        if not hasattr(design.circuit, "temperature"):
            raise ParameterError(
                f"{type(design.circuit).__name__} states no temperature; take a subthreshold circuit, as CurrentLIF is"
            )
        warm = {
            name: replace(getattr(design, name), temperature=temperature)
            for name in ("circuit", "readout")
            if hasattr(getattr(design, name), "temperature")
        }
        warm["circuit"].check_step(self.step)
        self._dies = tuple(replace(chip, design=replace(design, **warm)) for chip in self.chips)
        self.temperature = temperature
        self.stages = tuple(self._stage(index, layer) for index, layer in enumerate(self.placement.layers))

    def follow_temperature(self, seconds: ArrayLike, temperatures: ArrayLike) -> None:
        """Let the circuits have the temperature [K] that a profile has at the clock: linear between its points, at
        `seconds` on the clock, and beyond them that of its ends. It is looked at after every wait and whenever samples
        begin to be presented, and holds until `set_temperature`.

        Raises ParameterError for times that do not rise, and as `set_temperature` does for any point.
        """
        times, values = (np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in (seconds, temperatures))
        if (
            times.ndim != 1
            or not times.size
            or times.shape != values.shape
            or not np.isfinite(times).all()
            or (np.diff(times) <= 0).any()
        ):
            raise ParameterError("a temperature profile needs as many temperatures as times, and times that rise")
        before = self.temperature
        try:
            for value in (*np.unique(values), np.interp(self.time, times, values)):
                self._bring_to(float(value))
        except ParameterError:
            if self.temperature != before:
                self._bring_to(before)
            raise
        self._profile = np.stack([times, values])

    def _warm(self) -> None:
        """Follow the temperature profile, if there is one."""
        if self._profile.size and (now := float(np.interp(self.time, *self._profile))) != self.temperature:
            self._bring_to(now)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this stands, presenting samples takes no time: all of them meet the chip as it is now.

        >>> with deployment.held():  # doctest: +SKIP
        ...     accuracy = deployment.accuracy(samples)
        """
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def compensate(self) -> None:
        """Give every array the gain that brings the sum of its weights' sizes back to what it was when they were
        written: global drift compensation, which takes one number a layer and no sample. `gains` are by array.

            gain = sum |w when written| / sum |w now|

        The sums are what a controller measures that drives row after row: once after programming, and again now. The
        gain acts on what the columns give, before any converter. Source: Joshi et al., Nat. Commun. 2020. Raises
        ParameterError for an array whose weights are all 0 now.
        """
        gains = []
        for index, (array, cells) in enumerate(zip(self.arrays, self.cells, strict=True)):
            fresh = replace(cells, written=cells.written * 0.0 + self.time)
            then, now = (abs(array.weights(each, self.time)).sum((-2, -1)) for each in (fresh, cells))
            if not bool((now > 0).all()):
                raise ParameterError(f"the weights of array {index} are all 0 now: no gain brings them back")
            gains.append((then / now)[..., None, None] if len(self.chips) > 1 else float(then / now))
        self.gains = tuple(gains)
        self._refresh()

    def _refresh(self) -> None:
        """Read all cells anew, as they are now."""
        if self._wires is not None:
            for layer in range(len(self.cells)):
                self._wire(layer)
        for layer in range(len(self.cells)):
            self._read(layer, self.time)
        self._read_at = self.time

    def _pass(self, seconds: float) -> None:
        """Advance the clock while samples are presented. Cells that age are read anew once a hundredth of the time
        since the newest write has passed: they move with its logarithm. Raises ParameterError where they would become
        older than their device was measured.
        """
        if self._held:
            return
        device = self.chip.design.device
        if device.ages:
            device.check_age(self.time + seconds - min(float(cells.written.min()) for cells in self.cells))
        self.time += seconds
        if device.ages:
            newest = max(float(cells.written.max()) for cells in self.cells)
            if self.time - self._read_at > 0.01 * (self._read_at - newest):
                self._refresh()

    def write_stream(self) -> Streams:
        """Return the stream of the next write's programming noise; one for each of several chips."""
        self._writes += 1
        streams = [stream(chip.seed, "programme", self.seed, self._writes) for chip in self.chips]
        return streams if len(streams) > 1 else streams[0]

    def write(self, layer: int, cells: Cells, given: Driving | None = None) -> None:
        """Put new cells in place of a layer's, as a writer left them; given: what they give, where that is known."""
        self.cells[layer] = cells
        self._unwired[layer] += 1
        if self._wires is not None and self._unwired[layer] >= self._wires.refresh:
            self._wire(layer)
            given = None
        self._read(layer, self.time, given)

    def _wire(self, layer: int) -> None:
        """Solve the array of a layer anew, tile by tile and chip by chip."""
        assert self._wires is not None
        array, self._unwired[layer] = self.arrays[layer], 0
        g = to_numpy(array.alone(self.cells[layer], self.time))
        effective = np.empty_like(g)
        every = slice(None)
        for chip in ((),) if len(self.chips) == 1 else ((number,) for number in range(len(self.chips))):
            for block in self.placement.layers[layer].blocks:
                place = (every, *chip, block.rows, block.columns)
                effective[place] = self._wires.tile(g[place])
        share = np.clip(np.divide(effective, g, out=np.ones_like(g), where=g > 0), 0.0, 1.0)
        arrays = list(self.arrays)
        arrays[layer] = replace(array, wired=tuple(map(self.engine.array, (share, effective - share * g))))
        self.arrays = tuple(arrays)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this deployment from others: network, chips, encoder, engine, window, step, seed, and what it has
        done so far: its clock and the number of its writes. Raises ParameterError for one that follows a temperature
        profile: it looks at that whenever samples begin to be presented, as often as a run with checkpoints begins.
        """
        if self._profile.size:
            raise ParameterError(
                "a chip that follows a temperature profile cannot learn with a checkpoint: leave it out"
            )
        return {
            **self._place,
            "encoder": canonical_json(self.encoder),
            "engine": type(self.engine).__name__,
            "products": getattr(self.engine, "dtype", "float64"),
            "window": self.window,
            "verifies": self.arrays[0].verifies,
            "gains": [np.ravel(to_numpy(gain)).tolist() for gain in self.gains],
            "loaded": self._loaded,
            "clock": self.time,
            "writes before": self._writes,
            "waits before": self._waits,
            "temperature": None if math.isnan(self.temperature) else self.temperature,
        }

    @property
    def _place(self) -> dict[str, Any]:
        """Which cells these are, how exactly they are known, and what they have of time and noise."""
        return {
            "network": self.network.hash,
            "chips": [chip.hash for chip in self.chips],
            "tiles": [[block.tile for block in layer.blocks] for layer in self.placement.layers],
            "neurons": [hashlib.sha256(np.r_[layer.bank].tobytes()).hexdigest() for layer in self.placement.layers],
            "precision": str(self.cells[0].g.dtype).removeprefix("torch."),
            "step": self.step,
            "seed of the deployment": int(self.seed),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write what this deployment has become, by learning, writes, time and warmth, to a file, for `load`."""
        self._stored(path).save(self._complete())

    def load(self, path: str | PathLike[str]) -> None:
        """Become what `save` wrote of a deployment of the same network on the same chip, with the same step, seed and
        precision; the engine, the window, the encoder and `verify` may be others.

        Raises StoredFileError for a file that is missing, damaged, or of another deployment.
        """
        kept = self._stored(path)
        if (found := kept.load(self._complete())) is None:
            raise StoredFileError(f"there is no file {path}; give one that Deployment.save wrote")
        cells = [
            c if c.pending is not None and bool(abs(c.pending).any()) else replace(c, pending=None) for c in found.cells
        ]
        self.restore(found._replace(cells=cells))
        self._loaded = kept.digest

    def _stored(self, path: str | PathLike[str]) -> Checkpoint:
        remedy = "give a file of its own, or deploy as it was deployed"
        return Checkpoint(path, self._place, what="deployment of this network and chip", remedy=remedy)

    def _complete(self) -> Snapshot:
        """A snapshot in which all cells have what a writer put off, if only 0."""
        found = self.snapshot()
        cells = [c if c.pending is not None else replace(c, pending=c.wanted * 0.0) for c in found.cells]
        return found._replace(cells=cells)

    def snapshot(self) -> Snapshot:
        """Return what `restore` brings back, on this deployment or on another of the same network, chip and options."""
        return Snapshot(
            [cells.copied() for cells in self.cells],
            self.time,
            self._writes,
            self._noise_seen.copy(),
            self._waits,
            self.gains,
            self.temperature,
            self._read_at,
            tuple(self._layers_read_at),
            tuple(array.wired for array in self.arrays),
            tuple(self._unwired),
            self._profile,
            self._presented,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.time, self._writes, self._noise_seen = snapshot.time, snapshot.writes, snapshot.noise.copy()
        if snapshot.waits != self._waits:
            self._waits = snapshot.waits
            self._draw_slow()
        self.cells, self.gains = [cells.copied() for cells in snapshot.cells], snapshot.gains
        if snapshot.temperature != self.temperature and not math.isnan(snapshot.temperature):
            self._bring_to(snapshot.temperature)
        self._profile, self._presented = snapshot.profile, snapshot.presented
        wired = zip(self.arrays, snapshot.wired, strict=True)
        self.arrays = tuple(replace(array, wired=solved) for array, solved in wired)
        self._unwired, self._read_at = list(snapshot.unwired), snapshot.read_at
        for layer, time in enumerate(snapshot.layers_read_at):
            self._read(layer, time)

    def weights(self, layer: int) -> Array:
        """Effective weights [rows, columns] of a layer now, bias rows last."""
        layer = whole(layer, "layer", -len(self.arrays), len(self.arrays) - 1)
        return to_numpy(self.arrays[layer].weights(self.cells[layer], self.time) * self.gains[layer])

    def flat(self, inputs: ArrayLike) -> Array:
        """Return inputs as [samples, inputs] in float64; raise ParameterError for a wrong size or values not finite."""
        check_unit(inputs, "1", "inputs")
        try:
            array = np.asarray(inputs, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"inputs must be an array of numbers: {error}") from error
        expected = self.network.sizes[0]
        if array.ndim < 2 or array[0:1].size != (expected if len(array) else 0):
            raise ParameterError(f"inputs must have shape [samples, {expected}], not {array.shape}")
        shape = self.network.shape or ()
        if array.ndim > 2 and len(shape) > 1 and array.shape[1:] != shape:
            raise ParameterError(f"inputs must be samples of shape {shape}, or flat ones, not of {array.shape[1:]}")
        if not np.isfinite(array).all():
            raise ParameterError(f"inputs hold {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite")
        return array.reshape(len(array), expected)

    def run(
        self,
        batches: Iterable[Batch],
        *,
        count: int,
        size: int,
        purpose: str,
        watch: Watch | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        """Present `count` batches of `size` samples in one long run; noise is keyed by `purpose` and sample number."""
        self._warm()
        sources = self._sources(purpose)
        noise, drives, losses = (tuple(tuple(source.values()) or None for source in sources[kind]) for kind in DRAWN)
        reads = tuple(
            None
            if given.variance is None
            else tuple(noise_key(chip.seed, "read", self.seed, purpose, index) for chip in self.chips)
            for index, given in enumerate(self._driving)
        )

        def windows() -> Iterator[Window]:
            for batch in batches:
                self._pass(size * self.window * self.step)
                self._measure_noise(sources, batch.numbers)
                self._presented = True
                yield Window(
                    inputs=self.encoded(batch, purpose),
                    numbers=batch.numbers,
                    noise=noise,
                    reads=reads,
                    drives=drives,
                    losses=losses,
                )

        self.engine.run(
            self.stages,
            windows(),
            count=count,
            batch=size,
            steps=self.window,
            step=self.step,
            watch=watch,
            on_window=on_window,
        )

    def run_all(
        self, inputs: Array, *, first: int = 0, purpose: str, watch: Watch | None = None, on_window: OnWindow
    ) -> None:
        """Present samples [samples, inputs], the first of number `first`: full batches in one run, the rest in another,
        since those of a run are alike.
        """
        full = len(inputs) // BATCH * BATCH
        for rows, number, size in ((inputs[:full], first, BATCH), (inputs[full:], first + full, len(inputs) - full)):
            starts = range(0, len(rows), size or 1)
            self.run(
                (Batch(inputs=rows[s : s + size], numbers=range(number + s, number + s + size)) for s in starts),
                count=len(starts),
                size=size,
                purpose=purpose,
                watch=watch,
                on_window=on_window,
            )

    def encoded(self, batch: Batch, purpose: str) -> Array:
        """Return what drives the rows of the first array, [batch, inputs] or [steps, batch, inputs]; on every chip the
        same.
        """
        return self.encoder.encode(batch.inputs, batch.numbers, self.window, noise_key(self.seed, "encoder", purpose))

    def _sources(self, purpose: str) -> dict[str, list[dict[int, White]]]:
        """What effects draw anew, by kind, stage and the place of the effect; the read-out has drivers alone."""
        hidden = range(len(self.stages) - 1)
        return {
            "membrane": [self._noise("membrane", index, (purpose, index)) for index in hidden],
            "driver": [self._noise("driver", index, (purpose, "driver", index)) for index in range(len(self.stages))],
            "loss": [self._noise("loss", index, (purpose, "loss", index)) for index in hidden],
        }

    def _noise(self, kind: str, index: int, names: tuple[str | int, ...]) -> dict[int, White]:
        """One kind of noise in one stage, by the place of the effect, with the keys of all chips."""
        found = [chip.noise(kind, self.stages[index].circuit, names, self.step) for chip in self.chips]
        return {
            place: White(tuple(key for noise in found for key in noise[place].keys), white.sigma)
            for place, white in found[0].items()
        }

    def _measure_noise(self, sources: Mapping[str, Sequence[dict[int, White]]], numbers: Sequence[int]) -> None:
        """Take account of what the first sample of a batch meets, for the effect report, until that is enough."""
        for kind, by_stage in sources.items():
            for stage, source in zip(self.stages, by_stage, strict=False):
                for effect, white in source.items():
                    if self._noise_seen[effect][1] < ENOUGH:
                        self._noise_seen[effect] += white.seen(kind, numbers[:1], self.window, stage.size(kind))

    def outputs(self, inputs: ArrayLike, *, first: int = 0) -> Array:
        """Read-out values [samples, outputs]: (1 / window) sum over steps of what the read-out received, in weights.
        Of several chips [chips, samples, outputs].

        Noise is keyed by sample number, `first` for the first of these samples: give it to present a set in parts.
        """
        values: list[AnyArray] = []
        self._present(self.flat(inputs), values, None, first)
        return self._joined(values)

    def _joined(self, values: list[AnyArray]) -> Array:
        """Values of all batches, each [chips x samples, outputs], together."""
        chips, outputs = len(self.chips), self.network.sizes[-1]
        parts = [to_numpy(v).reshape(chips, -1, outputs) for v in values] or [np.empty((chips, 0, outputs))]
        joined = np.concatenate(parts, axis=1)
        if not np.isfinite(joined).all():
            raise ChipsimError("read-out values are not finite: weights or inputs are too large for what computes them")
        return joined if chips > 1 else joined[0]

    def _present(
        self,
        inputs: Array,
        values: list[AnyArray],
        watch: Watch | None,
        first: int,
    ) -> None:
        readout = self.chip.design.readout
        scale = readout.unit_drive * self.window

        def keep(v: AnyArray) -> None:
            values.append((v - readout.rest) / scale)
            bar.show(min(1.0, BATCH * len(values) / len(inputs)))

        with Bar(f"presenting {len(inputs)} samples", shown=True) as bar:
            self.run_all(inputs, first=first, purpose="present", watch=watch, on_window=keep)

    def predict(self, inputs: ArrayLike, *, first: int = 0) -> NDArray[np.intp]:
        """Return the class of the largest read-out value for each sample."""
        classes: NDArray[np.intp] = np.argmax(self.outputs(inputs, first=first), axis=-1)
        return classes

    def accuracy(self, samples: Samples) -> Any:
        """Return the share, 0 to 1, of samples whose predicted class is their label; of several chips [chips]."""
        labels = labels_of(samples, self.network.sizes[-1], "accuracy")
        shares = np.mean(self.predict(samples.inputs) == labels, axis=-1)
        return shares if len(self.chips) > 1 else float(shares)

    def present(self, inputs: ArrayLike, record: Record | None = None, *, first: int = 0) -> xr.Dataset:
        """Present samples, the first of number `first`; return `output(sample, column)` and what `record` probes.

        Probes: v [the membrane's unit] and spikes (sample, time, neuron), drive (sample, time, row), current [A]
        (sample, time, cell).
        """
        flat = self.flat(inputs)
        values: list[AnyArray] = []
        if len(self.chips) > 1:
            raise ParameterError("present() shows one chip; deploy a network on each chip alone, or take outputs()")
        if record is None:
            output = variable(("sample", "column"), self.outputs(flat, first=first), "1", "read-out value")
            return xr.Dataset({"output": output}, attrs=self.chip.provenance)
        if not len(flat):
            raise ParameterError("present needs at least one sample to probe")
        units = [stage.circuit.membrane_unit for stage in self.stages]
        probe = Probe(record, self.placement.layers, units, lambda *at: self._pair_current(record.layer, *at))
        watch = Watch(see=probe.see, v=[index == record.layer for index in range(len(self.stages))])
        self._present(flat, values, watch, first)
        output = variable(("sample", "column"), self._joined(values), "1", "read-out value")
        return xr.Dataset(
            {"output": output, **probe.variables(self.window)},
            coords=probe.coordinates(self.window, self.step),
            attrs=self.chip.provenance,
        )

    def _pair_current(self, layer: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        g = to_numpy(self.arrays[layer].seen(self.cells[layer], self.time))[:, rows, columns]
        current: Array = self.chip.design.v_read * (g[0] - g[1])
        return current

    def effect_report(self) -> EffectReport:
        """Return which effects act on this deployment and how large each measured, programming included.

        Raises ChipsimError for an effect of a strength above 0 that measured exactly 0.
        """
        design = self.chip.design
        acting = {effect.name: place for place, effect in enumerate(design.acting)}
        conductances = [
            to_numpy(array.seen(cells, self.time)) for array, cells in zip(self.arrays, self.cells, strict=True)
        ]
        alone = [to_numpy(array.alone(cells, self.time)) for array, cells in zip(self.arrays, self.cells, strict=True)]
        lines: list[Entry] = []
        for effect in design.effects:
            sizes: dict[str, float] = {}
            if effect.name in acting:
                place = acting[effect.name]
                sizes = effect.measure(
                    Seen(
                        neurons=self._frozen_circuits(place),
                        cells=[layer[place] for layer in self._frozen],
                        noise=self._noise_seen[place],
                        conductances=conductances,
                        g_max=design.device.g_max,
                        alone=alone,
                        coded=not self.encoder.spikes,
                    )
                )
            lines += entries(effect, sizes, presented=self._presented)
        return EffectReport((*lines, *self._programming(), *self._ageing(), *self._stepping()))

    def _frozen_circuits(self, place: int) -> list[dict[str, Array]]:
        """The frozen arrays of each layer's circuits, of one acting effect."""
        banks = [(chip.frozen_neurons[place], chip.frozen_readouts[place]) for chip in self.chips]
        return [
            {
                kind: np.concatenate([bank[layer.readout][kind][layer.bank] for bank in banks])
                for kind in banks[0][layer.readout]
            }
            for layer in self.placement.layers
        ]

    def _obeying(self, layer: int) -> NDArray[np.bool_]:
        """Which cells [2, rows, columns] no effect takes from their target."""
        target = to_numpy(self.cells[layer].target)
        pairs = zip(self.chip.design.acting, self._frozen[layer], strict=True)
        kept = [effect.programme(target, values) == target for effect, values in pairs]
        return np.broadcast_to(np.logical_and.reduce(kept or [np.True_]), target.shape)

    def _stepping(self) -> list[Entry]:
        """What steps of this length cost circuits whose equations are integrated; those that gather charges have the
        step for their clock.
        """
        design = self._dies[0].design
        errors = {
            name: _step_error(circuit, self.step)
            for name, circuit in (("circuit", design.circuit), ("readout", design.readout))
            if circuit.port == "current"
        }
        return [
            Entry(effect="step", part=f"error of the {name}'s membrane, share of swing", strength=self.step, measured=e)
            for name, e in errors.items()
        ]

    def _programming(self) -> list[Entry]:
        """What programming did to cells that obey it."""
        device = self.chip.design.device
        deviations = [to_numpy(cells.g - cells.target)[self._obeying(layer)] for layer, cells in enumerate(self.cells)]
        clipped = sum(layer.clipped * layer.weight.size for layer in self.placement.layers)
        total = sum(layer.weight.size for layer in self.placement.layers)
        sizes = {
            "rms deviation of cells from target, share of range": _rms(deviations) / (device.g_max - device.g_min),
            "share of weights clipped at mapping": clipped / total,
        }
        lines = [Entry(effect="programming", part=part, strength=size, measured=size) for part, size in sizes.items()]
        if device.wears:
            worn = np.concatenate([to_numpy(cells.wear).ravel() for cells in self.cells]) / device.endurance
            for part, size in (("of the cell most written", worn.max()), ("on average", worn.mean())):
                lines.append(
                    Entry(effect="wear", part=f"share of endurance, {part}", strength=float(size), measured=float(size))
                )
        return lines

    def _ageing(self) -> list[Entry]:
        """How cells that obey programming have moved since, and how noisily they are read."""
        device = self.chip.design.device
        if not device.ages:
            return []
        moved, slow, fast = [], [], []
        for layer, (array, cells) in enumerate(zip(self.arrays, self.cells, strict=True)):
            obeying, age = self._obeying(layer), self.time - cells.written
            g = device.aged(cells.g, cells.target, cells.drawn, age)
            moved.append(to_numpy(g - cells.g)[obeying])
            slow.append(to_numpy(device.slow(g, cells.target, age, array.step))[obeying])
            fast.append(np.sqrt(to_numpy(device.variance(g, cells.target, array.step)))[obeying])
        span, changes = device.g_max - device.g_min, np.concatenate(moved)
        sizes = {
            ("drift", "mean change of cells since their write, share of range"): changes.mean() / span,
            ("drift", "rms change of cells since their write, share of range"): _rms(moved) / span,
        }
        if device.fluctuates:
            sizes["device noise", "rms of what is slower than a step, share of range"] = _rms(slow) / span
            sizes["device noise", "rms of an access, share of range"] = _rms(fast) / span
        return [
            Entry(effect=effect, part=part, strength=float(abs(size)), measured=float(size))
            for (effect, part), size in sizes.items()
        ]


def _rms(parts: Sequence[Array]) -> float:
    values = np.concatenate(parts)
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _together(chips: Sequence[tuple[Frozen, ...]], axis: int) -> tuple[Frozen, ...]:
    """Frozen arrays of several chips, effect by effect, along a new axis; those of one chip as they are."""
    if len(chips) == 1:
        return chips[0]
    return tuple(
        {kind: np.stack([frozen[kind] for frozen in effect], axis=axis) for kind in effect[0]}
        for effect in zip(*chips, strict=True)
    )


def labels_of(samples: Samples, classes: int, who: str) -> NDArray[np.int64]:
    """Return the labels of samples; raise ParameterError where they are no classes, one for each. who: needs them."""
    if not (hasattr(samples, "inputs") and hasattr(samples, "labels")):
        raise ParameterError(
            f"{who} needs samples with arrays of inputs and labels, as data.train has, not a {type(samples).__name__}"
        )
    labels = np.asarray(samples.labels)
    if not labels.size or labels.shape != (len(samples.inputs),):
        raise ParameterError(
            f"{who} needs a label for each of {len(samples.inputs)} samples, not labels of shape {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise ParameterError(f"labels must be whole numbers from 0 to {classes - 1}, as the network has classes")
    return labels.astype(np.int64)


@functools.lru_cache(maxsize=64)
def _step_error(circuit: Circuit, step: float) -> float:
    """What a step [s] costs a nominal circuit in 100 steps, at the worst of some shares of the drive of a rate of 1."""
    current = np.geomspace(0.01, 0.5, 8) * circuit.firing_drive / circuit.per_ampere(step)
    engine = Torch(dtype="float64", device="cpu", compile=False)
    found = step_error(circuit, current=current, duration=100 * step, step=step, engine=engine)
    return float(found["v_error"].max())  # over those that have one; NaN where none has


def deploy(
    network: Network,
    chip: Chip | Sequence[Chip],
    *,
    window: int = 16,
    step: float = 1e-3,
    engine: Engine | None = None,
    encoder: Encoder | None = None,
    seed: int = 0,
    avoid: Avoid | None = None,
    verify: bool = False,
) -> Deployment:
    """Place a network on a chip and programme its cells.

    chip: one, or several of one design, which are simulated side by side: what they give has the chips as its first
    dimension, and is what each would give alone. That pays for small networks; large ones run chip by chip, in studies.
    window: steps per sample (T). step: seconds per step; a Brian2 quantity is accepted. engine: the Brian2 reference
    by default. encoder: how inputs drive their rows, by default as analog values, the same in every step; Poisson()
    makes spikes of them. seed: beside the chip's, of programming, of what reads of cells and learning circuits meet,
    and of the encoder: another one is another draw on the same die; the noise of membranes, of drivers and of lost
    spikes goes by the chip's alone. avoid: tiles and circuits that the network must not stand on, as a test of this
    chip found them. verify: whether a controller reads each pair of cells through its own read path and corrects what
    it writes, as far as their range allows: so that it makes up for what frozen effects do to cells, and for stuck
    partners; not for wires.
    Raises CapacityError when the network does not fit, ParameterError for a window or step out of range.
    """
    if not isinstance(network, Network):
        raise ParameterError(f"deploy needs a Network, as teacher.network() gives, not a {type(network).__name__}")
    chips = tuple(chip) if isinstance(chip, Sequence) else (chip,)
    if not chips or not all(isinstance(one, Chip) for one in chips):
        raise ParameterError(f"deploy needs a Chip, as fabricate(design, seed) gives, not a {type(chip).__name__}")
    if len({one.design.hash for one in chips}) > 1:
        raise ParameterError("several chips that are simulated side by side must be of one design")
    if len(chips) > 1 and any(wiring.kernel is not None for wiring in network.wirings):
        raise ParameterError(
            "chips side by side are for small dense networks; run convolutions chip by chip, as studies do"
        )
    window = whole(window, "window", 1)
    seconds = to_si(step, "s", "step")
    if not 0 < seconds < np.inf:
        raise ParameterError(f"step must be above 0 s and finite, not {seconds:g} s")
    if not isinstance(encoder, Encoder | None):
        raise ParameterError(f"encoder must be an Encoder, as Analog() and Poisson() are, not {encoder!r}")
    if not isinstance(engine, Engine | None):
        raise ParameterError(f"engine must be an engine, as Torch() and Brian() are, not {engine!r}")
    if not isinstance(avoid, Avoid | None):
        raise ParameterError(f"avoid must be an Avoid, as Avoid(tiles=[3]) is, not {avoid!r}")
    return Deployment(
        network, chips, engine or reference(), encoder or Analog(), window, seconds, seed, avoid or Avoid(), verify
    )
