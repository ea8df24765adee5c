"""Checkpoints: what a long run of learning has reached, in one file, so that a run that was stopped goes on from there.

The numbers are a safetensors file, which holds arrays and text and runs nothing. It is written beside its name and
moved into place, so that a process that is killed leaves the checkpoint before.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import safetensors
import safetensors.numpy
import torch

from chipsim.errors import StoredFileError
from chipsim.files import replace_file
from chipsim.results import differing, merge_versions, versions

T = TypeVar("T")
RUN, DIGEST, VERSIONS = "run", "digest", "versions"
FIRST, EVERY = 8, 300.0
"""Batches before the first look at the clock, and time between two checkpoints within an epoch, about [s]."""


@final
class Checkpoint:
    """The checkpoint of one run in the file `path`; run: what says which run it is, plain values by name; what, remedy:
    what the file is to be, and what to do about another one.

    A tree is nested tuples, lists and dataclasses of arrays, tensors, numbers and None. versions: of the packages and
    the source of chipsim that the run has had so far, as JSON; digest: of the tree that was loaded. Raises
    StoredFileError where no file can be at `path`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        run: Mapping[str, Any],
        *,
        what: str = "checkpoint of this run",
        remedy: str = "delete it or give another name",
    ) -> None:
        self.path, self.run = Path(path), json.loads(json.dumps(run))
        self.what, self.remedy, self.digest = what, remedy, ""
        self.versions = json.dumps(versions())
        if not self.path.parent.is_dir() or self.path.is_dir():
            raise StoredFileError(f"{self.path} cannot be a {what}: give a file in a folder that exists")

    def save(self, tree: Any) -> None:
        """Keep a tree in place of the one before."""
        arrays = {name: np.asarray(values, order="C") for name, values in _leaves(tree, "")}
        about = {RUN: json.dumps(self.run), DIGEST: _digest(arrays), VERSIONS: self.versions}
        replace_file(self.path, safetensors.numpy.save(arrays, about))

    def load(self, like: T) -> T | None:
        """Return the tree that was saved, of the kind of `like`; None where nothing was.

        Raises StoredFileError for a file that is damaged, or holds another run.
        """
        if not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, framework="numpy") as file:
                about = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored, digest, made_by = json.loads(about[RUN]), about[DIGEST], merge_versions([about[VERSIONS]])
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise self._unreadable(str(error)) from error
        if different := differing(stored, self.run):
            raise StoredFileError(f"{self.path} is no {self.what} ({different}); {self.remedy}")
        if _digest(found) != digest:
            raise self._unreadable("it is damaged")
        if sorted(found) != sorted(name for name, _ in _leaves(like, "")):
            raise self._unreadable("another version of chipsim wrote it")
        self.digest = digest
        if made_by != self.versions:
            self.versions = merge_versions([made_by, self.versions])
            warnings.warn(
                f"{self.path} was begun by other versions of packages or of chipsim's source, and goes on with these",
                stacklevel=3,
            )
        rebuilt: T = _rebuilt(like, found, "")
        return rebuilt

    def _unreadable(self, why: str) -> StoredFileError:
        return StoredFileError(f"{self.path} cannot be read as a {self.what} ({why}); {self.remedy}")


def _digest(arrays: Mapping[str, Any]) -> str:
    return fingerprint(*(arrays[name] for name in sorted(arrays)))


def versions_in(path: Path) -> list[str]:
    """The versions that a checkpoint has seen, as JSON; none where it is not there or not readable."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return [(file.metadata() or {})[VERSIONS]]
    except (OSError, KeyError, safetensors.SafetensorError):
        return []


def pieces(samples: int, size: int, save: Callable[[], None] | None) -> Iterator[tuple[int, int]]:
    """Return how many batches, and of what size, to present at once: all of `size`, then what is left; where there is
    something to save as many as take about EVERY seconds, and `save` is called between.
    """
    count, rest = divmod(samples, size)
    piece = count if save is None else FIRST
    while count:
        piece, begun = min(piece, count), time.monotonic()
        yield piece, size
        count -= piece
        if save is None or not count:
            continue
        if time.monotonic() - begun < EVERY / 2:
            piece *= 2
        else:
            save()
    if rest:
        yield 1, rest


def fingerprint(*arrays: Any) -> str:
    """SHA-256 of arrays: their kinds, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.asarray(array, order="C")
        digest.update(f"{values.dtype} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()


def _parts(tree: Any) -> dict[str, Any]:
    """The branches of a tree by name; none for a leaf."""
    if dataclasses.is_dataclass(tree):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if hasattr(tree, "_fields"):  # a named tuple
        return dict(tree._asdict())
    if isinstance(tree, tuple | list):
        return {str(index): part for index, part in enumerate(tree)}
    return {}


def _leaf(tree: Any) -> bool:
    return isinstance(tree, torch.Tensor | np.ndarray | np.generic | float | int)


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if _leaf(tree):
        yield name, tree.detach().cpu().numpy() if isinstance(tree, torch.Tensor) else np.asarray(tree)
    for part, branch in _parts(tree).items():
        yield from _leaves(branch, f"{name}/{part}")


def _rebuilt(like: Any, found: Mapping[str, Any], name: str) -> Any:
    if isinstance(like, torch.Tensor):
        return torch.as_tensor(found[name], dtype=like.dtype, device=like.device)
    if isinstance(like, np.ndarray):
        return found[name].astype(like.dtype)
    if _leaf(like):
        return type(like)(found[name].item())
    parts = {part: _rebuilt(branch, found, f"{name}/{part}") for part, branch in _parts(like).items()}
    if dataclasses.is_dataclass(like) and not isinstance(like, type):
        return dataclasses.replace(like, **parts)
    if hasattr(like, "_fields"):
        return type(like)(*parts.values())
    return type(like)(parts.values()) if isinstance(like, tuple | list) else like
