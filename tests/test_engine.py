"""What every engine does with stages and windows, by hand; on the reference and on the fast engine."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.circuits import IF, LIF, Circuit, Integrator
from chipsim.effects import Grid
from chipsim.engines import Engine, Shortcut, Stage, StageState, Torch, Watch, Window
from chipsim.engines.brian import Brian
from chipsim.errors import ParameterError
from chipsim.wiring import Wiring

Array = NDArray[np.float64]
STEP = 1e-3
ENGINES = {
    "brian": Brian(),
    "torch": Torch(dtype="float64", device="cpu", compile=False),
    "torch, step by step": Torch(dtype="float64", device="cpu", compile=False, memory=1.0),
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def stage(engine: Engine, circuit: Circuit, weight: object, bias_rows: int = 0, **fields: object) -> Stage:
    weights = engine.array(np.asarray(weight, dtype=float))
    wiring = fields.pop("wiring", None)
    neurons = wiring.neurons if isinstance(wiring, Wiring) else weights.shape[1]
    names = set(circuit.per_neuron) & set(fields)
    bank = {name: np.full(neurons, value) for name, value in circuit.nominal().items()}
    bank |= {name: np.asarray(fields.pop(name), dtype=float) for name in names}
    return Stage(
        circuit=circuit,
        parameters=bank,
        weights=lambda: weights,
        bias_rows=bias_rows,
        wiring=wiring,  # type: ignore[arg-type]
        **fields,  # type: ignore[arg-type]
    )


class Seen(NamedTuple):
    """One stage through all windows, [windows x steps, batch, size]."""

    v: Array
    spikes: Array
    inputs: Array
    gate: Array


def run(
    engine: Engine, stages: list[Stage], windows: list[Window], steps: int, gate: float = 0.1, gate_from: int = 0
) -> list[Seen]:
    taken: list[list[StageState]] = [[] for _ in stages]

    def see(index: int, first: int, state: StageState) -> bool:
        assert first == sum(len(before.spikes) for before in taken[index]) % steps
        taken[index].append(state)
        return False

    engine.run(
        stages,
        windows,
        count=len(windows),
        batch=len(windows[0].inputs),
        steps=steps,
        step=STEP,
        watch=Watch(
            see=see,
            v=[True] * len(stages),
            gate=[gate if "threshold" in one.circuit.roles else None for one in stages],
            gate_from=gate_from,
        ),
    )

    def whole(states: list[StageState], name: str) -> Array:
        if getattr(states[0], name) is None:
            return np.empty(0)
        return np.concatenate([to_numpy(getattr(state, name)) for state in states])

    return [Seen(*(whole(states, name) for name in Seen._fields)) for states in taken]


@every_engine
def test_spikes_reach_the_next_layer_within_their_step(engine: Engine) -> None:
    chain = [stage(engine, IF(), [[1.0]]), stage(engine, IF(), [[1.0]]), stage(engine, Integrator(), [[2.0]])]
    seen = run(engine, chain, [Window(inputs=np.array([[0.4]]))], steps=4)
    assert [layer.spikes.ravel().tolist() for layer in seen] == [[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert seen[2].v.ravel().tolist() == [0.0, 2.0, 2.0, 4.0]


@every_engine
def test_membranes_are_sampled_after_the_threshold_and_before_the_reset(engine: Engine) -> None:
    (seen,) = run(engine, [stage(engine, LIF(), [[1.0]])], [Window(inputs=np.array([[0.9]]))], steps=2)
    assert seen.v.ravel().tolist() == [0.9, 0.9]
    assert seen.spikes.ravel().tolist() == [1.0, 1.0]


@every_engine
def test_rows_are_inputs_and_columns_are_neurons(engine: Engine) -> None:
    weight = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    window = Window(inputs=np.array([[1.0, 0.0], [0.0, 1.0]]))
    (seen,) = run(engine, [stage(engine, Integrator(), weight)], [window], steps=1)
    np.testing.assert_array_equal(seen.v[0], weight)


@every_engine
def test_bias_rows_are_driven_in_every_step_and_stage(engine: Engine) -> None:
    stages = [
        stage(engine, IF(), [[0.0], [0.25], [0.25]], bias_rows=2),
        stage(engine, Integrator(), [[0.0], [0.5]], bias_rows=1),
    ]
    first, second = run(engine, stages, [Window(inputs=np.array([[3.0]]))], steps=3)
    np.testing.assert_allclose(first.v.ravel(), [0.5, 1.0, 0.5])
    np.testing.assert_allclose(second.v.ravel(), [0.5, 1.0, 1.5])
    assert first.inputs.ravel().tolist() == [3.0, 3.0, 3.0]
    assert second.inputs.ravel().tolist() == [0.0, 1.0, 0.0]


@every_engine
def test_neurons_have_parameters_of_their_own_in_every_sample(engine: Engine) -> None:
    population = stage(engine, IF(), np.ones((1, 3)), v_threshold=[0.5, 1.5, np.inf], gain=[1.0, 2.0, 1.0])
    (seen,) = run(engine, [population], [Window(inputs=np.array([[0.7], [0.9]]))], steps=1)
    assert seen.spikes[0].tolist() == [[1, 0, 0], [1, 1, 0]]


@every_engine
def test_the_gate_is_open_around_each_neurons_own_threshold_and_closed_before_its_time(engine: Engine) -> None:
    population = stage(engine, IF(), np.ones((1, 3)), v_threshold=[0.5, 0.9, np.inf])
    window = Window(inputs=np.array([[0.45]]))
    (seen,) = run(engine, [population], [window], steps=3)
    assert seen.gate[:, 0].tolist() == [[True, False, False], [False, True, False], [True, False, False]]
    (late,) = run(engine, [population], [window], steps=3, gate_from=1)
    assert late.gate[:, 0].tolist() == [[False, False, False], [False, True, False], [True, False, False]]


@dataclass(frozen=True, kw_only=True)
class Tired(IF):
    """An IF neuron whose threshold rises with every spike of a window: `spent` has no equation."""

    equations: ClassVar[str] = "v : volt\nspent : 1"
    threshold: ClassVar[str] = "v > v_threshold * (1 + spent)"

    @property
    def reset(self) -> str:
        return "v = v_rest\nspent += 1"


@every_engine
def test_every_window_begins_with_all_variables_at_their_start(engine: Engine) -> None:
    window = Window(inputs=np.array([[0.7]]))
    (seen,) = run(engine, [stage(engine, Tired(), [[1.0]])], [window, window], steps=6)
    spikes = seen.spikes.reshape(2, 6)
    assert 1 < spikes[0].sum() < 6
    np.testing.assert_array_equal(spikes[0], spikes[1])


@every_engine
def test_noise_ends_with_the_window_that_brought_it(engine: Engine) -> None:
    noisy = Window(inputs=np.zeros((1, 1)), noise=(np.full((2, 1, 1), 0.25),))
    for quiet in (Window(inputs=np.zeros((1, 1)), noise=(np.zeros((2, 1, 1)),)),):
        (seen,) = run(engine, [stage(engine, Integrator(), [[1.0]])], [noisy, quiet], steps=2)
        assert seen.v.ravel().tolist() == [0.25, 0.5, 0.0, 0.0]


@every_engine
@pytest.mark.parametrize("without", [(None,), ()])
def test_a_window_may_bring_no_noise_after_one_that_did(engine: Engine, without: tuple[None, ...]) -> None:
    windows = [
        Window(inputs=np.zeros((1, 1)), noise=(np.full((2, 1, 1), 0.25),)),
        Window(inputs=np.zeros((1, 1)), noise=without),
        Window(inputs=np.zeros((1, 1)), noise=(np.full((2, 1, 1), 0.5),)),
    ]
    for order in ([0, 1], [1, 2], [0, 1, 2]):
        (seen,) = run(engine, [stage(engine, Integrator(), [[1.0]])], [windows[k] for k in order], steps=2)
        expected = [([0.25, 0.5], [0.0, 0.0], [0.5, 1.0])[k] for k in order]
        assert seen.v.ravel().tolist() == [value for window in expected for value in window]


@every_engine
def test_weights_that_a_callback_changes_act_from_the_next_step_on(engine: Engine) -> None:
    weight = [engine.array(np.ones((1, 1)))]
    held = replace(stage(engine, Integrator(), [[1.0]]), weights=lambda: weight[0])
    values: list[float] = []

    def change(index: int, first: int, state: StageState) -> bool:
        values.append(float(state.v[0, 0, 0]))
        weight[0] = engine.array(np.full((1, 1), 10.0))
        return first == 1

    watch = Watch(see=change, every_step=True, v=[True])
    engine.run([held], [Window(inputs=np.ones((1, 1)))], count=1, batch=1, steps=4, step=STEP, watch=watch)
    assert values == [1.0, 2.0, 12.0, 22.0]


@every_engine
def test_weights_changed_between_windows_act_in_the_next(engine: Engine) -> None:
    weight = [engine.array(np.ones((1, 1)))]
    held = replace(stage(engine, Integrator(), [[1.0]]), weights=lambda: weight[0])
    values: list[float] = []

    def change(v: Array) -> None:
        values.append(float(v[0, 0]))
        weight[0] = engine.array(np.full((1, 1), 10.0))

    windows = [Window(inputs=np.ones((1, 1)))] * 2
    engine.run([held], windows, count=2, batch=1, steps=4, step=STEP, on_window=change)
    assert values == [4.0, 40.0]


@every_engine
def test_windows_are_asked_for_one_by_one_and_answered_at_their_end(engine: Engine) -> None:
    events: list[str] = []

    def windows() -> Iterator[Window]:
        for index in range(3):
            events.append(f"window {index}")
            yield Window(inputs=np.full((1, 1), float(index)))

    def see(index: int, first: int, state: StageState) -> bool:
        events.extend(f"step {first + k}" for k in range(len(state.spikes)))
        return False

    engine.run(
        [stage(engine, Integrator(), [[1.0]])],
        windows(),
        count=3,
        batch=1,
        steps=2,
        step=STEP,
        watch=Watch(see=see),
        on_window=lambda v: events.append(f"value {float(v[0, 0]):g}"),
    )
    assert events == [
        event for index in range(3) for event in (f"window {index}", "step 0", "step 1", f"value {2 * index}")
    ]


@every_engine
def test_no_windows_need_no_run(engine: Engine) -> None:
    engine.run([], [], count=0, batch=0, steps=4, step=STEP)


@every_engine
def test_only_what_is_asked_for_is_handed_out(engine: Engine) -> None:
    states: list[StageState] = []

    def see(index: int, first: int, state: StageState) -> bool:
        states.append(state)
        return False

    stages = [stage(engine, IF(), [[1.0]]), stage(engine, Integrator(), [[1.0]])]
    engine.run(stages, [Window(inputs=np.ones((1, 1)))], count=1, batch=1, steps=2, step=STEP, watch=Watch(see=see))
    assert all(state.v is None and state.gate is None for state in states)
    assert {state.held for state in states[::2]} == {True}
    assert {state.held for state in states[1::2]} == {False}


@every_engine
def test_states_and_values_are_the_callers_to_keep(engine: Engine) -> None:
    values: list[Array] = []
    (seen,) = run(engine, [stage(engine, IF(), [[1.0]])], [Window(inputs=np.array([[0.25]]))] * 2, steps=3)
    np.testing.assert_allclose(seen.v.ravel(), [0.25, 0.5, 0.75] * 2)
    assert seen.spikes.ravel().tolist() == [0, 0, 1] * 2
    windows = [Window(inputs=np.full((1, 1), value)) for value in (1.0, 2.0, 3.0)]
    engine.run([stage(engine, Integrator(), [[1.0]])], windows, count=3, batch=1, steps=2, step=STEP,
               on_window=values.append)  # fmt: skip
    assert [float(value[0, 0]) for value in values] == [2.0, 4.0, 6.0]


@every_engine
def test_many_steps_keep_time(engine: Engine) -> None:
    """The number of steps comes out right where steps x dt is no exact float."""
    (seen,) = run(engine, [stage(engine, Integrator(), [[1.0]])], [Window(inputs=np.ones((1, 1)))] * 7, steps=13)
    assert len(seen.v) == 91
    assert seen.v[-1, 0, 0] == 13.0


@every_engine
def test_a_kernel_is_used_at_every_position_and_its_bias_too(engine: Engine) -> None:
    wiring = Wiring(inputs=(1, 2, 3), columns=2, kernel=(1, 2))
    conv = stage(engine, Integrator(), [[1.0, 10.0], [2.0, 20.0], [100.0, 0.0]], bias_rows=1, wiring=wiring)
    (seen,) = run(engine, [conv], [Window(inputs=np.arange(6.0)[None])], steps=1)
    plain = np.array([[0 + 2, 1 + 4], [3 + 8, 4 + 10]])
    np.testing.assert_array_equal(seen.v.reshape(2, 2, 2), np.stack([plain + 100, plain * 10]))


@every_engine
def test_pooling_averages_what_reaches_the_rows_and_leaves_what_is_seen(engine: Engine) -> None:
    wiring = Wiring(inputs=(1, 2, 4), columns=1, pool=2)
    dense = stage(engine, Integrator(), [[1.0], [10.0]], wiring=wiring)
    (seen,) = run(engine, [dense], [Window(inputs=np.arange(8.0)[None])], steps=1)
    assert seen.v.item() == (0 + 1 + 4 + 5) / 4 + 10 * (2 + 3 + 6 + 7) / 4
    assert seen.inputs.shape == (1, 1, 8)


@every_engine
def test_a_shortcut_adds_the_spikes_of_an_earlier_stage_past_the_array(engine: Engine) -> None:
    image = Wiring(inputs=(1, 2, 2), columns=1, kernel=(1, 1))
    wider = Wiring(inputs=(1, 2, 2), columns=2, kernel=(1, 1), stride=2)
    shortcut = Shortcut(source=0, inputs=(1, 2, 2), outputs=(2, 1, 1), drive=0.25)
    stages = [
        stage(engine, IF(), [[1.0]], wiring=image),
        stage(engine, Integrator(), [[0.0, 3.0]], wiring=wider, shortcut=shortcut),
    ]
    for inputs, expected in (([1.0, 0.0, 0.0, 0.0], [0.25, 3.0]), ([0.0, 1.0, 1.0, 1.0], [0.0, 0.0])):
        seen = run(engine, stages, [Window(inputs=np.array([inputs]))], steps=1)
        assert seen[1].v.ravel().tolist() == expected


@every_engine
def test_converters_stand_before_the_rows_and_between_columns_and_neurons(engine: Engine) -> None:
    grids = {"grid_in": Grid(0.5, 1.0), "grid_out": Grid(0.75, 1.5)}
    read = stage(engine, Integrator(gain=2.0), [[1.0]], **grids)
    inputs = np.array([[0.3], [0.8], [5.0], [-5.0], [0.1]])
    (seen,) = run(engine, [read], [Window(inputs=inputs)], steps=1)
    np.testing.assert_allclose(seen.v.ravel(), 2 * np.array([0.75, 0.75, 0.75, -0.75, 0.0]))
    np.testing.assert_allclose(seen.inputs.ravel(), [0.5, 1.0, 1.0, -1.0, 0.0])


@every_engine
def test_reading_noise_has_the_variance_of_the_driven_cells_and_the_bias(engine: Engine) -> None:
    variance = engine.array(np.array([[4.0], [9.0], [16.0]]))
    noisy = replace(
        stage(engine, Integrator(), np.zeros((3, 1)), bias_rows=1),
        variance=lambda: variance,
    )
    count = 4000
    window = Window(inputs=np.tile([1.0, -2.0], (count, 1)), numbers=range(count), reads=((7,),))
    (seen,) = run(engine, [noisy], [window], steps=1)
    stated = np.sqrt(4 * 1 + 9 * 4 + 16)
    assert abs(seen.v.std() / stated - 1) < 4 / np.sqrt(2 * count)
    assert abs(seen.v.mean()) < 4 * stated / np.sqrt(count)


def _outer_by_hand(wiring: Wiring, inputs: Array, bias: list[float], delta: Array, bias_rows: int) -> Array:
    """Sum of products, one sample, step and position after another."""
    total = np.zeros((wiring.rows + bias_rows, wiring.columns))
    share = wiring.columns // wiring.groups
    for step, (x, d) in enumerate(zip(inputs, delta, strict=True)):
        drives = wiring.drives(x)
        columns = d.reshape(len(d), wiring.columns, wiring.positions)
        for sample in range(len(d)):
            for column in range(wiring.columns):
                for position in range(wiring.positions):
                    signal = columns[sample, column, position]
                    total[: wiring.rows, column] += drives[column // share, sample, position] * signal
                    total[wiring.rows :, column] += bias[step] * signal
    return total


WIRINGS = {
    "dense": Wiring(inputs=(6,), columns=3),
    "pooled dense": Wiring(inputs=(2, 2, 4), columns=3, pool=2),
    "conv": Wiring(inputs=(2, 4, 4), columns=4, kernel=(3, 2), stride=2, padding=1, groups=2),
    "pooled conv": Wiring(inputs=(1, 4, 6), columns=2, kernel=(2, 2), pool=2),
}


@every_engine
@pytest.mark.parametrize("name", WIRINGS)
@pytest.mark.parametrize("bias_rows", [0, 2])
@pytest.mark.parametrize("held", [False, True])
def test_the_outer_product_is_that_of_every_row_and_column(
    engine: Engine, name: str, bias_rows: int, held: bool
) -> None:
    rng, wiring = np.random.default_rng(0), WIRINGS[name]
    inputs, delta = rng.normal(size=(3, 2, wiring.size)), rng.normal(size=(3, 2, wiring.neurons))
    inputs = np.broadcast_to(inputs[:1], inputs.shape) if held else inputs
    bias = [1.0, 1.8, 2.44]
    shaped = stage(engine, IF(), np.ones((wiring.rows + bias_rows, wiring.columns)), bias_rows, wiring=wiring)
    found = engine.outer(shaped, engine.array(inputs.copy()), bias, engine.array(delta), held=held)
    np.testing.assert_allclose(to_numpy(found), _outer_by_hand(wiring, inputs, bias, delta, bias_rows), rtol=1e-9)


@pytest.mark.parametrize("name", WIRINGS)
def test_mixed_precision_rounds_what_is_multiplied(name: str) -> None:
    engine, wiring, steps = Torch(dtype="mixed", device="cpu"), WIRINGS[name], 3
    rng = np.random.default_rng(0)
    spikes, delta = rng.integers(0, 2, (steps, 2, wiring.size)) * 1.0, rng.normal(size=(steps, 2, wiring.neurons))
    weights = rng.normal(size=(wiring.rows, wiring.columns))
    layer = stage(engine, Integrator(), weights, wiring=wiring)
    (seen,) = run(engine, [layer], [Window(inputs=of_step) for of_step in spikes], steps=1)
    exact, scale = (np.stack([wiring.product(of_step, of) for of_step in spikes]) for of in (weights, np.abs(weights)))
    assert np.abs(seen.v - exact).max() > 1e-4
    np.testing.assert_array_less(np.abs(seen.v - exact), 2 * 2**-8 * scale + 1e-9)
    found = engine.outer(layer, engine.array(spikes), [1.0] * steps, engine.array(delta), held=False)
    exact, scale = (_outer_by_hand(wiring, spikes, [1.0] * steps, of, 0) for of in (delta, np.abs(delta)))
    assert found.dtype == torch.float32
    np.testing.assert_array_less(np.abs(to_numpy(found) - exact), 2 * 2**-8 * scale + 1e-9)


@pytest.mark.parametrize("name", WIRINGS)
def test_what_no_processor_multiplies_is_rounded_and_multiplied_in_float32(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chipsim.engines.torch.multiplies_bfloat16", lambda device: False)
    engine, wiring, rng = Torch(dtype="mixed", device="cpu"), WIRINGS[name], np.random.default_rng(0)
    spikes, weights = rng.integers(0, 2, (2, wiring.size)) * 1.0, rng.normal(size=(wiring.rows, wiring.columns))
    (seen,) = run(engine, [stage(engine, Integrator(), weights, wiring=wiring)], [Window(inputs=spikes)], steps=1)
    rounded = torch.tensor(weights, dtype=torch.bfloat16).double().numpy()
    assert np.abs(seen.v - wiring.product(spikes, weights)).max() > 1e-4
    np.testing.assert_allclose(seen.v[0], wiring.product(spikes, rounded), rtol=1e-5, atol=1e-6)


def test_mixed_precision_sums_over_steps_in_float32() -> None:
    engine = Torch(dtype="mixed", device="cpu")
    (seen,) = run(engine, [stage(engine, Integrator(), [[1.0]])], [Window(inputs=np.ones((1, 1)))], steps=1001)
    assert seen.v[-1] == 1001


@every_engine
def test_a_dense_stage_needs_no_wiring(engine: Engine) -> None:
    plain = stage(engine, IF(), np.ones((5, 3)), bias_rows=1)
    inputs, delta = np.random.default_rng(0).normal(size=(2, 3, 4)), np.random.default_rng(1).normal(size=(2, 3, 3))
    found = engine.outer(plain, engine.array(inputs), [1.0, 1.0], engine.array(delta), held=False)
    np.testing.assert_allclose(to_numpy(found)[:4], np.einsum("tbr,tbc->rc", inputs, delta), rtol=1e-12)


def test_the_numbers_do_not_depend_on_brians_own_clock() -> None:
    import brian2

    before = brian2.defaultclock.dt
    for engine in ENGINES.values():
        found = []
        try:
            for dt in (before, 0.37 * before):
                brian2.defaultclock.dt = dt
                (seen,) = run(engine, [stage(engine, LIF(), [[0.4]])], [Window(inputs=np.ones((1, 1)))], steps=5)
                assert brian2.defaultclock.dt == dt
                found.append((seen.v, seen.spikes))
        finally:
            brian2.defaultclock.dt = before
        assert np.any(found[0][1])
        np.testing.assert_array_equal(*found)


def test_torchs_generator_and_threads_are_left_alone() -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)
    engine = ENGINES["torch"]
    run(engine, [stage(engine, LIF(), [[1.0]])], [Window(inputs=np.ones((1, 1)))], steps=2)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Brian(target="cuda"), "unknown Brian2 target 'cuda'; known: numpy, cython"),
        (lambda: Torch(dtype="int8"), "unknown dtype 'int8'; known: float32, float64, mixed"),
        (lambda: Torch(device="nonsense"), "device 'nonsense' cannot be used: "),
        (lambda: Torch(memory=0.0), "memory must be above 0 bytes, not 0"),
        (lambda: Torch(memory=float("nan")), "memory must be above 0 bytes, not nan"),
    ],
)
def test_impossible_engines_are_refused(make: Callable[[], Engine], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        make()


INTERRUPTED = """
import os, signal
import numpy as np
import chipsim as cs
{before}
class Lesson:
    def __len__(self): return 4
    def batches(self, size, epoch=0):
        yield np.zeros((2, 4)), np.zeros(2, int), ()
        os.kill(os.getpid(), signal.SIGINT)
        yield np.zeros((2, 4)), np.zeros(2, int), ()
        print("to the end and")

snn = cs.deploy(cs.Network.random((4, 6, 3), seed=0), cs.fabricate(cs.ChipDesign(), seed=0))
try:
    cs.learn(snn, Lesson(), rule=cs.Delta(), batch=2)
    print("done")
except KeyboardInterrupt:
    print("interrupted")
"""


IGNORED = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


@pytest.mark.parametrize(
    ("before", "said"), [("", "interrupted"), ("import brian2", "interrupted"), (IGNORED, "to the end and done")]
)
def test_an_interrupt_ends_a_run_as_python_says_not_as_brian2_does(before: str, said: str) -> None:
    """Brian2's own handler would end the run early as if it were done, and fail where interrupts are ignored."""
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(before=before)], capture_output=True, text=True, check=True
    )
    assert " ".join(run.stdout.split()) == said


@pytest.mark.parametrize(("bound", "collected"), [(0.0, True), (1e9, False)])
def test_a_run_of_brian_collects_garbage_once_there_is_much(
    bound: float, collected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chipsim.engines.brian.GARBAGE_BYTES", bound)
    monkeypatch.setattr("chipsim.engines.brian._garbage", [0.0])

    class Forgotten:
        pass

    forgotten = Forgotten()
    forgotten.itself, seen = forgotten, weakref.ref(forgotten)  # type: ignore[attr-defined]
    gc.disable()  # or it may be collected at any time
    try:
        del forgotten
        run(ENGINES["brian"], [stage(ENGINES["brian"], IF(), [[1.0]])], [Window(inputs=np.ones((1, 1)))], steps=1)
        assert (seen() is None) == collected
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert seen() is None
