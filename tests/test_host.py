"""Every host method against an oracle of its own: a closed form in numpy, or autograd through another simulation."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import chipsim as cs
from chipsim.circuits import Circuit
from chipsim.deployment import Deployment
from chipsim.encoders import Encoder
from chipsim.engines import Brian, Engine, Torch, Watch
from chipsim.errors import ChipsimError, ParameterError
from chipsim.host import (
    ALL,
    HostMethod,
    Proxy,
    Readings,
    SpikeBackprop,
    SpikeCount,
    Surrogate,
    Tandem,
    Twin,
    train_in_the_loop,
)
from chipsim.host.base import read
from chipsim.host.training import _Host
from chipsim.network import Conv2d, Dense
from chipsim.streams import noise_key, stream, uniforms
from chipsim.writers import Direct

Array = NDArray[np.float64]
SIZES, T, THETA = (6, 12, 9, 4), 11, 0.6
SOFT_IF, LEAKY, READOUT = cs.IF(soft_reset=True), cs.LIF(), cs.Integrator()
LAYERS = (
    Conv2d(weight=np.zeros((3, 2, 3, 3)), bias=np.zeros(3), padding=1),
    Conv2d(weight=np.zeros((4, 3, 3, 3)), bias=np.zeros(4), pool=2, stride=2, padding=1),
    Dense(weight=np.zeros((4, 4)), bias=np.zeros(4), pool=2),
)
DENSE, KERNELS = cs.Network.random(SIZES, seed=3), cs.Network(LAYERS, (2, 8, 8)).redrawn(seed=3)
ENGINES = [Torch(dtype="float64", device="cpu"), Brian()]


@dataclass
class Lesson:
    """Samples with labels."""

    inputs: Array
    labels: NDArray[np.int64]

    @classmethod
    def draw(cls, count: int = 10, size: int = SIZES[0]) -> "Lesson":
        rng = np.random.default_rng(1)
        return cls(rng.uniform(0, 1.5, (count, size)), rng.integers(0, SIZES[-1], count))


@dataclass(frozen=True, kw_only=True)
class Blinking(Encoder):
    """Values in every third step only, doubled."""

    def encode(self, inputs: Array, numbers: Iterable[int], steps: int, key: int) -> Array:
        return np.stack([2.0 * inputs * (t % 3 == 0) for t in range(steps)])


def driven(snn: Deployment, lesson: Lesson) -> Array:
    """What drives the rows [samples, steps, inputs]."""
    inputs = snn.encoder.encode(lesson.inputs, range(len(lesson.inputs)), T, 0)
    return np.repeat(inputs[:, None], T, axis=1) if inputs.ndim == 2 else inputs.swapaxes(0, 1)


def deployed(
    circuit: Circuit,
    *,
    engine: Engine = ENGINES[0],
    effects: tuple[Any, ...] = (),
    encoder: Encoder | None = None,
    readout: Circuit = READOUT,
    network: cs.Network = DENSE,
) -> Deployment:
    design = cs.ChipDesign(circuit=circuit, readout=readout, device=cs.Ideal(), effects=effects, headroom=1e3)
    return cs.deploy(network, cs.fabricate(design, seed=0), engine=engine, window=T, encoder=encoder)


def matrices(snn: Deployment) -> list[tuple[Array, Array]]:
    """Wanted weights [inputs, neurons] and biases [neurons]: of kernels, what they come to from input to neuron."""
    found = []
    for layer, cells in zip(snn.placement.layers, snn.cells, strict=True):
        wanted, wiring = np.asarray(cells.wanted, dtype=np.float64), layer.wiring
        assert layer.bias_rows == 1
        found.append((wiring.product(np.eye(wiring.size), wanted[:-1]), np.repeat(wanted[-1], wiring.positions)))
    return found


def of_cells(snn: Deployment, gradients: list[Array]) -> list[Array]:
    """Gradients with respect to cells [rows + 1, columns], from those with respect to `matrices`."""
    found = []
    for layer, gradient in zip(snn.placement.layers, gradients, strict=True):
        wiring = layer.wiring
        cells = np.zeros((wiring.rows + 1, wiring.columns))
        for place in np.ndindex(wiring.rows, wiring.columns):
            alone = np.zeros((wiring.rows, wiring.columns))
            alone[place] = 1.0
            cells[place] = (wiring.product(np.eye(wiring.size), alone) * gradient[:-1]).sum()
        cells[-1] = gradient[-1].reshape(wiring.columns, -1).sum(1)
        found.append(cells)
    return found


def shown(snn: Deployment, lesson: Lesson) -> tuple[list[Array], list[Array], Array]:
    """Spikes and membranes [samples, steps, neurons] of the hidden layers, and the sums of the read-outs."""
    spikes, membranes = [], []
    for layer, size in enumerate(snn.network.sizes[1:-1]):
        neurons = list(range(size))
        probed = snn.present(lesson.inputs, cs.Record(layer=layer, v=neurons, spikes=neurons))
        spikes.append(probed.spikes.values.astype(float))
        membranes.append(probed.v.values)
    return spikes, membranes, snn.outputs(lesson.inputs) * T


def updated(snn: Deployment, lesson: Lesson, method: HostMethod, dropout: float = 0.0) -> list[Array]:
    """The gradients that a method takes of one batch: SGD with a rate of 1 writes them into the cells."""
    before = [np.asarray(cells.wanted) for cells in snn.cells]
    train_in_the_loop(
        snn, lesson, method=method, optimiser=cs.SGD(lr=1.0), batch=len(lesson.labels), dropout=dropout, progress=False
    )
    return [b - np.asarray(cells.wanted) for b, cells in zip(before, snn.cells, strict=True)]


def softmax_error(outputs: Array, labels: NDArray[np.int64]) -> Array:
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray((powers / powers.sum(1, keepdims=True) - np.eye(outputs.shape[1])[labels]) / len(labels))


def outer(inputs: Array, delta: Array, bias: float) -> Array:
    return np.vstack([inputs.T @ delta, bias * delta.sum(0, keepdims=True)])


def back(snn: Deployment, lesson: Lesson, activations: list[Array], slopes: list[Array], error: Array) -> list[Array]:
    """Back-propagation in the count domain: inputs and activations summed over the window."""
    gradients, delta = [], error
    below = [driven(snn, lesson).sum(1), *activations]
    for index in reversed(range(len(below))):
        gradients.append(outer(below[index], delta, T))
        if index:
            delta = delta @ matrices(snn)[index][0].T * slopes[index - 1]
    return gradients[::-1]


def free(snn: Deployment, below: Array, layer: int) -> Array:
    weight, bias = matrices(snn)[layer]
    return np.asarray(below @ weight + T * bias)


def spike_count(snn: Deployment, lesson: Lesson) -> list[Array]:
    spikes, _, outputs = shown(snn, lesson)
    counts = [s.sum(1) for s in spikes]
    return back(snn, lesson, counts, [(c > 0) / THETA for c in counts], softmax_error(outputs, lesson.labels))


def tandem(snn: Deployment, lesson: Lesson) -> list[Array]:
    spikes, _, outputs = shown(snn, lesson)
    counts = [s.sum(1) for s in spikes]
    below = [driven(snn, lesson).sum(1), *counts[:-1]]
    slopes = [(free(snn, c, layer) > 0) / THETA for layer, c in enumerate(below)]
    return back(snn, lesson, counts, slopes, softmax_error(outputs, lesson.labels))


def leaky(potential: Array) -> tuple[Array, Array]:
    """Spikes of a leaky neuron in a window, from the free potential V of one without leak, and their slope in V:
    n = T / (tau ln(1 + 1 / a)), a = softplus(z), z = I / ((1 - leak) theta) - 1, I = V / T.
    """
    tau, sharp = 10.0, 10.0
    scale = 1 / ((1 - np.exp(-1 / tau)) * THETA)
    z = potential / T * scale - 1
    a = np.logaddexp(0, sharp * z) / sharp
    slope = T / tau / np.log1p(1 / a) ** 2 / (a**2 + a) / (1 + np.exp(-sharp * z)) * scale / T
    return T / (tau * np.log1p(1 / np.maximum(a, 1e-6))), np.where(a > 1e-6, slope, 0.0)


def tandem_leaky(snn: Deployment, lesson: Lesson) -> list[Array]:
    spikes, _, outputs = shown(snn, lesson)
    counts = [s.sum(1) for s in spikes]
    below = [driven(snn, lesson).sum(1), *counts[:-1]]
    slopes = [leaky(free(snn, c, layer))[1] for layer, c in enumerate(below)]
    return back(snn, lesson, counts, slopes, softmax_error(outputs, lesson.labels))


def proxy_leaky(snn: Deployment, lesson: Lesson) -> list[Array]:
    outputs, below = snn.outputs(lesson.inputs) * T, driven(snn, lesson).sum(1)
    activations, slopes = [], []
    for layer in range(len(SIZES) - 2):
        below, slope = leaky(free(snn, below, layer))
        activations.append(below)
        slopes.append(slope)
    return back(snn, lesson, activations, slopes, softmax_error(outputs, lesson.labels))


def proxy(snn: Deployment, lesson: Lesson) -> list[Array]:
    outputs = snn.outputs(lesson.inputs) * T
    activations: list[Array] = []
    for layer in range(len(SIZES) - 2):
        activations.append(np.maximum(free(snn, [driven(snn, lesson).sum(1), *activations][layer], layer) / THETA, 0))
    return back(snn, lesson, activations, [(a > 0) / THETA for a in activations], softmax_error(outputs, lesson.labels))


def spike_backprop(snn: Deployment, lesson: Lesson, cross_entropy: bool = False) -> list[Array]:
    """The reverse recursion, step by step."""
    spikes, _, outputs = shown(snn, lesson)
    leak, each = np.exp(-1 / 10), np.eye(SIZES[-1])[lesson.labels]
    error = softmax_error(outputs, lesson.labels) if cross_entropy else (outputs / T - each) / T / len(each)

    def slopes(layer: int) -> tuple[Array, Array]:
        fired = spikes[layer]
        remembered = sum(leak ** (T - t) * fired[:, t] for t in range(T))
        count = fired.sum(1)
        k = (remembered > 1e-3) + np.log(leak) * np.divide(remembered, count, out=np.zeros_like(count), where=count > 0)
        return k[:, None] / THETA * fired, 1 - fired

    return reverse(snn, lesson, spikes, error, slopes)


def reverse(
    snn: Deployment, lesson: Lesson, spikes: list[Array], error: Array, slopes: Callable[[int], tuple[Array, Array]]
) -> list[Array]:
    """Back-propagation through time, step by step: slopes ds[t]/du[t] and du[t+1]/du[t] [samples, steps, neurons]."""
    delta, below, gradients = np.repeat(error[:, None], T, axis=1), [driven(snn, lesson), *spikes], []
    for layer in reversed(range(len(below))):
        gradients.append(np.vstack([np.einsum("btj,bti->ji", below[layer], delta), delta.sum((0, 1))[None]]))
        if layer:
            from_above, (slope, keep) = delta @ matrices(snn)[layer][0].T, slopes(layer - 1)
            later, delta = np.zeros_like(slope[:, 0]), np.zeros_like(slope)
            for t in reversed(range(T)):
                later = slope[:, t] * from_above[:, t] + keep[:, t] * later
                delta[:, t] = later
    return gradients[::-1]


def surrogate(leak: float, soft: bool) -> Callable[[Deployment, Lesson], list[Array]]:
    """The derivatives of the membrane's equation at the spikes and membranes that the chip shows."""

    def gradients(snn: Deployment, lesson: Lesson) -> list[Array]:
        spikes, membranes, outputs = shown(snn, lesson)

        def slopes(layer: int) -> tuple[Array, Array]:
            fired, u = spikes[layer], membranes[layer]
            gate = (np.abs(u - THETA) < 0.2).astype(float)
            return gate, leak * (1 - THETA * gate if soft else 1 - fired - u * gate)

        return reverse(snn, lesson, spikes, softmax_error(outputs, lesson.labels), slopes)

    return gradients


LEAK, SOFT_LEAKY = float(np.exp(-1 / 10)), cs.LIF(soft_reset=True)


class Boxcar(torch.autograd.Function):
    """A spike whose derivative is a window around the threshold."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(u)
        return (u > THETA).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return gradient * ((u - THETA).abs() < 0.2)


def unrolled(leak: float, soft: bool) -> Callable[[Deployment, Lesson], list[Array]]:
    """Autograd through a simulation of its own, which never looks at the chip."""

    def gradients(snn: Deployment, lesson: Lesson) -> list[Array]:
        weights = [torch.tensor(np.vstack(pair), requires_grad=True) for pair in matrices(snn)]
        x = torch.tensor(driven(snn, lesson))
        total = torch.zeros(len(x), SIZES[-1], dtype=torch.float64)
        u = [torch.zeros(len(x), size, dtype=torch.float64) for size in SIZES[1:-1]]
        for t in range(T):
            signal = x[:, t]
            for layer, weight in enumerate(weights[:-1]):
                now = u[layer] + signal @ weight[:-1] + weight[-1]
                signal = Boxcar.apply(now)
                u[layer] = leak * (now - THETA * signal if soft else now * (1 - signal))
            total = total + signal @ weights[-1][:-1] + weights[-1][-1]
        loss = torch.nn.functional.cross_entropy(total, torch.tensor(lesson.labels))
        loss.backward()  # type: ignore[no-untyped-call]
        return [weight.grad.numpy() for weight in weights if weight.grad is not None]

    return gradients


CASES: dict[str, tuple[HostMethod, Circuit, Callable[[Deployment, Lesson], list[Array]]]] = {
    "spike count": (SpikeCount(), SOFT_IF, spike_count),
    "tandem": (Tandem(), SOFT_IF, tandem),
    "tandem, leaky": (Tandem(), LEAKY, tandem_leaky),
    "proxy": (Proxy(), SOFT_IF, proxy),
    "proxy, leaky": (Proxy(), LEAKY, proxy_leaky),
    "spike-based back-propagation": (SpikeBackprop(), LEAKY, spike_backprop),
    "spike-based back-propagation, cross-entropy": (
        SpikeBackprop(cross_entropy=True),
        LEAKY,
        functools.partial(spike_backprop, cross_entropy=True),
    ),
    "surrogate": (Surrogate(), LEAKY, surrogate(LEAK, soft=False)),
    "surrogate, soft reset": (Surrogate(), SOFT_IF, surrogate(1.0, soft=True)),
    "surrogate, leaky, soft reset": (Surrogate(), SOFT_LEAKY, surrogate(LEAK, soft=True)),
}


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("case", CASES)
def test_a_method_is_its_oracle(case: str, engine: Engine) -> None:
    method, circuit, oracle = CASES[case]
    lesson = Lesson.draw()
    wanted = oracle(deployed(circuit, engine=engine), lesson)
    found = updated(deployed(circuit, engine=engine), lesson, method)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("engine", "rtol", "of_largest"),
    [(ENGINES[0], 1e-8, 0.0), (Torch(dtype="mixed", device="cpu"), 0.02, 0.02)],
    ids=str,
)
@pytest.mark.parametrize("case", CASES)
def test_through_kernels_strides_and_pooling_a_method_is_its_oracle_too(
    case: str, engine: Engine, rtol: float, of_largest: float
) -> None:
    method, circuit, oracle = CASES[case]
    lesson = Lesson.draw(size=KERNELS.sizes[0])
    snn = deployed(circuit, network=KERNELS, engine=engine)
    wanted = of_cells(snn, oracle(snn, lesson))
    found = updated(deployed(circuit, network=KERNELS, engine=engine), lesson, method)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-10 + of_largest * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("circuit", "leak", "soft"), [(LEAKY, LEAK, False), (SOFT_IF, 1.0, True), (SOFT_LEAKY, LEAK, True)]
)
def test_surrogate_gradients_are_those_of_autograd_through_a_simulation(
    circuit: Circuit, leak: float, soft: bool
) -> None:
    lesson = Lesson.draw()
    wanted = unrolled(leak, soft)(deployed(circuit), lesson)
    for ours, theirs in zip(updated(deployed(circuit), lesson, Surrogate()), wanted, strict=True):
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_the_twin_gets_what_the_encoder_made_of_the_inputs(case: str) -> None:
    method, circuit, oracle = CASES[case]
    lesson = Lesson.draw()
    wanted = oracle(deployed(circuit, encoder=Blinking()), lesson)
    found = updated(deployed(circuit, encoder=Blinking()), lesson, method)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_on_a_chip_with_mismatch_the_gradient_is_anchored_on_what_it_shows(case: str) -> None:
    method, circuit, oracle = CASES[case]
    lesson, mismatch = Lesson.draw(), (cs.Mismatch(sigma=0.3),)
    wanted = oracle(deployed(circuit, effects=mismatch), lesson)
    for ours, theirs in zip(updated(deployed(circuit, effects=mismatch), lesson, method), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
    ideal = oracle(deployed(circuit), lesson)
    assert not np.allclose(wanted[-1], ideal[-1])


GAINED = cs.Integrator(gain=0.7, v_unit=3.0, v_rest=-0.2)
UNITS = {
    circuit: (circuit, dataclasses.replace(circuit, gain=2.5, v_unit=2.0, v_rest=0.3, v_reset=0.3, v_threshold=1.5))
    for circuit in (LEAKY, SOFT_IF, SOFT_LEAKY)
}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_units_and_gains_of_circuits_change_nothing_but_the_units_of_weights(case: str, batch_norm: bool) -> None:
    """A gain of g takes weights that are g times smaller, and the gradient of these is g times larger."""
    method, circuit, _ = CASES[case]
    plain, other = UNITS[circuit]
    gains = [2.5, 2.5, 0.7]
    lesson, snns = Lesson.draw(), (deployed(plain), deployed(other, readout=GAINED))
    before = [snn.outputs(lesson.inputs) for snn in snns]
    np.testing.assert_allclose(*before, rtol=1e-9)
    if batch_norm:  # an optimiser that sees no scale, since weights are normalised
        for snn in snns:
            train_in_the_loop(
                snn, lesson, method=method, optimiser=cs.Adam(lr=0.01, relative=True), batch=5, epochs=2,
                batch_norm=True, progress=False,
            )  # fmt: skip
        after = [snn.outputs(lesson.inputs) for snn in snns]
        np.testing.assert_allclose(*after, rtol=1e-3)
        assert np.abs(after[0] - before[0]).max() > 0.1 * np.abs(before[0]).max()
        return
    for gain, ours, theirs in zip(gains, *(updated(snn, lesson, method) for snn in snns), strict=True):
        assert np.abs(ours).max() > 1e-4
        np.testing.assert_allclose(gain * ours, theirs, rtol=1e-6, atol=1e-10)


class Spy(HostMethod):
    """Keeps the readings that it gets."""

    def outputs(self, twin: Twin, seen: Readings) -> torch.Tensor:
        SPIED.append(seen)
        return twin.readout.drive(torch.zeros(len(twin.mean), SIZES[-2], dtype=torch.float64))


SPIED: list[Readings] = []


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.__name__)
def test_a_method_gets_what_it_declares_and_no_more(method: type[HostMethod], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Watch | None] = []
    snn = deployed(LEAKY)
    run = Torch.run
    monkeypatch.setattr(Torch, "run", lambda *a, **k: (asked.append(k["watch"]), run(*a, **k))[1])
    monkeypatch.setattr(Spy, "reads", method.reads, raising=False)
    SPIED.clear()
    train_in_the_loop(snn, Lesson.draw(), method=Spy(), progress=False)
    assert {name for name in ("counts", "spikes", "membranes", "outputs") if getattr(SPIED[0], name) is not None} == (
        method.reads
    )
    assert (asked[0] is None) == (method.reads == {"outputs"})
    if asked[0] is not None:
        assert any(asked[0].v) == ("membranes" in method.reads)


DECLARED = {
    SpikeBackprop: {"spikes", "outputs"},
    SpikeCount: {"counts", "outputs"},
    Surrogate: {"spikes", "membranes", "outputs"},
    Tandem: {"counts", "outputs"},
    Proxy: {"outputs"},
}


def test_the_methods_declare_what_their_papers_read() -> None:
    assert {method: set(method.reads) for method in ALL} == DECLARED


@pytest.mark.parametrize("case", CASES)
def test_every_reading_that_a_method_declares_matters(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, circuit, _ = CASES[case]
    lesson, readings = Lesson.draw(), _Host._readings
    plain = updated(deployed(circuit), lesson, method)
    for name in sorted(method.reads):

        def other(host: _Host, value: Any, twin: Twin, name: str = name) -> Readings:
            seen = readings(host, value, twin)
            parts = getattr(seen, name)
            turned = parts.flip(0) if isinstance(parts, torch.Tensor) else tuple(part.flip(0) for part in parts)
            return dataclasses.replace(seen, **{name: turned})

        monkeypatch.setattr(_Host, "_readings", other)
        found = updated(deployed(circuit), lesson, method)
        assert any(np.abs(ours - theirs).max() > 1e-4 for ours, theirs in zip(found, plain, strict=True)), name


def test_reading_what_is_not_declared_is_refused() -> None:
    with pytest.raises(ParameterError, match="does not declare"):
        read(Readings().counts)


@pytest.mark.parametrize("case", CASES)
def test_a_method_learns(case: str) -> None:
    method, circuit, _ = CASES[case]
    lesson = Lesson.draw(96)
    lesson.labels = np.argmax(lesson.inputs[:, :4], axis=1)
    snn = deployed(circuit, effects=(cs.Mismatch(sigma=0.2),))
    before = snn.accuracy(lesson)
    found = train_in_the_loop(
        snn, lesson, method=method, optimiser=cs.Adam(lr=0.02), batch=20, epochs=30, progress=False
    )
    assert found.loss.values[-1] < 0.7 * found.loss.values[0]
    assert snn.accuracy(lesson) > max(0.6, before)
    assert found.writes.shape == (30, 3)
    assert (found.writes.values > 0).all()
    assert type(method).__name__ in found.attrs["method"]


@pytest.mark.parametrize(
    ("case", "circuit", "words"),
    [
        (SpikeCount(), cs.LIF(soft_reset=True), "without leak"),
        (SpikeCount(), cs.IF(), "reset by subtraction"),
        (SpikeBackprop(), cs.LIF(soft_reset=True), "reset to rest"),
        (Tandem(), cs.DPI(), "gather charge and spike"),
        (Surrogate(), cs.LIF(v_reset=0.2), "v_reset = v_rest"),
        (Tandem(), cs.IF(soft_reset=True, v_reset=-0.1), "v_reset = v_rest"),
    ],
)
def test_neurons_without_a_model_are_refused(case: HostMethod, circuit: Circuit, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        case.check(circuit)


def test_what_is_refused_leaves_the_chip_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a writer began")

    monkeypatch.setattr(Direct, "begin", never)
    with pytest.raises(ParameterError, match="without leak"):
        train_in_the_loop(deployed(LEAKY), Lesson.draw(), method=SpikeCount(), progress=False)
    with pytest.raises(ParameterError, match="label for each"):
        cs.perturb_in_the_loop(deployed(LEAKY), Lesson(Lesson.draw().inputs, np.zeros(3, int)), progress=False)


def test_readings_that_no_chip_shows_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"reads 'count'; a chip shows: counts, membranes, outputs, spikes"):
        train_in_the_loop(deployed(LEAKY), Lesson.draw(), method=_Misspelt(), progress=False)


class _Misspelt(HostMethod):
    reads = frozenset({"count"})

    def outputs(self, twin: Twin, seen: Readings) -> torch.Tensor:
        raise AssertionError


def test_bad_arguments_are_refused() -> None:
    snn, lesson = deployed(SOFT_IF), Lesson.draw()
    for options in ({"batch": 0}, {"epochs": True}, {"batch": 2.0}):
        with pytest.raises(ParameterError, match="whole number of at least 1"):
            train_in_the_loop(snn, lesson, method=Tandem(), **options)  # type: ignore[arg-type]
    for part in ({"optimiser": "adam"}, {"writer": cs.Direct}):
        with pytest.raises(ParameterError, match=r"must be one, as (Adam|Direct)\(\) is, not"):
            train_in_the_loop(snn, lesson, method=Tandem(), **part)  # type: ignore[arg-type]
    for samples in ((lesson.inputs, lesson.labels), Lesson(lesson.inputs.tolist(), lesson.labels)):
        with pytest.raises(ParameterError, match="samples with arrays of inputs and labels"):
            train_in_the_loop(snn, samples, method=Tandem())  # type: ignore[arg-type]
    for dropout in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="dropout must be"):
            train_in_the_loop(snn, lesson, method=Tandem(), dropout=dropout)
    for wrong in (lesson.labels + 1, lesson.labels - 1, lesson.labels.astype(float)):
        with pytest.raises(ParameterError, match="whole numbers from 0 to 3"):
            train_in_the_loop(deployed(LEAKY), Lesson(lesson.inputs, wrong), method=Tandem(), progress=False)  # type: ignore[arg-type]
    train_in_the_loop(
        deployed(LEAKY),
        Lesson(lesson.inputs, lesson.labels.astype(np.int32)),  # type: ignore[arg-type]
        method=Tandem(),
        progress=False,
    )
    lesson.labels = lesson.labels[:-1]
    with pytest.raises(ParameterError, match="label for each of 10 samples"):
        train_in_the_loop(snn, lesson, method=Tandem())
    chips = [snn.chip, cs.fabricate(snn.chip.design, seed=1)]
    with pytest.raises(ParameterError, match="one chip at a time"):
        train_in_the_loop(cs.deploy(snn.network, chips), Lesson.draw(), method=Tandem())


@pytest.mark.parametrize("case", ["tandem", "proxy"])
def test_dropout_leaves_spikes_of_the_last_hidden_layer_out_of_the_outputs(case: str) -> None:
    method, circuit, _ = CASES[case]
    lesson, snn, share = Lesson.draw(), deployed(circuit), 0.4
    spikes, _, outputs = shown(snn, lesson)
    below, activations, slopes = driven(snn, lesson).sum(1), [], []
    for layer, fired in enumerate(spikes):
        drive = free(snn, below, layer)
        below = fired.sum(1) if case == "tandem" else np.maximum(drive / THETA, 0)
        activations.append(below)
        slopes.append((drive > 0) / THETA)
    places = np.argsort(stream(0, "host", 0).permutation(len(outputs)))  # of the samples, as they are presented
    drawn = uniforms(noise_key(0, "host", "dropout"), places, 0, 1, below.shape[1])[0]
    kept = (drawn >= share) / (1 - share)
    assert 0 < np.count_nonzero(kept) < kept.size
    outputs = outputs + below * (kept - 1) @ matrices(snn)[-1][0]
    activations[-1], slopes[-1] = activations[-1] * kept, slopes[-1] * kept
    wanted = back(snn, lesson, activations, slopes, softmax_error(outputs, lesson.labels))
    for ours, theirs in zip(updated(snn, lesson, method, dropout=share), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_divergence_is_said() -> None:
    snn = deployed(SOFT_IF)
    with pytest.raises(ChipsimError, match="diverged"):
        train_in_the_loop(snn, Lesson.draw(), method=_Infinite(), batch=5, progress=False)


class _Infinite(HostMethod):
    reads = frozenset({"outputs"})

    def outputs(self, twin: Twin, seen: Readings) -> torch.Tensor:
        return read(seen.outputs) * torch.inf
