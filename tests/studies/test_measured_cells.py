"""Studies of cells that a user measured: a CSV file in place of a preset's name."""

from pathlib import Path

import pytest

from chipsim.errors import ParameterError
from chipsim.study import plan, run
from studies import accuracy_over_time, accuracy_vs_mismatch, drift_and_relearn
from studies.cli import made_by
from tests.test_fit import drift, pulses, states

HOUR = 3600.0


def test_measured_cells_drift_as_those_that_were_measured(tmp_path: Path) -> None:
    path = str(drift(tmp_path / "drift.csv", lowest=2.5e-7))
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
    path = str(states(tmp_path / "states.csv"))
    asked = {"chips": 1, "dataset": "digits", "factors": {"sigma": (0.3,)}, "options": {"samples": 256, "device": path}}
    found = run(accuracy_vs_mismatch.STUDY, out=tmp_path / "found.h5", progress=False, **asked)
    assert '"Relaxing"' in str(found.chip_design.values.item())
    before, after = found.accuracy.values.ravel()
    assert after > before
    assert f"device={path}#" in made_by(found, tmp_path / "found.h5")


def test_cells_that_a_study_says_nothing_about_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="answers to pulses: learn with a writer of pulses"):
        plan(accuracy_vs_mismatch.STUDY, options={"device": str(pulses(tmp_path / "pulses.csv"))})
    with pytest.raises(ParameterError, match="does not drift: measure its cells at several times"):
        plan(accuracy_over_time.STUDY, factors={"device": (str(states(tmp_path / "states.csv")),)})
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ParameterError, match="has the columns a, b; give"):
        plan(accuracy_vs_mismatch.STUDY, options={"device": str(tmp_path / "bad.csv")})
