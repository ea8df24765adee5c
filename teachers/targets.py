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
from numpy.typing import NDArray
from torch import Tensor, nn

from chipsim.errors import ChipsimError, ParameterError
from chipsim.network import Dense, Network
from chipsim.streams import stream
from teachers.datasets import Split
from teachers.models import Model, Stack, fold
from teachers.threads import torch_threads

Array = NDArray[np.float64]

CALIBRATION_SAMPLES = 2_048
CHUNK = 1_024  # samples that pass through the teacher at once


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

    def accuracy(self, split: Split) -> float:
        """Return the share of `split` that the teacher classifies right, in 0..1."""
        _check_split(self.model, split)
        right = 0
        with torch.no_grad(), torch_threads(1):
            for first in range(0, len(split), CHUNK):
                logits = self.stack(_tensor(split.inputs[first : first + CHUNK], torch.float32))
                right += int(np.count_nonzero(logits.argmax(1).numpy() == split.labels[first : first + CHUNK]))
        return right / len(split)

    def constants(self, percentile: float = 99.9) -> tuple[float, ...]:
        """Return the percentile constant of each hidden layer on the calibration set, by nearest rank.

        Raises ParameterError when one is 0 (a layer that is silent at that percentile).
        """
        _checked_percentile(percentile)
        tops = [np.empty(0) for _ in range(self.model.depth)]
        for first in range(0, len(self.calibration), CHUNK):
            inputs = self.calibration.inputs[first : first + CHUNK]
            for index, layer in enumerate(self.activations(inputs)[:-1]):
                # Only the values from the wanted rank up are kept: convolutions have too many to keep them all.
                rank = _rank_from_top(percentile, layer[0].size * len(self.calibration))
                tops[index] = _largest(np.concatenate((tops[index], layer.ravel())), rank)
        return _positive([float(top.min()) for top in tops], percentile)

    def network(self, *, percentile: float = 99.9) -> Network:
        """Return the network for a chip: batch normalisation folded, weights [inputs, outputs], percentile constants.

        Its inputs are a sample's values in 0..1, flattened; the constant of the read-out is 1. Raises ChipsimError for
        a teacher with convolutions.
        """
        if self.model.convolutions:
            raise ChipsimError(
                "a teacher with convolutions cannot be mapped yet: convolutions come with the fast engine"
            )
        linears = [*(block.linear for block in self._folded.hidden), self._folded.readout]
        constants = (*self.constants(percentile), 1.0)
        return Network(tuple(_dense(linear, c) for linear, c in zip(linears, constants, strict=True)))

    def targets(
        self,
        split: Split,
        *,
        percentile: float = 99.9,
        readout: Literal["labels", "teacher"] = "labels",
        per_batch: bool = False,
        seed: int = 0,
        samples: int | None = None,
    ) -> "Targets":
        """Return the rates that this teacher wants for `split`, or for its first `samples`; see Targets.

        readout: the last layer's rates are the one-hot "labels", or the softmax outputs of the "teacher". seed: of the
        order of the samples. Raises ParameterError for a value out of range.
        """
        chosen = split if samples is None else split.take(samples)
        return Targets(self, chosen, _checked_percentile(percentile), readout, per_batch, seed)

    def activations(self, inputs: NDArray[np.floating]) -> list[Array]:
        """Return what every hidden layer and the read-out (its logits) give for inputs [b, *shape], in float64."""
        with torch.no_grad(), torch_threads(1):
            return [layer.numpy() for layer in self._folded.activations(_tensor(inputs, torch.float64))]

    @functools.cached_property
    def _folded(self) -> Stack:
        return fold(copy.deepcopy(self.stack).double())


def _check_split(model: Model, split: Split) -> None:
    if not len(split):
        raise ParameterError("a teacher needs a split with at least one sample")
    if split.inputs.shape[1:] != model.shape:
        raise ParameterError(f"the teacher reads samples of shape {model.shape}, not {split.inputs.shape[1:]}")


def _tensor(values: NDArray[np.floating], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def _dense(linear: nn.Module, constant: float) -> Dense:
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    return Dense(weight=weight.T, bias=bias, constant=constant)


class TargetBatch(NamedTuple):
    """A batch of b samples: inputs [b, *features], labels [b], and the wanted rates of each layer, read-out last."""

    inputs: Array
    labels: NDArray[np.int64]
    rates: tuple[Array, ...]


@final
@dataclass(frozen=True, eq=False)
class Targets:
    """The wanted rates of a split, computed one batch at a time; iterating gives batches of 64.

    A batch's rates are [b, neurons] of each hidden layer ([b, channels, height, width] of a convolution), in 0..1, and
    [b, classes] of the read-out. Raises ParameterError for an unknown `readout` and for a split without samples.
    """

    teacher: Teacher
    split: Split
    percentile: float
    readout: Literal["labels", "teacher"]
    per_batch: bool
    seed: int

    def __post_init__(self) -> None:
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
        inputs, labels = self.split.inputs[indices].astype(np.float64), self.split.labels[indices]
        *hidden, logits = self.teacher.activations(inputs)
        scales = self._of_batch(hidden) if constants is None else constants
        rates = [np.clip(layer / scale, 0.0, 1.0) for layer, scale in zip(hidden, scales, strict=True)]
        if not self.teacher.model.convolutions:
            inputs = inputs.reshape(len(inputs), -1)
        return TargetBatch(inputs, labels, (*rates, self._readout_rates(labels, logits)))

    @functools.cached_property
    def _constants(self) -> tuple[float, ...]:
        return self.teacher.constants(self.percentile)

    def _of_batch(self, hidden: Sequence[Array]) -> tuple[float, ...]:
        return _positive([nearest_rank(layer, self.percentile) for layer in hidden], self.percentile)

    def _readout_rates(self, labels: NDArray[np.int64], logits: Array) -> Array:
        if self.readout == "labels":
            return np.eye(logits.shape[1])[labels]
        powers: Array = np.exp(logits - np.max(logits, axis=1, keepdims=True))
        total: Array = np.sum(powers, axis=1, keepdims=True)
        return powers / total
