"""learn(): a local rule at work on every array of a deployment, sample after sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.deployment import Batch, Deployment
from chipsim.engines import StageState
from chipsim.errors import ParameterError
from chipsim.loop import Adam, Optimiser, with_progress
from chipsim.quantity import canonical_json
from chipsim.rules import LocalTandem, Rule
from chipsim.schema import DIMENSIONS
from chipsim.signals import LocalSignals
from chipsim.writers import Direct, Writer

Array = NDArray[np.float64]
BATCH = 64


TargetBatch = tuple[Array, NDArray[np.int64], tuple[Array, ...]]


class Targets(Protocol):
    """Learning samples: batches of (inputs, labels, one array of target rates [batch, columns] per layer)."""

    def __len__(self) -> int: ...

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]: ...


def learn(
    deployment: Deployment,
    targets: Targets,
    *,
    rule: Rule | None = None,
    writer: Writer | None = None,
    optimiser: Optimiser | None = None,
    update: Literal["step", "sample", "batch"] = "batch",
    batch: int | None = None,
    epochs: int = 1,
    progress: bool = True,
    on_epoch: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Learn on the chip: present the samples, run the rule on every array, and write its changes into the cells.

    rule: LocalTandem() by default; writer: Direct(); optimiser: Adam(), the paper's host-side reference (SGD is what
    needs no memory beside the cells). update: write after every "step", after every "sample", or after every "batch"
    of `batch` samples (64) whose gradients are averaged; the first two present one sample at a time. What the read-out
    learns from, labels or the teacher's outputs, is said by the targets. on_epoch(epoch) is called after each epoch.
    Each call starts anew: the optimiser's memory, the order of the samples and the numbers that key their noise.

    Returns rate_error(epoch, layer), the root mean square of rate - target over hidden neurons, and
    writes(epoch, layer), the number of cell writes; its attributes say which rule, writer and optimiser
    learned, and from what the read-out did. Raises ParameterError for an impossible combination of arguments or for
    targets that do not fit the network.
    """
    size = _batch_size(update, batch)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ParameterError(f"epochs must be a whole number of at least 1, not {epochs!r}")
    if not (hasattr(targets, "batches") and hasattr(targets, "__len__")):
        raise ParameterError(
            f"targets need batches() and a length, as teacher.targets(...) gives, not a {type(targets).__name__}"
        )
    if not len(targets):
        raise ParameterError("learn needs at least one sample; the targets are empty")
    rule, writer, optimiser = rule or LocalTandem(), writer or Direct(), optimiser or Adam()
    teacher = _Teaching(deployment, rule, writer, optimiser, update == "step", epochs * len(targets))
    rule.check(deployment.chip.design.circuit)
    history: list[tuple[Array, Array]] = []
    for epoch in range(epochs):
        full, rest = divmod(len(targets), size)
        batches = targets.batches(size, epoch)
        shown = with_progress(batches, full + bool(rest), f"learning, epoch {epoch + 1} of {epochs}", progress)
        for count, length in ((full, size), (1, rest)):
            if count and length:
                teacher.run(shown, count, length)
        for _ in shown:  # ends the progress bar
            raise ParameterError("the targets gave more batches than their length promises")
        history.append(teacher.summary(len(targets)))
        if on_epoch is not None:
            on_epoch(epoch)
    parts = {"rule": rule, "writer": writer, "optimiser": optimiser}
    made_by: dict[str, str | int] = {name: canonical_json(part) for name, part in parts.items()}
    return (
        _history(history)
        .assign_attrs(deployment.chip.provenance)
        .assign_attrs(made_by, update=update, batch=size, readout=getattr(targets, "readout", "?"))
    )


def _batch_size(update: str, batch: int | None) -> int:
    if update not in ("step", "sample", "batch"):
        raise ParameterError(f'update must be "step", "sample" or "batch", not {update!r}')
    size = batch if batch is not None else BATCH if update == "batch" else 1
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ParameterError(f"batch must be a whole number of at least 1, not {batch!r}")
    if update != "batch" and size != 1:
        raise ParameterError(f'update="{update}" presents one sample at a time; leave batch = {size} out')
    return size


def _history(history: list[tuple[Array, Array]]) -> xr.Dataset:
    errors, writes = (np.array(column) for column in zip(*history, strict=True))
    dims = ("epoch", "layer")
    return xr.Dataset(
        {
            "rate_error": (dims, errors, {"units": "1", "long_name": "root mean square of rate - target"}),
            "writes": (dims, writes, {"units": "1", "long_name": "cell writes"}),
        },
        coords={
            "epoch": ("epoch", np.arange(1, len(history) + 1), _attributes("epoch")),
            "layer": ("layer", np.arange(errors.shape[1]), _attributes("layer")),
        },
    )


def _attributes(dimension: str) -> dict[str, str]:
    unit, long_name = DIMENSIONS[dimension]
    return {"units": unit, "long_name": long_name}


class _Teaching:
    """One run of `learn`: the rule's state of the window at hand, the optimiser's of the run."""

    def __init__(
        self, deployment: Deployment, rule: Rule, writer: Writer, optimiser: Optimiser, every_step: bool, total: int
    ) -> None:
        self.deployment, self.rule, self.writer, self.optimiser = deployment, rule, writer, optimiser
        self.every_step, self.total, self.done = every_step, total, 0
        layers = deployment.placement.layers
        self.optimiser_states = [optimiser.init((layer.rows, layer.columns)) for layer in layers]
        self.states: list[Any] = []
        self.gradients: list[Array | None] = [None] * len(layers)
        self.rates: tuple[Array, ...] = ()
        self.counts: list[Array] = []
        self.squares, self.writes = np.zeros(len(layers)), np.zeros(len(layers))
        self.thresholds = [
            stage.parameters[stage.circuit.roles["threshold"]] if "threshold" in stage.circuit.roles else None
            for stage in deployment.stages
        ]

    def run(self, batches: Iterator[TargetBatch], count: int, size: int) -> None:
        """Present `count` batches of `size` samples and learn from them."""

        def presented() -> Iterator[Batch]:
            for _ in range(count):
                inputs, _labels, rates = self._next(batches)
                self._begin(rates, size)
                first, self.done = self.done, self.done + size  # the engine does not come back after its last window
                yield Batch(inputs=self.deployment.flat(inputs), numbers=range(first, first + size))

        self.deployment.run(
            presented(), count=count, size=size, purpose="learn", on_step=self.on_step, on_window=lambda _: self._end()
        )

    @staticmethod
    def _next(batches: Iterator[TargetBatch]) -> TargetBatch:
        batch = next(batches, None)
        if batch is None:
            raise ParameterError("the targets gave fewer batches than their length promises")
        return batch

    def _begin(self, rates: tuple[Array, ...], size: int) -> None:
        layers = self.deployment.placement.layers
        given, needed = [r.shape for r in rates], [(size, layer.columns) for layer in layers]
        if given != needed:
            raise ParameterError(f"targets have shapes {given}, but this network and batch need {needed}")
        if not all(np.isfinite(r).all() for r in rates):
            raise ParameterError("targets hold NaN or infinite rates")
        self.rates = rates
        self.states = [self.rule.init(size, layer.rows, layer.columns) for layer in layers]
        self.counts = [np.zeros((size, layer.columns)) for layer in layers]

    def on_step(self, step: int, stages: Sequence[StageState]) -> bool:
        """Run the rule on every array; write at once if every step is to be written."""
        for index, state in enumerate(stages):
            self.counts[index] += state.spikes
            signals = self._signals(index, step, state)
            self.states[index], gradient = self.rule.update(self.states[index], signals)
            if gradient is not None:
                before = self.gradients[index]
                self.gradients[index] = gradient if before is None else before + gradient
        return self.every_step and self._write()

    def _signals(self, index: int, step: int, state: StageState) -> LocalSignals:
        """Build what the array's learning circuit sees, and only what the rule declares to read."""
        deployment, stage, reads = self.deployment, self.deployment.stages[index], self.rule.reads
        readout, circuit = self.deployment.placement.layers[index].readout, stage.circuit
        threshold = self.thresholds[index]
        seen: dict[str, Array] = {}
        if "pre" in reads:
            seen["pre"] = state.pre
        if "target" in reads:
            seen["target"] = self.rates[index]
        if readout and "value" in reads:
            seen["value"] = (state.v - circuit.v_rest) / circuit.v_unit
        if not readout and "spikes" in reads:
            seen["spikes"] = state.spikes
        if not readout and "membrane" in reads:
            seen["membrane"] = (state.v - circuit.v_rest) / circuit.v_unit
        if threshold is not None and "gate" in reads:
            seen["gate"] = (np.abs(state.v - threshold) < self.rule.gate * circuit.v_unit).astype(float)
        return LocalSignals(
            step=step,
            window=deployment.window,
            leak=circuit.leak(deployment.step),
            row_leak=float(np.exp(-deployment.step / deployment.chip.design.trace_tau)),
            readout=readout,
            **seen,
        )

    def _end(self) -> None:
        if not self.every_step:
            self._write()
        for index, rates in enumerate(self.rates[:-1]):
            error = self.counts[index] / self.deployment.window - rates
            self.squares[index] += float(np.sum(error**2)) / rates.shape[1]

    def _write(self) -> bool:
        wrote = False
        progress = self.done / self.total
        for index, gradient in enumerate(self.gradients):
            if gradient is None:
                continue
            state, change = self.optimiser.step(self.optimiser_states[index], gradient, progress)
            self.optimiser_states[index], self.gradients[index] = state, None
            array, cells = self.deployment.arrays[index], self.deployment.cells[index]
            written = self.writer.write(array, cells, change, self.deployment.write_stream(), self.deployment.time)
            self.writes[index] += np.count_nonzero(written.target != cells.target)
            self.deployment.write(index, written)
            wrote = True
        return wrote

    def summary(self, samples: int) -> tuple[Array, Array]:
        """Return rate error and cell writes per layer since the last summary."""
        errors, writes = np.sqrt(self.squares / samples), self.writes
        errors[-1] = np.nan  # a read-out has no rate
        self.squares, self.writes = np.zeros(len(errors)), np.zeros(len(errors))
        return errors, writes
