"""How many samples does each rule need to win back what mismatch took, and what do its writes cost?

A teacher's network is put on chips with mismatch, simulated side by side; each learns from `samples` samples, shown
once, and is measured before and after. Each number of samples is a run of its own, because the learning rate falls to 0
over a run. Every sample is a plain gradient step with one write, but with "adam", the host-side reference:

    direct         what is asked for, on cells that hold what they are given
    adam           the same with Adam over 64 samples in place of single steps, at the rates of `studies.methods`
    accumulate     mixed precision: a digital memory of what is less than a pulse
    stochastic     pulses by chance, without memory
    write-verify   a digital copy of the weights, and pulses until a read finds the cell at one of 128 levels

The last three write to ECRAM cells beside a reference cell, with their measured answer to pulses; what is programmed
before learning is verified. Costs are of the mean chip, from `learning_cost`, which does not count the reads of
write-verify. Cells have a stated `endurance`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.learning import Labelled, Targets
from chipsim.rules import Rule
from chipsim.study import Settings, Study, Trial
from chipsim.writers import Writer
from studies.accuracy_vs_mismatch import STAGES
from studies.ltl_on_real_silicon import HEADROOM, PULSED, prepare, taught
from studies.methods import METHODS, unit_outputs
from studies.reference_teacher import FASHION_FIRST, JUDGED, LEARNING, enough, fitted, made_of, named
from teachers import Teacher

CELLS = "ecram-mo"
NUMBERS = (10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A rule of single steps, the arrays that learn (None: all that it teaches), and its learning rate, in units of the
    root mean square of an array's weights.
    """

    rule: Rule
    pace: float
    layers: tuple[int, ...] | None = None

    @property
    def hidden(self) -> bool:
        """Whether hidden arrays learn."""
        return self.layers is None and self.rule.hidden


@dataclass(frozen=True, kw_only=True)
class Hand:
    """A writer, whether it gives pulses to cells, the levels of those, and whether a host does the steps."""

    writer: Writer = cs.Direct()  # noqa: RUF009
    pulses: bool = False
    levels: int | None = None
    host: bool = False


RULES: Mapping[str, Way] = {
    "ltl-online": Way(rule=cs.LocalTandem(), pace=0.2),
    "ltl-offline": Way(rule=cs.LocalTandemOffline(), pace=0.2),
    "read-out": Way(rule=cs.LocalTandem(), pace=0.2, layers=(-1,)),
    "decolle": Way(rule=cs.Decolle(), pace=0.0006),
    "delta": Way(rule=cs.Delta(), pace=0.0006),
}
"""Paces were chosen among some of 6e-4, 2e-3, 6e-3, 0.02, 0.06, 0.2 and 0.6 on the validation split of Fashion-MNIST at
sigma 0.3, for 784-256-256-10, direct writes and 1,000 samples, on two dies that no study has. DECOLLE and the delta
rule won nothing there at any of them, and lost least at the smallest.
"""
WRITERS: Mapping[str, Hand] = {
    "direct": Hand(),
    "adam": Hand(host=True),
    "accumulate": Hand(writer=cs.Accumulate(), pulses=True),
    "stochastic": Hand(writer=cs.StochasticPulses(), pulses=True),
    "write-verify": Hand(writer=cs.WriteVerify(), pulses=True, levels=128),
}

_known: dict[tuple[object, ...], list[float]] = {}
"""Accuracies before learning, and of the ideal chip, that this process knows."""


def design(settings: Settings, hand: Hand = WRITERS["direct"]) -> cs.ChipDesign:
    """The chip with mismatch, and the cells that a writer needs."""
    sigma, endurance = (float(settings.options[name]) for name in ("sigma", "endurance"))
    device: cs.devices.Device = PULSED[CELLS] if hand.pulses else cs.Ideal()
    chip = cs.ChipDesign(
        circuit=cs.LIF(),
        device=dataclasses.replace(device, levels=hand.levels, endurance=endurance),
        effects=(cs.Mismatch(sigma=sigma),),
    )
    return dataclasses.replace(chip, pair="reference", headroom=HEADROOM[CELLS]) if hand.pulses else chip


def _network(teacher: Teacher, rule: str) -> cs.Network:
    network = teacher.network(percentile=99.0)
    return unit_outputs(network, teacher) if METHODS[rule].unit_outputs else network


def measured(trial: Trial, rule: str, writer: str, samples: int) -> xr.Dataset:
    """Let some chips learn by one rule and writer from some samples: accuracy before and after, and what it cost."""
    settings, options, way, hand = trial.settings, trial.settings.options, RULES[rule], WRITERS[writer]
    found = taught(settings)
    data, teacher = found.data, found.teacher
    network, count = _network(teacher, rule), int(options["dies"])
    drawn = fitted(design(settings, hand), network)
    dies = [cs.fabricate(drawn, seed=1000 * trial.chip + number) for number in range(count)]
    snn = cs.deploy(network, dies, engine=cs.Torch(), verify=hand.pulses)
    judged = found.judged

    def accuracies(deployment: cs.Deployment) -> list[float]:
        return [float(value) for value in np.atleast_1d(deployment.accuracy(judged))]

    def once(deployment: cs.Deployment) -> list[float]:
        key = *(chip.hash for chip in deployment.chips), network.hash, options["split"], len(judged)
        if key not in _known:
            _known[key] = accuracies(deployment)
        return _known[key]

    ideal = dataclasses.replace(fitted(design(settings), network), effects=())
    (reference,) = once(cs.deploy(network, cs.fabricate(ideal, seed=0), engine=cs.Torch()))
    before = once(snn)
    chosen, seed = data.train.take(samples), settings.seed
    targets: Targets = Labelled(samples=chosen, seed=seed)
    if "target" in way.rule.reads:
        targets = teacher.targets(chosen, percentile=99.0, seed=seed)
    pace = float(options["pace"])
    history = cs.learn(
        snn,
        targets,
        rule=way.rule,
        writer=hand.writer,
        layers=way.layers,
        optimiser=cs.Adam(lr=pace * METHODS[rule].lr, final=0.0)
        if hand.host
        else cs.SGD(lr=pace * way.pace, relative=True, final=0.0),
        update="batch" if hand.host else "sample",
        progress=False,
    )
    cost = cs.learning_cost(snn, history)
    learns = slice(None) if way.hidden else slice(-1, None)
    written = (1 if hand.pulses else 2) * sum(layer.weight.size for layer in snn.placement.layers[learns])
    pulses = float(history["writes"].sum()) / count
    over = [name for name in ("epoch", "layer") if name in cost["energy"].dims]
    return xr.Dataset(
        {
            "accuracy": (
                ("stage", "die"),
                [before, accuracies(snn)],
                named(f"share of {options['split']} samples classified right"),
            ),
            "ideal": ((), reference, named(f"{options['split']} score of the chip without mismatch")),
            "teacher": ((), teacher.accuracy(judged), named(f"{options['split']} score of the teacher")),
            "samples_shown": ((), len(chosen), named("learning samples, each shown once")),
            "pulses": ((), pulses, named("cell writes and pulses of a chip")),
            "pulses_per_cell": ((), pulses / written, named("writes and pulses of a cell that learns, on average")),
            "energy": ("part", cost["energy"].sum(over).values, named("energy of learning, mean chip", "J")),
            "latency": ((), float(cost["latency"].sum()), named("time of learning", "s")),
            "worn": ("layer", cost["worn"].values, named("largest share of endurance used")),
            **made_of(snn),
        },
        coords={
            "stage": np.array(STAGES),
            "die": np.arange(count),
            "part": cost["part"].values,
            "layer": np.arange(len(snn.cells)),
        },
    )


def trial(trial: Trial) -> xr.Dataset:
    """Measure some chips with one rule, writer and number of samples."""
    point = trial.point
    return measured(trial, str(point["rule"]), str(point["writer"]), int(point["samples"]))


RULE = Factor(name="rule", values=tuple(RULES), choices=tuple(RULES), long_name="learning rule")
WRITER = Factor(
    name="writer",
    values=("direct", "accumulate", "stochastic"),
    choices=tuple(WRITERS),
    long_name="how changes are written",
)
OPTIONS = (
    Factor(name="sigma", values=(0.3,), long_name="relative size of the mismatch", range=(0.0, 2.0)),
    Factor(name="dies", values=(5,), long_name="chips of a trial, side by side", range=(2, 1000)),
    JUDGED,
    Factor(name="pace", values=(1.0,), long_name="factor on every rule's learning rate", range=(0.0, 1e6)),
    Factor(name="endurance", values=(1e8,), long_name="writes and pulses of a cell, a design choice", range=(1, 1e15)),
    *(option for option in LEARNING if option.name == "split"),
)


def check(trial: Trial) -> None:
    """Refuse more samples than there are."""
    enough(int(trial.point["samples"]), trial.settings.dataset)


STUDY = Study(
    name="data_needed_to_recover",
    question="How many samples does each rule need to win back what mismatch took?",
    factors=(
        RULE,
        WRITER,
        Factor(name="samples", values=NUMBERS, long_name="learning samples, each shown once", range=(1, 10**7)),
    ),
    options=OPTIONS,
    datasets=FASHION_FIRST,
    design=design,
    check=check,
    prepare=prepare,
    trial=trial,
    figure="data_needed",
    table=("accuracy", "pulses_per_cell"),
    smallest={
        "chips": 1,
        "dataset": "digits",
        "factors": {
            "rule": ("ltl-online", "delta"),
            "writer": ("direct", "accumulate", "stochastic"),
            "samples": (10, 60),
        },
        "options": {"judged": 100, "dies": 2},
    },
)
