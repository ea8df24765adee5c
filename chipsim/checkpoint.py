"""Checkpoints: what a long run of learning has reached, in one file, so that a run that was stopped goes on from there.

The numbers are a safetensors file, which holds arrays and text and runs nothing. It is written beside its name and
moved into place, so that a process that is killed leaves the checkpoint before.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import safetensors
import safetensors.numpy
import torch

from chipsim.errors import StoredFileError
from chipsim.results import replace_file

T = TypeVar("T")
KEY = "run"


@final
class Checkpoint:
    """The checkpoint of one run in the file `path`; run: what says which run it is, plain values by name.

    A tree is nested tuples, lists and dataclasses of arrays, tensors, numbers and None.
    """

    def __init__(self, path: str | PathLike[str], run: Mapping[str, Any]) -> None:
        self.path, self.run = Path(path), json.dumps(run, sort_keys=True)

    def save(self, tree: Any) -> None:
        """Keep a tree in place of the one before."""
        arrays = {name: np.ascontiguousarray(values) for name, values in _leaves(tree, "")}
        replace_file(self.path, safetensors.numpy.save(arrays, {KEY: self.run}))

    def load(self, like: T) -> T | None:
        """Return the tree that was saved, of the kind of `like`; None where nothing was.

        Raises StoredFileError for a file that cannot be read, or holds another run.
        """
        if not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, framework="numpy") as file:
                stored = (file.metadata() or {}).get(KEY)
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise StoredFileError(f"{self.path} cannot be read as a checkpoint ({error}); delete it") from error
        if stored != self.run:
            raise StoredFileError(
                f"{self.path} is the checkpoint of another run ({_difference(stored, self.run)}); delete it or give "
                "another name"
            )
        try:
            rebuilt: T = _rebuilt(like, found, "")
        except (KeyError, ValueError, TypeError) as error:
            raise StoredFileError(f"{self.path} does not hold what this run needs ({error}); delete it") from error
        return rebuilt


def _difference(stored: str | None, asked: str) -> str:
    try:
        one, other = json.loads(stored or "{}"), json.loads(asked)
        name = next(name for name in other if one.get(name) != other[name])
    except (ValueError, StopIteration, AttributeError):
        return "it does not say which"
    return f"{name} {one.get(name)!r}, not {other[name]!r}"


def _parts(tree: Any) -> dict[str, Any]:
    """The branches of a tree by name; none for a leaf."""
    if dataclasses.is_dataclass(tree):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
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
