"""Trained in the loop from random weights, what does a chip lose against software, beside BrainScaleS-2?

Cramer et al. (PNAS 2022) trained 246 hidden neurons on images of 16 x 16 pixels, with weights of 6 bits and a sign, on
BrainScaleS-2 and the same network in software. Here each method trains the same sizes in both places: in "software" on
the ideal chip, and on a "chip" whose cells have 64 levels for either sign and whose every threshold, time constant,
reset, neuron gain and cell gain is spread by `sigma`. Stored beside it: their accuracies.
"""

import dataclasses
import functools

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.methods import METHODS, Lesson
from studies.reference_teacher import ENGINES, engine, fitted, made_of, named
from teachers import Teacher, datasets, mlp, train
from teachers.datasets import Dataset

SIDE, HIDDEN, LEVELS = 16, 246, 64
PLACES = ("software", "chip")
PUBLISHED = {"mnist": (0.975, 0.972), "fashion-mnist": (0.855, 0.842)}
"""Accuracy in software and on BrainScaleS-2 by data set. Source: Cramer et al. 2022."""
RATES = {
    "ltl-online": 3e-3,
    "ltl-offline": 3e-3,
    "tandem": 3e-3,
    "spike-count": 3e-3,
    "spike-backprop": 1e-3,
    "proxy": 3e-3,
    "surrogate": 3e-3,
}
"""Learning rates of Adam from random weights [in weights], falling to 0: of 1e-3, 3e-3 and 1e-2, for Local Tandem
Learning also 3e-2, for spike-based back-propagation also 3e-4, the best on the validation split of MNIST after 5 epochs
in software, on a chip of `--seed 1`.
"""


@functools.lru_cache(maxsize=2)
def _data(name: str) -> Dataset:
    return datasets.resized(datasets.load(name), SIDE)


def _teacher(settings: Settings, *, progress: bool = False) -> Teacher:
    data = _data(settings.dataset)
    return train(mlp(data, hidden=(HIDDEN,)), data, seed=settings.seed, progress=progress)


def design(settings: Settings) -> cs.ChipDesign:
    """The chip with weights of 6 bits and a sign, and room for weights that grow from their random start."""
    return cs.ChipDesign(
        circuit=cs.LIF(),
        device=cs.Ideal(levels=LEVELS),
        effects=(cs.Mismatch(sigma=float(settings.options["sigma"])),),
        headroom=float(settings.options["headroom"]),
    )


def prepare(settings: Settings) -> None:
    """Train and store the teacher before the trials ask for it."""
    _teacher(settings, progress=True)


def trial(trial: Trial) -> xr.Dataset:
    """Train one network from random weights with one method, in one place."""
    settings, options = trial.settings, trial.settings.options
    data, teacher, approach = _data(settings.dataset), _teacher(settings), str(trial.point["approach"])
    network = teacher.network().redrawn(seed=trial.chip)
    drawn = dataclasses.replace(fitted(design(settings), network), circuit=METHODS[approach].circuit)
    if trial.point["place"] == "software":
        drawn = dataclasses.replace(drawn, device=cs.Ideal(), effects=())
    chip = cs.fabricate(drawn, seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(settings))
    samples = data.train.take(min(int(options["samples"]), len(data.train)))
    lesson = Lesson(
        snn=snn,
        teacher=teacher,
        samples=samples,
        epochs=int(options["epochs"]),
        percentile=float(options["percentile"]),
        seed=trial.chip,
        lr=RATES[approach] * float(options["pace"]),
    )
    METHODS[approach].train(lesson)
    split = str(options["split"])
    judged = data.test if split == "test" else data.validation
    published = PUBLISHED.get(settings.dataset, (np.nan, np.nan))[PLACES.index(str(trial.point["place"]))]
    return xr.Dataset(
        {
            "accuracy": ((), snn.accuracy(judged), named(f"share of {split} samples classified right")),
            "published": ((), published, named("the same on BrainScaleS-2, or in its authors' software")),
            "teacher": ((), teacher.accuracy(judged), named(f"{split} score of the teacher")),
            "samples": ((), len(samples) * lesson.epochs, named("learning samples presented, repeats included")),
            **made_of(snn),
        }
    )


STUDY = Study(
    name="against_brainscales2",
    question="Trained in the loop, what does a chip lose against software?",
    factors=(
        Factor(name="approach", values=tuple(RATES), long_name="method that trains from random weights"),
        Factor(name="place", values=PLACES, long_name="where the network runs"),
    ),
    options=(
        Factor(name="sigma", values=(0.3,), long_name="relative size of the chip's mismatch", range=(0.0, 2.0)),
        Factor(name="epochs", values=(5,), long_name="passes over the learning samples", range=(1, 1000)),
        Factor(name="samples", values=(55_000,), long_name="learning samples per epoch", range=(1, 10_000_000)),
        Factor(
            name="headroom", values=(10.0,), long_name="largest weight over the largest initial one", range=(1, 1e3)
        ),
        Factor(name="percentile", values=(99.0,), long_name="percentile of the targets", range=(50.0, 100.0)),
        Factor(name="pace", values=(1.0,), long_name="factor on every method's learning rate", range=(0.0, 1e6)),
        Factor(name="split", values=("test",), choices=("validation", "test"), long_name="samples that are judged"),
        Factor(name="engine", values=("torch",), choices=tuple(ENGINES), long_name="engine that simulates the chip"),
    ),
    datasets=("mnist", "fashion-mnist", "digits"),
    design=design,
    prepare=prepare,
    trial=trial,
    figure="degradation",
    table=("accuracy",),
    smallest={"chips": 1, "dataset": "digits", "options": {"epochs": 2, "samples": 600}},
)
