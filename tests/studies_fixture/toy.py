"""A study whose trials take TOY_SECONDS and leave a mark in TOY_MARKS each time one runs."""

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import threadpoolctl
import xarray as xr

from chipsim.progress import with_progress
from chipsim.quantity import Parameters, quantity
from chipsim.streams import stream
from chipsim.study import Factor, Settings, Study, Trial


@dataclass(frozen=True, kw_only=True)
class ToyDesign(Parameters):
    gain: float = quantity(1.0, "1", (0.0, 10.0))


def mark(words: str) -> None:
    """Leave a file that says that this ran."""
    if folder := os.environ.get("TOY_MARKS"):
        (Path(folder) / f"{words}.{uuid.uuid4().hex}").touch()


def design(settings: Settings) -> ToyDesign:
    return ToyDesign(gain=float(os.environ.get("TOY_GAIN", "1")))


def prepare(settings: Settings) -> None:
    mark("prepare")


def trial(trial: Trial) -> xr.Dataset:
    mark(f"start-{trial.chip}-{trial.point['sigma']}-{trial.point['rule']}")
    if os.environ.get("TOY_FAIL") == f"{trial.chip}-{trial.point['sigma']}":
        raise ValueError("the toy broke")
    for _ in with_progress(range(2), 2, "the toy's sleep", False):
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")) / 2)
    mark(f"end-{trial.chip}-{trial.point['sigma']}-{trial.point['rule']}")
    rng = stream(trial.settings.seed, "toy", trial.chip)
    matrix = rng.standard_normal((300, 300))
    damage = 0.7 * trial.point["sigma"] * rng.uniform(0.5, 1.0)
    after = 0.1 * damage if trial.point["rule"] == "online" else 0.2 * damage
    threads = max((library["num_threads"] for library in threadpoolctl.threadpool_info()), default=1)
    one = {"units": "1"}
    return xr.Dataset(
        {
            "accuracy": ("stage", [0.9 - damage, 0.9 - after], {**one, "long_name": "accuracy on the test split"}),
            "trace": ((), float(np.trace(matrix @ matrix)), {**one, "long_name": "trace of a matrix product"}),
            "threads": ((), threads, {**one, "long_name": "threads of the BLAS library"}),
            "chip_hash": ((), f"hash of chip {trial.chip}", {**one, "long_name": "hash of the chip"}),
        },
        coords={"stage": ["before", "after"]},
    )


STUDY = Study(
    name="toy",
    question="Does the machinery work?",
    factors=(
        Factor(name="sigma", values=(0.0, 0.5), range=(0, 1), long_name="mismatch"),
        Factor(name="rule", values=("online",), choices=("online", "offline"), long_name="learning rule"),
    ),
    options=(Factor(name="samples", values=(100,), range=(1, 10_000), long_name="learning samples"),),
    datasets=("digits", "mnist"),
    design=design,
    prepare=prepare,
    trial=trial,
    smallest={"chips": 1, "factors": {"sigma": (0.5,)}},
)
