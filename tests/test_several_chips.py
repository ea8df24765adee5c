"""Chips of one design side by side: each is what it would be alone."""

import numpy as np
import pytest

import chipsim as cs
from chipsim.errors import ParameterError
from chipsim.network import Conv2d, Dense, Network

EFFECTS = (
    cs.Mismatch(sigma=0.3),
    cs.MembraneNoise(sigma=0.05),
    cs.ReadNoise(sigma=0.02),
    cs.Converters(dac_range=4.0),
    cs.DeadNeurons(rate=0.2),
    cs.DriverNoise(sigma=0.1),
    cs.SpikeLoss(rate=0.1),
    cs.StuckCells(rate=0.02),
)
NETWORK = cs.Network.random((20, 24, 16, 5), seed=0)
RULES = (cs.LocalTandem(), cs.LocalTandemOffline(), cs.LocalTandemTrace())


class Samples:
    inputs = np.random.default_rng(1).uniform(-1, 3, (20, 20))
    labels = np.arange(20) % 5

    def __len__(self):
        return 20

    def batches(self, size, epoch=0):
        rng = np.random.default_rng(epoch)
        for first in range(0, 20, size):
            part = slice(first, min(first + size, 20))
            labels = self.labels[part]
            yield self.inputs[part], labels, (*(rng.random((len(labels), n)) for n in (24, 16)), np.eye(5)[labels])


def chips(device=cs.RRAM_MILO_2021):
    design = cs.ChipDesign(device=device, effects=EFFECTS, headroom=3.0)
    return [cs.fabricate(design, seed=seed) for seed in (3, 5, 8)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("device", [cs.Ideal(), cs.RRAM_MILO_2021], ids=["ideal", "rram"])
def test_each_chip_is_what_it_is_alone(rule, device):
    engine, data = cs.Torch(dtype="float64"), Samples()
    together = cs.deploy(NETWORK, chips(device), engine=engine)
    alone = [cs.deploy(NETWORK, chip, engine=engine) for chip in chips(device)]
    before = together.outputs(data.inputs)
    np.testing.assert_allclose(before, [snn.outputs(data.inputs) for snn in alone], rtol=1e-12, atol=1e-12)
    assert not np.allclose(before[0], before[1])
    cs.learn(together, data, rule=rule, batch=8, progress=False)
    for snn in alone:
        cs.learn(snn, data, rule=rule, batch=8, progress=False)
    for layer in range(3):
        np.testing.assert_allclose(together.weights(layer), [snn.weights(layer) for snn in alone], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(together.accuracy(data), [snn.accuracy(data) for snn in alone])
    assert together.effect_report()["dead_neurons"]["share of dead neurons"] == pytest.approx(
        np.mean([snn.effect_report()["dead_neurons"]["share of dead neurons"] for snn in alone])
    )


def test_what_several_chips_cannot_do_is_refused():
    engine = cs.Torch(dtype="float64")
    with pytest.raises(ParameterError, match="one chip at a time"):
        cs.deploy(NETWORK, chips()).outputs(Samples.inputs)
    with pytest.raises(ParameterError, match="of one design"):
        cs.deploy(NETWORK, [chips()[0], cs.fabricate(cs.ChipDesign(), seed=0)], engine=engine)
    with pytest.raises(ParameterError, match="shows one chip"):
        cs.deploy(NETWORK, chips(), engine=engine).present(Samples.inputs)
    with pytest.raises(ParameterError, match="deploy needs a Chip"):
        cs.deploy(NETWORK, [], engine=engine)
    layers = (Conv2d(weight=np.ones((2, 1, 3, 3)), bias=np.ones(2)), Dense(weight=np.ones((8, 3)), bias=np.ones(3)))
    convolution = Network(layers, shape=(1, 4, 4))
    with pytest.raises(ParameterError, match="small dense networks"):
        cs.deploy(convolution, chips(), engine=engine).outputs(np.ones((1, 16)))
