from collections.abc import Sequence

import numpy as np
import pytest

from chipsim.circuits import IF, LIF, Integrator
from chipsim.engines import Stage, StageState, Window
from chipsim.engines.brian import Brian
from chipsim.errors import ParameterError

STEP = 1e-3


def stage(circuit: object, weight: object, bias_rows: int = 0, **parameters: object) -> Stage:
    weights = np.asarray(weight, dtype=float)
    bank = {name: np.full(weights.shape[1], value) for name, value in circuit.nominal().items()}  # type: ignore[attr-defined]
    bank |= {name: np.asarray(values, dtype=float) for name, values in parameters.items()}
    return Stage(circuit=circuit, parameters=bank, weights=lambda: weights, bias_rows=bias_rows)  # type: ignore[arg-type]


def run(stages: list[Stage], windows: list[Window], steps: int, target: str = "numpy") -> list[Sequence[StageState]]:
    seen: list[Sequence[StageState]] = []
    Brian(target=target).run(
        stages,
        windows,
        count=len(windows),
        batch=len(windows[0].inputs),
        steps=steps,
        step=STEP,
        on_step=lambda _, states: bool(seen.append(states)),
    )
    return seen


def test_spikes_reach_the_next_layer_within_their_step() -> None:
    chain = [stage(IF(), [[1.0]]), stage(IF(), [[1.0]]), stage(Integrator(), [[2.0]])]
    seen = run(chain, [Window(inputs=np.array([[0.4]]))], steps=4)
    spikes = [[state.spikes[0, 0] for state in states] for states in seen]
    assert spikes == [[0, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert [states[2].v[0, 0] for states in seen] == [0.0, 2.0, 2.0, 4.0]


def test_membranes_are_sampled_after_the_threshold_and_before_the_reset() -> None:
    (first, second) = (
        states[0] for states in run([stage(LIF(), [[1.0]])], [Window(inputs=np.array([[0.9]]))], steps=2)
    )
    assert (first.v[0, 0], first.spikes[0, 0]) == (0.9, 1.0)
    assert (second.v[0, 0], second.spikes[0, 0]) == (0.9, 1.0)


def test_rows_are_inputs_and_columns_are_neurons() -> None:
    weight = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    (states,) = run([stage(Integrator(), weight)], [Window(inputs=np.array([[1.0, 0.0], [0.0, 1.0]]))], steps=1)
    np.testing.assert_array_equal(states[0].v, weight)


def test_bias_rows_are_driven_in_every_step_and_stage() -> None:
    stages = [stage(IF(), [[0.0], [0.25], [0.25]], bias_rows=2), stage(Integrator(), [[0.0], [0.5]], bias_rows=1)]
    seen = run(stages, [Window(inputs=np.array([[3.0]]))], steps=3)
    np.testing.assert_allclose([states[0].v[0, 0] for states in seen], [0.5, 1.0, 0.5])
    np.testing.assert_allclose([states[1].v[0, 0] for states in seen], [0.5, 1.0, 1.5])
    assert seen[0][0].pre.tolist() == [[3.0, 1.0, 1.0]]
    assert seen[1][1].pre.tolist() == [[1.0, 1.0]]


def test_neurons_have_parameters_of_their_own_in_every_sample() -> None:
    population = stage(IF(), np.ones((1, 3)), v_threshold=[0.5, 1.5, np.inf], gain=[1.0, 2.0, 1.0])
    (states,) = run([population], [Window(inputs=np.array([[0.7], [0.9]]))], steps=1)
    assert states[0].spikes.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_noise_ends_with_the_window_that_brought_it() -> None:
    noisy = Window(inputs=np.zeros((1, 1)), noise=(np.full((2, 1, 1), 0.25),))
    for quiet in (Window(inputs=np.zeros((1, 1)), noise=(None,)), Window(inputs=np.zeros((1, 1)))):
        seen = run([stage(Integrator(), [[1.0]])], [noisy, quiet], steps=2)
        assert [states[0].v[0, 0] for states in seen] == [0.25, 0.5, 0.0, 0.0]


def test_weights_that_a_callback_changes_act_from_the_next_step_on() -> None:
    weight = np.ones((1, 1))
    held = Stage(circuit=Integrator(), parameters=stage(Integrator(), weight).parameters, weights=lambda: weight)
    values: list[float] = []

    def change(step: int, states: Sequence[StageState]) -> bool:
        values.append(float(states[0].v[0, 0]))
        weight[...] = 10.0
        return step == 1

    Brian().run([held], [Window(inputs=np.ones((1, 1)))], count=1, batch=1, steps=4, step=STEP, on_step=change)
    assert values == [1.0, 2.0, 12.0, 22.0]


def test_windows_are_asked_for_one_by_one_and_answered_at_their_end() -> None:
    events: list[str] = []

    def windows() -> object:
        for index in range(3):
            events.append(f"window {index}")
            yield Window(inputs=np.full((1, 1), float(index)))

    def step(index: int, _: object) -> bool:
        events.append(f"step {index}")
        return False

    Brian().run(
        [stage(Integrator(), [[1.0]])],
        windows(),  # type: ignore[arg-type]
        count=3,
        batch=1,
        steps=2,
        step=STEP,
        on_step=step,
        on_window=lambda v: events.append(f"value {v[0, 0]:g}"),
    )
    assert events == [
        event for index in range(3) for event in (f"window {index}", "step 0", "step 1", f"value {2 * index}")
    ]


def test_no_windows_need_no_run() -> None:
    Brian().run([], [], count=0, batch=0, steps=4, step=STEP)


def test_states_are_the_callers_to_keep() -> None:
    seen = run([stage(IF(), [[1.0]])], [Window(inputs=np.array([[0.25]]))], steps=3)
    np.testing.assert_allclose([states[0].v[0, 0] for states in seen], [0.25, 0.5, 0.75])
    assert [states[0].spikes[0, 0] for states in seen] == [0, 0, 1]


def test_many_steps_keep_time() -> None:
    """The number of steps comes out right where steps x dt is no exact float."""
    seen = run([stage(Integrator(), [[1.0]])], [Window(inputs=np.ones((1, 1)))] * 7, steps=13)
    assert len(seen) == 91
    assert seen[-1][0].v[0, 0] == 13.0


def test_the_numbers_do_not_depend_on_brians_own_clock() -> None:
    import brian2

    before = brian2.defaultclock.dt
    run([stage(LIF(), [[1.0]])], [Window(inputs=np.ones((1, 1)))], steps=2)
    assert brian2.defaultclock.dt == before


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ParameterError, match="unknown Brian2 target 'cuda'; known: numpy, cython"):
        Brian(target="cuda")
