"""The circuits of learning: counters, comparators, targets, errors and traces as a design limits them."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.engines import Brian, Engine, Torch
from chipsim.errors import ParameterError
from chipsim.learning import IdleLimitWarning
from chipsim.periphery import Periphery
from chipsim.signals import BITS, on_levels
from tests.test_learning import Lesson, Probe

SIZES, WINDOW = (6, 10, 8, 3), 16
LESSON = Lesson(9, SIZES)
LESSON.inputs *= 0.5  # to 0..1, what rows can carry
EXACT = Torch(dtype="float64", device="cpu", compile=False)
EVERY = cs.LearningCircuits(
    counter_bits=3, target_bits=4, value_bits=6, error_bits=5, error_offset=0.02, error_noise=0.05, gate_offset=0.1,
    gate_noise=0.05, row_bits=3, trace_spread=0.3,
)  # fmt: skip


def deployed(limits: cs.LearningCircuits, engine: Engine = EXACT, chips: int = 1, **design: Any) -> cs.Deployment:
    dies = [cs.fabricate(cs.ChipDesign(learning=limits, **design), seed=seed) for seed in range(chips)]
    network = cs.Network.random(SIZES, seed=0)
    return cs.deploy(network, dies if chips > 1 else dies[0], window=WINDOW, engine=engine)


def learned(
    limits: cs.LearningCircuits, rule: Any = None, engine: Engine = EXACT, chips: int = 1, **options: Any
) -> tuple[list[NDArray[np.float64]], Any]:
    """How every array's weights moved, and the history."""
    snn = deployed(limits, engine, chips)
    before = [to_numpy(cells.wanted) for cells in snn.cells]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdleLimitWarning)
        history = cs.learn(
            snn, LESSON, rule=rule or cs.LocalTandem(), optimiser=cs.SGD(lr=0.1), progress=False,
            **{"batch": 3, **options},
        )  # fmt: skip
    return [to_numpy(cells.wanted) - old for cells, old in zip(snn.cells, before, strict=True)], history


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20), st.integers(1, 12), st.floats(0.1, 10))
def test_levels_are_even_bounded_and_nearest(values: list[float], bits: int, largest: float) -> None:
    levels = 2**bits - 1
    found = on_levels(np.array(values), levels, largest)
    assert (np.abs(found) <= largest * (1 + 1e-12)).all()
    np.testing.assert_allclose(found * levels / largest, np.round(found * levels / largest), atol=1e-6)
    inside = np.clip(values, -largest, largest)
    assert (np.abs(found - inside) <= largest / levels / 2 * (1 + 1e-9)).all()
    assert on_levels(np.array(values), 0).tolist() == values


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize(
    ("bits", "words"), [(-1, "0"), (25, "0"), (2.0, "a whole number, not 2.0"), (True, "a whole number, not True")]
)
def test_impossible_bits_are_refused(name: str, bits: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=f"{name}_bits must be {words}"):
        cs.LearningCircuits(**{f"{name}_bits": bits})


def test_a_design_holds_learning_circuits() -> None:
    with pytest.raises(ParameterError, match="learning must be a LearningCircuits"):
        cs.ChipDesign(learning=3)  # type: ignore[arg-type]


def test_a_design_with_limits_is_stored(tmp_path: Any) -> None:
    chip = cs.fabricate(cs.ChipDesign(learning=EVERY), seed=3)
    chip.save(tmp_path / "chip.h5")
    again = cs.Chip.load(tmp_path / "chip.h5")
    assert again.design.learning == EVERY
    assert again.hash == chip.hash != cs.fabricate(cs.ChipDesign(), seed=3).hash


LIMITS: dict[str, Any] = {
    "counter_bits": 3, "target_bits": 1, "value_bits": 3, "error_bits": 3, "error_offset": 0.1, "error_noise": 0.1,
    "gate_offset": 0.2, "gate_noise": 0.2, "row_bits": 1, "trace_spread": 0.5,
}  # fmt: skip


def test_every_limit_has_a_test_below() -> None:
    names = {field.name for field in dataclasses.fields(cs.LearningCircuits)}
    assert set(LIMITS) == names - {"value_range"}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_changes_what_is_learned_and_none_acts_unasked(name: str) -> None:
    rule = cs.LocalTandemTrace() if name == "trace_spread" else cs.LocalTandem()
    ideal, _ = learned(cs.LearningCircuits(), rule)
    limited, _ = learned(cs.LearningCircuits(**{name: LIMITS[name]}), rule)
    assert any(not np.allclose(ours, theirs, atol=1e-9) for ours, theirs in zip(limited, ideal, strict=True))
    many, _ = learned(cs.LearningCircuits(**{name: 24 if name.endswith("bits") else 0.0}), rule)
    for ours, theirs in zip(many, ideal, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("rule", [cs.LocalTandem(), cs.LocalTandemTrace(), cs.Decolle()], ids=lambda rule: type(rule))
def test_both_engines_meet_the_same_circuits(rule: Any) -> None:
    ours, theirs = (learned(EVERY, rule, engine) for engine in (EXACT, Brian()))
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    np.testing.assert_allclose(ours[1].error_shift, theirs[1].error_shift, rtol=1e-6)
    for name in ("spikes", "events"):
        np.testing.assert_array_equal(ours[1][name], theirs[1][name])


def test_several_chips_side_by_side_have_circuits_of_their_own() -> None:
    together, _ = learned(EVERY, chips=3)
    for chip in (0, 2):
        snn = cs.deploy(
            cs.Network.random(SIZES, seed=0), cs.fabricate(cs.ChipDesign(learning=EVERY), seed=chip), window=WINDOW,
            engine=EXACT,
        )  # fmt: skip
        before = [to_numpy(cells.wanted) for cells in snn.cells]
        with pytest.warns(IdleLimitWarning, match="trace_spread"):
            cs.learn(snn, LESSON, batch=3, optimiser=cs.SGD(lr=0.1), progress=False)
        for layer, (cells, old) in enumerate(zip(snn.cells, before, strict=True)):
            np.testing.assert_allclose(together[layer][chip], to_numpy(cells.wanted) - old, atol=1e-9)
    assert not np.allclose(together[0][0], together[0][1])


def test_a_counter_stops_at_its_largest_number() -> None:
    """At a target of 1 and 16 spikes in 16 steps, a counter of 3 bits reports 7 of them: the weights still grow."""
    rule = cs.LocalTandem(warm_up=15)
    for bits, error in ((0, 0.0), (3, 7 / 16 - 1)):
        signals = cs.signals.LocalSignals(
            step=15, window=16, leak=0.9, readout=False, spikes=np.ones((1, 2)), gate=np.ones((1, 2)) > 0,
            target=np.ones((1, 2)), largest=cs.LearningCircuits(counter_bits=bits).largest_count,
        )  # fmt: skip
        _, delta = rule.update(np.full((1, 2), min(15.0, signals.largest)), signals)
        np.testing.assert_allclose(delta, error * 2 / (2 * 16), atol=1e-12)


def test_targets_and_values_arrive_on_levels() -> None:
    limits = cs.LearningCircuits(target_bits=3, value_bits=4, value_range=0.7)
    Probe.seen.clear()
    snn = deployed(limits, Brian())
    cs.learn(snn, Lesson(4, SIZES), rule=Probe(), batch=4, progress=False)
    hidden, last = Probe.seen[0], Probe.seen[-1]
    assert hidden.target is not None
    np.testing.assert_allclose(hidden.target * 7, np.round(hidden.target * 7), atol=1e-9)
    per_level = 0.7 * WINDOW / 7
    value = to_numpy(last.value) / per_level
    assert last.readout
    np.testing.assert_allclose(value, np.round(value), atol=1e-9)
    assert np.abs(value).max() <= 7 + 1e-9
    Probe.seen.clear()


def test_offsets_and_traces_are_the_dies_own_and_have_the_stated_spread() -> None:
    limits = cs.LearningCircuits(error_offset=0.1, gate_offset=0.2, trace_spread=0.3)
    design = cs.ChipDesign(learning=limits)
    network = cs.Network.random((6, 5500, 4), seed=0)
    first, again, other = (
        [Periphery(cs.deploy(network, cs.fabricate(design, seed=seed), window=2, engine=EXACT), k, 1) for k in (0, 1)]
        for seed in (0, 0, 1)
    )
    offset, gate = (to_numpy(getattr(first[0], name)).ravel() for name in ("error_offset", "gate_from"))
    leak = to_numpy(first[1].leak).ravel()
    circuit, tau = design.circuit, -1e-3 / np.log(leak)
    error = 4 / np.sqrt(2 * offset.size)
    assert abs(offset.std() / 0.1 - 1) < error
    assert abs(offset.mean()) < 4 * 0.1 / np.sqrt(offset.size)
    assert abs(gate.std() / (0.2 * circuit.scale) - 1) < error
    assert abs(np.corrcoef(offset, gate)[0, 1]) < 4 / np.sqrt(offset.size)
    assert abs(tau.mean() / design.trace_tau - 1) < 4 * 0.3 / np.sqrt(tau.size)
    assert abs(tau.std() / tau.mean() / 0.3 - 1) < 1.5 * error  # a log-normal spread has heavier tails
    for layer, name in ((0, "error_offset"), (0, "gate_from"), (1, "leak"), (1, "error_offset")):
        ours, same, others = (to_numpy(getattr(each[layer], name)) for each in (first, again, other))
        assert np.array_equal(ours, same)
        assert not np.array_equal(ours, others)


def test_noise_has_the_stated_spread_is_zero_on_average_and_is_drawn_anew() -> None:
    circuits, still = Periphery(deployed(cs.LearningCircuits(error_noise=0.1)), 0, 3), EXACT.array(np.zeros((3, 10)))
    drawn = np.stack([to_numpy(circuits.sender(range(n, n + 3), step)(still)) for n in (0, 3) for step in range(100)])
    assert np.unique(drawn).size == drawn.size
    assert abs(drawn.std() / 0.1 - 1) < 4 / np.sqrt(2 * drawn.size)
    assert abs(drawn.mean()) < 4 * 0.1 / np.sqrt(drawn.size)
    square, number = circuits.shift
    assert float(square) / number == pytest.approx(np.mean(drawn**2))


@pytest.mark.parametrize("name", ["counter_bits", "trace_spread", "gate_offset", "error_noise"])
def test_a_limit_without_use_is_said(name: str) -> None:
    snn = deployed(cs.LearningCircuits(**{name: LIMITS[name]}), Brian())
    rule = cs.Delta() if name != "error_noise" else Probe()
    with pytest.warns(IdleLimitWarning, match=f"{name} did nothing: {type(rule).__name__}"):
        cs.learn(snn, Lesson(3, SIZES), rule=rule, batch=3, layers=None, progress=False)
    Probe.seen.clear()


def test_history_counts_spikes_and_driven_rows() -> None:
    snn = deployed(cs.LearningCircuits(), Brian())
    Probe.seen.clear()
    history = cs.learn(snn, Lesson(4, SIZES), rule=Probe(), batch=4, progress=False)
    spikes = [sum(float(to_numpy(s.spikes).sum()) for s in Probe.seen[k::3]) for k in (0, 1)]
    Probe.seen.clear()
    assert history.spikes.values[0].tolist() == [*spikes, 0.0]
    assert history.events.values[0].tolist() == [4 * 6 * WINDOW, *spikes]  # all inputs are above 0
    assert history.error_shift.values.tolist() == [[0.0, 0.0, 0.0]]
    assert history.attrs["samples"] == 4
