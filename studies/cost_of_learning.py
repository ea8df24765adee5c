"""What does a point of accuracy that learning wins back cost in energy, pulses and endurance?

The chips, rules and writers of `studies.data_needed_to_recover` at one number of samples, with two more writers: a
controller that verifies its writes, and the host-side reference. The figure gives costs of a recovered point: those of
the mean chip over the mean of the points recovered, where that is told from 0.
"""

import dataclasses

import xarray as xr

from chipsim.factor import Factor
from chipsim.study import Study, Trial
from studies.data_needed_to_recover import OPTIONS, RULE, WRITER, WRITERS, design, measured
from studies.ltl_on_real_silicon import check, prepare
from studies.reference_teacher import FASHION_FIRST, named


def trial(trial: Trial) -> xr.Dataset:
    """Measure some chips with one rule and writer."""
    point, samples = trial.point, int(trial.settings.options["samples"])
    found = measured(trial, str(point["rule"]), str(point["writer"]), samples)
    points = 100 * (found["accuracy"].sel(stage="after", drop=True) - found["accuracy"].sel(stage="before", drop=True))
    return found.assign({"recovered": ("die", points.values, named("points won back by learning"))})


STUDY = Study(
    name="cost_of_learning",
    question="What does a point of accuracy that learning wins back cost in energy, pulses and endurance?",
    factors=(RULE, dataclasses.replace(WRITER, values=tuple(WRITERS))),
    options=(
        Factor(name="samples", values=(2000,), long_name="learning samples, each shown once", range=(1, 10**7)),
        *OPTIONS,
    ),
    datasets=FASHION_FIRST,
    design=design,
    check=check,
    prepare=prepare,
    trial=trial,
    figure="cost_of_learning",
    table=("recovered",),
    smallest={
        "chips": 1,
        "dataset": "digits",
        "factors": {"rule": ("read-out", "delta"), "writer": ("adam", "stochastic", "write-verify")},
        "options": {"samples": 130, "judged": 100, "dies": 2},
    },
)
