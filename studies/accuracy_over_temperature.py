"""Learned at 25 C, deployed warmer: what does a chip lose, and what does learning again there win back?

A teacher MLP is deployed on chips with mismatch and current-mode neurons, and learns at 25 C with Local Tandem
Learning. Then the chip is brought to `celsius`: time constants grow with the absolute temperature, and the leakage that
no current falls below doubles every 8 K; bias currents are held by a compensated generator, and cells keep their
conductances. At that temperature it is measured, learns again from `relearned` samples, and is measured once more.
"""

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.reference_teacher import (
    DATASETS,
    JUDGED,
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

ZERO = 273.15
LEARNED_AT = 25.0
STAGES = ("mapped at 25 C", "learned at 25 C", "warmed", "learned again")
WARMEST = 85.0


def design(settings: Settings) -> cs.ChipDesign:
    """The chip at 25 C: current-mode neurons that may fire in every step, and ideal cells."""
    circuit = cs.CurrentLIF(temperature=ZERO + LEARNED_AT, t_refractory=0.0)
    effects = (cs.Mismatch(sigma=float(settings.options["sigma"])),)
    return cs.ChipDesign(circuit=circuit, device=cs.Ideal(), effects=effects)


def trial(trial: Trial) -> xr.Dataset:
    """Measure one chip at one temperature, after each of four stages."""
    settings, options = trial.settings, trial.settings.options
    found, percentile = taught(settings), float(options["percentile"])
    network = found.teacher.network(percentile=percentile)
    chip = cs.fabricate(fitted(design(settings), network), seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(settings))
    judged = found.judged

    def learn(wanted: int, seed: int) -> int:
        samples, epochs = passes(wanted, len(found.data.train))
        targets = found.teacher.targets(found.data.train, percentile=percentile, samples=samples, seed=seed)
        cs.learn(snn, targets, rule=cs.LocalTandem(), optimiser=optimiser(settings), epochs=epochs, progress=False)
        return samples * epochs

    scores = [snn.accuracy(judged)]
    first = learn(int(options["samples"]), trial.chip)
    scores.append(snn.accuracy(judged))
    snn.set_temperature(ZERO + float(trial.point["celsius"]))
    scores.append(snn.accuracy(judged))
    again = learn(int(options["relearned"]), trial.chip + 1)
    scores.append(snn.accuracy(judged))
    circuit = snn.stages[0].circuit
    return xr.Dataset(
        {
            "accuracy": ("stage", scores, named(f"share of {found.split} samples classified right")),
            "teacher": ((), found.teacher.accuracy(judged), named(f"{found.split} score of the teacher")),
            "samples": ((), first, named("learning samples presented at 25 C")),
            "samples_again": ((), again, named("learning samples presented at the other temperature")),
            "time_constant": ((), float(getattr(circuit, "tau", np.nan)), named("time constant of the neurons", "s")),
            "leakage": ((), float(getattr(circuit, "leakage", np.nan)), named("leakage of the neurons", "A")),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES)},
    )


STUDY = Study(
    name="accuracy_over_temperature",
    question="Learned at 25 C, deployed warmer: what does a chip lose, and what does learning again win back?",
    factors=(
        Factor(
            name="celsius",
            values=(LEARNED_AT, 60.0, WARMEST),
            long_name="temperature of deployment, degrees Celsius",
            range=(0.0, 125.0),
        ),
    ),
    options=(
        Factor(name="sigma", values=(0.2,), long_name="relative size of the mismatch", range=(0.0, 2.0)),
        Factor(name="samples", values=(6400,), long_name="learning samples at 25 C", range=(1, 10_000_000)),
        Factor(name="relearned", values=(1600,), long_name="learning samples afterwards", range=(1, 10_000_000)),
        JUDGED,
        *LEARNING,
    ),
    datasets=DATASETS,
    design=design,
    prepare=prepare,
    trial=trial,
    figure="degradation",
    table=("accuracy",),
    smallest={
        "chips": 2,
        "dataset": "digits",
        "factors": {"celsius": (25.0, 85.0)},
        "options": {"samples": 256, "relearned": 64, "judged": 200},
    },
)
