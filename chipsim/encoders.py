"""Encoders: what drives the rows of the first array, step by step, for a sample's values."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from chipsim.quantity import Parameters, quantity
from chipsim.streams import uniforms

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Encoder(Parameters, ABC):
    """Turns values into what drives the rows. spikes: whether that is spikes, which pass no converter."""

    spikes: ClassVar[bool] = False

    @abstractmethod
    def encode(self, inputs: Array, numbers: Iterable[int], steps: int, key: int) -> Array:
        """Return what drives the rows for inputs [batch, size]: the same in every step [batch, size], or [steps, batch,
        size]. numbers: of the samples; key: random numbers are a function of it, sample number and step.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Analog(Encoder):
    """x[t] = x: the value itself, in every step (direct encoding)."""

    def encode(self, inputs: Array, numbers: Iterable[int], steps: int, key: int) -> Array:
        return inputs


@final
@dataclass(frozen=True, kw_only=True)
class Poisson(Encoder):
    """x[t] = sign(x) with probability min(1, scale |x|), else 0: signed spikes, independent from step to step.

    Source: Lee et al. 2020 (released code), scale 1 for CIFAR-10 and 1/2 for MNIST.

    >>> spikes = Poisson(scale=0.5).encode(np.array([[0.0, 1.0, -2.0]]), [0], 1000, key=1)
    >>> spikes.mean(axis=(0, 1)).round(1).tolist()
    [0.0, 0.5, -1.0]
    """

    spikes: ClassVar[bool] = True

    scale: float = quantity(1.0, "1", (1e-6, 1e6), "Lee 2020, released code")

    def encode(self, inputs: Array, numbers: Iterable[int], steps: int, key: int) -> Array:
        drawn = uniforms(key, numbers, 0, steps, inputs.shape[1])
        spikes: Array = np.sign(inputs) * (drawn < self.scale * np.abs(inputs))
        return spikes
