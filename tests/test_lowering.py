"""Circuits' text as tensor functions: what the graphs hold, what they compute, and what is refused."""

import math
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch

from chipsim.circuits import DPI, IF, LIF, Circuit, Integrator
from chipsim.engines.base import Engine
from chipsim.engines.brian import Brian
from chipsim.engines.lowering import ELAPSED, Lowered, LoweringError, lower
from chipsim.engines.torch import Torch
from chipsim.errors import ChipsimError
from chipsim.population import bench
from chipsim.quantity import quantity
from chipsim.testing.conformance.circuit import ENGINES, respond

STEP = 1e-3


@dataclass(frozen=True, kw_only=True)
class Text(Circuit):
    """A circuit of any text: a membrane with a second variable, whose text a test puts in."""

    per_neuron: ClassVar[tuple[str, ...]] = ("gain", "v_threshold", "v_reset", "v_rest", "tau", "t_refractory")
    roles: ClassVar[Mapping[str, str]] = {"threshold": "v_threshold", "reset": "v_reset", "gain": "gain"}
    refractory: ClassVar[str | None] = None
    port: ClassVar[Literal["charge", "current"]] = "charge"

    tau: float = quantity(10e-3, "s", (1e-9, 1e6))
    v_threshold: float = quantity(0.6, "V", (1e-6, 1e3))
    v_reset: float = quantity(0.1, "V", (-1.0, 1.0))
    v_rest: float = quantity(0.05, "V", (-1.0, 1.0))
    t_refractory: float = quantity(0.0, "s", (0.0, 1.0))
    shared: float = quantity(0.25, "1", (0.0, 1.0))
    equations: str = "dv/dt = (v_rest - v) / tau : volt"  # type: ignore[assignment]
    inject: str = "v += gain * drive + noise"  # type: ignore[assignment]
    threshold: str | None = "v > v_threshold"  # type: ignore[assignment]
    reset: str | None = "v = v_reset"  # type: ignore[assignment]
    method: str = "exact"  # type: ignore[misc]

    unit_drive: ClassVar[float] = 1.0  # type: ignore[misc]
    firing_drive: ClassVar[float] = 1.0  # type: ignore[misc]
    rest: ClassVar[float] = 0.0  # type: ignore[misc]
    swing: ClassVar[float] = 0.6  # type: ignore[misc]
    scale: ClassVar[float] = 1.0  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class Refractory(Text):
    """The same with a refractory time."""

    refractory: ClassVar[str | None] = "t_refractory"
    t_refractory: float = quantity(3e-3, "s", (0.0, 1.0))
    equations: str = "dv/dt = (v_rest - v) / tau : volt (unless refractory)"  # type: ignore[assignment]


def operations(graph: torch.fx.GraphModule) -> Counter[object]:
    return Counter(node.target for node in graph.graph.nodes if node.op == "call_function")


def agrees(circuit: Circuit, steps: int = 60, **options: object) -> np.ndarray:
    """Assert that both engines give the same; return the spikes [steps, drives, neurons]."""
    given = {
        "drives": np.array([-0.2, 0.0, 0.07, 0.31, 1.3]),
        "parameters": {"gain": np.array([0.8, 1.0, 1.7]), "v_threshold": np.array([0.5, 0.61, 0.7])},
        **options,
    }
    found = [respond(circuit, steps=steps, kick=0.0137, engine=engine, **given) for engine in ENGINES]  # type: ignore[arg-type]
    (v, spikes), (fast, others) = found
    np.testing.assert_array_equal(others, spikes)
    np.testing.assert_allclose(fast, v, rtol=1e-9, atol=1e-12)
    return spikes[0]


# ------------------------------------------------------------------------------------------------ what the graphs hold


def test_equal_subexpressions_are_one_node() -> None:
    circuit = Text(method="euler", equations="dv/dt = (tanh(v / volt) + tanh(v / volt) ** 3) * volt / tau : volt")
    assert operations(lower(circuit, STEP, True).step)[torch.tanh] == 1
    twice = Text(threshold="tanh(v / volt) > 0.5", reset="v = v_reset * tanh(v / volt)")
    assert operations(lower(twice, STEP, True).step)[torch.tanh] == 1


def test_what_depends_on_parameters_alone_is_computed_once() -> None:
    lowered = lower(LIF(), STEP, True)
    assert operations(lowered.setup)[torch.exp] == 1
    assert torch.exp not in operations(lowered.step)
    assert operator.truediv not in operations(lowered.step)
    circuit = Text(equations="dv/dt = (v_rest - v) * sqrt(shared + tau / (2 * ms)) / tau : volt", method="euler")
    lowered = lower(circuit, STEP, True)
    assert torch.sqrt in operations(lowered.setup)
    assert torch.sqrt not in operations(lowered.step)


def test_numbers_are_folded() -> None:
    circuit = Text(equations="dv/dt = (v_rest - v) * exp(shared) / (2 * 3 * ms) : volt", method="euler")
    lowered = lower(circuit, STEP, False)
    assert not operations(lowered.setup).keys() & {torch.exp, operator.truediv}


def test_an_if_neuron_is_a_handful_of_operations() -> None:
    assert operations(lower(IF(), STEP, False).step).total() <= 4  # gain drive, sum, comparison, reset
    assert operations(lower(IF(), STEP, True).step).total() <= 5


def test_without_noise_no_noise_is_read() -> None:
    for noisy in (False, True):
        (noise,) = (node for node in lower(LIF(), STEP, noisy).step.graph.nodes if node.name == "noise")
        assert bool(noise.users) == noisy


def test_equal_texts_share_their_functions() -> None:
    assert lower(LIF(), STEP, True) is lower(LIF(tau=20e-3, v_threshold=0.9), STEP, True)
    others: list[Lowered] = [
        lower(LIF(), STEP, False),
        lower(LIF(), 2 * STEP, True),
        lower(LIF(soft_reset=True), STEP, True),
        lower(LIF(v_floor=-1.0), STEP, True),
        lower(IF(), STEP, True),
    ]
    assert len({id(one) for one in (lower(LIF(), STEP, True), *others)}) == 6
    assert lower(DPI(), 1e-4, True) is lower(DPI(i_threshold=1e-9), 1e-4, True)
    assert lower(DPI(), 1e-4, True) is not lower(DPI(alpha=100.0), 1e-4, True)  # all neurons share it


def test_a_circuit_says_what_it_takes_and_keeps() -> None:
    lowered = lower(LIF(), STEP, True)
    assert lowered.parameters == LIF.per_neuron
    assert lowered.states == ("v",)
    assert lower(DPI(), 1e-4, True).states == ("i_mem", ELAPSED)
    *_, spikes, membrane = lower(Integrator(), STEP, False).step(
        torch.zeros(2, 3), torch.ones(2, 3), None, *lower(Integrator(), STEP, False).setup(*[torch.ones(3)] * 4)
    )
    assert spikes is None
    assert torch.equal(membrane, torch.ones(2, 3))


def test_the_code_can_be_printed() -> None:
    assert "def forward" in lower(LIF(), STEP, True).step.code


# ------------------------------------------------------------------------------------------------- what they compute

METHODS = ["exact", "exponential_euler", "euler", "rk2", "rk4", "heun"]


@pytest.mark.parametrize("method", METHODS)
def test_every_integrator_that_gives_code_agrees(method: str) -> None:
    circuit = Text(
        method=method,
        equations="dv/dt = (v_rest - v + shared * w) / tau : volt\ndw/dt = -w / (7*ms) : volt",
        inject="v += gain * drive + noise; w += 0.3 * drive",
    )
    if method == "exact":
        circuit = replace(circuit, equations="dv/dt = (v_rest - v) / tau : volt\ndw/dt = -w / (7*ms) : volt")
    circuit = replace(circuit, inject="v += gain * drive + noise\nw += 0.3 * drive")
    assert agrees(circuit).any()


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("exact", "exponential_euler")])
def test_integrators_agree_on_equations_that_are_not_linear(method: str) -> None:
    circuit = Text(method=method, equations="dv/dt = (v_rest - v + 0.1 * v * v / volt) / tau : volt")
    assert agrees(circuit).any()


@pytest.mark.parametrize("length", [0.0, 1e-3, 2.5e-3, 3e-3, 7e-3])
def test_refractory_times_agree_with_noise_too(length: float) -> None:
    spikes = agrees(Refractory(t_refractory=length), drives=np.array([0.4, 0.9, 5.0]))
    gap = min(np.diff(np.flatnonzero(train)).min() for train in spikes[:, -1].T)
    assert gap >= max(1, math.floor(length / STEP + 1e-3))  # Brian2's rounding to whole steps


def test_refractory_times_differ_from_neuron_to_neuron() -> None:
    times = np.array([0.0, 2e-3, 9e-3])
    spikes = agrees(Refractory(), drives=np.array([5.0]), parameters={"t_refractory": times})
    counts = spikes[:, 0].sum(axis=0)
    assert counts[0] > counts[1] > counts[2] > 1


@pytest.mark.parametrize(
    "equations",
    [
        "dv/dt = (rest - v) / tau : volt\nrest = v_rest + 10*mV * int(v > 0.2*volt) : volt",
        "dv/dt = (v_rest - v) / (tau + 3*ms) + current / (1*nF) : volt\ncurrent = 5*pA * clip(v / volt, 0, 0.5) : amp",
        "dv/dt = (v_rest - v) / tau * (1 + exprel(v / (0.2*volt)) * 0.1) : volt",
        "dv/dt = (v_rest - v * (1 + tanh(v / volt)) + abs(v) * 0.1) / tau : volt",
        "dv/dt = (v_rest - v) / tau + int(v > 0.1*volt and v < 0.4*volt) * 20*volt/second : volt",
        "dv/dt = (v_rest - v) / tau + int(v < 0.1*volt or not (v < 0.4*volt)) * 20*volt/second : volt",
        "dv/dt = (v_rest - v) / tau - 2**int(v >= 0.3*volt) * sign(v) * 10*volt/second : volt",
        "dv/dt = (v_rest - v) / tau + (v / volt)**3 * volt / second + sqrt(abs(v / volt)) * volt / second : volt",
        "dv/dt = (v_rest - v) / tau + (ceil(v / (0.1*volt)) - floor(-v / (0.3*volt)) % 2) * volt / second : volt",
        "dv/dt = (v_rest - v) / tau + int(shared > 0.2) * volt / second : volt",
        "dv/dt = (v_rest - v) / tau + int(not (shared > 0.2)) * volt / second : volt",
        "dv/dt = (v_rest - v) / tau + int(v_threshold > 0.6*volt) * 20*volt/second : volt",
        "dv/dt = (v_rest - v) / tau : volt\nw : volt",
        "dv/dt = (v_rest - v) / tau + log(1 + abs(v) / volt) * 3 * volt / second + pi * mV / second : volt",
    ],
)
def test_everything_that_an_equation_may_hold_agrees(equations: str) -> None:
    assert agrees(Text(method="euler", equations=equations)).any()


@pytest.mark.parametrize(
    "fields",
    [
        {"inject": "v = clip(v + gain * drive + noise, -0.1*volt, 0.9*volt)"},
        {"inject": "v += gain * drive\nv *= 0.9\nv -= 1*mV\nv += noise"},
        {"threshold": "v > v_threshold and v < 1.5*volt"},
        {"threshold": "v > v_threshold + 0.1*volt or v > 0.9*volt"},
        {"threshold": "v >= v_threshold"},
        {"reset": "v -= v_threshold - v_reset"},
        {"reset": "v = v_reset + 0.5 * (v - v_threshold)"},
        {"equations": "dv/dt = (v_rest - v) / tau : volt\nw : volt", "reset": "w += 0.1*volt\nv = v_reset - w"},
        {
            "equations": "dv/dt = (v_rest - v) / tau : volt\nw : volt",
            "threshold": "v > v_threshold + w",
            "reset": "v = v_reset\nw += 0.05*volt",
        },
    ],
)
def test_everything_that_inject_threshold_and_reset_may_hold_agrees(fields: dict[str, str]) -> None:
    assert agrees(Text(**fields)).any()  # type: ignore[arg-type]


def test_int_keeps_the_precision_of_the_engine() -> None:
    """PyTorch makes single precision of two plain numbers."""
    circuit = Refractory(
        equations="dv/dt = (v_rest - v * (1 + 0.1 * int(v > 0.2*volt) / 3)) / tau : volt", method="euler"
    )
    agrees(circuit)
    lowered = lower(circuit, STEP, True)
    parameters = [torch.full((2,), value, dtype=torch.float64) for value in circuit.nominal().values()]
    state = torch.ones(1, 2, dtype=torch.float64)
    *states, _, _ = lowered.step(*[state] * len(lowered.states), state, state, *lowered.setup(*parameters))
    assert {value.dtype for value in states} == {torch.float64}


def test_exprel_of_zero_is_one() -> None:
    circuit = Text(
        method="euler", equations="dv/dt = exprel((v - v) / volt) * volt / second : volt", threshold="v > 9*volt"
    )
    v, _ = respond(circuit, [0.0], steps=3, engine=ENGINES[1])
    np.testing.assert_allclose(v[0, :, 0, 0], 0.05 + np.array([1e-3, 2e-3, 3e-3]), rtol=1e-12)


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"equations": "dv/dt = (v_rest - v) / tau + xi * volt / sqrt(tau) : volt", "method": "euler"},
            "a random number: random",
        ),
        ({"inject": "v += gain * drive + rand() * volt + noise"}, r"rand\(\), a random number: .* chipsim's streams"),
        ({"inject": "v += gain * drive + randn() * volt + noise"}, r"randn\(\), a random number"),
        ({"equations": "dv/dt = (v_rest * sin(t / second) - v) / tau : volt", "method": "euler"}, "run t, time: a win"),
        ({"inject": "v += gain * drive + i * mV"}, "run i, the index of a neuron"),
        ({"inject": "v += gain * drive + bias"}, "name bias, which is neither a parameter nor a state variable"),
        ({"inject": "v += gain * drive + arctan2(v, drive) * volt"}, r"the function arctan2\(\)"),
        ({"inject": "v += gain * drive if True else noise"}, "the expression"),
        ({"inject": "for k in v: pass"}, "the statement"),
        ({"inject": "v[0] += drive"}, "the statement"),
        (
            {"equations": "dv/dt = (v_rest - v) / tau : volt", "method": "gsl_rkf45"},
            "gives no code to lower; take exact",
        ),
        ({"equations": "dv/dt = (v_rest - v * v / volt) / tau : volt", "method": "exact"}, "no code of its equations"),
    ],
)
def test_what_is_no_tensor_function_is_refused_with_a_sentence(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(LoweringError, match=sentence) as caught:
        lower(Text(**fields), STEP, True)  # type: ignore[arg-type]
    assert str(caught.value).startswith("Text")


@pytest.mark.parametrize("engine", [Brian(), Torch(compile=False)], ids=["brian", "torch"])
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"equations": "dv/dt = (v_rest - v) * tau : volt"}, "does not have the expected unit"),
        ({"inject": "v += gain * drive / tau + noise"}, "uses inconsistent units"),
        ({"threshold": "v > tau"}, "Comparison of expressions with different units"),
        ({"reset": "v = tau"}, "does not have the expected unit"),
        ({"threshold": "v > treshold"}, "identifier \"treshold\" could not be resolved"),
        ({"reset": "v = v_rest_"}, "v_rest_"),
        ({"equations": "dv/dt = (v_rest - v) / tauu : volt"}, "tauu"),
        ({"equations": "dv/dt = (v_rest - v) / tau"}, "cannot be read at '\\(v_rest - v\\) / tau"),
        ({"equations": "dv/dt = (v_rest - v) / tau : V"}, "'V', but this is not a base unit"),
        ({"equations": "du/dt = -u / tau : volt", "inject": "u += drive", "threshold": "u > v_threshold",
          "reset": "u = v_reset"}, "state variable 'v'"),
    ],
)  # fmt: skip
def test_text_with_a_mistake_is_refused_by_both_engines(fields: dict[str, str], sentence: str, engine: Engine) -> None:
    with pytest.raises(ChipsimError, match=sentence) as caught:
        bench(Text(**fields), current=[1e-10], duration=5e-3, engine=engine)  # type: ignore[arg-type]
    assert str(caught.value).startswith("Text: ")


def test_no_text_is_evaluated() -> None:
    with pytest.raises(LoweringError, match="the expression"):
        lower(Text(inject="v += __import__('os').getpid()"), STEP, True)
