"""How fast does Local Tandem Learning train an ideal chip from random weights?

Each chip is ideal and starts from its own random weights (PyTorch's default initialisation); the factor `form` is the
rule: online without trace, offline exact, offline with an input trace. Accuracy on the test split after every epoch,
with what the epoch took: seconds of learning, and the largest memory so far.
"""

import time

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.rules import Rule
from chipsim.study import Settings, Study, Trial
from studies.reference_teacher import DATASETS, LEARNING, engine, fitted, named, optimiser, peak_memory, prepare, taught

RULES: dict[str, Rule] = {
    "online": cs.LocalTandem(),
    "offline": cs.LocalTandemOffline(),
    "trace": cs.LocalTandemTrace(),
}
HEADROOM = 20.0
"""w_max over the initial weights: learned weights grow to about 14 times the bound of the initial ones."""


def design(settings: Settings) -> cs.ChipDesign:
    """The ideal chip, with room for weights that grow from their random start."""
    return cs.ChipDesign(circuit=cs.LIF(), device=cs.Ideal(), headroom=HEADROOM)


def trial(trial: Trial) -> xr.Dataset:
    """Train one ideal chip from random weights with one form of the rule."""
    found, options = taught(trial.settings), trial.settings.options
    train = found.data.train
    samples = min(int(options["samples"]), len(train))
    network = found.teacher.network().redrawn(seed=trial.chip)
    chip = cs.fabricate(fitted(design(trial.settings), network), seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(trial.settings))
    accuracy: list[float] = []
    seconds: list[float] = []
    memory: list[float] = []
    begun = time.perf_counter()

    def judge(_epoch: int) -> None:
        nonlocal begun
        seconds.append(time.perf_counter() - begun)
        memory.append(peak_memory())
        accuracy.append(snn.accuracy(found.judged))
        begun = time.perf_counter()

    cs.learn(
        snn,
        found.teacher.targets(
            train,
            percentile=float(options["percentile"]),
            samples=samples,
            seed=trial.chip,
        ),
        rule=RULES[str(trial.point["form"])],
        optimiser=optimiser(trial.settings),
        epochs=int(options["epochs"]),
        progress=False,
        on_epoch=judge,
    )
    return xr.Dataset(
        {
            "accuracy": ("epoch", accuracy, named(f"share of {found.split} samples classified right")),
            "teacher": ((), found.teacher.accuracy(found.judged), named(f"{found.split} score of the teacher")),
            "samples": ((), samples, named("learning samples per epoch")),
            "wall_time": ("epoch", seconds, named("time that the epoch's learning took", "s")),
            "peak_memory": ("epoch", memory, named("largest memory of the process so far", "bytes")),
        },
        coords={"epoch": np.arange(1, len(accuracy) + 1)},
    )


STUDY = Study(
    name="ltl_from_scratch",
    question="How fast does Local Tandem Learning train an ideal chip from random weights?",
    factors=(
        Factor(
            name="form",
            values=("online", "offline"),
            choices=("online", "offline", "trace"),
            long_name="form of the rule",
        ),
    ),
    options=(
        Factor(name="epochs", values=(5,), long_name="passes over the learning samples", range=(1, 1000)),
        Factor(name="samples", values=(55_000,), long_name="learning samples per epoch", range=(1, 10_000_000)),
        *LEARNING,
    ),
    datasets=DATASETS,
    design=design,
    prepare=prepare,
    trial=trial,
    figure="learning_curve",
    table=("accuracy", "teacher"),
    smallest={"chips": 1, "dataset": "digits", "options": {"epochs": 4, "samples": 1200}},
)
