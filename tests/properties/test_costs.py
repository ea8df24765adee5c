"""The ledger: what holds for every network, chip, input and price list."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import chipsim as cs
from chipsim.network import Network
from chipsim.quantity import declarations
from chipsim.testing import strategies

NAMES = sorted(set(declarations(cs.SPIKESIM_PRICES)) - {"link", "read_time", "pulse_voltage", "pulse_time"})
QUIET = strategies.chips(st.sampled_from([cs.ChipDesign(), cs.ChipDesign(device=cs.RRAM_MILO_2021, rows=4, columns=3)]))
NETWORKS = st.one_of(strategies.networks(), strategies.conv_networks())


def cost(network: Network, chip: cs.Chip, inputs: np.ndarray, prices: cs.Prices = cs.SPIKESIM_PRICES):  # type: ignore[no-untyped-def]
    samples = SimpleNamespace(inputs=inputs, labels=np.zeros(len(inputs), dtype=int))
    snn = cs.deploy(network, chip, window=3, engine=cs.Torch(dtype="float64", device="cpu", compile=False))
    return cs.inference_cost(snn, samples, prices=prices)


@given(NETWORKS, QUIET, st.data())
def test_costs_of_samples_add_up(network: Network, chip: cs.Chip, data: st.DataObject) -> None:
    inputs = data.draw(strategies.inputs(network))
    alone = [cost(network, chip, one[None]) for one in inputs]
    together = cost(network, chip, inputs)
    for name in ("operations", "energy"):
        np.testing.assert_allclose(together[name] * len(inputs), sum(one[name] for one in alone), rtol=1e-12)


@given(NETWORKS, QUIET, st.sampled_from(NAMES), st.floats(0.0, 100.0), st.data())
def test_energy_is_linear_in_each_price(
    network: Network, chip: cs.Chip, name: str, factor: float, data: st.DataObject
) -> None:
    inputs = data.draw(strategies.inputs(network, max_samples=2))
    before = cost(network, chip, inputs)
    prices = dataclasses.replace(cs.SPIKESIM_PRICES, **{name: factor * getattr(cs.SPIKESIM_PRICES, name)})
    after = cost(network, chip, inputs, prices)
    expected = before.energy * np.where(before.part == name, factor, 1.0)
    np.testing.assert_allclose(after.energy, expected, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(after.operations, before.operations)


@given(NETWORKS, QUIET, st.data())
def test_what_costs_nothing_costs_nothing(network: Network, chip: cs.Chip, data: st.DataObject) -> None:
    free = cs.Prices(**dict.fromkeys([*NAMES, "read_time"], 0.0))
    found = cost(network, chip, data.draw(strategies.inputs(network, max_samples=2)), free)
    assert (found.energy == 0).all()
    assert (found.operations.sel(part="synapse") > 0).all()
