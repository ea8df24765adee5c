"""Networks on chips: what holds for every network, design and input."""

from types import SimpleNamespace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.deployment import BATCH, deploy
from chipsim.devices import RRAM_MILO_2021
from chipsim.effects import DeadNeurons, MembraneNoise, Mismatch, StuckCells
from chipsim.network import Network
from chipsim.probe import Record
from chipsim.testing import strategies

EVERYTHING = (Mismatch(sigma=0.3), MembraneNoise(sigma=0.1), DeadNeurons(rate=0.2), StuckCells(rate=0.1))


@given(strategies.networks(), strategies.chips(), st.data())
def test_outputs_are_finite_and_accuracy_is_a_share(network: Network, chip: Chip, data: st.DataObject) -> None:
    inputs = data.draw(strategies.inputs(network))
    snn = deploy(network, chip, window=3)
    outputs = snn.outputs(inputs)
    assert outputs.shape == (len(inputs), network.sizes[-1])
    assert np.isfinite(outputs).all()
    labels = np.zeros(len(inputs), dtype=int)
    assert 0.0 <= snn.accuracy(SimpleNamespace(inputs=inputs, labels=labels)) <= 1.0
    assert snn.time == 2 * len(inputs) * 3 * 1e-3
    for layer in range(len(network.layers)):
        assert np.isfinite(snn.weights(layer)).all()


@given(strategies.networks(), strategies.networks(), strategies.chips())
def test_another_network_meets_the_same_mismatch(one: Network, other: Network, chip: Chip) -> None:
    first, second = deploy(one, chip, window=1), deploy(other, chip, window=1)
    for left, right in zip(first.stages[:1], second.stages[:1], strict=True):
        both = min(left.neurons, right.neurons)
        for name in left.parameters.keys() & right.parameters.keys():
            if left.circuit is right.circuit:
                np.testing.assert_array_equal(left.parameters[name][:both], right.parameters[name][:both])
    shared = (
        [deployment.placement.layers[0].blocks[0].rows.stop for deployment in (first, second)],
        [deployment.placement.layers[0].blocks[0].columns.stop for deployment in (first, second)],
    )
    rows, columns = min(shared[0]), min(shared[1])
    frozen = zip(first.arrays[0].effects, second.arrays[0].effects, strict=True)
    for (effect, cells), (same, others) in frozen:
        assert effect == same
        for kind, values in cells.items():
            if kind in effect.moments:  # not frozen
                continue
            np.testing.assert_array_equal(values[:, :rows, :columns], others[kind][:, :rows, :columns])


@settings(max_examples=8)
@given(strategies.networks(), strategies.chips(), st.data())
def test_the_first_samples_come_out_the_same_alone_or_with_more(
    network: Network, chip: Chip, data: st.DataObject
) -> None:
    inputs = data.draw(strategies.inputs(network, max_samples=6))
    first = data.draw(st.integers(1, len(inputs)))
    found = []
    for rows in (inputs, inputs[:first]):
        snn = deploy(network, chip, window=4)
        with snn.held():  # cells that age are read at the end of a batch
            found.append(snn.outputs(rows))
    np.testing.assert_allclose(found[0][:first], found[1], rtol=1e-12, atol=1e-12)


def test_the_first_samples_come_out_the_same_across_full_batches() -> None:
    chip = fabricate(ChipDesign(device=RRAM_MILO_2021, effects=EVERYTHING), 5)
    network = Network.random((6, 12, 3), seed=1)
    inputs = np.random.default_rng(0).uniform(0, 2, (BATCH + 7, 6))
    together = deploy(network, chip, window=4).outputs(inputs)
    for first in (3, BATCH, BATCH + 2):
        alone = deploy(network, chip, window=4).outputs(inputs[:first])
        np.testing.assert_allclose(together[:first], alone, rtol=1e-12, atol=1e-12)


@settings(max_examples=8)
@given(strategies.networks(), strategies.chips(), st.data())
def test_the_same_chip_deployed_twice_is_the_same_deployment(network: Network, chip: Chip, data: st.DataObject) -> None:
    inputs = data.draw(strategies.inputs(network))
    one = deploy(network, chip, window=4)
    other = deploy(network, fabricate(chip.design, chip.seed), window=4)
    for left, right in zip(one.cells, other.cells, strict=True):
        np.testing.assert_array_equal(left.g, right.g)
    np.testing.assert_array_equal(one.outputs(inputs), other.outputs(inputs))
    np.testing.assert_array_equal(one.outputs(inputs), other.outputs(inputs))


RAILED = strategies.circuits().filter(lambda circuit: np.isfinite([circuit.v_floor, circuit.v_ceiling]).all())
DYING = strategies.effects().map(
    lambda drawn: (DeadNeurons(rate=0.5), *(effect for effect in drawn if not isinstance(effect, DeadNeurons)))
)
DEAD = strategies.designs(circuits=RAILED, effects=DYING)


@settings(max_examples=8)
@given(strategies.networks(min_layers=2), strategies.chips(DEAD), st.data())
def test_dead_neurons_never_fire_and_membranes_stay_within_their_rails(
    network: Network, chip: Chip, data: st.DataObject
) -> None:
    snn = deploy(network, chip, window=4)
    stage, slack = snn.stages[0], 1e-9
    dead = chip.frozen_neurons[0]["dead"][: stage.neurons] > 0
    assume(dead.any())
    found = snn.present(data.draw(strategies.inputs(network)), Record(v=True, spikes=True))
    v = found.v.to_numpy()
    assert (v >= stage.parameters["v_floor"] - slack).all()
    assert (v <= stage.parameters["v_ceiling"] + slack).all()
    assert not found.spikes.to_numpy()[:, :, dead].any()
