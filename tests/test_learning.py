from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, final

import numpy as np
import pytest
from numpy.typing import NDArray

import chipsim as cs
from chipsim import devices
from chipsim.arrays import like, to_numpy
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import LIF
from chipsim.deployment import Deployment, deploy
from chipsim.devices import RRAM_MILO_2021, Device, Ideal
from chipsim.effects import DeadNeurons, Effect, MembraneNoise, Mismatch, StuckCells
from chipsim.engines import Engine, Stage, Torch, Window
from chipsim.engines.brian import Brian
from chipsim.errors import ChipsimError, ParameterError
from chipsim.learning import TargetBatch, learn
from chipsim.loop import SGD, Adam, Optimiser
from chipsim.network import Network
from chipsim.rules import Delta, LocalTandem, LocalTandemOffline, LocalTandemTrace, Rule
from chipsim.signals import LocalSignals
from chipsim.writers import Writer

Array = NDArray[np.float64]
SIZES = (6, 10, 8, 3)


class Lesson:
    """A fixed set of samples, labels and target rates."""

    def __init__(self, count: int = 10, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.inputs, self.labels = rng.uniform(0, 2, (count, sizes[0])), rng.integers(0, sizes[-1], count)
        self.rates = [rng.uniform(0, 1, (count, size)) for size in sizes[1:-1]] + [np.eye(sizes[-1])[self.labels]]

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, epoch: int = 0) -> Iterator[tuple[Array, NDArray[np.int64], tuple[Array, ...]]]:
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.inputs[part], self.labels[part], tuple(rates[part] for rates in self.rates)


def deployment(*effects: Effect, window: int = 6, sizes: tuple[int, ...] = SIZES, **design: Any) -> Deployment:
    chip = fabricate(ChipDesign(effects=effects, **design), 1)
    return deploy(Network.random(sizes, seed=0), chip, window=window)


@final
@dataclass(frozen=True, kw_only=True)
class Probe(Rule):
    """Keeps every signal that it is shown, and asks for a column signal of 1 on average at the last step of a window:
    a weight changes by the mean over the batch of what its row carries.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"spikes", "gate", "membrane", "value", "target"})
    seen: ClassVar[list[LocalSignals]] = []
    carries: Literal["pre", "trace"] = "pre"

    def rows(self, readout: bool) -> Literal["pre", "trace"]:
        return self.carries

    def init(self) -> None:
        return None

    def update(self, state: None, signals: LocalSignals) -> tuple[None, Array | None]:
        self.seen.append(signals)
        assert signals.target is not None
        return None, np.ones((1, *signals.target.shape)) / len(signals.target) if _is_last(signals) else None


def _is_last(signals: LocalSignals) -> bool:
    return signals.step == signals.window - 1


def carried(snn: Deployment, inputs: Array, layer: int, step: int, window: int = 0) -> Array:
    """What drove the rows of a layer in a step of a window that a Probe saw, the bias rows last."""
    below = inputs if layer == 0 else Probe.seen[3 * (window * snn.window + step) + layer - 1].spikes
    assert below is not None
    return np.hstack([below, np.ones((len(below), snn.placement.layers[layer].bias_rows))])


@final
@dataclass(frozen=True, kw_only=True)
class Blind(Rule):
    """Declares one signal and learns nothing."""

    reads: ClassVar[frozenset[str]] = frozenset({"target"})
    seen: ClassVar[list[LocalSignals]] = []

    def init(self) -> None:
        return None

    def update(self, state: None, signals: LocalSignals) -> tuple[None, Array | None]:
        self.seen.append(signals)
        return None, None


@pytest.fixture(autouse=True)
def forget() -> None:
    Probe.seen.clear()
    Blind.seen.clear()


def test_wanted_weights_move_by_the_optimisers_change() -> None:
    snn, lesson = deployment(), Lesson()
    before = [cells.wanted for cells in snn.cells]
    learn(snn, lesson, rule=Probe(), optimiser=SGD(lr=1e-3), batch=5)
    for layer, (cells, wanted, array) in enumerate(zip(snn.cells, before, snn.arrays, strict=True)):
        expected = wanted
        for window in (0, 1):
            rows = carried(snn, lesson.inputs[5 * window : 5 * window + 5], layer, snn.window - 1, window)
            expected = array.clip(expected - 1e-3 * rows.mean(axis=0)[:, None])
        assert not np.array_equal(expected, wanted)
        np.testing.assert_allclose(cells.wanted, expected, atol=1e-12)
        np.testing.assert_allclose(array.weights(cells, 0.0), cells.wanted, atol=1e-9)


PRESETS = {name: part for name, part in vars(devices).items() if isinstance(part, Device)} | {"IDEAL": Ideal()}


@pytest.mark.parametrize("writer", [cs.Direct(), cs.WriteVerify()], ids=["direct", "write-verify"])
@pytest.mark.parametrize("engine", [Torch(device="cpu", compile=False), Brian()], ids=["torch", "brian"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_change_of_nothing_writes_no_cell(name: str, engine: Engine, writer: Writer) -> None:
    chip = fabricate(ChipDesign(device=PRESETS[name]), 1)
    snn = deploy(Network.random(SIZES, seed=0), chip, window=3, engine=engine)
    snn.wait(0.5)
    before = [cells.copied() for cells in snn.cells]
    history = learn(snn, Lesson(), rule=LocalTandem(warm_up=1), writer=writer, optimiser=SGD(lr=0.0), progress=False)
    assert not history.writes.any()
    for cells, found in zip(before, snn.cells, strict=True):
        for part in ("wanted", "target", "g", "written", "wear"):
            np.testing.assert_array_equal(to_numpy(getattr(cells, part)), to_numpy(getattr(found, part)), err_msg=part)


@pytest.mark.parametrize("way", ["batch", "sample", "step", "host", "perturbation"])
def test_the_rate_falls_from_lr_and_no_update_is_wasted(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    rate = SGD.rate
    monkeypatch.setattr(SGD, "rate", lambda self, progress: rates.append(rate(self, progress)) or rates[-1])
    snn, lesson, optimiser = deployment(window=3), Lesson(4), SGD(lr=0.5, final=0.0)
    if way == "host":
        cs.train_in_the_loop(snn, lesson, method=cs.Tandem(), optimiser=optimiser, batch=1, progress=False)
    elif way == "perturbation":
        cs.perturb_in_the_loop(snn, lesson, optimiser=optimiser, batch=1, progress=False)
    else:
        options: dict[str, Any] = {"batch": 1} if way == "batch" else {"update": way}
        learn(snn, lesson, rule=LocalTandem(warm_up=0), optimiser=optimiser, progress=False, **options)
    assert list(dict.fromkeys(rates)) == [0.5, 0.375, 0.25, 0.125]


@pytest.mark.parametrize("pair", ["minimum", "reference"])
@pytest.mark.parametrize("writer", [cs.Direct(), cs.WriteVerify()], ids=["direct", "write-verify"])
@pytest.mark.parametrize(
    "effect",
    [
        cs.TelegraphNoise(share=0.5, depth=0.3),
        cs.SiliconMismatch(transistor_cells=True),
        Mismatch(sigma=0.3),
        StuckCells(rate=0.2),
    ],
    ids=lambda effect: effect.name,
)
def test_a_verified_cell_whose_weight_stays_is_not_written_again(effect: Effect, writer: Writer, pair: Any) -> None:
    for device in (Ideal(), RRAM_MILO_2021):
        chip = fabricate(ChipDesign(device=device, pair=pair, effects=(effect,)), 1)
        engine = Torch(device="cpu", compile=False)
        snn = deploy(Network.random(SIZES, seed=0), chip, window=3, engine=engine, verify=True)
        before = [cells.copied() for cells in snn.cells]
        for _ in range(2):
            rule = LocalTandem(warm_up=1)
            history = learn(snn, Lesson(), rule=rule, writer=writer, optimiser=SGD(lr=0.0), progress=False)
            assert not history.writes.any()
            snn.wait(1.0)
        for cells, found in zip(before, snn.cells, strict=True):
            np.testing.assert_array_equal(to_numpy(cells.g), to_numpy(found.g))


def test_momentary_traps_are_not_verified_away() -> None:
    effect = cs.TelegraphNoise(share=0.5, depth=0.3)
    snn = deploy(Network.random(SIZES, seed=0), fabricate(ChipDesign(effects=(effect,)), 1), window=3, verify=True)
    snn.wait(1.0)
    array, cells = snn.arrays[0], snn.cells[0]
    there = array.programme(cells, cells.wanted * 0.5, snn.write_stream(), snn.time)
    back = array.programme(there, cells.wanted, snn.write_stream(), snn.time)
    np.testing.assert_allclose(back.g, cells.g)


def test_rows_that_carry_a_trace_remember_for_the_time_constant_of_the_design() -> None:
    snn, lesson = deployment(window=4, trace_tau=5e-3), Lesson(3)
    before, leak = [cells.wanted for cells in snn.cells], np.exp(-1e-3 / 5e-3)
    learn(snn, lesson, rule=Probe(carries="trace"), optimiser=SGD(lr=1e-3), batch=3)
    for layer, (cells, wanted) in enumerate(zip(snn.cells, before, strict=True)):
        trace = sum(leak ** (3 - step) * carried(snn, lesson.inputs, layer, step) for step in range(4))
        np.testing.assert_allclose(cells.wanted, wanted - 1e-3 * trace.mean(axis=0)[:, None], atol=1e-12)


def test_a_column_signal_for_earlier_steps_meets_what_the_rows_carried_then() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Late(Rule):
        reads: ClassVar[frozenset[str]] = frozenset({"target"})
        looks_back: ClassVar[bool] = True

        def init(self) -> None:
            return None

        def update(self, state: None, signals: LocalSignals) -> tuple[None, Array | None]:
            assert signals.target is not None
            weighed = np.arange(1.0, 4.0)[:, None, None] * np.ones(signals.target.shape) / len(signals.target)
            return None, like(weighed, signals.target) if _is_last(signals) else None

    @dataclass(frozen=True, kw_only=True)
    class Forgetful(Late):
        looks_back: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Misspelt(Late):
        reads: ClassVar[frozenset[str]] = frozenset({"targets"})

    lesson = Lesson(3)
    for wrong, sentence in ((Forgetful(), "set looks_back = True"), (Misspelt(), "reads 'targets', which is no field")):
        with pytest.raises(ParameterError, match=sentence):
            learn(deployment(window=5), lesson, rule=wrong)
    shown = deployment(window=5)
    learn(shown, lesson, rule=Probe(), optimiser=SGD(lr=0.0), batch=3)
    for engine in (Brian(), Torch(dtype="float64", device="cpu", compile=False)):
        snn = deploy(Network.random(SIZES, seed=0), fabricate(ChipDesign(), 1), window=5, engine=engine)
        before = [to_numpy(cells.wanted) for cells in snn.cells]
        learn(snn, lesson, rule=Late(), optimiser=SGD(lr=1e-3), batch=3)
        for layer, (cells, wanted) in enumerate(zip(snn.cells, before, strict=True)):
            rows = sum(k * carried(shown, lesson.inputs, layer, step) for k, step in ((1, 2), (2, 3), (3, 4)))
            np.testing.assert_allclose(to_numpy(cells.wanted), wanted - 1e-3 * rows.mean(axis=0)[:, None], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "writes"), [({"batch": 5}, 2), ({}, 1), ({"batch": 4}, 3), ({"update": "sample"}, 10)]
)
def test_there_is_one_write_per_batch_or_sample(arguments: dict[str, Any], writes: int) -> None:
    snn = deployment()
    before = snn.cells[0].wanted
    history = learn(snn, Lesson(), rule=Probe(), optimiser=SGD(lr=1e-4), **arguments)
    bias_rows = snn.placement.layers[0].bias_rows  # always driven by 1
    np.testing.assert_allclose(snn.cells[0].wanted[-bias_rows:], before[-bias_rows:] - writes * 1e-4, atol=1e-12)
    moved = history.writes.to_numpy()
    assert moved.shape == (1, 3)
    assert moved[0, 0] >= writes * snn.cells[0].wanted.size  # all inputs are above 0
    assert (moved[0] >= writes * np.array([layer.bias_rows * layer.columns for layer in snn.placement.layers])).all()


def test_writing_at_every_step_acts_within_the_window() -> None:
    late, early = deployment(window=4), deployment(window=4)
    for snn, update in ((late, "sample"), (early, "step")):
        learn(snn, Lesson(1), rule=LocalTandem(warm_up=0), optimiser=SGD(lr=2.0), update=update)  # type: ignore[arg-type]
    assert not np.allclose(late.cells[0].wanted, early.cells[0].wanted)


def test_updates_per_step_sum_to_updates_per_sample_for_a_small_rate() -> None:
    steps, whole = deployment(window=4), deployment(window=4)
    before = whole.cells[0].wanted
    for snn, update in ((steps, "step"), (whole, "sample")):
        learn(snn, Lesson(1), rule=LocalTandem(warm_up=0), optimiser=SGD(lr=1e-6), update=update)  # type: ignore[arg-type]
    assert not np.array_equal(whole.cells[0].wanted, before)
    np.testing.assert_allclose(steps.cells[0].wanted - before, whole.cells[0].wanted - before, rtol=1e-3, atol=1e-14)


def test_a_rule_sees_what_it_declares_and_nothing_else() -> None:
    learn(deployment(), Lesson(2), rule=Blind(), batch=2)
    arrays = {field.name for field in fields(LocalSignals) if field.default is None}
    for signals in Blind.seen:
        assert [name for name in arrays if getattr(signals, name) is not None] == ["target"]


def test_signals_are_the_arrays_own() -> None:
    snn, lesson = deployment(Mismatch(sigma=0.3), window=3), Lesson(2)
    thresholds = [stage.parameters.get("v_threshold") for stage in snn.stages]
    learn(snn, lesson, rule=Probe(gate=0.3), batch=2)
    assert [(s.step, s.readout) for s in Probe.seen] == [(t, last) for t in range(3) for last in (False, False, True)]
    for index, signals in enumerate(Probe.seen):
        layer = index % 3
        assert signals.window == 3
        assert signals.leak == (1.0 if signals.readout else pytest.approx(np.exp(-0.1)))
        np.testing.assert_array_equal(signals.target, lesson.rates[layer])
        if signals.readout:
            assert signals.spikes is signals.gate is signals.membrane is None
            assert signals.value is not None
            continue
        assert signals.value is None
        np.testing.assert_array_equal(signals.spikes, signals.membrane > thresholds[layer])
        np.testing.assert_array_equal(signals.gate, np.abs(signals.membrane - thresholds[layer]) < 0.3)


def test_the_value_of_a_read_out_is_what_it_has_received_so_far() -> None:
    snn = deployment(window=3)
    weights = snn.weights(2)
    learn(snn, Lesson(2), rule=Probe(), optimiser=SGD(lr=0.0), batch=2)
    readout = Probe.seen[2::3]
    expected = np.cumsum([carried(snn, np.empty(0), 2, step) @ weights for step in range(3)], axis=0)
    np.testing.assert_allclose([signals.value for signals in readout], expected, atol=1e-9)


@pytest.mark.parametrize(("layers", "learning"), [((-1,), {2}), ((0, 2), {0, 2}), (None, {0, 1, 2})])
def test_only_the_chosen_arrays_learn(layers: tuple[int, ...] | None, learning: set[int]) -> None:
    snn, whole = deployment(window=16), deployment(window=16)
    before = [cells.wanted for cells in snn.cells]
    history = learn(snn, Lesson(), optimiser=SGD(lr=1.0), batch=10, layers=layers)
    learn(whole, Lesson(), optimiser=SGD(lr=1.0), batch=10)
    for layer, wanted in enumerate(before):
        expected = whole.cells[layer].wanted if layer in learning else wanted
        np.testing.assert_array_equal(snn.cells[layer].wanted, expected)
        assert bool(history.writes[0, layer] > 0) == (layer in learning)
    assert np.isfinite(history.rate_error[0, :2]).all()


@pytest.mark.parametrize("layers", [(), (3,), (-4,), ("last",), -1])
def test_layers_that_are_none_are_refused(layers: Any) -> None:
    with pytest.raises(ParameterError, match="layers must be numbers of arrays from -3 to 2"):
        learn(deployment(), Lesson(), layers=layers)


def test_a_rule_of_the_read_out_needs_it_among_the_layers() -> None:
    with pytest.raises(ParameterError, match="Delta teaches the read-out alone, array 2"):
        learn(deployment(), Lesson(), rule=Delta(), layers=(0, 1))


@pytest.mark.parametrize("engine", [Brian(), Torch(dtype="float32", device="cpu", compile=False)])
def test_a_change_that_is_not_a_number_is_refused(engine: Engine) -> None:
    snn = deploy(Network.random(SIZES, seed=0), fabricate(ChipDesign(), 1), window=16, engine=engine)
    with pytest.raises(ChipsimError, match="the change of array 0 holds NaN"):
        learn(snn, Lesson(), rule=Broken(), batch=5)
    assert np.isfinite(snn.weights(0)).all()


@final
@dataclass(frozen=True, kw_only=True)
class Broken(Rule):
    """Asks for NaN at the last step."""

    reads: ClassVar[frozenset[str]] = frozenset({"target"})

    def init(self) -> None:
        return None

    def update(self, state: None, signals: LocalSignals) -> tuple[None, Any]:
        assert signals.target is not None
        return None, signals.target[None] * float("nan") if _is_last(signals) else None


@pytest.mark.parametrize("rule", [LocalTandem(warm_up=4), LocalTandemOffline(), LocalTandemTrace()])
def test_learning_brings_rates_to_their_targets(rule: Rule) -> None:
    snn = deployment(Mismatch(sigma=0.3), window=8)
    history = learn(snn, Lesson(24), rule=rule, optimiser=Adam(lr=0.05), batch=8, epochs=6)
    error = history.rate_error.to_numpy()
    assert error.shape == (6, 3)
    assert np.isnan(error[:, 2]).all()
    assert (error[-1, :2] < 0.95 * error[0, :2]).all()


def test_rate_errors_are_those_of_the_rates() -> None:
    snn, lesson = deployment(window=5), Lesson(7)
    history = learn(snn, lesson, rule=Probe(), optimiser=SGD(lr=0.0), batch=3)
    rates = np.zeros((2, 7))
    for layer in (0, 1):
        spikes = [Probe.seen[index].spikes for index in range(len(Probe.seen)) if index % 3 == layer]
        windows = [np.mean(spikes[k : k + 5], axis=0) for k in range(0, len(spikes), 5)]
        rates[layer] = np.mean((np.concatenate(windows) - lesson.rates[layer]) ** 2, axis=1)
    np.testing.assert_allclose(history.rate_error[0, :2], np.sqrt(rates.mean(axis=1)))


def test_the_history_has_units_and_starts_at_epoch_1() -> None:
    epochs: list[int] = []
    history = learn(deployment(), Lesson(4), rule=Probe(), batch=4, epochs=3, on_epoch=epochs.append)
    assert epochs == [0, 1, 2]
    assert history.epoch.to_numpy().tolist() == [1, 2, 3]
    assert history.layer.to_numpy().tolist() == [0, 1, 2]
    assert all(history[name].attrs["units"] and history[name].attrs["long_name"] for name in history.variables)


@pytest.mark.parametrize("engine", [Brian(), Torch(dtype="float64", device="cpu")], ids=["brian", "torch"])
def test_the_history_counts_what_drove_the_rows(engine: Engine) -> None:
    lesson, found = Lesson(), []
    for effects in ((), (cs.DriverNoise(sigma=0.5),)):
        chip = fabricate(ChipDesign(effects=effects, circuit=cs.IF()), 1)
        snn = deploy(Network.random(SIZES, seed=0), chip, window=6, engine=engine)
        found.append(learn(snn, lesson, optimiser=SGD(lr=0.0), rule=LocalTandem(warm_up=4), progress=False))
    exact, noisy = found
    assert (exact.spikes[0, :2] > 0).all()
    for name in ("events", "squares"):
        np.testing.assert_array_equal(exact[name][0, 1:], exact.spikes[0, :-1])
    assert exact.events[0, 0] == lesson.inputs.size * 6
    np.testing.assert_allclose(exact.squares[0, 0], (lesson.inputs**2).sum() * 6, rtol=1e-9)
    np.testing.assert_array_equal(noisy.events[0, 1:], noisy.spikes[0, :-1])
    assert (np.abs(noisy.squares[0, 1:] / noisy.spikes[0, :-1] - 1) > 0.01).all()


def test_learning_repeats_and_its_noise_is_not_that_of_presenting() -> None:
    effects = (Mismatch(sigma=0.3), MembraneNoise(sigma=0.1), DeadNeurons(rate=0.2), StuckCells(rate=0.1))
    results = []
    for _ in range(2):
        snn = deployment(*effects, device=RRAM_MILO_2021)
        learn(snn, Lesson(), rule=LocalTandem(warm_up=2), batch=5)
        results.append(np.concatenate([cells.g.ravel() for cells in snn.cells]))
    np.testing.assert_array_equal(*results)
    noises = []
    for run in ("present", "learn"):
        snn = deployment(MembraneNoise(sigma=0.1), circuit=LIF(v_threshold=50.0))
        if run == "present":
            snn.present(np.ones((2, 6)))
        else:
            learn(snn, Lesson(2), rule=Blind(), batch=2)
        noises.append(snn.effect_report()["membrane_noise"])
    assert noises[0] != noises[1]


def test_the_clock_runs_while_learning_and_stamps_the_writes() -> None:
    snn = deployment(window=4)
    learn(snn, Lesson(10), rule=Probe(), batch=5, epochs=2)
    assert snn.time == pytest.approx(2 * 10 * 4e-3)
    assert np.unique(snn.cells[0].written).tolist() == pytest.approx([0.0, snn.time])


def test_dead_and_stuck_parts_stay_so() -> None:
    snn = deployment(DeadNeurons(rate=0.4), StuckCells(rate=0.2, at_max=1.0), device=Ideal(g_min=1e-6))
    learn(snn, Lesson(), rule=LocalTandem(warm_up=1), optimiser=Adam(lr=0.1), batch=5, epochs=2)
    dead = snn.chip.frozen_neurons[0]["dead"][:10] > 0
    stuck = snn.chip.tile(0)[1]["stuck"][:, : snn.placement.layers[0].rows, :10] > 0
    assert dead.any()
    assert (snn.cells[0].g[stuck] == 100e-6).all()
    learn(snn, Lesson(), rule=Probe(), optimiser=SGD(lr=0.0))
    rates = [signals.spikes for signals in Probe.seen[::3]]
    assert not np.concatenate(rates)[:, dead].any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"update": "epoch"}, 'update must be "step", "sample" or "batch", not \'epoch\''),
        ({"batch": 0}, "batch must be a whole number of at least 1, not 0"),
        ({"batch": 2.0}, "batch must be a whole number"),
        ({"batch": 4, "update": "step"}, 'update="step" presents one sample at a time; leave batch = 4 out'),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"rule": LocalTandem}, r"rule must be one, as LocalTandem\(\) is, not <class"),
        ({"writer": "direct"}, r"writer must be one, as Direct\(\) is, not 'direct'"),
        ({"optimiser": 1e-3}, r"optimiser must be one, as Adam\(\) is, not 0.001"),
        ({"rule": LocalTandem(warm_up=6)}, "LocalTandem.warm_up = 6 leaves no step to teach in a window of 6"),
    ],
)
def test_impossible_learning_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        learn(deployment(), Lesson(4), **arguments)


def test_impossible_rules_are_refused() -> None:
    for warm_up, words in ((-1, " of at least 0, not -1"), (2.0, ", not 2.0"), (True, ", not True")):
        with pytest.raises(ParameterError, match=rf"LocalTandem\.warm_up must be a whole number{words}"):
            LocalTandem(warm_up=warm_up)  # type: ignore[arg-type]


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match="the targets are empty"):
        learn(deployment(), Lesson(0))
    with pytest.raises(ParameterError, match=r"targets have shapes \[\(4, 9\), .* but this network and batch need"):
        learn(deployment(), Lesson(4, sizes=(6, 9, 8, 3)), rule=Probe())
    lesson = Lesson(4)
    lesson.rates[1][2, 3] = np.nan
    with pytest.raises(ParameterError, match="targets hold NaN or infinite rates"):
        learn(deployment(), lesson, rule=Probe())
    lesson.rates[1][2, 3] = 1.5
    with pytest.raises(ParameterError, match="targets of hidden layers are rates, 0 to 1: divide activations"):
        learn(deployment(), lesson, rule=Probe())
    lesson = Lesson(4, sizes=(5, 10, 8, 3))
    with pytest.raises(ParameterError, match=r"inputs must have shape \[samples, 6\]"):
        learn(deployment(), lesson, rule=Probe())


def test_a_rule_that_reads_more_than_it_declares_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Greedy(Rule):
        reads: ClassVar[frozenset[str]] = frozenset({"target"})

        def init(self) -> Any:
            return LocalTandemOffline().init()

        def update(self, state: Any, signals: LocalSignals) -> tuple[Any, Array | None]:
            return LocalTandemOffline().update(state, signals)

    with pytest.raises(ParameterError, match="a rule read a signal that it does not declare in `reads`"):
        learn(deployment(), Lesson(2), rule=Greedy())


class Numbered:
    """Targets of one value for a chosen number of samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]:
        for first in range(0, self.samples, size):
            count = min(size, self.samples - first)
            yield (
                np.full((count, 3), 0.5),
                np.zeros(count, np.int64),
                (np.full((count, 4), 0.5), np.full((count, 2), 0.5)),
            )


class Seen(Optimiser):
    """Plain descent that keeps how far the run was at each write."""

    def init(self, weights: Array) -> list[float]:
        return []

    def step(self, state: list[float], gradient: Array, progress: float) -> tuple[list[float], Array]:
        PROGRESS.append(progress)
        return state, np.zeros_like(gradient)


PROGRESS: list[float] = []


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_every_sample_has_its_own_number_and_the_rate_falls_all_the_way(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = cs.ChipDesign(rows=8, columns=8, effects=(cs.MembraneNoise(sigma=0.1),))
    snn = cs.deploy(cs.Network.random((3, 4, 2), seed=0), cs.fabricate(design, seed=0))
    numbers: list[int] = []
    run = type(snn.engine).run

    def watched(engine: Engine, stages: Sequence[Stage], windows: Iterable[Window], **options: Any) -> None:
        def counted() -> Iterator[Window]:
            for window in windows:
                numbers.extend(window.numbers)
                yield window

        run(engine, stages, counted(), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(snn.engine), "run", watched)
    PROGRESS.clear()
    cs.learn(snn, Numbered(5), optimiser=Seen(), batch=size, epochs=3, progress=False)
    assert numbers == list(range(15))
    firsts = [5 * epoch + first for epoch in range(3) for first in range(0, 5, size)]
    assert list(dict.fromkeys(PROGRESS)) == [first / 15 for first in firsts]
    assert sorted(PROGRESS) == PROGRESS


def test_targets_shorter_or_longer_than_their_length_are_refused() -> None:
    class Short(Numbered):
        def __len__(self) -> int:
            return self.samples + 4

    class Long(Numbered):
        def __len__(self) -> int:
            return self.samples - 4

    snn = cs.deploy(cs.Network.random((3, 4, 2), seed=0), cs.fabricate(cs.ChipDesign(rows=8, columns=8), seed=0))
    for wrong, word in ((Short(8), "fewer"), (Long(8), "more")):
        with pytest.raises(ParameterError, match=f"{word} batches"):
            cs.learn(snn, wrong, batch=4, progress=False)


@pytest.mark.parametrize("circuit", [cs.LIF(soft_reset=True), cs.LIF(v_reset=0.1)])
def test_the_exact_gradient_refuses_a_reset_that_it_does_not_hold_for(circuit: cs.LIF) -> None:
    design = cs.ChipDesign(circuit=circuit, rows=8, columns=8)
    snn = cs.deploy(cs.Network.random((3, 4, 2), seed=0), cs.fabricate(design, seed=0))
    with pytest.raises(ParameterError, match="hard reset to rest"):
        cs.learn(snn, Numbered(5), rule=cs.LocalTandemOffline(), progress=False)
