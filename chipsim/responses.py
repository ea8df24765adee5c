"""What a bank of a die shows through its converter, neuron by neuron: time constant, gain, threshold and reset."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.chip import Chip
from chipsim.circuits import Circuit
from chipsim.engines import Engine, StageState
from chipsim.errors import ParameterError
from chipsim.population import drive_bank
from chipsim.quantity import Parameters, quantity, whole

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

CALIX = "calix"
REST, HOLD, RELEASE, FIRE = 8.0, 8.0, 4.0, 10.0
"""Parts of a presentation in time constants: before a step of current, during it and after it; and to find out whether
a neuron fires.
"""
PUSH = 0.5
"""Deflection that a step of current makes, over the swing."""
RUNGS, TURNS, SPAN = 16, 3, 64.0
"""Currents side by side when a rheobase is searched, how often they are spread anew, and the largest over the smallest
at first.
"""
NOMINAL = 64
"""Nominal neurons over whose noise the host averages."""


@final
@dataclass(frozen=True, kw_only=True)
class Adc(Parameters):
    """The converter that reads membranes, all neurons at once:

        reading = clip(round(zero + swing (v - rest) / (threshold - rest) + noise N), 0, 2^bits - 1)

    rest and threshold are the circuit's nominal ones. It is trusted from low to high; of a reading outside of that,
    only the side is used. Raises ParameterError where rest is not inside.

    >>> Adc().high
    210.0
    """

    bits: int = 8
    low: float = quantity(30.0, "1", (0.0, 1e6), CALIX)
    high: float = quantity(210.0, "1", (0.0, 1e6), CALIX)
    zero: float = quantity(80.0, "1", (0.0, 1e6), CALIX + ": the leak's default")
    """Reading at rest."""
    swing: float = quantity(30.0, "1", (1e-3, 1e6), "as BRAINSCALES2, whose swing is 30 LSB")
    """Readings from rest to threshold."""
    noise: float = quantity(2.0, "1", (0.0, 1e6), "hxtorch, its mock")
    """Standard deviation of the noise of each reading [LSB]."""
    sample_time: float = quantity(1.7e-6, "s", (0.0, 1.0), CALIX)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.bits, "Adc.bits", 2, 20)
        if not self.low < self.zero < self.high < 2**self.bits:
            raise ParameterError(
                f"Adc.low = {self.low:g}, zero = {self.zero:g} and high = {self.high:g} must rise, up to "
                f"{2**self.bits - 1}, the largest reading of {self.bits} bits"
            )

    def read(self, lsb: Array, repeats: int, rng: np.random.Generator) -> tuple[Array, Flags]:
        """Return the mean of `repeats` readings of each membrane [LSB], and whether any was not to be trusted."""
        shown = np.round(lsb[..., None] + self.noise * rng.standard_normal((*lsb.shape, repeats)))
        shown = np.clip(shown, 0, 2**self.bits - 1)
        refused = ~np.all((shown >= self.low) & (shown <= self.high), axis=-1)
        return np.clip(shown, self.low, self.high).mean(-1), refused


class Shown(NamedTuple):
    """What a bank showed of one role: a value of each neuron, and whether it can be trusted."""

    value: Array
    trusted: Flags


@dataclass(kw_only=True, eq=False)
class Prober:
    """Measures a bank of a die, and keeps the trim that is written, the time and the number of measurements.

    nominal: whether the neurons are nominal ones that the host simulates, with an ideal converter. push: drive of the
    step of current, and fire: nominal rheobase, in units of the port. aims: what nominal neurons show, by role.
    """

    chip: Chip
    circuit: Circuit
    readouts: bool
    count: int
    adc: Adc
    repeats: int
    step: float
    engine: Engine
    rng: np.random.Generator
    nominal: bool = False
    push: float = math.nan
    fire: float = math.nan
    aims: Mapping[str, float] = field(default_factory=dict)
    trim: dict[str, Array] = field(default_factory=dict)
    seconds: float = 0.0
    measurements: int = 0
    presented: int = 0

    def aimed(self, roles: Sequence[str]) -> "Prober":
        """Return the prober with currents and aims for some roles, found on nominal neurons."""
        name, ladder = type(self.circuit).__name__, self.circuit.firing_drive * np.geomspace(1e-4, 1e2, 256)
        quiet = dataclasses.replace(self, nominal=True, chip=_quiet(self.chip))
        push = fire = math.nan
        if {"time_constant", "gain"} & {*roles}:
            push = _push(dataclasses.replace(quiet, count=len(ladder)), ladder)
        if {"threshold", "reset"} & {*roles}:
            fires, found = dataclasses.replace(quiet, count=1).rheobase(ladder[:1], ladder[-1] / ladder[0])
            if not found.all():
                raise ParameterError(f"a nominal {name} fires at no constant current, so that nothing can be aimed at")
            fire = float(fires[0])
        host = dataclasses.replace(self, nominal=True, count=NOMINAL if self.noisy else 1, push=push, fire=fire)
        aims = {}
        for role in roles:
            shown = ROLES[role](host)
            if not shown.trusted.any():
                raise ParameterError(f"a nominal {name} shows no {role} that could be aimed at")
            aims[role] = float(shown.value[shown.trusted].mean())
        return dataclasses.replace(self, push=push, fire=fire, aims=aims)

    def deviation(self, role: str) -> Shown:
        """Measure what the neurons show of a role, relative to what nominal ones do."""
        value, trusted = ROLES[role](self)
        self.measurements += 1
        aim = self.aims[role]
        return Shown((value - aim) / (self.span if role == "reset" else aim), trusted)

    @property
    def die(self) -> Chip:
        """The chip with what is written."""
        bank, trim = "readouts" if self.readouts else "neurons", dict(self.chip.trim)
        for role, values in self.trim.items():
            key, untouched = f"{bank}/{role}", np.full(getattr(self.chip.design, bank), 0.0 if role == "reset" else 1.0)
            trim[key] = np.concatenate([values, self.chip.trim.get(key, untouched)[self.count :]])
        return dataclasses.replace(self.chip, trim=trim)

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Of the neurons, each [count]."""
        if self.nominal:
            return {name: np.full(self.count, value) for name, value in self.circuit.nominal().items()}
        values = self.die.readouts if self.readouts else self.die.neurons
        return {name: array[: self.count] for name, array in values.items()}

    @property
    def noisy(self) -> bool:
        """Whether presentations differ."""
        kinds = () if self.readouts else ("membrane", "loss")
        return any(self.chip.noise(kind, self.circuit, ("bench",), self.step) for kind in kinds)

    @property
    def batch(self) -> int:
        """Presentations that are simulated for `repeats` on the chip: one where all are alike but for the readings."""
        return self.repeats if self.noisy else 1

    @property
    def scale(self) -> int:
        """Steps in the circuit's time constant, or in a quarter of the time in which it answers where nothing leaks."""
        leak = self.circuit.leak(self.step)
        seconds = -self.step / math.log(leak) if 0 < leak < 1 else self.circuit.answers_within / 4
        return max(1, round(seconds / self.step))

    @property
    def span(self) -> float:
        """Nominal span from reset to threshold [LSB]."""
        nominal, roles = self.circuit.nominal(), self.circuit.roles
        return self.adc.swing * (nominal[roles["threshold"]] - nominal[roles["reset"]]) / self.circuit.swing

    def read(self, v: Array) -> tuple[Array, Flags]:
        """Mean readings of membranes [LSB], and whether any was not to be trusted."""
        lsb = self.adc.zero + self.adc.swing * (v - self.circuit.rest) / self.circuit.swing
        if self.nominal:
            return lsb, np.zeros(lsb.shape, bool)
        return self.adc.read(lsb, self.repeats // self.batch, self.rng)

    def run(
        self, inputs: Array, drive: Array, steps: int, times: int, see: Callable[[int, StageState], None], *, v: bool
    ) -> None:
        """Present inputs, [batch, 1] or [steps, batch, 1], which the chip presents `times` times."""
        drive_bank(
            self.circuit,
            self.parameters,
            inputs,
            drive=drive,
            chip=None if self.readouts else self.chip,
            steps=steps,
            step=self.step,
            engine=self.engine,
            see=see,
            v=v,
            first=self.presented,
        )
        self.presented += inputs.shape[-2]
        self.seconds += times * steps * self.step

    def stepped(self, drive: Array) -> tuple[Array, Array, Flags]:
        """Return of a step of current `drive` [count] the height that the membrane reaches [LSB], the area under its
        return [LSB s], and whether they can be trusted.
        """
        rest, hold, release = (round(part * self.scale) for part in (REST, HOLD, RELEASE))
        steps, every = rest + hold + release, max(1, math.ceil(self.adc.sample_time / self.step))
        at = np.arange(steps)
        phases = (rest // 2, rest), (rest + hold - hold // 4, rest + hold), (rest + hold, steps)
        sampled = np.stack([(at % every == every - 1) & (start <= at) & (at < end) for start, end in phases])
        if not sampled.any(1).all():
            raise ParameterError(
                f"the converter takes {self.adc.sample_time:g} s to read, too long for a membrane that moves within "
                f"{self.scale * self.step:g} s; give a shorter Adc.sample_time"
            )
        weights = sampled / sampled.sum(1, keepdims=True)
        means, refused = np.zeros((3, self.count)), np.zeros(self.count, bool)

        def see(first: int, state: StageState) -> None:
            nonlocal means, refused
            part = weights[:, first : first + len(state.spikes)]
            chosen = part.any(0)
            shown, bad = self.read(to_numpy(state.v)[chosen])
            means = means + part[:, chosen] @ shown.mean(1)
            refused = refused | bad.any((0, 1)) | (to_numpy(state.spikes) > 0).any((0, 1))

        pulse = ((at >= rest) & (at < rest + hold)).astype(float)[:, None, None]
        self.run(np.repeat(pulse, self.batch, axis=1), drive, steps, self.repeats, see, v=True)
        height = means[1] - means[0]
        return height, (means[2] - means[0]) * sampled[2].sum() * every * self.step, ~refused

    def rheobase(self, low: Array, span: float) -> tuple[Array, Flags]:
        """Return the smallest drive [count] between `low` and span times it that makes each neuron fire, and whether
        there is one.
        """
        rungs, silent = np.arange(1, RUNGS + 1) / (RUNGS + 1), np.zeros(self.count, int)
        for _ in range(TURNS):
            spikes = self.fired(span ** rungs[:, None], low)
            quiet = (spikes == 0).sum(0)
            silent += quiet
            low, span = low * span ** (quiet / (RUNGS + 1)), span ** (1 / (RUNGS + 1))
        return low * math.sqrt(span), (silent > 0) & (silent < TURNS * RUNGS)

    def fired(self, inputs: Array, drive: Array) -> Array:
        """Return the spikes [batch, count] under constant currents: inputs [batch, 1] times drive [count]."""
        spikes = np.zeros((len(inputs), self.count))

        def see(_first: int, state: StageState) -> None:
            nonlocal spikes
            spikes = spikes + to_numpy(state.spikes).sum(0)

        self.run(inputs, drive, round(FIRE * self.scale), len(inputs), see, v=False)
        return spikes

    def after_spikes(self, drive: Array) -> Shown:
        """Return the mean membrane in the steps after spikes [LSB]."""
        total, events, refused = np.zeros(self.count), np.zeros(self.count), np.zeros(self.count)
        last = np.zeros((1, self.batch, self.count))

        def see(_first: int, state: StageState) -> None:
            nonlocal total, events, refused, last
            spikes = to_numpy(state.spikes)
            after, last = np.concatenate([last, spikes[:-1]]) > 0, spikes[-1:]
            of = np.nonzero(after)[2]
            shown, bad = self.read(to_numpy(state.v)[after])
            total = total + np.bincount(of, shown, self.count)
            events = events + np.bincount(of, minlength=self.count)
            refused = refused + np.bincount(of, bad, self.count)

        inputs = np.ones((self.batch, 1))
        self.run(inputs, drive, round(FIRE * self.scale), self.repeats, see, v=True)
        return Shown(total / np.maximum(events, 1), (events > 0) & (refused == 0))


def _quiet(chip: Chip) -> Chip:
    """The chip's design without effects."""
    return dataclasses.replace(chip, design=dataclasses.replace(chip.design, effects=()), measured={})


def _push(prober: Prober, ladder: Array) -> float:
    """The drive that moves a nominal membrane by PUSH swings, down if it can."""
    aim = PUSH * prober.adc.swing
    for drives in (-ladder, ladder):
        height, _, trusted = prober.stepped(drives)
        size = np.where(trusted & np.isfinite(height), np.abs(height), 0.0)
        best = int(np.argmin(np.abs(size - aim)))
        if abs(size[best] / aim - 1) < 0.2:
            return float(drives[best])
    raise ParameterError(
        f"no step of current moves a nominal {type(prober.circuit).__name__} by {PUSH:g} of its swing without a spike"
    )


def _time_constant(prober: Prober) -> Shown:
    height, area, trusted = prober.stepped(np.full(prober.count, prober.push))
    seen = np.abs(height) > 1.0  # less than an LSB is no height to divide by
    return Shown(area / np.where(seen, height, 1.0), trusted & seen)


def _gain(prober: Prober) -> Shown:
    height, _, trusted = prober.stepped(np.full(prober.count, prober.push))
    return Shown(height, trusted)


def _threshold(prober: Prober) -> Shown:
    return Shown(*prober.rheobase(np.full(prober.count, prober.fire / math.sqrt(SPAN)), SPAN))


def _reset(prober: Prober) -> Shown:
    return prober.after_spikes(np.full(prober.count, 2 * prober.fire))


ROLES: Mapping[str, Callable[[Prober], Shown]] = {
    "time_constant": _time_constant,
    "gain": _gain,
    "threshold": _threshold,
    "reset": _reset,
}
"""How each role's parameter is measured."""
