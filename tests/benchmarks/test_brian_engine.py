"""Speed of the Brian2 engine, beside the same network written the usual way with `Synapses`; ratios of one run.

784-512-512-10, T = 16, direct encoding, the same weights, float64. Run alone on the machine: make bench.
"""

import itertools
import json
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from brian_synapses import SynapseNetwork
from measure import machine

import chipsim as cs

SIZES = (784, 512, 512, 10)
SAMPLES, EPOCH = 1000, 55_000
FIGURES: dict[str, float] = {}


@pytest.fixture(scope="module")
def network():
    return cs.Network.random(SIZES, seed=0)


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).random((SAMPLES, SIZES[0]))


@pytest.fixture(scope="module")
def deployment(network):
    return cs.deploy(network, cs.fabricate(cs.ChipDesign(headroom=20.0), seed=0))


def rate(benchmark, samples):
    return samples / statistics.median(benchmark.stats.stats.data)


def test_ours_one_long_run(benchmark, deployment, inputs):
    benchmark.pedantic(deployment.outputs, args=(inputs,), rounds=5, warmup_rounds=1)
    FIGURES["chipsim, one long run"] = rate(benchmark, SAMPLES)


def test_ours_one_run_per_sample(benchmark, deployment, inputs):
    some = inputs[:20]
    benchmark.pedantic(lambda: [deployment.outputs(x[None]) for x in some], rounds=3)
    FIGURES["chipsim, one run() per sample"] = rate(benchmark, len(some))


def test_synapses_one_long_run(benchmark, network, inputs, deployment):
    peer = SynapseNetwork(network)
    outputs = benchmark.pedantic(peer.outputs, args=(inputs,), rounds=1)
    FIGURES["Brian2 Synapses, cython, one long run"] = SAMPLES / peer.seconds
    own = deployment.outputs(inputs)
    assert np.corrcoef(own.ravel(), outputs.ravel())[0, 1] > 0.9  # the same network, but for its delay of a step


def test_synapses_one_run_per_sample(benchmark, network, inputs):
    peer = SynapseNetwork(network)
    benchmark.pedantic(lambda: peer.outputs(inputs[:20], one_run=False), rounds=1)
    FIGURES["Brian2 Synapses, cython, one run() per sample"] = 20 / peer.seconds


class RandomTargets:
    """Random inputs and targets: the time of learning does not depend on what is learned."""

    def __len__(self):
        return 6400

    def batches(self, size, epoch=0):
        rng = np.random.default_rng(epoch)
        for _ in range(len(self) // size):
            rates = tuple(rng.random((size, n)) for n in SIZES[1:-1])
            yield rng.random((size, SIZES[0])), np.zeros(size, int), (*rates, np.eye(10)[rng.integers(0, 10, size)])


@pytest.mark.parametrize("rule", [cs.LocalTandem(), cs.LocalTandemOffline()], ids=["online", "offline"])
def test_learning(benchmark, network, rule):
    snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(headroom=20.0), seed=0))
    benchmark.pedantic(cs.learn, args=(snn, RandomTargets()), kwargs={"rule": rule, "progress": False}, rounds=1)
    FIGURES[f"learning, {type(rule).__name__}"] = rate(benchmark, len(RandomTargets()))


def test_floor_of_the_matrix_products(benchmark, inputs):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in itertools.pairwise(SIZES)]
    batch, hidden = inputs[:128], [rng.random((128, n)) for n in SIZES[1:-1]]

    def products():
        batch @ weights[0]
        for _ in range(16):
            hidden[0] @ weights[1]
            hidden[1] @ weights[2]

    benchmark.pedantic(products, rounds=20, warmup_rounds=3)
    FIGURES["floor: the bare matrix products"] = rate(benchmark, 128)


def test_report():
    """Print the figures and their ratios, and keep them beside the tests."""
    ours = FIGURES["chipsim, one long run"]
    width = max(map(len, FIGURES))
    print(f"\nsamples per second, {'-'.join(map(str, SIZES))}, T = 16, float64, {machine()['processor']}")
    for name, value in FIGURES.items():
        print(f"  {name:{width}}  {value:10.1f}   chipsim's long run is {ours / value:8.2f} times that")
    epoch = EPOCH / FIGURES["learning, LocalTandem"]
    print(f"  one LTL-online epoch of {EPOCH} samples: {epoch / 60:.1f} min")
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "samples_per_second": FIGURES,
        "online_epoch_minutes": epoch / 60,
    }
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    (folder / "brian_engine.json").write_text(json.dumps(record, indent=2) + "\n")
    assert ours >= 4 * FIGURES["Brian2 Synapses, cython, one long run"]
    assert epoch < 300
