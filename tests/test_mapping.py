from dataclasses import replace

import numpy as np
import pytest

from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import IF, LIF
from chipsim.deployment import deploy
from chipsim.errors import CapacityError
from chipsim.mapping import place, required
from chipsim.network import Conv2d, Dense, Network


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


# ----------------------------------------------------------------------------------- convolutions, groups, shortcuts


def convolutional(groups: int = 1, **fields: object) -> Network:
    """A convolution of 4 channels, another one of 6 over it, and a read-out of 3."""
    rng = np.random.default_rng(0)
    first = Conv2d(weight=rng.uniform(-1, 1, (4, 2, 3, 3)), bias=rng.uniform(-0.1, 0.1, 4), padding=1, constant=2.0)
    weight = rng.uniform(-1, 1, (6, 4 // groups, 3, 3))
    second = Conv2d(
        **{"weight": weight, "bias": np.zeros(6), "padding": 1, "groups": groups, "constant": 5.0, **fields}
    )
    return Network((first, second, Dense(weight=rng.uniform(-1, 1, (6 * 25, 3)), bias=np.zeros(3))), shape=(2, 5, 5))


def test_a_convolution_is_one_array_and_a_neuron_for_every_position() -> None:
    design = ChipDesign(rows=16, columns=8, neurons=1000, tiles=100)
    first, second, readout = place(convolutional(), design).layers
    assert [layer.weight.shape for layer in (first, second)] == [(18 + 1, 4), (36 + 1, 6)]
    assert [layer.neurons for layer in (first, second, readout)] == [4 * 25, 6 * 25, 3]
    assert [layer.bank for layer in (first, second, readout)] == [slice(0, 100), slice(100, 250), slice(0, 3)]
    assert [len(layer.blocks) for layer in (first, second)] == [2, 3]
    scale = LIF().swing / 5.0 * 2.0
    kernel = convolutional().layers[1].weight
    np.testing.assert_allclose(second.weight[:36], kernel.reshape(6, -1).T * scale)


def test_groups_stand_on_tiles_of_their_own() -> None:
    design = ChipDesign(rows=64, columns=64, neurons=1000, tiles=100)
    (alone,), apart = (place(convolutional(groups), design).layers[1].blocks for groups in (1, 2))
    assert (alone.rows, alone.columns) == (slice(0, 37), slice(0, 6))
    assert [(block.rows, block.columns) for block in apart] == [
        (slice(0, 19), slice(0, 3)),
        (slice(0, 19), slice(3, 6)),
    ]
    assert apart[0].tile + 1 == apart[1].tile
    narrow = place(convolutional(2), replace(design, rows=10, columns=2)).layers[1]
    assert len({block.tile for block in narrow.blocks}) == len(narrow.blocks) == 2 * 2 * 2
    covered = np.zeros((19, 6), dtype=int)
    for block in narrow.blocks:
        covered[block.rows, block.columns] += 1
        assert block.columns.stop <= 3 or block.columns.start >= 3
    assert (covered == 1).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_what_a_network_requires_is_what_it_just_fits_on(groups: int) -> None:
    network, design = convolutional(groups), ChipDesign(rows=10, columns=4)
    needed = required(network, design)
    assert (needed["neurons"], needed["readouts"]) == (250, 3)
    assert place(network, replace(design, **needed)).layers[-1].blocks[-1].tile == needed["tiles"] - 1
    for name, least in needed.items():
        with pytest.raises(CapacityError):
            place(network, replace(design, **{**needed, name: least - 1}))


def test_a_read_out_alone_requires_no_neurons() -> None:
    single = Network((Dense(weight=np.ones((4, 2)), bias=np.zeros(2)),))
    assert required(single, ChipDesign(neurons=1)) == {"tiles": 1, "neurons": 0, "readouts": 2}


def test_a_shortcut_delivers_a_share_of_a_firing_drive() -> None:
    network = Network(
        (
            Dense(weight=np.eye(3), bias=np.zeros(3), constant=2.0),
            Dense(weight=np.zeros((3, 3)), bias=np.zeros(3), constant=4.0, shortcut=0),
            Dense(weight=np.eye(3), bias=np.zeros(3)),
        )
    )
    placement = place(network, ChipDesign())
    assert [layer.shortcut for layer in placement.layers] == [None, (0, 0.5), None]


def test_residual_rates_follow_the_teacher() -> None:
    """Soft-reset IF neurons add activations: relu(relu(x W) V + relu(x W)), to within some spikes per window."""
    rng = np.random.default_rng(0)
    first = rng.uniform(-0.5, 0.5, (6, 8))
    second = rng.uniform(-0.3, 0.3, (8, 8))
    network = Network(
        (
            Dense(weight=first, bias=np.zeros(8), constant=1.7),
            Dense(weight=second, bias=np.zeros(8), constant=2.5, shortcut=0),
            Dense(weight=np.eye(8), bias=np.zeros(8)),
        )
    )
    inputs = rng.uniform(0, 1.0, (10, 6))
    circuit = IF(v_threshold=0.8, soft_reset=True, gain=2.0)
    snn = deploy(network, fabricate(ChipDesign(circuit=circuit, headroom=2.0), 1), window=400)
    below = np.clip(inputs @ first, 0, 1.7)
    np.testing.assert_allclose(snn.outputs(inputs), np.clip(below @ second + below, 0, 2.5), atol=0.05)
