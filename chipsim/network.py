"""Network: the hand-over from a teacher to a chip, plain arrays and nothing of PyTorch."""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.errors import ParameterError
from chipsim.streams import stream
from chipsim.wiring import Wiring

Array = NDArray[np.float64]


def _finite(name: str, values: ArrayLike, dimensions: int) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.ndim != dimensions or 0 in array.shape:
        raise ParameterError(f"{name} must be an array of {dimensions} dimensions, not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ParameterError(f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(ABC):
    """What dense and convolutional layers share.

    bias: [outputs] of a dense layer, [channels] of a convolution. constant: the percentile constant c of the layer's
    activations, the activation that stands for a rate of 1: rate = clip(activation / c, 0, 1); 1 for a read-out.
    pool: side of the average pooling of the layer's inputs, 1 for none. shortcut: index of an earlier layer whose
    activations are added to this layer's before its nonlinearity (residual addition): identity, every second (third
    ...) pixel where the image is smaller here, nothing for channels that the earlier layer has not.
    """

    weight: Array
    bias: Array
    constant: float = 1.0
    pool: int = 1
    shortcut: int | None = None

    dimensions: ClassVar[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _finite("weight", self.weight, self.dimensions))
        object.__setattr__(self, "bias", _finite("bias", self.bias, 1))
        if self.bias.shape != (self.matrix.shape[1],):
            raise ParameterError(f"bias has {len(self.bias)} values, but the weight has {self.matrix.shape[1]} outputs")
        if not (np.isfinite(self.constant) and self.constant > 0):
            raise ParameterError(f"percentile constant must be finite and above 0, not {self.constant}")

    @property
    @abstractmethod
    def matrix(self) -> Array:
        """Weights in the orientation of a crossbar [rows, columns]."""

    @abstractmethod
    def wiring(self, shape: tuple[int, ...]) -> Wiring:
        """Return how inputs of `shape` reach the array, and its columns the neurons."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Layer):
    """A fully connected layer, y = x @ weight + bias; inputs of any shape are flattened.

    weight: [inputs, outputs], the orientation of a crossbar (rows x columns). bias: [outputs].
    """

    dimensions: ClassVar[int] = 2

    @property
    def matrix(self) -> Array:
        return self.weight

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[1])

    def wiring(self, shape: tuple[int, ...]) -> Wiring:
        wiring = Wiring(inputs=shape, pool=self.pool, columns=self.outputs)
        if wiring.rows != self.inputs:
            raise ParameterError(f"a layer of {wiring.rows} outputs feeds a layer of {self.inputs} inputs")
        return wiring


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d(Layer):
    """A two-dimensional convolution (PyTorch's convention: cross-correlation), plus bias per channel.

    weight: [channels, input channels / groups, height, width]. bias: [channels]. stride, padding (zeros): in pixels.
    """

    dimensions: ClassVar[int] = 4

    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def matrix(self) -> Array:
        return self.weight.reshape(len(self.weight), -1).T

    def wiring(self, shape: tuple[int, ...]) -> Wiring:
        channels, per_group, height, width = self.weight.shape
        if len(shape) != 3 or shape[0] != per_group * self.groups:
            raise ParameterError(
                f"a convolution of {per_group * self.groups} input channels cannot read inputs of shape {shape}; "
                "it needs [channels, height, width]"
            )
        return Wiring(
            inputs=shape,
            pool=self.pool,
            columns=channels,
            kernel=(height, width),
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


@final
@dataclass(frozen=True, eq=False)
class Network:
    """Layers, input side first; the last one is the read-out. Raises ParameterError when sizes do not chain.

    shape: of one sample, as in (1, 28, 28); by default that of the flat inputs of a dense first layer.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.layers, Layer):
            raise ParameterError("Network.layers must be a tuple, as (layer,) is")
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise ParameterError("a network needs at least one layer, and each must be a Dense or a Conv2d")
        if self.shape is None:
            if not isinstance(self.layers[0], Dense):
                raise ParameterError("a network that begins with a convolution needs the shape of its samples")
            object.__setattr__(self, "shape", (self.layers[0].inputs,))
        for index, (layer, _) in enumerate(zip(self.layers, self.wirings, strict=True)):  # wirings chain, or raise
            if layer.shortcut is not None:
                self._check_shortcut(index, layer.shortcut)

    def _check_shortcut(self, index: int, source: int) -> None:
        if not 0 <= source < index or index == len(self.layers) - 1:
            raise ParameterError(f"layer {index} cannot add layer {source}: only hidden layers add earlier ones")
        below, here = self.wirings[source].outputs, self.wirings[index].outputs
        fits = (
            len(below) == len(here)
            and below[0] <= here[0]
            and all(
                big % small == 0 and big // small == below[1] // here[1]
                for big, small in zip(below[1:], here[1:], strict=True)
            )
        )
        if not fits:
            raise ParameterError(f"layer {index} of shape {here} cannot add layer {source} of shape {below}")

    @cached_property
    def wirings(self) -> tuple[Wiring, ...]:
        """How each layer's inputs reach its array, and its columns its neurons."""
        shape, found = self.shape or (), []
        for layer in self.layers:
            found.append(layer.wiring(shape))
            shape = found[-1].outputs
        return tuple(found)

    @classmethod
    def random(cls, sizes: Sequence[int], *, seed: int, threshold: float = 0.6) -> Self:
        """Draw a fully connected network of these `sizes`; weights and biases as in `redrawn`."""
        if len(sizes) < 2 or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ParameterError(f"sizes must be two or more whole numbers of at least 1, not {tuple(sizes)}")
        blank = [Dense(weight=np.zeros(pair), bias=np.zeros(pair[1])) for pair in itertools.pairwise(sizes)]
        return cls(tuple(blank)).redrawn(seed=seed, threshold=threshold)

    def redrawn(self, *, seed: int, threshold: float = 0.6) -> Self:
        """Return this network with weights and biases drawn from U(-k, k), k = 1 / (threshold sqrt(rows)), and
        constants of 1: PyTorch's default initialisation (k = 1 / sqrt(rows)) for neurons of that relative threshold,
        in units where a drive of 1 reaches threshold. The read-out has no threshold and takes k = 1 / sqrt(rows).
        """
        layers = []
        for index, layer in enumerate(self.layers):
            rng = stream(seed, "initial weights", index)
            rows, columns = layer.matrix.shape
            bound = (1.0 if index == len(self.layers) - 1 else 1.0 / threshold) / np.sqrt(rows)
            weight = rng.uniform(-bound, bound, layer.weight.shape)
            layers.append(replace(layer, weight=weight, bias=rng.uniform(-bound, bound, columns), constant=1.0))
        return type(self)(tuple(layers), self.shape)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of inputs, and of neurons of each layer."""
        return (self.wirings[0].size, *(wiring.neurons for wiring in self.wirings))

    @property
    def hash(self) -> str:
        """SHA-256 of sizes, weights, biases and constants."""
        digest = hashlib.sha256(repr((self.wirings, [layer.shortcut for layer in self.layers])).encode())
        for layer in self.layers:
            digest.update(layer.weight.tobytes() + layer.bias.tobytes() + np.float64(layer.constant).tobytes())
        return digest.hexdigest()
