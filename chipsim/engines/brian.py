"""The reference engine: runs the circuits' text in Brian2, one long run over all windows.

A NeuronGroup per stage holds batch x neurons; neurons of the same position share the chip's frozen parameters. A
crossbar is one BLAS product in a network operation between the stages. Slots per stage, in this order:

    groups_l  equations advance    drive_l   array product -> q     inject_l  the circuit's charge statement
    fire_l    threshold            sample_l  membrane and spikes    resets_l  reset
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

_excepthook = sys.excepthook
import brian2
from brian2.codegen.runtime.cython_rt import CythonCodeObject
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

sys.excepthook = _excepthook  # Brian2 puts in one that calls every uncaught error a bug of Brian2

from chipsim.engines.base import Array, Engine, OnStep, OnWindow, Stage, StageState, Window
from chipsim.errors import ParameterError
from chipsim.quantity import declarations

SLOTS = ("groups", "drive", "inject", "fire", "sample", "resets")
TARGETS = {"numpy": NumpyCodeObject, "cython": CythonCodeObject}
NAMES = {"V": "volt", "s": "second", "A": "amp", "F": "farad", "S": "siemens", "K": "kelvin", "Hz": "hertz",
         "ohm": "ohm", "J": "joule", "W": "watt"}  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Brian(Engine):
    """Brian2 engine in float64. target: Brian2's code generation, "numpy" (no compiler needed) or "cython"."""

    target: str = "numpy"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ParameterError(f"unknown Brian2 target {self.target!r}; known: {', '.join(TARGETS)}")

    def run(
        self,
        stages: Sequence[Stage],
        windows: Iterable[Window],
        *,
        count: int,
        batch: int,
        steps: int,
        step: float,
        on_step: OnStep | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        if count == 0:
            return
        clock = brian2.Clock(dt=step * brian2.second)
        layers = [_Layer(stage, index, batch, clock, self.target) for index, stage in enumerate(stages)]
        run = _Run(layers, iter(windows), steps, on_step, on_window)
        network = brian2.Network(_operation(run.begin, "start", clock), _operation(run.finish, "end", clock))
        for index, layer in enumerate(layers):
            network.add(
                layer.group,
                _operation(run.driver(index), f"drive_{index}", clock),
                _operation(layer.sample, f"sample_{index}", clock),
            )
        network.schedule = ["start", *(f"{slot}_{i}" for i in range(len(layers)) for slot in SLOTS), "end"]
        network.run(count * steps * step * brian2.second, namespace={})


def _operation(function: Callable[[], None], when: str, clock: Any) -> Any:
    return brian2.NetworkOperation(function, clock=clock, when=when)


class _Layer:
    """One stage as a Brian2 group, with plain arrays into and out of it."""

    def __init__(self, stage: Stage, index: int, batch: int, clock: Any, target: str) -> None:
        self.stage, self.shape = stage, (batch, stage.neurons)
        circuit = stage.circuit
        units = {name: NAMES.get(declaration.unit, "1") for name, declaration in declarations(circuit).items()}
        varied = {name for name, values in stage.parameters.items() if values.min() != values.max()}
        lines = [circuit.equations, "q : volt", "noise : volt"]
        lines += [f"{name} : {units[name]} (constant)" for name in sorted(varied)]
        constants = {
            name: float(values[0]) * (1 if units[name] == "1" else getattr(brian2, units[name]))
            for name, values in stage.parameters.items()
            if name not in varied
        }
        self.group = brian2.NeuronGroup(
            batch * stage.neurons,
            "\n".join(lines),
            threshold=circuit.threshold,
            reset=circuit.reset,
            method=circuit.method,
            namespace=constants,
            clock=clock,
            codeobj_class=TARGETS[target],
        )
        self._schedule(index, circuit.charge, clock)
        for name in varied:
            self._variable(name)[:] = np.tile(stage.parameters[name], batch)
        self.q, self.noise, self.v = (self._variable(name).reshape(self.shape) for name in ("q", "noise", "v"))
        initial = {state: np.asarray(stage.parameters[name]) for state, name in circuit.initial.items()}
        self._initial = [(self._variable(state).reshape(self.shape), values) for state, values in initial.items()]
        self._pre = np.ones((batch, 0))
        self.spikes = np.zeros(self.shape)
        self._sampled = self.v

    def _variable(self, name: str) -> Array:
        values: Array = self.group.variables[name].get_value()
        return values

    def _schedule(self, index: int, charge: str, clock: Any) -> None:
        group = self.group
        group.run_regularly(charge, clock=clock, when=f"inject_{index}", codeobj_class=group.codeobj_class)
        group.state_updater.when = f"groups_{index}"
        if group.thresholder:
            group.thresholder["spike"].when = f"fire_{index}"
            group.resetter["spike"].when = f"resets_{index}"

    def clear(self) -> None:
        """Put every state variable back to its initial value, and the noise to none."""
        self.noise[...] = 0.0
        for state, values in self._initial:
            state[...] = values

    def drive(self, inputs: Array) -> None:
        """Set the charge of this step from the inputs [batch, rows without bias rows]."""
        self._pre = self.with_bias(inputs)
        np.matmul(self._pre, self.stage.weights(), out=self.q)

    def with_bias(self, inputs: Array) -> Array:
        if not self.stage.bias_rows:
            return inputs
        return np.hstack([inputs, np.ones((len(inputs), self.stage.bias_rows))])

    def sample(self) -> None:
        """Take this step's spikes and membrane, which the reset is about to change."""
        self._sampled = self.v.copy()
        self.spikes = np.zeros(self.shape)
        if self.group.thresholder:
            spikespace = self.group.variables["_spikespace"].get_value()
            self.spikes.ravel()[spikespace[: spikespace[-1]]] = 1.0

    def snapshot(self) -> StageState:
        return StageState(pre=self._pre, spikes=self.spikes, v=self._sampled)


class _Run:
    """The order of events around the groups: windows in, spikes from stage to stage, callbacks out."""

    def __init__(
        self,
        layers: list[_Layer],
        windows: Iterator[Window],
        steps: int,
        on_step: OnStep | None,
        on_window: OnWindow | None,
    ) -> None:
        self.layers, self.windows, self.steps = layers, windows, steps
        self.on_step, self.on_window = on_step, on_window
        self.step = 0
        self.window: Window | None = None
        self.input_changed = True

    def begin(self) -> None:
        """Start a window at its first step; hand out the step's noise."""
        if self.step == 0:
            self.window = next(self.windows)
            self.input_changed = True
            for layer in self.layers:
                layer.clear()
        assert self.window is not None
        for layer, noise in zip(self.layers, self.window.noise, strict=False):
            if noise is not None:
                layer.noise[...] = noise[self.step]

    def driver(self, index: int) -> Callable[[], None]:
        """Return the operation that drives stage `index`; the product with constant inputs is made once per window."""
        layer = self.layers[index]
        if index:
            return lambda: layer.drive(self.layers[index - 1].spikes)

        def first() -> None:
            if self.input_changed:
                assert self.window is not None
                layer.drive(self.window.inputs)
                self.input_changed = False

        return first

    def finish(self) -> None:
        """Call back after the step, and after the window's last step."""
        if self.on_step is not None:
            self.input_changed = self.on_step(self.step, [layer.snapshot() for layer in self.layers])
        self.step += 1
        if self.step == self.steps:
            self.step = 0
            if self.on_window is not None:
                self.on_window(self.layers[-1].v.copy())
