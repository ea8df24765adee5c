"""The models of Yang et al.'s released code, as the study makes them."""

import numpy as np
import pytest
import torch

import chipsim as cs
from chipsim.engines import Torch
from chipsim.rules import LocalTandem
from chipsim.signals import LocalSignals
from chipsim.study import Settings, Trial
from studies.reproduce_yang_2022 import STRENGTHS, STUDY, NoisyGate, quantised_as_published, setup, trial

NETWORK = cs.Network.random((20, 60, 10), seed=0)


@pytest.mark.parametrize("kind", STRENGTHS)
@pytest.mark.parametrize("model", ["published", "chip"])
def test_without_strength_nothing_differs(kind, model):
    found = setup(NETWORK, kind, model, 0.0, seed=0)
    assert (found.network, found.circuit, found.effects, found.device) == (NETWORK, cs.LIF(), (), cs.Ideal())
    assert found.rule == LocalTandem()


@pytest.mark.parametrize(
    ("kind", "model", "effect"),
    [
        ("mismatch", "chip", cs.Mismatch(sigma=0.2)),
        ("thermal", "published", cs.DriverNoise(sigma=0.2)),
        ("thermal", "chip", cs.MembraneNoise(sigma=0.2)),
        ("silencing", "published", cs.SpikeLoss(rate=0.2)),
        ("silencing", "chip", cs.DeadNeurons(rate=0.2)),
    ],
)
def test_noise_and_silence_of_signals_are_published_and_of_circuits_the_chips(kind, model, effect):
    found = setup(NETWORK, kind, model, 0.2, seed=0)
    assert (found.network, found.circuit, found.effects, found.device) == (NETWORK, cs.LIF(), (effect,), cs.Ideal())
    assert found.rule == LocalTandem()


@pytest.mark.parametrize(("network", "rate"), [("mlp", 1e-3), ("cnn", 3e-2)])
def test_it_learns_at_the_rate_that_was_chosen_for_the_kind_of_network(network, rate, monkeypatch):
    said = {}
    monkeypatch.setattr(cs, "learn", lambda snn, targets, **options: said.update(options))
    options = {option.name: option.values[0] for option in STUDY.options} | {"network": network, "judged": 10}
    settings = Settings(dataset="digits", seed=0, options=options)
    trial(Trial(chip=0, point={"kind": "mismatch", "model": "chip", "level": 0}, settings=settings))
    assert said["optimiser"] == cs.Adam(lr=rate, relative=network == "cnn", final=0.0)


def test_published_mismatch_is_one_time_constant_and_perturbed_starting_weights():
    found = [setup(NETWORK, "mismatch", "published", 0.2, seed) for seed in range(300)]
    factors = np.array([one.circuit.tau for one in found]) / cs.LIF().tau
    assert abs(factors.mean() - 1) < 4 * 0.2 / np.sqrt(300)
    assert abs(factors.std() - 0.2) < 4 * 0.2 / np.sqrt(600)
    assert {one.circuit.v_threshold for one in found} == {cs.LIF().v_threshold}
    assert all(one.effects == () for one in found)
    ratios = np.concatenate([one.network.layers[0].weight / NETWORK.layers[0].weight - 1 for one in found]).ravel()
    assert abs(ratios.mean()) < 4 * 0.2 / np.sqrt(ratios.size)
    assert abs(ratios.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * ratios.size)
    assert not np.array_equal(found[0].network.layers[1].bias, NETWORK.layers[1].bias)


def test_a_noisy_gate_multiplies_what_an_open_comparator_lets_through_anew_each_time():
    rng = np.random.default_rng(0)
    gate = torch.as_tensor(rng.random((40, 50)) < 0.4)
    signals = LocalSignals(
        step=15, window=16, leak=0.9, readout=False, spikes=torch.ones(40, 50, dtype=torch.float64), gate=gate,
        target=torch.as_tensor(rng.random((40, 50))),
    )  # fmt: skip
    exact, noisy = LocalTandem().update(None, signals)[1], NoisyGate(sigma=0.3, seed=1)
    spikes = 1.0 - signals.spikes
    other = LocalSignals(**{**signals.__dict__, "spikes": spikes})
    draws = [noisy.update(None, shown)[1] for shown in (signals, other)]
    assert torch.equal(noisy.update(None, signals)[1], draws[0])  # a rule is pure
    exacts = [exact, LocalTandem().update(None, other)[1]]
    ratios = [(draw / whole)[gate[None]].numpy() for draw, whole in zip(draws, exacts, strict=True)]
    for ratio in ratios:
        assert abs(ratio.mean() - 1) < 4 * 0.3 / np.sqrt(ratio.size)
        assert abs(ratio.std() - 0.3) < 4 * 0.3 / np.sqrt(2 * ratio.size)
    assert abs(np.corrcoef(*ratios)[0, 1]) < 4 / np.sqrt(ratios[0].size)
    assert all((draw[~gate[None]] == 0).all() for draw in draws)


def test_published_quantisation_spans_the_weights_of_each_hidden_array_and_spares_the_read_out():
    changed = setup(NETWORK, "quantisation", "published", 3.0, seed=0)
    design = cs.ChipDesign(circuit=changed.circuit, device=changed.device)
    snn = cs.deploy(NETWORK, cs.fabricate(design, seed=0), engine=Torch(dtype="float64", device="cpu"))
    wanted = [np.asarray(cells.wanted) for cells in snn.cells]
    quantised_as_published(snn)
    hidden, readout = snn.weights(0), snn.weights(1)
    largest = np.abs(wanted[0]).max()
    step = largest / 3  # 3 bits: -3 to 3
    np.testing.assert_allclose(hidden, np.round(wanted[0] / step) * step, rtol=1e-9, atol=1e-12)
    assert len(np.unique(hidden.round(9))) == 7
    np.testing.assert_allclose(readout, wanted[1], rtol=1e-9)
