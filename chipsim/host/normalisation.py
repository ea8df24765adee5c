"""Batch normalisation on the host: its twin has it, and the chip gets weights into which it is folded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from chipsim.loop import Optimiser

EPSILON = 1e-5
MOMENTUM = 0.1
START = 0.5


@dataclass(kw_only=True, eq=False)
class Normalised:
    """The host's own weights of a layer, and how their drives are normalised, for every column alone:

        drive = gain (x V - mean) / sqrt(variance + epsilon) + shift
        W = V gain / sqrt(variance + epsilon)        b = shift - mean gain / sqrt(variance + epsilon)

    In the twin, mean and variance are those of a batch over samples, positions, and steps where the method unrolls
    them, else of the mean drive of a window; in the weights W and b that the chip gets, they are running averages (the
    mean of all batches, and from the tenth on one of weight 0.1).

    weights: V [rows, columns]. affine [2, columns]: gain, at first half the threshold, and shift, at first 0. states:
    of the optimiser. Source of the folding: Wu et al. 2021, released code; epsilon, momentum and start are choices.
    """

    weights: Tensor
    affine: Tensor
    mean: Tensor
    variance: Tensor
    batches: int = 0
    states: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, weights: Tensor, threshold: float, optimiser: Optimiser) -> Self:
        """Begin with the directions of weights [rows, columns]; their scale and their biases are lost."""
        zero = weights.new_zeros(weights.shape[1])
        affine = torch.stack([zero + START * threshold, zero])
        states = [optimiser.init(weights), optimiser.init(affine)]
        return cls(weights=weights.clone(), affine=affine, mean=zero, variance=zero + 1, states=states)

    def __call__(self, drive: Tensor, affine: Tensor) -> Tensor:
        """Normalise what the array gives its neurons [..., neurons], channels last, by the statistics of the batch, and
        count them.
        """
        self.batches += 1
        normal = functional.batch_norm(
            drive.reshape(-1, affine.shape[1]),
            self.mean,
            self.variance,
            affine[0],
            affine[1],
            training=True,
            momentum=max(MOMENTUM, 1 / self.batches),
            eps=EPSILON,
        )
        return normal.reshape(drive.shape)

    def step(self, optimiser: Optimiser, gradients: Sequence[Tensor], progress: float) -> None:
        """Change weights, gain and shift by their gradients."""
        for place, (name, gradient) in enumerate(zip(("weights", "affine"), gradients, strict=True)):
            self.states[place], change = optimiser.step(self.states[place], gradient, progress)
            setattr(self, name, getattr(self, name) + change)

    def folded(self, bias_rows: int, input_gain: float = 1.0) -> Tensor:
        """Return what the chip gets [rows + bias rows, columns]; input_gain: of its neurons, which drives include."""
        gain, shift = self.affine
        scale = gain / torch.sqrt(self.variance + EPSILON)
        bias = (shift - self.mean * scale) / (bias_rows * input_gain)
        return torch.cat([self.weights * scale, bias.expand(bias_rows, -1)])
