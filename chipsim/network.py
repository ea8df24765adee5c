"""Network: the hand-over from a teacher to a chip, plain arrays and nothing of PyTorch."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipsim.errors import ParameterError
from chipsim.streams import stream

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
class Dense:
    """A fully connected layer, y = x @ weight + bias, and the activation that stands for a rate of 1.

    weight: [inputs, outputs], the orientation of a crossbar (rows x columns). bias: [outputs].
    constant: the percentile constant c of the layer's activations; rate = clip(activation / c, 0, 1). 1 for a read-out.
    """

    weight: Array
    bias: Array
    constant: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _finite("weight", self.weight, 2))
        object.__setattr__(self, "bias", _finite("bias", self.bias, 1))
        if self.bias.shape != (self.outputs,):
            raise ParameterError(f"bias has {len(self.bias)} values, but the weight has {self.outputs} outputs")
        if not (np.isfinite(self.constant) and self.constant > 0):
            raise ParameterError(f"percentile constant must be finite and above 0, not {self.constant}")

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class Network:
    """Layers, input side first; the last one is the read-out. Raises ParameterError when sizes do not chain."""

    layers: tuple[Dense, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or not all(isinstance(layer, Dense) for layer in self.layers):
            raise ParameterError("a network needs at least one layer, and each must be a Dense")
        for below, above in itertools.pairwise(self.layers):
            if below.outputs != above.inputs:
                raise ParameterError(f"a layer of {below.outputs} outputs feeds a layer of {above.inputs} inputs")

    @classmethod
    def random(cls, sizes: Sequence[int], *, seed: int, threshold: float = 0.6) -> Self:
        """Draw weights and biases from U(-k, k), k = 1 / (threshold sqrt(inputs)): PyTorch's default initialisation
        (k = 1 / sqrt(inputs)) for neurons of that relative threshold, in units where a drive of 1 reaches threshold.
        The read-out has no threshold and takes k = 1 / sqrt(inputs).
        """
        if len(sizes) < 2 or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ParameterError(f"sizes must be two or more whole numbers of at least 1, not {tuple(sizes)}")
        layers = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            rng = stream(seed, "initial weights", index)
            bound = (1.0 if index == len(sizes) - 2 else 1.0 / threshold) / np.sqrt(inputs)
            weight = rng.uniform(-bound, bound, (inputs, outputs))
            layers.append(Dense(weight=weight, bias=rng.uniform(-bound, bound, outputs)))
        return cls(tuple(layers))

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.layers[0].inputs, *(layer.outputs for layer in self.layers))

    @property
    def hash(self) -> str:
        """SHA-256 of sizes, weights, biases and constants."""
        digest = hashlib.sha256(repr(self.sizes).encode())
        for layer in self.layers:
            digest.update(layer.weight.tobytes() + layer.bias.tobytes() + np.float64(layer.constant).tobytes())
        return digest.hexdigest()
