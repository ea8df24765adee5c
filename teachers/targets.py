"""Teacher: a trained network. Targets: the rates that it wants from every neuron of a chip, batch by batch.

    rate_l = clip(a_l / P_p(a_l), 0, 1)

a_l are the activations of hidden layer l in eval mode, P_p their p-th percentile, by nearest rank, over all neurons
and samples. A chip needs constants, so P_p is taken once, on a calibration set (the first samples of the training
split); `per_batch=True` takes it anew from each mini-batch, as the published code of Local Tandem Learning does.
"""

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import nn

from chipsim.errors import ParameterError
from chipsim.network import Conv2d, Dense, Layer, Network
from chipsim.streams import stream
from chipsim.wiring import Wiring
from teachers.augment import Augmented
from teachers.datasets import Split
from teachers.device import checked_device, exact, torch_threads
from teachers.models import Model, Stack, fold

Array = NDArray[np.floating]

CALIBRATION_SAMPLES = 2_048
CHUNK = 1_024  # samples that pass through the teacher at once, at most
CHUNK_BYTES = 2**28  # of their activations in float64, at most


def chunk(model: Model) -> int:
    """Return how many samples pass through a teacher at once: CHUNK, or as many as CHUNK_BYTES has room for."""
    return max(1, min(CHUNK, CHUNK_BYTES // (8 * sum(wiring.neurons for wiring in model.wirings))))


def _checked_percentile(percentile: float) -> float:
    if not 0 < percentile <= 100:
        raise ParameterError(f"percentile must be above 0 and at most 100, not {percentile}")
    return float(percentile)


def _rank_from_top(percentile: float, size: int) -> int:
    return size - max(1, math.ceil(percentile * size / 100 - 1e-9)) + 1


def _largest(values: Array, count: int) -> Array:
    return values if values.size <= count else np.partition(values, values.size - count)[-count:]


def nearest_rank(values: Array, percentile: float) -> float:
    """Return the smallest of `values` that at least `percentile` % of them do not exceed.

    >>> nearest_rank(np.arange(1.0, 11.0), 85)
    9.0
    """
    return float(_largest(values.ravel(), _rank_from_top(percentile, values.size)).min())


def _positive(constants: Sequence[float], percentile: float) -> tuple[float, ...]:
    for index, constant in enumerate(constants):
        if not constant > 0:
            raise ParameterError(
                f"the {percentile} % percentile of hidden layer {index} is 0, so it cannot scale rates; take a higher "
                f"percentile, more samples, or train the teacher again"
            )
    return tuple(constants)


class Epoch(NamedTuple):
    """One epoch of training: mean loss on the training split, accuracy on the validation split."""

    loss: float
    validation_accuracy: float


@final
@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network.

    stack: its module, in eval mode. calibration: samples that percentile constants are taken from. history: one entry
    per epoch; the weights are those after epoch `chosen`, the one of highest validation accuracy.
    """

    model: Model
    stack: Stack = field(repr=False)
    calibration: Split
    seed: int
    history: tuple[Epoch, ...] = field(repr=False)
    chosen: int

    def accuracy(self, split: Split, *, device: str = "cpu") -> float:
        """Return the share of `split` that the teacher classifies right, in 0..1; computed in float32."""
        _check_split(self.model, split)
        place, size = checked_device(device), chunk(self.model)
        stack = copy.deepcopy(self.stack).to(place)
        right = 0
        with torch.no_grad(), torch_threads(1), exact(place):
            for first in range(0, len(split), size):
                logits = stack(torch.tensor(split.inputs[first : first + size], device=place))
                right += int(np.count_nonzero(logits.argmax(1).cpu().numpy() == split.labels[first : first + size]))
        return right / len(split)

    def constants(self, percentile: float = 99.9, *, device: str = "cpu") -> tuple[float, ...]:
        """Return the percentile constant of each hidden layer on the calibration set, by nearest rank.

        Raises ParameterError when one is 0 (a layer that is silent at that percentile).
        """
        asked = _checked_percentile(percentile), str(checked_device(device))
        if asked not in self._known_constants:
            self._known_constants[asked] = self._find_constants(*asked)
        return self._known_constants[asked]

    def _find_constants(self, percentile: float, device: str) -> tuple[float, ...]:
        tops: list[Array] = []
        size = chunk(self.model)
        for first in range(0, len(self.calibration), size):
            *layers, _ = self.activations(self.calibration.inputs[first : first + size], device=device)
            tops = tops or [np.empty(0, layer.dtype) for layer in layers]
            for index, layer in enumerate(layers):
                # Only the values from the wanted rank up are kept: convolutions have too many to keep them all.
                rank = _rank_from_top(percentile, layer[0].size * len(self.calibration))
                tops[index] = _largest(np.concatenate((tops[index], layer.ravel())), rank)
        return _positive([float(top.min()) for top in tops], percentile)

    def network(self, *, percentile: float = 99.9, device: str = "cpu") -> Network:
        """Return the network for a chip: batch normalisation folded, in float64, percentile constants, index by index.

        Its inputs are a sample's values in 0..1, flattened as [channels, height, width]; the constant of the read-out
        is 1. device: where the constants are computed.
        """
        folded = self._folded(torch.float64, torch.device("cpu"))
        linears = [*((block.linear, block.shortcut) for block in folded.hidden), (folded.readout, None)]
        constants = (*self.constants(percentile, device=device), 1.0)
        layers = zip(linears, self.model.wirings, constants, strict=True)
        return Network(tuple(_layer(*linear, wiring, c) for linear, wiring, c in layers), self.model.shape)

    def targets(
        self,
        split: Split | Augmented,
        *,
        percentile: float = 99.9,
        readout: Literal["labels", "teacher"] = "labels",
        per_batch: bool = False,
        seed: int = 0,
        samples: int | None = None,
        device: str = "cpu",
    ) -> "Targets":
        """Return the rates that this teacher wants for `split`, or for its first `samples`; see Targets.

        readout: the last layer's rates are the one-hot "labels", or the softmax outputs of the "teacher". seed: of the
        order of the samples. device: where the teacher computes. Raises ParameterError for a value out of range.
        """
        chosen = split if samples is None else split.take(samples)
        return Targets(self, chosen, _checked_percentile(percentile), readout, per_batch, seed, device)

    def activations(self, inputs: Array, *, dtype: DTypeLike | None = None, device: str = "cpu") -> list[Array]:
        """Return what every hidden layer and the read-out (its logits) give for inputs [b, *shape].

        dtype: float64 or float32. By default float32 for a teacher with convolutions, which take 5 to 15 times as long
        in float64 (1e-7 plays no part for a rate that is counted over some ten steps), and float64 for others.
        Raises ParameterError for another dtype, and for a device that is not there.
        """
        place, number = checked_device(device), np.dtype(self._dtype if dtype is None else dtype)
        if number not in (np.float32, np.float64):
            raise ParameterError(f"dtype must be float32 or float64, not {number}")
        kind = torch.float32 if number == np.float32 else torch.float64
        with torch.no_grad(), torch_threads(1), exact(place):
            layers = self._folded(kind, place).activations(torch.tensor(inputs, dtype=kind, device=place))
            return [layer.contiguous().cpu().numpy() for layer in layers]

    @property
    def _dtype(self) -> DTypeLike:
        return np.float32 if self.model.convolutions else np.float64

    def _folded(self, dtype: torch.dtype, device: torch.device) -> Stack:
        if (dtype, device) not in self._copies:
            self._copies[dtype, device] = fold(copy.deepcopy(self.stack).double()).to(device, dtype)
        return self._copies[dtype, device]

    @functools.cached_property
    def _copies(self) -> dict[tuple[torch.dtype, torch.device], Stack]:
        return {}

    @functools.cached_property
    def _known_constants(self) -> dict[tuple[float, str], tuple[float, ...]]:
        return {}


def _check_split(model: Model, split: Split | Augmented) -> None:
    if not len(split):
        raise ParameterError("a teacher needs a split with at least one sample")
    if split.inputs.shape[1:] != model.shape:
        raise ParameterError(f"the teacher reads samples of shape {model.shape}, not {split.inputs.shape[1:]}")


def _layer(linear: nn.Linear | nn.Conv2d, shortcut: int | None, wiring: Wiring, constant: float) -> Layer:
    assert linear.bias is not None
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    if isinstance(linear, nn.Linear):
        return Dense(weight=weight.T, bias=bias, constant=constant, pool=wiring.pool)
    return Conv2d(
        weight=weight,
        bias=bias,
        constant=constant,
        pool=wiring.pool,
        shortcut=shortcut,
        stride=wiring.stride,
        padding=wiring.padding,
    )


class TargetBatch(NamedTuple):
    """A batch of b samples: inputs [b, features], labels [b], and the wanted rates of each layer, read-out last."""

    inputs: Array
    labels: NDArray[np.int64]
    rates: tuple[Array, ...]


@final
@dataclass(frozen=True, eq=False)
class Targets:
    """The wanted rates of a split, computed one batch at a time; iterating gives batches of 64.

    A batch's rates are [b, neurons] of each hidden layer, in 0..1, and [b, classes] of the read-out. Images, of inputs
    and of convolutions, are flattened from [channels, height, width]. Numbers are float64, or float32 for a teacher
    with convolutions. Raises ParameterError for an unknown `readout`, a split without samples, an unknown device.
    """

    teacher: Teacher
    split: Split | Augmented
    percentile: float
    readout: Literal["labels", "teacher"]
    per_batch: bool
    seed: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        checked_device(self.device)
        if self.readout not in ("labels", "teacher"):
            raise ParameterError(f"readout must be 'labels' or 'teacher', not {self.readout!r}")
        _check_split(self.teacher.model, self.split)

    def __len__(self) -> int:
        return len(self.split)

    def __iter__(self) -> Iterator[TargetBatch]:
        return self.batches(64)

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]:
        """Yield every sample once, in batches of `size` (the last may be shorter).

        The order is a permutation keyed by (seed, epoch). Raises ParameterError for a size below 1.
        """
        if size < 1:
            raise ParameterError(f"a batch needs at least 1 sample, not {size}")
        constants = None if self.per_batch else self._constants
        order = stream(self.seed, "targets", epoch).permutation(len(self))
        return (self._batch(order[first : first + size], constants) for first in range(0, len(order), size))

    def _batch(self, indices: NDArray[np.int64], constants: tuple[float, ...] | None) -> TargetBatch:
        images, labels = self.split.inputs[indices], self.split.labels[indices]
        *hidden, logits = self.teacher.activations(images, device=self.device)
        scales = self._of_batch(hidden) if constants is None else constants
        rates = [_rates(layer, scale) for layer, scale in zip(hidden, scales, strict=True)]
        inputs = images.reshape(len(images), -1).astype(logits.dtype)
        return TargetBatch(inputs, labels, (*rates, self._readout_rates(labels, logits)))

    @functools.cached_property
    def _constants(self) -> tuple[float, ...]:
        return self.teacher.constants(self.percentile, device=self.device)

    def _of_batch(self, hidden: Sequence[Array]) -> tuple[float, ...]:
        return _positive([nearest_rank(layer, self.percentile) for layer in hidden], self.percentile)

    def _readout_rates(self, labels: NDArray[np.int64], logits: Array) -> Array:
        if self.readout == "labels":
            return np.eye(logits.shape[1], dtype=logits.dtype)[labels]
        powers: Array = np.exp(logits - np.max(logits, axis=1, keepdims=True))
        total: Array = np.sum(powers, axis=1, keepdims=True)
        return powers / total


def _rates(layer: Array, constant: float) -> Array:
    scaled = layer.reshape(len(layer), -1) / constant
    return np.clip(scaled, 0.0, 1.0, out=scaled)
