import dataclasses

import numpy as np
import pytest

from chipsim.errors import ParameterError
from chipsim.network import Dense, Network


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
