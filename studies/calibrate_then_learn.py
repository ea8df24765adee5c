"""Calibrated before it learns: what do the bias codes of every neuron win back, what does learning, and what do both?

A teacher MLP is deployed on chips with mismatch of every threshold, time constant, reset, neuron gain and cell gain of
relative size `sigma`. Each chip is taken as it was fabricated, and with codes of `bits` bits on every neuron and
read-out, searched on what the die shows through its converter; accuracy is measured before and after Local Tandem
Learning online.
"""

import dataclasses

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.calibration import BIASES
from chipsim.factor import Factor
from chipsim.quantity import canonical_json
from chipsim.study import Settings, Study, Trial
from studies.reference_teacher import DATASETS, LEARNING, engine, fitted, named, optimiser, passes, prepare, taught

STAGES = ("uncalibrated", "calibrated", "learned", "calibrated, then learned")


def design(settings: Settings) -> cs.ChipDesign:
    """LIF neurons with mismatch, and ideal cells."""
    return cs.ChipDesign(effects=(cs.Mismatch(sigma=float(settings.options["sigma"])),))


def trial(trial: Trial) -> xr.Dataset:
    """Measure one chip as fabricated and calibrated with one number of bits, before and after learning."""
    settings, options = trial.settings, trial.settings.options
    found, percentile = taught(settings), float(options["percentile"])
    network, train = found.teacher.network(percentile=percentile), found.data.train
    samples, epochs = passes(int(options["samples"]), len(train))
    chip = cs.fabricate(fitted(design(settings), network), seed=trial.chip)
    bits, used = int(trial.point["bits"]), sum(network.sizes[1:-1])
    biases = tuple(dataclasses.replace(bias, bits=bits) for bias in BIASES)
    trimmed, report = cs.calibrate(chip, biases, neurons=used, engine=engine(settings))
    gains = tuple(bias for bias in biases if bias.role == "gain")
    trimmed, of_readouts = cs.calibrate(trimmed, gains, readouts=True, engine=engine(settings))
    spread, duration = report.spread, float(report.duration + of_readouts.duration)

    def accuracies(die: cs.Chip) -> tuple[float, float]:
        snn = cs.deploy(network, die, engine=engine(settings))
        before = snn.accuracy(found.judged)
        targets = found.teacher.targets(train, percentile=percentile, samples=samples, seed=trial.chip)
        cs.learn(snn, targets, rule=cs.LocalTandem(), optimiser=optimiser(settings), epochs=epochs, progress=False)
        return before, snn.accuracy(found.judged)

    (as_it_is, learned), (calibrated, both) = accuracies(chip), accuracies(trimmed)
    scores = [as_it_is, calibrated, learned, both]
    return xr.Dataset(
        {
            "accuracy": ("stage", scores, named(f"share of {found.split} samples classified right")),
            "spread_before": ("parameter", spread.sel(stage="median code").values, report.spread.attrs),
            "spread_after": ("parameter", spread.sel(stage="calibrated").values, report.spread.attrs),
            "failures": ("parameter", report.failures.values, report.failures.attrs),
            "duration": ((), duration, named("time of calibration on the chip", "s")),
            "teacher": ((), found.teacher.accuracy(found.judged), named(f"{found.split} score of the teacher")),
            "samples": ((), samples * epochs, named("learning samples presented")),
            "chip_design": ((), canonical_json(chip.design), named("design of the chip, as JSON")),
            "chip_hash": ((), trimmed.hash, named("SHA-256 of the calibrated chip")),
        },
        coords={"stage": np.array(STAGES), "parameter": report.parameter.values},
    )


STUDY = Study(
    name="calibrate_then_learn",
    question="What do calibrated biases win back from mismatch, what does on-chip learning, and what do both?",
    factors=(Factor(name="bits", values=(2, 4, 6, 10), long_name="bits of each bias code", range=(2, 16)),),
    options=(
        Factor(name="sigma", values=(0.3,), long_name="relative size of the mismatch", range=(0.0, 2.0)),
        Factor(name="samples", values=(6400,), long_name="learning samples per chip", range=(1, 10_000_000)),
        *LEARNING,
    ),
    datasets=DATASETS,
    design=design,
    prepare=prepare,
    trial=trial,
    figure="degradation",
    table=("accuracy",),
    smallest={"chips": 1, "dataset": "digits", "factors": {"bits": (2, 6)}, "options": {"samples": 256}},
)
