"""Teacher networks: what they are made of (`Model`, plain data) and the PyTorch module that a Model builds.

    a_0 = inputs;  a_l = min(max(N_l(W_l a_{l-1} + b_l), 0), ceiling);  logits = W_L a_{L-1} + b_L

N_l is batch normalisation or nothing. There is no pooling: strides reduce the image. Dropout stands before every fully
connected layer except one that reads the inputs. `fold` puts the normalisation into W and b.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, final

import torch
from torch import Tensor, nn

from chipsim.errors import ParameterError


class Sized(Protocol):
    """What a model needs to know of a data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def classes(self) -> int:
        """Number of classes."""


@final
@dataclass(frozen=True, kw_only=True)
class Model:
    """A teacher network, not yet trained.

    shape, classes: of the data set. convolutions: (channels, stride) of each 3x3 layer with padding 1.
    hidden: widths of the fully connected hidden layers. ceiling: of the clipped ReLU. dropout: probability.
    Raises ParameterError for sizes below 1, a ceiling not above 0, dropout outside [0, 1), convolutions of flat inputs.
    """

    shape: tuple[int, ...]
    classes: int
    convolutions: tuple[tuple[int, int], ...] = ()
    hidden: tuple[int, ...] = ()
    ceiling: float = 2.0
    dropout: float = 0.2
    batch_norm: bool = False

    def __post_init__(self) -> None:
        sizes = (*self.shape, self.classes, *self.hidden, *itertools.chain(*self.convolutions))
        if min(sizes) < 1:
            raise ParameterError(f"every size of a model must be at least 1, not {min(sizes)}")
        if not (math.isfinite(self.ceiling) and self.ceiling > 0):
            raise ParameterError(f"the ceiling of the clipped ReLU must be finite and above 0, not {self.ceiling}")
        if not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.convolutions and len(self.shape) != 3:
            raise ParameterError(f"convolutions need samples [channels, height, width], not of shape {self.shape}")

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.convolutions) + len(self.hidden)

    def build(self) -> "Stack":
        """Return the module, with PyTorch's default initial weights from its global generator."""
        blocks: list[Block] = []
        channels, *size = self.shape
        for width, stride in self.convolutions:
            convolution = nn.Conv2d(channels, width, 3, stride, padding=1)
            norm = nn.BatchNorm2d(width) if self.batch_norm else None
            blocks.append(Block(convolution, norm, self.ceiling))
            channels, size = width, [(pixels - 1) // stride + 1 for pixels in size]
        inputs = channels * math.prod(size)
        for width in self.hidden:
            norm1 = nn.BatchNorm1d(width) if self.batch_norm else None
            blocks.append(Block(nn.Linear(inputs, width), norm1, self.ceiling, self.dropout if blocks else 0.0))
            inputs = width
        return Stack(blocks, nn.Linear(inputs, self.classes), self.dropout if blocks else 0.0)


def mlp(
    data: Sized,
    hidden: Sequence[int] = (512, 512),
    *,
    ceiling: float = 2.0,
    dropout: float = 0.2,
    batch_norm: bool = False,
) -> Model:
    """Fully connected teacher: inputs - hidden - classes.

    >>> from types import SimpleNamespace
    >>> mlp(SimpleNamespace(shape=(1, 8, 8), classes=10), hidden=(128, 128)).hidden
    (128, 128)
    """
    return Model(
        shape=tuple(int(size) for size in data.shape),
        classes=int(data.classes),
        hidden=tuple(int(width) for width in hidden),
        ceiling=float(ceiling),
        dropout=float(dropout),
        batch_norm=batch_norm,
    )


def cnn(
    data: Sized,
    channels: Sequence[tuple[int, int]] = ((32, 1), (64, 2), (128, 2)),
    hidden: Sequence[int] = (256,),
    *,
    ceiling: float = 2.0,
    dropout: float = 0.2,
    batch_norm: bool = True,
) -> Model:
    """Convolutional teacher without pooling; `channels` gives (channels, stride) of each 3x3 layer.

    The default on CIFAR-10 is 32C3-64C3s2-128C3s2-256-10.
    """
    return Model(
        shape=tuple(int(size) for size in data.shape),
        classes=int(data.classes),
        convolutions=tuple((int(width), int(stride)) for width, stride in channels),
        hidden=tuple(int(width) for width in hidden),
        ceiling=float(ceiling),
        dropout=float(dropout),
        batch_norm=batch_norm,
    )


Norm = nn.BatchNorm1d | nn.BatchNorm2d


class Block(nn.Module):
    """One hidden layer: dropout, linear or convolution, normalisation or none, clipped ReLU."""

    def __init__(self, linear: nn.Linear | nn.Conv2d, norm: Norm | None, ceiling: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear, self.norm, self.ceiling, self.dropout = linear, norm, ceiling, dropout

    def forward(self, inputs: Tensor) -> Tensor:
        """Map the layer's inputs to its activations in 0..ceiling."""
        inputs = inputs.flatten(1) if isinstance(self.linear, nn.Linear) else inputs
        drive = self.linear(nn.functional.dropout(inputs, self.dropout, self.training))
        if self.norm is not None:
            drive = self.norm(drive)
        return torch.clamp(drive, 0, self.ceiling)


class Stack(nn.Module):
    """Hidden blocks, input side first, and the linear read-out."""

    def __init__(self, blocks: Sequence[Block], readout: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.blocks, self.readout, self.dropout = nn.ModuleList(blocks), readout, dropout

    @property
    def hidden(self) -> list["Block"]:
        """Hidden blocks, input side first."""
        return [cast(Block, block) for block in self.blocks]

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs [b, *shape] to logits [b, classes]."""
        return self.activations(inputs)[-1]

    def activations(self, inputs: Tensor) -> list[Tensor]:
        """Return the activations of every hidden layer, then the logits."""
        values, current = [], inputs
        for block in self.hidden:
            current = block(current)
            values.append(current)
        current = nn.functional.dropout(current.flatten(1), self.dropout, self.training)
        return [*values, self.readout(current)]


def fold(stack: Stack) -> Stack:
    """Return a copy in eval mode with batch normalisation put into the weights; its outputs are those of eval mode.

    W' = W gamma / sqrt(var + eps) and b' = (b - mean) gamma / sqrt(var + eps) + beta, per output neuron or channel.
    """
    folded = copy.deepcopy(stack).eval()
    for block in folded.hidden:
        if block.norm is not None:
            _fold_block(block.linear, block.norm)
            block.norm = None
    return folded


@torch.no_grad()
def _fold_block(linear: nn.Linear | nn.Conv2d, norm: Norm) -> None:
    mean, variance, bias = (cast(Tensor, value) for value in (norm.running_mean, norm.running_var, linear.bias))
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    linear.weight.mul_(scale.reshape(-1, *[1] * (linear.weight.dim() - 1)))
    bias.copy_((bias - mean) * scale + norm.bias)
