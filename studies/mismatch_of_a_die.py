"""Does a die with silicon-like mismatch vary as the measured DYNAP-SE arrays do?

Cores of 16 x 16 DPI neurons with `DYNAP_SE2_DIE` are fabricated at each setting of their weights, given as the peak of
the membrane that it makes: slow weights, fast ones (the same with outliers), membrane time constants. No network runs.
"""

import dataclasses

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import chipsim as cs
from chipsim.effects import DYNAP_SE2_FAST, SiliconMismatch
from chipsim.effects.silicon_mismatch import PEAK_AT_I_SPEC
from chipsim.factor import Factor
from chipsim.study import Settings, Study, Trial
from studies.reference_teacher import named

Array = NDArray[np.float64]


def _core(effect: SiliconMismatch) -> cs.ChipDesign:
    neurons = effect.core_rows * effect.core_columns
    return cs.ChipDesign(circuit=cs.DPI(), effects=(effect,), neurons=neurons)


def design(settings: Settings) -> cs.ChipDesign:
    """One core, at the preset's own setting."""
    return _core(cs.DYNAP_SE2_DIE)


def _at(effect: SiliconMismatch, peak: float) -> SiliconMismatch:
    return dataclasses.replace(effect, i_weight=peak / PEAK_AT_I_SPEC * effect.i_spec)


def _relative(values: Array) -> Array:
    found: Array = values / np.median(values)
    return found


def _correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def trial(trial: Trial) -> xr.Dataset:
    """Measure one die at one setting."""
    slow, fast = (_at(effect, float(trial.point["peak"])) for effect in (cs.DYNAP_SE2_DIE, DYNAP_SE2_FAST))
    chip = cs.fabricate(_core(slow), seed=trial.chip)
    gain, tau = chip.neurons["gain"], chip.neurons["capacitance"] / chip.neurons["i_tau"]
    grid = (gain / gain.mean()).reshape(slow.core_rows, slow.core_columns)
    fast_gain = cs.fabricate(_core(fast), seed=trial.chip).neurons["gain"]
    local = slow.coefficient_of_variation(area=slow.area_weight, current=slow.i_weight)
    return xr.Dataset(
        {
            "cv": ((), float(grid.std()), named("coefficient of variation of slow weights")),
            "local_cv": ((), local, named("coefficient of variation of slow weights by local mismatch alone")),
            "with_threshold": (
                (),
                _correlation(gain, chip.neurons["i_threshold"]),
                named("correlation of weights and thresholds"),
            ),
            "with_tau": ((), _correlation(gain, tau), named("correlation of weights and time constants")),
            "along_rows": ((), _correlation(grid[:, 1:], grid[:, :-1]), named("correlation of neighbours in a row")),
            "along_columns": ((), _correlation(grid[1:], grid[:-1]), named("correlation of neighbours in a column")),
            "slow": (("row", "column"), grid.astype(np.float32), named("slow weights over their mean")),
            "fast": ("neuron", _relative(fast_gain).astype(np.float32), named("fast weights over their median")),
            "tau": ("neuron", _relative(tau).astype(np.float32), named("time constants over their median")),
        }
    )


STUDY = Study(
    name="mismatch_of_a_die",
    question="Does a die with silicon-like mismatch vary as measured DYNAP-SE arrays do?",
    factors=(
        Factor(
            name="peak",
            values=(3e-3, 8e-3, 21e-3, 45e-3, 79e-3, 186e-3),
            unit="V",
            long_name="setting of the weights, as the peak of the membrane",
            range=(1e-6, 1.0),
        ),
    ),
    datasets=("dynap-se",),
    design=design,
    trial=trial,
    figure="die",
    table=("cv",),
    smallest={"chips": 2, "factors": {"peak": (3e-3, 79e-3)}},
)
