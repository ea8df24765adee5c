"""learn(): a local rule at work on every array of a deployment, sample after sample."""

import contextlib
import dataclasses
import itertools
import json
import math
import warnings
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
from chipsim.loop import Adam, Controller, Optimiser, part_of
from chipsim.periphery import Periphery
from chipsim.probe import variable
from chipsim.progress import with_progress
from chipsim.quantity import canonical_json, whole
from chipsim.rules import LocalTandem, Rule
from chipsim.schema import DIMENSIONS
from chipsim.signals import LocalSignals
from chipsim.streams import stream
from chipsim.writers import Direct, Writer

Array = NDArray[np.float64]
BATCH = 64
SUMMARY = {
    "rate_error": "root mean square of rate - target",
    "writes": "cell writes",
    "spikes": "spikes of the layer's neurons",
    "inputs": "inputs of the layer that are not 0, step by step",
    "events": "rows driven, step by step",
    "squares": "sum of squares of what drove the rows",
    "error_shift": "root mean square of what circuits added to errors, of which 1 is the largest",
}
"""What is told of each epoch and layer."""
COUNTS = ("spikes", "inputs", "events", "squares")


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
        inputs, labels = self.samples.inputs, np.asarray(self.samples.labels)
        inputs = inputs if hasattr(inputs, "shape") else np.asarray(inputs)
        order = stream(self.seed, "targets", epoch).permutation(len(self))
        for first in range(0, len(order), size):
            chosen = order[first : first + size]
            yield np.asarray(inputs[chosen]), labels[chosen], ()


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
    by default; (-1,) is the read-out alone. on_epoch(epoch) is called after each epoch, once a checkpoint holds it, so
    that a run that goes on does not call it again for the epochs before.
    Each call starts anew: the optimiser's memory, the order of the samples and the numbers that key their noise. One
    with a checkpoint, a file that keeps what was reached after every epoch and every five minutes or so, goes on from
    there if it finds it, on a deployment made in the same way, and comes to the same end as one that was never stopped.
    A rule that reads no teacher's target takes samples with labels alone, as `data.train`.

    Returns, by epoch and layer, over all chips: rate_error, the root mean square of rate - target over hidden neurons
    (NaN where there is no target); writes, the number of cell writes or pulses; spikes of the layer; inputs, those that
    are not 0 in a step; events, its rows driven in a step, behind any pooling, and squares, of what drove them;
    error_shift, the root mean square of what the design's learning circuits added to errors. Its attributes say which
    rule, writer and optimiser learned in which arrays, and from what the read-out did. Warns of limits of the learning
    circuits that the rule has no use for. Raises ParameterError for an impossible combination of arguments or for
    targets that do not fit the network; StoredFileError for the checkpoint of another run, or a damaged one.
    """
    size = _batch_size(update, batch)
    whole(epochs, "epochs", 1)
    rule = part_of("rule", Rule, rule, LocalTandem())
    writer = part_of("writer", Writer, writer, Direct())
    optimiser = part_of("optimiser", Optimiser, optimiser, Adam())
    if unknown := rule.reads - {field.name for field in dataclasses.fields(LocalSignals)}:
        raise ParameterError(f"{type(rule).__name__} reads {min(unknown)!r}, which is no field of LocalSignals")
    lessons = _lessons(targets, rule)
    if not len(lessons):
        raise ParameterError("learn needs at least one sample; the targets are empty")
    every_step = update == "step"
    updates = epochs * math.ceil(len(lessons) / size) * (deployment.window if every_step else 1)
    learning = _chosen(layers, len(deployment.stages), rule)
    rule.check(deployment.chip.design.circuit)
    controller = Controller(deployment, writer, optimiser, updates, learning)
    teacher = _Teaching(deployment, rule, controller, learning, every_step, epochs * len(lessons))
    parts = {"rule": rule, "writer": writer, "optimiser": optimiser}
    made_by: dict[str, str | int] = {name: canonical_json(part) for name, part in parts.items()}
    made_by |= {"update": update, "batch": size, "readout": getattr(lessons, "readout", "?")}
    made_by["layers"] = json.dumps(sorted(learning))
    kept = None
    if checkpoint is not None:
        inputs, labels, rates = next(lessons.batches(size, 0))
        source = getattr(lessons, "split", getattr(lessons, "samples", None))
        run = {
            "epochs": epochs, "samples": len(lessons),
            "data": getattr(source, "hash", None) or fingerprint(getattr(source, "labels", ())),
            "first batch": fingerprint(inputs, labels, *rates),
        }  # fmt: skip
        kept = Checkpoint(checkpoint, {**deployment.identity, **made_by, **run})
    history = np.zeros((0, len(SUMMARY), len(deployment.stages)))
    if kept is not None and (found := kept.load((teacher.snapshot(), history))) is not None:
        snapshot, history = found
        teacher.restore(snapshot)

    def save() -> None:
        if kept is not None:
            kept.save((teacher.snapshot(), history))

    for epoch in range(len(history), epochs):
        done = teacher.done - epoch * len(lessons)
        left = len(lessons) - done
        batches = itertools.islice(lessons.batches(size, epoch), done // size, None)
        title, total = f"learning, epoch {epoch + 1} of {epochs}", math.ceil(len(lessons) / size)
        with contextlib.closing(with_progress(batches, total, title, progress, done // size)) as shown:
            for count, length in pieces(left, size, save if kept else None):
                teacher.run(shown, count, length)
            for _ in shown:
                raise ParameterError("the targets gave more batches than their length promises")
        history = np.concatenate([history, teacher.summary(len(lessons))[None]])
        save()
        if on_epoch is not None:
            on_epoch(epoch)
    teacher.check_limits(history[:, list(SUMMARY).index("error_shift")])
    of = {"network": deployment.network.hash, "window": deployment.window, "chips": len(deployment.chips)}
    return _history(history).assign_attrs(deployment.chip.provenance, **of, **made_by, samples=len(lessons))


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
    if len(targets.inputs) != len(targets.labels):
        raise ParameterError(f"{len(targets.inputs)} samples have {len(targets.labels)} labels; give one for each")
    return Labelled(samples=targets)


def _chosen(layers: Sequence[int] | None, count: int, rule: Rule) -> frozenset[int]:
    """The numbers of the arrays that learn, counted from the input side."""
    chosen = range(count) if layers is None else layers
    known = isinstance(chosen, Sequence) and all(isinstance(layer, int) and -count <= layer < count for layer in chosen)
    if not known or not chosen:
        raise ParameterError(f"layers must be numbers of arrays from {-count} to {count - 1}, not {layers!r}")
    found = frozenset(layer % count for layer in chosen)
    if rule.hidden:
        return found
    if count - 1 not in found:
        raise ParameterError(f"{type(rule).__name__} teaches the read-out alone, array {count - 1}; name it in layers")
    return frozenset({count - 1})


def _batch_size(update: str, batch: int | None) -> int:
    if update not in ("step", "sample", "batch"):
        raise ParameterError(f'update must be "step", "sample" or "batch", not {update!r}')
    size = whole(batch, "batch", 1) if batch is not None else BATCH if update == "batch" else 1
    if update != "batch" and size != 1:
        raise ParameterError(f'update="{update}" presents one sample at a time; leave batch = {size} out')
    return size


def _history(history: Array) -> xr.Dataset:
    dims, (epochs, _, layers) = ("epoch", "layer"), history.shape
    return xr.Dataset(
        {name: variable(dims, history[:, k], "1", meaning) for k, (name, meaning) in enumerate(SUMMARY.items())},
        coords={
            "epoch": variable(("epoch",), np.arange(1, epochs + 1), *DIMENSIONS["epoch"]),
            "layer": variable(("layer",), np.arange(layers), *DIMENSIONS["layer"]),
        },
    )


class IdleLimitWarning(UserWarning):
    """A design limits a learning circuit that the rule does not use."""


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
        self.learning, self.every_step, self.total = learning, every_step, total
        self.first = self.done = 0  # samples before the batch at hand, and with it
        self.layers = deployment.placement.layers
        self.gradients: list[AnyArray | None] = [None] * len(self.layers)
        self.arrays: list[_Array] = []
        self.squares = np.zeros(len(self.layers))
        self.counts: list[list[AnyArray]] = [[0.0] * len(COUNTS) for _ in self.layers]
        self.periphery: dict[int, list[Periphery]] = {}
        self.shift = np.zeros((2, len(self.layers)))
        self.below: tuple[AnyArray, AnyArray] = (None, None)  # spikes of the array that was seen last, their number

    def run(self, batches: Iterator[TargetBatch], count: int, size: int) -> None:
        """Present `count` batches of `size` samples and learn from them."""

        def presented() -> Iterator[Batch]:
            for _ in range(count):
                inputs, labels, rates = self._next(batches)
                # the engine does not come back after its last window
                self.first, self.done = self.done, self.done + size
                numbers = range(self.first, self.done)
                self._begin(labels, rates, numbers)
                yield Batch(inputs=self.deployment.flat(inputs), numbers=numbers)

        self.deployment.run(
            presented(), count=count, size=size, purpose="learn", watch=self._watch(), on_window=lambda _: self._end()
        )

    def _watch(self) -> Watch:
        """What the learning circuits of the chip look at: what the rule declares to read."""
        reads, rule = self.rule.reads, self.rule
        scales = [stage.circuit.scale for stage in self.deployment.stages]
        limits = self.deployment.chip.design.learning
        shaky = bool(limits.gate_offset or limits.gate_noise)  # then the comparators are not the engine's
        gated = [not layer.readout and "gate" in reads for layer in self.layers]
        return Watch(
            see=self.see,
            every_step=self.every_step,
            v=[
                ("value" if layer.readout else "membrane") in reads or (looked and shaky)
                for layer, looked in zip(self.layers, gated, strict=True)
            ],
            gate=[
                rule.gate * scale if looked and not shaky else None for looked, scale in zip(gated, scales, strict=True)
            ],
            gate_from=rule.silent(self.deployment.window),
        )

    @staticmethod
    def _next(batches: Iterator[TargetBatch]) -> TargetBatch:
        batch = next(batches, None)
        if batch is None:
            raise ParameterError("the targets gave fewer batches than their length promises")
        return batch

    def _begin(
        self, labels: NDArray[np.int64], rates: tuple[NDArray[np.floating], ...], numbers: Sequence[int]
    ) -> None:
        reads, size = self.rule.reads, len(numbers)
        if size not in self.periphery:
            self.periphery[size] = [Periphery(self.deployment, k, size) for k in range(len(self.layers))]
        circuits = self.periphery[size]
        targets = self._rates(rates, size) if "target" in reads else [None] * len(self.layers)
        label = self._one_hot(np.asarray(labels), size) if "label" in reads else None
        self.arrays = [
            _Array(self.deployment, k, self.rule, target, label, circuits[k], numbers)
            for k, target in enumerate(targets)
        ]

    def _rates(self, rates: tuple[NDArray[np.floating], ...], size: int) -> list[AnyArray]:
        given, needed = [r.shape for r in rates], [(size, layer.neurons) for layer in self.layers]
        if given != needed:
            raise ParameterError(f"targets have shapes {given}, but this network and batch need {needed}")
        if not all(np.isfinite(r).all() for r in rates):
            raise ParameterError("targets hold NaN or infinite rates")
        if any(((r < 0) | (r > 1)).any() for r in rates[:-1]):
            raise ParameterError("targets of hidden layers are rates, 0 to 1: divide activations by their constants")
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
        fired, (spikes, driven) = state.spikes.sum(), self.below
        if state.inputs is spikes and self.deployment.stages[index].geometry.pool == 1:
            found = [fired, driven, driven, driven]
        else:
            rows = self.deployment.stages[index].geometry.behind_pool(state.inputs)
            events = (rows != 0).sum()
            found = [fired, events if rows is state.inputs else (state.inputs != 0).sum(), events, (rows**2).sum()]
        self.below = state.spikes, fired
        self.counts[index] = [before + more for before, more in zip(self.counts[index], found, strict=True)]
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
                self.controller.write(index, gradient, self.first / self.total)
                self.gradients[index], wrote = None, True
        return wrote

    def snapshot(self) -> Any:
        """What a checkpoint keeps of the run, between two runs of the engine."""
        return self.controller.snapshot(), self.done, self.squares.copy(), self._counted()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        reached, self.done, squares, counted = snapshot
        self.squares = squares.copy()
        self.periphery, self.counts = {}, counted[:-2].T.tolist()
        self.shift = counted[-2:]
        self.controller.restore(reached)

    def _counted(self) -> Array:
        """What COUNTS names of each array so far; of what circuits added to errors sum of squares, number."""
        counts = np.array([[float(value) for value in count] for count in self.counts])
        shift = self.shift + sum(
            np.array([[float(part) for part in circuits.shift] for circuits in every]).T
            for every in self.periphery.values()
        )
        return np.vstack([counts.T, shift])

    def check_limits(self, shifts: Array) -> None:
        """Warn of limits of the learning circuits that had nothing to limit; shifts: of the errors."""
        limits, rule = self.deployment.chip.design.learning, self.rule
        traced = "trace" in (rule.rows(layer.readout) for layer in self.layers)
        if idle := limits.unused(rule.reads, traced, bool(shifts.any())):
            warnings.warn(
                f"the design's {', '.join(idle)} did nothing: {type(rule).__name__} uses no such circuit",
                IdleLimitWarning,
                stacklevel=3,
            )

    def summary(self, samples: int) -> Array:
        """Return what `SUMMARY` names, per layer since the last summary."""
        errors = np.sqrt(self.squares / samples)
        errors[-1] = np.nan  # a read-out has no rate
        *counts, square, number = self._counted()
        shift = np.sqrt(np.divide(square, number, out=np.zeros_like(square), where=number > 0))
        found = np.stack([errors, self.controller.writes, *counts, shift])
        self.squares, self.controller.writes = np.zeros(len(errors)), np.zeros(len(errors))
        self.counts, self.shift, self.periphery = [[0.0] * len(COUNTS) for _ in errors], np.zeros((2, len(errors))), {}
        return found


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
        self, deployment: Deployment, index: int, rule: Rule, target: AnyArray | None, label: AnyArray | None,
        circuits: Periphery, numbers: Sequence[int],
    ) -> None:  # fmt: skip
        self.deployment, self.stage, self.rule, self.index = deployment, deployment.stages[index], rule, index
        self.target, self.label = None if target is None else circuits.target(target), label
        self.circuits, self.numbers = circuits, numbers
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
        gate = self._gate(first, state)
        for k in range(steps):
            self.state, delta = self.rule.update(self.state, self._signals(first + k, k, state, gate))
            if delta is not None:
                if len(delta) > 1 and not self.rule.looks_back:
                    raise ParameterError(
                        f"{type(self.rule).__name__} teaches earlier steps, whose rows are gone: set looks_back = True"
                    )
                taught.append((first + k + 1 - len(delta), delta))
        return self._gradient(kept, taught, held=state.held and not self.traced) if taught else None

    def _rows(self, state: StageState, steps: int) -> tuple[AnyArray, list[float]]:
        """What the rows carry in these steps, and the bias rows."""
        if not self.traced:
            return self.circuits.rows(state.inputs, held=state.held), [1.0] * steps
        leak = self.circuits.leak
        nominal = math.exp(-self.deployment.step / self.deployment.chip.design.trace_tau)
        traces, biases = [], []
        for k in range(steps):
            self.trace = state.inputs[k] if self.trace is None else leak * self.trace + state.inputs[k]
            self.bias_trace = nominal * self.bias_trace + 1.0
            traces.append(self.trace)
            biases.append(self.bias_trace)
        return self.circuits.trace(namespace(state.inputs).stack(traces)), biases

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

    def _gate(self, first: int, state: StageState) -> AnyArray | None:
        """Where the comparators are open [steps, batch, neurons]; None where nobody looks."""
        if state.gate is not None or self.readout or "gate" not in self.rule.reads:
            return state.gate
        open_from = self.rule.silent(self.deployment.window) - first
        gate = self.circuits.gate(state.v, self.rule.gate * self.stage.circuit.scale, self.numbers, first)
        if open_from > 0:
            gate[:open_from] = False
        return gate

    def _signals(self, step: int, k: int, state: StageState, gate: AnyArray | None) -> LocalSignals:
        """What the array's learning circuit sees in step k of these, and only what the rule declares to read."""
        deployment, circuit, reads = self.deployment, self.stage.circuit, self.rule.reads
        seen: dict[str, AnyArray] = {}
        sent: dict[str, Any] = {}
        if "target" in reads:
            seen["target"] = self.target
        if "label" in reads:
            seen["label"] = self.label
        if state.v is not None and ("value" if self.readout else "membrane") in reads:
            v = (state.v[k] - circuit.rest) / circuit.scale
            seen["value" if self.readout else "membrane"] = self.circuits.value(v, step) if self.readout else v
        if not self.readout and "spikes" in reads:
            seen["spikes"] = state.spikes[k]
        if gate is not None:
            seen["gate"] = gate[k]
        if self.circuits.limits.shapes_errors:
            sent["sent"] = self.circuits.sender(self.numbers, step)
        return LocalSignals(
            step=step,
            window=deployment.window,
            leak=circuit.leak(deployment.step),
            readout=self.readout,
            array=self.index,
            largest=self.circuits.limits.largest_count,
            **seen,
            **sent,
        )
