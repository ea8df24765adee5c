"""Wiring against PyTorch's own convolution, pooling and their gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from chipsim.engines import torch as fast
from chipsim.errors import ParameterError
from chipsim.streams import stream
from chipsim.testing import strategies
from chipsim.wiring import Wiring


@st.composite
def wirings(draw: st.DrawFn) -> Wiring:
    """Convolutions, and dense layers that read images."""
    groups, pool = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    height, width = (pool * draw(st.integers(1, 5)) for _ in range(2))
    fields: dict[str, Any] = {"inputs": (channels, height, width), "pool": pool}
    if draw(st.booleans()):
        return Wiring(**fields, columns=draw(st.integers(1, 5)))
    padding = draw(st.integers(0, 2))
    kernel = tuple(draw(st.integers(1, min(4, side // pool + 2 * padding))) for side in (height, width))
    stride = draw(st.integers(1, 3))
    columns = groups * draw(st.integers(1, 3))
    return Wiring(**fields, columns=columns, kernel=kernel, stride=stride, padding=padding, groups=groups)


def forward(wiring: Wiring, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What PyTorch gives the neurons [batch, neurons], for the weights of an array [rows, columns]."""
    images = inputs.reshape(-1, *wiring.inputs)
    images = functional.avg_pool2d(images, wiring.pool) if wiring.pool > 1 else images
    if wiring.kernel is None:
        return images.flatten(1) @ weight
    kernel = weight.T.reshape(wiring.columns, -1, *wiring.kernel)
    return functional.conv2d(images, kernel, None, wiring.stride, wiring.padding, groups=wiring.groups).flatten(1)


@settings(max_examples=60)
@given(wirings(), st.integers(1, 3), strategies.SEEDS)
def test_product_and_outer_are_pytorchs_forward_and_weight_gradient(wiring: Wiring, batch: int, seed: int) -> None:
    rng = stream(seed, "test", "wiring")
    inputs, weight = rng.normal(size=(batch, wiring.size)), rng.normal(size=(wiring.rows, wiring.columns))
    delta = rng.normal(size=(batch, wiring.neurons))
    parameter = torch.tensor(weight, requires_grad=True)
    expected = forward(wiring, torch.tensor(inputs), parameter)
    found = wiring.product(inputs, weight)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad((expected * torch.tensor(delta)).sum(), parameter)
    np.testing.assert_allclose(wiring.outer(inputs, delta), gradient.numpy(), rtol=1e-9, atol=1e-9)


@settings(max_examples=40)
@given(wirings(), st.integers(1, 3), st.integers(0, 2), strategies.SEEDS)
def test_variances_add_with_the_squares_of_the_drives(wiring: Wiring, batch: int, bias_rows: int, seed: int) -> None:
    rng = stream(seed, "test", "wiring")
    inputs = rng.normal(size=(batch, wiring.size))
    variance = rng.random((wiring.rows + bias_rows, wiring.columns))
    drives = wiring.drives(inputs)
    share = wiring.columns // wiring.groups
    by_hand = np.empty((batch, wiring.columns, wiring.positions))
    for column in range(wiring.columns):
        squares = drives[column // share] ** 2  # [batch, positions, rows]
        by_hand[:, column] = squares @ variance[: wiring.rows, column] + variance[wiring.rows :, column].sum()
    expected = by_hand.reshape(batch, -1)
    bias = np.repeat(variance[wiring.rows :].sum(axis=0), wiring.positions)
    np.testing.assert_allclose(wiring.product(inputs, variance[: wiring.rows], 2) + bias, expected, rtol=1e-9)
    tensors = (torch.tensor(inputs)[None], torch.tensor(variance))
    found = fast.product(wiring, *tensors, bias_rows, power=2)
    np.testing.assert_allclose(found.reshape(batch, -1).numpy(), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=40)
@given(wirings(), st.integers(0, 2), strategies.SEEDS)
def test_channels_may_come_last(wiring: Wiring, bias_rows: int, seed: int) -> None:
    rng = stream(seed, "test", "wiring")
    inputs, weights = rng.normal(size=(2, 3, wiring.size)), rng.normal(size=(wiring.rows + bias_rows, wiring.columns))
    first, arrays = torch.tensor(inputs), torch.tensor(weights)
    expected = fast.channels_last(fast.product(wiring, first, arrays, bias_rows), wiring.outputs)
    last = fast.channels_last(first, wiring.inputs)
    by_hand = inputs.reshape(6, *wiring.inputs).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(last.reshape(by_hand.shape), by_hand)
    found = fast.product(wiring, last, arrays, bias_rows, last=True)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(wirings(), st.integers(1, 3), strategies.SEEDS)
def test_shared_is_the_sum_over_positions(wiring: Wiring, batch: int, seed: int) -> None:
    values = stream(seed, "test", "wiring").normal(size=(batch, wiring.neurons))
    expected = values.reshape(batch, *wiring.outputs).reshape(batch, wiring.columns, -1).sum(axis=2)
    np.testing.assert_allclose(wiring.shared(values), expected)


def test_shapes_by_hand() -> None:
    wiring = Wiring(inputs=(3, 32, 30), columns=8, kernel=(3, 5), stride=2, padding=1, pool=2)
    assert (wiring.size, wiring.pooled, wiring.rows) == (2880, (3, 16, 15), 45)
    assert (wiring.outputs, wiring.neurons, wiring.positions) == ((8, 8, 7), 448, 56)
    dense = Wiring(inputs=(3, 4, 4), columns=10, pool=4)
    assert (dense.pooled, dense.rows, dense.outputs, dense.positions) == ((3, 1, 1), 3, (10,), 1)
    depthwise = Wiring(inputs=(4, 5, 5), columns=8, kernel=(3, 3), groups=4)
    assert (depthwise.rows, depthwise.outputs) == (9, (8, 3, 3))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"stride": 0}, "stride must be a whole number of at least 1, not 0"),
        ({"stride": 1.5}, "stride must be a whole number"),
        ({"padding": -1}, "padding must be a whole number of at least 0, not -1"),
        ({"pool": 0}, "pool must be a whole number of at least 1"),
        ({"groups": True}, "groups must be a whole number of at least 1, not True"),
        ({"pool": 3}, r"average pooling by 3 needs images whose sides it divides, not inputs of shape \(2, 4, 4\)"),
        ({"inputs": (32,), "kernel": None, "pool": 2}, "average pooling by 2 needs images"),
        ({"groups": 3}, "3 groups must divide 2 input channels and 4 channels"),
        ({"groups": 2, "columns": 3}, "2 groups must divide 2 input channels and 3 channels"),
        ({"kernel": (5, 1)}, r"a kernel of \(5, 1\) does not fit an image of \(4, 4\)"),
        ({"pool": 2, "kernel": (3, 3)}, r"a kernel of \(3, 3\) does not fit an image of \(2, 2\)"),
    ],
)
def test_impossible_geometry_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Wiring(**{"inputs": (2, 4, 4), "columns": 4, "kernel": (2, 2), **fields})
