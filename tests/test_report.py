import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import chipsim as cs
from chipsim import effects
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import LIF
from chipsim.deployment import Deployment, deploy
from chipsim.devices import RRAM_MILO_2021, Ideal
from chipsim.effects import DeadNeurons, Effect, MembraneNoise, Mismatch, Seen, StuckCells
from chipsim.errors import ChipsimError
from chipsim.network import Network
from chipsim.report import EffectReport, RareEventWarning, entries
from chipsim.streams import stream


def deployment(*effects: Effect, device: object = None, sizes: tuple[int, ...] = (8, 30, 4)) -> Deployment:
    design = ChipDesign(effects=effects, device=device or Ideal())  # type: ignore[arg-type]
    return deploy(Network.random(sizes, seed=0), fabricate(design, 2), window=2)


def test_every_effect_has_its_lines_in_the_order_of_the_design() -> None:
    snn = deployment(DeadNeurons(rate=0.2), Mismatch(sigma=0.0), StuckCells(rate=0.1))
    lines = [(entry.effect, entry.part, entry.strength) for entry in snn.effect_report().entries]
    assert lines[:3] == [
        ("dead_neurons", "share of dead neurons", 0.2),
        ("mismatch", "off", 0.0),
        ("stuck_cells", "share of stuck cells", 0.1),
    ]


def test_sizes_are_of_what_the_deployment_uses() -> None:
    snn = deployment(Mismatch(sigma=0.3), StuckCells(rate=0.1), DeadNeurons(rate=0.2))
    report = snn.effect_report()
    mismatch, stuck, dead = snn.chip.frozen_neurons[0], snn.chip.tile(0)[1], snn.chip.frozen_neurons[2]
    rms = float(np.sqrt(np.mean((mismatch["threshold"][:30] - 1) ** 2)))
    assert report["mismatch"]["threshold CV"] == pytest.approx(rms)
    assert report["dead_neurons"]["share of dead neurons"] == np.mean(dead["dead"][:30])
    used = [stuck["stuck"][:, :9, :30], snn.chip.tile(1)[1]["stuck"][:, :31, :4]]
    share = sum(part.sum() for part in used) / sum(part.size for part in used)
    assert report["stuck_cells"]["share of stuck cells"] == pytest.approx(share)


def test_noise_is_measured_once_samples_were_presented() -> None:
    snn = deployment(MembraneNoise(sigma=0.1))
    assert snn.effect_report()["membrane_noise"] == {"": None}
    assert "not yet measured" in str(snn.effect_report())
    snn.outputs(np.ones((100, 8)))
    measured = snn.effect_report()["membrane_noise"]["rms per step, in the membrane's unit"]
    assert measured == pytest.approx(0.1 * 0.6, rel=4 / np.sqrt(2 * 30))  # of the first sample of a batch


def test_samples_that_take_no_time_are_samples() -> None:
    snn = deployment(MembraneNoise(sigma=0.1), sizes=(8, 4))
    snn.wait(1.0)
    assert snn.effect_report()["membrane_noise"] == {"": None}, "nothing was presented"
    with snn.held():
        snn.outputs(np.ones((5, 8)))
    with pytest.raises(ChipsimError, match="gives it nothing to act on"):
        snn.effect_report()


def test_programming_noise_is_reported_as_a_share_of_the_range() -> None:
    report = deployment(device=RRAM_MILO_2021).effect_report()
    noise = report["programming"]["rms deviation of cells from target, share of range"]
    assert noise == pytest.approx(4.3e-6 / 175e-6, rel=0.1)
    assert deployment().effect_report()["programming"] == {
        "rms deviation of cells from target, share of range": 0.0,
        "share of weights clipped at mapping": 0.0,
    }


@pytest.mark.parametrize("effects", [(), (Mismatch(), MembraneNoise(), StuckCells(rate=0.2))])
def test_a_network_without_hidden_layers_has_a_report(effects: tuple[Effect, ...]) -> None:
    report = deployment(*effects, sizes=(8, 4)).effect_report()
    assert "mismatch" not in str(report) or {"cell_gain CV", "gain CV"} <= set(report["mismatch"])


def test_a_single_neuron_has_a_measured_mismatch() -> None:
    report = deployment(Mismatch(sigma=0.2), sizes=(3, 1, 1)).effect_report()
    assert report["mismatch"]["threshold CV"] > 0  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Pretender(Effect):
    """Says that it acts, and does nothing."""

    name: ClassVar[str] = "pretender"

    @property
    def strength(self) -> float:
        return 0.5

    def measure(self, seen: Seen) -> dict[str, float]:
        return {"size": 0.0}


def test_an_effect_that_silently_does_nothing_is_an_error() -> None:
    snn = deployment(Pretender())
    with pytest.raises(
        ChipsimError, match=r"effect pretender has strength 0\.5, but its size measured exactly 0: it did"
    ):
        snn.effect_report()


@pytest.mark.parametrize("effect", [kind() for kind in effects.ALL], ids=lambda effect: effect.name)
def test_every_effect_that_measures_nothing_raises_or_warns(effect: Effect) -> None:
    zero = "measured exactly 0"
    if effect.by_rate:
        with pytest.warns(RareEventWarning, match=zero):
            entries(effect, {"a part": 0.0}, presented=True)
    else:
        with pytest.raises(ChipsimError, match=zero):
            entries(effect, {"a part": 0.0}, presented=True)
    with pytest.raises(ChipsimError, match="gives it nothing to act on"):
        entries(effect, {}, presented=True)


def test_an_effect_by_rate_that_drew_no_event_warns() -> None:
    snn = deployment(DeadNeurons(rate=1e-6))
    with pytest.warns(RareEventWarning, match="share of dead neurons measured exactly 0: no such event on this chip"):
        report = snn.effect_report()
    assert report["dead_neurons"] == {"share of dead neurons": 0.0}


def test_text_and_json() -> None:
    report = EffectReport(
        (
            *entries(Mismatch(sigma=0.3), {"gain CV": 0.30123}, presented=True),
            *entries(StuckCells(rate=0.0), {}, presented=False),
        )
    )
    assert str(report).split("\n") == [
        "effect       part     strength  measured",
        "mismatch     gain CV  0.3       0.3012",
        "stuck_cells  off      0         off",
    ]
    assert json.loads(report.to_json())[0] == {
        "effect": "mismatch",
        "part": "gain CV",
        "strength": 0.3,
        "measured": 0.30123,
    }


FREQUENT = (DeadNeurons(rate=0.2), effects.HotNeurons(rate=0.2), effects.FailingTiles(rate=0.7))
EVERY = {kind.name: kind() for kind in effects.ALL} | {effect.name: effect for effect in FREQUENT}
PASSED_ON = {"wires"}
"""Effects whose measured size is what others leave of the currents, and so depends on them."""


@pytest.fixture(scope="module")
def all_on() -> dict[str, dict[str, float | None]]:
    return measured(tuple(EVERY.values()))


def measured(chosen: tuple[effects.Effect, ...]) -> dict[str, dict[str, float | None]]:
    design = ChipDesign(circuit=LIF(), effects=chosen, tiles=4, rows=24, columns=24, neurons=64, readouts=16)
    snn = deploy(Network.random((12, 20, 8), seed=0), fabricate(design, 5), window=8)
    snn.outputs(stream(0, "report", "inputs").uniform(0, 2, (4, 12)))
    report = snn.effect_report()
    return {name: report[name] for name in [effect.name for effect in chosen]}


@pytest.mark.filterwarnings("ignore::chipsim.report.RareEventWarning")
@pytest.mark.parametrize("name", EVERY)
def test_switching_an_effect_changes_its_own_size_and_no_others(name: str, all_on) -> None:
    without = measured(tuple(effect for other, effect in EVERY.items() if other != name))
    for other, sizes in without.items():
        if other not in PASSED_ON:
            assert sizes == all_on[other], f"{other} measures otherwise without {name}"
    assert all(all_on[name].values())
    alone = measured((EVERY[name],))
    if name not in PASSED_ON:
        assert alone[name] == all_on[name]


def test_the_report_says_what_the_step_costs_circuits_that_are_integrated() -> None:
    network = cs.Network.random((6, 5, 3), seed=0)
    errors = {}
    for circuit, shorter in ((cs.DPI(), 1), (cs.DPI(), 4), (cs.CurrentLIF(), 1)):
        snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(circuit=circuit), seed=0), step=circuit.step / shorter)
        (found,) = snn.effect_report()["step"].values()
        assert found is not None
        errors[type(circuit), shorter] = found
    assert 1e-3 < errors[cs.DPI, 1] < 0.1
    assert errors[cs.DPI, 4] < 0.1 * errors[cs.DPI, 1]
    assert errors[cs.CurrentLIF, 1] < 1e-9, "it is linear, and constant currents are integrated exactly"
    clocked = cs.deploy(network, cs.fabricate(cs.ChipDesign(), seed=0)).effect_report()
    assert "step" not in {entry.effect for entry in clocked.entries}
