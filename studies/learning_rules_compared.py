"""How much does each way of learning win back from mismatch?

The teacher's network is put on the same dies once for each method, which learns there from the same `samples`: local
rules on the chip, the papers' host methods with the chip in the loop, and the baselines that local learning has to
beat. Spike-count learning needs neurons without leak and has the same dies with those. See `studies.methods`.
"""

import dataclasses

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.study import Study, Trial
from studies.accuracy_vs_mismatch import STAGES, design
from studies.methods import METHODS, Lesson, unit_outputs
from studies.reference_teacher import (
    FASHION_FIRST,
    JUDGED,
    LEARNING,
    engine,
    fitted,
    made_of,
    named,
    passes,
    prepare,
    taught,
)

_before: dict[tuple[str, str, str, int, object], float] = {}
"""Accuracies before learning that this process knows: methods share them."""
OPTIONS = (
    Factor(name="samples", values=(6400,), long_name="learning samples per chip", range=(1, 10_000_000)),
    JUDGED,
    *(option for option in LEARNING if option.name not in ("lr", "lr_unit")),
)
"""The options of a study that learns at the rates of `studies.methods`."""


def _rate(trial: Trial) -> tuple[float, bool]:
    """Return the learning rate of a trial, and whether it is relative to weights; see `Lesson`."""
    kernels = trial.settings.options["network"] != "mlp"
    return METHODS[str(trial.point["approach"])].rate(kernels=kernels) * float(trial.point["pace"]), kernels


def check(trial: Trial) -> None:
    """Refuse an approach without a learning rate for the network."""
    _rate(trial)


def trial(trial: Trial) -> xr.Dataset:
    """Measure one chip with one method at one sigma, before and after learning."""
    options, method = trial.settings.options, METHODS[str(trial.point["approach"])]
    sigma, percentile = float(trial.point["sigma"]), float(options["percentile"])
    found = taught(trial.settings, noise=method.noise * sigma)
    samples, epochs = passes(int(options["samples"]), len(found.data.train))
    network = found.teacher.network(percentile=percentile)
    if method.unit_outputs:
        network = unit_outputs(network, found.teacher)
    drawn = dataclasses.replace(fitted(design(trial.settings), network), circuit=method.circuit)
    chip = cs.fabricate(dataclasses.replace(drawn, effects=(cs.Mismatch(sigma=sigma),)), seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(trial.settings))
    judged = found.judged
    key = chip.hash, network.hash, found.split, len(judged), options["engine"]
    if key not in _before:
        _before[key] = snn.accuracy(judged)
    before = _before[key]
    rate, relative = _rate(trial)
    lesson = Lesson(
        snn=snn,
        teacher=found.teacher,
        samples=found.data.train.take(samples),
        epochs=epochs,
        percentile=percentile,
        seed=trial.chip,
        lr=rate,
        relative=relative,
    )
    method.train(lesson)
    after = snn.accuracy(judged) if method.learns else before
    return xr.Dataset(
        {
            "accuracy": ("stage", [before, after], named(f"share of {found.split} samples classified right")),
            "teacher": ((), found.teacher.accuracy(judged), named(f"{found.split} score of the teacher")),
            "samples": (
                (),
                samples * epochs * method.learns,
                named("learning samples taken, repeats included"),
            ),
            "lr": (
                (),
                rate,
                named(
                    "learning rate of Adam at its start, in weights, or in root mean squares of them with convolutions"
                ),
            ),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES)},
    )


STUDY = Study(
    name="learning_rules_compared",
    question="How much does each way of learning win back from mismatch?",
    factors=(
        Factor(name="approach", values=tuple(METHODS), long_name="what is done to win the chip back"),
        Factor(
            name="sigma", values=(0.0, 0.1, 0.2, 0.3, 0.5), long_name="relative size of the mismatch", range=(0.0, 2.0)
        ),
        Factor(name="pace", values=(1.0,), long_name="factor on every method's learning rate", range=(0, 1e6)),
    ),
    options=OPTIONS,
    datasets=FASHION_FIRST,
    design=design,
    check=check,
    prepare=prepare,
    trial=trial,
    figure="comparison",
    table=("accuracy",),
    smallest={
        "chips": 2,
        "dataset": "digits",
        "factors": {"sigma": (0.0, 0.3)},
        "options": {"samples": 128, "judged": 100},
    },
)
