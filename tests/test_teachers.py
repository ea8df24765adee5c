"""Teachers: building, folding, training, the store, the network handed over, and the targets."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from chipsim.errors import ChipsimError, ParameterError
from teachers import Teacher, cnn, datasets, mlp, train
from teachers.datasets import Dataset, Split
from teachers.models import Model, fold
from teachers.store import TeacherStoreWarning
from teachers.targets import nearest_rank

DATA = datasets.load("digits")
SMALL = mlp(DATA, hidden=(48, 32))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHIPSIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return train(SMALL, DATA, seed=0, epochs=15, lr=1e-2, store=False)


@pytest.fixture(scope="module")
def convolutional() -> Teacher:
    model = cnn(DATA, channels=((4, 1), (6, 2)), hidden=(16,))
    return train(model, DATA, seed=0, epochs=2, store=False)


def weights(teacher: Teacher) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in teacher.stack.state_dict().items()}


def equal(first: Teacher, second: Teacher) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def forward(network_layers: list[tuple[np.ndarray, np.ndarray]], inputs: np.ndarray) -> list[np.ndarray]:
    """The teacher's equations written out in numpy."""
    values, current = [], inputs.reshape(len(inputs), -1).astype(np.float64)
    for weight, bias in network_layers[:-1]:
        current = np.clip(current @ weight + bias, 0, 2)
        values.append(current)
    weight, bias = network_layers[-1]
    return [*values, current @ weight + bias]


def test_first_lines_of_a_user() -> None:
    data = datasets.load("digits")
    teacher = train(mlp(data, hidden=(128, 128)), data, seed=0)
    assert teacher.accuracy(data.validation) >= 0.95
    assert teacher.network().sizes == (64, 128, 128, 10)
    assert len(teacher.targets(data.train)) == 1200


class TestModels:
    def test_default_convolutional_teacher(self) -> None:
        stack = cnn(replace_shape((3, 32, 32))).build()
        shapes = [tuple(layer.shape[1:]) for layer in stack.activations(torch.zeros(2, 3, 32, 32))]
        assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256,), (10,)]

    @pytest.mark.parametrize(
        "model",
        [
            mlp(DATA, hidden=(20, 30), batch_norm=True),
            cnn(DATA, channels=((4, 1), (6, 2)), hidden=(16,)),
            cnn(DATA, channels=((4, 2),), hidden=()),
            SMALL,
        ],
    )
    def test_folding_leaves_eval_mode_as_it_is(self, model: Model) -> None:
        with torch.random.fork_rng(devices=[]):
            stack = model.build().double()
            stack(torch.rand(64, 1, 8, 8, dtype=torch.float64))  # moves the running statistics
            for block in stack.hidden:
                if block.norm is not None:
                    torch.nn.init.normal_(block.norm.weight)
                    torch.nn.init.normal_(block.norm.bias)
        folded = fold(stack)
        inputs = torch.from_numpy(DATA.test.take(50).inputs.astype(np.float64))
        for a, b in zip(stack.eval().activations(inputs), folded.activations(inputs), strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-12)
        assert all(block.norm is None for block in folded.hidden)
        assert model.batch_norm == any(block.norm is not None for block in stack.hidden)

    def test_activations_are_clipped(self, teacher: Teacher) -> None:
        *hidden, logits = teacher.activations(DATA.train.inputs)
        assert all(layer.min() == 0 and layer.max() <= 2 for layer in hidden)
        assert logits.min() < 0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ceiling": 0.0}, "ceiling"),
            ({"ceiling": float("nan")}, "ceiling"),
            ({"dropout": 1.0}, "dropout"),
            ({"hidden": (0,)}, "at least 1"),
            ({"shape": (64,), "convolutions": ((4, 1),)}, "convolutions need samples"),
        ],
    )
    def test_refusals(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            replace(SMALL, **changes)  # type: ignore[arg-type]


def replace_shape(shape: tuple[int, ...]) -> Dataset:
    split = Split(np.zeros((4, *shape), np.float32), np.arange(4))
    return Dataset("blank", shape, 10, split, split, split, "made here")


class TestTrain:
    @pytest.mark.parametrize("model", [SMALL, cnn(DATA, channels=((4, 2),), hidden=(16,))])
    def test_same_seed_same_weights(self, model: Model) -> None:
        first = train(model, DATA, seed=3, epochs=2, store=False)
        torch.rand(7)  # the caller's draws play no part
        second = train(model, DATA, seed=3, epochs=2, store=False)
        assert equal(first, second)
        assert first.history == second.history
        assert not equal(first, train(model, DATA, seed=4, epochs=2, store=False))

    def test_callers_generator_and_threads_are_left_alone(self) -> None:
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            teacher = train(SMALL, DATA, seed=0, epochs=1)
            teacher.accuracy(DATA.test)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)
        train(SMALL, DATA, seed=0, epochs=1)  # from the store
        assert torch.equal(torch.get_rng_state(), before)

    def test_weights_do_not_depend_on_the_callers_threads(self) -> None:
        threads, found = torch.get_num_threads(), []
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                found.append(train(SMALL, DATA, seed=0, epochs=1, store=False))
        finally:
            torch.set_num_threads(threads)
        assert equal(*found)

    def test_epoch_is_chosen_on_the_validation_split(self, teacher: Teacher) -> None:
        accuracies = [epoch.validation_accuracy for epoch in teacher.history]
        assert len(accuracies) == 15
        assert accuracies[teacher.chosen] == max(accuracies)
        assert teacher.accuracy(DATA.validation) == accuracies[teacher.chosen]
        blind = replace(DATA, test=Split(DATA.test.inputs * 0, DATA.test.labels))
        assert equal(teacher, train(SMALL, blind, seed=0, epochs=15, lr=1e-2, store=False))

    def test_it_learns(self, teacher: Teacher) -> None:
        assert teacher.accuracy(DATA.validation) > 0.85
        assert teacher.history[-1].loss < teacher.history[0].loss

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("name", ["train", "validation"])
    def test_values_that_are_not_finite_are_refused(self, name: str, value: float) -> None:
        inputs = getattr(DATA, name).inputs.copy()
        inputs[5, 0, 2, 3] = value
        data = replace(DATA, **{name: Split(inputs, getattr(DATA, name).labels)})
        with pytest.raises(ParameterError, match=f"the {name} split holds 1 values that are NaN or infinite"):
            train(SMALL, data, seed=0)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": 0}, "epochs must be an integer of at least 1"),
            ({"batch": 0}, "batch must be an integer of at least 1"),
            ({"epochs": 2.5}, "epochs must be an integer"),
            ({"seed": 1.5}, "seed must be"),
            ({"threads": 0}, "threads must be an integer of at least 1"),
            ({"lr": 0.0}, "lr must be"),
            ({"lr": float("nan")}, "lr must be"),
            ({"weight_decay": -1.0}, "weight_decay must be"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    def test_settings_out_of_range(self, settings: dict[str, float], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            train(SMALL, DATA, **{"seed": 0, **settings})  # type: ignore[arg-type]

    def test_model_of_other_data(self) -> None:
        with pytest.raises(ParameterError, match="the model is made for samples of shape"):
            train(mlp(replace_shape((1, 28, 28))), DATA, seed=0)

    def test_divergence_is_a_sentence(self) -> None:
        with pytest.raises(ChipsimError, match="training diverged"):
            train(replace(SMALL, ceiling=1e30), DATA, seed=0, epochs=3, lr=1e30)

    def test_last_batch_of_one_with_batch_norm(self) -> None:
        model = mlp(DATA, hidden=(8,), batch_norm=True)
        data = replace(DATA, train=DATA.train.take(129))
        assert len(train(model, data, seed=0, epochs=1).history) == 1
        with pytest.raises(ParameterError, match="at least 2 samples"):
            train(model, data, seed=0, epochs=1, batch=1)


class TestStore:
    @pytest.fixture
    def stored(self) -> Teacher:
        return train(SMALL, DATA, seed=1, epochs=2)

    def files(self, cache: Path) -> tuple[Path, Path]:
        [description], [weights] = list(cache.glob("*.json")), list(cache.glob("*.safetensors"))
        return description, weights

    def test_round_trip(self, stored: Teacher, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        forbid_training(monkeypatch)
        found = train(SMALL, DATA, seed=1, epochs=2)
        assert equal(stored, found)
        assert (found.history, found.chosen, found.seed) == (stored.history, stored.chosen, 1)
        assert found.accuracy(DATA.validation) == stored.accuracy(DATA.validation)
        description = json.loads(self.files(cache)[0].read_text())
        assert description["recipe"]["data"]["name"] == "digits"
        assert [path.suffix for path in cache.iterdir() if path.suffix == ".part"] == []

    def test_anything_that_matters_makes_another_teacher(self, stored: Teacher, cache: Path) -> None:
        train(SMALL, DATA, seed=2, epochs=2)
        train(SMALL, DATA, seed=1, epochs=1)
        train(SMALL, DATA, seed=1, epochs=2, lr=2e-3)
        train(replace(SMALL, dropout=0.1), DATA, seed=1, epochs=2)
        train(SMALL, replace(DATA, name="other"), seed=1, epochs=2)
        train(SMALL, replace(DATA, train=DATA.train.take(1199)), seed=1, epochs=2)
        assert len(list(cache.glob("*.safetensors"))) == 7

    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize(
        "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: content[::-1]]
    )
    def test_damaged_file_is_trained_anew(
        self, which: int, damage: Callable[[bytes], bytes], stored: Teacher, cache: Path
    ) -> None:
        path = self.files(cache)[which]
        intact = path.read_bytes()
        path.write_bytes(damage(intact))
        with pytest.warns(TeacherStoreWarning, match="is damaged and is trained anew"):
            again = train(SMALL, DATA, seed=1, epochs=2)
        assert equal(stored, again)
        assert path.read_bytes() == intact

    def test_missing_weights_are_trained_anew(self, stored: Teacher, cache: Path) -> None:
        self.files(cache)[1].unlink()
        with pytest.warns(TeacherStoreWarning, match="damaged"):
            assert equal(stored, train(SMALL, DATA, seed=1, epochs=2))

    def test_edited_record_is_trained_anew(self, stored: Teacher, cache: Path) -> None:
        path = self.files(cache)[0]
        content = json.loads(path.read_text())
        del content["record"]["history"]
        path.write_text(json.dumps(content))
        with pytest.warns(TeacherStoreWarning, match="damaged"):
            assert equal(stored, train(SMALL, DATA, seed=1, epochs=2))

    def test_cache_that_cannot_be_written_costs_a_warning_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("CHIPSIM_CACHE", str(tmp_path / "file"))
        with pytest.warns(TeacherStoreWarning, match="could not be stored"):
            train(SMALL, DATA, seed=1, epochs=1)

    def test_two_at_once_train_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fit, calls = train.__globals__["_fit"], []

        def counted(*arguments: object) -> object:
            calls.append(arguments)
            return fit(*arguments)

        monkeypatch.setitem(train.__globals__, "_fit", counted)
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: train(SMALL, DATA, seed=1, epochs=2), range(2))
        assert len(calls) == 1
        assert equal(first, second)

    def test_store_can_be_left_out(self, cache: Path) -> None:
        train(SMALL, DATA, seed=1, epochs=1, store=False)
        assert not cache.exists()


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("trained although a teacher is stored")

    monkeypatch.setitem(train.__globals__, "_fit", refuse)


class TestNetwork:
    @pytest.mark.parametrize("batch_norm", [False, True])
    def test_network_computes_what_the_teacher_computes(self, batch_norm: bool) -> None:
        teacher = train(mlp(DATA, hidden=(24, 16), batch_norm=batch_norm), DATA, seed=0, epochs=3, store=False)
        network = teacher.network()
        assert network.sizes == (64, 24, 16, 10)
        ours = forward([(layer.weight, layer.bias) for layer in network.layers], DATA.test.inputs)
        for a, b in zip(ours, teacher.activations(DATA.test.inputs), strict=True):
            assert np.allclose(a, b, rtol=0, atol=1e-10)
        assert np.mean(ours[-1].argmax(1) == DATA.test.labels) == teacher.accuracy(DATA.test)

    @pytest.mark.parametrize("percentile", [80.0, 99.0, 99.9, 100.0])
    def test_constants(self, percentile: float, teacher: Teacher) -> None:
        network = teacher.network(percentile=percentile)
        hidden = teacher.activations(DATA.train.inputs)[:-1]  # all 1,200 are fewer than the calibration set may hold
        expected = [np.percentile(layer, percentile, method="inverted_cdf") for layer in hidden]
        assert np.allclose([layer.constant for layer in network.layers], [*expected, 1.0], rtol=1e-12)

    def test_silent_layer_is_refused(self, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match="hidden layer 0 is 0"):
            teacher.network(percentile=0.1)

    @pytest.mark.parametrize("percentile", [0.0, 100.1, float("nan")])
    def test_percentile_out_of_range(self, percentile: float, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match="percentile must be"):
            teacher.targets(DATA.train, percentile=percentile)
        with pytest.raises(ParameterError, match="percentile must be"):
            teacher.network(percentile=percentile)

    def test_convolutions_are_refused(self, convolutional: Teacher) -> None:
        with pytest.raises(ChipsimError, match="convolutions come with the fast engine"):
            convolutional.network()

    def test_accuracy_needs_samples_of_the_right_shape(self, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match="at least one sample"):
            teacher.accuracy(DATA.test.take(0))
        with pytest.raises(ParameterError, match="reads samples of shape"):
            teacher.accuracy(Split(np.zeros((2, 64), np.float32), np.zeros(2, np.int64)))


class TestTargets:
    def test_against_a_direct_computation(self, teacher: Teacher) -> None:
        network = teacher.network()
        layers = [(layer.weight, layer.bias) for layer in network.layers]
        seen = 0
        for inputs, labels, rates in teacher.targets(DATA.validation):
            hidden = forward(layers, inputs)[:-1]
            for layer, activation, rate in zip(network.layers, hidden, rates, strict=False):
                assert np.allclose(rate, np.clip(activation / layer.constant, 0, 1), rtol=0, atol=1e-12)
            assert np.array_equal(rates[-1], np.eye(10)[labels])
            assert inputs.dtype == rates[0].dtype == rates[-1].dtype == np.float64
            seen += len(labels)
        assert seen == len(DATA.validation) == 247

    def test_batches_cover_the_split_once_in_an_order_of_seed_and_epoch(self, teacher: Teacher) -> None:
        targets = teacher.targets(DATA.validation, seed=5)
        batches = list(targets.batches(100, epoch=2))
        assert [len(batch.labels) for batch in batches] == [100, 100, 47]
        inputs = np.concatenate([batch.inputs for batch in batches])
        expected = DATA.validation.inputs.reshape(247, 64)
        assert sorted(map(tuple, inputs)) == sorted(map(tuple, expected.astype(np.float64)))

        def order(seed: int, epoch: int, size: int) -> list[int]:
            chosen = teacher.targets(DATA.validation, seed=seed).batches(size, epoch)
            return np.concatenate([batch.labels for batch in chosen]).tolist()  # type: ignore[no-any-return]

        assert order(5, 2, 100) == order(5, 2, 7) != order(5, 3, 100)
        assert order(5, 2, 100) != order(6, 2, 100)

    def test_rates_do_not_depend_on_the_batch(self, teacher: Teacher) -> None:
        targets = teacher.targets(DATA.validation)
        whole, parts = next(targets.batches(247)), list(targets.batches(10))
        for index, rates in enumerate(whole.rates):
            assert np.allclose(rates, np.concatenate([part.rates[index] for part in parts]), rtol=0, atol=1e-12)

    def test_percentile_of_each_batch(self, teacher: Teacher) -> None:
        for batch in teacher.targets(DATA.train, per_batch=True, percentile=99.0).batches(64):
            hidden = teacher.activations(batch.inputs.reshape(-1, 1, 8, 8))[:-1]
            for activation, rate in zip(hidden, batch.rates, strict=False):
                constant = np.percentile(activation, 99, method="inverted_cdf")
                assert np.allclose(rate, np.clip(activation / constant, 0, 1), rtol=0, atol=1e-12)

    def test_soft_readout(self, teacher: Teacher) -> None:
        batch = next(teacher.targets(DATA.test, readout="teacher").batches(350))
        logits = teacher.activations(batch.inputs.reshape(-1, 1, 8, 8))[-1]
        assert np.allclose(batch.rates[-1], np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
        assert np.mean(batch.rates[-1].argmax(1) == batch.labels) == teacher.accuracy(DATA.test)

    def test_samples(self, teacher: Teacher) -> None:
        targets = teacher.targets(DATA.train, samples=100)
        assert len(targets) == 100
        [batch] = targets.batches(200)
        first = DATA.train.inputs[:100].reshape(100, 64)
        assert sorted(map(tuple, batch.inputs)) == sorted(map(tuple, first.astype(np.float64)))

    def test_convolutions(self, convolutional: Teacher) -> None:
        inputs, _, rates = next(iter(convolutional.targets(DATA.train)))
        assert inputs.shape == (64, 1, 8, 8)
        assert [rate.shape for rate in rates] == [(64, 4, 8, 8), (64, 6, 4, 4), (64, 16), (64, 10)]
        assert all(rate.min() >= 0 and rate.max() <= 1 for rate in rates)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"readout": "logits"}, "readout must be 'labels' or 'teacher'"),
            ({"samples": 0}, "at least one sample"),
            ({"samples": 1201}, "cannot take 1201 samples"),
        ],
    )
    def test_refusals(self, options: dict[str, object], message: str, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match=message):
            teacher.targets(DATA.train, **options)  # type: ignore[arg-type]

    def test_batch_of_no_samples(self, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match="at least 1 sample"):
            teacher.targets(DATA.train).batches(0)


@pytest.mark.parametrize("percentile", [0.1, 10.0, 50.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("size", [1, 10, 1000, 1001])
def test_nearest_rank(percentile: float, size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    rank = -(-round(percentile * 10) * size // 1000)
    assert nearest_rank(values, percentile) == np.sort(values)[rank - 1]
