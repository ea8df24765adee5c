"""The rules without teacher against autograd of their losses and closed forms, through learn() on an ideal chip."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.engines import Brian, Torch
from chipsim.errors import ParameterError
from chipsim.rules.decolle import local_readout

LAM, THETA, GATE, WARM_UP, WINDOW = float(np.exp(-0.1)), 0.6, 0.2, 12, 16


class Samples:
    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels


def forward(weights, inputs):
    """The published recursion: per layer, what drives the rows [T, batch, rows + 1], membranes and spikes."""
    drives, layers = np.repeat(inputs[None], WINDOW, axis=0), []
    for weight in weights:
        rows = np.concatenate([drives, np.ones((*drives.shape[:2], 1))], axis=2)
        u, s, membranes, spikes = 0.0, 0.0, [], []
        for row in rows:
            u = LAM * u * (1 - s) + row @ weight
            s = (u > THETA).astype(float)
            membranes.append(u)
            spikes.append(s)
        layers.append((rows, np.array(membranes), np.array(spikes)))
        drives = np.array(spikes)
    return layers


def changes(rule, engine, seed, sizes=(6, 9, 8, 4), batch=5):
    """What one step of plain descent at rate 1 took from each array, the weights before, inputs and labels."""
    rng = np.random.default_rng(seed)
    inputs, labels = rng.uniform(0, 2, (batch, sizes[0])), rng.integers(0, sizes[-1], batch)
    snn = cs.deploy(
        cs.Network.random(sizes, seed=seed), cs.fabricate(cs.ChipDesign(headroom=1e6), seed=0), engine=engine
    )
    assert all(layer.bias_rows == 1 for layer in snn.placement.layers)
    before = [to_numpy(cells.wanted) for cells in snn.cells]
    cs.learn(snn, Samples(inputs, labels), rule=rule, optimiser=cs.SGD(lr=1.0), batch=batch, progress=False)
    moved = [b - to_numpy(cells.wanted) for b, cells in zip(before, snn.cells, strict=True)]
    order = cs.learning.stream(0, "targets", 0).permutation(batch)
    return moved, before, inputs[order], np.eye(sizes[-1])[labels[order]]


def running_value(rows, weight):
    """The read-out's value so far, over the steps so far [T, batch, classes]."""
    return np.cumsum(rows @ weight, axis=0) / np.arange(1, WINDOW + 1)[:, None, None]


ENGINES = (Torch(dtype="float64", device="cpu", compile=False), Brian())


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20))
def test_delta_is_least_mean_squares_in_the_read_out_alone(engine, seed):
    moved, before, inputs, label = changes(cs.Delta(), engine, seed)
    rows = forward(before, inputs)[-1][0]
    error = (running_value(rows, before[-1]) - label) / label.size
    expected = sum(rows[t].T @ error[t] / (t + 1) for t in range(WARM_UP, WINDOW))
    np.testing.assert_allclose(moved[-1], expected, rtol=1e-8, atol=1e-12)
    assert not any(change.any() for change in moved[:-1])


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20), gain=st.floats(0.5, 20.0), key=st.integers(0, 5))
def test_decolle_is_the_gradient_of_a_local_cross_entropy(engine, seed, gain, key):
    moved, before, inputs, label = changes(cs.Decolle(gain=gain, seed=key), engine, seed)
    layers = forward(before, inputs)
    for index, ((rows, u, s), change) in enumerate(zip(layers[:-1], moved[:-1], strict=True)):
        back = torch.tensor(local_readout(key, index, s.shape[2], label.shape[1]))
        trace, expected = np.zeros_like(rows[0]), np.zeros_like(change)
        for t in range(WINDOW):
            trace = LAM * trace + rows[t]
            if t < WARM_UP:
                continue
            spikes = torch.tensor(s[t], requires_grad=True)
            count = torch.tensor(s[:t].sum(axis=0)) + spikes
            loss = torch.nn.functional.cross_entropy(gain * count / (t + 1) @ back, torch.tensor(label))
            (slope,) = torch.autograd.grad(loss, spikes)
            expected += trace.T @ (slope.numpy() * (np.abs(u[t] - THETA) < GATE))
        np.testing.assert_allclose(change, expected, rtol=1e-7, atol=1e-12)
    rows = layers[-1][0]
    logits = running_value(rows, before[-1])
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    error = (powers / powers.sum(axis=2, keepdims=True) - label) / len(label)
    expected = sum(rows[t].T @ error[t] / (t + 1) for t in range(WARM_UP, WINDOW))
    np.testing.assert_allclose(moved[-1], expected, rtol=1e-7, atol=1e-12)


def test_every_array_has_its_own_local_readout():
    one, two = (local_readout(0, array, 500, 10) for array in (0, 1))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 4 / np.sqrt(one.size)
    assert one.std() == pytest.approx(1 / np.sqrt(500), rel=0.05)


@pytest.mark.parametrize(("rule", "better"), [(cs.Decolle(), 0.25), (cs.Delta(), 0.2)])
def test_it_learns_digits_from_labels_alone(rule, better):
    from teachers import datasets

    data = datasets.load("digits")
    network = cs.Network.random((64, 64, 64, 10), seed=0)
    snn = cs.deploy(
        network, cs.fabricate(cs.ChipDesign(headroom=20.0), seed=0), engine=Torch(dtype="float32", device="cpu")
    )
    before = snn.accuracy(data.validation)
    history = cs.learn(snn, data.train, rule=rule, optimiser=cs.Adam(lr=3e-3), batch=32, epochs=3, progress=False)
    assert snn.accuracy(data.validation) > before + better
    assert np.isnan(history.rate_error).all()
    assert history.attrs["readout"] == "labels"


def test_a_rule_with_a_teacher_refuses_labels_alone():
    snn = cs.deploy(cs.Network.random((3, 2), seed=0), cs.fabricate(cs.ChipDesign(), seed=0))
    with pytest.raises(ParameterError, match="learns towards a teacher's rates"):
        cs.learn(snn, Samples(np.zeros((4, 3)), np.zeros(4, int)), progress=False)


@pytest.mark.parametrize("labels", [np.array([0, 1, 2]), np.array([0, -1, 1]), np.zeros(3)])
def test_labels_that_are_no_classes_are_refused(labels):
    snn = cs.deploy(cs.Network.random((3, 2), seed=0), cs.fabricate(cs.ChipDesign(), seed=0))
    with pytest.raises(ParameterError, match="whole numbers from 0 to 1"):
        cs.learn(snn, Samples(np.zeros((3, 3)), labels), rule=cs.Delta(), progress=False)
