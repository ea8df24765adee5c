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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim import rules, writers
from chipsim.arrays import AnyArray, namespace, to_numpy
from chipsim.deployment import BATCH, Batch, Deployment, Samples
from chipsim.engines import StageState, Watch
from chipsim.errors import ParameterError
from chipsim.loop import SGD, Adam
from chipsim.probe import variable
from chipsim.quantity import Parameters, canonical_json, declarations, from_json, quantity
from chipsim.schema import DIMENSIONS
from chipsim.wiring import Wiring

Array = NDArray[np.float64]
INFERENCE = ("spike", "route", "drive", "synapse", "code", "conversion")
"""Parts of an inference; those of the name of a price cost that price."""
LEARNING = (*INFERENCE, "count", "look", "signal", "memory", "write", "target")
"""Parts of learning."""
JOULES = (0.0, 1e-3)
SECONDS = (0.0, 1e3)


@dataclass(frozen=True, kw_only=True)
class Prices(Parameters):
    """What an operation costs. Energies [J] of one:

    spike        spike of a neuron
    route        spike on its way to an array
    drive        row of a tile, driven in a step
    code         input code converted for its row (DAC)
    conversion   column's value converted (ADC)
    count        step of a spike counter
    look         look of the comparator at a membrane
    signal       error of a column, made and converted
    memory       word of a memory beside the cells, read and written back
    target       bit of a target or label streamed to the chip

    and read_time [s] in which an event drives its row, pulse_voltage [V] and pulse_time [s] of a write pulse, and link
    [bit/s], the speed of the stream. Every source names the work and the technology node.

    The defaults are circuits in 65 nm where values of that node were found, with RRAM cells. Prices of other circuits
    are a subclass that declares them with their sources, as DYNAP_SE1_PRICES is.
    """

    node: ClassVar[str] = "65 nm"

    spike: float = quantity(
        5.096e-12, "J", JOULES, "Moitra 2022 (SpikeSim, released code): 4 x 1.274 pJ of its neurons in a cycle; 65 nm"
    )
    route: float = quantity(
        11e-12, "J", JOULES, "Qiao and Indiveri 2019 (arXiv 1908.07413), abstract: an event of 26 bits; 28 nm"
    )
    drive: float = quantity(
        2.757e-14,
        "J",
        JOULES,
        "Moitra 2022 (SpikeSim, released code): 1.76423 pJ of a 64 x 64 array by row, its cells included; 65 nm",
    )
    code: float = quantity(
        3.333e-12,
        "J",
        JOULES,
        "Shafiee 2016 (ISAAC), as in hwcomponents: 0.41667 pJ a bit, taken eight times for 8 bits; 32 nm",
    )
    conversion: float = quantity(2.03084e-12, "J", JOULES, "Moitra 2022 (SpikeSim, released code): 4-bit ADC; 65 nm")
    count: float = quantity(
        0.1e-12, "J", JOULES, "Horowitz 2014 (ISSCC), as in PMC8934428, table 3: addition of 32-bit integers; 45 nm"
    )
    look: float = quantity(
        67e-15, "J", JOULES, "Satapathy and Kaur 2023 (CSSP), abstract: worst case of a dynamic comparator; 65 nm"
    )
    signal: float = quantity(
        3.433e-12, "J", JOULES, "assumption: an addition as in count (45 nm) and a conversion as in code (32 nm)"
    )
    memory: float = quantity(
        10e-12,
        "J",
        JOULES,
        "Horowitz 2014 (ISSCC), as in PMC8934428, table 3: 5 pJ for 32 bits of 8 kB of cache, twice; 45 nm",
    )
    target: float = quantity(
        20.3e-12,
        "J",
        JOULES,
        "Horowitz 2014 (ISSCC), as repeated in public code: DRAM, 1.3 nJ for 64 bits, its lower end; 45 nm",
    )
    read_time: float = quantity(
        104e-9, "s", SECONDS, "Moitra 2022 (SpikeSim, released code): a cycle of 26 clocks at 250 MHz; 65 nm"
    )
    pulse_voltage: float = quantity(
        0.9,
        "V",
        (0.0, 100.0),
        "Chen 2017 (NeuroSim), AlOx/HfO2: recalled, not looked up; a cell of unknown size beside circuits in 65 nm",
    )
    pulse_time: float = quantity(
        100e-6,
        "s",
        SECONDS,
        "Chen 2017 (NeuroSim), AlOx/HfO2: recalled, not looked up; a cell of unknown size beside circuits in 65 nm",
    )
    link: float = quantity(
        743.6e6,
        "Hz",
        (1.0, 1e15),
        "Qiao and Indiveri 2019 (arXiv 1908.07413), abstract: 28.6 million events of 26 bits a second; 28 nm",
    )

    @property
    def ledger(self) -> dict[str, dict[str, Any]]:
        """Value, unit and source of every price; of one that is not the declared one, the source is who gave it."""
        declared = declarations(self)
        return {
            field.name: {
                "value": (value := getattr(self, field.name)),
                "unit": declared[field.name].unit,
                "source": declared[field.name].source if value == field.default else "given by the user",
            }
            for field in fields(self)
        }


@final
@dataclass(frozen=True, kw_only=True)
class DynapPrices(Prices):
    """DYNAP-SE1, its events at 1.3 V. What it has no circuit for, converters and learning, costs as in `Prices`."""

    node: ClassVar[str] = "180 nm"

    spike: float = quantity(
        767e-12, "J", JOULES, "Moradi 2018, recalled, not looked up: spike 260 pJ, its encoding 507 pJ; 180 nm"
    )
    route: float = quantity(
        2.278e-9, "J", JOULES, "Moradi 2018, recalled, not looked up: routing 78 pJ, broadcast in a core 2.2 nJ; 180 nm"
    )
    drive: float = quantity(
        26e-12, "J", JOULES, "Moradi 2018, recalled, not looked up: extension of a pulse at its synapses; 180 nm"
    )
    target: float = quantity(
        27.4e-12,
        "J",
        JOULES,
        "arXiv 1908.06532, abstract: LVDS link, 22.87 mA at 1.5 Gbit/s, taken at the process's 1.8 V; 180 nm",
    )
    read_time: float = quantity(10e-6, "s", SECONDS, "rockpool (DynapSim), default pulse of DYNAP-SE2; 180 nm")
    link: float = quantity(1.5e9, "Hz", (1.0, 1e15), "arXiv 1908.06532, abstract: LVDS link for events; 180 nm")


SPIKESIM_PRICES = Prices()
"""Circuits in 65 nm, most of them of SpikeSim."""
DYNAP_SE1_PRICES = DynapPrices()
"""Circuits in 180 nm; the values of DYNAP-SE1 are recalled and were not looked up."""


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

    def __init__(self, deployment: Deployment, codes: bool) -> None:
        self.wirings, self.codes_held = [stage.geometry for stage in deployment.stages], codes
        self.chips = len(deployment.chips)
        self.spikes, self.codes = (np.zeros((self.chips, len(self.wirings))) for _ in range(2))
        self.events, self.squares = (
            [np.zeros((self.chips, _unpooled(wiring).size)) for wiring in self.wirings] for _ in range(2)
        )

    def see(self, index: int, first: int, state: StageState) -> bool:
        """Take some steps of one batch; changes no weights."""
        xp, steps = namespace(state.inputs), state.inputs.shape[0]
        inputs = state.inputs.reshape(steps, self.chips, -1, state.inputs.shape[-1])
        driven = _pooled(self.wirings[index], inputs)
        self.events[index] += to_numpy(xp.sum(driven != 0, axis=(0, 2), dtype=xp.int64))
        self.squares[index] += to_numpy(xp.sum(driven * driven, axis=(0, 2), dtype=xp.float64))
        spikes = state.spikes.reshape(steps, self.chips, -1)
        self.spikes[:, index] += to_numpy(xp.sum(spikes, axis=(0, 2), dtype=xp.float64))
        if index == first == 0 and self.codes_held:
            self.codes[:, 0] += to_numpy(xp.sum(inputs[0] != 0, axis=(1, 2), dtype=xp.int64))
        return False


def _pooled(wiring: Wiring, values: AnyArray) -> AnyArray:
    """Return what reaches the rows [..., inputs behind the pooling] of values [..., inputs]."""
    if wiring.pool == 1:
        return values
    channels, height, width = wiring.pooled
    lead, pool = tuple(values.shape[:-1]), wiring.pool
    image = values.reshape(*lead, channels, height, pool, width, pool)
    return namespace(values).mean(image, axis=(-3, -1)).reshape(*lead, -1)


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
    counter = _Counter(deployment, _holds_codes(deployment))
    hits = np.zeros(counter.chips)
    for first in range(0, len(inputs), BATCH):
        part = slice(first, first + BATCH)
        values: list[AnyArray] = []
        batch = Batch(inputs=inputs[part], numbers=range(len(inputs))[part])
        deployment.run(
            [batch], count=1, size=len(batch.inputs), purpose="present", watch=Watch(see=counter.see),
            on_window=values.append,
        )  # fmt: skip
        shown = to_numpy(values[0]).reshape(counter.chips, len(batch.inputs), -1)
        hits += (shown.argmax(axis=-1) == labels[part]).sum(axis=-1)
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
    parts = _parts(operations, physics, prices, ("chip", "layer"))
    found = xr.Dataset(
        {
            **parts,
            "accuracy": variable(("chip",), hits / count, "1", "share of samples whose class was found"),
            "latency": variable((), np.array(window * deployment.step), "s", "time of an inference"),
        },
        coords=_coordinates(deployment, INFERENCE)
        | {"chip": variable(("chip",), np.array([chip.seed for chip in deployment.chips]), *DIMENSIONS["chip"])},
        attrs=_attributes(deployment, prices),
    )
    return found if counter.chips > 1 else found.isel(chip=0, drop=True)


def learning_cost(
    deployment: Deployment,
    history: xr.Dataset,
    *,
    prices: Prices = SPIKESIM_PRICES,
    layers: Sequence[int] | None = None,
    target_bits: int = 8,
) -> xr.Dataset:
    """Return what an epoch of `learn` cost; history: what it returned on this deployment. Divide by its attribute
    `updates` for a learning step, or by `samples`.

    operations(epoch, layer, part) and energy(epoch, layer, part) [J]; latency(epoch) [s]; wear(layer), the writes and
    pulses that a cell has had on average, its first programming included, and worn(layer), the largest share of a
    cell's endurance that is used. Of several chips the mean chip's. Parts beside those of `inference_cost`: spikes
    counted, looks of comparators, errors of columns (of each step that teaches, whether or not the comparator lets
    them through), words of memory that optimiser and writer keep beside each weight, pulses, and bits of targets. A
    read-out's values, or membranes, that the rule reads are converted in each of these steps.

    latency: samples one after another, then the stream at the link's speed, then the writes, array after array and row
    after row, all cells of a row at once; as many rows as cells were written, at most all.
    Taken from totals: every event drives a row by 1, inputs of an image are active alike, and a pulse meets the mean
    conductance of the layer's cells now, each counted by its wear.

    layers: as given to `learn`. target_bits: of a teacher's target; a label takes the bits of its number.
    Raises ParameterError for a dataset that is not of `learn` or not of this network, or of a rule, writer or optimiser
    of one's own, and for a read_time that does not fit into the step.
    """
    missing = [name for name in ("writes", "spikes", "events") if name not in history]
    missing += [name for name in ("samples", "batch", "update", "readout", *MAKERS) if name not in history.attrs]
    if missing:
        raise ParameterError(f"learning_cost needs what learn() returned; there is no {', '.join(missing)}")
    shape = _Shape.of(deployment)
    if history.sizes["layer"] != len(shape.neurons):
        raise ParameterError(
            f"this history has {history.sizes['layer']} layers, but the network has {len(shape.neurons)}"
        )
    if isinstance(target_bits, bool) or not isinstance(target_bits, int) or target_bits < 1:
        raise ParameterError(f"target_bits must be a whole number of at least 1, not {target_bits!r}")
    rule, writer, optimiser = (_made(history, name) for name in MAKERS)
    reads, window, samples = rule.reads, deployment.window, int(history.attrs["samples"])
    steps, taught = samples * window, samples * (window - rule.silent(window))
    updates = math.ceil(samples / history.attrs["batch"])
    if history.attrs["update"] == "step":
        updates = samples if rule.looks_back else taught
    learns = shape.readout | rule.hidden
    if layers is not None:
        learns &= np.isin(np.arange(len(learns)), [layer % len(learns) for layer in layers])
    hidden = learns & ~shape.readout
    converted = learns & np.where(shape.readout, "value" in reads, "membrane" in reads)
    writes, spikes, events = (
        history[name].transpose("epoch", "layer").to_numpy() / len(deployment.chips)
        for name in ("writes", "spikes", "events")
    )
    codes = np.zeros_like(events)
    codes[:, 0] = events[:, 0] / window * _holds_codes(deployment)
    arrays = [_Layer.of(deployment, k, prices.read_time) for k in range(len(learns))]

    def driven(name: str) -> Array:
        """What all events and bias rows drive; every event counts alike."""
        each, always = (np.array([np.mean(getattr(one, of)) for one in arrays]) for of in (name, f"bias_{name}"))
        found: Array = events * each + steps * always
        return found

    bits = np.where(hidden, shape.neurons * target_bits, 0) * ("target" in reads)
    if "label" in reads or (learns[-1] and history.attrs["readout"] == "labels"):
        bits[-1] = math.ceil(math.log2(max(2, shape.neurons[-1])))
    elif learns[-1]:
        bits[-1] = shape.neurons[-1] * target_bits
    operations = {
        "spike": spikes,
        "route": spikes * shape.targets,
        "drive": driven("drives"),
        "synapse": driven("pairs"),
        "code": codes,
        "conversion": shape.neurons * np.where(shape.converts, steps, taught * converted),
        "count": spikes * hidden * ("spikes" in reads),
        "look": taught * shape.neurons * hidden * ("gate" in reads),
        "signal": taught * shape.neurons * learns,
        "memory": updates * shape.rows * shape.columns * learns * (writer.words + optimiser.words),
        "write": writes,
        "target": samples * bits,
    }
    worn = [to_numpy(cells.wear) for cells in deployment.cells]
    met = [
        float((wear * to_numpy(cells.g)).sum() / wear.sum()) for wear, cells in zip(worn, deployment.cells, strict=True)
    ]
    physics = {
        "synapse": _reading(deployment, prices) * driven("siemens"),
        "write": prices.pulse_voltage**2 * prices.pulse_time * writes * np.array(met),
    }
    each, at_once = writes / updates, shape.columns * (2 if deployment.chip.design.pair == "minimum" else 1)
    turns = updates * np.maximum(np.minimum(each, shape.rows), each / at_once).sum(axis=1)
    latency = steps * deployment.step + samples * bits.sum() / prices.link + turns * prices.pulse_time
    endurance = deployment.chip.design.device.endurance
    return xr.Dataset(
        {
            **_parts(operations, physics, prices, ("epoch", "layer")),
            "latency": variable(("epoch",), latency, "s", "time of an epoch"),
            "wear": variable(("layer",), np.array([wear.mean() for wear in worn]), "1", "writes and pulses of a cell"),
            "worn": variable(
                ("layer",), np.array([wear.max() for wear in worn]) / endurance, "1", "largest share of endurance used"
            ),
        },
        coords={**_coordinates(deployment, LEARNING), "epoch": history["epoch"].variable},
        attrs={**history.attrs, **_attributes(deployment, prices), "updates": updates},
    )


MAKERS: dict[str, tuple[type[Parameters], ...]] = {
    "rule": rules.ALL, "writer": writers.ALL, "optimiser": (SGD, Adam)
}  # fmt: skip
"""Attributes of a history that say who learned."""


def _made(history: xr.Dataset, name: str) -> Any:
    """What learned, as `learn` noted it."""
    return from_json(json.loads(history.attrs[name]), {kind.__name__: kind for kind in MAKERS[name]})


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


def _parts(
    operations: Mapping[str, Array], physics: Mapping[str, Array], prices: Prices, lead: tuple[str, str]
) -> dict[str, xr.Variable]:
    """Operations and energy (*lead, part): of parts that `physics` does not say, operations times the price."""
    energy = {name: physics[name] if name in physics else n * getattr(prices, name) for name, n in operations.items()}
    dims, of = (*lead, "part"), "of an inference" if lead[0] == "chip" else "of an epoch"

    def stacked(parts: Mapping[str, Array]) -> Array:
        return np.stack(np.broadcast_arrays(*parts.values()), axis=-1).astype(np.float64)

    return {
        "operations": variable(dims, stacked(operations), "1", f"operations {of}"),
        "energy": variable(dims, stacked(energy), "J", f"energy {of}"),
    }


def _coordinates(deployment: Deployment, parts: Sequence[str]) -> dict[str, xr.Variable]:
    layers = np.arange(len(deployment.stages))
    return {
        "layer": variable(("layer",), layers, *DIMENSIONS["layer"]),
        "part": variable(("part",), np.array(parts), *DIMENSIONS["part"]),
    }


def _attributes(deployment: Deployment, prices: Prices) -> dict[str, Any]:
    name = type(prices).__name__
    return {**deployment.chip.provenance, "prices": canonical_json({name: prices.ledger}), "node": prices.node}
