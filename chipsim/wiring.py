"""Wiring: how spikes and pixels reach the rows of an array, and its columns the neurons; geometry alone.

A dense array has a row for every input and a column for every neuron. A convolution is one array for its kernel, with a
row for every value under the kernel and a column for every channel, used for one output position after another; every
output position has neurons of its own. Average pooling happens on the way to the rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, namespace
from chipsim.errors import ParameterError
from chipsim.quantity import whole

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Geometry of one layer.

    inputs: shape of what comes in. pool: side of the average pooling in front. columns: of the array. kernel: (height,
    width) of a convolution, None for a dense layer; stride, padding, groups as in PyTorch. The columns of group k (of
    equal share) see the input channels of group k.
    Raises ParameterError where the numbers do not fit each other.
    """

    inputs: tuple[int, ...]
    columns: int
    pool: int = 1
    kernel: tuple[int, int] | None = None
    stride: int = 1
    padding: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        for name, least in (("pool", 1), ("stride", 1), ("padding", 0), ("groups", 1)):
            whole(getattr(self, name), name, least)
        if self.pool > 1 and (len(self.inputs) != 3 or any(size % self.pool for size in self.inputs[1:])):
            raise ParameterError(
                f"average pooling by {self.pool} needs images whose sides it divides, not inputs of shape {self.inputs}"
            )
        if self.kernel is None:
            return
        if self.inputs[0] % self.groups or self.columns % self.groups:
            raise ParameterError(
                f"{self.groups} groups must divide {self.inputs[0]} input channels and {self.columns} channels"
            )
        if min(self.outputs[1:]) < 1:
            raise ParameterError(f"a kernel of {self.kernel} does not fit an image of {self.pooled[1:]}")

    @property
    def size(self) -> int:
        """Number of values that come in, per sample."""
        return math.prod(self.inputs)

    @property
    def pooled(self) -> tuple[int, ...]:
        """Shape behind the pooling."""
        return (self.inputs[0], *(size // self.pool for size in self.inputs[1:])) if self.pool > 1 else self.inputs

    def behind_pool(self, values: AnyArray) -> AnyArray:
        """Return what reaches the rows [..., inputs behind the pooling] of values [..., inputs]."""
        if self.pool == 1:
            return values
        channels, height, width = self.pooled
        lead = tuple(values.shape[:-1])
        image = values.reshape(*lead, channels, height, self.pool, width, self.pool)
        return namespace(values).mean(image, axis=(-3, -1)).reshape(*lead, -1)

    @property
    def rows(self) -> int:
        """Rows of the array, those of the bias apart; of one group."""
        if self.kernel is None:
            return math.prod(self.pooled)
        return self.pooled[0] // self.groups * math.prod(self.kernel)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of the layer's neurons."""
        if self.kernel is None:
            return (self.columns,)
        sizes = zip(self.pooled[1:], self.kernel, strict=True)
        return (self.columns, *((size + 2 * self.padding - kernel) // self.stride + 1 for size, kernel in sizes))

    @property
    def neurons(self) -> int:
        return math.prod(self.outputs)

    @property
    def positions(self) -> int:
        """How many times the array is used for one sample and step."""
        return self.neurons // self.columns

    def drives(self, inputs: Array) -> Array:
        """Return what drives the rows, [groups, batch, positions, rows], for inputs [batch, size]."""
        batch = len(inputs)
        if self.pool > 1:
            channels, height, width = self.pooled
            inputs = inputs.reshape(batch, channels, height, self.pool, width, self.pool).mean(axis=(3, 5))
        if self.kernel is None:
            return inputs.reshape(1, batch, 1, self.rows)
        pad = (self.padding, self.padding)
        image = np.pad(inputs.reshape(batch, *self.pooled), ((0, 0), (0, 0), pad, pad))
        view: Array = np.lib.stride_tricks.sliding_window_view(image, self.kernel, axis=(2, 3))  # type: ignore[call-overload]
        view = view[:, :, :: self.stride, :: self.stride]  # [batch, channels, height, width, *kernel]
        grouped = view.reshape(batch, self.groups, -1, *view.shape[2:])
        drives: Array = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(self.groups, batch, self.positions, self.rows)
        return drives

    def product(self, inputs: Array, weight: Array, power: int = 1) -> Array:
        """Return what the array [rows, columns] gives its neurons [batch, neurons] for inputs [batch, size], with every
        row's drive raised to `power`: 2 for variances.
        """
        grouped = weight.reshape(self.rows, self.groups, -1).swapaxes(0, 1)
        columns = self.drives(inputs) ** power @ grouped[:, None]  # [groups, batch, positions, columns of the group]
        gathered: Array = columns.transpose(1, 0, 3, 2).reshape(len(inputs), self.neurons)
        return gathered

    def outer(self, inputs: Array, delta: Array) -> Array:
        """Return the sum over samples and positions of row drive times `delta` [batch, neurons], [rows, columns]."""
        grouped = delta.reshape(len(inputs), self.groups, -1, self.positions).transpose(1, 0, 3, 2)
        drives = self.drives(inputs).reshape(self.groups, -1, self.rows)
        summed = drives.swapaxes(1, 2) @ grouped.reshape(self.groups, drives.shape[1], -1)
        together: Array = summed.swapaxes(0, 1).reshape(self.rows, self.columns)
        return together

    def shared(self, inputs: Array) -> Array:
        """Return the sum over the positions of each column [batch, columns] of values [batch, neurons]."""
        summed: Array = inputs.reshape(len(inputs), self.columns, self.positions).sum(axis=2)
        return summed
