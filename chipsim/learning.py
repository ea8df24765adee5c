"""learn(): a local rule at work on every array of a deployment, sample after sample."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, namespace
from chipsim.checkpoint import Checkpoint, fingerprint, pieces
from chipsim.deployment import Batch, Deployment, Samples
from chipsim.engines import StageState, Watch
from chipsim.errors import ParameterError
from chipsim.loop import Adam, Controller, Optimiser, with_progress
from chipsim.probe import variable
from chipsim.quantity import canonical_json
from chipsim.rules import LocalTandem, Rule
from chipsim.schema import DIMENSIONS
from chipsim.signals import LocalSignals
from chipsim.streams import stream
from chipsim.writers import Direct, Writer

Array = NDArray[np.float64]
BATCH = 64


TargetBatch = tuple[NDArray[np.floating], NDArray[np.int64], tuple[NDArray[np.floating], ...]]


@runtime_checkable
class Targets(Protocol):
    """Learning samples: batches of (inputs, labels, one array of target rates [batch, columns] per layer). A rule that
    reads no target takes no rates.
    """

    def __len__(self) -> int: ...

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Samples with labels and no rates, for rules without teacher; in the order of a teacher's targets of that seed."""

    samples: Samples
    seed: int = 0
    readout: str = "labels"

    def __len__(self) -> int:
        return len(self.samples.inputs)

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]:
        inputs, labels = np.asarray(self.samples.inputs), np.asarray(self.samples.labels)
        order = stream(self.seed, "targets", epoch).permutation(len(self))
        for first in range(0, len(order), size):
            chosen = order[first : first + size]
            yield inputs[chosen], labels[chosen], ()


def learn(
    deployment: Deployment,
    targets: Targets | Samples,
    *,
    rule: Rule | None = None,
    writer: Writer | None = None,
    optimiser: Optimiser | None = None,
    update: Literal["step", "sample", "batch"] = "batch",
    batch: int | None = None,
    epochs: int = 1,
    layers: Sequence[int] | None = None,
    progress: bool = True,
    on_epoch: Callable[[int], None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> xr.Dataset:
    """Learn on the chip: present the samples, run the rule on every array, and write its changes into the cells.

    rule: LocalTandem() by default; writer: Direct(); optimiser: Adam(), the paper's host-side reference (SGD is what
    needs no memory beside the cells). update: write after every "step", after every "sample", or after every "batch"
    of `batch` samples (64) whose gradients are averaged; the first two present one sample at a time. What the read-out
    learns from, labels or the teacher's outputs, is said by the targets. layers: numbers of the arrays that learn, all
    by default; (-1,) is the read-out alone. on_epoch(epoch) is called after each epoch.
    Each call starts anew: the optimiser's memory, the order of the samples and the numbers that key their noise. One
    with a checkpoint, a file that keeps what was reached after every epoch and every five minutes or so, goes on from
    there if it finds it, on a deployment made in the same way, and comes to the same end as one that was never stopped.
    A rule that reads no teacher's target takes samples with labels alone, as `data.train`.

    Returns rate_error(epoch, layer), the root mean square of rate - target over hidden neurons (and over all chips; NaN
    where there is no target), and writes(epoch, layer), the number of cell writes; its attributes say which rule,
    writer and optimiser learned, and from what the read-out did. Raises ParameterError for an impossible combination of
    arguments or for targets that do not fit the network; StoredFileError for the checkpoint of another run, or a
    damaged one.
    """
    size = _batch_size(update, batch)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ParameterError(f"epochs must be a whole number of at least 1, not {epochs!r}")
    rule = rule or LocalTandem()
    lessons = _lessons(targets, rule)
    if not len(lessons):
        raise ParameterError("learn needs at least one sample; the targets are empty")
    writer, optimiser = writer or Direct(), optimiser or Adam()
    every_step = update == "step"
    updates = epochs * math.ceil(len(lessons) / size) * (deployment.window if every_step else 1)
    controller = Controller(deployment, writer, optimiser, updates)
    learning = _chosen(layers, len(deployment.stages), rule)
    teacher = _Teaching(deployment, rule, controller, learning, every_step, epochs * len(lessons))
    rule.check(deployment.chip.design.circuit)
    parts = {"rule": rule, "writer": writer, "optimiser": optimiser}
    made_by: dict[str, str | int] = {name: canonical_json(part) for name, part in parts.items()}
    made_by |= {"update": update, "batch": size, "readout": getattr(lessons, "readout", "?")}
    kept = None
    if checkpoint is not None:
        inputs, labels, rates = next(lessons.batches(size, 0))
        run = {
            "layers": sorted(learning), "epochs": epochs, "samples": len(lessons),
            "first batch": fingerprint(inputs, labels, *rates),
        }  # fmt: skip
        kept = Checkpoint(checkpoint, {**deployment.identity, **made_by, **run})
    errors = writes = np.zeros((0, len(deployment.stages)))
    if kept is not None and (found := kept.load((teacher.snapshot(), errors, writes))) is not None:
        snapshot, errors, writes = found
        teacher.restore(snapshot)

    def save() -> None:
        if kept is not None:
            kept.save((teacher.snapshot(), errors, writes))

    for epoch in range(len(errors), epochs):
        done = teacher.done - epoch * len(lessons)
        full, rest = divmod(len(lessons) - done, size)
        batches = itertools.islice(lessons.batches(size, epoch), done // size, None)
        shown = with_progress(batches, full + bool(rest), f"learning, epoch {epoch + 1} of {epochs}", progress)
        for piece in pieces(full, save if kept else None):
            teacher.run(shown, piece, size)
        if rest:
            teacher.run(shown, 1, rest)
        for _ in shown:  # ends the progress bar
            raise ParameterError("the targets gave more batches than their length promises")
        error, written = teacher.summary(len(lessons))
        errors, writes = np.vstack([errors, error]), np.vstack([writes, written])
        save()
        if on_epoch is not None:
            on_epoch(epoch)
    return _history(errors, writes).assign_attrs(deployment.chip.provenance).assign_attrs(made_by)


def _lessons(targets: Targets | Samples, rule: Rule) -> Targets:
    """The batches to learn from; labelled samples alone are enough for a rule that reads no target."""
    if isinstance(targets, Targets):
        return targets
    if not (hasattr(targets, "inputs") and hasattr(targets, "labels")):
        raise ParameterError(
            f"targets need batches() and a length, as teacher.targets(...) gives, not a {type(targets).__name__}"
        )
    if "target" in rule.reads:
        raise ParameterError(
            f"{type(rule).__name__} learns towards a teacher's rates: give teacher.targets(...), not samples alone"
        )
    return Labelled(samples=targets)


def _chosen(layers: Sequence[int] | None, count: int, rule: Rule) -> frozenset[int]:
    """The numbers of the arrays that learn, counted from the input side."""
    chosen = range(count) if layers is None else layers
    known = isinstance(chosen, Sequence) and all(isinstance(layer, int) and -count <= layer < count for layer in chosen)
    if not known or not chosen:
        raise ParameterError(f"layers must be numbers of arrays from {-count} to {count - 1}, not {layers!r}")
    found = frozenset(layer % count for layer in chosen)
    if not rule.hidden and count - 1 not in found:
        raise ParameterError(f"{type(rule).__name__} teaches the read-out alone, array {count - 1}; name it in layers")
    return found


def _batch_size(update: str, batch: int | None) -> int:
    if update not in ("step", "sample", "batch"):
        raise ParameterError(f'update must be "step", "sample" or "batch", not {update!r}')
    size = batch if batch is not None else BATCH if update == "batch" else 1
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ParameterError(f"batch must be a whole number of at least 1, not {batch!r}")
    if update != "batch" and size != 1:
        raise ParameterError(f'update="{update}" presents one sample at a time; leave batch = {size} out')
    return size


def _history(errors: Array, writes: Array) -> xr.Dataset:
    dims = ("epoch", "layer")
    return xr.Dataset(
        {
            "rate_error": variable(dims, errors, "1", "root mean square of rate - target"),
            "writes": variable(dims, writes, "1", "cell writes"),
        },
        coords={
            "epoch": variable(("epoch",), np.arange(1, len(errors) + 1), *DIMENSIONS["epoch"]),
            "layer": variable(("layer",), np.arange(errors.shape[1]), *DIMENSIONS["layer"]),
        },
    )


class _Teaching:
    """One run of `learn`: the rule's state of the window at hand, the optimiser's of the run."""

    def __init__(
        self,
        deployment: Deployment,
        rule: Rule,
        controller: Controller,
        learning: frozenset[int],
        every_step: bool,
        total: int,
    ) -> None:
        self.deployment, self.rule, self.controller = deployment, rule, controller
        self.learning, self.every_step, self.total, self.done = learning, every_step, total, 0
        self.layers = deployment.placement.layers
        self.gradients: list[AnyArray | None] = [None] * len(self.layers)
        self.arrays: list[_Array] = []
        self.squares = np.zeros(len(self.layers))

    def run(self, batches: Iterator[TargetBatch], count: int, size: int) -> None:
        """Present `count` batches of `size` samples and learn from them."""

        def presented() -> Iterator[Batch]:
            for _ in range(count):
                inputs, labels, rates = self._next(batches)
                self._begin(labels, rates, size)
                first, self.done = self.done, self.done + size  # the engine does not come back after its last window
                yield Batch(inputs=self.deployment.flat(inputs), numbers=range(first, first + size))

        self.deployment.run(
            presented(), count=count, size=size, purpose="learn", watch=self._watch(), on_window=lambda _: self._end()
        )

    def _watch(self) -> Watch:
        """What the learning circuits of the chip look at: what the rule declares to read."""
        reads, rule = self.rule.reads, self.rule
        scales = [stage.circuit.scale for stage in self.deployment.stages]
        gated = [not layer.readout and "gate" in reads for layer in self.layers]
        return Watch(
            see=self.see,
            every_step=self.every_step,
            v=[("value" if layer.readout else "membrane") in reads for layer in self.layers],
            gate=[rule.gate * scale if wanted else None for wanted, scale in zip(gated, scales, strict=True)],
            gate_from=rule.silent(self.deployment.window),
        )

    @staticmethod
    def _next(batches: Iterator[TargetBatch]) -> TargetBatch:
        batch = next(batches, None)
        if batch is None:
            raise ParameterError("the targets gave fewer batches than their length promises")
        return batch

    def _begin(self, labels: NDArray[np.int64], rates: tuple[NDArray[np.floating], ...], size: int) -> None:
        reads = self.rule.reads
        targets = self._rates(rates, size) if "target" in reads else [None] * len(self.layers)
        label = self._one_hot(np.asarray(labels), size) if "label" in reads else None
        self.arrays = [_Array(self.deployment, k, self.rule, target, label) for k, target in enumerate(targets)]

    def _rates(self, rates: tuple[NDArray[np.floating], ...], size: int) -> list[AnyArray]:
        given, needed = [r.shape for r in rates], [(size, layer.neurons) for layer in self.layers]
        if given != needed:
            raise ParameterError(f"targets have shapes {given}, but this network and batch need {needed}")
        if not all(np.isfinite(r).all() for r in rates):
            raise ParameterError("targets hold NaN or infinite rates")
        return [self._for_chips(r) for r in rates]

    def _one_hot(self, labels: NDArray[np.int64], size: int) -> AnyArray:
        classes = self.layers[-1].neurons
        whole = labels.shape == (size,) and np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0 or labels.max() >= classes:
            raise ParameterError(f"labels must be {size} whole numbers from 0 to {classes - 1}")
        return self._for_chips(np.eye(classes)[labels])

    def _for_chips(self, values: NDArray[np.floating]) -> AnyArray:
        return self.deployment.engine.array(np.tile(values, (len(self.deployment.chips), 1)))

    def see(self, index: int, first: int, state: StageState) -> bool:
        """Run the rule on one array for some steps; write at once if every step is to be written."""
        gradient = self.arrays[index].learn(first, state, index in self.learning)
        if gradient is not None:
            if (chips := len(self.deployment.chips)) > 1:
                gradient = gradient * chips  # a rule averages over all the samples that it is shown
            before = self.gradients[index]
            self.gradients[index] = gradient if before is None else before + gradient
        return self.every_step and index == len(self.layers) - 1 and self._write()

    def _end(self) -> None:
        if not self.every_step:
            self._write()
        for index, array in enumerate(self.arrays[:-1]):
            if array.target is None:
                self.squares[index] = np.nan
                continue
            error = array.count / self.deployment.window - array.target
            self.squares[index] += float((error * error).sum()) / (array.target.shape[1] * len(self.deployment.chips))

    def _write(self) -> bool:
        wrote = False
        for index, gradient in enumerate(self.gradients):
            if gradient is not None:
                self.controller.write(index, gradient, self.done / self.total)
                self.gradients[index], wrote = None, True
        return wrote

    def snapshot(self) -> Any:
        """What a checkpoint keeps of the run, between two runs of the engine."""
        return self.controller.snapshot(), self.done, self.squares

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        reached, self.done, self.squares = snapshot
        self.controller.restore(reached)

    def summary(self, samples: int) -> tuple[Array, Array]:
        """Return rate error and cell writes per layer since the last summary."""
        errors, writes = np.sqrt(self.squares / samples), self.controller.writes
        errors[-1] = np.nan  # a read-out has no rate
        self.squares, self.controller.writes = np.zeros(len(errors)), np.zeros(len(errors))
        return errors, writes


class _Carried(NamedTuple):
    """What rows [steps, batch, size] and bias rows [steps] carried, from step `first` on."""

    first: int
    rows: AnyArray
    biases: list[float]


def _taken(values: AnyArray, places: list[int]) -> AnyArray:
    """Values [steps, ...] of some steps; a view where these follow each other."""
    if places == list(range(places[0], places[-1] + 1)):
        return values[places[0] : places[-1] + 1]
    return namespace(values).stack([values[place] for place in places])


class _Array:
    """One array while a window is presented: the state of its learning circuits."""

    def __init__(
        self, deployment: Deployment, index: int, rule: Rule, target: AnyArray | None, label: AnyArray | None
    ) -> None:
        self.deployment, self.stage, self.rule, self.index = deployment, deployment.stages[index], rule, index
        self.target, self.label = target, label
        self.readout = deployment.placement.layers[index].readout
        self.traced = rule.rows(self.readout) == "trace"
        self.state, self.count = rule.init(), 0.0
        self.trace: AnyArray = None
        self.bias_trace = 0.0
        self.kept: list[_Carried] = []

    def learn(self, first: int, state: StageState, learns: bool) -> AnyArray | None:
        """Take some steps; return the gradient [rows, columns] that they give, or None."""
        steps = state.spikes.shape[0]
        if not self.readout and self.target is not None:
            self.count = self.count + namespace(state.spikes).sum(state.spikes, axis=0)
        if not learns:
            return None
        part = _Carried(first, *self._rows(state, steps))
        kept = [*self.kept, part]
        if self.rule.looks_back:
            self.kept = kept
        taught: list[tuple[int, AnyArray]] = []
        for k in range(steps):
            self.state, delta = self.rule.update(self.state, self._signals(first + k, k, state))
            if delta is not None:
                taught.append((first + k + 1 - len(delta), delta))
        return self._gradient(kept, taught, held=state.held and not self.traced) if taught else None

    def _rows(self, state: StageState, steps: int) -> tuple[AnyArray, list[float]]:
        """What the rows carry in these steps, and the bias rows."""
        if not self.traced:
            return state.inputs, [1.0] * steps
        leak = math.exp(-self.deployment.step / self.deployment.chip.design.trace_tau)
        traces, biases = [], []
        for k in range(steps):
            self.trace = state.inputs[k] if self.trace is None else leak * self.trace + state.inputs[k]
            self.bias_trace = leak * self.bias_trace + 1.0
            traces.append(self.trace)
            biases.append(self.bias_trace)
        return namespace(state.inputs).stack(traces), biases

    def _gradient(self, kept: list[_Carried], taught: list[tuple[int, AnyArray]], *, held: bool) -> AnyArray:
        """Multiply column signals, each from a step on, with what the rows carried in their steps."""
        deltas = namespace(taught[0][1]).concat([delta for _, delta in taught]) if len(taught) > 1 else taught[0][1]
        steps = [step for start, delta in taught for step in range(start, start + len(delta))]
        if held:  # the rows carried the same in all steps
            kept = [_Carried(kept[0].first, kept[0].rows, [bias for part in kept for bias in part.biases])]
        total = None
        for part in kept:
            chosen = [place for place, step in enumerate(steps) if part.first <= step < part.first + len(part.biases)]
            if not chosen:
                continue
            places = [steps[place] - part.first for place in chosen]
            rows, biases = part.rows if held else _taken(part.rows, places), [part.biases[k] for k in places]
            gradient = self.deployment.engine.outer(self.stage, rows, biases, _taken(deltas, chosen), held=held)
            total = gradient if total is None else total + gradient
        return total

    def _signals(self, step: int, k: int, state: StageState) -> LocalSignals:
        """What the array's learning circuit sees in step k of these, and only what the rule declares to read."""
        deployment, circuit, reads = self.deployment, self.stage.circuit, self.rule.reads
        seen: dict[str, AnyArray] = {}
        if "target" in reads:
            seen["target"] = self.target
        if "label" in reads:
            seen["label"] = self.label
        if state.v is not None:
            seen["value" if self.readout else "membrane"] = (state.v[k] - circuit.rest) / circuit.scale
        if not self.readout and "spikes" in reads:
            seen["spikes"] = state.spikes[k]
        if state.gate is not None:
            seen["gate"] = state.gate[k]
        return LocalSignals(
            step=step,
            window=deployment.window,
            leak=circuit.leak(deployment.step),
            readout=self.readout,
            array=self.index,
            **seen,
        )
