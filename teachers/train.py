"""train: fit a Model to a data set. The same seed gives the same weights; the test split is never looked at.

AdamW on the cross-entropy, mini-batches in an order keyed by (seed, epoch), and a learning rate that falls to 0 along
half a cosine:  lr(k) = lr (1 + cos(pi k / K)) / 2  at step k of K. The weights kept are those of the epoch with the
highest accuracy on the validation split (the latest of several).
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import nn

from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.streams import stream
from teachers import store as teacher_store
from teachers.datasets import Dataset, Split
from teachers.models import Model, Stack
from teachers.store import TeacherStoreWarning
from teachers.targets import CALIBRATION_SAMPLES, Epoch, Teacher
from teachers.threads import torch_threads

RECIPE_VERSION = 1  # raise it with any change here or in models.py that changes the weights of a seed
QUIET_SECONDS = 2.0  # a training that is over sooner shows no progress bar


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; part of what a stored teacher is found by. Raises ParameterError for a value out of range."""

    epochs: int
    lr: float
    batch: int
    weight_decay: float
    threads: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ParameterError(f"{name} must be an integer of at least 1, not {value}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ParameterError(f"lr must be finite and above 0, not {self.lr}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ParameterError(f"weight_decay must be finite and at least 0, not {self.weight_decay}")


def train(
    model: Model,
    data: Dataset,
    *,
    seed: int,
    epochs: int | None = None,
    lr: float = 1e-3,
    batch: int = 128,
    weight_decay: float = 0.0,
    threads: int = 1,
    progress: bool = True,
    store: bool = True,
) -> Teacher:
    """Return `model` trained on `data.train`, the epoch chosen on `data.validation`.

    epochs: 20 by default, and more for a small data set, so that at least 1,500 mini-batches are seen.
    store: a teacher that was trained before in this very way is read from chipsim's cache, and a new one is kept there
    (a damaged one is trained anew, with a TeacherStoreWarning). threads: PyTorch threads while training; sums are
    ordered differently with another number, so it counts as a setting. progress: a bar on stderr when training takes
    longer and stderr is a terminal. Raises ParameterError for settings out of range, data that hold NaN or infinity,
    or a model made for other data; ChipsimError when training diverges.
    """
    chosen = _default_epochs(len(data.train), batch) if epochs is None else epochs
    settings = Settings(epochs=chosen, lr=lr, batch=batch, weight_decay=weight_decay, threads=threads)
    stream(seed, "teacher")  # refuses a seed that is none, before one is looked up
    _check(model, data, batch)
    recipe = _recipe(model, data, seed, settings)
    if not store:
        return _fit(model, data, seed, settings, progress)
    with teacher_store.locked(recipe):
        teacher = _stored(recipe, model, data, seed)
        if teacher is None:
            teacher = _fit(model, data, seed, settings, progress)
            _keep(recipe, teacher)
    return teacher


def _default_epochs(samples: int, batch: int) -> int:
    batches = max(1, samples / max(batch, 1))
    return max(20, math.ceil(1_500 / batches))


def _check(model: Model, data: Dataset, batch: int) -> None:
    if (model.shape, model.classes) != (data.shape, data.classes):
        raise ParameterError(
            f"the model is made for samples of shape {model.shape} in {model.classes} classes, but {data.name} has "
            f"samples of shape {data.shape} in {data.classes} classes"
        )
    if model.batch_norm and min(batch, len(data.train)) < 2:
        raise ParameterError("batch normalisation needs batches of at least 2 samples")
    for name, split in (("train", data.train), ("validation", data.validation)):
        if not len(split):
            raise ParameterError(f"{data.name}: the {name} split has no samples")
        bad = int(np.count_nonzero(~np.isfinite(split.inputs)))
        if bad:
            raise ParameterError(f"{data.name}: the {name} split holds {bad} values that are NaN or infinite")


def _recipe(model: Model, data: Dataset, seed: int, settings: Settings) -> dict[str, Any]:
    return {
        "version": RECIPE_VERSION,
        "model": dataclasses.asdict(model),
        "data": {"name": data.name, "train": data.train.hash, "validation": data.validation.hash},
        "settings": dataclasses.asdict(settings),
        "seed": int(seed),
    }


def _fit(model: Model, data: Dataset, seed: int, settings: Settings, progress: bool) -> Teacher:
    with _seeded(seed), torch_threads(settings.threads), _Bar(progress, settings.epochs) as bar:
        stack = model.build()
        optimiser = torch.optim.AdamW(stack.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        fit = _Fit(stack, optimiser, data, seed, settings, bar)
        history, best, chosen = [], None, 0
        for epoch in range(settings.epochs):
            history.append(Epoch(fit.run(epoch), _accuracy(stack, data.validation)))
            if history[epoch].validation_accuracy >= history[chosen].validation_accuracy:
                chosen, best = epoch, {name: value.clone() for name, value in stack.state_dict().items()}
    if best is not None:
        stack.load_state_dict(best)
    return _teacher(model, stack, data, seed, tuple(history), chosen)


def _teacher(model: Model, stack: Stack, data: Dataset, seed: int, history: tuple[Epoch, ...], chosen: int) -> Teacher:
    stack.eval().requires_grad_(False)
    calibration = data.train.take(min(CALIBRATION_SAMPLES, len(data.train)))
    return Teacher(model, stack, calibration, seed, history, chosen)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator (initial weights, dropout) within the block; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(stream(seed, "teacher").integers(2**63)))
        yield


@final
@dataclass(frozen=True)
class _Fit:
    """One training in progress; `run` advances it by an epoch."""

    stack: Stack
    optimiser: torch.optim.Optimizer
    data: Dataset
    seed: int
    settings: Settings
    bar: "_Bar"

    def run(self, epoch: int) -> float:
        """Train for one epoch and return the mean loss."""
        self.stack.train()
        split, size = self.data.train, self.settings.batch
        order = stream(self.seed, "teacher", "order", epoch).permutation(len(split))
        firsts = range(0, max(1, len(order) - 1), size)  # a last batch of one cannot be normalised: left out
        total = 0.0
        for index, first in enumerate(firsts):
            progress = (epoch + index / len(firsts)) / self.settings.epochs
            total += self._step(order[first : first + size], progress)
            self.bar.show(progress)
        return total / len(order)

    def _step(self, chosen: NDArray[np.int64], progress: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * (1 + math.cos(math.pi * progress)) / 2
        inputs = torch.from_numpy(self.data.train.inputs[chosen])
        self.optimiser.zero_grad()
        loss = nn.functional.cross_entropy(self.stack(inputs), torch.from_numpy(self.data.train.labels[chosen]))
        if not math.isfinite(value := loss.item()):
            raise ChipsimError(f"training diverged after {progress:.0%}, at lr = {self.settings.lr}; take a smaller lr")
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return value * len(chosen)


@torch.no_grad()
def _accuracy(stack: Stack, split: Split) -> float:
    stack.eval()
    chunks = np.array_split(np.arange(len(split)), math.ceil(len(split) / 1_024))
    right = [stack(torch.from_numpy(split.inputs[c])).argmax(1).numpy() == split.labels[c] for c in chunks]
    return float(np.concatenate(right).mean())


class _Bar:
    """A progress bar on stderr that appears when a training takes longer; never without a terminal."""

    def __init__(self, wanted: bool, epochs: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(console=console, disable=not (wanted and console.is_terminal), transient=True)
        self._task = self._progress.add_task(f"training the teacher, {epochs} epochs", total=1.0)
        self._begin, self._shown = time.monotonic(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._progress.stop()

    def show(self, share: float) -> None:
        """Report that `share` of the training is done."""
        if not self._shown and time.monotonic() - self._begin > QUIET_SECONDS:
            self._progress.start()
            self._shown = True
        self._progress.update(self._task, completed=share)


def _keep(recipe: dict[str, Any], teacher: Teacher) -> None:
    tensors = {name: value.numpy() for name, value in teacher.stack.state_dict().items()}
    record = {"history": teacher.history, "chosen": teacher.chosen, "torch": torch.__version__}
    try:
        teacher_store.save(recipe, tensors, record)
    except StoredFileError as error:
        warnings.warn(f"the teacher could not be stored: {error}", TeacherStoreWarning, stacklevel=3)


def _stored(recipe: dict[str, Any], model: Model, data: Dataset, seed: int) -> Teacher | None:
    found = teacher_store.find(recipe)
    if found is None:
        return None
    tensors, record = found
    with torch.random.fork_rng(devices=[]):
        stack = model.build()
    try:
        stack.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
        history = tuple(Epoch(*entry) for entry in record["history"])
        return _teacher(model, stack, data, seed, history, record["chosen"])
    except (RuntimeError, KeyError, TypeError) as error:
        teacher_store.warn_damaged(recipe, error)
        return None
