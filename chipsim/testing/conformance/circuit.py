"""What every neuron and read-out circuit must do."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.circuits import Circuit
from chipsim.engines import Stage, StageState, Window
from chipsim.engines.brian import Brian
from chipsim.quantity import declarations
from chipsim.testing.conformance.parameters import PARAMETERS

Array = NDArray[np.float64]
STEP = 1e-3
ROLES = frozenset({"threshold", "time_constant", "reset", "gain"})


def respond(
    circuit: Circuit,
    drives: ArrayLike,
    *,
    steps: int = 20,
    windows: int = 1,
    kick: float = 0.0,
    parameters: Mapping[str, ArrayLike] | None = None,
) -> tuple[Array, Array]:
    """Return membrane and spikes [windows, steps, drives, neurons] under constant drives [V per step].

    kick: voltage added to every membrane in the first step. parameters: per-neuron values in place of nominal ones.
    """
    inputs = np.atleast_1d(np.asarray(drives, dtype=float))[:, None]
    given = {**circuit.nominal(), **(parameters or {})}
    neurons = max(np.size(values) for values in given.values())
    bank = {name: np.broadcast_to(np.asarray(values, dtype=float), (neurons,)) for name, values in given.items()}
    noise = np.zeros((steps, len(inputs), neurons))
    noise[0] = kick
    one = np.ones((1, neurons))
    taken: list[tuple[Array, Array]] = []

    def take(_: int, states: Sequence[StageState]) -> bool:
        taken.append((states[0].v, states[0].spikes))
        return False

    Brian().run(
        [Stage(circuit=circuit, parameters=bank, weights=lambda: one)],
        [Window(inputs=inputs, noise=(noise,))] * windows,
        count=windows,
        batch=len(inputs),
        steps=steps,
        step=STEP,
        on_step=take,
    )
    v, spikes = (np.stack(values).reshape(windows, steps, len(inputs), neurons) for values in zip(*taken, strict=True))
    return v, spikes


def _unit_drive(circuit: Circuit) -> float:
    return circuit.swing / (circuit.gain or 1.0)


def runs(circuit: Circuit) -> None:
    """The equation text parses and runs in the Brian2 engine, and the membrane stays finite."""
    v, spikes = respond(circuit, np.array([-1.0, 0.0, 0.5, 2.0]) * _unit_drive(circuit))
    assert np.isfinite(v).all(), "the membrane became NaN or infinite"
    assert set(np.unique(spikes)) <= {0.0, 1.0}, "spikes must be 0 or 1"


def names_per_neuron_quantities(circuit: Circuit) -> None:
    """Every name in `per_neuron` is a quantity field with unit and source."""
    declared = declarations(circuit)
    for name in circuit.per_neuron:
        assert name in declared, f"per_neuron names {name!r}, which is no quantity field"
        assert declared[name].unit, f"{name} has no unit"
        assert declared[name].source, f"{name} has no source"


def names_roles(circuit: Circuit) -> None:
    """Every role is a known one and names a per-neuron field, and there is a threshold role just where it spikes."""
    for role, name in circuit.roles.items():
        assert role in ROLES, f"unknown role {role!r}; known: {', '.join(sorted(ROLES))}"
        assert name in circuit.per_neuron, f"role {role!r} names {name!r}, which is not in per_neuron"
    spikes = circuit.threshold is not None
    assert spikes == ("threshold" in circuit.roles), "a circuit that spikes, and no other, has a threshold role"
    assert spikes == (circuit.reset is not None), "a circuit that spikes, and no other, has a reset"
    assert "gain" in circuit.roles, "effects act on the gain of the input branch: give it a role"


def names_initial_values(circuit: Circuit) -> None:
    """Every initial value names a per-neuron field, and the membrane v has one."""
    assert "v" in circuit.initial, "the membrane v needs an initial value"
    for state, name in circuit.initial.items():
        assert name in circuit.per_neuron, f"initial value of {state} names {name!r}, which is not in per_neuron"


def roles_act(circuit: Circuit) -> None:
    """Moving the field of any role moves the response."""
    drives, nominal, roles = np.array([0.3, 0.6, 0.9, 1.2]) * _unit_drive(circuit), circuit.nominal(), circuit.roles
    bank = {name: np.full(len(roles) + 1, value) for name, value in nominal.items()}
    for neuron, (role, name) in enumerate(roles.items(), start=1):
        shift = {"threshold": 0.5 * circuit.swing, "reset": -0.3 * circuit.swing}.get(role, 0.3 * nominal[name])
        bank[name][neuron] += shift
    v, spikes = (values[0] for values in respond(circuit, drives, parameters=bank))
    for neuron, (role, name) in enumerate(roles.items(), start=1):
        same = np.array_equal(v[:, :, 0], v[:, :, neuron]) and np.array_equal(spikes[:, :, 0], spikes[:, :, neuron])
        assert not same, f"role {role!r} names {name!r}, but moving it changes nothing"


def is_silent_without_input(circuit: Circuit) -> None:
    """Without input nothing fires from the initial state, and the membrane stays there."""
    v, spikes = respond(circuit, [0.0], steps=50)
    assert not spikes.any(), f"{int(spikes.sum())} spikes without input"
    start = circuit.nominal()[circuit.initial["v"]]
    assert np.allclose(v, start, rtol=1e-9, atol=1e-9 * circuit.swing), "the membrane moves without input"


def holds_its_rails(circuit: Circuit) -> None:
    """However strong the drive, the membrane stays within v_floor and v_ceiling, and reaches them."""
    ends = [circuit.v_rest, circuit.v_rest + circuit.swing]
    ends += [circuit.nominal()[circuit.roles["reset"]]] if "reset" in circuit.roles else []
    low, high = min(ends) - 0.5 * circuit.swing, max(ends) + 0.5 * circuit.swing
    railed = dataclasses.replace(circuit, v_floor=low, v_ceiling=high)
    v, _ = respond(railed, np.array([-100.0, -1.0, 1.0, 100.0]) * _unit_drive(circuit))
    slack = 1e-9 * circuit.swing
    assert v.min() >= low - slack, f"the membrane fell to {v.min():g} V, below v_floor = {low:g} V"
    assert v.max() <= high + slack, f"the membrane rose to {v.max():g} V, above v_ceiling = {high:g} V"
    if circuit.gain > 0:
        assert np.isclose(v[:, :, 0].min(), low), "a strong negative drive does not reach v_floor"
        assert np.isclose(v[:, :, -1].max(), high), "a strong drive does not reach v_ceiling"


def answers_more_to_more(circuit: Circuit) -> None:
    """A stronger drive never spikes later; without a threshold, it never leaves a lower membrane."""
    v, spikes = respond(circuit, np.linspace(0.0, 3.0, 31) * _unit_drive(circuit), steps=30)
    if circuit.threshold is None:
        assert (np.diff(v[0, -1, :, 0]) >= 0).all(), "a stronger drive left a lower membrane"
        return
    fired = spikes[0, :, :, 0]
    first = np.where(fired.any(axis=0), fired.argmax(axis=0), len(fired))
    assert (np.diff(first) <= 0).all(), f"a stronger drive spiked later: first spikes at steps {first.tolist()}"


def leaks_as_stated(circuit: Circuit) -> None:
    """Of a small deflection, `leak(step)` is left one step later."""
    kick = 1e-3 * circuit.swing
    v, _ = respond(circuit, [0.0], kick=kick, steps=2)
    left = (v[0, 1, 0, 0] - circuit.v_rest) / (v[0, 0, 0, 0] - circuit.v_rest)
    stated = circuit.leak(STEP)
    assert 0.0 <= stated <= 1.0, f"leak() states {stated:g}, not a fraction"
    assert np.isclose(left, stated, rtol=1e-3, atol=1e-6), f"{left:g} is left of a deflection, leak() states {stated:g}"


def starts_every_window_afresh(circuit: Circuit) -> None:
    """Each window starts from the initial state: equal windows of one run give equal responses."""
    v, spikes = respond(circuit, np.array([0.7, 1.7]) * _unit_drive(circuit), windows=3, steps=7)
    for window in (1, 2):
        assert np.array_equal(v[0], v[window]), "the membrane remembers the window before"
        assert np.array_equal(spikes[0], spikes[window]), "spikes depend on the window before"


def ignores_its_neighbours(circuit: Circuit) -> None:
    """A sample's response depends neither on the rest of the batch nor on the other neurons of the bank."""
    drives = np.array([0.4, 1.1, 2.5]) * _unit_drive(circuit)
    gains = circuit.gain * np.array([0.8, 1.0, 1.3])
    name = circuit.roles["gain"]
    together = respond(circuit, drives, parameters={name: gains})
    alone = respond(circuit, drives[[1]], parameters={name: gains[[2]]})
    for both, one in zip(together, alone, strict=True):
        assert np.array_equal(both[:, :, 1, 2], one[:, :, 0, 0]), "the batch or the bank plays a part"


CIRCUIT: tuple[Callable[[Circuit], None], ...] = (
    *PARAMETERS,
    runs,
    names_per_neuron_quantities,
    names_roles,
    names_initial_values,
    roles_act,
    is_silent_without_input,
    holds_its_rails,
    answers_more_to_more,
    leaks_as_stated,
    starts_every_window_afresh,
    ignores_its_neighbours,
)
