"""A chip's life: whatever is done to a deployment, and in whatever order, several chips side by side live as each does
alone, both engines tell the same story, and a snapshot, or what was stored, leads back to where it was taken.
"""

import math
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import chipsim as cs
from chipsim import devices
from chipsim.arrays import to_numpy
from chipsim.deployment import Deployment
from chipsim.engines import Brian, Engine, Torch
from chipsim.errors import ChipsimError
from chipsim.network import Network
from chipsim.testing import strategies

Array = NDArray[np.float64]
Act = tuple[str, Any]
FAST = Torch(dtype="float64", device="cpu", compile=False)
DEVICES = (
    cs.Ideal(), cs.Ideal(levels=32), devices.RRAM_MILO_2021, devices.PCM_NANDAKUMAR_2019, devices.RRAM_WAN_2022,
    devices.SONOS_AGRAWAL_2022,
)  # fmt: skip
EFFECTS = (
    cs.Mismatch(sigma=0.2), cs.MembraneNoise(sigma=0.1), cs.ReadNoise(sigma=0.03), cs.TelegraphNoise(share=0.3),
    cs.SenseAmplifiers(noise=0.05), cs.SpikeLoss(rate=0.1), cs.DriverNoise(sigma=0.1), cs.StuckCells(rate=0.1),
    cs.DeadNeurons(rate=0.1), cs.WireResistance(row=20.0, column=20.0, refresh=2),
)  # fmt: skip
RULES = {"online": cs.LocalTandem(warm_up=3), "offline": cs.LocalTandemOffline(), "trace": cs.LocalTandemTrace()}
ACTS = (
    st.tuples(st.just("wait"), st.sampled_from([0.5, 60.0, 4e4]))
    | st.tuples(st.just("compensate"), st.none())
    | st.tuples(st.just("present"), st.integers(1, 4))
    | st.tuples(st.just("hold"), st.integers(1, 4))
    | st.tuples(st.just("learn"), st.sampled_from(sorted(RULES)))
)
LIVES = st.lists(ACTS, min_size=2, max_size=6)
KINDS = st.lists(st.sampled_from(range(len(EFFECTS))), max_size=4, unique=True)
DIES = (3, 5)
ANY = strategies.networks(max_width=6) | strategies.conv_networks()
BIRTH = {"device": st.sampled_from(DEVICES), "kinds": KINDS, "verify": st.booleans()}


class Lesson:
    """A few samples for a network, with labels and targets."""

    def __init__(self, network: Network) -> None:
        rng = np.random.default_rng(1)
        *hidden, outputs = (wiring.neurons for wiring in network.wirings)
        self.inputs = rng.uniform(0, 2, (5, network.sizes[0]))
        self.labels = rng.integers(0, outputs, 5)
        self.rates = [*(rng.random((5, size)) for size in hidden), np.eye(outputs)[self.labels]]

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, epoch: int = 0) -> Iterator[tuple[Array, NDArray[np.int64], tuple[Array, ...]]]:
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield self.inputs[part], self.labels[part], tuple(rates[part] for rates in self.rates)


def born(
    network: Network, device: devices.Device, kinds: list[int], verify: bool, seeds: tuple[int, ...], engine: Engine
) -> Deployment:
    """A network on new dies, with the effects of these numbers."""
    design = cs.ChipDesign(device=device, effects=tuple(EFFECTS[k] for k in kinds), rows=16, columns=16, tiles=256)
    dies = [cs.fabricate(design, seed) for seed in seeds]
    return cs.deploy(network, dies if len(dies) > 1 else dies[0], window=6, engine=engine, verify=verify)


def does(snn: Deployment, act: Act) -> None:
    """Let a deployment do one act, as far as its cells were measured."""
    kind, how = act
    lesson, device = Lesson(snn.network), snn.chip.design.device
    if kind == "wait" and snn.time + how + 1.0 < getattr(device, "measured_until", math.inf):
        snn.wait(how)
    elif kind == "compensate":
        snn.compensate()
    elif kind == "present":
        snn.outputs(lesson.inputs[:how])
    elif kind == "hold":
        with snn.held():
            snn.outputs(lesson.inputs[:how])
    elif kind == "learn":
        cs.learn(snn, lesson, rule=RULES[how], optimiser=cs.SGD(lr=0.05), batch=2, progress=False)


def state(snn: Deployment) -> dict[str, Array]:
    """All that can be seen of a deployment: its cells, weights and outputs, the chips first."""
    chips = len(snn.chips)
    found = {"outputs": snn.outputs(Lesson(snn.network).inputs).reshape(chips, 5, -1)}
    for layer, cells in enumerate(snn.cells):
        shape = (2, chips, *snn.placement.layers[layer].weight.shape)
        found |= {
            f"{name} {layer}": to_numpy(getattr(cells, name)).reshape(shape).swapaxes(0, 1)
            for name in ("g", "written", "wear")
        }
        found[f"weights {layer}"] = snn.weights(layer).reshape(chips, *shape[2:])
    return found


def report(snn: Deployment) -> str:
    """The effect report, or why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return snn.effect_report().to_json()
        except ChipsimError as error:
            return str(error)


def same(found: dict[str, Array], expected: dict[str, Array], rtol: float = 1e-7) -> None:
    for name, values in expected.items():
        largest = float(np.abs(values).max())
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=rtol * largest, err_msg=name)


@settings(max_examples=40)
@given(network=strategies.networks(max_width=6), **BIRTH, life=LIVES)
def test_chips_side_by_side_live_as_each_does_alone(
    network: Network, device: devices.Device, kinds: list[int], verify: bool, life: list[Act]
) -> None:
    together, *alone = (born(network, device, kinds, verify, seeds, FAST) for seeds in (DIES, DIES[:1], DIES[1:]))
    for act in life:
        for snn in (together, *alone):
            does(snn, act)
    assert together.time == alone[0].time == alone[1].time
    apart = [state(snn) for snn in alone]
    same(state(together), {name: np.concatenate([each[name] for each in apart]) for name in apart[0]})


@settings(max_examples=12)
@given(network=ANY, **BIRTH, life=LIVES)
def test_a_life_is_the_same_on_both_engines(
    network: Network, device: devices.Device, kinds: list[int], verify: bool, life: list[Act]
) -> None:
    fast, slow = (born(network, device, kinds, verify, DIES[:1], engine) for engine in (FAST, Brian()))
    for act in life:
        does(fast, act)
        does(slow, act)
    assert fast.time == slow.time
    same(state(fast), state(slow))


@settings(max_examples=40)
@given(network=ANY, **BIRTH, before=LIVES, between=LIVES, after=LIVES)
def test_a_snapshot_leads_back_and_what_follows_is_the_same(
    network: Network,
    device: devices.Device,
    kinds: list[int],
    verify: bool,
    before: list[Act],
    between: list[Act],
    after: list[Act],
) -> None:
    snn = born(network, device, kinds, verify, DIES[:1], FAST)
    for act in before:
        does(snn, act)
    snapshot, ends, reported = snn.snapshot(), [], report(snn)
    for acts in (after, between, after):
        for act in acts:
            does(snn, act)
        ends.append(state(snn))
        snn.restore(snapshot)
        assert report(snn) == reported
    same(ends[2], ends[0], rtol=1e-12)
    with tempfile.TemporaryDirectory() as folder:
        snn.save(path := f"{folder}/deployment")
        for lead in (lambda elsewhere: elsewhere.restore(snapshot), lambda elsewhere: elsewhere.load(path)):
            elsewhere = born(network, device, kinds, verify, DIES[:1], FAST)
            lead(elsewhere)
            assert report(elsewhere) == reported
            for act in after:
                does(elsewhere, act)
            same(state(elsewhere), ends[0], rtol=1e-12)
