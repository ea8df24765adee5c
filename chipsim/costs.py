"""The cost ledger: operations, energy and time of inference and of learning, with a source for every price.

    energy of a part = operations x its price
    of synapses:  sum over driven cell pairs of (v_read x)^2 (g_plus + g_minus) read_time
    of writes:    pulses x pulse_voltage^2 g pulse_time

x: what drives the row, 1 for a spike; an input code is taken to be a voltage. g [S]: the cell's own conductance. A row
is driven for `read_time` of its step, whose charge makes the circuit's unit step. Layers count as they stand on tiles:
a row that runs through two tiles has two drivers. Not in the ledger: leakage, bias currents, clocks, the inputs on
their way to the chip, the read-backs of write-and-verify, and the host.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim import rules, writers
from chipsim.arrays import AnyArray, namespace, to_numpy
from chipsim.deployment import Batch, Deployment, Samples
from chipsim.engines import StageState, Watch
from chipsim.errors import ParameterError
from chipsim.loop import SGD, Adam
from chipsim.prices import SPIKESIM_PRICES, Prices
from chipsim.probe import variable
from chipsim.quantity import Parameters, canonical_json, from_json
from chipsim.schema import DIMENSIONS
from chipsim.wiring import Wiring

Array = NDArray[np.float64]
WITHOUT_LIMIT = 32
"""Bits of a target that a design does not limit."""
TOTALS = ("writes", "spikes", "inputs", "events", "squares")
"""What a history counts."""
MAKERS: dict[str, tuple[type[Parameters], ...]] = {
    "rule": rules.ALL,
    "writer": writers.ALL,
    "optimiser": (SGD, Adam),
}
"""Attributes of a history that say who learned, and who that can be."""


def inference_cost(deployment: Deployment, samples: Samples, *, prices: Prices = SPIKESIM_PRICES) -> xr.Dataset:
    """Present samples and return what an inference costs, and how accurate it is.

    operations(layer, part) and energy(layer, part) [J], means of the samples; latency [s], one window; accuracy, 0 to
    1. Parts: spikes of the layer's neurons, spikes routed to other arrays, rows driven, synapses (cell pairs) read,
    input codes, and columns converted: of every layer in every step where the design has such converters, else of the
    read-out at the end of the window. An input code that is held is converted once. Conductances are those at the
    start. Of several chips, all but the latency have the chips as their first dimension.
    Raises ParameterError for no samples, for labels that do not fit them, and for a read_time that does not fit into
    the step.
    """
    inputs, labels = deployment.flat(samples.inputs), np.asarray(samples.labels)
    if not len(inputs) or labels.shape != (len(inputs),):
        raise ParameterError(
            f"a cost needs at least one sample and a label for each, not {len(inputs)} samples and labels of shape "
            f"{labels.shape}"
        )
    layers = [_Layer.of(deployment, k, prices.read_time) for k in range(len(deployment.stages))]
    counter = _Counter(deployment)
    hits = counter.present(deployment, inputs, labels)
    count, window, shape = len(inputs), deployment.window, _Shape.of(deployment)
    counted = list(zip(layers, counter.events, counter.squares, strict=True))
    operations = {
        "spike": counter.spikes / count,
        "route": counter.spikes / count * shape.targets,
        "drive": _by_layer(events @ one.drives / count + window * one.bias_drives for one, events, _ in counted),
        "synapse": _by_layer(events @ one.pairs / count + window * one.bias_pairs for one, events, _ in counted),
        "code": counter.codes / count,
        "conversion": shape.neurons * np.where(shape.converts, window, shape.readout),
    }
    read = _by_layer((sq * one.siemens).sum(-1) / count + window * one.bias_siemens for one, _, sq in counted)
    physics = {"synapse": _reading(deployment, prices) * read}
    seeds = np.array([chip.seed for chip in deployment.chips])
    found = _priced(deployment, operations, physics, prices, "chip").assign(
        accuracy=variable(("chip",), hits / count, "1", "share of samples whose class was found"),
        latency=variable((), np.array(window * deployment.step), "s", "time of an inference"),
    )
    found = found.assign_coords(chip=variable(("chip",), seeds, *DIMENSIONS["chip"]))
    return found if counter.chips > 1 else found.isel(chip=0, drop=True)


def learning_cost(
    deployment: Deployment,
    history: xr.Dataset,
    *,
    prices: Prices = SPIKESIM_PRICES,
) -> xr.Dataset:
    """Return what an epoch of `learn` cost; history: what it returned on this deployment. Divide by its attribute
    `updates` for a learning step, or by `samples`.

    operations(epoch, layer, part) and energy(epoch, layer, part) [J]; latency(epoch) [s]; wear(layer), the writes and
    pulses that a cell has had on average, its first programming included, and worn(layer), the largest share of a
    cell's endurance that is used. Of several chips the mean chip's. Parts beside those of `inference_cost`: spikes
    counted, looks of comparators, errors of columns (of each step that teaches, or one a window for a rule that looks
    back; whether or not the comparator lets them through), words of memory that optimiser and writer keep beside each
    weight, pulses, and bits of targets. A read-out's value is converted for each error, and a membrane that the rule
    reads for each look.

    latency: samples one after another, then the stream at the link's speed, then the writes, array after array and row
    after row, all cells of a row at once; as many rows as cells were written, at most all.
    Taken from totals: the inputs of an array are active alike, and a pulse meets the mean conductance of the layer's
    cells now, each counted by its wear.

    A teacher's target has the bits of the design's learning circuits, 32 where these have no limit; a label has those
    of its number.
    Raises ParameterError for a dataset that is not of `learn` or not of this network, or of a rule, writer or optimiser
    of one's own, and for a read_time that does not fit into the step.
    """
    shape, run = _Shape.of(deployment), _Run.of(deployment, history)
    writes, spikes, inputs, events, squares = (
        history[name].transpose("epoch", "layer").to_numpy() / len(deployment.chips) for name in TOTALS
    )
    codes = np.zeros_like(events)
    codes[:, 0] = inputs[:, 0] / deployment.window * _holds_codes(deployment)
    arrays = [_Layer.of(deployment, k, prices.read_time) for k in range(len(deployment.stages))]

    def driven(name: str, by: Array = events) -> Array:
        """What all events and bias rows drive; inputs count alike."""
        each, always = (np.array([np.mean(getattr(one, of)) for one in arrays]) for of in (name, f"bias_{name}"))
        found: Array = by * each + run.steps * always
        return found

    bits = run.bits(shape, deployment.chip.design.learning.target_bits or WITHOUT_LIMIT)
    operations = {
        "spike": spikes,
        "route": spikes * shape.targets,
        "drive": driven("drives"),
        "synapse": driven("pairs"),
        "code": codes,
        **run.operations(shape, spikes),
        "write": writes,
        "target": run.samples * bits,
    }
    cells = [(to_numpy(one.g), to_numpy(one.wear)) for one in deployment.cells]
    met = np.array([(g * wear).sum() / wear.sum() for g, wear in cells])
    physics = {
        "synapse": _reading(deployment, prices) * driven("siemens", squares),
        "write": prices.pulse_voltage**2 * prices.pulse_time * writes * met,
    }
    at_once = shape.columns * (2 if deployment.chip.design.pair == "minimum" else 1)
    each = writes / run.updates
    turns = run.updates * np.maximum(np.minimum(each, shape.rows), each / at_once).sum(axis=1)
    latency = run.steps * deployment.step + run.samples * bits.sum() / prices.link + turns * prices.pulse_time
    mean = np.array([wear.mean() for _, wear in cells])
    most = [wear.reshape(2, len(deployment.chips), -1).max(axis=(0, 2)).mean() for _, wear in cells]
    worn = np.array(most) / deployment.chip.design.device.endurance
    return (
        _priced(deployment, operations, physics, prices, "epoch")
        .assign(
            latency=variable(("epoch",), latency, "s", "time of an epoch"),
            wear=variable(("layer",), mean, "1", "writes and pulses of a cell, on average"),
            worn=variable(("layer",), worn, "1", "largest share of endurance used"),
        )
        .assign_coords(epoch=history["epoch"].variable)
        .assign_attrs(history.attrs, updates=run.updates)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What a history says of an epoch of learning: samples, steps in all, steps in which the rule looks, errors that a
    column makes, and updates; and which layers learn.
    """

    rule: rules.Rule
    words: int
    readout: str
    samples: int
    steps: int
    looked: int
    errors: int
    updates: int
    learns: NDArray[np.bool_]

    @classmethod
    def of(cls, deployment: Deployment, history: xr.Dataset) -> "_Run":
        """Read a history; raise ParameterError for one that is not of `learn`, or not of this network."""
        said, placed = history.attrs, deployment.placement.layers
        missing = [name for name in TOTALS if name not in history]
        missing += [name for name in ("samples", "batch", "update", "readout", "layers", *MAKERS) if name not in said]
        if missing:
            raise ParameterError(f"learning_cost needs what learn() returned; there is no {', '.join(missing)}")
        if said.get("chip_hash") != deployment.chip.hash:
            raise ParameterError("this history is of another chip than the deployment's")
        count = len(placed)
        own = {"network": deployment.network.hash, "window": deployment.window, "chips": len(deployment.chips)}
        if other := [name for name, value in own.items() if said.get(name, value) != value]:
            raise ParameterError(f"this history is of another {other[0]} than the deployment's")
        if history.sizes["layer"] != count:
            raise ParameterError(f"this history has {history.sizes['layer']} layers, but the network has {count}")
        makers = []
        for name, known in MAKERS.items():
            maker, types = json.loads(said[name]), {kind.__name__: kind for kind in known}
            if maker["type"] not in types:
                raise ParameterError(
                    f"there are no prices for {maker['type']}, the {name} of this history; known: {', '.join(types)}"
                )
            makers.append(from_json(maker, types))
        rule, writer, optimiser = makers
        samples, window = int(said["samples"]), deployment.window
        looked, errors = samples * (window - rule.silent(window)), samples * rule.errors(window)
        updates = errors if said["update"] == "step" else math.ceil(samples / said["batch"])
        learns = np.isin(np.arange(count), json.loads(said["layers"]))
        return cls(
            rule=rule, words=writer.words + optimiser.words, readout=said["readout"], samples=samples,
            steps=samples * window, looked=looked, errors=errors, updates=updates, learns=learns,
        )  # fmt: skip

    def operations(self, shape: "_Shape", spikes: Array) -> dict[str, Array]:
        """What the circuits of learning do in an epoch, [layers] or [epochs, layers]."""
        reads, hidden = self.rule.reads, self.learns & ~shape.readout
        values, membranes = self.errors * ("value" in reads), self.looked * ("membrane" in reads)
        converted = self.learns * np.where(shape.readout, values, membranes)
        return {
            "conversion": shape.neurons * np.where(shape.converts, self.steps, converted),
            "count": spikes * hidden * ("spikes" in reads),
            "look": self.looked * shape.neurons * hidden * ("gate" in reads),
            "signal": self.errors * shape.neurons * self.learns,
            "memory": self.updates * shape.rows * shape.columns * self.learns * self.words,
        }

    def bits(self, shape: "_Shape", of_target: int) -> NDArray[np.integer]:
        """Bits streamed for a sample, to each layer: a target for every neuron, but to the read-out a label where it
        learns from that, or where the rule does.
        """
        bits = self.learns * shape.neurons * of_target * ("target" in self.rule.reads)
        if "label" in self.rule.reads or (self.readout == "labels" and self.learns[-1]):
            bits[-1] = math.ceil(math.log2(max(2, shape.neurons[-1])))
        return bits


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """What an event costs in the array of one layer, by the input that makes it [inputs behind any pooling], and what
    its bias rows cost in every step: rows of tiles driven, cell pairs read, and siemens read [chips, ...].
    """

    drives: Array
    pairs: Array
    siemens: Array
    bias_drives: float
    bias_pairs: float
    bias_siemens: Array

    @classmethod
    def of(cls, deployment: Deployment, index: int, read_time: float) -> "_Layer":
        """Look at a layer of a deployment as it is now."""
        placed, wiring = deployment.placement.layers[index], deployment.stages[index].geometry
        if wiring.positions * read_time > deployment.step:
            raise ParameterError(
                f"layer {index} is read {wiring.positions} times in a step, {read_time:g} s each, which is longer than "
                f"the step of {deployment.step:g} s: take a shorter read_time or a longer step"
            )
        rows, share = wiring.rows, wiring.columns // wiring.groups
        span = np.zeros(placed.rows)
        for block in placed.blocks:
            span[block.rows] += 1
        g = to_numpy(deployment.arrays[index].seen(deployment.cells[index], deployment.time)).sum(axis=0)
        g = g.reshape(-1, placed.rows, placed.columns)
        by_group = g[:, :rows].reshape(-1, rows, wiring.groups, share).sum(axis=3).swapaxes(1, 2)
        each = np.ones((wiring.groups, rows))
        return cls(
            drives=_reached(wiring, each * span[:rows] / wiring.groups),
            pairs=_reached(wiring, each * share),
            siemens=np.stack([_reached(wiring, of_rows) for of_rows in by_group]),
            bias_drives=wiring.positions * span[rows:].sum(),
            bias_pairs=float(wiring.positions * placed.bias_rows * placed.columns),
            bias_siemens=wiring.positions * g[:, rows:].sum(axis=(1, 2)),
        )


def _unpooled(wiring: Wiring) -> Wiring:
    """The wiring behind its pooling."""
    return replace(wiring, inputs=wiring.pooled, pool=1)


def _reached(wiring: Wiring, of_rows: Array) -> Array:
    """Return the sum of `of_rows` [groups, rows] over the rows that each input drives, position after position."""
    behind = _unpooled(wiring)
    numbers: Array = np.arange(1, behind.size + 1, dtype=np.float64)[None]
    places = behind.drives(numbers)[:, 0].astype(np.intp)  # [groups, positions, rows], 0 where padded
    spread = np.broadcast_to(of_rows[:, None], places.shape)
    reached: Array = np.bincount(places.ravel(), weights=spread.ravel(), minlength=behind.size + 1)[1:].astype(
        np.float64
    )
    return reached


class _Counter:
    """Counts while samples are presented: spikes and input codes [chips, layers], events and squared drives of each
    layer [chips, inputs behind any pooling].
    """

    def __init__(self, deployment: Deployment) -> None:
        self.wirings = [stage.geometry for stage in deployment.stages]
        self.holds_codes = _holds_codes(deployment)
        self.chips = len(deployment.chips)
        self.spikes, self.codes = (np.zeros((self.chips, len(self.wirings))) for _ in range(2))
        self.events, self.squares = (
            [np.zeros((self.chips, _unpooled(wiring).size)) for wiring in self.wirings] for _ in range(2)
        )

    def present(self, deployment: Deployment, inputs: Array, labels: NDArray[np.integer]) -> Array:
        """Present samples; return how many of them found their class [chips]."""
        classes: list[Array] = []

        def classify(value: AnyArray) -> None:
            shown = to_numpy(value)
            classes.append(shown.argmax(axis=-1).reshape(self.chips, -1))

        deployment.run_all(inputs, purpose="present", watch=Watch(see=self.see), on_window=classify)
        hits: Array = (np.concatenate(classes, axis=1) == labels).sum(axis=1)
        return hits

    def see(self, index: int, first: int, state: StageState) -> bool:
        """Take some steps of one batch; changes no weights."""
        xp, steps = namespace(state.inputs), state.inputs.shape[0]
        inputs = state.inputs.reshape(steps, self.chips, -1, state.inputs.shape[-1])
        driven = self.wirings[index].behind_pool(inputs)
        self.events[index] += to_numpy(xp.sum(driven != 0, axis=(0, 2), dtype=xp.int64))
        self.squares[index] += to_numpy(xp.sum(driven * driven, axis=(0, 2), dtype=xp.float64))
        spikes = state.spikes.reshape(steps, self.chips, -1)
        self.spikes[:, index] += to_numpy(xp.sum(spikes, axis=(0, 2), dtype=xp.float64))
        if index == first == 0 and self.holds_codes:
            self.codes[:, 0] += to_numpy(xp.sum(inputs[0] != 0, axis=(1, 2), dtype=xp.int64))
        return False


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shape:
    """Of every layer: neurons, rows and columns, whether it is a read-out, whether its columns are converted in every
    step, and how many arrays a spike of it goes to.
    """

    neurons: NDArray[np.intp]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    readout: NDArray[np.bool_]
    converts: NDArray[np.bool_]
    targets: NDArray[np.intp]

    @classmethod
    def of(cls, deployment: Deployment) -> "_Shape":
        placed = deployment.placement.layers
        sources = [layer.shortcut[0] for layer in placed if layer.shortcut is not None]
        return cls(
            neurons=np.array([layer.neurons for layer in placed]),
            rows=np.array([layer.rows for layer in placed]),
            columns=np.array([layer.columns for layer in placed]),
            readout=np.array([layer.readout for layer in placed]),
            converts=np.array([stage.grid_out is not None for stage in deployment.stages]),
            targets=1 + np.bincount(np.array(sources, dtype=np.intp), minlength=len(placed)),
        )


def _by_layer(values: Iterable[Array]) -> Array:
    """Values [chips] of each layer as [chips, layers]."""
    return np.stack(list(values), axis=-1)


def _holds_codes(deployment: Deployment) -> bool:
    """Whether rows of the first array hold an input code for the whole window, rather than getting spikes."""
    one = Batch(inputs=np.zeros((1, deployment.network.sizes[0])), numbers=(0,))
    return deployment.encoded(one, "present").ndim == 2


def _reading(deployment: Deployment, prices: Prices) -> float:
    """Energy of a read of 1 S [J]."""
    return float(deployment.chip.design.v_read**2 * prices.read_time)


def _priced(
    deployment: Deployment,
    operations: Mapping[str, NDArray[Any]],
    physics: Mapping[str, Array],
    prices: Prices,
    lead: str,
) -> xr.Dataset:
    """Operations and energy (lead, layer, part): of parts that `physics` does not say, operations times the price."""
    energy = {name: physics[name] if name in physics else n * getattr(prices, name) for name, n in operations.items()}
    dims, of = (lead, "layer", "part"), {"chip": "of an inference", "epoch": "of an epoch"}[lead]

    def stacked(parts: Mapping[str, NDArray[Any]]) -> Array:
        return np.stack(np.broadcast_arrays(*parts.values()), axis=-1).astype(np.float64)

    return xr.Dataset(
        {
            "operations": variable(dims, stacked(operations), "1", f"operations {of}"),
            "energy": variable(dims, stacked(energy), "J", f"energy {of}"),
        },
        coords={
            "layer": variable(("layer",), np.arange(len(deployment.stages)), *DIMENSIONS["layer"]),
            "part": variable(("part",), np.array(list(operations)), *DIMENSIONS["part"]),
        },
        attrs={
            **deployment.chip.provenance,
            "prices": canonical_json({type(prices).__name__: prices.ledger}),
            "node": prices.node,
        },
    )
