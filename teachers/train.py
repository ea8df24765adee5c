"""train: fit a Model to a data set. The same seed gives the same weights; the test split is never looked at.

AdamW on the cross-entropy, mini-batches in an order keyed by (seed, epoch), random crops and flips (optional) keyed
likewise, and a learning rate that falls to 0 along half a cosine:  lr(k) = lr (1 + cos(pi k / K)) / 2  at step k of K.
The weights kept are those of the epoch with the highest accuracy on the validation split (the latest of several). A
long training leaves a checkpoint in the cache every few minutes, and goes on from there.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from chipsim.checkpoint import EVERY, Checkpoint
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.progress import Bar
from chipsim.streams import stream
from teachers import store as teacher_store
from teachers.augment import augment
from teachers.datasets import Dataset, Split
from teachers.device import checked_device, cores, exact, torch_threads
from teachers.models import Model, Stack
from teachers.store import TeacherStoreWarning
from teachers.targets import CALIBRATION_SAMPLES, Epoch, Teacher, chunk

RECIPE_VERSION = 2  # raise it with any change here or in models.py that changes the weights of a seed
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what PyTorch's Adam remembers of a parameter


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; part of what a stored teacher is found by. Raises ParameterError for a value out of range.

    threads: None stands for all cores, whatever their number, so that the teacher is found where it is other.
    """

    epochs: int
    lr: float
    batch: int
    weight_decay: float
    crop: int
    flip: bool
    noise: float
    threads: int | None
    device: str

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("threads", 1), ("crop", 0)):
            value = getattr(self, name)
            if (name, value) != ("threads", None) and (not isinstance(value, int) or value < least):
                raise ParameterError(f"{name} must be an integer of at least {least}, not {value}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ParameterError(f"lr must be finite and above 0, not {self.lr}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ParameterError(f"weight_decay must be finite and at least 0, not {self.weight_decay}")
        if not 0 <= self.noise <= 2:
            raise ParameterError(f"noise must be from 0 to 2, not {self.noise}")


def train(
    model: Model,
    data: Dataset,
    *,
    seed: int,
    epochs: int | None = None,
    lr: float = 1e-3,
    batch: int = 128,
    weight_decay: float = 0.0,
    crop: int = 0,
    flip: bool = False,
    noise: float = 0.0,
    threads: int | None = None,
    device: str = "cpu",
    progress: bool = True,
    store: bool = True,
) -> Teacher:
    """Return `model` trained on `data.train`, the epoch chosen on `data.validation`.

    epochs: 20 by default, and more for a small data set, so that at least 1,500 mini-batches are seen.
    crop: pixels by which images are moved at random, anew in each epoch, in both directions. flip: mirror half of them.
    noise: of noise-aware training: every mini-batch meets another network, each of whose weights, and of whose neurons'
    drives, is multiplied by 1 + noise N(0, 1) (as Joshi et al. 2020 do with weights, Büchel et al. 2021 with both).
    store: a teacher that was trained before in this very way is read from chipsim's cache, and a new one is kept there
    (a damaged one is trained anew, with a TeacherStoreWarning), as is what a long training has reached every few
    minutes; it goes on from there, and comes to the same end as one that was never stopped. threads: PyTorch threads
    while training; sums are ordered differently with another number, so it counts as a setting. By default 1, and all
    cores for a model with convolutions: its weights are then the same on the same machine. device: "cpu" or "cuda", a
    setting like threads. progress: a bar on stderr when training takes longer and stderr is a terminal. Raises
    ParameterError for settings out of range, data that hold NaN or infinity, or a model made for other data;
    ChipsimError when training diverges.
    """
    chosen = _default_epochs(len(data.train), batch) if epochs is None else epochs
    settings = Settings(
        epochs=chosen,
        lr=lr,
        batch=batch,
        weight_decay=weight_decay,
        crop=crop,
        flip=flip,
        noise=noise,
        threads=1 if threads is None and not model.convolutions else threads,
        device=device,
    )
    stream(seed, "teacher")  # refuses a seed that is none, before one is looked up
    _check(model, data, settings)
    recipe = _recipe(model, data, seed, settings)
    if not store:
        return _fit(model, data, seed, settings, progress)
    with teacher_store.locked(recipe):
        teacher = _stored(recipe, model, data, seed)
        if teacher is None:
            checkpoint = _checkpoint(recipe)
            teacher = _fit(model, data, seed, settings, progress, checkpoint)
            if _keep(recipe, teacher) and checkpoint is not None:
                checkpoint.path.unlink(missing_ok=True)
    return teacher


def _default_epochs(samples: int, batch: int) -> int:
    batches = max(1, samples / max(batch, 1))
    return max(20, math.ceil(1_500 / batches))


def _check(model: Model, data: Dataset, settings: Settings) -> None:
    if (model.shape, model.classes) != (data.shape, data.classes):
        raise ParameterError(
            f"the model is made for samples of shape {model.shape} in {model.classes} classes, but {data.name} has "
            f"samples of shape {data.shape} in {data.classes} classes"
        )
    if (settings.crop or settings.flip) and len(data.shape) != 3:
        raise ParameterError(f"crop and flip need samples [channels, height, width], not of shape {data.shape}")
    if model.batch_norm and min(settings.batch, len(data.train)) < 2:
        raise ParameterError("batch normalisation needs batches of at least 2 samples")
    for name, split in (("train", data.train), ("validation", data.validation)):
        if not len(split):
            raise ParameterError(f"{data.name}: the {name} split has no samples")
        bad = int(np.count_nonzero(~np.isfinite(split.inputs)))
        if bad:
            raise ParameterError(f"{data.name}: the {name} split holds {bad} values that are NaN or infinite")


def _recipe(model: Model, data: Dataset, seed: int, settings: Settings) -> dict[str, Any]:
    chosen = dataclasses.asdict(settings)
    if not settings.noise:  # the weights are those of a training that knew no noise
        del chosen["noise"]
    return {
        "version": RECIPE_VERSION,
        "model": dataclasses.asdict(model),
        "data": {"name": data.name, "train": data.train.hash, "validation": data.validation.hash},
        "settings": chosen,
        "seed": int(seed),
    }


def _checkpoint(recipe: dict[str, Any]) -> Checkpoint | None:
    """Where a training keeps what it has reached; None where the cache cannot be written."""
    try:
        return Checkpoint(teacher_store.paths(recipe)[0].with_suffix(".checkpoint"), recipe)
    except StoredFileError:
        return None


def _fit(
    model: Model,
    data: Dataset,
    seed: int,
    settings: Settings,
    progress: bool,
    checkpoint: Checkpoint | None = None,
) -> Teacher:
    device, threads = checked_device(settings.device), settings.threads or cores()
    title = f"training the teacher, {settings.epochs} epochs"
    with _seeded(seed, device), torch_threads(threads), exact(device), Bar(title, progress) as bar:
        stack = model.build().to(device)
        optimiser = torch.optim.AdamW(stack.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        fit = _Fit(stack, optimiser, data, seed, settings, bar, checkpoint)
        fit.restore()
        for epoch in range(len(fit.history), settings.epochs):
            fit.run(epoch)
            fit.judge(_accuracy(stack, data.validation, chunk(model), device))
    fit.load(fit.best)
    return _teacher(model, stack, data, seed, tuple(fit.history), fit.chosen)


def _teacher(model: Model, stack: Stack, data: Dataset, seed: int, history: tuple[Epoch, ...], chosen: int) -> Teacher:
    stack.cpu().eval().requires_grad_(False)
    calibration = data.train.take(min(CALIBRATION_SAMPLES, len(data.train)))
    return Teacher(model, stack, calibration, seed, history, chosen)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's generators (initial weights: the CPU's; dropout: the device's) within the block; restore them."""
    gpus = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        key = int(stream(seed, "teacher").integers(2**63))
        torch.default_generator.manual_seed(key)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(key)
        yield


@final
@dataclass(eq=False)
class _Fit:
    """One training in progress: `run` and `judge` advance it by an epoch.

    history, chosen, best: of the epochs so far, the best of them, and the values of its stack. batches, total: of the
    epoch at hand, and the sum of their samples' losses.
    """

    stack: Stack
    optimiser: torch.optim.Optimizer
    data: Dataset
    seed: int
    settings: Settings
    bar: Bar
    checkpoint: Checkpoint | None
    history: list[Epoch] = field(default_factory=list)
    chosen: int = 0
    best: list[Tensor] = field(default_factory=list)
    batches: int = 0
    total: float = 0.0
    saved: float = field(default_factory=time.monotonic)

    def run(self, epoch: int) -> None:
        """Train for what is left of one epoch."""
        self.stack.train()
        split, size = self.data.train, self.settings.batch
        order = stream(self.seed, "teacher", "order", epoch).permutation(len(split))
        draws = stream(self.seed, "teacher", "augment", epoch)
        firsts = range(0, max(1, len(order) - 1), size)  # a last batch of one cannot be normalised: left out
        for index, first in enumerate(firsts):
            chosen = order[first : first + size]
            images = self._images(chosen, draws)
            if index < self.batches:  # it was seen before the training was stopped
                continue
            progress = (epoch + index / len(firsts)) / self.settings.epochs
            self.total += self._step(images, split.labels[chosen], progress)
            self.batches = index + 1
            self.bar.show(progress)
            if time.monotonic() - self.saved > EVERY:
                self._save()

    def judge(self, accuracy: float) -> None:
        """End an epoch, after which the network has this accuracy on the validation split."""
        self.history.append(Epoch(self.total / len(self.data.train), accuracy))
        if accuracy >= self.history[self.chosen].validation_accuracy:
            self.chosen, self.best = len(self.history) - 1, [value.clone() for value in self._values()]
        self.batches, self.total = 0, 0.0

    def load(self, values: list[Tensor]) -> None:
        """Give the stack these values."""
        self.stack.load_state_dict(dict(zip(self.stack.state_dict(), values, strict=True)))

    def restore(self) -> None:
        """Go on from the checkpoint, if there is a good one."""
        found = None
        try:
            found = self.checkpoint.load(self._reached()) if self.checkpoint is not None else None
        except StoredFileError as error:
            warnings.warn(f"a training begins anew: {error}", TeacherStoreWarning, stacklevel=4)
        if found is None:
            return
        values, moments, generators, history, self.chosen, self.best, self.batches, self.total = found
        self.load(values)
        for parameter, moment in zip(self.stack.parameters(), moments, strict=True):
            self.optimiser.state[parameter] = dict(zip(MOMENTS, moment, strict=True))
        torch.set_rng_state(generators[0])
        for state in generators[1:]:
            torch.cuda.set_rng_state(state, self.stack.readout.weight.device)
        self.history = [Epoch(*map(float, epoch)) for epoch in history]

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        try:
            self.checkpoint.save(self._reached())
        except StoredFileError as error:
            warnings.warn(f"a training goes on without checkpoints: {error}", TeacherStoreWarning, stacklevel=5)
            self.checkpoint = None
        self.saved = time.monotonic()

    def _reached(self) -> Any:
        """What a checkpoint keeps; before the first step the optimiser remembers nothing, and nothing is the best."""
        nothing, device = torch.zeros(()), self.stack.readout.weight.device
        moments = [
            tuple(self.optimiser.state[p].get(name) for name in MOMENTS)
            if p in self.optimiser.state
            else (nothing, p, p)
            for p in self.stack.parameters()
        ]
        generators = [torch.get_rng_state()]
        if device.type == "cuda":
            generators.append(torch.cuda.get_rng_state(device))
        history, best = np.array(self.history, dtype=np.float64).reshape(-1, 2), self.best or self._values()
        return self._values(), moments, generators, history, self.chosen, best, self.batches, self.total

    def _values(self) -> list[Tensor]:
        return list(self.stack.state_dict().values())

    def _images(self, chosen: NDArray[np.int64], draws: np.random.Generator) -> NDArray[np.float32]:
        images = self.data.train.inputs[chosen]
        if self.settings.crop or self.settings.flip:
            images = augment(images, crop=self.settings.crop, flip=self.settings.flip, rng=draws)
        return images

    def _step(self, images: NDArray[np.float32], labels: NDArray[np.int64], progress: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * (1 + math.cos(math.pi * progress)) / 2
        device = self.stack.readout.weight.device
        self.optimiser.zero_grad()
        shown = torch.from_numpy(images).to(device)
        noise = self.settings.noise
        logits = functional_call(self.stack, _disturbed(self.stack, noise), shown) if noise else self.stack(shown)
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels).to(device))
        if not math.isfinite(value := loss.item()):
            raise ChipsimError(f"training diverged after {progress:.0%}, at lr = {self.settings.lr}; take a smaller lr")
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return value * len(labels)


def _disturbed(stack: Stack, noise: float) -> dict[str, Tensor]:
    """The parameters of a network whose weights and neurons' drives are each off by a factor 1 + noise N(0, 1)."""
    names = {id(parameter): name for name, parameter in stack.named_parameters()}
    found: dict[str, Tensor] = {}
    for linear, norm in [*((block.linear, block.norm) for block in stack.hidden), (stack.readout, None)]:
        weight, bias = linear.weight, linear.bias
        assert bias is not None
        weight = weight * (1 + noise * torch.randn_like(weight))
        gain = 1 + noise * torch.randn(len(weight), device=weight.device, dtype=weight.dtype)
        if norm is None:
            weight, bias = weight * gain.reshape(-1, *[1] * (weight.dim() - 1)), bias * gain
        else:
            found |= {names[id(norm.weight)]: norm.weight * gain, names[id(norm.bias)]: norm.bias * gain}
        found |= {names[id(linear.weight)]: weight, names[id(linear.bias)]: bias}
    return found


@torch.no_grad()
def _accuracy(stack: Stack, split: Split, size: int, device: torch.device) -> float:
    stack.eval()
    right = []
    for chosen in np.array_split(np.arange(len(split)), math.ceil(len(split) / size)):
        logits = stack(torch.from_numpy(split.inputs[chosen]).to(device))
        right.append(logits.argmax(1).cpu().numpy() == split.labels[chosen])
    return float(np.concatenate(right).mean())


def _keep(recipe: dict[str, Any], teacher: Teacher) -> bool:
    """Whether the teacher is stored now."""
    tensors = {name: value.numpy() for name, value in teacher.stack.state_dict().items()}
    threads = recipe["settings"]["threads"] or cores()
    record = {"history": teacher.history, "chosen": teacher.chosen, "torch": torch.__version__, "threads": threads}
    try:
        teacher_store.save(recipe, tensors, record)
    except StoredFileError as error:
        warnings.warn(f"the teacher could not be stored: {error}", TeacherStoreWarning, stacklevel=3)
        return False
    return True


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
