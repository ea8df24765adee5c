"""The ideal chip with LIF neurons against the recursion of Yang et al. 2022, spike for spike in float64."""

import numpy as np
import pytest

import chipsim as cs

LAM, THETA, T = np.exp(-1 / 10), 0.6, 16


def published(weights, biases, inputs):
    """Spikes [steps, samples, neurons] and membranes of each hidden layer, and the read-out's mean drive."""
    u = [np.zeros((len(inputs), len(bias))) for bias in biases]
    s = [np.zeros_like(values) for values in u]
    spikes, membranes = ([[] for _ in u] for _ in range(2))
    for _ in range(T):
        x = inputs
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            if index == len(weights) - 1:
                u[index] = u[index] + x @ weight + bias
                continue
            u[index] = LAM * u[index] * (1 - s[index]) + x @ weight + bias
            s[index] = (u[index] > THETA).astype(float)
            spikes[index].append(s[index])
            membranes[index].append(u[index])
            x = s[index]
    return [np.stack(layer) for layer in spikes[:-1]], [np.stack(layer) for layer in membranes[:-1]], u[-1] / T


@pytest.mark.parametrize("seed", range(3))
def test_ideal_chip_reproduces_every_spike(seed):
    sizes = (64, 96, 80, 10)
    network = cs.Network.random(sizes, seed=seed)
    inputs = np.random.default_rng(seed).uniform(-1, 3, (100, sizes[0]))
    snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(headroom=1e3), seed=0), window=T)
    assert [layer.bias_rows for layer in snn.placement.layers] == [1, 1, 1]
    hidden = [THETA] * (len(sizes) - 2) + [1.0]  # weights are in units of the threshold, those of the read-out are not
    weights = [layer.weight * scale for layer, scale in zip(network.layers, hidden, strict=True)]
    biases = [layer.bias * scale for layer, scale in zip(network.layers, hidden, strict=True)]
    spikes, membranes, output = published(weights, biases, inputs)
    total = 0
    for layer in range(len(sizes) - 2):
        run = snn.present(inputs, cs.Record(layer=layer, v=True, spikes=True)).transpose("time", "sample", ...)
        close = np.abs(membranes[layer] - THETA) < 1e-9
        assert close.mean() < 1e-4
        np.testing.assert_array_equal(run.spikes.values[~close], spikes[layer][~close])
        np.testing.assert_allclose(run.v.values, membranes[layer], rtol=0, atol=1e-9)
        total += int(spikes[layer].sum())
    assert total > 20_000
    np.testing.assert_allclose(snn.outputs(inputs), output, rtol=0, atol=1e-9)
