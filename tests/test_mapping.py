import numpy as np
import pytest

from chipsim.chip import ChipDesign
from chipsim.circuits import LIF
from chipsim.errors import CapacityError
from chipsim.mapping import place
from chipsim.network import Dense, Network


def network(*sizes: int, bias: float = 0.0, constants: tuple[float, ...] = ()) -> Network:
    rng = np.random.default_rng(0)
    constants = constants or (1.0,) * (len(sizes) - 1)
    return Network(
        tuple(
            Dense(weight=rng.uniform(-1, 1, (m, n)), bias=np.full(n, bias), constant=c)
            for m, n, c in zip(sizes[:-1], sizes[1:], constants, strict=True)
        )
    )


def test_layers_take_tiles_and_neurons_one_after_the_other() -> None:
    placement = place(network(5, 7, 4, 3), ChipDesign(rows=4, columns=4))
    tiles = [[block.tile for block in layer.blocks] for layer in placement.layers]
    assert tiles == [[0, 1, 2, 3], [4, 5], [6, 7]]
    corners = [
        (block.rows.start, block.rows.stop, block.columns.start, block.columns.stop)
        for block in placement.layers[0].blocks
    ]
    assert corners == [(0, 4, 0, 4), (0, 4, 4, 7), (4, 6, 0, 4), (4, 6, 4, 7)]
    assert [layer.bank for layer in placement.layers] == [slice(0, 7), slice(7, 11), slice(0, 3)]
    assert [layer.readout for layer in placement.layers] == [False, False, True]


def test_gathered_arrays_keep_rows_and_columns_apart() -> None:
    (layer,) = place(network(5, 3), ChipDesign(rows=4, columns=2)).layers

    def tile(index: int) -> tuple[dict[str, np.ndarray], ...]:
        rows, columns = np.meshgrid(np.arange(4), np.arange(2), indexing="ij")
        place_of = 100.0 * index + 10 * rows + columns
        return ({"mark": np.stack([place_of, -place_of])},)

    plus, minus = layer.gather(tile)[0]["mark"]
    expected = [[0, 1, 100], [10, 11, 110], [20, 21, 120], [30, 31, 130], [200, 201, 300], [210, 211, 310]]
    np.testing.assert_array_equal(plus, expected)
    np.testing.assert_array_equal(minus, -np.array(expected))


def test_scales_turn_activations_into_rates() -> None:
    net = network(4, 5, 6, 3, bias=0.1, constants=(2.0, 5.0, 1.0))
    design = ChipDesign(circuit=LIF(v_rest=0.1, v_threshold=0.5, v_unit=2.0))
    layers = place(net, design).layers
    factors = [0.4 / 2.0 / 2.0, 2.0 * 0.4 / 2.0 / 5.0, 5.0]
    biases = [0.4 / 2.0 / 2.0, 0.4 / 2.0 / 5.0, 1.0]
    for layer, dense, factor, bias in zip(layers, net.layers, factors, biases, strict=True):
        w_max = 1.5 * np.quantile(np.abs(dense.weight * factor), 0.999)
        assert layer.w_max == pytest.approx(w_max)
        np.testing.assert_allclose(layer.weight[: dense.inputs], dense.weight * factor)
        np.testing.assert_allclose(layer.weight[dense.inputs :].sum(axis=0), 0.1 * bias)


@pytest.mark.parametrize(("bias", "rows"), [(0.0, 1), (1.0, 1), (1.49, 1), (1.51, 2), (-3.1, 3)])
def test_large_biases_take_more_rows(bias: float, rows: int) -> None:
    net = Network((Dense(weight=np.ones((4, 2)), bias=np.array([bias, 0.0])),))
    (layer,) = place(net, ChipDesign(headroom=1.5)).layers
    assert layer.bias_rows == rows
    np.testing.assert_allclose(layer.weight[4:], np.tile([bias / rows, 0.0], (rows, 1)))
    assert layer.clipped == 0.0


def test_outliers_are_clipped_and_counted() -> None:
    weight = np.ones((100, 100))
    weight[0, 0] = 50.0
    (layer,) = place(Network((Dense(weight=weight, bias=np.zeros(100)),)), ChipDesign()).layers
    assert layer.w_max == pytest.approx(1.5)
    assert layer.weight[0, 0] == 1.5
    assert layer.clipped == 1 / (101 * 100)


def test_weights_of_zero_can_be_placed() -> None:
    (layer,) = place(Network((Dense(weight=np.zeros((3, 2)), bias=np.zeros(2)),)), ChipDesign()).layers
    assert layer.w_max == 1.5
    assert not layer.weight.any()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"tiles": 2},
            "layer 1 needs tiles up to number 4, but the chip has 2 of 8 x 8; raise ChipDesign.tiles, rows or col",
        ),
        ({"neurons": 9}, "layer 0 needs 10 neurons, but the chip has 9; raise ChipDesign.neurons"),
        ({"readouts": 2}, "layer 1 needs 3 readouts, but the chip has 2; raise ChipDesign.readouts"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(fields: dict[str, int], sentence: str) -> None:
    with pytest.raises(CapacityError, match=sentence):
        place(network(7, 10, 3), ChipDesign(**{"rows": 8, "columns": 8, "tiles": 4, **fields}))


def test_a_network_that_just_fits_is_placed() -> None:
    layers = place(network(7, 10, 3), ChipDesign(rows=8, columns=8, tiles=4, neurons=10, readouts=3)).layers
    assert layers[-1].blocks[-1].tile == 3
