"""Lowering: a circuit's Brian2 text becomes a function on tensors.

Brian2's own state updater turns the equations into abstract code, statements in Python's syntax, and so are the inject,
threshold and reset text. They are read into one graph of operations in which equal subexpressions are one node. What
depends on fabricated parameters alone is computed once (`setup`); the rest advances all neurons by one step (`step`).
Both are torch.fx graphs of listed tensor operations, whose code can be printed: no text is evaluated.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from chipsim.circuits import Circuit
from chipsim.engines.brian import check_text, group
from chipsim.errors import ChipsimError
from chipsim.quantity import declarations

import brian2  # isort: skip  (after engines.brian, which guards the interpreter's hook for errors)
from brian2.core.namespace import DEFAULT_CONSTANTS, DEFAULT_UNITS  # isort: skip
from brian2.core.variables import Constant, Subexpression  # isort: skip


class LoweringError(ChipsimError):
    """A circuit's text that cannot become a function on tensors."""


Node: TypeAlias = Any  # a number, a Name or a Call


@dataclass(frozen=True)
class Name:
    """A parameter, a state variable or an input."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """A tensor operation on nodes; fixed: whether it depends on parameters alone."""

    function: Callable[..., Any]
    arguments: tuple[Node, ...]
    fixed: bool


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": torch.exp, "log": torch.log, "log10": torch.log10, "sqrt": torch.sqrt, "expm1": torch.expm1,
    "log1p": torch.log1p, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "sinh": torch.sinh, "cosh": torch.cosh,
    "tanh": torch.tanh, "arcsin": torch.asin, "arccos": torch.acos, "arctan": torch.atan, "abs": torch.abs,
    "sign": torch.sign, "ceil": torch.ceil, "floor": torch.floor,
}  # fmt: skip
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.Not: torch.logical_not, ast.And: operator.and_, ast.Or: operator.or_, ast.Gt: operator.gt, ast.Lt: operator.lt,
    ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
REASONS = {
    "xi": "white noise in the equations: write the input `noise` in their place, which is drawn from chipsim's streams",
    "rand": "a random number: random numbers come from chipsim's streams, as `noise`",
    "randn": "a random number: random numbers come from chipsim's streams, as `noise`",
    "t": "time: a window must not depend on when it is presented",
    "i": "the index of a neuron: give the circuit a parameter per neuron",
}
ELAPSED = "_elapsed"
"""State of a circuit with a refractory time: whole steps since the last spike."""
FOREVER = 1e9


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowered:
    """A circuit as functions on tensors.

    parameters: names that `setup` takes, each [neurons] or a number; it returns what is constant in a run. states:
    names of the state variables. step(*states, drive, noise, *constants) -> (*new states, spikes, membrane): all
    [batch, neurons]; spikes are boolean, None where nothing spikes; the membrane is that before the reset. Of a lossy
    circuit step(*states, drive, noise, kept, *constants), where a neuron fires only if it is kept (boolean).
    """

    parameters: tuple[str, ...]
    states: tuple[str, ...]
    setup: torch.fx.GraphModule
    step: torch.fx.GraphModule


def lower(circuit: Circuit, step: float, noisy: bool, lossy: bool = False) -> Lowered:
    """Return the circuit's text as tensor functions for steps of `step` seconds, with or without noise and losses.

    Circuits of equal text share them. Raises LoweringError for what is no tensor function.
    """
    key = (type(circuit).__name__, _text(circuit), step, noisy, lossy)
    if key not in _lowered:
        _lowered[key] = _lower(circuit, step, noisy, lossy)
    return _lowered[key]


_lowered: dict[tuple[Any, ...], Lowered] = {}


def _text(circuit: Circuit) -> tuple[Any, ...]:
    """All of a circuit that the functions depend on: its text, and the numbers in it that all neurons share."""
    text = (circuit.equations, circuit.inject, circuit.threshold or "", circuit.reset or "", circuit.refractory or "")
    names = set(re.findall(r"[A-Za-z_]\w*", " ".join(text))) - set(circuit.per_neuron)
    shared = tuple((name, getattr(circuit, name)) for name in sorted(names & set(declarations(circuit))))
    return (*text, circuit.method, circuit.port, circuit.membrane, circuit.per_neuron, shared)


def _lower(circuit: Circuit, step: float, noisy: bool, lossy: bool) -> Lowered:
    bank = {name: np.array([value]) for name, value in circuit.nominal().items()}
    made = group(circuit, bank, 1, brian2.Clock(dt=step * brian2.second), varied=set(bank))
    made._network = "none"  # it is read, never run, and Brian2 need not warn of that
    reader, update = _Reader(made, circuit, step, noisy), made.state_updater
    try:
        update.update_abstract_code(run_namespace={})
    except Exception as error:
        raise LoweringError(f"{type(circuit).__name__}: Brian2 makes no code of its equations: {error}") from error
    if circuit.method.startswith("gsl"):
        raise LoweringError(
            f"{type(circuit).__name__}.method = {circuit.method!r} gives no code to lower; take exact, "
            "exponential_euler, euler, rk2, rk4 or heun"
        )
    reader.run(update.abstract_code)
    reader.inject(circuit.inject)
    check_text(circuit, made)
    membrane, spikes = reader.values[circuit.membrane], None
    if circuit.threshold is not None:
        made.thresholder["spike"].update_abstract_code(run_namespace={})
        reader.run(made.thresholder["spike"].abstract_code)
        spikes = reader.spikes(lossy)
        reader.reset(circuit.reset or "", spikes)
    return reader.finish(membrane, spikes, lossy)


class _Reader:
    """Reads statements in order; `values` holds what each name is by now."""

    def __init__(self, made: Any, circuit: Circuit, step: float, noisy: bool) -> None:
        self.made, self.circuit, self.step = made, circuit, step
        self.nodes: dict[tuple[Any, ...], Call] = {}
        self.parameters = tuple(circuit.per_neuron)
        inputs = {"drive", "noise", *self.parameters, "lastspike", "not_refractory"}
        states = made.equations.diff_eq_names | made.equations.parameter_names
        self.states = (*sorted(states - inputs), *((ELAPSED,) if circuit.refractory else ()))
        self.values: dict[str, Node] = {name: Name(name) for name in (*self.parameters, *self.states)}
        self.values |= {"drive": Name("drive"), "noise": Name("noise") if noisy else 0.0, "dt": float(step)}

    def run(self, code: str) -> None:
        """Take statements."""
        for statement in ast.parse(code).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.values[statement.targets[0].id] = self.node(statement.value)
            elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                self.values[name] = self._call(
                    self._operator(statement.op), self._named(name), self.node(statement.value)
                )
            else:
                raise self._error(f"the statement {ast.unparse(statement)!r}")

    def inject(self, code: str) -> None:
        """Take the inject statement; as in Brian2, what the equations hold `unless refractory` it leaves alone too."""
        before = dict(self.values)
        self.run(code)
        for state in self.states:
            if getattr(self.made.variables.get(state), "conditional_write", None) is not None:
                active = self.values["not_refractory"]
                self.values[state] = self._call(torch.where, active, self.values[state], before[state])

    def spikes(self, lossy: bool) -> Node:
        """Return where neurons fire."""
        met = self.values["_cond"]
        return self._call(operator.and_, met, Name("kept")) if lossy else met

    def reset(self, code: str, spikes: Node) -> None:
        """Take the statements of the reset, which act on neurons that spiked."""
        before = dict(self.values)
        self.run(code)
        for state in self.states:
            if state != ELAPSED and self.values[state] is not before[state]:
                self.values[state] = self._call(torch.where, spikes, self.values[state], before[state])
        if self.circuit.refractory:
            self.values[ELAPSED] = self._call(torch.where, spikes, 1.0, self._call(operator.add, Name(ELAPSED), 1.0))

    def node(self, expression: ast.expr) -> Node:
        """Return the node of an expression."""
        match expression:
            case ast.Constant(value=bool() | int() | float() as value):
                return float(value)
            case ast.Name(id=name):
                return self._named(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._call(self._operator(op), self.node(left), self.node(right))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.node(operand)
            case ast.UnaryOp(op=op, operand=operand):
                return self._call(self._operator(op), self.node(operand))
            case ast.BoolOp(op=op, values=values):
                return functools.reduce(functools.partial(self._call, self._operator(op)), map(self.node, values))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._call(self._operator(op), self.node(left), self.node(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._function(name, arguments)
        raise self._error(f"the expression {ast.unparse(expression)!r}")

    def _function(self, name: str, arguments: Sequence[ast.expr]) -> Node:
        if name == "timestep" and ast.unparse(arguments[0]) == "t - lastspike":
            return Name(ELAPSED)
        if name == "timestep":
            steps = self._call(operator.truediv, self.node(arguments[0]), self.step)
            return self._call(torch.floor, self._call(operator.add, steps, 1e-3))
        if name == "int":
            one = self._call(torch.ones_like, Name(self.parameters[0]))  # of the engine's precision; 1.0 alone is not
            return self._call(torch.where, self.node(arguments[0]), one, 0.0)
        if name == "exprel":
            x = self.node(arguments[0])
            ratio = self._call(operator.truediv, self._call(torch.expm1, x), x)
            return self._call(torch.where, self._call(operator.eq, x, 0.0), 1.0, ratio)
        if name == "clip":
            x, low, high = map(self.node, arguments)
            return self._call(torch.clamp_max, self._call(torch.clamp_min, x, low), high)
        if name not in FUNCTIONS:
            raise self._error(f"the function {name}()" + (f", {REASONS[name]}" if name in REASONS else ""))
        return self._call(FUNCTIONS[name], *map(self.node, arguments))

    def _named(self, name: str) -> Node:
        if name in self.values:
            return self.values[name]
        if name in REASONS:
            raise self._error(f"{name}, {REASONS[name]}")
        variable = self.made.variables.get(name)
        if isinstance(variable, Subexpression):
            return self.node(ast.parse(variable.expr, mode="eval").body)
        if isinstance(variable, Constant):
            return float(variable.value)
        if name in self.made.namespace:
            return float(np.asarray(self.made.namespace[name]))
        if name in DEFAULT_UNITS:
            return float(np.asarray(DEFAULT_UNITS[name]))
        if name in DEFAULT_CONSTANTS:
            return float(DEFAULT_CONSTANTS[name].get_value())
        raise self._error(f"the name {name}, which is neither a parameter nor a state variable")

    def _operator(self, operator: ast.AST) -> Callable[..., Any]:
        if type(operator) not in OPERATORS:
            raise self._error(f"the operator {type(operator).__name__}")
        return OPERATORS[type(operator)]

    def _call(self, function: Callable[..., Any], *arguments: Node) -> Node:
        """Return the node of an operation: one for equal operations, a number where all arguments are."""
        if function is operator.add and 0.0 in arguments:
            return arguments[0] if arguments[1] == 0.0 else arguments[1]
        if function is operator.mul and 1.0 in arguments:
            return arguments[0] if arguments[1] == 1.0 else arguments[1]
        if function is operator.pow and arguments[1] == 2.0:
            function, arguments = operator.mul, (arguments[0], arguments[0])
        if function is operator.truediv and isinstance(arguments[0], float) and arguments[0] < 0:
            return self._call(operator.neg, self._call(operator.truediv, -arguments[0], arguments[1]))
        if function is operator.truediv and arguments[0] != 1.0 and self.fixed(arguments[1]):
            return self._call(operator.mul, arguments[0], self._call(operator.truediv, 1.0, arguments[1]))
        if function is torch.where and isinstance(arguments[0], bool):
            return arguments[1] if arguments[0] else arguments[2]
        if all(isinstance(argument, float | bool) for argument in arguments):
            value = function(
                *(torch.tensor(argument) if isinstance(argument, bool) else _double(argument) for argument in arguments)
            )
            return bool(value) if value.dtype is torch.bool else float(value)
        key = (function, *(a if isinstance(a, float | bool | Name) else id(a) for a in arguments))
        return self.nodes.setdefault(key, Call(function, arguments, all(map(self.fixed, arguments))))

    def _error(self, what: str) -> LoweringError:
        return LoweringError(f"{type(self.circuit).__name__}: the fast engine cannot run {what}")

    def finish(self, membrane: Node, spikes: Node | None, lossy: bool) -> Lowered:
        """Return the graphs: what depends on parameters alone apart from what changes from step to step."""
        outputs = [self.values[state] for state in self.states]
        roots = [*outputs, *([] if spikes is None else [spikes]), membrane]
        constants: dict[Node, int] = {}
        step = _Emitter(
            [*self.states, "drive", "noise", *(["kept"] if lossy else [])],
            lambda node: (
                constants.setdefault(node, len(constants))
                if self.fixed(node) and not isinstance(node, float | bool)
                else None
            ),
        )
        found = [step(root) for root in roots]
        new, rest = found[: len(outputs)], found[len(outputs) :]
        step.finish((*new, rest[0] if spikes is not None else None, rest[-1]), len(constants))
        setup = _Emitter(list(self.parameters), lambda node: None)
        setup.finish(tuple(setup(node) for node in constants), 0)
        return Lowered(parameters=self.parameters, states=self.states, setup=setup.module(), step=step.module())

    def fixed(self, node: Node) -> bool:
        """Whether a node depends on parameters alone."""
        if isinstance(node, Call):
            return node.fixed
        return isinstance(node, float | bool) or node.name in self.parameters


def _double(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=torch.float64)


class _Emitter:
    """Writes nodes into a torch.fx graph, each once; `constant(node)` is the number of one computed elsewhere."""

    def __init__(self, inputs: Sequence[str], constant: Callable[[Node], int | None]) -> None:
        self.graph, self.constant = torch.fx.Graph(), constant
        self.inputs = {name: self.graph.placeholder(name) for name in inputs}
        self.last = list(self.inputs.values())[-1]
        self.places: dict[int, torch.fx.Node] = {}
        self.done: dict[Node, torch.fx.Node] = {}

    def __call__(self, node: Node) -> Any:
        if isinstance(node, float | bool):
            return node
        if (number := self.constant(node)) is not None:
            return self._place(number)
        if isinstance(node, Name):
            return self.inputs[node.name]
        if node not in self.done:
            arguments = tuple(self(argument) for argument in node.arguments)
            self.done[node] = self.graph.call_function(node.function, arguments)
        return self.done[node]

    def _place(self, number: int) -> torch.fx.Node:
        while number not in self.places:
            with self.graph.inserting_after(self.last):
                self.last = self.places[len(self.places)] = self.graph.placeholder(f"constant_{len(self.places)}")
        return self.places[number]

    def finish(self, outputs: tuple[Any, ...], constants: int) -> None:
        """End the graph with its outputs."""
        for number in range(constants):
            self._place(number)
        self.graph.output(outputs)

    def module(self) -> torch.fx.GraphModule:
        self.graph.lint()
        return torch.fx.GraphModule(torch.nn.Module(), self.graph)
