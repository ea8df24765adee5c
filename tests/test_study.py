"""Studies: planning, running in workers, resuming after every kind of end."""

import concurrent.futures
import dataclasses
import errno
import hashlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import threadpoolctl
import xarray as xr

import studies
from chipsim import results, workers
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.study import Factor, Settings, Study, Trial, chip_seeds, plan, run

FIXTURE = Path(__file__).parent / "studies_fixture"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The toy study, in this process and in the workers it starts."""
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("TOY_MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("CHIPSIM_STUDIES", str(FIXTURE))
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(FIXTURE)])
    study: Study = importlib.import_module("studies.toy").STUDY
    return study


@pytest.fixture
def threads() -> Iterator[concurrent.futures.Executor]:
    """A user's executor, and a quick one."""
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield executor


def marks(folder: Path, kind: str) -> list[str]:
    """Which trials ran, once for each time."""
    return sorted(mark.name.rsplit(".", 1)[0].removeprefix(f"{kind}-") for mark in folder.glob(f"{kind}*"))


# ----------------------------------------------------------------------------------------------- planning


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([-1], r"sigma = -1 is outside its valid range 0 to 1 V$"),
        ([1.5], "sigma = 1.5 is outside"),
        ([float("nan")], "sigma = nan is outside"),
        (["high"], "sigma = 'high' is not a number; give numbers V"),
        ([0.1, "0.10"], "sigma = 0.1 is given twice"),
        ([], "at least one value"),
        ("0.1", "at least one value"),
    ],
)
def test_a_factor_refuses(values: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Factor(name="sigma", values=(0.5,), unit="V", range=(0, 1)).convert(values)


def test_a_factor_keeps_the_type_of_its_defaults() -> None:
    assert Factor(name="steps", values=(8, 16)).convert(["4", 2.0]) == (4, 2)
    assert [type(value) for value in Factor(name="sigma", values=(0, 0.5)).values] == [float, float]
    rule = Factor(name="rule", values=("online",), choices=("online", "offline"))
    assert rule.convert(["offline"]) == ("offline",)
    with pytest.raises(ParameterError, match="'ofline' is unknown; did you mean 'offline'"):
        rule.convert(["ofline"])
    with pytest.raises(ParameterError, match=r"4\.5 is not an integer"):
        Factor(name="steps", values=(8,)).convert([4.5])
    with pytest.raises(ParameterError, match="cannot be a factor"):
        Factor(name="chip", values=(8,))


def test_a_value_may_be_a_file_whose_content_is_told(tmp_path: Path) -> None:
    factor = Factor(name="device", values=("ideal",), choices=("ideal", "pcm"), files=".csv")
    path = tmp_path / "measured.csv"
    with pytest.raises(ParameterError, match=r"measured\.csv cannot be read: No such file"):
        factor.convert([str(path)])
    path.write_text("a")
    kept = factor.convert(["pcm", str(path)])
    assert kept == ("pcm", f"{path}#{hashlib.sha256(b'a').hexdigest()[:12]}")
    assert factor.convert(kept) == kept
    assert factor.order({*kept, "ideal"}) == ("ideal", *kept)
    path.write_text("b")
    with pytest.raises(ParameterError, match=r"measured\.csv is not what it was \(#"):
        factor.convert(kept)
    with pytest.raises(ParameterError, match=r"Known: ideal, pcm, FILE\.csv"):
        factor.convert(["pmc"])


def test_chip_seeds_of_two_seeds_share_nothing() -> None:
    assert chip_seeds(2, 3) == (2000, 2001, 2002)
    assert not set(chip_seeds(0, 1000)) & set(chip_seeds(1, 1000))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"chips": 0}, "chips must be a whole number from 1 to 1000, not 0"),
        ({"chips": 1001}, "not 1001"),
        ({"chips": 1.5}, "chips must be"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"dataset": "mnits"}, "no data set 'mnits'; did you mean 'mnist'"),
        ({"factors": {"sgima": [0]}}, "no factor 'sgima'; did you mean 'sigma'. Known: sigma, rule"),
        ({"factors": {"sigma": [2]}}, "outside its valid range"),
        ({"options": {"sigma": 2}}, "no option 'sigma'; known: samples"),
        ({"options": {"samples": 0}}, "samples = 0 is outside"),
    ],
)
def test_plan_refuses(asked: dict[str, Any], sentence: str, toy: Study) -> None:
    with pytest.raises(ParameterError, match=sentence):
        plan(toy, **asked)


def _no_chip_of_one(trial: Trial) -> None:
    if trial.chip == 1 and trial.point["sigma"] == trial.settings.options["samples"] - 7:
        raise ParameterError("chip 1 has no such sigma")


def test_plan_refuses_a_trial_that_the_study_refuses(toy: Study, tmp_path: Path) -> None:
    study = dataclasses.replace(toy, check=_no_chip_of_one)
    asked: dict[str, Any] = {"factors": {"sigma": [0.0]}, "options": {"samples": 7}}
    assert plan(study, chips=1, **asked) == plan(toy, chips=1, **asked)
    with pytest.raises(ParameterError, match="chip 1 has no such sigma"):
        run(study, out=tmp_path / "out.h5", chips=2, progress=False, **asked)
    assert not (tmp_path / "out.h5.trials").exists()
    assert not marks(tmp_path / "marks", "")


def test_plan_extends_what_is_stored_whatever_the_order(toy: Study) -> None:
    first = plan(toy, chips=2, seed=1, dataset="mnist", factors={"sigma": [0.3]}, options={"samples": 7})
    assert plan(toy, first) == first, "what is not given stays as stored"
    more = plan(toy, first, chips=3, factors={"sigma": [0.1], "rule": ["offline"]})
    assert more.grid == {"chip": (1000, 1001, 1002), "sigma": (0.1, 0.3), "rule": ("online", "offline")}
    assert (more.dataset, more.seed, more.options) == ("mnist", 1, {"samples": 7})
    assert plan(toy, first, chips=1).grid == first.grid, "a grid never shrinks"


def test_a_study_refuses_ambiguous_names(toy: Study) -> None:
    with pytest.raises(ParameterError, match="two factors or options called 'sigma'"):
        dataclasses.replace(toy, options=(Factor(name="sigma", values=(1,)),))
    with pytest.raises(ParameterError, match="must have one value"):
        dataclasses.replace(toy, options=(Factor(name="samples", values=(1, 2)),))
    with pytest.raises(ParameterError, match="at least one data set"):
        dataclasses.replace(toy, datasets=())


# ------------------------------------------------------------------------------------------------ running


def test_a_trial_has_the_threads_that_were_asked_for_and_the_result_says_so(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path
) -> None:
    out, kinds = tmp_path / "a.h5", {"factors": {"sigma": [0.5], "rule": ["online"]}, "progress": False}
    two = run(toy, out=out, chips=1, threads=2, **kinds)
    assert (two["threads"] == 2).all()
    assert two.attrs["threads"] == "2"
    both = run(toy, out=out, chips=2, executor=threads, **kinds)
    assert both["threads"].values.ravel().tolist() == [2, 1]
    assert both.attrs["threads"] == "1, 2"
    assert run(toy, out=out, chips=3, executor=threads, **kinds).attrs["threads"] == "1, 2"


@pytest.mark.parametrize(("jobs", "asked", "found"), [(1, None, None), (2, None, "passive"), (2, "active", "active")])
def test_threads_of_several_workers_do_not_wait_on_each_others_cores(
    jobs: int, asked: str | None, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(workers.WAITING, raising=False)
    if asked is not None:
        monkeypatch.setenv(workers.WAITING, asked)
    with workers.pool(jobs, 1) as pool:
        assert workers.submit(pool, 1, os.getenv, workers.WAITING).result() == found
    assert os.environ.get(workers.WAITING) == asked


def test_one_job_two_jobs_and_threads_give_the_same_dataset(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path
) -> None:
    environment, before = dict(os.environ), threadpoolctl.threadpool_info()
    one = run(toy, out=tmp_path / "1.h5", chips=2, jobs=1, progress=False)
    two = run(toy, out=tmp_path / "2.h5", chips=2, jobs=2, progress=False)
    other = run(toy, out=tmp_path / "t.h5", chips=2, executor=threads, progress=False)
    assert results.identical(one, two)
    assert results.identical(one, other)
    assert (one["threads"] == 1).all(), "each trial is on one BLAS thread"
    assert dict(os.environ) == environment
    assert threadpoolctl.threadpool_info() == before
    assert one["accuracy"].dims == ("chip", "sigma", "rule", "stage")
    assert [str(name) for name in one.variables if "accuracy" in str(name)] == ["accuracy"]
    with xr.open_dataset(tmp_path / "1.h5", engine="h5netcdf") as opened:
        assert opened.identical(one)


def test_a_trial_says_how_far_it_is(
    toy: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chipsim.study.LISTEN", 0.1)
    monkeypatch.setenv("TOY_SECONDS", "2")
    run(toy, out=tmp_path / "a.h5", chips=1, factors={"sigma": [0.5]})
    assert "toy: 0 of 1 trials; 0% of the toy's sleep (chip 0, sigma 0.5, rule online)\n" in capsys.readouterr().err
    assert not [*tmp_path.glob("*/.*.progress*")]


def test_trials_depend_on_the_chip_and_the_seed(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path
) -> None:
    kinds: dict[str, Any] = {"chips": 2, "executor": threads, "progress": False}
    a, b = (run(toy, out=tmp_path / f"{seed}.h5", seed=seed, **kinds) for seed in (0, 1))
    drawn = np.array([result["accuracy"].sel(stage="before", sigma=0.5).values for result in (a, b)])
    assert len(np.unique(drawn)) == drawn.size


def test_a_finished_run_has_nothing_left_to_do(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.h5"
    first = run(toy, out=out, chips=2, executor=threads)
    stamp = out.stat().st_mtime_ns
    assert run(toy, out=out).identical(first)
    assert "nothing is left to do" in capsys.readouterr().err
    assert out.stat().st_mtime_ns == stamp
    assert len(marks(tmp_path / "marks", "start")) == 4
    assert len(marks(tmp_path / "marks", "prepare")) == 1


def test_a_larger_grid_runs_only_what_is_missing(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path
) -> None:
    kinds: dict[str, Any] = {"executor": threads, "progress": False}
    out = tmp_path / "a.h5"
    run(toy, out=out, chips=1, factors={"sigma": [0.5]}, **kinds)
    run(toy, out=out, chips=2, **kinds)
    grown = run(toy, out=out, factors={"sigma": [0.2, 0]}, **kinds)
    ran = marks(tmp_path / "marks", "start")
    assert len(ran) == len(set(ran)) == 6
    whole = run(toy, out=tmp_path / "b.h5", chips=2, factors={"sigma": [0, 0.2, 0.5]}, **kinds)
    assert results.identical(grown, whole)


def test_trials_of_other_versions_are_told_and_those_that_do_not_fit_are_refused_early(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.h5"
    run(toy, out=out, chips=1, executor=threads)
    assert "other versions" not in capsys.readouterr().err
    out.unlink()
    files = list(results.trials_folder(out).glob("chip*.h5"))
    for file in files:
        trial = results.open(file).assign_attrs(versions='{"numpy": "0.1"}')
        trial["accuracy"].attrs["units"] = "V"
        results.write(trial, file)
    before = len(marks(tmp_path / "marks", "start"))
    with pytest.raises(ChipsimError, match=r"'accuracy' with other attributes; .* another version of the study"):
        run(toy, out=out, chips=20, executor=threads)
    assert f"warning: {len(files)} stored trials were computed by other versions" in capsys.readouterr().err
    assert len(marks(tmp_path / "marks", "start")) - before < 19 * len(files)
    assert len(list(results.trials_folder(out).glob("chip*.h5"))) == len(files)


def test_a_figure_or_a_table_that_is_not_there_is_told_at_once(toy: Study, threads: Any, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no figure 'degradtion'; did you mean 'degradation'"):
        dataclasses.replace(toy, figure="degradtion")
    with pytest.raises(ParameterError, match=r"its table shows acuracy, but trials have accuracy"):
        run(dataclasses.replace(toy, table=("acuracy",)), out=tmp_path / "a.h5", chips=50, executor=threads)
    assert len(marks(tmp_path / "marks", "start")) < 50


def test_another_figure_of_the_same_study_is_stored(toy: Study, threads: Any, tmp_path: Path) -> None:
    kinds: dict[str, Any] = {"executor": threads, "progress": False, "out": tmp_path / "a.h5"}
    first = run(toy, chips=1, **kinds)
    ran = marks(tmp_path / "marks", "start")
    again = run(dataclasses.replace(toy, figure="comparison"), **kinds)
    assert (first.attrs["figure"], again.attrs["figure"]) == ("degradation", "comparison")
    assert marks(tmp_path / "marks", "start") == ran
    xr.testing.assert_equal(first, again)


def _other_study(study: Study) -> tuple[Study, dict[str, Any]]:
    return dataclasses.replace(study, name="other"), {}


def _other_factors(study: Study) -> tuple[Study, dict[str, Any]]:
    return dataclasses.replace(study, factors=study.factors[:1]), {}


def _other_dataset(study: Study) -> tuple[Study, dict[str, Any]]:
    return study, {"dataset": "mnist"}


def _other_seed(study: Study) -> tuple[Study, dict[str, Any]]:
    return study, {"seed": 1}


def _other_option(study: Study) -> tuple[Study, dict[str, Any]]:
    return study, {"options": {"samples": 50}}


def _other_design(study: Study) -> tuple[Study, dict[str, Any]]:
    os.environ["TOY_GAIN"] = "2"
    return study, {}


@pytest.mark.parametrize("keep", ["file", "trials", "both"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_other_study, "holds study toy .* not other"),
        (_other_factors, "over chip, sigma, rule, not toy over chip, sigma;"),
        (_other_dataset, 'dataset "digits", not "mnist"'),
        (_other_seed, "seed 0, not 1"),
        (_other_option, r"options\.samples 100, not 50"),
        (_other_design, r"design\.gain 1\.0, not 2\.0"),
    ],
)
def test_a_file_of_another_run_is_refused_and_left_alone(
    change: Callable[[Study], tuple[Study, dict[str, Any]]],
    sentence: str,
    keep: str,
    toy: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOY_GAIN", "1")
    out = tmp_path / "a.h5"
    _finished(toy, out, keep)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    study, asked = change(toy)
    with pytest.raises(StoredFileError, match=sentence):
        run(study, out=out, progress=False, **asked)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def _finished(study: Study, out: Path, keep: str) -> None:
    """Leave the file of a finished run, its trials, or both."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        run(study, out=out, chips=1, executor=executor, progress=False)
    if keep == "trials":
        out.unlink()
    if keep == "file":
        for file in results.trials_folder(out).iterdir():
            file.unlink()
        results.trials_folder(out).rmdir()


def test_lost_trials_come_back_from_the_file(toy: Study, threads: concurrent.futures.Executor, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    _finished(toy, out, "file")
    grown = run(toy, out=out, chips=2, executor=threads, progress=False)
    assert len(marks(tmp_path / "marks", "start")) == 4
    assert results.identical(grown, run(toy, out=tmp_path / "b.h5", chips=2, executor=threads, progress=False))


def test_a_damaged_trial_is_run_again_with_a_warning(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.h5"
    whole = run(toy, out=out, chips=2, executor=threads)
    out.unlink()
    files = sorted(results.trials_folder(out).glob("chip*.h5"))
    files[0].write_bytes(files[0].read_bytes()[:-900])
    files[1].write_bytes(files[2].read_bytes())
    (results.trials_folder(out) / ".x.part").touch()
    assert results.identical(run(toy, out=out, executor=threads), whole)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 2
    assert "truncated" in warnings[0]
    assert "belongs to another trial" in warnings[1]
    assert len(marks(tmp_path / "marks", "start")) == 6
    assert not list(results.trials_folder(out).glob("*.part"))


def test_an_unreadable_result_is_refused(toy: Study, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    _finished(toy, out, "both")
    out.write_bytes(b"not HDF5")
    with pytest.raises(StoredFileError, match=r"a\.h5 cannot be read"):
        run(toy, out=out, progress=False)
    assert out.read_bytes() == b"not HDF5"


def _no_parent(folder: Path) -> Path:
    return folder / "missing" / "a.h5"


def _parent_is_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "a.h5"


def _is_a_folder(folder: Path) -> Path:
    (folder / "a.h5").mkdir()
    return folder / "a.h5"


def _is_a_device(folder: Path) -> Path:
    return Path("/dev/full")


def _trials_is_a_file(folder: Path) -> Path:
    (folder / "a.h5.trials").touch()
    return folder / "a.h5"


@pytest.mark.parametrize("place", [_no_parent, _parent_is_a_file, _is_a_folder, _is_a_device, _trials_is_a_file])
def test_an_unwritable_place_is_refused_before_any_trial(
    place: Callable[[Path], Path], toy: Study, tmp_path: Path
) -> None:
    with pytest.raises(StoredFileError):
        run(toy, out=place(tmp_path), progress=False)
    assert not list((tmp_path / "marks").iterdir())


@pytest.mark.parametrize("good_writes", [0, 1, 3])
def test_a_full_disk_loses_nothing_that_is_finished(
    good_writes: int,
    toy: Study,
    threads: concurrent.futures.Executor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, left, fsync = tmp_path / "a.h5", [2 * good_writes], os.fsync

    def fill(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fill)
        with pytest.raises(StoredFileError, match="No space left on device"):
            run(toy, out=out, chips=2, executor=threads, progress=False)
    assert (good_writes == 0) == (not list((tmp_path / "marks").iterdir())), "a disk full at the start stops the run"
    stored = len(list(results.trials_folder(out).glob("*.h5")))
    assert stored == max(0, good_writes - 1)  # the manifest is the first
    idle = threading.Barrier(2)
    for waiting in [threads.submit(idle.wait) for _ in range(2)]:  # until no trial of the first run goes on
        waiting.result()
    (tmp_path / "again").mkdir()
    monkeypatch.setenv("TOY_MARKS", str(tmp_path / "again"))
    whole = run(toy, out=out, executor=threads, chips=2, progress=False)
    assert len(marks(tmp_path / "again", "start")) == 4 - stored
    assert results.identical(whole, run(toy, out=tmp_path / "b.h5", chips=2, executor=threads, progress=False))


def test_two_runs_cannot_write_one_file(toy: Study, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    _finished(toy, out, "both")
    with filelock.FileLock(results.trials_folder(out) / ".lock"), pytest.raises(StoredFileError, match="another run"):
        run(toy, out=out, progress=False)
    run(toy, out=out, progress=False)


def test_a_trial_that_fails_is_named_and_the_finished_ones_are_kept(
    toy: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.h5"
    monkeypatch.setenv("TOY_FAIL", "1-0.5")
    with pytest.raises(ChipsimError, match=r"trial at chip 1, sigma 0\.5, rule online failed: ValueError: the toy"):
        run(toy, out=out, chips=2, jobs=1, progress=False)
    assert len(list(results.trials_folder(out).glob("*.h5"))) == 3
    monkeypatch.delenv("TOY_FAIL")
    run(toy, out=out, chips=2, progress=False)
    assert len(marks(tmp_path / "marks", "end")) == 4


def test_a_worker_that_dies_is_one_sentence(toy: Study, tmp_path: Path) -> None:
    study = dataclasses.replace(toy, trial=importlib.import_module("studies.bad").die)
    with pytest.raises(ChipsimError, match="a worker process died"):
        run(study, out=tmp_path / "a.h5", chips=1, progress=False)


def no_dataset(trial: Trial) -> Any:
    return {"accuracy": 0.5}


def no_units(trial: Trial) -> xr.Dataset:
    return xr.Dataset({"accuracy": ((), 0.5)})


def own_chip(trial: Trial) -> xr.Dataset:
    return xr.Dataset({"accuracy": ("chip", [0.5])})


def own_sigma(trial: Trial) -> xr.Dataset:
    return xr.Dataset(coords={"sigma": [0.5]})


def own_error(trial: Trial) -> xr.Dataset:
    raise StoredFileError("the teacher is gone")


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [
        (no_dataset, "must return an xarray.Dataset, not dict"),
        (no_units, "'accuracy' has no 'units'"),
        (own_chip, "must not have the dimension 'chip'"),
        (own_sigma, "must not have the dimension 'sigma'"),
        (own_error, "rule online failed: the teacher is gone"),
    ],
)
def test_what_a_trial_may_return(
    trial: Callable[[Trial], xr.Dataset],
    sentence: str,
    toy: Study,
    threads: concurrent.futures.Executor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chipsim.study.pickle.dumps", lambda function: b"")
    study = dataclasses.replace(toy, trial=trial)
    kind = StoredFileError if trial is own_error else ParameterError
    with pytest.raises(kind, match=sentence):
        run(study, out=tmp_path / "a.h5", chips=1, executor=threads, progress=False)


def test_functions_that_workers_cannot_import_are_refused(toy: Study, tmp_path: Path) -> None:
    study = dataclasses.replace(toy, trial=lambda trial: xr.Dataset())
    with pytest.raises(ParameterError, match="at the top level of a module"):
        run(study, out=tmp_path / "a.h5", chips=1, progress=False)


@pytest.mark.parametrize("name", ["jobs", "threads"])
@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_jobs_and_threads_must_be_positive_integers(name: str, count: Any, toy: Study, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=f"{name} must be a whole number of at least 1"):
        run(toy, out=tmp_path / "a.h5", **{name: count})


def test_settings_reach_the_trial(toy: Study, threads: concurrent.futures.Executor, tmp_path: Path) -> None:
    seen: list[Settings] = []

    def trial(trial: Trial) -> xr.Dataset:
        seen.append(trial.settings)
        return toy.trial(trial)

    study = dataclasses.replace(toy, prepare=seen.append, trial=trial)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chipsim.study.pickle.dumps", lambda function: b"")
        asked: dict[str, Any] = {"dataset": "mnist", "seed": 4, "options": {"samples": 7}}
        run(study, out=tmp_path / "a.h5", chips=1, executor=threads, progress=False, **asked)
    assert len(seen) > 1
    assert seen == [Settings(dataset="mnist", seed=4, options={"samples": 7})] * len(seen)


def test_a_trial_that_does_not_fit_beside_the_others_fails_at_once(
    toy: Study, threads: concurrent.futures.Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when all have been computed; and what fits is kept, also in a new file."""
    monkeypatch.setattr("chipsim.study.pickle.dumps", lambda function: b"")

    def trial(trial: Trial) -> xr.Dataset:
        found = toy.trial(trial)
        return found.isel(stage=[0]) if trial.point["sigma"] == 0.5 else found

    study = dataclasses.replace(toy, trial=trial)
    asked: dict[str, Any] = {"chips": 1, "executor": threads, "progress": False}
    with pytest.raises(ChipsimError, match="do not fit together: chip 0, sigma 0"):
        run(study, out=tmp_path / "a.h5", factors={"sigma": [0.0, 0.5]}, **asked)
    assert len([*tmp_path.glob("a.h5.trials/*.h5")]) == 1


def test_values_that_were_known_once_stay_where_they_are_not_asked_for(toy: Study) -> None:
    before = plan(toy, chips=1, factors={"rule": ["online"]})
    before = dataclasses.replace(before, grid={**before.grid, "rule": ("online", "of old")})
    assert set(plan(toy, before, factors={"sigma": [0.1]}).grid["rule"]) == {"online", "of old"}
    with pytest.raises(ParameterError, match="'of old' is unknown"):
        plan(toy, before, factors={"rule": ["of old"]})


# ----------------------------------------------------------------------------------------------- kill -9


def _start(out: Path, folder: Path, seconds: float, jobs: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [
        "study",
        "run",
        "toy",
        "--chips",
        "6",
        "--set",
        "sigma=0,0.1,0.3,1",
        "--jobs",
        str(jobs),
        "--out",
        str(out),
    ]
    environment = {
        **os.environ,
        "TOY_MARKS": str(folder),
        "TOY_SECONDS": str(seconds),
        "CHIPSIM_STUDIES": str(FIXTURE),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "studies.cli", *command], env=environment, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _wait(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


def _session(leader: int) -> list[int]:
    """The processes of the session that `leader` started, zombies apart (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_kill_minus_nine_three_times_loses_and_repeats_nothing(toy: Study, tmp_path: Path) -> None:
    out, moments = tmp_path / "a.h5", random.Random()  # noqa: S311 - any moment will do
    for attempt in range(3):
        finished = _names(out)
        folder = tmp_path / f"marks {attempt}"
        process = _start(out, folder, 0.3, jobs=2)
        assert _wait(lambda folder=folder: len(marks(folder, "start")) >= 4)  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
        assert _wait(lambda process=process: not _session(process.pid), 5), "a worker outlived the run"  # type: ignore[misc]
        assert finished <= _names(out), "a finished trial was lost"
        _check_ran_only(folder, finished)
    finished = _names(out)
    assert 0 < len(finished) < 24, "the kills must fall into the run"
    last = _start(out, tmp_path / "marks last", 0.0, jobs=1)
    assert last.wait(60) == 0, last.communicate()
    last.communicate()
    assert len(marks(tmp_path / "marks last", "start")) == 24 - len(finished)
    _check_ran_only(tmp_path / "marks last", finished)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        whole = run(
            toy, out=tmp_path / "b.h5", chips=6, factors={"sigma": [0, 0.1, 0.3, 1]}, executor=executor, progress=False
        )
    assert results.identical(results.open(out), whole)


def _names(out: Path) -> set[str]:
    return {file.name.rsplit("-", 1)[0] for file in results.trials_folder(out).glob("chip*.h5")}


def _check_ran_only(folder: Path, finished: set[str]) -> None:
    ran = ["chip_{}-sigma_{}-rule_{}".format(*mark.split("-")) for mark in marks(folder, "start")]
    assert len(ran) == len(set(ran)), "a trial ran twice"
    assert not set(ran) & finished, "a finished trial ran again"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_keeps_finished_trials_and_says_how_to_go_on(toy: Study, tmp_path: Path) -> None:
    out = tmp_path / "a file.h5"
    process = _start(out, tmp_path / "marks c", 0.4, jobs=2)
    assert _wait(lambda: len(list(results.trials_folder(out).glob("chip*.h5"))) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 130, errors
    assert _wait(lambda: not _session(process.pid), 5), "a worker outlived the run"
    text = errors.decode()
    stored = len(_names(out))
    assert f"Interrupted: {stored} of 24 trials are stored" in text
    assert "Traceback" not in text
    command = f"chipsim study run toy --chips 6 --set sigma=0,0.1,0.3,1 --jobs 2 --out '{out}'"
    assert command in text
    assert run(toy, out=out, progress=False, jobs=2).sizes["chip"] == 6
    assert len(marks(tmp_path / "marks", "start")) == 24 - stored


def test_a_trial_that_stopped_halfway_finds_its_checkpoint_and_leaves_none(toy: Study, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    study = dataclasses.replace(toy, trial=importlib.import_module("studies.bad").halfway)
    with pytest.raises(ChipsimError, match="stopped halfway"):
        run(study, out=out, chips=1, factors={"sigma": (0.1,), "rule": ("online",)}, progress=False)
    assert len(list(results.trials_folder(out).glob("*.checkpoint"))) == 1
    found = run(study, out=out, chips=1, factors={"sigma": (0.1,), "rule": ("online",)}, progress=False)
    assert float(found.accuracy.squeeze()) == 0.6
    assert {one["source"] for one in json.loads(found.attrs["versions"])} == {"before", results.versions()["source"]}
    assert not list(results.trials_folder(out).glob("*.checkpoint"))
