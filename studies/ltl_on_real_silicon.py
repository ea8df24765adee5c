"""Does Local Tandem Learning survive real silicon, and what stands in its way?

A teacher's network is put on chips that have one of the limits of hardware, all of them, or all but one; each chip then
learns from the same `samples`, shown once, and is measured before and after. Chips of a trial are simulated side by
side. What a limit is, and what stands in its place without it:

    form        the online rule, which needs no memory but a counter   the exact offline rule
    warm_up     errors of a sample's last step alone                    of the last four steps (online rule only)
    batch       one sample, one write: plain gradient steps             Adam over 64 samples
    weights     128 levels of a cell: weights of 8 bits, and of 7       continuous
                beside the reference cell of `pulses`
    signals     6-bit counters, targets, errors, values and rows        exact numbers
    constants   targets scaled by one constant a layer                  by each batch's own percentile, as published
    pulses      cells that move by pulses as measured, beside a         cells that hold what they are given
                reference cell; mixed precision
    mismatch    of thresholds, time constants, resets, gains and        none
                cells, and offsets of comparators
    dead        5 % of the neurons                                      none
    stuck       1 % of the cells                                        none

With `pulses`, levels round what is programmed before learning; learning then leaves cells where pulses do. An error is
the difference of two digital numbers, count and target, so that it has no offset; `all and error offsets` says what one
of an analog circuit would cost. `all tuned` has all limits and learns as served it best on the validation split: from
the last four steps, with comparators that open twice as wide. What is programmed is verified through the cells' own
gains throughout.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim import devices
from chipsim.devices import Pulsed
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.accuracy_vs_mismatch import STAGES
from studies.reference_teacher import FASHION_FIRST, JUDGED, LEARNING, Taught, enough, fitted, loaded, made_of, named
from teachers import mlp, train

LIMITS = ("form", "warm_up", "batch", "weights", "signals", "constants", "pulses", "mismatch", "dead", "stuck")
ONLY, BUT, OFFSET, TUNED = "only ", "all but ", "all and error offsets", "all tuned"
CONDITIONS = ("none", *(ONLY + limit for limit in LIMITS), "all", *(BUT + limit for limit in LIMITS), OFFSET, TUNED)
PULSED: Mapping[str, Pulsed] = {"ecram-mo": devices.ECRAM_MO_KIM_2019, "reram-om": devices.RERAM_ARRAY_OM_2022}
HEADROOM: Mapping[str, float] = {"ecram-mo": 1.0, "reram-om": 0.5}
"""Cells whose limits differ and whose writes are noisy hold weights better that use more of their range."""
PACE: Mapping[str, float] = {"ecram-mo": 0.05, "reram-om": 0.5}
"""Learning rates of single samples that are written in pulses; chosen on the validation split, 3 chips, 3,000 samples.
Between 0.02 and 0.1 they make no difference to ECRAM; ReRAM, of which a pulse is 6 % of the range, needs large ones."""
PLAIN = 0.02
"""That of single samples that are written as they are."""
BITS = 6
GATE_OFFSET = 0.06
"""Of a comparator: 30 % of the half-width of its window."""
ERROR_OFFSET = 0.02
"""Of an error of 1, in `all and error offsets`."""
HIDDEN = {"digits": (64, 64)}


def limits(condition: str) -> frozenset[str]:
    """Return what limits a chip under a condition.

    >>> sorted(limits("only dead")), len(limits("all but dead"))
    (['dead'], 9)
    """
    if condition.startswith(ONLY):
        return frozenset({condition.removeprefix(ONLY)})
    if condition in (OFFSET, TUNED):
        return frozenset({*LIMITS, condition})
    return frozenset() if condition == "none" else frozenset(LIMITS) - {condition.removeprefix(BUT)}


def design(settings: Settings, on: frozenset[str] = frozenset()) -> cs.ChipDesign:
    """The chip with what of its limits is a property of a die."""
    kind = str(settings.options["device"])
    device: devices.Device = PULSED[kind] if "pulses" in on else cs.Ideal()
    effects = {
        "mismatch": cs.Mismatch(sigma=float(settings.options["sigma"])),
        "dead": cs.DeadNeurons(rate=0.05),
        "stuck": cs.StuckCells(rate=0.01),
    }
    bits: dict[str, Any] = dict.fromkeys(("counter_bits", "target_bits", "value_bits", "error_bits", "row_bits"), BITS)
    return cs.ChipDesign(
        circuit=cs.LIF(),
        device=dataclasses.replace(device, levels=128) if "weights" in on else device,
        effects=tuple(effect for name, effect in effects.items() if name in on),
        learning=cs.LearningCircuits(
            gate_offset=GATE_OFFSET if "mismatch" in on else 0.0,
            error_offset=ERROR_OFFSET if OFFSET in on else 0.0,
            **(bits if "signals" in on else {}),
        ),
        pair="reference" if "pulses" in on else "minimum",
        headroom=HEADROOM[kind] if "pulses" in on else 1.5,
    )  # fmt: skip


def taught(settings: Settings, *, progress: bool = False) -> Taught:
    """Return the data set of a run and its teacher, trained from the run's seed if it is not stored yet."""
    data = loaded(settings.dataset)
    teacher = train(mlp(data, HIDDEN.get(data.name, (256, 256))), data, seed=settings.seed, progress=progress)
    return Taught.of(settings, data, teacher)


def prepare(settings: Settings) -> None:
    """Train and store the teacher before the trials ask for it."""
    taught(settings, progress=True)


def learn(snn: cs.Deployment, targets: Any, settings: Settings, on: frozenset[str]) -> xr.Dataset:
    """Learn under some limits."""
    options = settings.options
    rule: cs.LocalTandem | cs.LocalTandemOffline = cs.LocalTandemOffline()
    if "form" in on or on == {"warm_up"}:
        last = "warm_up" in on and TUNED not in on
        rule = cs.LocalTandem(warm_up=snn.window - (1 if last else 4), gate=0.4 if TUNED in on else 0.2)
    single, pace = "batch" in on, PACE[str(options["device"])] if "pulses" in on else PLAIN
    return cs.learn(
        snn,
        targets,
        rule=rule,
        writer=cs.Accumulate() if "pulses" in on else cs.Direct(),
        optimiser=cs.SGD(lr=float(options["pace"]) * pace, relative=True, final=0.0)
        if single
        else cs.Adam(lr=float(options["lr"]), final=0.0),
        update="sample" if single else "batch",
        progress=False,
    )


def trial(trial: Trial) -> xr.Dataset:
    """Measure some chips under one condition, before and after learning."""
    settings, options, on = trial.settings, trial.settings.options, limits(str(trial.point["limits"]))
    found = taught(settings)
    data, teacher = found.data, found.teacher
    network = teacher.network(percentile=99.0)
    drawn, count = fitted(design(settings, on), network), int(options["dies"])
    dies = [cs.fabricate(drawn, seed=1000 * trial.chip + number) for number in range(count)]
    snn = cs.deploy(network, dies, engine=cs.Torch(), verify=True)
    judged = found.judged
    before = np.atleast_1d(snn.accuracy(judged))
    samples = data.train.take(int(options["samples"]))
    targets = teacher.targets(samples, percentile=99.0, per_batch="constants" not in on, seed=settings.seed)
    history = learn(snn, targets, settings, on)
    wear = np.array([[float(cells.wear.max()), float(cells.wear.mean())] for cells in snn.cells])
    return xr.Dataset(
        {
            "accuracy": (
                ("stage", "die"),
                [before, np.atleast_1d(snn.accuracy(judged))],
                named(f"share of {options['split']} samples classified right"),
            ),
            "teacher": ((), teacher.accuracy(judged), named(f"{options['split']} score of the teacher")),
            "writes": ("layer", history["writes"].values.sum(0) / count, named("cell writes and pulses per chip")),
            "wear_max": ("layer", wear[:, 0], named("most writes and pulses of a cell")),
            "wear_mean": ("layer", wear[:, 1], named("mean writes and pulses of a cell")),
            "samples": ((), len(samples), named("learning samples, each shown once")),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES), "die": np.arange(count), "layer": np.arange(len(wear))},
    )


def check(trial: Trial) -> None:
    """Refuse more samples than there are."""
    enough(int(trial.settings.options["samples"]), trial.settings.dataset)


STUDY = Study(
    name="ltl_on_real_silicon",
    question="Does Local Tandem Learning survive real silicon, and what stands in its way?",
    factors=(
        Factor(name="limits", values=CONDITIONS, choices=CONDITIONS, long_name="limits of the hardware that act"),
    ),
    options=(
        Factor(name="device", values=("ecram-mo",), choices=tuple(PULSED), long_name="cells that answer to pulses"),
        Factor(name="sigma", values=(0.3,), long_name="relative size of the mismatch", range=(0.0, 2.0)),
        Factor(name="samples", values=(6000,), long_name="learning samples, each shown once", range=(1, 10**7)),
        Factor(name="dies", values=(10,), long_name="chips of a trial, side by side", range=(2, 1000)),
        JUDGED,
        Factor(name="pace", values=(1.0,), long_name="factor on the learning rate of single samples", range=(0.0, 1e6)),
        *(option for option in LEARNING if option.name in ("lr", "split")),
    ),
    datasets=FASHION_FIRST,
    design=design,
    check=check,
    prepare=prepare,
    trial=trial,
    figure="limits",
    table=("accuracy",),
    smallest={
        "chips": 1,
        "dataset": "digits",
        "factors": {"limits": ("none", "only dead", "only pulses", "all", "all but dead", "all but pulses")},
        "options": {"samples": 40, "judged": 60, "dies": 3},
    },
)
