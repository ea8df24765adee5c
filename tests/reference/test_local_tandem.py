"""Local Tandem Learning against torch autograd of the published losses, through learn() on an ideal chip."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.network import Conv2d, Dense
from chipsim.rules import Rule

LAM, THETA, GATE = float(np.exp(-0.1)), 0.6, 0.2


class Fire(torch.autograd.Function):
    """Spike with the boxcar surrogate of the paper: height 1, half-width 0.2."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > THETA).to(u.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient * ((u - THETA).abs() < GATE).to(u.dtype)


class Boxcar(torch.autograd.Function):
    """Passes a given value forward, and a gradient to u where the comparator window is open."""

    @staticmethod
    def forward(ctx, u, value):
        ctx.save_for_backward(u)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient * ((u - THETA).abs() < GATE).to(u.dtype), None


def driven(drive, weight):
    """What an array gives its neurons: a dense one, or a kernel [rows, channels] at every position of an image."""
    if drive.ndim == 2:
        return drive @ weight
    columns = drive @ weight  # [batch, positions, channels]
    return columns.transpose(1, 2).flatten(1)


def unfolded(x, layer, shape):
    """What drives the rows: inputs, or patches of an image [batch, positions, rows], and 1 for the bias."""
    if isinstance(layer, Conv2d):
        image = x.reshape(-1, *shape)
        patches = torch.nn.functional.unfold(image, layer.weight.shape[2:], padding=layer.padding, stride=layer.stride)
        x = patches.transpose(1, 2)
    return torch.cat([x, torch.ones(*x.shape[:-1], 1, dtype=torch.float64)], -1)


def forward(weights, inputs, window, network):
    """The published recursion without gradient: per layer and step, what drives the rows and the spikes."""
    x, layers = [inputs] * window, []
    for index, weight in enumerate(weights):
        wiring = network.wirings[index]
        u = torch.zeros(len(inputs), wiring.neurons, dtype=torch.float64)
        s, drives, spikes = torch.zeros_like(u), [], []
        for t in range(window):
            drive = unfolded(x[t], network.layers[index], wiring.inputs)
            u = LAM * u * (1 - s) + driven(drive, weight)
            s = (u > THETA).to(u.dtype) if index < len(weights) - 1 else torch.zeros_like(u)
            drives.append(drive)
            spikes.append(s)
        layers.append(drives)
        x = spikes
    return layers


def hidden_loss(form, weight, drives, target):
    """The published loss of one hidden array, differentiable in its weight alone."""
    window = len(drives)
    u, s = torch.zeros_like(target), torch.zeros_like(target)
    counter, loss, rate = torch.zeros_like(target), torch.zeros((), dtype=torch.float64), torch.zeros_like(target)
    for t, drive in enumerate(drives):
        if form == "online":
            u = LAM * (u * (1 - s)).detach() + driven(drive, weight)
            s = Fire.apply(u)
            counter = counter.detach() + s
            if t >= 12:
                loss = loss + ((counter / (t + 1) - target) ** 2).mean()
        elif form == "offline":
            u = LAM * u * (1 - s) + driven(drive, weight)
            s = Fire.apply(u)
            rate = rate + s / window
        else:  # du[t]/du[t-1] := lam, whatever the spike
            free = LAM * u + driven(drive, weight)
            u_value = LAM * (u * (1 - s)).detach() + (driven(drive, weight)).detach()
            u = free + (u_value - free).detach()
            s = Boxcar.apply(u, (u_value > THETA).to(u.dtype))
            rate = rate + s / window
    return loss if form == "online" else ((rate - target) ** 2).mean()


def readout_loss(form, weight, drives, target):
    """Cross-entropy of the read-out: on the running mean with a detached accumulator, or on the window's mean."""
    window = len(drives)
    value, loss = torch.zeros_like(target), torch.zeros((), dtype=torch.float64)
    for t, drive in enumerate(drives):
        value = (value.detach() if form == "online" else value) + driven(drive, weight)
        if form == "online" and t >= 12:
            loss = loss + torch.nn.functional.cross_entropy(value / (t + 1), target)
    return loss if form == "online" else torch.nn.functional.cross_entropy(value / window, target)


def oracle(form, weights, inputs, targets, window, network):
    """Gradients of every array by autograd."""
    weights = [torch.tensor(w) for w in weights]
    gradients = []
    for index, drives in enumerate(forward(weights, torch.tensor(inputs), window, network)):
        weight = weights[index].clone().requires_grad_()
        loss = readout_loss if index == len(weights) - 1 else hidden_loss
        value = loss(form, weight, drives, torch.tensor(targets[index]))
        gradients.append(torch.autograd.grad(value, weight)[0].numpy())
    return gradients


class OneBatch:
    """Targets of one batch."""

    def __init__(self, inputs, rates):
        self.inputs, self.rates = inputs, rates

    def __len__(self):
        return len(self.inputs)

    def batches(self, size, epoch=0):
        yield self.inputs, np.zeros(len(self.inputs), int), self.rates


def learned(rule: Rule, sizes, seed, batch, window, network=None, engine=None):
    """Weights before, inputs, targets, and what one step of plain descent at rate 1 took from each array."""
    rng = np.random.default_rng(seed)
    network = network or cs.Network.random(sizes, seed=seed)
    sizes = network.sizes
    design = cs.ChipDesign(rows=32, columns=32, headroom=1e6)  # headroom: no weight is clipped
    snn = cs.deploy(network, cs.fabricate(design, seed=0), window=window, engine=engine)
    assert all(layer.bias_rows == 1 for layer in snn.placement.layers)
    inputs = rng.uniform(0, 2, (batch, sizes[0]))
    rates = tuple(rng.random((batch, n)) for n in sizes[1:-1])
    shares = rng.random((batch, sizes[-1]))
    targets = (*rates, shares / shares.sum(axis=1, keepdims=True))
    before = [to_numpy(cells.wanted) for cells in snn.cells]
    cs.learn(snn, OneBatch(inputs, targets), rule=rule, optimiser=cs.SGD(lr=1.0), batch=batch, progress=False)
    after = [to_numpy(cells.wanted) for cells in snn.cells]
    return before, inputs, targets, [b - a for b, a in zip(before, after, strict=True)]


RULES = {"online": cs.LocalTandem(), "offline": cs.LocalTandemOffline(), "trace": cs.LocalTandemTrace()}


@pytest.mark.parametrize("form", RULES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8), st.integers(2, 5)),
    seed=st.integers(0, 2**20),
    batch=st.integers(1, 5),
    window=st.integers(13, 18),
)
def test_rule_equals_autograd_of_the_published_loss(form, sizes, seed, batch, window):
    network = cs.Network.random(sizes, seed=seed)
    weights, inputs, targets, changes = learned(RULES[form], sizes, seed, batch, window)
    for expected, change in zip(oracle(form, weights, inputs, targets, window, network), changes, strict=True):
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-9 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("form", RULES)
@pytest.mark.parametrize("engine", [cs.Torch(dtype="float64", device="cpu", compile=False), cs.Brian()])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    channels=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    seed=st.integers(0, 2**20),
    batch=st.integers(1, 4),
)
def test_rule_equals_autograd_on_convolutions(engine, form, channels, stride, padding, seed, batch):
    """Every position of a kernel adds to its gradient, and to that of its bias."""
    first, second, third = channels
    kernels = [
        Conv2d(weight=np.zeros((second, first, 2, 3)), bias=np.zeros(second), padding=padding),
        Conv2d(weight=np.zeros((third, second, 2, 2)), bias=np.zeros(third), stride=stride),
    ]
    shape = (first, 4, 5)
    for kernel in kernels:
        shape = kernel.wiring(shape).outputs
    readout = Dense(weight=np.zeros((int(np.prod(shape)), 3)), bias=np.zeros(3))
    network = cs.Network((*kernels, readout), (first, 4, 5)).redrawn(seed=seed)
    weights, inputs, targets, changes = learned(RULES[form], None, seed, batch, 15, network, engine)
    for expected, change in zip(oracle(form, weights, inputs, targets, 15, network), changes, strict=True):
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-9 * max(1.0, np.abs(expected).max()))


def test_gradients_of_the_comparison_are_not_all_zero():
    _, _, _, changes = learned(RULES["offline"], (6, 8, 8, 4), 3, 4, 16)
    assert all(np.abs(change).max() > 1e-4 for change in changes)


def test_input_trace_points_near_the_exact_gradient():
    """The cosine between the input-trace and the exact gradient of hidden arrays, over random nets."""
    cosines = []
    for seed in range(20):
        exact = learned(RULES["offline"], (20, 16, 12, 4), seed, 8, 16)[3]
        trace = learned(RULES["trace"], (20, 16, 12, 4), seed, 8, 16)[3]
        for a, b in zip(exact[:-1], trace[:-1], strict=True):
            cosines.append(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))
    print(f"cosine of input trace to exact gradient: mean {np.mean(cosines):.3f}, min {np.min(cosines):.3f}")
    assert np.mean(cosines) > 0.8
