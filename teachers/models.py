"""Teacher networks: what they are made of (`Model`, plain data) and the PyTorch module that a Model builds.

    a_0 = inputs;  a_l = min(max(N_l(W_l P_l(a_{l-1}) + b_l) + S_l, 0), ceiling);  logits = W_L P_L(a_{L-1}) + b_L

N_l is batch normalisation or nothing, P_l average pooling or nothing, S_l a shortcut or nothing: the activations of an
earlier layer, every r-th pixel where its image is r times as large, zero for the channels that it lacks (option A of
He et al., CVPR 2016; it has no parameters). Dropout stands before every fully connected layer except one that reads the
inputs. `fold` puts the normalisation into W and b.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Protocol, cast, final

import torch
from torch import Tensor, nn

from chipsim.errors import ParameterError
from chipsim.wiring import Wiring

Shape = tuple[int, ...]


class Sized(Protocol):
    """What a model needs to know of a data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def classes(self) -> int:
        """Number of classes."""


@final
@dataclass(frozen=True)
class Convolution:
    """A convolutional layer with square kernels.

    stride, padding (zeros; by default half the kernel, which keeps the image's size at stride 1): in pixels. pool: side
    of the average pooling in front, 1 for none. shortcut: index of an earlier hidden layer whose activations are added.
    """

    channels: int
    _: KW_ONLY
    stride: int = 1
    kernel: int = 3
    padding: int | None = None
    pool: int = 1
    shortcut: int | None = None

    @property
    def border(self) -> int:
        """The padding, its default filled in."""
        return self.kernel // 2 if self.padding is None else self.padding

    def wiring(self, shape: Shape) -> Wiring:
        """Return the geometry of this layer on images of `shape`; ParameterError where they do not fit."""
        return Wiring(
            inputs=shape,
            columns=self.channels,
            pool=self.pool,
            kernel=(self.kernel, self.kernel),
            stride=self.stride,
            padding=self.border,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Model:
    """A teacher network, not yet trained.

    shape, classes: of the data set. convolutions, then hidden: widths of the fully connected hidden layers. pool: side
    of the average pooling before the first fully connected layer (of the read-out where there is no hidden one).
    ceiling: of the clipped ReLU. dropout: probability.
    Raises ParameterError for sizes below 1, a ceiling not above 0, dropout outside [0, 1), convolutions of flat inputs,
    a kernel or a pool that does not fit its image, and a shortcut between layers that cannot be added.
    """

    shape: tuple[int, ...]
    classes: int
    convolutions: tuple[Convolution, ...] = ()
    hidden: tuple[int, ...] = ()
    pool: int = 1
    ceiling: float = 2.0
    dropout: float = 0.2
    batch_norm: bool = False

    def __post_init__(self) -> None:
        kernels = itertools.chain(*((c.channels, c.kernel) for c in self.convolutions))
        sizes = (*self.shape, self.classes, *self.hidden, *kernels)
        if min(sizes) < 1:
            raise ParameterError(f"every size of a model must be at least 1, not {min(sizes)}")
        if not (math.isfinite(self.ceiling) and self.ceiling > 0):
            raise ParameterError(f"the ceiling of the clipped ReLU must be finite and above 0, not {self.ceiling}")
        if not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.convolutions and len(self.shape) != 3:
            raise ParameterError(f"convolutions need samples [channels, height, width], not of shape {self.shape}")
        for index, (layer, wiring) in enumerate(zip(self.convolutions, self.wirings, strict=False)):
            if layer.shortcut is not None:
                self._check_shortcut(index, layer.shortcut, wiring.outputs)

    def _check_shortcut(self, index: int, source: int, here: Shape) -> None:
        if not 0 <= source < index:
            raise ParameterError(f"layer {index} cannot add layer {source}, which is none of those before it")
        below = self.wirings[source].outputs
        ratio = below[1] // here[1]
        if below[0] > here[0] or below[1:] != (here[1] * ratio, here[2] * ratio):
            raise ParameterError(
                f"layer {index} of shape {here} cannot add layer {source} of shape {below}: it needs at least as many "
                f"channels, and sides that are smaller by a whole factor"
            )

    @cached_property
    def wirings(self) -> tuple[Wiring, ...]:
        """Geometry of every layer, the read-out last."""
        shape, found = self.shape, []
        for convolution in self.convolutions:
            found.append(convolution.wiring(shape))
            shape = found[-1].outputs
        for index, columns in enumerate((*self.hidden, self.classes)):
            found.append(Wiring(inputs=shape, columns=columns, pool=self.pool if index == 0 else 1))
            shape = found[-1].outputs
        return tuple(found)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.convolutions) + len(self.hidden)

    def build(self) -> "Stack":
        """Return the module, with PyTorch's default initial weights from its global generator.

        Kernels lie in memory channels last, which convolutions on a CPU take less time for.
        """
        blocks: list[Block] = []
        for layer, wiring in zip(self.convolutions, self.wirings, strict=False):
            linear = nn.Conv2d(wiring.inputs[0], layer.channels, layer.kernel, layer.stride, layer.border)
            norm = nn.BatchNorm2d(layer.channels) if self.batch_norm else None
            blocks.append(Block(linear, norm, self.ceiling, pool=layer.pool, shortcut=layer.shortcut))
        *hidden, last = self.wirings[len(blocks) :]
        for wiring in hidden:
            norm1 = nn.BatchNorm1d(wiring.columns) if self.batch_norm else None
            dropout = self.dropout if blocks else 0.0
            blocks.append(
                Block(nn.Linear(wiring.rows, wiring.columns), norm1, self.ceiling, dropout=dropout, pool=wiring.pool)
            )
        readout = nn.Linear(last.rows, last.columns)
        stack = Stack(blocks, readout, dropout=self.dropout if blocks else 0.0, pool=last.pool)
        for block in stack.hidden:
            if isinstance(block.linear, nn.Conv2d):
                block.linear.weight.data = block.linear.weight.data.contiguous(memory_format=torch.channels_last)
        return stack


Norm = nn.BatchNorm1d | nn.BatchNorm2d


def _pooled(inputs: Tensor, side: int) -> Tensor:
    return nn.functional.avg_pool2d(inputs, side) if side > 1 else inputs


class Block(nn.Module):
    """One hidden layer: pooling, dropout, linear or convolution, normalisation, shortcut, clipped ReLU."""

    def __init__(
        self,
        linear: nn.Linear | nn.Conv2d,
        norm: Norm | None,
        ceiling: float,
        *,
        dropout: float = 0.0,
        pool: int = 1,
        shortcut: int | None = None,
    ) -> None:
        super().__init__()
        self.linear, self.norm, self.ceiling = linear, norm, ceiling
        self.dropout, self.pool, self.shortcut = dropout, pool, shortcut

    def forward(self, inputs: Tensor, earlier: Sequence[Tensor] = ()) -> Tensor:
        """Map the layer's inputs to its activations in 0..ceiling; `earlier`: activations of the layers before it."""
        inputs = _pooled(inputs, self.pool)
        inputs = inputs.flatten(1) if isinstance(self.linear, nn.Linear) else inputs
        drive = self.linear(nn.functional.dropout(inputs, self.dropout, self.training))
        if self.norm is not None:
            drive = self.norm(drive)
        if self.shortcut is not None:
            drive = drive + _matched(earlier[self.shortcut], drive)
        return torch.clamp(drive, 0, self.ceiling)


def _matched(source: Tensor, drive: Tensor) -> Tensor:
    """Return the images `source` with as many pixels and channels as `drive`: some left out, zeros put in."""
    step = source.shape[2] // drive.shape[2]
    missing = drive.shape[1] - source.shape[1]
    return nn.functional.pad(source[:, :, ::step, ::step], (0, 0, 0, 0, 0, missing))


class Stack(nn.Module):
    """Hidden blocks, input side first, and the linear read-out."""

    def __init__(self, blocks: Sequence[Block], readout: nn.Linear, *, dropout: float, pool: int = 1) -> None:
        super().__init__()
        self.blocks, self.readout, self.dropout, self.pool = nn.ModuleList(blocks), readout, dropout, pool

    @property
    def hidden(self) -> list["Block"]:
        """Hidden blocks, input side first."""
        return [cast(Block, block) for block in self.blocks]

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs [b, *shape] to logits [b, classes]."""
        return self.activations(inputs)[-1]

    def activations(self, inputs: Tensor) -> list[Tensor]:
        """Return the activations of every hidden layer, then the logits."""
        values: list[Tensor] = []
        current = inputs
        for block in self.hidden:
            current = block(current, values)
            values.append(current)
        current = nn.functional.dropout(_pooled(current, self.pool).flatten(1), self.dropout, self.training)
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
