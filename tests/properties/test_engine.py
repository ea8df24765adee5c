"""The Brian2 engine against the published recursion, written out in plain numpy, spike for spike."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chipsim.circuits import Circuit, Integrator
from chipsim.engines import Stage, StageState, Watch, Window
from chipsim.engines.brian import Brian
from chipsim.streams import stream
from chipsim.testing import strategies

Array = NDArray[np.float64]
STEP = 1e-3


class Layer(NamedTuple):
    circuit: Circuit
    bank: Mapping[str, Array]
    weight: Array
    bias_rows: int


class State(NamedTuple):
    inputs: Array
    spikes: Array
    v: Array


class Case(NamedTuple):
    layers: list[Layer]
    windows: list[Window]
    steps: int
    batch: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One or two spiking layers and a read-out, with per-neuron parameters, biases, noise, windows and batches."""
    rng = stream(draw(strategies.SEEDS), "test", "engine")
    steps, batch, width = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    sizes = [draw(st.integers(1, 6)) for _ in range(draw(st.integers(1, 2)))]
    circuits = [draw(strategies.circuits()) for _ in sizes] + [draw(strategies.readouts())]
    layers, below, noisy = [], width, draw(st.booleans())
    for circuit, size in zip(circuits, [*sizes, 3], strict=True):
        bias_rows = draw(st.integers(0, 2))
        weight = rng.normal(scale=circuit.v_unit / np.sqrt(below), size=(below + bias_rows, size))
        layers.append(Layer(circuit, _bank(circuit, size, rng, draw(st.booleans())), weight, bias_rows))
        below = size
    windows = [
        Window(
            inputs=rng.uniform(-1, 2, (batch, width)),
            noise=tuple(rng.normal(scale=0.1, size=(steps, batch, size)) if noisy else None for size in sizes),
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    return Case(layers, windows, steps, batch)


def _bank(circuit: Circuit, size: int, rng: np.random.Generator, varied: bool) -> dict[str, Array]:
    bank = {name: np.full(size, value) for name, value in circuit.nominal().items()}
    if varied:
        for role, name in circuit.roles.items():
            if role == "reset":
                bank[name] = bank[name] + 0.2 * circuit.swing * rng.standard_normal(size)
            else:
                bank[name] = bank[name] * rng.lognormal(sigma=0.3, size=size)
    return bank


def recursion(case: Case, window: Window) -> tuple[list[list[State]], float]:
    """All states of a window, and how near any membrane came to its threshold."""
    v = [np.tile(layer.bank["v_rest"], (case.batch, 1)) for layer in case.layers]
    states, nearest = [], np.inf
    for step in range(case.steps):
        spikes, now = window.inputs, []
        for index, (circuit, bank, weight, bias_rows) in enumerate(case.layers):
            below, pre = spikes, np.hstack([spikes, np.ones((case.batch, bias_rows))])
            u = v[index]
            if "tau" in bank:
                u = bank["v_rest"] + (u - bank["v_rest"]) * np.exp(-STEP / bank["tau"])
            noise = window.noise[index][step] if index < len(window.noise) and window.noise[index] is not None else 0.0
            u = np.clip(u + bank["gain"] * (pre @ weight) + noise, bank["v_floor"], bank["v_ceiling"])
            spikes, v[index] = np.zeros_like(u), u
            if isinstance(circuit, Integrator):
                now.append(State(below, spikes, u))
                continue
            threshold, reset = bank["v_threshold"], bank["v_reset"]
            spikes = (u > threshold).astype(float)
            nearest = min(nearest, float(np.abs(u - threshold).min()))
            after = u - (threshold - reset) if circuit.soft_reset else np.broadcast_to(reset, u.shape)
            v[index] = np.where(spikes > 0, after, u)
            now.append(State(below, spikes, u))
        states.append(now)
    return states, nearest


@settings(max_examples=30)
@given(cases())
def test_brian_equals_the_recursion_spike_for_spike(case: Case) -> None:
    expected = [recursion(case, window) for window in case.windows]
    assume(min(nearest for _, nearest in expected) > 1e-9)  # exp and products differ in the last bit
    seen: list[list[State]] = []
    values: list[Array] = []

    def keep(index: int, first: int, state: StageState) -> bool:
        if index == 0:
            assert first == len(seen) % case.steps
            seen.append([])
        assert state.v is not None
        seen[-1].append(State(state.inputs[0], state.spikes[0], state.v[0]))
        return False

    Brian().run(
        [Stage(circuit=c, parameters=bank, weights=lambda w=w: w, bias_rows=rows) for c, bank, w, rows in case.layers],
        case.windows,
        count=len(case.windows),
        batch=case.batch,
        steps=case.steps,
        step=STEP,
        watch=Watch(see=keep, v=[True] * len(case.layers)),
        on_window=values.append,
    )
    wanted = [states for states, _ in expected]
    for now, then in zip(seen, [step for states in wanted for step in states], strict=True):
        for state, reference in zip(now, then, strict=True):
            np.testing.assert_array_equal(state.spikes, reference.spikes)
            np.testing.assert_array_equal(state.inputs, reference.inputs)
            np.testing.assert_allclose(state.v, reference.v, rtol=1e-9, atol=1e-12)
    for value, states in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value, states[-1][-1].v, rtol=1e-9, atol=1e-12)
