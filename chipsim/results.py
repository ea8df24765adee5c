"""Results: labelled datasets with units and provenance, and the files that hold them.

A study keeps one file per trial in `FILE.trials/`, beside a manifest that says what belongs there; `combine` makes
FILE of them. Every file is written to a temporary name, flushed to the disk and moved into place, so that a
half-written file cannot exist under its final name, whenever the process is killed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from scipy import special

from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.files import replace_file
from chipsim.schema import DIMENSIONS, VERSION, VOLATILE

Value = float | int | str

PACKAGES = ("chipsim", "numpy", "brian2", "torch", "xarray", "scipy")
SOURCES = ("chipsim", "teachers", "studies")
"""Packages whose source decides a result too, whatever version they say they are."""
REPEATS = ("chip", "seed", "die")  # what statistics are taken over
_SEAL = b"\nchipsim SHA-256 "
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)


# ------------------------------------------------------------------------------------------------ datasets


def label(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` with the units and long names of the reserved coordinates filled in where they are missing."""
    dataset = dataset.copy()
    for name in set(dataset.coords) & set(DIMENSIONS):
        unit, long_name = DIMENSIONS[str(name)]
        dataset[name].attrs = {"units": unit, "long_name": long_name, **dataset[name].attrs}
    return dataset


def validate(dataset: xr.Dataset, factors: Iterable[str] = ()) -> None:
    """Check a dataset against the schema; raises ParameterError at the first thing that does not fit.

    Every variable has `units` and `long_name`; every dimension is a reserved one or one of `factors`; coordinates
    belong to a dimension; an accuracy is a share in 0..1.
    """
    known = {*DIMENSIONS, *factors}
    for name, variable in dataset.variables.items():
        for attribute in ("units", "long_name"):
            if not isinstance(variable.attrs.get(attribute), str) or not variable.attrs[attribute]:
                raise ParameterError(f"variable {name!r} has no {attribute!r}; set it in its attributes")
        for dimension in variable.dims:
            if dimension not in known:
                raise ParameterError(
                    f"variable {name!r} has the unknown dimension {dimension!r}; known: {', '.join(sorted(known))}"
                )
        if name in dataset.coords and variable.dims != (name,):
            raise ParameterError(f"coordinate {name!r} is not the index of a dimension; make it a variable")
        if "accuracy" in str(name) and not bool(((variable >= 0) & (variable <= 1)).all()):
            raise ParameterError(
                f"{name!r} must be a share in 0..1, but holds {variable.values.min():g} to {variable.values.max():g}"
            )


def drop_volatile(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` without the attributes and variables that may differ between two equal runs (wall time ...)."""
    dataset = dataset.copy().drop_vars(VOLATILE, errors="ignore")
    holders: list[Any] = [dataset, *dataset.variables.values()]
    for holder in holders:
        holder.attrs = {name: value for name, value in holder.attrs.items() if name not in VOLATILE}
    return dataset


def identical(a: xr.Dataset, b: xr.Dataset) -> bool:
    """Whether two datasets are equal in every value, name and attribute, those of VOLATILE apart."""
    return bool(drop_volatile(a).identical(drop_volatile(b)))


def spread(array: xr.DataArray) -> xr.Dataset:
    """Statistics over chips and seeds: `mean`, `std` (of the sample; 0 for a single chip), `lowest`, `highest`."""
    over = [dimension for dimension in REPEATS if dimension in array.dims]
    count = int(np.prod([array.sizes[dimension] for dimension in over]))
    return xr.Dataset(
        {
            "mean": array.mean(over),
            "std": array.std(over, ddof=1 if count > 1 else 0),
            "lowest": array.min(over),
            "highest": array.max(over),
        }
    )


def interval(array: xr.DataArray, level: float = 0.95) -> xr.Dataset:
    """Confidence interval of the mean over chips and seeds, `low` and `high`: mean +- t s / sqrt(n), Student's t with
    n - 1 degrees of freedom; missing values are left out, and a single one has NaN. Of several chips with several seeds
    each, n counts chips, since seeds of one chip are not independent.
    """
    if array.sizes.get("chip", 1) > 1 and "seed" in array.dims:
        array = array.mean("seed")
    over = [dimension for dimension in REPEATS if dimension in array.dims]
    count, mean = array.count(over), array.mean(over)
    spread_of_mean = np.sqrt(((array - mean) ** 2).sum(over) / (count * (count - 1)).where(count > 1))
    half = spread_of_mean * special.stdtrit((count - 1).clip(1), 0.5 + level / 2)
    return xr.Dataset({"low": mean - half, "high": mean + half})


def share_interval(hits: xr.DataArray, count: int, level: float = 0.95) -> xr.Dataset:
    """Confidence interval of a share of `hits` in `count`, `low` and `high` (Wilson 1927)."""
    z2 = special.ndtri(0.5 + level / 2) ** 2
    middle, half = hits + z2 / 2, np.sqrt(z2) * np.sqrt(hits * (count - hits) / count + z2 / 4)
    return xr.Dataset({"low": (middle - half) / (count + z2), "high": (middle + half) / (count + z2)})


# --------------------------------------------------------------------------------------------------- files


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write `dataset` to `path` as HDF5 (netCDF 4), atomically.

    A checksum follows the end of the HDF5 data, where other readers of HDF5 do not look: HDF5 by itself takes a changed
    byte for data, or is caught in an endless loop by it.
    """
    with _without_dask():
        content = bytes(dataset.drop_encoding().to_netcdf(engine="h5netcdf"))
    replace_file(Path(path), content + _seal(content))


def _seal(content: bytes) -> bytes:
    return _SEAL + hashlib.sha256(content).digest()


def _seal_is_broken(path: Path) -> bool:
    """Whether `path` ends with a checksum that is not its own; a file without one was rewritten by another program."""
    content = path.read_bytes()
    end = len(content) - len(_seal(b""))
    return content[max(end, 0) :].startswith(_SEAL) and content[end:] != _seal(content[:end])


def _without_dask() -> AbstractContextManager[Any]:
    """Keep xarray from locking a file in memory on the scheduler of a dask cluster, where there is one."""
    dask = sys.modules.get("dask")
    return contextlib.nullcontext() if dask is None else dask.config.set(scheduler="synchronous")


def _read(path: Path) -> xr.Dataset:
    try:
        if _seal_is_broken(path):
            raise OSError("its checksum is wrong")
        return xr.load_dataset(path, engine="h5netcdf", phony_dims="access")
    except FileNotFoundError:
        raise StoredFileError(f"{path} does not exist; check the name") from None
    except _UNREADABLE as error:
        raise StoredFileError(
            f"{path} cannot be read as a chipsim result: it is damaged, truncated or not HDF5 "
            f"({_first_line(error)}); give a file that `chipsim study run` wrote, or, where {trials_folder(path).name} "
            "lies beside it, delete it and run the same command again"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _check_version(attributes: Mapping[str, Any], path: Path) -> None:
    version = attributes.get("schema_version")
    if version is None:
        raise StoredFileError(f"{path} is not a chipsim result: it has no schema version; choose another file")
    if version != VERSION:
        raise StoredFileError(
            f"{path} has schema version {version}, but this chipsim reads version {VERSION}; "
            f"use the chipsim that wrote it, or run the study again into another file"
        )


def open(path: Path) -> xr.Dataset:  # noqa: A001 - read as results.open
    """Read a result that `write` or `combine` wrote; raises StoredFileError when damaged or of another version."""
    path = Path(path)
    if path.is_dir():
        raise StoredFileError(f"{path} is a folder, not a result file; give the file beside it")
    dataset = _read(path)
    _check_version(dataset.attrs, path)
    return dataset


# ------------------------------------------------------------------------------------------------ manifest


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a result file holds: the study, all that decides its numbers, and the grid of its trials.

    `design` is canonical JSON text. `grid` maps `chip` and every factor to its values, `labels` each of them to its
    unit and long name. The same fields are the attributes of the combined dataset.
    """

    study: str
    question: str
    dataset: str
    seed: int
    options: Mapping[str, Value]
    design: str
    grid: Mapping[str, tuple[Value, ...]]
    labels: Mapping[str, tuple[str, str]]
    figure: str
    table: tuple[str, ...]
    schema_version: int = VERSION

    @property
    def design_hash(self) -> str:
        """SHA-256 of the design's canonical JSON."""
        return hashlib.sha256(self.design.encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to share a file."""
        names = ("schema_version", "study", "dataset", "seed", "options")
        return {**{name: getattr(self, name) for name in names}, "design": json.loads(self.design)}

    @property
    def identity_hash(self) -> str:
        """SHA-256 of the identity; each trial file carries it."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def points(self) -> Iterator[dict[str, Value]]:
        """Every trial of the grid, as {"chip": seed, factor: value ...}; the last factor changes fastest."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def attributes(self) -> dict[str, Any]:
        """The manifest as attributes of a dataset: plain values, and JSON text for the others."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {k: v if isinstance(v, (str, int)) else json.dumps(v) for k, v in fields.items()}
        return {**plain, "design_hash": self.design_hash}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], path: Path) -> Self:
        """Read back what `attributes` returned; raises StoredFileError naming `path` when something is missing."""
        _check_version(attributes, path)
        try:
            fields = {field.name: attributes[field.name] for field in dataclasses.fields(cls)}
            fields |= {name: json.loads(fields[name]) for name in ("options", "grid", "labels", "table")}
            for name in ("grid", "labels"):
                fields[name] = {key: tuple(values) for key, values in fields[name].items()}
            fields |= {"seed": int(fields["seed"]), "schema_version": int(fields["schema_version"])}
            manifest = cls(**{**fields, "table": tuple(fields["table"])})
            _ = manifest.identity_hash
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise StoredFileError(
                f"{path} does not say which study it holds ({_first_line(error)}); move it away or choose another file"
            ) from error
        return manifest


def difference(stored: Manifest, asked: Manifest) -> str | None:
    """Say in words where two manifests differ in what decides the numbers; None when they may share a file."""
    return differing(stored.identity, asked.identity)


def differing(old: Any, new: Any, name: str = "") -> str | None:
    """Say in words where two nested values of JSON first differ; None when they do not."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        inner = ((old.get(key), new.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return next((found for parts in inner if (found := differing(*parts))), None)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items = (differing(a, b, f"{name}[{index}]") for index, (a, b) in enumerate(zip(old, new, strict=True)))
        return next(filter(None, items), None)
    return None if old == new else f"{name.replace('_', ' ')} {json.dumps(old)}, not {json.dumps(new)}"


def trials_folder(path: Path) -> Path:
    """The folder of the trial files of the result `path`."""
    return path.with_name(path.name + ".trials")


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in the trials folder of the result `path`; None when there is none yet."""
    file = trials_folder(path) / "manifest.json"
    try:
        attributes = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoredFileError(
            f"{file} cannot be read ({_first_line(error)}); delete it and run the same command again: trials that are "
            "good are kept"
        ) from error
    return Manifest.from_attributes(attributes if isinstance(attributes, dict) else {}, file)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest into the trials folder of the result `path`."""
    text = json.dumps(manifest.attributes(), indent=2)
    replace_file(trials_folder(path) / "manifest.json", text.encode())


# -------------------------------------------------------------------------------------------------- trials


def describe(point: Mapping[str, Value]) -> str:
    """A trial's place in the grid, in words.

    >>> describe({"chip": 3, "sigma": 0.5})
    'chip 3, sigma 0.5'
    """
    return ", ".join(f"{name} {value}" for name, value in point.items())


def trial_path(path: Path, point: Mapping[str, Value]) -> Path:
    """The file of one trial of the result `path`: readable, and unique by a hash."""
    digest = hashlib.sha256(json.dumps(list(point.items())).encode()).hexdigest()[:10]
    words = re.sub(r"[^A-Za-z0-9.+-]+", "_", "-".join(f"{name}_{value}" for name, value in point.items()))
    return trials_folder(path) / f"{words[:120]}-{digest}.h5"


def checkpoint_path(path: Path, point: Mapping[str, Value]) -> Path:
    """The file in which an unfinished trial of the result `path` keeps what it has reached."""
    return trial_path(path, point).with_suffix(".checkpoint")


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide a result, read without importing them, and as `source` the
    hash of what SOURCES and the user's own studies hold.
    """
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {**found, "source": _source_hash(os.environ.get("CHIPSIM_STUDIES", ""))}


@functools.cache
def _source_hash(own: str) -> str:
    """SHA-256 of the Python files of SOURCES and of the user's own studies, its first 12 digits.

    own: folders of those, as CHIPSIM_STUDIES names them.
    """
    digest = hashlib.sha256()
    for package in SOURCES:
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        for folder in folders + [*filter(None, own.split(os.pathsep))] * (package == "studies"):
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def trial_attributes(
    manifest_hash: str, point: Mapping[str, Value], wall_time: float, threads: int | str = 1
) -> dict[str, Any]:
    """The attributes of a trial file: whose trial it is, what computed it, how long that took, and on how many threads
    (those of several trials as text: "1, 2").
    """
    return {
        "schema_version": VERSION,
        "identity": manifest_hash,
        "point": json.dumps(dict(point)),
        "versions": json.dumps(versions()),
        "wall_time": wall_time,
        "threads": threads,
    }


def write_trial(dataset: xr.Dataset, path: Path, point: Mapping[str, Value]) -> None:
    """Write one trial of the result `path`; it needs its checkpoint no longer."""
    write(dataset, trial_path(path, point))
    checkpoint_path(path, point).unlink(missing_ok=True)


def read_trial(manifest: Manifest, path: Path, point: Mapping[str, Value]) -> xr.Dataset:
    """Read one trial of the result `path`; raises StoredFileError when it is missing, damaged or not this study's."""
    file = trial_path(path, point)
    dataset = open(file)
    asked = (manifest.identity_hash, json.dumps(dict(point)))
    if (dataset.attrs.get("identity"), dataset.attrs.get("point")) != asked:
        raise StoredFileError(f"{file} belongs to another trial or study")
    return dataset


def combine(manifest: Manifest, path: Path) -> list[str]:
    """Make the result `path` of its trial files: dimensions chip x factors x the trial's own, with provenance. Return
    the names of variables that some trials lack, and which the result lacks too.
    """
    points = list(manifest.points())
    trials = [read_trial(manifest, path, point) for point in points]
    names = [set(map(str, trial.data_vars)) for trial in trials]
    common = set.intersection(*names)
    if lacking := [name for name in manifest.table if name not in common]:
        raise ChipsimError(
            f"the trials of study {manifest.study} do not fit together: not every one has {lacking[0]!r}, which its "
            "table shows"
        )
    trials = [trial[[name for name in trial.data_vars if name in common]] for trial in trials]
    dataset = _stack(manifest, points, trials)
    dataset.attrs = {
        **manifest.attributes(),
        "versions": merge_versions(str(trial.attrs["versions"]) for trial in trials),
        "wall_time": sum(float(trial.attrs["wall_time"]) for trial in trials),
        "threads": ", ".join(sorted({n for trial in trials for n in _threads(trial).split(", ")}, key=int)),
        "host": platform.node(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    validate(dataset, manifest.grid)
    write(dataset, path)
    return sorted(set.union(*names) - common)


def _threads(trial: xr.Dataset) -> str:
    """On how many threads a trial ran; one, as all once did, where it does not say."""
    return str(trial.attrs.get("threads", 1))


def merge_versions(texts: Iterable[str]) -> str:
    """One JSON object when all used the same packages and source, else a JSON list of all that were used."""
    stored = [json.loads(text) for text in set(texts)]
    flat = itertools.chain.from_iterable(entry if isinstance(entry, list) else [entry] for entry in stored)
    used = sorted({json.dumps(entry) for entry in flat})
    return used[0] if len(used) == 1 else f"[{', '.join(used)}]"


def _stack(manifest: Manifest, points: Sequence[Mapping[str, Value]], trials: Sequence[xr.Dataset]) -> xr.Dataset:
    first, shape = trials[0], tuple(len(values) for values in manifest.grid.values())
    for point, trial in zip(points, trials, strict=True):
        if error := misfit(manifest, first, point, trial):
            raise error
    stacked = xr.Dataset(coords=first.coords)
    for name, values in manifest.grid.items():
        unit, long_name = manifest.labels[name]
        stacked = stacked.assign_coords({name: (name, np.asarray(values), {"units": unit, "long_name": long_name})})
    for variable_name, variable in first.data_vars.items():
        stack = np.stack([trial[variable_name].values for trial in trials]).reshape(*shape, *variable.shape)
        stacked[variable_name] = ((*manifest.grid, *variable.dims), stack, variable.attrs)
    return stacked


def misfit(
    manifest: Manifest, first: xr.Dataset | None, point: Mapping[str, Value], trial: xr.Dataset
) -> ChipsimError | None:
    """Why the trial at `point` cannot stand in a result, with another, `first`, if there is one; None where it can."""
    if first is None:
        missing = [name for name in manifest.table if name not in trial]
        words = f"its table shows {', '.join(missing)}, but trials have {', '.join(map(str, trial.data_vars))}"
        return ParameterError(f"study {manifest.study}: {words}") if missing else None
    if not (why := _other_shape(first, trial)):
        return None
    return ChipsimError(
        f"the trials of study {manifest.study} do not fit together: {describe(point)} has {why}; "
        "if others were made by another version of the study, run it into another file"
    )


def _other_shape(first: xr.Dataset, trial: xr.Dataset) -> str | None:
    if not xr.Dataset(coords=trial.coords).identical(xr.Dataset(coords=first.coords)):
        return "other coordinates"
    for name in set(first.data_vars) & set(trial.data_vars):
        variable = first[name]
        if variable.dims != trial[name].dims or variable.shape != trial[name].shape:
            return f"{name!r} of shape {dict(trial[name].sizes)} instead of {dict(variable.sizes)}"
        if variable.attrs != trial[name].attrs:
            return f"{name!r} with other attributes"
    return None


def restore_trials(manifest: Manifest, path: Path) -> None:
    """Write the trial files that are missing beside the combined result `path` again, from the result itself; of its
    wall time each gets an equal share.
    """
    points = list(manifest.points())
    missing = [point for point in points if not trial_path(path, point).exists()]
    combined = open(path) if missing else xr.Dataset()
    for point in missing:
        trial = combined.sel(point).drop_vars(list(point))
        attributes = trial_attributes(
            manifest.identity_hash, point, float(combined.attrs["wall_time"]) / len(points), _threads(combined)
        )
        trial.attrs = {**attributes, "versions": combined.attrs["versions"]}
        write_trial(trial, path, point)
