"""Weights into cells and back, and layers onto tiles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chipsim.chip import ChipDesign
from chipsim.crossbar import Crossbar
from chipsim.devices import Device, Ideal
from chipsim.mapping import place
from chipsim.network import Network
from chipsim.streams import Draw, stream
from chipsim.testing import strategies


@given(strategies.devices(), st.floats(1e-3, 1e3), strategies.SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_weights_come_back_from_their_pairs(device: Device, w_max: float, seed: int, rows: int, columns: int) -> None:
    rng = stream(seed, "test", "weights")
    wanted = rng.uniform(-1.5 * w_max, 1.5 * w_max, (rows, columns))
    frozen = device.fabricate((2, rows, columns), Draw(seed, "device", ("tile", 0)))
    array = Crossbar(device=device, effects=(), w_max=w_max, frozen=frozen)
    cells = array.programme(None, wanted, rng, 2.5)
    held = (cells.target[0] - cells.target[1]) / array.g_scale
    level = w_max / (device.levels - 1) if device.levels else 0.0
    np.testing.assert_allclose(held, np.clip(wanted, -w_max, w_max), atol=level / 2 * (1 + 1e-6) + 1e-9 * w_max)
    np.testing.assert_allclose(cells.target.min(axis=0), device.g_min, rtol=1e-12)  # a minimum pair
    assert (cells.written == 2.5).all()
    if isinstance(device, Ideal):
        np.testing.assert_allclose(array.weights(cells, 2.5), held, atol=1e-12 * w_max)


@given(strategies.networks(max_layers=3, max_width=20), strategies.designs())
def test_every_weight_stands_on_one_cell_pair_and_no_two_share_one(network: Network, design: ChipDesign) -> None:
    placement = place(network, design)
    used: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    for index, layer in enumerate(placement.layers):
        covered = np.zeros((layer.rows, layer.columns), dtype=int)
        for block in layer.blocks:
            assert 0 <= block.tile < design.tiles
            assert block.rows.stop - block.rows.start <= design.rows
            assert block.columns.stop - block.columns.start <= design.columns
            covered[block.rows, block.columns] += 1
            for row in range(block.rows.stop - block.rows.start):
                for column in range(block.columns.stop - block.columns.start):
                    corner = (block.tile, row, column)
                    assert corner not in used, f"{corner} holds weights of {used.get(corner)} and layer {index}"
                    used[corner] = (index, row, column)
        assert (covered == 1).all()


@given(strategies.networks(max_layers=3, max_width=12), strategies.designs())
def test_gathered_cells_are_those_of_the_tiles(network: Network, design: ChipDesign) -> None:
    tiles: set[int] = set()

    def marked(tile: int) -> tuple[dict[str, np.ndarray], ...]:
        tiles.add(tile)
        numbers = np.arange(2 * design.rows * design.columns).reshape(2, design.rows, design.columns)
        return ({"mark": tile * 10_000.0 + numbers},)

    marks = [layer.gather(marked)[0]["mark"] for layer in place(network, design).layers]
    assert len(np.unique(np.concatenate([mark.ravel() for mark in marks]))) == sum(mark.size for mark in marks)
    assert tiles == set(range(len(tiles)))


@given(strategies.networks(), strategies.designs())
def test_bias_rows_carry_the_whole_bias_and_nothing_clips_below_w_max(network: Network, design: ChipDesign) -> None:
    for layer, dense in zip(place(network, design).layers, network.layers, strict=True):
        assert layer.rows == dense.inputs + layer.bias_rows
        assert layer.columns == dense.outputs
        assert np.abs(layer.weight).max() <= layer.w_max
        if layer.clipped == 0 and not layer.readout:
            scale = design.circuit.swing / (design.circuit.v_unit * design.circuit.gain) / dense.constant
            np.testing.assert_allclose(layer.weight[dense.inputs :].sum(axis=0), dense.bias * scale, atol=1e-12)
