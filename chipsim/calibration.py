"""calibrate(): codes of every neuron's own biases, searched before learning on what the die shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim.chip import Chip
from chipsim.circuits import Circuit
from chipsim.engines import Engine, reference
from chipsim.errors import ChipsimError, ParameterError
from chipsim.probe import variable
from chipsim.quantity import Parameters, canonical_json, quantity, to_si, whole
from chipsim.responses import CALIX, ROLES, Adc, Flags, Prober
from chipsim.schema import DIMENSIONS
from chipsim.streams import stream

Array = NDArray[np.float64]

STAGES = ("nominal code", "median code", "calibrated")


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
        whole(self.bits, "Bias.bits", 2, 16)
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


class Calibrated(NamedTuple):
    """What `calibrate` gives: the trimmed chip, and how it came to be."""

    chip: Chip
    report: xr.Dataset


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
    that is a little off moves the rheobase, and the threshold makes up for it. What varies less than readings do is
    better left out of biases.

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
    _check(biases, circuit)
    available = chip.design.readouts if readouts else chip.design.neurons
    count = available if neurons is None else whole(neurons, "neurons", 1, available)
    for name, value in (("repeats", repeats), ("rounds", rounds)):
        whole(value, name, 1)
    seconds = circuit.step if step is None else to_si(step, "s", "step")
    if not 0 < seconds < math.inf:
        raise ParameterError(f"step must be above 0 s and finite, not {seconds:g} s")
    circuit.check_step(seconds)
    prober = Prober(
        chip=chip,
        circuit=circuit,
        readouts=readouts,
        count=count,
        adc=adc or Adc(),
        repeats=repeats,
        step=seconds,
        engine=engine or reference(),
        rng=stream(seed, "calibrate", chip.seed),
    ).aimed([bias.role for bias in biases])
    codes, failed = {}, {}
    for bias in tuple(biases) * rounds:
        codes[bias.role], failed[bias.role] = _searched(prober, bias)
    spread, trusted = _spread(prober, biases, codes)
    failed = {role: flags | ~trusted[role] for role, flags in failed.items()}
    report = _report(codes, failed, spread, prober)
    return Calibrated(
        prober.die,
        report.assign_attrs(
            {
                **prober.die.provenance,
                "biases": canonical_json(tuple(biases)),
                "adc": canonical_json(prober.adc),
                "repeats": repeats,
                "rounds": rounds,
                "seed": int(seed),
            }
        ),
    )


def _check(biases: Sequence[Bias], circuit: Circuit) -> None:
    """Raise ParameterError for biases that cannot be."""
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


def _searched(prober: Prober, bias: Bias) -> tuple[NDArray[np.intp], Flags]:
    """Bisect the codes of one bias, write them, and return them and which failed."""
    below, above = np.full(prober.count, -1), np.full(prober.count, bias.last + 1)
    best, nearest = np.full(prober.count, bias.last // 2), np.full(prober.count, np.inf)
    for _ in range(bias.bits):
        codes = (below + above) // 2
        prober.trim[bias.role] = bias.written(codes, prober.rng)
        shown = prober.deviation(bias.role)
        low, size = shown.value < 0, np.abs(shown.value)
        below, above = np.where(low, codes, below), np.where(low, above, codes)
        better = shown.trusted & (size < nearest)
        best, nearest = np.where(better, codes, best), np.where(better, size, nearest)
    prober.trim[bias.role] = bias.written(best, prober.rng)
    return best, (below < 0) | (above > bias.last) | np.isinf(nearest)


def _spread(
    prober: Prober, biases: Sequence[Bias], codes: Mapping[str, NDArray[np.intp]]
) -> tuple[Array, Mapping[str, Flags]]:
    """Measure the spread of every role at every stage, and return it with who can be trusted at the last one."""
    found, spread, trusted = dict(prober.trim), np.empty((len(biases), len(STAGES))), {}
    everywhere = {bias.role: np.full(prober.count, bias.last // 2) for bias in biases}
    median = {role: np.full(prober.count, round(float(np.median(each)))) for role, each in codes.items()}
    for stage, written in enumerate((everywhere, median, None)):
        for bias in biases:
            prober.trim[bias.role] = (
                found[bias.role] if written is None else bias.written(written[bias.role], prober.rng)
            )
        for place, bias in enumerate(biases):
            shown = prober.deviation(bias.role)
            if not shown.trusted.any():
                raise ChipsimError(
                    f"no neuron shows a {bias.role} that can be trusted ({STAGES[stage]}), so that nothing can be "
                    "calibrated; give the converter another zero or swing, or the biases another range"
                )
            spread[place, stage] = np.sqrt(np.mean(shown.value[shown.trusted] ** 2))
            trusted[bias.role] = shown.trusted
    return spread, trusted


BIASES = (
    Bias(role="time_constant"),
    Bias(role="gain"),
    Bias(role="threshold"),
    Bias(role="reset", low=-1.0, high=1.0, logarithmic=False),
)
"""One for every role, each behind those that what is measured of it depends on."""


def _report(
    codes: Mapping[str, NDArray[np.intp]], failed: Mapping[str, Flags], spread: Array, prober: Prober
) -> xr.Dataset:
    each, roles = ("parameter", "neuron"), list(codes)
    failures = np.array([failed[role].sum() for role in roles])
    return xr.Dataset(
        {
            "code": variable(each, np.stack([codes[role] for role in roles]), "1", "code found"),
            "failed": variable(each, np.stack([failed[role] for role in roles]), "1", "out of range, or not trusted"),
            "failures": variable(("parameter",), failures, "1", "neurons that failed"),
            "spread": variable(("parameter", "stage"), spread, "1", "rms of what neurons show over nominal, less 1"),
            "duration": variable((), np.array(prober.seconds), "s", "time of the measurements on the chip"),
            "measurements": variable((), np.array(prober.measurements), "1", "measurements of the whole bank"),
        },
        coords={
            "parameter": variable(("parameter",), np.array(roles), *DIMENSIONS["parameter"]),
            "stage": variable(("stage",), np.array(STAGES), "1", "codes that were written"),
            "neuron": variable(("neuron",), np.arange(prober.count), *DIMENSIONS["neuron"]),
        },
    )
