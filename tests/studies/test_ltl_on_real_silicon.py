"""The limits of the study are each what it says, and its figure takes differences chip by chip."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray as xr

import chipsim as cs
from chipsim.errors import ParameterError
from chipsim.plots import limits as figure
from chipsim.study import Settings
from studies import ltl_on_real_silicon as study

SETTINGS = Settings(dataset="digits", seed=0, options={o.name: o.values[0] for o in study.STUDY.options})


def learned_with(monkeypatch: pytest.MonkeyPatch, condition: str) -> dict[str, Any]:
    """The arguments of `learn` under a condition."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(study.cs, "learn", lambda *_, **options: seen.update(options))
    network = cs.Network.random((4, 3, 2), seed=0)
    snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(), seed=0))
    study.learn(snn, None, SETTINGS, study.limits(condition))
    return seen


def test_each_limit_changes_what_it_says_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    free, rules = study.design(SETTINGS), learned_with(monkeypatch, "none")
    assert free == cs.ChipDesign(circuit=cs.LIF(), headroom=1.5)
    assert rules["rule"] == cs.LocalTandemOffline()
    in_design = {"weights": "device", "signals": "learning", "dead": "effects", "stuck": "effects"}
    for limit in study.LIMITS:
        condition = study.ONLY + limit
        design, options = study.design(SETTINGS, study.limits(condition)), learned_with(monkeypatch, condition)
        moved = {f.name for f in dataclasses.fields(design) if getattr(design, f.name) != getattr(free, f.name)}
        changed = {name for name, value in options.items() if value != rules[name]}
        if limit in in_design:
            assert (moved, changed) == ({in_design[limit]}, set())
        elif limit == "mismatch":
            assert (moved, changed) == ({"effects", "learning"}, set())
            assert design.learning == cs.LearningCircuits(gate_offset=study.GATE_OFFSET)
        elif limit == "pulses":
            assert (moved, changed) == ({"device", "pair", "headroom"}, {"writer"})
        elif limit == "batch":
            assert (moved, changed) == (set(), {"optimiser", "update"})
        elif limit == "constants":
            assert (moved, changed) == (set(), set())
        else:
            assert (moved, changed) == (set(), {"rule"})
    assert learned_with(monkeypatch, "only form")["rule"] == cs.LocalTandem(warm_up=12)
    for condition in ("only warm_up", "all", study.OFFSET):
        assert learned_with(monkeypatch, condition)["rule"] == cs.LocalTandem(warm_up=15)
    assert learned_with(monkeypatch, "all but form")["rule"] == cs.LocalTandemOffline()
    assert learned_with(monkeypatch, study.TUNED)["rule"] == cs.LocalTandem(warm_up=12, gate=0.4)


def test_all_but_one_is_all_of_the_others() -> None:
    every = study.design(SETTINGS, study.limits("all"))
    assert {type(effect) for effect in every.effects} == {cs.Mismatch, cs.DeadNeurons, cs.StuckCells}
    for limit, kind in (("mismatch", cs.Mismatch), ("dead", cs.DeadNeurons), ("stuck", cs.StuckCells)):
        without = study.design(SETTINGS, study.limits(study.BUT + limit))
        assert {type(effect) for effect in without.effects} == {type(effect) for effect in every.effects} - {kind}
    offset = study.design(SETTINGS, study.limits(study.OFFSET))
    assert offset.learning == dataclasses.replace(every.learning, error_offset=study.ERROR_OFFSET)
    assert offset.device == every.device == dataclasses.replace(cs.ECRAM_MO_KIM_2019, levels=128)


def result() -> xr.Dataset:
    rng, names = np.random.default_rng(0), ["none", "only dead", "only stuck", "all", "all but dead", "all but stuck"]
    after = 0.9 - np.array([0.0, 0.01, 0.03, 0.05, 0.02, 0.03])[:, None] + 0.002 * rng.standard_normal((6, 8))
    accuracy = np.stack([after - 0.1, after], axis=1)[None]
    return xr.Dataset(
        {"accuracy": (("chip", "limits", "stage", "die"), accuracy)},
        {"chip": [0], "limits": names, "stage": ["before", "after"], "die": np.arange(8)},
    )


def test_the_figure_takes_losses_and_gains_chip_by_chip() -> None:
    dataset = result()
    numbers = figure.data(dataset).numbers
    after = 100 * dataset.accuracy.sel(stage="after", chip=0, drop=True)
    loss = after.sel(limits="none") - after
    for name in dataset.limits.values:
        assert float(numbers.loss.sel(condition=name)) == pytest.approx(float(loss.sel(limits=name).mean()))
        assert float(numbers.worst.sel(condition=name)) == pytest.approx(float(loss.sel(limits=name).max()))
    gain = after.sel(limits="all but dead") - after.sel(limits="all")
    half = 2.3646 * float(gain.std(ddof=1)) / np.sqrt(8)  # Student's t of 7 degrees of freedom
    assert float(numbers.gain.sel(condition="all but dead")) == pytest.approx(float(gain.mean()))
    assert float(numbers.gain_high.sel(condition="all but dead") - gain.mean()) == pytest.approx(half, rel=1e-3)
    assert "all but stuck" in figure.words(figure.data(dataset))


def test_a_result_without_reference_is_refused() -> None:
    with pytest.raises(ParameterError, match="none too"):
        figure.data(result().sel(limits=["all"]))
    with pytest.raises(ParameterError, match="dimension"):
        figure.data(result().isel(limits=0, drop=True))
