"""Trained teachers on disk: weights as safetensors, what produced them as JSON, found again by SHA-256 of the latter.

A teacher NAME is two files, `NAME.safetensors` and `NAME.json`, each written to a temporary name and moved into place,
the JSON file last. It holds the SHA-256 of the weights file, so that a damaged or mixed pair is noticed.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import safetensors.numpy
from filelock import FileLock
from numpy.typing import NDArray

from chipsim.files import cannot_write, replace_file

Tensors = Mapping[str, NDArray[Any]]


class TeacherStoreWarning(UserWarning):
    """A stored teacher that is damaged and is trained anew, or a teacher that could not be stored."""


def cache_folder() -> Path:
    """Return the folder for what can be made again: the environment variable CHIPSIM_CACHE, else the platform's."""
    chosen = os.environ.get("CHIPSIM_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("chipsim")


def key(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON text of `recipe`, which is all that decides how a teacher comes out."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write a file all at once, with the folder that it lies in. Raises StoredFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error, path.parent) from error
    replace_file(path, content)


def paths(recipe: Mapping[str, Any]) -> tuple[Path, Path]:
    """Return where the teacher of `recipe` is stored: the weights file and the JSON file."""
    stem = cache_folder() / "teachers" / key(recipe)
    return stem.with_suffix(".safetensors"), stem.with_suffix(".json")


@contextmanager
def locked(recipe: Mapping[str, Any]) -> Iterator[None]:
    """Let one process at a time train the teacher of `recipe`, so that the others find it stored.

    Where the cache cannot be written, or its file system has no locks, there is nothing to share and no waiting.
    """
    path = paths(recipe)[0].with_suffix(".lock")
    lock = FileLock(path)
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()  # does nothing when the lock was not acquired


def save(recipe: Mapping[str, Any], tensors: Tensors, record: Mapping[str, Any]) -> None:
    """Store `tensors` and `record` (JSON values: history, versions) under `recipe`. Raises StoredFileError."""
    weights, description = paths(recipe)
    content = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    write(weights, content)
    text = json.dumps({"recipe": recipe, "record": record, "weights_sha256": digest}, indent=1)
    write(description, text.encode())


def find(recipe: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Return the tensors and the record stored under `recipe`, or None; a damaged pair warns and counts as none."""
    weights, description = paths(recipe)
    if not description.exists():
        return None
    try:
        stored = json.loads(description.read_bytes())
        content = weights.read_bytes()
        if stored["weights_sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError("the weights are not the ones that were written")
        if stored["recipe"] != json.loads(json.dumps(recipe)):
            raise ValueError("the file describes another teacher")
        return safetensors.numpy.load(content), dict(stored["record"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        warn_damaged(recipe, error)
        return None


def warn_damaged(recipe: Mapping[str, Any], reason: Exception) -> None:
    """Warn that what is stored under `recipe` cannot be used."""
    text = f"the stored teacher {paths(recipe)[1]} is damaged and is trained anew: {reason}"
    warnings.warn(text, TeacherStoreWarning, stacklevel=2)
