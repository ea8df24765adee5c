"""from_torch: a trained PyTorch module becomes a teacher."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from chipsim.errors import ParameterError
from teachers.datasets import Dataset
from teachers.models import Block, Convolution, Model, Norm, Stack
from teachers.targets import CALIBRATION_SAMPLES, Teacher

UNLIMITED = 1e30
"""Ceiling of a rectifier that has none."""
CLOSE = 1e-4
"""Largest difference of an output from the module's, over the largest of them."""
KNOWN = "Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh from 0, AvgPool2d, Dropout, Flatten and Identity"


def from_torch(module: nn.Sequential, data: Dataset) -> Teacher:
    """Return a trained chain of layers as a teacher: with its weights, normalisation and activations, and percentile
    constants from `data.train`.

    module: nn.Sequential, nested or not, of hidden layers and a read-out, each pooling (average, in front), dropout
    (off), Conv2d or Linear, batch normalisation, rectifier, in this order; the read-out is a Linear alone. Hidden
    layers share one ceiling, or have none. It is copied. Raises ParameterError for what no chip can hold, as max
    pooling, other activations or shortcuts, and where the teacher would not answer as the module does.

    >>> from teachers import datasets
    >>> data = datasets.load("digits")
    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    >>> from_torch(module, data).network().sizes
    (64, 20, 10)
    """
    if not isinstance(module, nn.Sequential):
        raise ParameterError(
            f"a teacher is made from nn.Sequential, not from {type(module).__name__}; put its layers into one, in the "
            "order of their use"
        )
    groups = _groups([*_flat(module)])
    blocks = [_block(parts) for parts in groups[:-1]]
    pool, readout = _readout(groups[-1])
    ceilings = {block.ceiling for block in blocks}
    if len(ceilings) > 1:
        raise ParameterError(f"hidden layers have ceilings of {sorted(ceilings)}; a teacher has one for all")
    convolutions = [block for block in blocks if isinstance(block.linear, nn.Conv2d)]
    dense = blocks[len(convolutions) :]
    if any(isinstance(block.linear, nn.Conv2d) for block in dense):
        raise ParameterError("convolutions stand before fully connected layers; this module has one behind them")
    if any(block.pool > 1 for block in dense[1:]) or (dense and pool > 1):
        raise ParameterError("pooling between fully connected layers has no images to pool")
    model = Model(
        shape=data.shape,
        classes=readout.out_features,
        convolutions=tuple(_convolution(block) for block in convolutions),
        hidden=tuple(cast(nn.Linear, block.linear).out_features for block in dense),
        pool=dense[0].pool if dense else pool,
        ceiling=min(ceilings, default=UNLIMITED),
        dropout=0.0,
        batch_norm=any(block.norm is not None for block in blocks),
    )
    if model.classes != data.classes:
        raise ParameterError(f"the module has {model.classes} outputs, but {data.name} has {data.classes} classes")
    for place, (layer, wiring) in enumerate(zip([*(b.linear for b in blocks), readout], model.wirings, strict=True)):
        if layer.weight[0].numel() != wiring.rows or layer.weight.shape[0] != wiring.columns:
            raise ParameterError(
                f"layer {place} takes {layer.weight[0].numel()} inputs, but what stands before it gives {wiring.rows}"
            )
    stack = Stack(blocks, readout, dropout=0.0, pool=pool if not dense else 1).float().eval()
    teacher = Teacher(model, stack, data.train.take(min(len(data.train), CALIBRATION_SAMPLES)), 0, (), 0)
    _check(teacher, module)
    return teacher


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested chains, without those that do nothing to a trained network."""
    for part in module.children():
        if isinstance(part, nn.Sequential):
            yield from _flat(part)
        elif not isinstance(part, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.Flatten)):
            yield part


def _groups(parts: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """Parts by layer: what is in front of its weights, these, and what is behind them up to the rectifier."""
    groups: list[list[nn.Module]] = [[]]
    for part in parts:
        groups[-1].append(part)
        if isinstance(part, (nn.ReLU, nn.Hardtanh)):  # ReLU6 is one
            groups.append([])
    if not groups[-1]:
        raise ParameterError("the last layer of a teacher is a Linear without activation, which gives the logits")
    return groups


def _parts(parts: Sequence[nn.Module]) -> tuple[int, nn.Linear | nn.Conv2d, Norm | None, float | None]:
    """Pooling, weights, normalisation and ceiling of one layer; None for no rectifier."""
    left = list(parts)

    def taken(*kinds: type[nn.Module]) -> Any:
        return left.pop(0) if left and isinstance(left[0], kinds) else None

    pool, linear = taken(nn.AvgPool2d), taken(nn.Linear, nn.Conv2d)
    if linear is None:
        raise _unknown(left[0] if left else None)
    norm, rectifier = taken(nn.BatchNorm1d, nn.BatchNorm2d), taken(nn.ReLU, nn.Hardtanh)
    if left:
        raise _unknown(left[0])
    return 1 if pool is None else _pool(pool), linear, norm, None if rectifier is None else _ceiling(rectifier)


def _ceiling(rectifier: nn.ReLU | nn.Hardtanh) -> float:
    if isinstance(rectifier, nn.ReLU):
        return UNLIMITED
    if rectifier.min_val != 0:
        raise ParameterError(f"activations are rates, from 0 on; this module has one from {rectifier.min_val:g}")
    return float(rectifier.max_val)


def _unknown(part: nn.Module | None) -> ParameterError:
    if part is None:
        return ParameterError("an activation stands behind no layer of weights")
    hint = "; train with average pooling" if "MaxPool" in type(part).__name__ else ""
    return ParameterError(
        f"a teacher has no {type(part).__name__} there: it knows {KNOWN}, in the order of a layer{hint}"
    )


def _pool(part: nn.AvgPool2d) -> int:
    sides = {*_pair(part.kernel_size), *_pair(part.stride)}
    if len(sides) > 1 or _pair(part.padding) != (0, 0):
        raise ParameterError(f"a chip pools by squares that do not overlap, without padding, not as {part} does")
    return int(sides.pop())


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _block(parts: Sequence[nn.Module]) -> Block:
    pool, linear, norm, ceiling = _parts(parts)
    assert ceiling is not None
    if norm is not None and (norm.running_mean is None or norm.weight is None):
        raise ParameterError("batch normalisation needs its running mean and variance, and its own weights")
    return Block(_with_bias(linear), copy.deepcopy(norm), ceiling, pool=pool)


def _readout(parts: Sequence[nn.Module]) -> tuple[int, nn.Linear]:
    pool, linear, norm, _ = _parts(parts)
    if not isinstance(linear, nn.Linear) or norm is not None:
        raise ParameterError("the last layer of a teacher is a Linear without activation, which gives the logits")
    return pool, cast(nn.Linear, _with_bias(linear))


def _convolution(block: Block) -> Convolution:
    layer = cast(nn.Conv2d, block.linear)
    sides, padding = {*layer.kernel_size}, layer.padding
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    if not plain or len(sides) > 1 or len({*layer.stride}) > 1 or isinstance(padding, str) or len({*padding}) > 1:
        raise ParameterError(f"convolutions have square kernels, one stride and zeros around, not as {layer} has")
    return Convolution(
        layer.out_channels, kernel=sides.pop(), stride=layer.stride[0], padding=int(padding[0]), pool=block.pool
    )


def _with_bias(linear: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """A copy, with a bias of 0 where there is none."""
    found = copy.deepcopy(linear)
    if found.bias is None:
        found.bias = nn.Parameter(torch.zeros(found.weight.shape[0]))
    return found


@torch.no_grad()
def _check(teacher: Teacher, module: nn.Sequential) -> None:
    """Raise ParameterError where the teacher answers otherwise than the module in eval mode."""
    shown = torch.tensor(teacher.calibration.inputs[:64])
    training = module.training
    try:
        expected: Tensor = module.eval()(shown).double()
    except RuntimeError as error:
        raise ParameterError(f"the module does not take samples of shape {teacher.model.shape}: {error}") from error
    finally:
        module.train(training)
    found = torch.tensor(teacher.activations(shown.numpy())[-1]).double()
    if expected.shape != found.shape or (found - expected).abs().max() > CLOSE * expected.abs().max():
        raise ParameterError("the teacher does not answer as the module does: it has layers that are used otherwise")
