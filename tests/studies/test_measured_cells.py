"""Studies of cells that a user measured: a CSV file in place of a preset's name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chipsim.devices import PCM_NANDAKUMAR_2019, RRAM_WAN_2022
from chipsim.errors import ParameterError
from chipsim.streams import stream
from chipsim.study import plan, run
from studies import accuracy_over_time, accuracy_vs_mismatch, drift_and_relearn
from studies.cli import made_by

HOUR = 3600.0


def drift(folder: Path) -> str:
    targets, rng = np.repeat(np.linspace(2.5e-7, 25e-6, 6), 100), stream(0, "drift")
    g, drawn = PCM_NANDAKUMAR_2019.programme(targets, rng), rng.standard_normal(len(targets))
    parts = [
        pd.DataFrame({"cell": np.arange(len(targets)), "target": targets, "time": 20.0 + age, "conductance": aged})
        for age in (0.0, 100.0, 1e4, 1e5)
        for aged in [PCM_NANDAKUMAR_2019.aged(g, targets, drawn, np.full_like(g, age))]
    ]
    pd.concat(parts).to_csv(folder / "drift.csv", index=False)
    return str(folder / "drift.csv")


def states(folder: Path) -> str:
    targets = np.repeat(np.linspace(2e-6, 40e-6, 6), 60)
    g = RRAM_WAN_2022.programme(targets, stream(0, "states"))
    pd.DataFrame({"target": targets, "conductance": g}).to_csv(folder / "states.csv", index=False)
    return str(folder / "states.csv")


def pulses(folder: Path) -> str:
    given = np.array([0] + [1] * 30 + [-1] * 30)
    rows = [
        pd.DataFrame({"cell": np.arange(20), "pulse": pulse, "conductance": 2e-6 + 2e-7 * level})
        for pulse, level in zip(given, np.cumsum(given), strict=True)
    ]
    pd.concat(rows).to_csv(folder / "pulses.csv", index=False)
    return str(folder / "pulses.csv")


def test_measured_cells_drift_as_those_that_were_measured(tmp_path: Path) -> None:
    path = drift(tmp_path)
    asked = {
        "chips": 2, "dataset": "digits", "options": {"judged": 100},
        "factors": {"device": ("pcm", path), "age": (25.0, HOUR), "remedy": ("none",)},
    }  # fmt: skip
    found = run(accuracy_over_time.STUDY, out=tmp_path / "time.h5", progress=False, **asked)
    preset, measured = found.device.values
    assert preset == "pcm"
    assert measured.startswith(f"{path}#")
    moved = found.drift.isel(remedy=0).mean("chip").sel(age=HOUR)
    assert float(moved.sel(device=measured)) == pytest.approx(float(moved.sel(device="pcm")), rel=0.3)
    assert float(moved.sel(device="pcm")) < -0.01
    plan(drift_and_relearn.STUDY, factors={"device": (path,)}, options={"age": 1e4})
    with pytest.raises(ParameterError, match="older than"):
        plan(drift_and_relearn.STUDY, factors={"device": (path,)})


def test_learning_on_measured_cells(tmp_path: Path) -> None:
    path = states(tmp_path)
    asked = {"chips": 1, "dataset": "digits", "factors": {"sigma": (0.3,)}, "options": {"samples": 256, "device": path}}
    found = run(accuracy_vs_mismatch.STUDY, out=tmp_path / "found.h5", progress=False, **asked)
    assert '"Relaxing"' in str(found.chip_design.values.item())
    before, after = found.accuracy.values.ravel()
    assert after > before
    assert f"device={path}#" in made_by(found, tmp_path / "found.h5")


def test_cells_that_a_study_says_nothing_about_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="answers to pulses: learn with a writer of pulses"):
        plan(accuracy_vs_mismatch.STUDY, options={"device": pulses(tmp_path)})
    with pytest.raises(ParameterError, match="does not drift: measure its cells at several times"):
        plan(accuracy_over_time.STUDY, factors={"device": (states(tmp_path),)})
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ParameterError, match="has the columns a, b; give"):
        plan(accuracy_vs_mismatch.STUDY, options={"device": str(tmp_path / "bad.csv")})
