"""Learning circuits of a deployment at work: what they make of the signals of one array, on every chip side by side."""

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, namespace
from chipsim.deployment import Deployment
from chipsim.signals import on_levels
from chipsim.streams import noise_key, normals, stream

Array = NDArray[np.float64]
PURPOSE = "learning circuits"


@final
class Periphery:
    """The learning circuits of one array, shown batches of `batch` samples; arrays of several chips are [chips x batch,
    ...]. Offsets belong to the die: a neuron keeps its own whatever network runs on it; a row's trace is drawn by the
    number of its array and of the row. What is drawn anew is a function of chip, deployment, array, sample and step.

    shift: sum of squares, and number, of what the circuits added to errors.
    """

    def __init__(self, deployment: Deployment, index: int, batch: int) -> None:
        self.deployment, self.batch = deployment, batch
        self.limits = deployment.chip.design.learning
        stage, layer = deployment.stages[index], deployment.placement.layers[index]
        self.index, self.circuit, self.readout = index, stage.circuit, layer.readout
        design = deployment.chip.design
        bank, count = ("readouts", design.readouts) if layer.readout else ("neurons", design.neurons)

        def drawn(name: str, sigma: float) -> AnyArray:
            if not sigma:
                return None
            streams = (stream(chip.seed, bank, PURPOSE, name) for chip in deployment.chips)
            return self._for_batch([sigma * each.standard_normal(count)[layer.bank] for each in streams])

        self.error_offset = drawn("error offset", self.limits.error_offset)
        self.gate_from: AnyArray = None
        if not layer.readout and (self.limits.gate_offset or self.limits.gate_noise):
            threshold = np.atleast_2d(stage.parameters[stage.circuit.roles["threshold"]])
            offset = drawn("gate offset", self.limits.gate_offset * stage.circuit.scale)
            self.gate_from = self._for_batch(list(threshold)) + (0.0 if offset is None else offset)
        self.leak = self._leaks(stage.geometry.size)
        self.keys = {
            name: [noise_key(chip.seed, PURPOSE, name, deployment.seed, index) for chip in deployment.chips]
            for name in ("error", "gate")
        }
        self.shift: tuple[AnyArray, int] = (0.0, 0)

    def _for_batch(self, by_chip: Sequence[Array]) -> AnyArray:
        """Values of each chip, for all samples of a batch."""
        return self.deployment.engine.array(np.repeat(np.stack(by_chip), self.batch, axis=0))

    def _leaks(self, size: int) -> AnyArray:
        """Share of a row's trace that is left after a step: a number, or [batch, size] where rows differ."""
        spread, tau = self.limits.trace_spread, self.deployment.chip.design.trace_tau
        if not spread:
            return float(np.exp(-self.deployment.step / tau))
        log = np.sqrt(np.log1p(spread**2))
        streams = (stream(chip.seed, PURPOSE, "trace", self.index) for chip in self.deployment.chips)
        factors = [np.exp(log * each.standard_normal(size) - log**2 / 2) for each in streams]
        return self._for_batch([np.exp(-self.deployment.step / (tau * factor)) for factor in factors])

    def _noise(self, name: str, like: AnyArray, numbers: Sequence[int], first: int) -> AnyArray:
        """Standard normals [steps, batch, neurons] from step `first` on."""
        steps, _, neurons = like.shape
        drawn = [normals(key, numbers, first, steps, neurons) for key in self.keys[name]]
        return self.deployment.engine.array(np.concatenate(drawn, axis=1))

    def rows(self, inputs: AnyArray, *, held: bool) -> AnyArray:
        """What rows carry for learning, of what drives them [steps, batch, size]."""
        if not (levels := self.limits.levels("row")):
            return inputs
        if not held:
            return on_levels(inputs, levels)
        return namespace(inputs).broadcast_to(on_levels(inputs[:1], levels), tuple(inputs.shape))

    def trace(self, traces: AnyArray) -> AnyArray:
        """What rows carry of their traces, whose largest value is that of a row that is driven in every step."""
        levels = self.limits.levels("row")
        return traces if not levels else on_levels(traces * (1 - self.leak), levels) * (1 / (1 - self.leak))

    def target(self, target: AnyArray) -> AnyArray:
        """A target as it arrives."""
        return on_levels(target, self.limits.levels("target"))

    def value(self, value: AnyArray, step: int) -> AnyArray:
        """A read-out's value after a step, as it is converted."""
        return on_levels(value, self.limits.levels("value"), self.limits.value_range * (step + 1))

    def gate(self, v: AnyArray, width: float, numbers: Sequence[int], first: int) -> AnyArray:
        """Where the comparators are open: membranes v [steps, batch, neurons] within `width` of where they look."""
        if noise := self.limits.gate_noise * self.circuit.scale:
            v = v + noise * self._noise("gate", v, numbers, first)
        return abs(v - self.gate_from) < width

    def sender(self, numbers: Sequence[int], step: int) -> Callable[[AnyArray], AnyArray]:
        """Return what the circuits make of the errors of a step."""

        def sent(error: AnyArray) -> AnyArray:
            shaped = error if self.error_offset is None else error + self.error_offset
            if self.limits.error_noise:
                shaped = shaped + self.limits.error_noise * self._noise("error", error[None], numbers, step)[0]
            shaped = on_levels(shaped, self.limits.levels("error"))
            moved = shaped - error
            self.shift = (self.shift[0] + (moved * moved).sum(), self.shift[1] + moved.shape[0] * moved.shape[1])
            return shaped

        return sent
