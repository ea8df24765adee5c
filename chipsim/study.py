"""Study: one question, asked of many chips over a grid of factors; runs, resumes and combines its trials.

A trial is one (chip, factor point) with all its before/after measurements. Trials run in worker processes on one
BLAS/torch thread each, whatever the number of workers, and each finished one is a file at once: a study that was killed
continues where it stopped, and its dataset is the one that an uninterrupted run gives (in single precision to its last
bits: whether the fast engine compiles depends on how much its process has done).

The functions of a study are found by name in the worker, so they stand at the top level of an importable module. A
script that calls `run` does so under `if __name__ == "__main__":`, because a worker imports the script too.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import filelock
import xarray as xr

from chipsim import plots, results, workers
from chipsim.checkpoint import versions_in
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.factor import Factor, suggest
from chipsim.files import PART, cannot_write, remove_leftovers
from chipsim.progress import Reporter, in_short, told_in
from chipsim.quantity import canonical_json, whole
from chipsim.results import Manifest, Value
from chipsim.schema import DIMENSIONS

CHIPS = 5  # unless asked otherwise
CHIPS_PER_SEED = 1000
LISTEN = 2.0
"""How long nothing may finish before unfinished trials are asked how far they are [s]."""
R = TypeVar("R")


# -------------------------------------------------------------------------------------------- what a study is


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all trials of a run share, and what decides their numbers beside chip and factor point."""

    dataset: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial function gets: the seed of its chip, its factor point and the settings of the run.

    checkpoint: a file of this trial's own, for `learn` and `train_in_the_loop`, which is there again when an
    interrupted trial is run again and is removed when it is done; None where trials run on other machines.
    """

    chip: int
    point: Mapping[str, Any]
    settings: Settings
    checkpoint: Path | None = None


def _prepare_nothing(settings: Settings) -> None:
    """Do nothing before the trials."""


def _answers_all(trial: Trial) -> None:
    """Refuse no trial."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, its grid, and the functions that answer it for one chip at one point.

    design: returns the parameters whose canonical JSON and hash tell one design from another in the stored file.
    check: raises ParameterError for a trial that the study cannot answer; each is asked for before anything runs.
    prepare: runs once before the trials, in a worker too (trains the teacher, so that trials find it stored).
    trial: returns a dataset with the schema's dimensions, units and long names, coordinates only along dimensions.
    options: what is fixed within a run, such as the number of learning samples; each a Factor of one value.
    figure: the module of `chipsim.plots` that draws the result. table: the variables that are printed.
    smallest: arguments of `run` (chips, dataset, factors, options) for the test that runs every study.
    """

    name: str
    question: str
    factors: tuple[Factor, ...]
    datasets: tuple[str, ...]
    design: Callable[[Settings], Any]
    trial: Callable[[Trial], xr.Dataset]
    check: Callable[[Trial], None] = _answers_all
    prepare: Callable[[Settings], None] = _prepare_nothing
    options: tuple[Factor, ...] = ()
    figure: str = "degradation"
    table: tuple[str, ...] = ("accuracy",)
    smallest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [factor.name for factor in (*self.factors, *self.options)]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ParameterError(f"study {self.name} has two factors or options called {repeated[0]!r}")
        if many := [option.name for option in self.options if len(option.values) != 1]:
            raise ParameterError(f"option {many[0]!r} of study {self.name} must have one value, or be a factor")
        if self.figure not in plots.ALL:
            raise ParameterError(f"study {self.name}: no figure {self.figure!r}; {suggest(self.figure, [*plots.ALL])}")
        if not self.datasets:
            raise ParameterError(f"study {self.name} needs at least one data set")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run: `done` of `total` trials are stored."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"{done} of {total} trials are stored")
        self.done, self.total = done, total


# -------------------------------------------------------------------------------------------- what is asked for


def chip_seeds(seed: int, chips: int) -> tuple[int, ...]:
    """The seeds of a run's chips: 1000 seed, 1000 seed + 1 ..., so that runs of two seeds share no chip."""
    whole(chips, "chips", 1, CHIPS_PER_SEED)
    return tuple(range(CHIPS_PER_SEED * seed, CHIPS_PER_SEED * seed + chips))


def plan(
    study: Study,
    stored: Manifest | None = None,
    *,
    chips: int | None = None,
    seed: int | None = None,
    dataset: str | None = None,
    factors: Mapping[str, Sequence[Value]] | None = None,
    options: Mapping[str, Value] | None = None,
) -> Manifest:
    """Say what a run holds. What is not given is as `stored`, else the default; the stored grid only grows.

    Raises ParameterError for what the study does not know or cannot answer.
    """
    dataset = dataset or (stored.dataset if stored else study.datasets[0])
    if dataset not in study.datasets:
        raise ParameterError(f"study {study.name} knows no data set {dataset!r}; {suggest(dataset, study.datasets)}")
    seed = seed if seed is not None else stored.seed if stored else 0
    whole(seed, "seed", 0)
    settings = Settings(dataset=dataset, seed=seed, options=_options(study, stored, options or {}))
    seeds: set[Value] = set(stored.grid["chip"]) if stored else set()
    if chips is not None or not seeds:
        seeds |= set(chip_seeds(seed, CHIPS if chips is None else chips))
    grid = {"chip": tuple(sorted(seeds, key=int)), **_grid(study, stored, factors or {})}
    manifest = Manifest(
        study=study.name,
        question=study.question,
        dataset=dataset,
        seed=seed,
        options=settings.options,
        design=canonical_json(study.design(settings)),
        grid=grid,
        labels={"chip": DIMENSIONS["chip"], **{f.name: (f.unit, f.long_name or f.name) for f in study.factors}},
        figure=study.figure,
        table=study.table,
    )
    for point in manifest.points():
        study.check(Trial(chip=int(point["chip"]), point=_without_chip(point), settings=settings))
    return manifest


def _options(study: Study, stored: Manifest | None, given: Mapping[str, Value]) -> dict[str, Value]:
    known = {option.name: option for option in study.options}
    if unknown := [name for name in given if name not in known]:
        raise ParameterError(f"study {study.name} has no option {unknown[0]!r}; {suggest(unknown[0], [*known])}")
    before = stored.options if stored else {}
    chosen = {name: given.get(name, before.get(name, option.values[0])) for name, option in known.items()}
    return {name: known[name].convert((value,))[0] for name, value in chosen.items()}


def _grid(study: Study, stored: Manifest | None, given: Mapping[str, Sequence[Value]]) -> dict[str, tuple[Value, ...]]:
    known = {factor.name: factor for factor in study.factors}
    if unknown := [name for name in given if name not in known]:
        raise ParameterError(f"study {study.name} has no factor {unknown[0]!r}; {suggest(unknown[0], [*known])}")
    grid = {}
    for name, factor in known.items():
        before = stored.grid.get(name, ()) if stored else ()
        values = factor.convert(given[name]) if name in given else () if before else factor.values
        grid[name] = factor.order({*values, *before})
    return grid


# -------------------------------------------------------------------------------------------------- running


def planned(study: Study, out: Path | str, **asked: Any) -> Manifest:
    """Say what a run into `out` holds: `plan` beside what is there. Raises what `run` would raise before it begins."""
    return _place(study, Path(out), asked).manifest


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a run stores: its file, what the file holds now (None: there is no file), and what it is to hold."""

    out: Path
    combined: Manifest | None
    manifest: Manifest


def run(
    study: Study,
    *,
    out: Path | str,
    chips: int | None = None,
    seed: int | None = None,
    dataset: str | None = None,
    factors: Mapping[str, Sequence[Value]] | None = None,
    options: Mapping[str, Value] | None = None,
    jobs: int = 1,
    threads: int = 1,
    executor: concurrent.futures.Executor | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Run what is missing of a study, store it in `out`, and return the whole result.

    If `out` (or its folder of trials) exists, the run continues it: finished trials are kept, more chips or factor
    values extend the grid, and what is not given is as stored. Raises StoredFileError when `out` holds another study,
    dataset, seed, option, design or schema version, cannot be read or written, or is in use by another run. Ctrl-C
    raises Interrupted; finished trials are kept.

    executor: any concurrent.futures.Executor, such as that of a dask client; `jobs` spawned processes by default.
    threads: BLAS/torch threads of a trial, for one large network alone; many trials are faster on one each. Numbers may
    differ in their last digits with it, so each trial is stored with its own.
    """
    for name, count in (("jobs", jobs), ("threads", threads)):
        whole(count, name, 1)
    out, reporter = Path(out), Reporter(study.name, shown=progress)
    asked = {"chips": chips, "seed": seed, "dataset": dataset, "factors": factors, "options": options}
    _place(study, out, asked)  # refuses before anything is touched
    with _locked(out):
        place = _place(study, out, asked)
        try:
            _fill(study, place, jobs, threads, executor, reporter)
        except KeyboardInterrupt as error:
            points = list(place.manifest.points())
            done = sum(results.trial_path(out, point).exists() for point in points)
            raise Interrupted(done, len(points)) from error
    return results.open(out)


def _place(study: Study, out: Path, asked: Mapping[str, Any]) -> _Place:
    """Look at what `out` holds and plan the run onto it; raises StoredFileError where they do not fit."""
    if not out.parent.is_dir():
        raise StoredFileError(f"cannot write {out}: {out.parent} is not a folder; create it or choose another place")
    if out.exists() and not out.is_file():
        raise StoredFileError(f"cannot write {out}: it is not a regular file; choose another name")
    combined = Manifest.from_attributes(results.open(out).attrs, out) if out.exists() else None
    begun = results.read_manifest(out)
    stored = begun or combined
    for holder in (combined, begun):
        if holder is not None and (holder.study != study.name or [*holder.grid][1:] != [f.name for f in study.factors]):
            raise StoredFileError(
                f"{out} holds study {holder.study} over {', '.join(holder.grid)}, not {study.name} over "
                f"{', '.join(['chip', *(factor.name for factor in study.factors)])}; choose another file"
            )
    if stored is not None and combined is not None:
        grid = {name: tuple(dict.fromkeys((*stored.grid[name], *combined.grid[name]))) for name in stored.grid}
        stored = dataclasses.replace(stored, grid=grid)
    manifest = plan(study, stored, **asked)
    for holder in (combined, begun):
        if holder is not None and (other := results.difference(holder, manifest)):
            raise StoredFileError(f"{out} holds {other}; choose another file, or ask for what this one holds")
    return _Place(out=out, combined=combined, manifest=manifest)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the trials folder of `out` for the block, so that two runs cannot write it at once."""
    folder = results.trials_folder(out)
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise StoredFileError(f"another run is writing {out}; wait for it, or choose another file") from None
    except OSError as error:
        raise cannot_write(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def _fill(
    study: Study,
    place: _Place,
    jobs: int,
    threads: int,
    executor: concurrent.futures.Executor | None,
    reporter: Reporter,
) -> None:
    """Run the missing trials and combine all of them."""
    out, manifest = place.out, place.manifest
    remove_leftovers(out)
    remove_leftovers(results.trials_folder(out))
    total = math.prod(len(values) for values in manifest.grid.values())
    if place.combined is not None and place.combined.attributes() == manifest.attributes():
        reporter.say(f"nothing is left to do: {out} holds all {total} trials")
        return
    results.write_manifest(manifest, out)
    if place.combined is not None:
        results.restore_trials(place.combined, out)
    pending, stored = _pending(manifest, out, reporter)
    if pending:
        where = f"{jobs} at once" if executor is None else f"by {type(executor).__name__}"
        reporter.say(f"{len(pending)} of {total} trials to run, {where}")
        own = workers.pool(min(jobs, len(pending)), threads)
        with own if executor is None else workers.borrowed(executor, threads) as pool:
            _run_trials(study, place, pending, stored, pool, threads, reporter, lent=executor is not None)
    if lacking := results.combine(manifest, out):
        reporter.say(f"warning: not every trial has {', '.join(lacking)}, so that {out} has it for none")
    reporter.say(f"all {total} trials are stored in {out}")


def _pending(manifest: Manifest, out: Path, reporter: Reporter) -> tuple[list[dict[str, Value]], xr.Dataset | None]:
    """The points of the grid without a good trial file, and a trial that has one, if any has."""
    pending, stored, others, made_by = [], None, 0, json.dumps(results.versions())
    for point in manifest.points():
        if results.trial_path(out, point).exists():
            try:
                stored = results.read_trial(manifest, out, point)
                others += stored.attrs["versions"] != made_by
                continue
            except StoredFileError as error:
                reporter.say(f"warning: the trial at {results.describe(point)} is run again: {error}")
        pending.append(point)
    if pending and others:
        reporter.say(
            f"warning: {others} stored trials were computed by other versions of packages or of chipsim's source; "
            "to have all from one, choose another file"
        )
    return pending, stored


def _run_trials(
    study: Study,
    place: _Place,
    pending: Sequence[Mapping[str, Value]],
    stored: xr.Dataset | None,
    pool: concurrent.futures.Executor,
    threads: int,
    reporter: Reporter,
    lent: bool,
) -> None:
    """Run and store the pending trials; at the first that fails, those that run finish and the others are dropped.

    What an interrupt leaves behind is cancelled in a lent executor only. Our own drops it as its block ends; had it
    been cancelled before, the executor's manager thread would stumble over it as the workers leave.
    """
    manifest = place.manifest
    settings = Settings(dataset=manifest.dataset, seed=manifest.seed, options=manifest.options)
    _check_importable(study)
    if study.prepare is not _prepare_nothing:
        reporter.say("preparing")
        if error := workers.submit(pool, threads, _guarded, "the preparation", study.prepare, settings).exception():
            raise _readable(error)
    futures: dict[concurrent.futures.Future[xr.Dataset], Mapping[str, Value]] = {}
    total = math.prod(len(values) for values in manifest.grid.values())
    try:
        with reporter.bar(total, total - len(pending)):
            for point in pending:
                trial = Trial(
                    chip=int(point["chip"]),
                    point=_without_chip(point),
                    settings=settings,
                    checkpoint=None if lent else results.checkpoint_path(place.out, point),
                )
                provenance = manifest.identity_hash, point, threads
                futures[workers.submit(pool, threads, _perform, study.trial, trial, *provenance)] = point
            _collect(futures, place, stored, reporter)
    except KeyboardInterrupt:
        for future, point in futures.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                results.write_trial(future.result(), place.out, point)
        raise
    finally:
        if lent:
            for future in futures:
                future.cancel()


def _collect(
    futures: dict[concurrent.futures.Future[xr.Dataset], Mapping[str, Value]],
    place: _Place,
    stored: xr.Dataset | None,
    reporter: Reporter,
) -> None:
    """Store each trial as it finishes, and forget it; one that does not fit beside those stored is a failure."""
    failed: BaseException | None = None
    for future in _as_completed(futures, place.out, reporter):
        point = futures[future]
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            error = results.misfit(place.manifest, stored, point, future.result())
        if error is not None:
            failed = failed or error
            del futures[future]
            for other in futures:
                other.cancel()
            continue
        trial = stored = future.result()
        results.write_trial(trial, place.out, point)
        del futures[future]
        reporter.finished(results.describe(point), in_short(trial))
    if failed is not None:
        raise _readable(failed)


def _as_completed(
    futures: Iterable[concurrent.futures.Future[R]], out: Path, reporter: Reporter
) -> Iterator[concurrent.futures.Future[R]]:
    """Yield futures as they finish, and show meanwhile how far a trial is."""
    waiting = {*futures}
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, LISTEN, concurrent.futures.FIRST_COMPLETED)
        yield from done
        if not done and (words := _last_words(out)):
            reporter.going_on(words)


def _words_path(checkpoint: Path) -> Path:
    """Where the trial of a checkpoint says how far it is: a leftover, should it be killed."""
    return checkpoint.with_name(f".{checkpoint.stem}.progress{PART}")


def _last_words(out: Path) -> str:
    """What an unfinished trial said last."""
    said = [(0.0, "")]
    for file in results.trials_folder(out).glob(f".*.progress{PART}"):
        with contextlib.suppress(OSError):  # it has finished
            said.append((file.stat().st_mtime, file.read_text(encoding="utf-8")))
    return max(said)[1]


def _without_chip(point: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in point.items() if name != "chip"}


def _readable(error: BaseException) -> BaseException:
    if isinstance(error, concurrent.futures.BrokenExecutor):
        broken = ChipsimError(
            "a worker process died: it was killed, ran out of memory, or could not import the calling script "
            '(a script calls run under `if __name__ == "__main__":`); finished trials are kept, run again to continue'
        )
        broken.__cause__ = error
        return broken
    return error


def _check_importable(study: Study) -> None:
    for function in (study.prepare, study.trial):
        try:
            pickle.dumps(function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ParameterError(
                f"study {study.name}: workers cannot import {getattr(function, '__qualname__', function)!r}; "
                f"define it at the top level of a module"
            ) from error


# --------------------------------------------------------------------------------------------- in the worker


def _guarded(what: str, function: Callable[..., R], *args: Any) -> R:
    """Call `function`; whatever it raises becomes an error of chipsim that says where."""
    try:
        return function(*args)
    except ChipsimError as error:
        raise type(error)(f"{what} failed: {error}") from error
    except Exception as error:
        raise ChipsimError(f"{what} failed: {type(error).__name__}: {error}") from error


def _perform(
    study_trial: Callable[[Trial], xr.Dataset], trial: Trial, identity: str, point: Mapping[str, Value], threads: int
) -> xr.Dataset:
    """Run one trial, check its result, and give it the attributes of its file."""
    which, words = results.describe(point), trial.checkpoint and _words_path(trial.checkpoint)
    with told_in(words, which):
        return _guarded(f"the trial at {which}", _measure, study_trial, trial, identity, point, threads)


def _measure(
    function: Callable[[Trial], xr.Dataset], trial: Trial, identity: str, point: Mapping[str, Value], threads: int
) -> xr.Dataset:
    start = time.perf_counter()
    results.versions()  # of the source as it is now, and not when the trial has ended
    dataset = function(trial)
    if not isinstance(dataset, xr.Dataset):
        raise ParameterError(f"a trial must return an xarray.Dataset, not {type(dataset).__name__}")
    if clash := sorted({*map(str, dataset.variables), *map(str, dataset.dims)} & set(point)):
        raise ParameterError(f"what a trial returns must not have the dimension {clash[0]!r}: the study adds it itself")
    dataset = results.label(dataset)
    results.validate(dataset)
    dataset.attrs = results.trial_attributes(identity, point, time.perf_counter() - start, threads)
    if trial.checkpoint is not None:  # a part of the trial may have been computed before
        before = versions_in(trial.checkpoint)
        dataset.attrs["versions"] = results.merge_versions([dataset.attrs["versions"], *before])
    return dataset
