"""A month without power: what brings a network back to what it was on its first day?

A teacher's network is programmed into cells that drift, measured `first` seconds later ("day 0"), left without power
for `age` seconds, measured again ("aged"), treated, and measured `settle` seconds after that ("remedied"):

    none                     nothing
    gain                     global drift compensation: one gain a layer, no sample
    reprogram                every cell is written anew to the target that its controller remembers, no sample
    recalibrate              gain and offset of every column, on `samples` inputs
    relearn                  Local Tandem Learning online, Adam over 64 samples, on `samples` samples
    gain then ...           the gain stays, also for cells that are written later, and those have not drifted

A chip that learns or recalibrates writes each cell whose target moved by at least a level, from its controller's
digital copy of the weights: a continuous cell is then fresh again, whatever the size of the change. `reprogram` tells
how much of a gain is that alone. Cells that were written drift anew from then on. Slow read noise stands still while
samples are presented, so with `settle` = 0 a remedy is measured in the noise that it met; after any wait it is another.
"""

import dataclasses

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.arrays import namespace, to_numpy
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.accuracy_over_time import DAY, design
from studies.cells import AGEING, MEASURED, cell, check_age
from studies.methods import recalibrate
from studies.reference_teacher import (
    FASHION_FIRST,
    JUDGED,
    LEARNING,
    Taught,
    engine,
    fitted,
    made_of,
    named,
    passes,
    prepare,
    taught,
)

STAGES = ("day 0", "aged", "remedied")
THEN = "gain then "
REMEDIES = (
    "none", "gain", "reprogram", "recalibrate", "relearn", THEN + "recalibrate", THEN + "relearn",
)  # fmt: skip

_measured: dict[tuple[object, ...], tuple[float, float]] = {}
"""Accuracies on day 0 and after the wait that this process knows: remedies share them."""


def remedied(snn: cs.Deployment, remedy: str, found: Taught, settings: Settings, seed: int) -> int:
    """Do what a remedy says; return the samples that it took, repeats included."""
    options = settings.options
    samples, epochs = passes(int(options["samples"]), len(found.data.train))
    if remedy.startswith("gain"):
        snn.compensate()
    step = remedy.removeprefix(THEN)
    if step == "reprogram":
        for layer, (array, cells) in enumerate(zip(snn.arrays, snn.cells, strict=True)):
            every = namespace(cells.target).full_like(cells.target, True, dtype=bool)
            rewritten = array.rewritten(cells, cells.wanted, cells.target, every, snn.write_stream(), snn.time)
            snn.write(layer, rewritten)
        return 0
    if step == "recalibrate":
        return recalibrate(snn, found.data.train.take(samples), epochs)
    if step == "relearn":
        targets = found.teacher.targets(
            found.data.train, percentile=float(options["percentile"]), samples=samples, seed=seed
        )
        optimiser = cs.Adam(lr=float(options["lr"]), final=0.0)
        cs.learn(snn, targets, rule=cs.LocalTandem(), optimiser=optimiser, epochs=epochs, progress=False)
        return samples * epochs
    return 0


def trial(trial: Trial) -> xr.Dataset:
    """Measure one chip on day 0, after the wait and after one remedy."""
    settings, options = trial.settings, trial.settings.options
    device, remedy = str(trial.point["device"]), str(trial.point["remedy"])
    found = taught(settings)
    network = found.teacher.network(percentile=float(options["percentile"]))
    drawn = dataclasses.replace(fitted(design(settings), network), device=cell(device))
    chip = cs.fabricate(drawn, seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(settings))
    judged = found.judged

    def accuracy() -> float:
        with snn.held():
            return float(snn.accuracy(judged))

    first, age = float(options["first"]), float(options["age"])
    key = chip.hash, network.hash, found.split, len(judged), first, age, options["engine"]
    snn.wait(first)
    fresh = None if key in _measured else accuracy()
    snn.wait(age)
    if fresh is not None:
        _measured[key] = fresh, accuracy()
    day_0, aged = _measured[key]
    before = [to_numpy(cells.wear) for cells in snn.cells]
    taken = remedied(snn, remedy, found, settings, trial.chip)
    wear = [to_numpy(cells.wear) - had for cells, had in zip(snn.cells, before, strict=True)]
    if settle := float(options["settle"]):
        snn.wait(settle)
    after = aged if remedy == "none" and not settle else accuracy()
    return xr.Dataset(
        {
            "accuracy": ("stage", [day_0, aged, after], named(f"share of {found.split} samples classified right")),
            "loss": ((), day_0 - after, named("accuracy of day 0 less that after the remedy")),
            "teacher": ((), found.teacher.accuracy(judged), named(f"{found.split} score of the teacher")),
            "samples_taken": ((), taken, named("samples that the remedy took, repeats included")),
            "writes": ("layer", [float(given.sum()) for given in wear], named("cell writes of the remedy")),
            "written": (
                (),
                sum(int((given > 0).sum()) for given in wear) / sum(given.size for given in wear),
                named("share of the cells that the remedy wrote"),
            ),
            "gain": ("layer", np.array(snn.gains), named("gain of each array")),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES), "layer": np.arange(len(wear))},
    )


def check(trial: Trial) -> None:
    """Refuse a wait that the device's drift was not measured for."""
    waits = (float(trial.settings.options[name]) for name in ("first", "age", "settle"))
    check_age(str(trial.point["device"]), sum(waits))


STUDY = Study(
    name="drift_and_relearn",
    question="A month without power: what brings a network back to what it was on its first day?",
    factors=(
        Factor(
            name="device", values=("pcm", "rram-cmo"), choices=tuple(AGEING), files=MEASURED, long_name="memory cell"
        ),
        Factor(name="remedy", values=REMEDIES, choices=REMEDIES, long_name="what is done after the wait"),
    ),
    options=(
        Factor(name="samples", values=(2000,), long_name="samples that a remedy may take", range=(2, 10**7)),
        Factor(name="lr", values=(1e-4,), long_name="learning rate of Adam, falling linearly to 0", range=(0.0, 1.0)),
        Factor(name="first", values=(25.0,), long_name="time from programming to day 0", unit="s", range=(0.0, DAY)),
        Factor(name="age", values=(30 * DAY,), long_name="time without power", unit="s", range=(0.0, 3e7)),
        Factor(name="settle", values=(0.0,), long_name="time from remedy to measurement", unit="s", range=(0.0, DAY)),
        JUDGED,
        *(option for option in LEARNING if option.name in ("split", "percentile", "network", "engine")),
    ),
    datasets=FASHION_FIRST,
    design=design,
    prepare=prepare,
    trial=trial,
    check=check,
    figure="remedies",
    table=("loss", "accuracy"),
    smallest={
        "chips": 2,
        "dataset": "digits",
        "factors": {"remedy": ("none", "gain", "reprogram", "recalibrate", "relearn", "gain then relearn")},
        "options": {"samples": 128, "judged": 150},
    },
)
