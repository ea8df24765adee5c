"""What every neuron and read-out circuit must do, on every engine."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.arrays import to_numpy
from chipsim.circuits import Circuit
from chipsim.circuits.membrane import Membrane
from chipsim.engines import Engine, Stage, StageState, Torch, Watch, Window
from chipsim.engines.brian import Brian
from chipsim.quantity import UNITS, declarations
from chipsim.testing.conformance.parameters import PARAMETERS

Array = NDArray[np.float64]
ROLES = frozenset({"threshold", "time_constant", "reset", "gain"})
ENGINES: tuple[Engine, ...] = (Brian(), Torch(dtype="float64", device="cpu", compile=False))


def respond(
    circuit: Circuit,
    drives: ArrayLike,
    *,
    steps: int | None = None,
    windows: int = 1,
    kick: float = 0.0,
    parameters: Mapping[str, ArrayLike] | None = None,
    engine: Engine = ENGINES[0],
) -> tuple[Array, Array]:
    """Return membrane and spikes [windows, steps, drives, neurons] under constant drives [the port's unit per step].

    steps: of the circuit's own length, by default as many as it needs to answer. kick: added to every membrane in the
    first step. parameters: per-neuron values in place of nominal ones.
    """
    inputs = np.atleast_1d(np.asarray(drives, dtype=float))[:, None]
    given = {**circuit.nominal(), **(parameters or {})}
    neurons = max(np.size(values) for values in given.values())
    bank = {name: np.broadcast_to(np.asarray(values, dtype=float), (neurons,)) for name, values in given.items()}
    steps = in_steps(circuit, 1.0) if steps is None else steps
    noise = np.zeros((steps, len(inputs), neurons))
    noise[0] = kick
    one = engine.array(np.ones((1, neurons)))
    taken: list[tuple[Array, Array]] = []

    def take(index: int, first: int, state: StageState) -> bool:
        taken.append((to_numpy(state.v), to_numpy(state.spikes)))
        return False

    engine.run(
        [Stage(circuit=circuit, parameters=bank, weights=lambda: one)],
        [Window(inputs=inputs, numbers=range(len(inputs)), noise=(noise,))] * windows,
        count=windows,
        batch=len(inputs),
        steps=steps,
        step=circuit.step,
        watch=Watch(see=take, v=[True]),
    )
    shape = (windows, steps, len(inputs), neurons)
    v, spikes = (np.concatenate(values).reshape(shape) for values in zip(*taken, strict=True))
    return v, spikes


def in_steps(circuit: Circuit, times: float) -> int:
    """Return how many of the circuit's steps are `times` the time in which it answers."""
    return max(2, round(times * circuit.answers_within / circuit.step))


def _unit_drive(circuit: Circuit) -> float:
    return circuit.firing_drive / (circuit.gain or 1.0)


def _on_every_engine(check: Callable[[Circuit, Engine], None]) -> Callable[[Circuit], None]:
    """Make of a check on one engine one that runs on all."""

    @functools.wraps(check)
    def every(circuit: Circuit) -> None:
        for engine in ENGINES:
            try:
                check(circuit, engine)
            except AssertionError as error:
                raise AssertionError(f"in {type(engine).__name__}: {error}") from None

    return every


@_on_every_engine
def runs(circuit: Circuit, engine: Engine) -> None:
    """The equation text parses and runs, and the membrane stays finite."""
    v, spikes = respond(circuit, np.array([-1.0, 0.0, 0.5, 2.0]) * _unit_drive(circuit), engine=engine)
    assert np.isfinite(v).all(), "the membrane became NaN or infinite"
    assert set(np.unique(spikes)) <= {0.0, 1.0}, "spikes must be 0 or 1"


def is_the_same_on_every_engine(circuit: Circuit) -> None:
    """All engines give the same spikes, and membranes to a relative 1e-9, for every sample and neuron."""
    drives = np.array([-0.37, 0.0, 0.531, 1.033, 2.719]) * _unit_drive(circuit)
    gains = {circuit.roles["gain"]: circuit.gain * np.array([0.83, 1.0, 1.31])}
    found = [respond(circuit, drives, parameters=gains, kick=0.013 * circuit.swing, engine=e) for e in ENGINES]
    for (v, spikes), engine in zip(found[1:], ENGINES[1:], strict=True):
        name = type(engine).__name__
        assert np.array_equal(spikes, found[0][1]), f"{name} gives other spikes than {type(ENGINES[0]).__name__}"
        assert np.allclose(v, found[0][0], rtol=1e-9, atol=1e-12 * circuit.swing), f"{name} gives other membranes"


def names_its_port_and_membrane(circuit: Circuit) -> None:
    """The port is known, the membrane has a known unit, and the scales of drives and membranes are above 0."""
    assert circuit.port in ("charge", "current"), f"unknown port {circuit.port!r}"
    assert circuit.membrane_unit in UNITS, f"unknown unit {circuit.membrane_unit!r} of the membrane"
    for name in ("unit_drive", "firing_drive", "swing", "scale"):
        assert getattr(circuit, name) > 0, f"{name} must be above 0, not {getattr(circuit, name):g}"
    if circuit.refractory is not None:
        assert circuit.refractory in circuit.per_neuron, f"refractory names {circuit.refractory!r}, not in per_neuron"


def accepts_its_own_step(circuit: Circuit) -> None:
    """Its own step passes `check_step`, and it answers within several of them."""
    circuit.check_step(circuit.step)
    assert circuit.answers_within >= 2 * circuit.step, "it answers within less than two of its steps"


@_on_every_engine
def answers_in_time(circuit: Circuit, engine: Engine) -> None:
    """A drive that stands for a rate of 1 makes it spike within `answers_within`, or moves it where nothing spikes."""
    v, spikes = respond(circuit, [_unit_drive(circuit)], engine=engine)
    if circuit.threshold is None:
        assert v[0, -1, 0, 0] > v[0, 0, 0, 0], "a drive of 1 does not move the membrane up"
    else:
        assert spikes.any(), f"no spike within {circuit.answers_within:g} s of a firing drive"


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
    """Every initial value names a per-neuron field, and the membrane has one."""
    assert circuit.membrane in circuit.initial, f"the membrane {circuit.membrane} needs an initial value"
    for state, name in circuit.initial.items():
        assert name in circuit.per_neuron, f"initial value of {state} names {name!r}, which is not in per_neuron"


@_on_every_engine
def roles_act(circuit: Circuit, engine: Engine) -> None:
    """Moving the field of any role moves the response."""
    drives, nominal, roles = np.array([0.3, 0.6, 0.9, 1.2]) * _unit_drive(circuit), circuit.nominal(), circuit.roles
    bank = {name: np.full(len(roles) + 1, value) for name, value in nominal.items()}
    for neuron, (role, name) in enumerate(roles.items(), start=1):
        shift = {"threshold": 0.5 * circuit.swing, "reset": -0.3 * circuit.swing}.get(role, 0.3 * nominal[name])
        bank[name][neuron] += shift
    v, spikes = (values[0] for values in respond(circuit, drives, parameters=bank, engine=engine))
    for neuron, (role, name) in enumerate(roles.items(), start=1):
        same = np.array_equal(v[:, :, 0], v[:, :, neuron]) and np.array_equal(spikes[:, :, 0], spikes[:, :, neuron])
        assert not same, f"role {role!r} names {name!r}, but moving it changes nothing"


@_on_every_engine
def is_silent_without_input(circuit: Circuit, engine: Engine) -> None:
    """Without input nothing fires from the initial state, and the membrane stays as near to rest as it was."""
    v, spikes = respond(circuit, [0.0], steps=in_steps(circuit, 2.5), engine=engine)
    assert not spikes.any(), f"{int(spikes.sum())} spikes without input"
    start = circuit.nominal()[circuit.initial[circuit.membrane]]
    near = 1e-9 * circuit.swing + abs(circuit.rest - start)
    assert np.allclose(v, circuit.rest, rtol=1e-9, atol=near), "the membrane moves without input"


@_on_every_engine
def holds_its_rails(circuit: Circuit, engine: Engine) -> None:
    """However strong the drive, a membrane of charge stays within v_floor and v_ceiling, and reaches them."""
    if not isinstance(circuit, Membrane):
        return
    ends = [circuit.v_rest, circuit.v_rest + circuit.swing]
    ends += [circuit.nominal()[circuit.roles["reset"]]] if "reset" in circuit.roles else []
    low, high = min(ends) - 0.5 * circuit.swing, max(ends) + 0.5 * circuit.swing
    railed = dataclasses.replace(circuit, v_floor=low, v_ceiling=high)
    v, _ = respond(railed, np.array([-100.0, -1.0, 1.0, 100.0]) * _unit_drive(circuit), engine=engine)
    slack = 1e-9 * circuit.swing
    assert v.min() >= low - slack, f"the membrane fell to {v.min():g} V, below v_floor = {low:g} V"
    assert v.max() <= high + slack, f"the membrane rose to {v.max():g} V, above v_ceiling = {high:g} V"
    if circuit.gain > 0:
        assert np.isclose(v[:, :, 0].min(), low), "a strong negative drive does not reach v_floor"
        assert np.isclose(v[:, :, -1].max(), high), "a strong drive does not reach v_ceiling"


@_on_every_engine
def answers_more_to_more(circuit: Circuit, engine: Engine) -> None:
    """A stronger drive never spikes later; without a threshold, it never leaves a lower membrane."""
    drives = np.linspace(0.0, 3.0, 31) * _unit_drive(circuit)
    v, spikes = respond(circuit, drives, steps=in_steps(circuit, 1.5), engine=engine)
    if circuit.threshold is None:
        assert (np.diff(v[0, -1, :, 0]) >= 0).all(), "a stronger drive left a lower membrane"
        return
    fired = spikes[0, :, :, 0]
    first = np.where(fired.any(axis=0), fired.argmax(axis=0), len(fired))
    assert (np.diff(first) <= 0).all(), f"a stronger drive spiked later: first spikes at steps {first.tolist()}"


@_on_every_engine
def leaks_as_stated(circuit: Circuit, engine: Engine) -> None:
    """Of a small deflection, `leak(step)` is left one step later: a thousandth of it, and a tenth of what is lost,
    may be astray, by steps and by what leakage adds.
    """
    kick = 1e-3 * circuit.swing
    v, _ = respond(circuit, [0.0], kick=kick, steps=2, engine=engine)
    left = (v[0, 1, 0, 0] - circuit.rest) / (v[0, 0, 0, 0] - circuit.rest)
    stated = circuit.leak(circuit.step)
    assert 0.0 <= stated <= 1.0, f"leak() states {stated:g}, not a fraction"
    near = np.isclose(left, stated, rtol=1e-3, atol=1e-6) and np.isclose(1 - left, 1 - stated, rtol=0.1, atol=1e-6)
    assert near, f"{left:g} is left of a deflection, leak() states {stated:g}"


@_on_every_engine
def starts_every_window_afresh(circuit: Circuit, engine: Engine) -> None:
    """Each window starts from the initial state: equal windows of one run give equal responses."""
    drives = np.array([0.7, 1.7]) * _unit_drive(circuit)
    v, spikes = respond(circuit, drives, windows=3, steps=in_steps(circuit, 0.35), engine=engine)
    for window in (1, 2):
        assert np.array_equal(v[0], v[window]), "the membrane remembers the window before"
        assert np.array_equal(spikes[0], spikes[window]), "spikes depend on the window before"


@_on_every_engine
def ignores_its_neighbours(circuit: Circuit, engine: Engine) -> None:
    """A sample's response depends neither on the rest of the batch nor on the other neurons of the bank."""
    drives = np.array([0.4, 1.1, 2.5]) * _unit_drive(circuit)
    gains = circuit.gain * np.array([0.8, 1.0, 1.3])
    name = circuit.roles["gain"]
    together = respond(circuit, drives, parameters={name: gains}, engine=engine)
    alone = respond(circuit, drives[[1]], parameters={name: gains[[2]]}, engine=engine)
    for both, one in zip(together, alone, strict=True):
        assert np.array_equal(both[:, :, 1, 2], one[:, :, 0, 0]), "the batch or the bank plays a part"


CIRCUIT: tuple[Callable[[Circuit], None], ...] = (
    *PARAMETERS,
    names_its_port_and_membrane,
    accepts_its_own_step,
    runs,
    is_the_same_on_every_engine,
    answers_in_time,
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
