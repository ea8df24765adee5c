"""Deployment: a network on a chip. The one mutable object: conductances now, the clock, and what was measured."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from chipsim.chip import Chip
from chipsim.crossbar import Cells, Crossbar
from chipsim.engines import Engine, Stage, StageState, Window
from chipsim.errors import ParameterError
from chipsim.mapping import PlacedLayer, place
from chipsim.network import Network
from chipsim.probe import Probe, Record, variable
from chipsim.quantity import to_si
from chipsim.report import EffectReport, Entry, entries
from chipsim.streams import sample_normals, stream

Array = NDArray[np.float64]
BATCH = 128


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


class Deployment:
    """A network deployed on a chip; made by `deploy`.

    network, chip, placement: as given and as placed. cells: the state of each layer's array. time: the clock [s].
    """

    def __init__(self, network: Network, chip: Chip, engine: Engine, window: int, step: float) -> None:
        self.network, self.chip, self.engine = network, chip, engine
        self.window, self.step, self.time = window, step, 0.0
        self.placement = place(network, chip.design)
        self._frozen = tuple(layer.gather(chip.tile) for layer in self.placement.layers)
        self.arrays = tuple(
            Crossbar(
                device=chip.design.device,
                effects=tuple(zip(chip.design.acting, frozen, strict=True)),
                w_max=layer.w_max,
            )
            for layer, frozen in zip(self.placement.layers, self._frozen, strict=True)
        )
        self._noise_seen = np.zeros((len(chip.design.acting), 2))
        self._writes = 0
        self.cells: list[Cells] = []
        self._volts: list[Array] = []
        for array, layer in zip(self.arrays, self.placement.layers, strict=True):
            self.cells.append(array.programme(None, layer.weight, self.write_stream(), self.time))
            self._volts.append(np.empty(0))
            self._refresh(len(self.cells) - 1)
        self.stages = tuple(self._stage(index, layer) for index, layer in enumerate(self.placement.layers))

    def _stage(self, index: int, layer: PlacedLayer) -> Stage:
        bank = self.chip.readouts if layer.readout else self.chip.neurons
        return Stage(
            circuit=self.chip.design.readout if layer.readout else self.chip.design.circuit,
            parameters={name: values[layer.neurons] for name, values in bank.items()},
            weights=lambda: self._volts[index],
            bias_rows=layer.bias_rows,
        )

    def _refresh(self, index: int) -> None:
        circuit = self.chip.design.readout if self.placement.layers[index].readout else self.chip.design.circuit
        self._volts[index] = self.arrays[index].weights(self.cells[index]) * circuit.v_unit

    def write_stream(self) -> np.random.Generator:
        """Return the stream of the next write's programming noise."""
        self._writes += 1
        return stream(self.chip.seed, "programme", self._writes)

    def write(self, layer: int, cells: Cells) -> None:
        """Put new cells in place of a layer's, as a writer left them."""
        self.cells[layer] = cells
        self._refresh(layer)

    def weights(self, layer: int) -> Array:
        """Effective weights [rows, columns] of a layer now, bias rows last."""
        return self.arrays[layer].weights(self.cells[layer])

    def flat(self, inputs: ArrayLike) -> Array:
        """Return inputs as [samples, inputs] in float64; raise ParameterError for a wrong size or values not finite."""
        array = np.asarray(inputs, dtype=np.float64)
        expected = self.network.sizes[0]
        if array.ndim < 2 or array[0:1].size != (expected if len(array) else 0):
            raise ParameterError(f"inputs must have shape [samples, {expected}], not {array.shape}")
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
        on_step: Callable[[int, Sequence[StageState]], bool] | None = None,
        on_window: Callable[[Array], None] | None = None,
    ) -> None:
        """Present `count` batches of `size` samples in one long run; noise is keyed by `purpose` and sample number."""

        def windows() -> Iterator[Window]:
            for batch in batches:
                self.time += size * self.window * self.step
                yield Window(inputs=batch.inputs, noise=self._noise(batch.numbers, purpose))

        self.engine.run(
            self.stages,
            windows(),
            count=count,
            batch=size,
            steps=self.window,
            step=self.step,
            on_step=on_step,
            on_window=on_window,
        )

    def _noise(self, numbers: Sequence[int], purpose: str) -> tuple[Array | None, ...]:
        noisy = [(i, effect) for i, effect in enumerate(self.chip.design.acting) if effect.noisy]
        total: list[Array | None] = [None] * len(self.stages)
        for position, effect in noisy:
            for index, stage in enumerate(self.stages[:-1]):
                shape = (self.window, stage.neurons)
                names = (effect.name, purpose, index)
                normals = sample_normals(self.chip.seed, *names, samples=numbers, shape=shape)
                voltage = effect.step(stage.circuit, normals).swapaxes(0, 1)
                self._noise_seen[position] += (float(np.sum(voltage * voltage)), voltage.size)
                before = total[index]
                total[index] = voltage if before is None else before + voltage
        return tuple(total)

    def outputs(self, inputs: ArrayLike) -> Array:
        """Read-out values [samples, outputs]: (1 / window) sum over steps of what the read-out received, in weights."""
        values: list[Array] = []
        self._present(self.flat(inputs), values, None)
        return np.concatenate(values) if values else np.empty((0, self.network.sizes[-1]))

    def _present(
        self, inputs: Array, values: list[Array], on_step: Callable[[int, Sequence[StageState]], bool] | None
    ) -> None:
        scale = self.chip.design.readout.v_unit * self.window
        full = len(inputs) // BATCH * BATCH
        for rows, size in ((inputs[:full], BATCH), (inputs[full:], len(inputs) - full)):
            offset = 0 if size == BATCH else full
            starts = range(0, len(rows), size or 1)
            self.run(
                (Batch(inputs=rows[s : s + size], numbers=range(offset + s, offset + s + size)) for s in starts),
                count=len(starts),
                size=size,
                purpose="present",
                on_step=on_step,
                on_window=lambda v: values.append((v - self.chip.design.readout.v_rest) / scale),
            )

    def predict(self, inputs: ArrayLike) -> NDArray[np.intp]:
        """Return the class of the largest read-out value for each sample."""
        classes: NDArray[np.intp] = np.argmax(self.outputs(inputs), axis=1)
        return classes

    def accuracy(self, samples: Samples) -> float:
        """Return the share, 0 to 1, of samples whose predicted class is their label."""
        labels = np.asarray(samples.labels)
        if not len(labels) or len(labels) != len(samples.inputs):
            raise ParameterError(
                f"accuracy needs samples, each with a label: {len(samples.inputs)} inputs, {len(labels)} labels"
            )
        return float(np.mean(self.predict(samples.inputs) == labels))

    def present(self, inputs: ArrayLike, record: Record | None = None) -> xr.Dataset:
        """Present samples and return `output(sample, column)`, with whatever `record` probes, step by step.

        Probes: v [V] and spikes (sample, time, neuron), drive (sample, time, row), current [A] (sample, time, cell).
        """
        flat = self.flat(inputs)
        values: list[Array] = []
        if record is None:
            return xr.Dataset({"output": variable(("sample", "column"), self.outputs(flat), "1", "read-out value")})
        if not len(flat):
            raise ParameterError("present needs at least one sample to probe")
        probe = Probe(record, self.placement.layers, lambda *at: self._pair_current(record.layer, *at))
        self._present(flat, values, probe.step)
        output = variable(("sample", "column"), np.concatenate(values), "1", "read-out value")
        return xr.Dataset(
            {"output": output, **probe.variables(self.window)}, coords=probe.coordinates(self.window, self.step)
        )

    def _pair_current(self, layer: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        g = self.arrays[layer].seen(self.cells[layer])[:, rows, columns]
        current: Array = self.chip.design.v_read * (g[0] - g[1])
        return current

    def effect_report(self) -> EffectReport:
        """Return which effects act on this deployment and how large each measured, programming included.

        Raises ChipsimError for an effect of a strength above 0 that measured exactly 0.
        """
        design = self.chip.design
        hidden = [layer.neurons.stop for layer in self.placement.layers if not layer.readout]
        used = slice(0, max(hidden, default=0))
        lines: list[Entry] = []
        acting = 0
        for effect in design.effects:
            if effect.strength == 0:
                lines += entries(effect, {})
                continue
            neurons = {kind: values[used] for kind, values in self.chip.frozen_neurons[acting].items()}
            cells = [layer[acting] for layer in self._frozen]
            lines += entries(effect, effect.measure(neurons, cells, self._noise_seen[acting]))
            acting += 1
        return EffectReport((*lines, *self._programming()))

    def _programming(self) -> list[Entry]:
        device = self.chip.design.device
        span = device.g_max - device.g_min
        written = np.concatenate([(cells.g - cells.target).ravel() for cells in self.cells])
        clipped = sum(layer.clipped * layer.weight.size for layer in self.placement.layers)
        total = sum(layer.weight.size for layer in self.placement.layers)
        sizes = {
            "rms deviation of cells from target, share of range": float(np.sqrt(np.mean(written**2))) / span,
            "share of weights clipped at mapping": clipped / total,
        }
        return [Entry(effect="programming", part=part, strength=1.0, measured=size) for part, size in sizes.items()]


def deploy(
    network: Network, chip: Chip, *, window: int = 16, step: float = 1e-3, engine: Engine | None = None
) -> Deployment:
    """Place a network on a chip and programme its cells.

    window: steps per sample (T). step: seconds per step; a Brian2 quantity is accepted. engine: the Brian2 reference
    by default. Inputs drive their rows as analog values, the same in every step (direct encoding).
    Raises CapacityError when the network does not fit, ParameterError for a window or step out of range.
    """
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ParameterError(f"window must be a whole number of steps of at least 1, not {window!r}")
    seconds = to_si(step, "s", "step")
    if not 0 < seconds < np.inf:
        raise ParameterError(f"step must be above 0 s and finite, not {seconds:g} s")
    if engine is None:
        from chipsim.engines.brian import Brian  # here, so that importing chipsim does not import Brian2

        engine = Brian()
    return Deployment(network, chip, engine, window, seconds)
