"""The reference engine: runs the circuits' text in Brian2, one long run over all windows.

A NeuronGroup per stage holds batch x neurons; neurons of the same position share the chip's frozen parameters. A
crossbar is one BLAS product in a network operation between the stages. Slots per stage, in this order:

    drive_l   array product -> drive      groups_l  equations advance      inject_l  the circuit's inject statement
    fire_l    threshold                   sample_l  membrane and spikes    resets_l  reset
"""

import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_excepthook, _on_interrupt = sys.excepthook, signal.getsignal(signal.SIGINT)
_known = "brian2" in sys.modules
import brian2
from brian2.codegen.runtime.cython_rt import CythonCodeObject
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject
from brian2.codegen.translation import analyse_identifiers
from brian2.equations.unitcheck import check_units_statements
from brian2.parsing.expressions import parse_expression_dimensions
from brian2.utils.stringtools import get_identifiers

sys.excepthook = _excepthook  # Brian2 puts in one that calls every uncaught error a bug of Brian2
# its answer to Ctrl-C ends a run early as if it were done, and fails where interrupts are ignored
if _on_interrupt is not None and not _known:
    signal.signal(signal.SIGINT, _on_interrupt)

from chipsim.circuits import Circuit
from chipsim.engines.base import Array, Engine, OnWindow, Stage, StageState, Watch, Window, gridded
from chipsim.errors import ParameterError
from chipsim.quantity import declarations
from chipsim.streams import White, normals, uniforms

SLOTS = ("drive", "groups", "inject", "fire", "sample", "resets")
TARGETS = {"numpy": NumpyCodeObject, "cython": CythonCodeObject}
NAMES = {"V": "volt", "s": "second", "A": "amp", "F": "farad", "S": "siemens", "K": "kelvin", "Hz": "hertz",
         "ohm": "ohm", "J": "joule", "W": "watt"}  # fmt: skip
LONG_AGO = -1e4
"""Time of the last spike before a window begins [s], as Brian2 has it."""
NEURON_BYTES, GARBAGE_BYTES = 100, 2e8
"""What a neuron takes, about, and what groups of runs that are over may take before garbage is collected."""


def group(
    circuit: Circuit,
    parameters: Mapping[str, Array],
    batch: int,
    clock: Any,
    target: str = "numpy",
    varied: set[str] | None = None,
    lossy: bool = False,
) -> Any:
    """Return a NeuronGroup of batch x neurons circuits. Parameters in `varied`, by default those that differ from one
    neuron to another, are variables of it; the others go in as constants. A lossy one has a variable `kept`, without
    which no neuron fires. Raises ParameterError for a circuit whose text Brian2 does not take, or whose units disagree.
    """
    fields = declarations(circuit)
    units = {name: NAMES.get(declaration.unit, "1") for name, declaration in fields.items()}
    if varied is None:
        varied = {name for name, values in parameters.items() if values.min() != values.max()}
    lines = [circuit.equations, f"drive : {'volt' if circuit.port == 'charge' else 'amp'}"]
    lines += [f"noise : {NAMES[circuit.membrane_unit]}"]
    lines += ["kept : boolean"] * lossy
    lines += [f"{name} : {units[name]} (constant)" for name in sorted(varied)]
    given = {name: float(getattr(circuit, name)) for name in fields}
    given |= {name: float(values[0]) for name, values in parameters.items()}
    constants = {
        name: value * (1 if units[name] == "1" else getattr(brian2, units[name]))
        for name, value in given.items()
        if name not in varied
    }
    try:
        made = brian2.NeuronGroup(
            batch * len(next(iter(parameters.values()))),
            "\n".join(lines),
            threshold=f"({circuit.threshold}) and kept" if lossy else circuit.threshold,
            reset=circuit.reset,
            refractory=circuit.refractory or False,
            method=circuit.method,
            namespace=constants,
            clock=clock,
            codeobj_class=TARGETS[target],
        )
    except Exception as error:  # of any kind: Brian2 reads the user's text
        raise _refusal(circuit, error) from error
    for name in varied:
        made.variables[name].get_value()[:] = np.tile(parameters[name], batch)
    return made


def check_text(circuit: Circuit, made: Any) -> None:
    """Raise ParameterError where the text of the circuit that is in a group names what it has not, or where its units
    disagree.
    """
    key = (type(circuit), circuit.equations, circuit.inject, circuit.threshold, circuit.reset, circuit.membrane)
    if key in _taken:  # which every run would take as long to find again
        return
    network, made._network = made._network, "none"  # Brian2 need not warn of a group that is given up
    for name in (circuit.membrane, *circuit.initial):
        if name not in made.variables:
            raise ParameterError(f"{type(circuit).__name__}: its equations define no state variable {name!r}")
    try:
        made.equations.check_units(made, run_namespace={})
        for text in (circuit.inject, circuit.reset):
            if text:
                _, _, unknown = analyse_identifiers(text, made.variables)
                found = made.resolve_all(unknown, run_namespace={}, user_identifiers=unknown)
                check_units_statements(text, {**made.variables, **found})
        if circuit.threshold:
            names = get_identifiers(circuit.threshold)
            found = made.resolve_all(names, run_namespace={}, user_identifiers=names)
            parse_expression_dimensions(circuit.threshold, found)
    except Exception as error:
        raise _refusal(circuit, error) from error
    made._network = network
    _taken.add(key)


_taken: set[tuple[Any, ...]] = set()
"""Texts that were checked and taken."""


def _refusal(circuit: Circuit, error: BaseException) -> ParameterError:
    """What lies behind an error of Brian2's, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError) and error.text:
        words = f"it cannot be read at {error.text.strip()!r}"
    return ParameterError(f"{type(circuit).__name__}: Brian2 does not take its text: {words}")


@final
@dataclass(frozen=True, kw_only=True)
class Brian(Engine):
    """Brian2 engine in float64. target: Brian2's code generation, "numpy" (no compiler needed) or "cython"."""

    target: str = "numpy"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ParameterError(f"unknown Brian2 target {self.target!r}; known: {', '.join(TARGETS)}")

    def array(self, values: NDArray[np.floating]) -> Array:
        return np.asarray(values, dtype=np.float64)

    def outer(self, stage: Stage, inputs: Array, bias: Sequence[float], delta: Array, *, held: bool) -> Array:
        columns = stage.geometry.shared(delta.reshape(-1, stage.neurons)).reshape(*delta.shape[:2], -1).sum(axis=1)
        if held:
            inputs, delta = inputs[:1], delta.sum(axis=0, keepdims=True)
        inputs, delta = (values.reshape(-1, values.shape[-1]) for values in (inputs, delta))
        rows = np.broadcast_to(np.asarray(bias) @ columns, (stage.bias_rows, columns.shape[1]))
        return np.vstack([stage.geometry.outer(inputs, delta), rows])

    def run(
        self,
        stages: Sequence[Stage],
        windows: Iterable[Window],
        *,
        count: int,
        batch: int,
        steps: int,
        step: float,
        watch: Watch | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        if count == 0:
            return
        if stages[0].chips > 1:
            raise ParameterError("the Brian2 engine runs one chip at a time; take engine=Torch() for several")
        clock = brian2.Clock(dt=step * brian2.second)
        layers = [_Layer(stage, index, batch, clock, self.target) for index, stage in enumerate(stages)]
        run = _Run(layers, iter(windows), steps, watch, on_window)
        network = brian2.Network(_operation(run.begin, "start", clock), _operation(run.finish, "end", clock))
        for index, layer in enumerate(layers):
            network.add(
                layer.group,
                _operation(run.driver(index), f"drive_{index}", clock),
                _operation(layer.sample, f"sample_{index}", clock),
            )
        network.schedule = ["start", *(f"{slot}_{i}" for i in range(len(layers)) for slot in SLOTS), "end"]
        with _uncollected(NEURON_BYTES * batch * sum(stage.neurons for stage in stages)):
            network.run(count * steps * step * brian2.second, namespace={})
        if run.finished < count:  # Brian2's own handler, where another program imported it first
            raise KeyboardInterrupt


_garbage = [0.0]
"""Bytes of runs since Brian2 last collected garbage."""


@contextlib.contextmanager
def _uncollected(size: float) -> Iterator[None]:
    """Spare a run that leaves `size` bytes the collection of garbage with which Brian2 begins it, as long as there is
    little: it goes through all objects of the process, in search of groups that were forgotten, and takes longer than
    most runs.
    """
    _garbage[0] += size
    spared = _garbage[0] < GARBAGE_BYTES and gc.get_freeze_count() == 0
    if spared:
        gc.freeze()
    else:
        _garbage[0] = 0.0
    try:
        yield
    finally:
        if spared:
            gc.unfreeze()


def _operation(function: Callable[[], None], when: str, clock: Any) -> Any:
    return brian2.NetworkOperation(function, clock=clock, when=when)


class _Layer:
    """One stage as a Brian2 group, with plain arrays into and out of it."""

    def __init__(self, stage: Stage, index: int, batch: int, clock: Any, target: str) -> None:
        self.stage, self.shape, self.wiring = stage, (batch, stage.neurons), stage.geometry
        self.group = group(stage.circuit, stage.parameters, batch, clock, target, lossy=stage.lossy)
        check_text(stage.circuit, self.group)
        self._schedule(index, stage.circuit.inject, clock)
        self.drive, self.noise, self.v = (
            self._variable(name).reshape(self.shape) for name in ("drive", "noise", stage.circuit.membrane)
        )
        given = {"drive", "noise", "kept", *stage.parameters}
        states = (self.group.equations.diff_eq_names | self.group.equations.parameter_names) - given
        initial = {state: np.zeros(stage.neurons) for state in states}
        initial |= {state: np.asarray(stage.parameters[name]) for state, name in stage.circuit.initial.items()}
        if stage.circuit.refractory:
            initial |= {"lastspike": np.full(stage.neurons, LONG_AGO), "not_refractory": np.ones(stage.neurons, bool)}
        self._initial = [(self._variable(state).reshape(self.shape), values) for state, values in initial.items()]
        self.inputs = np.zeros((batch, 0))
        self.spikes = np.zeros(self.shape)
        self.sampled = self.v
        self._mean = self._sigma = np.zeros(0)

    def _variable(self, name: str) -> Array:
        values: Array = self.group.variables[name].get_value()
        return values

    def _schedule(self, index: int, inject: str, clock: Any) -> None:
        group = self.group
        group.run_regularly(inject, clock=clock, when=f"inject_{index}", codeobj_class=group.codeobj_class)
        group.state_updater.when = f"groups_{index}"
        if group.thresholder:
            group.thresholder["spike"].when = f"fire_{index}"
            group.resetter["spike"].when = f"resets_{index}"

    def clear(self) -> None:
        """Put every state variable back to its initial value, and the noise to none."""
        self.noise[...] = 0.0
        for state, values in self._initial:
            state[...] = values

    def product(self, inputs: Array) -> None:
        """Take the product of the array with the inputs [batch, size]: the mean, and the spread of reading it."""
        self.inputs = inputs
        self._mean = self._product(inputs, self.stage.weights())
        variance = self.stage.variance()
        if variance is not None:
            variance = np.broadcast_to(variance, self.stage.weights().shape)
        self._sigma = np.zeros(0) if variance is None else np.sqrt(self._product(inputs, variance, power=2))

    def _product(self, inputs: Array, weights: Array, power: int = 1) -> Array:
        rows = len(weights) - self.stage.bias_rows
        bias = np.repeat(weights[rows:].sum(axis=0), self.wiring.positions)
        product: Array = self.wiring.product(inputs, weights[:rows], power) + bias
        return product

    def deliver(self, read: Array | None, below: Array | None) -> None:
        """Set the drive of this step: product, noise of reading it [batch, neurons], converter, shortcut."""
        drive = self._mean if read is None or not self._sigma.size else self._mean + self._sigma * read
        drive = gridded(drive, self.stage.grid_out, self.stage.errors_out)
        shortcut = self.stage.shortcut
        if shortcut is not None and below is not None:
            drive = drive.reshape(len(drive), *shortcut.outputs).copy()
            drive[:, : shortcut.inputs[0]] += shortcut.drive * shortcut(below)
        self.drive[...] = drive.reshape(self.shape)

    def sample(self) -> None:
        """Take this step's spikes and membrane, which the reset is about to change."""
        self.sampled = self.v.copy()
        self.spikes = np.zeros(self.shape)
        if self.group.thresholder:
            spikespace = self.group.variables["_spikespace"].get_value()
            self.spikes.ravel()[spikespace[: spikespace[-1]]] = 1.0

    def state(self, *, held: bool, v: bool, gate: float | None, closed: bool) -> StageState:
        """What a watcher sees of this step."""
        near = None
        if gate is not None:
            threshold = self.stage.parameters[self.stage.circuit.roles["threshold"]]
            near = (np.abs(self.sampled - threshold) < (0.0 if closed else gate))[None]
        return StageState(
            inputs=self.inputs[None],
            held=held,
            spikes=self.spikes[None],
            v=self.sampled[None] if v else None,
            gate=near,
        )


class _Run:
    """The order of events around the groups: windows in, spikes from stage to stage, callbacks out."""

    def __init__(
        self,
        layers: list[_Layer],
        windows: Iterator[Window],
        steps: int,
        watch: Watch | None,
        on_window: OnWindow | None,
    ) -> None:
        self.layers, self.windows, self.steps = layers, windows, steps
        self.watch, self.on_window = watch, on_window
        self.step = self.finished = 0
        self.window: Window | None = None
        self.changed = True
        self.noise: list[Array | None] = []
        self.drives: list[Array | None] = []
        self.kept: list[NDArray[np.bool_] | None] = []
        self.reads: list[Array | None] = []

    def begin(self) -> None:
        """Start a window at its first step; hand out the step's noise."""
        if self.step == 0:
            self.window = next(self.windows)
            self.changed = True
            self._draw(self.window)
            for layer in self.layers:
                layer.clear()
        for layer, noise in zip(self.layers, self.noise, strict=False):
            if noise is not None:
                layer.noise[...] = noise[self.step]
        for layer, kept in zip(self.layers, self.kept, strict=True):
            if kept is not None:
                layer.group.variables["kept"].get_value().reshape(layer.shape)[...] = kept[self.step]

    @property
    def held(self) -> bool:
        """Whether what drives the rows is the same in every step of the window."""
        return self.window is not None and self.window.inputs.ndim == 2 and not self.window.drive(0)

    def _draw(self, window: Window) -> None:
        def drawn(key: int, layer: _Layer, kind: str = "membrane") -> Array:
            return normals(key, window.numbers, 0, self.steps, layer.stage.size(kind))

        self.noise = [
            np.sum([white.sigma * drawn(white.keys[0], layer) for white in noise], axis=0)
            if isinstance(noise, tuple)
            else noise
            for layer, noise in zip(self.layers, window.noise, strict=False)
        ]
        self.drives = [
            np.prod([1 + white.sigma * drawn(white.keys[0], layer, "driver") for white in noise], axis=0)
            if (noise := window.drive(index))
            else None
            for index, layer in enumerate(self.layers)
        ]
        self.kept = [
            np.all([self._kept(white, window, layer) for white in window.loss(index)], axis=0)
            if layer.stage.lossy
            else None
            for index, layer in enumerate(self.layers)
        ]
        keys = (*window.reads, *(None for _ in self.layers))
        self.reads = [
            None if key is None else drawn(key[0], layer) for layer, key in zip(self.layers, keys, strict=False)
        ]

    def _kept(self, white: White, window: Window, layer: _Layer) -> NDArray[np.bool_]:
        drawn = uniforms(white.keys[0], window.numbers, 0, self.steps, layer.stage.neurons)
        kept: NDArray[np.bool_] = drawn >= white.sigma
        return kept

    def driver(self, index: int) -> Callable[[], None]:
        """Return the operation that drives stage `index`; the product with constant inputs is made once per window."""
        layer = self.layers[index]

        def drive() -> None:
            assert self.window is not None
            noise = self.drives[index]
            factor = 1.0 if noise is None else noise[self.step]
            if index:
                layer.product(self.layers[index - 1].spikes * factor)
            elif self.changed or not self.held:
                inputs = self.window.inputs if self.window.inputs.ndim == 2 else self.window.inputs[self.step]
                layer.product(gridded(inputs, layer.stage.grid_in) * factor)
                self.changed = False
            read, shortcut = self.reads[index], layer.stage.shortcut
            layer.deliver(
                None if read is None else read[self.step],
                None if shortcut is None else self.layers[shortcut.source].spikes,
            )

        return drive

    def finish(self) -> None:
        """Call back after the step, and after the window's last step."""
        watch = self.watch
        if watch is not None:
            for index, layer in enumerate(self.layers):
                state = layer.state(
                    held=index == 0 and self.held,
                    v=bool(watch.v) and watch.v[index],
                    gate=watch.gate[index] if watch.gate else None,
                    closed=self.step < watch.gate_from,
                )
                self.changed |= watch.see(index, self.step, state)
        self.step += 1
        if self.step == self.steps:
            self.step, self.finished = 0, self.finished + 1
            if self.on_window is not None:
                self.on_window(self.layers[-1].v.copy())
