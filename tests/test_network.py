import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from chipsim.errors import ParameterError
from chipsim.network import Conv2d, Dense, Network


def dense(inputs: int, outputs: int, **fields: object) -> Dense:
    return Dense(**{"weight": np.ones((inputs, outputs)), "bias": np.zeros(outputs), **fields})


def test_sizes_run_from_the_inputs_to_the_read_out() -> None:
    network = Network((dense(4, 3), dense(3, 2)))
    assert network.sizes == (4, 3, 2)
    assert (network.layers[0].inputs, network.layers[0].outputs) == (4, 3)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"weight": [[1.0, np.nan], [np.inf, 0.0]]}, "weight holds 2 values that are NaN or infinite"),
        ({"bias": [np.nan, 0.0]}, "bias holds 1 values that are NaN or infinite"),
        ({"weight": [1.0, 2.0]}, r"weight must be an array of 2 dimensions, not of shape \(2,\)"),
        ({"weight": np.ones((0, 2))}, "weight must be an array"),
        ({"bias": [0.0]}, "bias has 1 values, but the weight has 2 outputs"),
        ({"constant": 0.0}, "percentile constant must be finite and above 0, not 0.0"),
        ({"constant": np.nan}, "percentile constant"),
        ({"constant": np.inf}, "percentile constant"),
    ],
)
def test_bad_layers_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        dense(2, 2, **fields)


def test_layers_must_chain() -> None:
    with pytest.raises(ParameterError, match="a layer of 3 outputs feeds a layer of 2 inputs"):
        Network((dense(4, 3), dense(2, 2)))
    with pytest.raises(ParameterError, match="at least one layer"):
        Network(())


def test_a_layer_keeps_a_copy_that_cannot_be_edited() -> None:
    weight = np.ones((2, 2))
    layer = dense(2, 2, weight=weight)
    weight[0, 0] = 5.0
    assert layer.weight[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 5.0


def test_the_hash_is_of_every_number() -> None:
    network = Network.random((3, 4, 2), seed=0)
    assert network.hash == Network.random((3, 4, 2), seed=0).hash
    hidden, readout = network.layers
    variants = [
        dataclasses.replace(hidden, weight=hidden.weight + 1e-9),
        dataclasses.replace(hidden, bias=hidden.bias + 1e-9),
        dataclasses.replace(hidden, constant=1.1),
    ]
    hashes = {network.hash, *(Network((variant, readout)).hash for variant in variants)}
    assert len(hashes) == 4
    assert Network((dense(2, 3),)).hash != Network((dense(3, 2, bias=np.zeros(2)),)).hash


def test_random_weights_are_pytorchs_bounds_over_the_threshold() -> None:
    network = Network.random((100, 400, 50), seed=3, threshold=0.5)
    for layer, bound in zip(network.layers, (2 / np.sqrt(100), 1 / np.sqrt(400)), strict=True):
        for values in (layer.weight, layer.bias):
            assert 0.95 * bound < np.abs(values).max() <= bound
        assert abs(layer.weight.std() - bound / np.sqrt(3)) < 0.02 * bound
    assert Network.random((4, 3), seed=0).hash != Network.random((4, 3), seed=1).hash


def test_the_first_layer_does_not_depend_on_the_later_ones() -> None:
    one, other = Network.random((5, 4, 3), seed=0), Network.random((5, 4, 6, 3), seed=0)
    np.testing.assert_array_equal(one.layers[0].weight, other.layers[0].weight)


# ----------------------------------------------------------------------------------- convolutions, pools, shortcuts


def conv(channels: int, inputs: int, side: int = 3, **fields: object) -> Conv2d:
    return Conv2d(**{"weight": np.ones((channels, inputs, side, side)), "bias": np.zeros(channels), **fields})


def test_sizes_of_convolutions_follow_from_the_shape_of_a_sample() -> None:
    network = Network((conv(4, 1, padding=1), conv(6, 2, stride=2, groups=2), dense(6 * 9, 3)), shape=(1, 8, 8))
    assert network.sizes == (64, 256, 54, 3)
    assert [wiring.outputs for wiring in network.wirings] == [(4, 8, 8), (6, 3, 3), (3,)]
    assert [layer.matrix.shape for layer in network.layers] == [(9, 4), (18, 6), (54, 3)]


def test_the_matrix_of_a_kernel_has_a_column_for_each_channel() -> None:
    layer = Conv2d(weight=np.arange(24.0).reshape(2, 3, 2, 2), bias=np.zeros(2))
    np.testing.assert_array_equal(layer.matrix[:, 1], layer.weight[1].ravel())


def test_pooling_stands_in_front_of_a_layer() -> None:
    network = Network((conv(2, 1, padding=1), dense(2 * 4, 3, pool=2)), shape=(1, 4, 4))
    assert network.sizes == (16, 32, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Network((conv(2, 1), dense(2, 2))), "begins with a convolution needs the shape of its samples"),
        (
            lambda: Network((conv(2, 3), dense(2, 2)), shape=(1, 5, 5)),
            r"of 3 input channels cannot read inputs of shape \(1",
        ),
        (lambda: Network((conv(2, 1), dense(2, 2)), shape=(25,)), r"cannot read inputs of shape \(25,\)"),
        (lambda: Network((dense(25, 4), conv(2, 1))), r"cannot read inputs of shape \(4,\)"),
        (
            lambda: Network((conv(2, 1), dense(17, 2)), shape=(1, 5, 5)),
            "a layer of 18 outputs feeds a layer of 17 inputs",
        ),
        (
            lambda: Network((conv(2, 1, side=7), dense(2, 2)), shape=(1, 5, 5)),
            r"\(7, 7\) does not fit an image of \(5, 5\)",
        ),
        (lambda: Network((conv(2, 1), dense(2, 2, pool=2)), shape=(1, 5, 5)), "average pooling by 2 needs images"),
        (lambda: Network((conv(3, 1, groups=2), dense(3, 2)), shape=(2, 3, 3)), "2 groups must divide"),
        (lambda: conv(2, 1, weight=np.ones((2, 9))), "weight must be an array of 4 dimensions"),
        (lambda: conv(2, 1, bias=np.zeros(9)), "bias has 9 values, but the weight has 2 outputs"),
        (lambda: Network((dense(4, 4), dense(4, 4, shortcut=1), dense(4, 2))), "layer 1 cannot add layer 1"),
        (lambda: Network((dense(4, 4), dense(4, 4, shortcut=-1), dense(4, 2))), "layer 1 cannot add layer -1"),
        (lambda: Network((dense(4, 4), dense(4, 4), dense(4, 4, shortcut=0))), "only hidden layers add earlier ones"),
        (
            lambda: Network((dense(4, 6), dense(6, 4, shortcut=0), dense(4, 2))),
            r"of shape \(4,\) cannot add layer 0 of shape \(6",
        ),
        (
            lambda: (
                Network((conv(2, 1, side=1), conv(2, 2, stride=2), dense(8, 2)), shape=(1, 5, 5)).layers
                and Network((conv(2, 1, side=1), conv(2, 2, stride=2, shortcut=0), dense(8, 2)), shape=(1, 5, 5))
            ),
            r"layer 1 of shape \(2, 2, 2\) cannot add layer 0 of shape \(2, 5, 5\)",
        ),
        (
            lambda: Network((conv(2, 1, side=1), dense(50, 8, shortcut=0), dense(8, 2)), shape=(1, 5, 5)),
            "cannot add layer 0",
        ),
    ],
)
def test_impossible_convolutions_pools_and_shortcuts_are_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        make()


def test_a_shortcut_may_leave_out_pixels_and_lack_channels() -> None:
    layers = (conv(2, 1, side=1), conv(3, 2, stride=2, padding=1, shortcut=0), dense(12, 2))
    assert Network(layers, shape=(1, 4, 4)).layers[1].shortcut == 0
    assert Network((dense(4, 3), dense(3, 5, shortcut=0), dense(5, 2))).sizes == (4, 3, 5, 2)


def test_redrawn_keeps_the_geometry_and_draws_within_the_bounds() -> None:
    network = Network(
        (conv(8, 1, padding=1, constant=3.0), conv(8, 8, padding=1, shortcut=0, pool=1), dense(8 * 16, 5, pool=2)),
        shape=(1, 8, 8),
    )
    drawn = network.redrawn(seed=3, threshold=0.5)
    assert drawn.wirings == network.wirings
    assert [(layer.constant, layer.shortcut) for layer in drawn.layers] == [(1.0, None), (1.0, 0), (1.0, None)]
    for layer, bound in zip(drawn.layers, (2 / np.sqrt(9), 2 / np.sqrt(72), 1 / np.sqrt(128)), strict=True):
        assert 0.8 * bound < np.abs(layer.weight).max() <= bound
        assert np.abs(layer.bias).max() <= bound
    assert drawn.hash == network.redrawn(seed=3, threshold=0.5).hash != network.redrawn(seed=4, threshold=0.5).hash


def test_the_hash_is_of_the_geometry_too() -> None:
    first, last = conv(2, 1, side=1), dense(18, 2)
    networks = [
        Network((first, last), shape=(1, 3, 3)),
        Network((first, last), shape=(1, 9, 1)),
        Network((first, conv(2, 2, side=1), last), shape=(1, 3, 3)),
        Network((first, conv(2, 2, side=1, shortcut=0), last), shape=(1, 3, 3)),
    ]
    assert len({network.hash for network in networks}) == 4
