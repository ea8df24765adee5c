"""How long does a programmed network keep its accuracy, and what does one gain a layer win back?

A teacher's network is programmed into cells that drift, and left for `age` seconds; then samples are presented as if at
that moment. remedy: nothing, or global drift compensation, one gain for each layer. For PCM and the data and network
by default, `aihwkit` holds what that simulator's PCMLikeNoiseModel makes of the same target conductances: mean over 10
draws of the accuracy of the same spiking network (tests/reference/record_aihwkit.py).
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.cells import AGEING, MEASURED, cell, check_age
from studies.reference_teacher import DATASETS, JUDGED, LEARNING, engine, fitted, named, prepare, taught

HOUR, DAY = 3600.0, 86_400.0
AGES = (25.0, HOUR, DAY, 30 * DAY)
REMEDIES = ("none", "gain")
PEER = Path(__file__).parent / "results" / "aihwkit_pcm.json"


def design(settings: Settings) -> cs.ChipDesign:
    """The chip without drift: LIF neurons and ideal cells."""
    return cs.ChipDesign(circuit=cs.LIF(), device=cs.Ideal())


def peer(settings: Settings, device: str, age: float, remedy: str, network: str) -> float:
    """What aihwkit's model reached on the network with this hash and the samples of this run; NaN where that was not
    recorded.
    """
    if not PEER.exists() or device != "pcm":
        return np.nan
    recorded = json.loads(PEER.read_text())
    judged = settings.options["split"], min(int(settings.options["judged"]), recorded["samples"])
    if recorded["network"] != network or judged != (recorded["split"], recorded["samples"]):
        return np.nan
    return float(recorded["accuracy"].get(remedy, {}).get(f"{age:g}", np.nan))


def trial(trial: Trial) -> xr.Dataset:
    """Programme one chip, wait, and measure."""
    found, options, point = taught(trial.settings), trial.settings.options, trial.point
    network = found.teacher.network(percentile=float(options["percentile"]))
    drawn = dataclasses.replace(fitted(design(trial.settings), network), device=cell(str(point["device"])))
    chip = cs.fabricate(drawn, seed=trial.chip)
    snn = cs.deploy(network, chip, engine=engine(trial.settings))
    age, remedy = float(point["age"]), str(point["remedy"])
    snn.wait(age)
    if remedy == "gain":
        snn.compensate()
    judged = found.judged
    with snn.held():
        accuracy = snn.accuracy(judged)
    report = snn.effect_report()
    return xr.Dataset(
        {
            "accuracy": ((), accuracy, named(f"share of {found.split} samples classified right")),
            "teacher": ((), found.teacher.accuracy(judged), named(f"{found.split} score of the teacher")),
            "aihwkit": (
                (),
                peer(trial.settings, str(point["device"]), age, remedy, network.hash),
                named("accuracy with the conductances of aihwkit's noise model"),
            ),
            "drift": (
                (),
                report["drift"]["mean change of cells since their write, share of range"],
                named("mean change of the cells, share of their range"),
            ),
            "gain": ("layer", np.array(snn.gains), named("gain of each array")),
            "chip_hash": ((), chip.hash, named("SHA-256 of the chip")),
            "effect_report": ((), report.to_json(), named("effects that acted, as JSON")),
        },
        coords={"layer": np.arange(len(snn.gains))},
    )


def check(trial: Trial) -> None:
    """Refuse what cannot be measured before anything runs."""
    check_age(str(trial.point["device"]), float(trial.point["age"]))


STUDY = Study(
    name="accuracy_over_time",
    question="How long does a programmed network keep its accuracy, and what does one gain a layer win back?",
    factors=(
        Factor(name="device", values=("pcm",), choices=tuple(AGEING), files=MEASURED, long_name="memory cell"),
        Factor(name="age", values=AGES, long_name="time since programming", unit="s", range=(0.0, 3e7)),
        Factor(name="remedy", values=REMEDIES, choices=REMEDIES, long_name="what is done before the samples come"),
    ),
    options=(
        JUDGED,
        *(option for option in LEARNING if option.name in ("split", "percentile", "network", "engine")),
    ),
    datasets=DATASETS,
    design=design,
    prepare=prepare,
    trial=trial,
    check=check,
    figure="over_time",
    table=("accuracy", "aihwkit"),
    smallest={
        "chips": 2,
        "dataset": "digits",
        "factors": {"age": (25.0, 30 * DAY)},
        "options": {"judged": 200},
    },
)
