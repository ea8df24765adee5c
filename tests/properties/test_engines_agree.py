"""The fast engine against the Brian2 engine: the same circuits' text, spike for spike in float64.

Libraries differ in the last bit of exp and of matrix products, and so may the engines where a membrane lies on its
threshold. A neuron is excused from the step on in which it came within 1e-9 of it, and so is what hears it; steps in
which neurons came so near are counted, and must be fewer than one in 10,000.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.circuits import ALL, Circuit
from chipsim.devices import Device
from chipsim.effects import Effect, Errors, Grid
from chipsim.engines import Engine, Shortcut, Stage, StageState, Torch, Watch, Window
from chipsim.engines.brian import Brian
from chipsim.network import Network
from chipsim.rules import Rule
from chipsim.streams import White, stream
from chipsim.testing import strategies

Array = NDArray[np.float64]
DOUBLE: dict[str, Any] = {"dtype": "float64", "device": "cpu", "compile": False}
FAST, STEPWISE = Torch(**DOUBLE), Torch(**DOUBLE, memory=1.0)
NEAR = 1e-9
counts = {"neurons": 0, "spikes": 0, "excused": 0}
fired: dict[str, int] = {}
"""Spikes of each kind of circuit that can fire."""


@pytest.fixture(scope="module", autouse=True)
def few_neurons_have_to_be_excused() -> Iterator[None]:
    yield
    assert counts["excused"] <= 1e-4 * counts["neurons"], counts
    assert counts["spikes"] >= 0.02 * counts["neurons"], counts
    assert all(count > 20 for count in fired.values()), fired


class Layer(NamedTuple):
    """All of a stage but the engine's own arrays."""

    fields: dict[str, Any]
    weight: Array
    variance: Array | None


class Case(NamedTuple):
    layers: list[Layer]
    windows: list[Window]
    steps: int
    batch: int
    step: float


def bank(circuit: Circuit, size: int, rng: np.random.Generator, varied: bool) -> dict[str, Array]:
    values = {name: np.full(size, value) for name, value in circuit.nominal().items()}
    if varied:
        for role, name in circuit.roles.items():
            if role == "reset":
                values[name] = values[name] + 0.2 * circuit.swing * rng.standard_normal(size)
            else:
                values[name] = values[name] * rng.lognormal(sigma=0.2, size=size)
    return values


def errors(size: int, rng: np.random.Generator) -> Errors:
    """Of converters of 8 bits."""
    bits = tuple(2.0**k * rng.normal(1.0, 0.1, size) for k in reversed(range(8)))
    return Errors(rng.normal(1.0, 0.1, size), rng.normal(size=size), bits)


@st.composite
def noises(draw: st.DrawFn, circuit: Circuit, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    sigma = 0.05 * circuit.swing
    return draw(
        st.sampled_from(
            [
                None,
                rng.normal(scale=sigma, size=shape),
                (White((int(rng.integers(2**62)),), sigma),),
                (White((int(rng.integers(2**62)),), sigma), White((int(rng.integers(2**62)),), 0.5 * sigma)),
            ]
        )
    )


@st.composite
def cases(draw: st.DrawFn, kinds: tuple[type[Circuit], ...], networks: st.SearchStrategy[Network]) -> Case:
    """The stages of a network of random circuits, with everything that a stage and a window can have."""
    rng, network = stream(draw(strategies.SEEDS), "test", "agree"), draw(networks)
    spiking = tuple(kind for kind in kinds if kind is not cs.Integrator)
    steps, batch = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    layers: list[Layer] = []
    for index, (layer, wiring) in enumerate(zip(network.layers, network.wirings, strict=True)):
        last = index == len(network.layers) - 1
        circuit = draw(strategies.readouts() if last or not spiking else strategies.circuits(spiking))
        full = (2.0 if circuit.port == "charge" else 20.0) * circuit.firing_drive  # spikes within few steps
        bias_rows = draw(st.integers(0, 2))
        biases = rng.uniform(-0.3, 0.3, (bias_rows, wiring.columns))
        weight = np.vstack([layer.matrix, biases]) * full
        shortcut = None
        if layer.shortcut is not None:
            below = network.wirings[layer.shortcut].outputs
            shortcut = Shortcut(source=layer.shortcut, inputs=below, outputs=wiring.outputs, drive=0.3 * full)
        fields = {
            "circuit": circuit,
            "parameters": bank(circuit, wiring.neurons, rng, draw(st.booleans())),
            "wiring": wiring if wiring.kernel or wiring.pool > 1 or draw(st.booleans()) else None,
            "bias_rows": bias_rows,
            "shortcut": shortcut,
            "grid_in": draw(st.none() | st.just(Grid(0.0437, 1.5))) if index == 0 else None,
            "grid_out": draw(st.none() | st.just(Grid(3.0 / 127 * full, 3.0 * full))),
            "errors_out": draw(st.none() | st.just(errors(wiring.neurons, rng))),
            "lossy": circuit.threshold is not None and draw(st.booleans()),
        }
        variance = (0.05 * full * rng.random(weight.shape)) ** 2 if draw(st.booleans()) else None
        layers.append(Layer(fields, weight, variance))
    kept = [
        draw(noises(layer.fields["circuit"], (steps, batch, len(next(iter(layer.fields["parameters"].values())))), rng))
        for layer in layers
    ]
    reads = tuple(None if layer.variance is None else (int(rng.integers(2**62)),) for layer in layers)
    drives = tuple(draw(st.none() | st.just((White((int(rng.integers(2**62)),), 0.1),))) for _ in layers)
    losses = tuple((White((int(rng.integers(2**62)),), 0.2),) if layer.fields["lossy"] else None for layer in layers)
    first = draw(st.integers(0, 1000))
    windows = [
        Window(
            inputs=rng.uniform(-0.5, 2, (batch, network.sizes[0])),
            numbers=range(first + window * batch, first + (window + 1) * batch),
            noise=tuple(kept),
            reads=reads,
            drives=drives,
            losses=losses,
        )
        for window in range(draw(st.integers(1, 2)))
    ]
    return Case(layers, windows, steps, batch, min(layer.fields["circuit"].step for layer in layers))


def traced(engine: Engine, case: Case) -> tuple[list[tuple[Array, Array, Array, Array]], list[Array]]:
    """Inputs, spikes, membranes and gates of each stage [windows x steps, batch, size], and the values of windows."""
    seen: list[list[StageState]] = [[] for _ in case.layers]
    values: list[Array] = []

    def keep(index: int, first: int, state: StageState) -> bool:
        seen[index].append(state)
        return False

    stages = []
    for layer in case.layers:
        weight = engine.array(layer.weight)
        variance = None if layer.variance is None else engine.array(layer.variance)
        stages.append(Stage(**layer.fields, weights=lambda w=weight: w, variance=lambda v=variance: v))
    gates = [0.3 * stage.circuit.scale if "threshold" in stage.circuit.roles else None for stage in stages]
    engine.run(
        stages,
        case.windows,
        count=len(case.windows),
        batch=case.batch,
        steps=case.steps,
        step=case.step,
        watch=Watch(see=keep, v=[True] * len(stages), gate=gates, gate_from=case.steps // 3),
        on_window=lambda v: values.append(to_numpy(v)),
    )

    def whole(states: list[StageState], name: str) -> Array:
        parts = [getattr(state, name) for state in states]
        return np.concatenate([to_numpy(part) for part in parts if part is not None] or [np.empty(0)])

    names = ("inputs", "spikes", "v", "gate")
    return [tuple(whole(states, name) for name in names) for states in seen], values  # type: ignore[misc]


def excused(case: Case, found: list[tuple[Array, Array, Array, Array]]) -> list[NDArray[np.bool_]]:
    """Where a difference is excused: for each stage [windows x steps, batch, neurons]."""
    masks: list[NDArray[np.bool_]] = []
    for layer, (_, spikes, v, _) in zip(case.layers, found, strict=True):
        circuit, near = layer.fields["circuit"], np.zeros(v.shape, bool)
        if "threshold" in circuit.roles:
            threshold = layer.fields["parameters"][circuit.roles["threshold"]]
            near = np.abs(v - threshold) < NEAR * circuit.swing
            fired[type(circuit).__name__] = fired.get(type(circuit).__name__, 0) + int(spikes.sum())
        counts["neurons"] += spikes.size
        counts["spikes"] += int(spikes.sum())
        counts["excused"] += int(near.sum())
        for window in range(0, len(near), case.steps):
            part = near[window : window + case.steps]
            part |= np.logical_or.accumulate(part, axis=0)
            if masks:  # what hears a neuron that is excused
                heard = masks[-1][window : window + case.steps].any(axis=2, keepdims=True)
                part |= np.logical_or.accumulate(heard, axis=0)
        masks.append(near)
    return masks


def assert_agree(case: Case, one: Engine, other: Engine) -> None:
    (found, values), (reference, expected) = traced(one, case), traced(other, case)
    masks = excused(case, reference)
    for layer, (inputs, spikes, v, gate), then, mask in zip(case.layers, found, reference, masks, strict=True):
        circuit = layer.fields["circuit"]
        np.testing.assert_array_equal(spikes[~mask], then[1][~mask])
        np.testing.assert_allclose(v[~mask], then[2][~mask], rtol=1e-9, atol=1e-9 * circuit.swing)
        if gate.size:
            edge = np.abs(np.abs(v - layer.fields["parameters"][circuit.roles["threshold"]]) - 0.3 * circuit.scale)
            clear = ~mask & (edge > NEAR * circuit.scale)
            np.testing.assert_array_equal(gate[clear], then[3][clear])
        assert inputs.shape == then[0].shape
    if not masks[-1].any():
        for value, then in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, then, rtol=1e-9, atol=1e-9 * case.layers[-1].fields["circuit"].swing)


TWO_OR_MORE = strategies.networks(min_layers=2)


@pytest.mark.parametrize("kind", ALL, ids=[kind.__name__ for kind in ALL])
@settings(max_examples=20)
@given(data=st.data())
def test_a_dense_network_of_each_circuit_gives_the_same_in_both(kind: type[Circuit], data: st.DataObject) -> None:
    assert_agree(data.draw(cases((kind,), TWO_OR_MORE)), FAST, Brian())


@settings(max_examples=25)
@given(cases((cs.LIF, cs.IF), strategies.conv_networks()))
def test_convolutions_pools_groups_and_shortcuts_give_the_same_in_both(case: Case) -> None:
    assert_agree(case, FAST, Brian())


@settings(max_examples=8)
@given(cases((cs.DPI,), strategies.conv_networks()))
def test_a_convolution_of_current_ports_gives_the_same_in_both(case: Case) -> None:
    assert_agree(case, FAST, Brian())


@settings(max_examples=20)
@given(cases((cs.LIF, cs.IF), strategies.conv_networks() | strategies.networks()))
def test_the_steps_of_a_chunk_play_no_part(case: Case) -> None:
    assert_agree(case, STEPWISE, FAST)


@settings(max_examples=8)
@given(cases((cs.DPI, cs.DynapSE), TWO_OR_MORE) | cases((cs.AdEx,), TWO_OR_MORE))
def test_long_windows_of_circuits_with_a_current_port_agree_through_many_spikes(case: Case) -> None:
    long = case._replace(steps=600, windows=[replace(w, noise=(None,) * len(w.noise)) for w in case.windows[:1]])
    assert_agree(long, FAST, Brian())


# -------------------------------------------------------------------------------------- through deploy() and learn()


@settings(max_examples=25)
@given(strategies.networks() | strategies.conv_networks(), strategies.designs(), strategies.SEEDS, st.data())
def test_deployments_on_both_engines_compute_the_same(
    network: Network, design: cs.ChipDesign, seed: int, data: st.DataObject
) -> None:
    inputs, chip = data.draw(strategies.inputs(network)), cs.fabricate(design, seed)
    reference, fast = (cs.deploy(network, chip, window=20, engine=engine) for engine in (Brian(), FAST))
    for layer in range(len(network.layers)):
        np.testing.assert_allclose(fast.weights(layer), reference.weights(layer), rtol=1e-12, atol=1e-15)
    expected = reference.outputs(inputs)
    np.testing.assert_allclose(fast.outputs(inputs), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(initial=1.0))


def test_single_precision_is_near_for_most_samples() -> None:
    near = []
    for seed in range(6):
        effects = (cs.Mismatch(sigma=0.2), cs.MembraneNoise(sigma=0.1), cs.ReadNoise(sigma=0.01))
        chip = cs.fabricate(cs.ChipDesign(effects=effects), seed)
        network = Network.random((20, 40, 30, 5), seed=seed)
        inputs = np.random.default_rng(seed).uniform(0, 2, (40, 20))
        engines = (Brian(), Torch(dtype="float32", device="cpu", compile=False))
        exact, single = (cs.deploy(network, chip, engine=engine).outputs(inputs) for engine in engines)
        near.append(np.isclose(single, exact, rtol=1e-3, atol=1e-3).all(axis=1))
    share = float(np.mean(near))
    assert share > 0.95, f"of all samples, {share:.0%} agree"


class Lesson:
    """Random samples and targets for a network."""

    def __init__(self, network: Network, count: int, rng: np.random.Generator) -> None:
        *hidden, outputs = (wiring.neurons for wiring in network.wirings)
        self.inputs = rng.uniform(0, 2, (count, network.sizes[0]))
        shares = rng.random((count, outputs)) + 0.1
        self.rates = [*(rng.random((count, size)) for size in hidden), shares / shares.sum(axis=1, keepdims=True)]

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, epoch: int = 0) -> Iterator[Any]:
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            rates = tuple(rates[part] for rates in self.rates)
            yield self.inputs[part], np.zeros(len(self.inputs[part]), np.int64), rates


RULES: dict[str, Rule] = {
    "online": cs.LocalTandem(warm_up=9),
    "offline": cs.LocalTandemOffline(),
    "trace": cs.LocalTandemTrace(),
}
EFFECTS = (cs.Mismatch(sigma=0.2, kinds=("threshold", "gain", "cell_gain", "time_constant")),
           cs.MembraneNoise(sigma=0.1), cs.ReadNoise(sigma=0.02))  # fmt: skip


@pytest.mark.parametrize("form", RULES)
@pytest.mark.parametrize("update", ["step", "batch"])
@settings(max_examples=6)
@given(
    network=strategies.networks() | strategies.conv_networks(),
    seed=strategies.SEEDS,
    effects=st.sampled_from([(), EFFECTS[:1], EFFECTS]),
    device=st.sampled_from([cs.Ideal(), cs.Ideal(levels=64), cs.RRAM_MILO_2021]),
)
def test_learning_on_both_engines_leaves_the_same_weights(
    form: str, update: Any, network: Network, seed: int, effects: tuple[Effect, ...], device: Device
) -> None:
    if len(network.layers) == 1 and len(effects) > 1:
        effects = effects[:1]
    design = cs.ChipDesign(effects=effects, device=device, rows=32, columns=32, tiles=256)
    lesson = Lesson(network, 5, np.random.default_rng(seed))
    found, histories = [], []
    for engine in (Brian(), FAST, STEPWISE):
        snn = cs.deploy(network, cs.fabricate(design, seed), window=18, engine=engine)
        options = {"batch": 3} if update == "batch" else {}
        optimiser = cs.SGD(lr=0.1)  # Adam divides by what may be rounding alone
        histories.append(
            cs.learn(snn, lesson, rule=RULES[form], update=update, optimiser=optimiser, progress=False, **options)
        )
        found.append([to_numpy(cells.wanted) for cells in snn.cells])
    for weights, history in zip(found[1:], histories[1:], strict=True):
        for one, other in zip(weights, found[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())
        np.testing.assert_allclose(history.rate_error, histories[0].rate_error, rtol=1e-9)


def test_learning_by_adam_leaves_the_same_weights_on_both() -> None:
    network, found = Network.random((12, 20, 15, 4), seed=3), []
    lesson = Lesson(network, 24, np.random.default_rng(0))
    for engine in (Brian(), FAST):
        snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(effects=EFFECTS), 1), engine=engine)
        cs.learn(snn, lesson, optimiser=cs.Adam(lr=1e-2, final=0.0), batch=8, epochs=2, progress=False)
        found.append([to_numpy(cells.wanted) for cells in snn.cells])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.timeout(600)
def test_a_compiled_scan_gives_what_an_eager_one_gives() -> None:
    noises = (cs.MembraneNoise(sigma=0.1), cs.ReadNoise(sigma=0.02), cs.DriverNoise(sigma=0.1), cs.SpikeLoss(rate=0.1))
    effects = (cs.Mismatch(sigma=0.2), *noises, cs.Converters(adc_gain=0.01, adc_offset=0.5, adc_unit=0.02))
    network = Network.random((20, 128, 5), seed=0)
    inputs = np.random.default_rng(0).uniform(0, 2, (32, 20))
    found = []
    for compiled in (False, True):
        engine = Torch(dtype="float64", device="cpu", compile=compiled)
        snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(effects=effects), 0), engine=engine)
        found.append(snn.outputs(inputs))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("dtype", "device", "tolerance"),
    [("float64", cs.Ideal(levels=256), 1e-9), ("float32", cs.Ideal(endurance=1e6), 1e-4)],
)
def test_compiled_updates_leave_what_eager_ones_leave_and_are_compiled_once(
    dtype: str, device: Device, tolerance: float
) -> None:
    """An update is one graph; a second network, whose arrays have other weight scales, and further steps compile
    nothing anew.
    """
    counters = torch._dynamo.utils.counters
    counters.clear()
    design = cs.ChipDesign(effects=(cs.Mismatch(sigma=0.2), cs.StuckCells(rate=0.05)), device=device)
    lesson = Lesson(Network.random((20, 30, 5), seed=0), 24, np.random.default_rng(0))
    graphs = []
    for seed in (0, 1):
        network, found = Network.random((20, 30, 5), seed=seed), []
        for compiled in (False, True):
            engine = Torch(dtype=dtype, device="cpu", compile=compiled)
            snn = cs.deploy(network, cs.fabricate(design, seed), engine=engine, verify=device.wears)
            history = cs.learn(snn, lesson, optimiser=cs.Adam(lr=1e-2, final=0.1), batch=8, progress=False)
            parts = [part for cells in snn.cells for part in vars(cells).values() if part is not None]
            assert {str(part.dtype) for part in parts} == {f"torch.{dtype}"}
            found.append([*map(to_numpy, parts), history.writes.values, *(snn.weights(layer) for layer in range(2))])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-3 * tolerance)
        graphs.append(counters["stats"]["unique_graphs"])
    assert not counters["graph_break"]
    assert graphs[0] > 0
    assert graphs[1] == graphs[0]


# ------------------------------------------------------------- several chips side by side: each as it is alone


@settings(max_examples=15)
@given(strategies.networks(), strategies.designs(), st.data())
def test_outputs_are_those_of_each_chip_alone(network: Network, design: cs.ChipDesign, data: st.DataObject) -> None:
    seeds = data.draw(st.lists(strategies.SEEDS, min_size=2, max_size=3, unique=True))
    inputs, chips = data.draw(strategies.inputs(network)), [cs.fabricate(design, seed) for seed in seeds]
    together = cs.deploy(network, chips, window=6, engine=FAST).outputs(inputs)
    assert together.shape == (len(chips), len(inputs), network.sizes[-1])
    for found, chip in zip(together, chips, strict=True):
        alone = cs.deploy(network, chip, window=6, engine=FAST).outputs(inputs)
        np.testing.assert_allclose(found, alone, rtol=1e-9, atol=1e-9 * np.abs(alone).max(initial=1.0))


@pytest.mark.parametrize("form", RULES)
@settings(max_examples=4)
@given(network=strategies.networks(), seed=strategies.SEEDS)
def test_learning_is_that_of_each_chip_alone(form: str, network: Network, seed: int) -> None:
    effects = EFFECTS if len(network.layers) > 1 else EFFECTS[:1]
    design = cs.ChipDesign(effects=effects, device=cs.RRAM_MILO_2021, rows=32, columns=32, tiles=256)
    lesson, chips = Lesson(network, 5, np.random.default_rng(seed)), [cs.fabricate(design, seed + k) for k in range(3)]

    def learned(on: cs.Chip | list[cs.Chip]) -> list[Array]:
        snn = cs.deploy(network, on, window=16, engine=FAST)
        cs.learn(snn, lesson, rule=RULES[form], optimiser=cs.SGD(lr=0.1), batch=3, progress=False)
        return [to_numpy(cells.wanted) for cells in snn.cells]

    together = learned(chips)
    for place, chip in enumerate(chips):
        for found, alone in zip(together, learned(chip), strict=True):
            np.testing.assert_allclose(found[place], alone, rtol=1e-9, atol=1e-9 * np.abs(alone).max())
