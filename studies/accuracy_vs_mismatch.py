"""How much accuracy does mismatch cost, and how much does Local Tandem Learning on the chip win back?

A teacher MLP is deployed from its own weights on chips of which every threshold, time constant, reset, neuron gain and
cell gain is spread by `sigma`; accuracy is taken before and after learning online from `samples` samples.
"""

import dataclasses

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.cells import CELLS, MEASURED, cell, programmed
from studies.reference_teacher import (
    DATASETS,
    LEARNING,
    engine,
    fitted,
    made_of,
    named,
    optimiser,
    passes,
    prepare,
    taught,
)

STAGES = ("before", "after")


def design(settings: Settings) -> cs.ChipDesign:
    """The chip without mismatch: LIF neurons, and ideal cells where no others are asked for."""
    return cs.ChipDesign(circuit=cs.LIF(), device=cell(str(settings.options.get("device", "ideal"))))


def trial(trial: Trial) -> xr.Dataset:
    """Measure one chip at one sigma, before and after learning."""
    found, options = taught(trial.settings), trial.settings.options
    train, percentile = found.data.train, float(options["percentile"])
    samples, epochs = passes(int(options["samples"]), len(train))
    mismatch = cs.Mismatch(sigma=float(trial.point["sigma"]))
    network = found.teacher.network(percentile=percentile)
    drawn = dataclasses.replace(fitted(design(trial.settings), network), effects=(mismatch,))
    chip = cs.fabricate(drawn, seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(trial.settings))
    before = snn.accuracy(found.judged)
    cs.learn(
        snn,
        found.teacher.targets(train, percentile=percentile, samples=samples, seed=trial.chip),
        rule=cs.LocalTandem(),
        optimiser=optimiser(trial.settings),
        epochs=epochs,
        progress=False,
    )
    after = snn.accuracy(found.judged)
    return xr.Dataset(
        {
            "accuracy": ("stage", [before, after], named(f"share of {found.split} samples classified right")),
            "teacher": ((), found.teacher.accuracy(found.judged), named(f"{found.split} score of the teacher")),
            "samples": ((), samples * epochs, named("learning samples presented")),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES)},
    )


def check(trial: Trial) -> None:
    """Refuse cells that a write does not programme."""
    programmed(str(trial.settings.options["device"]))


STUDY = Study(
    name="accuracy_vs_mismatch",
    question="How much accuracy does mismatch cost, and how much does on-chip learning win back?",
    factors=(
        Factor(name="sigma", values=(0.0, 0.1, 0.3, 0.5), long_name="relative size of the mismatch", range=(0.0, 2.0)),
    ),
    options=(
        Factor(name="samples", values=(6400,), long_name="learning samples per chip", range=(1, 10_000_000)),
        Factor(name="device", values=("ideal",), choices=tuple(CELLS), files=MEASURED, long_name="memory cell"),
        *LEARNING,
    ),
    datasets=DATASETS,
    design=design,
    prepare=prepare,
    trial=trial,
    check=check,
    figure="degradation",
    table=("accuracy",),
    smallest={"chips": 2, "dataset": "digits", "factors": {"sigma": (0.0, 0.3)}, "options": {"samples": 256}},
)
