"""Batch normalisation of host methods: against a twin written out, and what the chip gets against the definition."""

import dataclasses

import numpy as np
import pytest
import torch

import chipsim as cs
from chipsim.engines import Brian, Engine, Torch
from chipsim.engines.torch import channels_last, product
from chipsim.errors import ParameterError
from chipsim.host.normalisation import Normalised
from chipsim.wiring import Wiring
from teachers import datasets

SIZES, T, THETA = (6, 12, 9, 4), 11, 0.6
ENGINES = [Torch(dtype="float64", device="cpu"), Brian()]


class Lesson:
    """Samples with labels."""

    rng = np.random.default_rng(1)
    inputs = rng.uniform(0, 1.5, (32, SIZES[0]))
    labels = rng.integers(0, SIZES[-1], 32)


def deployed(engine: Engine) -> cs.Deployment:
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), device=cs.Ideal(), headroom=1e3)
    return cs.deploy(cs.Network.random(SIZES, seed=3), cs.fabricate(design, seed=0), engine=engine, window=T)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_one_step_is_that_of_a_normalised_twin_with_its_scale_folded_into_the_cells(engine: Engine) -> None:
    snn = deployed(engine)
    start = [torch.as_tensor(np.asarray(cells.wanted), dtype=torch.float64) for cells in snn.cells]
    outputs = torch.as_tensor(snn.outputs(Lesson.inputs) * T)

    leaves = []
    x, statistics = torch.as_tensor(Lesson.inputs), []
    for wanted in start[:-1]:
        weight = wanted[:-1].clone().requires_grad_()
        gain = torch.full((weight.shape[1],), THETA / 2, dtype=torch.float64, requires_grad=True)
        shift = torch.zeros_like(gain, requires_grad=True)
        driven = x @ weight
        mean, variance = driven.mean(0), driven.var(0, correction=0)
        x = (gain * (driven - mean) / torch.sqrt(variance + 1e-5) + shift).clamp(min=0) / THETA
        statistics.append((mean.detach(), driven.var(0).detach()))
        leaves.append((weight, gain, shift))
    read_out = start[-1].clone().requires_grad_()
    model = T * (x @ read_out[:-1] + read_out[-1])
    anchored = outputs + model - model.detach()
    torch.nn.functional.cross_entropy(anchored, torch.as_tensor(Lesson.labels)).backward()

    cs.train_in_the_loop(
        snn, Lesson, method=cs.Proxy(), optimiser=cs.SGD(lr=0.5), batch=32, batch_norm=True, progress=False
    )
    found = [np.asarray(cells.wanted) for cells in snn.cells]
    for ours, (weight, gain, shift), (mean, variance) in zip(found, leaves, statistics, strict=False):
        with torch.no_grad():
            weight, gain, shift = (leaf - 0.5 * leaf.grad for leaf in (weight, gain, shift))
            scale = gain / torch.sqrt(variance + 1e-5)
            assert (shift != 0).all()
            np.testing.assert_allclose(ours[:-1], weight * scale, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(ours[-1], shift - mean * scale, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[-1], (read_out - 0.5 * read_out.grad).detach(), rtol=1e-9, atol=1e-12)


def test_channels_are_normalised_over_samples_steps_and_positions_and_averages_are_folded() -> None:
    rng = np.random.default_rng(0)
    wiring = Wiring(inputs=(2, 8, 8), pool=2, columns=3, kernel=(3, 3), padding=1)
    weights = torch.as_tensor(rng.normal(size=(2 * 9, 3)))
    norm = Normalised.of(weights, THETA, cs.SGD())
    drives = []
    for _ in range(3):
        inputs = torch.as_tensor(rng.uniform(size=(4, 5, wiring.size)))
        drives.append(channels_last(product(wiring, inputs, weights, 0), wiring.outputs).reshape(4, 5, -1, 3))
        normal = norm(drives[-1].reshape(4, 5, -1), norm.affine).reshape(4, 5, -1, 3)
        np.testing.assert_allclose(normal.mean((0, 1, 2)), 0.0, atol=1e-12)
        np.testing.assert_allclose(normal.std((0, 1, 2), correction=0), THETA / 2, rtol=1e-4)
    mean = torch.stack([drive.mean((0, 1, 2)) for drive in drives]).mean(0)
    spread = torch.sqrt(torch.stack([drive.var((0, 1, 2)) for drive in drives]).mean(0) + 1e-5)
    expected = (drives[-1] - mean) / spread * THETA / 2
    found = channels_last(product(wiring, inputs, norm.folded(2), 2), wiring.outputs).reshape(4, 5, -1, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [cs.Tandem(), cs.Proxy(), cs.SpikeCount(), cs.Surrogate()], ids=str)
def test_a_normalised_network_learns_from_random_weights(method: cs.host.HostMethod) -> None:
    data = datasets.load("digits")
    network = cs.Network.random((64, 48, 10), seed=0)
    soft = isinstance(method, cs.SpikeCount | cs.Tandem | cs.Proxy)
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True) if soft else cs.LIF(), device=cs.Ideal(), headroom=20.0)
    snn = cs.deploy(network, cs.fabricate(design, seed=0), engine=Torch(), window=8)
    cs.train_in_the_loop(
        snn, data.train, method=method, batch_norm=True, optimiser=cs.Adam(lr=0.01), epochs=6, progress=False
    )
    assert snn.accuracy(data.validation) > 0.9


def test_a_batch_of_one_sample_has_no_statistics() -> None:
    snn = deployed(ENGINES[0])
    for batch, words in ((31, "32 in batches of 31 leave one of 1"), (1, "at least 2 samples")):
        with pytest.raises(ParameterError, match=words):
            cs.train_in_the_loop(snn, Lesson, method=cs.Proxy(), batch=batch, batch_norm=True, progress=False)


def test_weights_at_the_limit_of_the_cells_are_counted() -> None:
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), device=cs.Ideal(), headroom=1.0)
    shares = []
    for headroom in (1.0, 1e3):
        chip = cs.fabricate(dataclasses.replace(design, headroom=headroom), seed=0)
        snn = cs.deploy(cs.Network.random(SIZES, seed=3), chip, engine=ENGINES[0], window=T)
        found = cs.train_in_the_loop(snn, Lesson, method=cs.Proxy(), batch_norm=True, epochs=3, progress=False)
        shares.append(found.clipped.values)
    assert shares[0].shape == (3, 3)
    assert (shares[0][:, :2] > 0.01).all()
    assert (shares[1] == 0).all()
