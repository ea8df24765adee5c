"""calibrate(): codes of every neuron's own biases, searched before learning on what the die shows."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.chip import Chip
from chipsim.circuits import Circuit
from chipsim.engines import Engine, StageState, reference
from chipsim.errors import ChipsimError, ParameterError
from chipsim.population import drive_bank
from chipsim.probe import variable
from chipsim.quantity import Parameters, canonical_json, quantity, to_si
from chipsim.schema import DIMENSIONS
from chipsim.streams import stream

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

CALIX = "calix, as in FACTS 6.6"
STAGES = ("nominal code", "median code", "calibrated")
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
class Bias(Parameters):
    """A code k of each neuron, 0 .. 2^bits - 2, that moves the parameter of one role; the middle code is in the middle:

        factor = low (high / low)^x        or, where not logarithmic, low + (high - low) x        x = k / (2^bits - 2)

    A reset moves by offsets in place of factors, in nominal spans from reset to threshold, and linearly. What is
    written lands within +-write_noise of x, uniformly, each time anew; never outside of 0..1.
    Raises ParameterError for an unknown role, an empty range or factors that are not above 0.

    >>> Bias(role="gain", bits=3).settings.round(2).tolist()
    [0.5, 0.63, 0.79, 1.0, 1.26, 1.59, 2.0]
    """

    role: str
    bits: int = 10
    low: float = quantity(0.5, "1", (-100.0, 100.0))
    high: float = quantity(2.0, "1", (-100.0, 100.0))
    logarithmic: bool = True
    write_noise: float = quantity(5 / 1022, "1", (0.0, 0.5), CALIX + ": +-5 of 1022")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.role not in ROLES:
            raise ParameterError(f"unknown role {self.role!r} of a Bias; known: {', '.join(ROLES)}")
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 16:
            raise ParameterError(f"Bias.bits must be a whole number from 2 to 16, not {self.bits!r}")
        if not self.low < self.high:
            raise ParameterError(f"Bias.low = {self.low:g} must lie below Bias.high = {self.high:g}")
        if self.role == "reset" and self.logarithmic:
            raise ParameterError("a Bias of the reset moves it by offsets: give logarithmic=False")
        if self.role != "reset" and not self.low > 0:
            raise ParameterError(f"Bias.low = {self.low:g} must lie above 0: a Bias of the {self.role} is a factor")

    @property
    def last(self) -> int:
        """The largest code."""
        return int(2**self.bits - 2)

    @property
    def settings(self) -> Array:
        """Factors or offsets of all codes."""
        return self._setting(np.arange(self.last + 1) / self.last)

    def written(self, codes: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Return the factors or offsets where codes land that are written now."""
        place = codes / self.last + self.write_noise * rng.uniform(-1, 1, codes.shape)
        return self._setting(np.clip(place, 0.0, 1.0))

    def _setting(self, place: Array) -> Array:
        if self.logarithmic:
            return np.asarray(self.low * (self.high / self.low) ** place)
        return self.low + (self.high - self.low) * place


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
    noise: float = quantity(2.0, "1", (0.0, 1e6), "hxtorch's mock, as in FACTS 6.6")
    """Standard deviation of the noise of each reading [LSB]."""
    sample_time: float = quantity(1.7e-6, "s", (0.0, 1.0), CALIX)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 20:
            raise ParameterError(f"Adc.bits must be a whole number from 2 to 20, not {self.bits!r}")
        if not self.low < self.zero < self.high < 2**self.bits:
            raise ParameterError(
                f"Adc.low = {self.low:g}, zero = {self.zero:g} and high = {self.high:g} must rise, up to "
                f"{2**self.bits - 1}, the largest reading of {self.bits} bits"
            )

    def read(self, lsb: Array, repeats: int, rng: np.random.Generator) -> tuple[Array, Flags]:
        """Return the mean of `repeats` readings of each membrane [LSB], and whether any was not to be trusted."""
        shown = np.round(lsb[..., None] + self.noise * rng.standard_normal((*lsb.shape, repeats)))
        shown = np.clip(shown, 0, 2**self.bits - 1)
        refused = np.any((shown < self.low) | (shown > self.high), axis=-1)
        return np.clip(shown, self.low, self.high).mean(-1), refused


class Calibrated(NamedTuple):
    """What `calibrate` gives: the trimmed chip, and how it came to be."""

    chip: Chip
    report: xr.Dataset


class Shown(NamedTuple):
    """What a bank showed of one role: a value of each neuron, and whether it can be trusted."""

    value: Array
    trusted: Flags


def calibrate(
    chip: Chip,
    biases: Sequence[Bias] | None = None,
    *,
    adc: Adc | None = None,
    repeats: int = 64,
    rounds: int = 1,
    neurons: int | None = None,
    readouts: bool = False,
    step: float | None = None,
    seed: int = 0,
    engine: Engine | None = None,
) -> Calibrated:
    """Search the codes with which each neuron shows what a nominal one does, and return the chip with them written.

    biases: in the order in which they are searched; by default BIASES of all roles that the circuit has. Each code is
    found by bits steps of bisection, of all neurons at once, and is then the best of those tried. What is measured:

        time_constant  area under the membrane's return from a step of current, over its height before
        gain           the height to which this step of current takes the membrane
        threshold      the smallest current that makes the neuron fire (its rheobase), by spikes alone
        reset          the membrane one step after a spike, at twice the nominal rheobase

    The step of current takes a nominal neuron half of the swing below rest, or above where it cannot go below. The
    first two need the converter within its range, as does the last. A parameter is judged by what it does: a gain
    that is a little off moves the rheobase, and the threshold makes up for it.

    adc: the converter. repeats: presentations over which readings are averaged. rounds: how often all codes are
    searched; the exponential of an AdEx, which lifts its rest, makes two worth their time. neurons: how many, the
    first, are calibrated; all by default. readouts: calibrate the read-out circuits, not the neurons. step: of the
    simulation [s], by default the circuit's own. seed: of what is drawn in measuring and writing, beside the chip's.

    Returns the chip, with the trim as last written in place of one that it had on these roles, and a dataset:
    code(parameter, neuron); failed(parameter, neuron): the range of the code does not reach, or no reading was to be
    trusted, where the code tried that came nearest stays, or the middle one; failures(parameter); spread(parameter,
    stage), the root mean square over trusted neurons of what is shown over the nominal, less 1 (of a reset, the
    difference in spans from reset to threshold), read noise included, with all codes in the middle, all at the median
    and as calibrated; duration [s] on the chip; measurements. Raises ChipsimError where no neuron can be trusted.

    >>> from chipsim.chip import ChipDesign, fabricate
    >>> from chipsim.effects import Mismatch
    >>> die = fabricate(ChipDesign(neurons=100, effects=(Mismatch(sigma=0.2),)), seed=7)
    >>> spread = calibrate(die, (Bias(role="gain"),)).report.spread.sel(parameter="gain")
    >>> bool(spread.sel(stage="calibrated") < 0.1 * spread.sel(stage="median code"))
    True
    """
    if not isinstance(chip, Chip):
        raise ParameterError(f"calibrate needs a Chip, as fabricate(design, seed) gives, not a {type(chip).__name__}")
    circuit = chip.design.readout if readouts else chip.design.circuit
    if biases is None:
        biases = tuple(bias for bias in BIASES if bias.role in circuit.roles)
    roles = _checked(biases, circuit)
    available = chip.design.readouts if readouts else chip.design.neurons
    count = available if neurons is None else neurons
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= available:
        raise ParameterError(f"neurons must be a whole number from 1 to the chip's {available}, not {neurons!r}")
    for name, value in (("repeats", repeats), ("rounds", rounds)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name} must be a whole number of at least 1, not {value!r}")
    seconds = circuit.step if step is None else to_si(step, "s", "step")
    if not 0 < seconds < math.inf:
        raise ParameterError(f"step must be above 0 s and finite, not {seconds:g} s")
    circuit.check_step(seconds)
    tester = Tester(
        chip=chip,
        circuit=circuit,
        readouts=readouts,
        count=count,
        adc=adc or Adc(),
        repeats=repeats,
        step=seconds,
        engine=engine or reference(),
        rng=stream(seed, "calibrate", chip.seed),
    ).aimed(roles)
    codes, failed = {}, {}
    for bias in tuple(biases) * rounds:
        codes[bias.role], failed[bias.role] = _searched(tester, bias)
    spread = np.empty((len(roles), len(STAGES)))
    found = dict(tester.trim)
    everywhere = {bias.role: np.full(count, bias.last // 2) for bias in biases}
    median = {bias.role: np.full(count, round(float(np.median(codes[bias.role])))) for bias in biases}
    for stage, written in enumerate((everywhere, median, None)):
        for bias in biases:
            tester.trim[bias.role] = (
                found[bias.role] if written is None else bias.written(written[bias.role], tester.rng)
            )
        for place, role in enumerate(roles):
            shown = tester.deviation(role)
            if not shown.trusted.any():
                raise ChipsimError(
                    f"no neuron shows a {role} that can be trusted ({STAGES[stage]}), so that nothing can be "
                    "calibrated; give the converter another zero or swing, or the biases another range"
                )
            spread[place, stage] = np.sqrt(np.mean(shown.value[shown.trusted] ** 2))
            if written is None:
                failed[role] |= ~shown.trusted
    report = _report(codes, failed, spread, tester)
    return Calibrated(
        tester.die,
        report.assign_attrs(
            {
                **tester.die.provenance,
                "biases": canonical_json(tuple(biases)),
                "adc": canonical_json(tester.adc),
                "repeats": repeats,
                "rounds": rounds,
                "seed": int(seed),
            }
        ),
    )


def _checked(biases: Sequence[Bias], circuit: Circuit) -> list[str]:
    """The roles of the biases."""
    if isinstance(biases, Bias) or not biases or not all(isinstance(bias, Bias) for bias in biases):
        raise ParameterError(f"biases must be one or more Bias objects, as in (Bias(role='gain'),), not {biases!r}")
    roles = [bias.role for bias in biases]
    for role in roles:
        if role not in circuit.roles:
            raise ParameterError(
                f"{type(circuit).__name__} has no {role} for a Bias to move; it has {', '.join(circuit.roles)}"
            )
        if roles.count(role) > 1:
            raise ParameterError(f"the {role} has two biases; give each role one")
    return roles


def _searched(tester: "Tester", bias: Bias) -> tuple[NDArray[np.intp], Flags]:
    """Bisect the codes of one bias, write them, and return them and which failed."""
    below, above = np.full(tester.count, -1), np.full(tester.count, bias.last + 1)
    best, nearest = np.full(tester.count, bias.last // 2), np.full(tester.count, np.inf)
    for _ in range(bias.bits):
        codes = (below + above) // 2
        tester.trim[bias.role] = bias.written(codes, tester.rng)
        shown = tester.deviation(bias.role)
        low, size = shown.value < 0, np.abs(shown.value)
        below, above = np.where(low, codes, below), np.where(low, above, codes)
        better = shown.trusted & (size < nearest)
        best, nearest = np.where(better, codes, best), np.where(better, size, nearest)
    tester.trim[bias.role] = bias.written(best, tester.rng)
    return best, (below < 0) | (above > bias.last) | np.isinf(nearest)


@dataclass(kw_only=True, eq=False)
class Tester:
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

    def aimed(self, roles: Sequence[str]) -> "Tester":
        """Return the tester with currents and aims for some roles, found on nominal neurons."""
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
            whole = np.full(getattr(self.chip.design, bank), 0.0 if role == "reset" else 1.0)
            whole[: self.count] = values
            trim[f"{bank}/{role}"] = whole
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


def _push(tester: Tester, ladder: Array) -> float:
    """The drive that moves a nominal membrane by PUSH swings, down if it can."""
    aim = PUSH * tester.adc.swing
    for drives in (-ladder, ladder):
        height, _, trusted = tester.stepped(drives)
        size = np.where(trusted & np.isfinite(height), np.abs(height), 0.0)
        best = int(np.argmin(np.abs(size - aim)))
        if abs(size[best] / aim - 1) < 0.2:
            return float(drives[best])
    raise ParameterError(
        f"no step of current moves a nominal {type(tester.circuit).__name__} by {PUSH:g} of its swing without a spike"
    )


def _time_constant(tester: Tester) -> Shown:
    height, area, trusted = tester.stepped(np.full(tester.count, tester.push))
    seen = np.abs(height) > 1.0  # less than an LSB is no height to divide by
    return Shown(area / np.where(seen, height, 1.0), trusted & seen)


def _gain(tester: Tester) -> Shown:
    height, _, trusted = tester.stepped(np.full(tester.count, tester.push))
    return Shown(height, trusted)


def _threshold(tester: Tester) -> Shown:
    return Shown(*tester.rheobase(np.full(tester.count, tester.fire / math.sqrt(SPAN)), SPAN))


def _reset(tester: Tester) -> Shown:
    return tester.after_spikes(np.full(tester.count, 2 * tester.fire))


ROLES: Mapping[str, Callable[[Tester], Shown]] = {
    "time_constant": _time_constant,
    "gain": _gain,
    "threshold": _threshold,
    "reset": _reset,
}
"""How each role's parameter is measured."""

BIASES = (
    Bias(role="time_constant"),
    Bias(role="gain"),
    Bias(role="threshold"),
    Bias(role="reset", low=-1.0, high=1.0, logarithmic=False),
)
"""One for every role, each behind those that what is measured of it depends on."""


def _report(
    codes: Mapping[str, NDArray[np.intp]], failed: Mapping[str, Flags], spread: Array, tester: Tester
) -> xr.Dataset:
    each, roles = ("parameter", "neuron"), list(codes)
    failures = np.array([failed[role].sum() for role in roles])
    return xr.Dataset(
        {
            "code": variable(each, np.stack([codes[role] for role in roles]), "1", "code found"),
            "failed": variable(each, np.stack([failed[role] for role in roles]), "1", "out of range, or not trusted"),
            "failures": variable(("parameter",), failures, "1", "neurons that failed"),
            "spread": variable(("parameter", "stage"), spread, "1", "rms of what neurons show over nominal, less 1"),
            "duration": variable((), np.array(tester.seconds), "s", "time of the measurements on the chip"),
            "measurements": variable((), np.array(tester.measurements), "1", "measurements of the whole bank"),
        },
        coords={
            "parameter": variable(("parameter",), np.array(roles), *DIMENSIONS["parameter"]),
            "stage": variable(("stage",), np.array(STAGES), "1", "codes that were written"),
            "neuron": variable(("neuron",), np.arange(tester.count), *DIMENSIONS["neuron"]),
        },
    )
