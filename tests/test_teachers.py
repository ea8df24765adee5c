"""Teachers: building, folding, training, the store, the network handed over, and the targets."""

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import chipsim as cs
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.network import Conv2d, Dense, Network
from teachers import Augmented, Convolution, Teacher, cifarnet, cnn, datasets, mlp, resnet20, targets, train, vgg11
from teachers.augment import augment
from teachers.datasets import Dataset, Split
from teachers.models import Model, fold
from teachers.store import TeacherStoreWarning
from teachers.targets import nearest_rank
from teachers.train import Settings, _disturbed, _Fit, _recipe

step = _Fit._step
DATA = datasets.load("digits")
SMALL = mlp(DATA, hidden=(48, 32))
POOLED = cnn(DATA, [(4, 1), Convolution(6, kernel=5, pool=2), Convolution(8, kernel=2, padding=0)], hidden=(), pool=3)
RESIDUAL = resnet20(DATA, width=1 / 4)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


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
    return train(model, DATA, seed=0, epochs=2, threads=1, store=False)


def weights(teacher: Teacher) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in teacher.stack.state_dict().items()}


def equal(first: Teacher, second: Teacher) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def forward(network: Network, inputs: np.ndarray) -> list[np.ndarray]:
    """The teacher's equations written out in numpy; every value flat."""
    values, current = [], inputs.reshape(len(inputs), -1).astype(np.float64)
    for layer, wiring in zip(network.layers, network.wirings, strict=True):
        current = wiring.product(current, layer.matrix) + np.repeat(layer.bias, wiring.positions)
        if layer.shortcut is not None:
            shape, below = wiring.outputs, network.wirings[layer.shortcut].outputs
            step = below[1] // shape[1]
            added = np.zeros((len(inputs), *shape))
            added[:, : below[0]] = values[layer.shortcut].reshape(-1, *below)[:, :, ::step, ::step]
            current = current + added.reshape(len(inputs), -1)
        current = current if layer is network.layers[-1] else np.clip(current, 0, 2)
        values.append(current)
    return values


def moved(model: Model) -> Teacher:
    """A teacher that is not trained, whose batch normalisation is none of the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        stack = model.build()
        for block in stack.hidden:
            if block.norm is not None:
                torch.nn.init.normal_(block.norm.weight, 1.0, 0.3)
                torch.nn.init.normal_(block.norm.bias, 0.0, 0.3)
        stack(torch.rand(64, *model.shape))  # moves the running statistics
    return Teacher(model, stack.eval().requires_grad_(False), DATA.train.take(100), 0, (), 0)


def replace_shape(shape: tuple[int, ...]) -> Dataset:
    split = Split(np.zeros((4, *shape), np.float32), np.arange(4))
    return Dataset("blank", shape, 10, split, split, split, "made here")


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
            POOLED,
            RESIDUAL,
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
            ({"shape": (64,), "convolutions": (Convolution(4),)}, "convolutions need samples"),
            ({"convolutions": (Convolution(0),)}, "at least 1"),
            ({"convolutions": (Convolution(4, kernel=0),)}, "at least 1"),
            ({"convolutions": (Convolution(4, stride=0),)}, "stride must be a whole number of at least 1"),
            ({"convolutions": (Convolution(4, padding=-1),)}, "padding must be a whole number of at least 0"),
            ({"convolutions": (Convolution(4, kernel=9, padding=0),)}, "does not fit an image"),
            ({"convolutions": (Convolution(4, pool=3),)}, "average pooling by 3"),
            ({"pool": 3}, "average pooling by 3"),
            ({"pool": 2, "shape": (64,)}, "average pooling by 2"),
            ({"convolutions": (Convolution(4, shortcut=0),)}, "layer 0 cannot add layer 0"),
            ({"convolutions": (Convolution(4), Convolution(4, shortcut=-1))}, "layer 1 cannot add layer -1"),
            ({"convolutions": (Convolution(4), Convolution(3, shortcut=0))}, "at least as many channels"),
            ({"convolutions": (Convolution(4, stride=2), Convolution(4, padding=3, shortcut=0))}, "a whole factor"),
            ({"convolutions": (Convolution(4), Convolution(4, padding=0, shortcut=0))}, "a whole factor"),
        ],
    )
    def test_refusals(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            replace(SMALL, **changes)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("model", "outputs"),
        [
            (
                vgg11(replace_shape((3, 32, 32))),
                [
                    (64, 32, 32),
                    (128, 16, 16),
                    (256, 16, 16),
                    (256, 8, 8),
                    (512, 8, 8),
                    (512, 4, 4),
                    (512, 4, 4),
                    (512, 2, 2),
                    (512,),
                    (512,),
                    (10,),
                ],
            ),
            (
                cifarnet(replace_shape((3, 32, 32))),
                [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 8, 8), (512, 8, 8), (1024,), (10,)],
            ),
            (
                resnet20(replace_shape((3, 32, 32))),
                [*[(16, 32, 32)] * 7, *[(32, 16, 16)] * 6, *[(64, 8, 8)] * 6, (10,)],
            ),
        ],
        ids=["vgg11", "cifarnet", "resnet20"],
    )
    def test_published_networks(self, model: Model, outputs: list[tuple[int, ...]]) -> None:
        assert [wiring.outputs for wiring in model.wirings] == outputs
        assert model.batch_norm
        assert model.ceiling == 2

    def test_shortcuts_of_resnet20(self) -> None:
        model = resnet20(replace_shape((3, 32, 32)))
        assert [layer.shortcut for layer in model.convolutions] == [
            *(None, None, 0, None, 2, None, 4, None, 6, None, 8, None, 10, None, 12, None, 14, None, 16)
        ]
        assert (model.pool, model.wirings[-1].rows) == (8, 64)
        weights = sum(p.numel() for name, p in model.build().named_parameters() if p.dim() > 1)
        assert weights == 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2) + 640

    def test_width(self) -> None:
        model = vgg11(DATA, width=1 / 100)
        assert [layer.channels for layer in model.convolutions] == [1, 1, 3, 3, 5, 5, 5, 5]
        assert model.hidden == (5, 5)
        for width in (0.0, float("nan")):
            with pytest.raises(ParameterError, match="width must be finite and above 0"):
                resnet20(DATA, width=width)


class TestTrain:
    @pytest.mark.parametrize("model", [SMALL, cnn(DATA, channels=((4, 2),), hidden=(16,))])
    def test_same_seed_same_weights(self, model: Model) -> None:
        data = replace(DATA, train=DATA.train.take(300))
        settings = {"seed": 3, "epochs": 2, "crop": 1, "flip": True, "store": False}
        first = train(model, data, **settings)  # type: ignore[arg-type]
        torch.rand(7)  # the caller's draws play no part
        second = train(model, data, **settings)  # type: ignore[arg-type]
        assert equal(first, second)
        assert first.history == second.history
        for change in ({"seed": 4}, {"crop": 2}, {"flip": False}):
            assert not equal(first, train(model, data, **{**settings, **change}))  # type: ignore[arg-type]

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
            ({"crop": -1}, "crop must be an integer of at least 0"),
            ({"device": "tpu"}, "device must be 'cpu' or 'cuda'"),
            ({"device": "meta"}, "device must be 'cpu' or 'cuda'"),
            ({"device": "cuda:99"}, "PyTorch finds [0-9]+ GPUs here"),
            ({"lr": 0.0}, "lr must be"),
            ({"lr": float("nan")}, "lr must be"),
            ({"weight_decay": -1.0}, "weight_decay must be"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    def test_settings_out_of_range(self, settings: dict[str, float], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            train(SMALL, DATA, **{"seed": 0, **settings})  # type: ignore[arg-type]

    def test_crops_and_flips_need_images(self) -> None:
        with pytest.raises(ParameterError, match="crop and flip need samples"):
            train(mlp(replace_shape((64,))), replace_shape((64,)), seed=0, flip=True)

    @GPU
    def test_on_a_gpu(self) -> None:
        model = cnn(DATA, channels=((4, 1), (6, 2)), hidden=(16,))
        first, second = (train(model, DATA, seed=0, epochs=2, device="cuda", store=False) for _ in range(2))
        assert equal(first, second)
        assert first.accuracy(DATA.test, device="cuda") == pytest.approx(first.accuracy(DATA.test), abs=0.01)
        ours, theirs = first.activations(DATA.test.inputs), first.activations(DATA.test.inputs, device="cuda")
        assert all(np.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(ours, theirs, strict=True))
        batch = next(first.targets(DATA.train, device="cuda").batches(8))
        same = next(first.targets(DATA.train).batches(8))
        assert all(np.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(batch.rates, same.rates, strict=True))

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
        train(SMALL, DATA, seed=1, epochs=2, crop=1)
        train(SMALL, DATA, seed=1, epochs=2, flip=True)
        train(SMALL, DATA, seed=1, epochs=2, threads=2)
        train(replace(SMALL, dropout=0.1), DATA, seed=1, epochs=2)
        train(SMALL, replace(DATA, name="other"), seed=1, epochs=2)
        train(SMALL, replace(DATA, train=DATA.train.take(1199)), seed=1, epochs=2)
        assert len(list(cache.glob("*.safetensors"))) == 10

    def test_convolutions_are_stored_with_all_that_they_are(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        models = [RESIDUAL, replace(RESIDUAL, pool=1), replace(RESIDUAL, convolutions=RESIDUAL.convolutions[:-2])]
        data = replace(DATA, train=DATA.train.take(60))
        stored = [train(model, data, seed=0, epochs=1) for model in models]
        assert len(list(cache.glob("*.safetensors"))) == 3
        forbid_training(monkeypatch)
        monkeypatch.setitem(train.__globals__, "cores", lambda: 64)  # all cores are not a number of threads
        for model, teacher in zip(models, stored, strict=True):
            found = train(model, data, seed=0, epochs=1)
            assert equal(found, teacher)
            ours, theirs = found.activations(DATA.test.inputs), teacher.activations(DATA.test.inputs)
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))

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

    @pytest.mark.parametrize("steps", [1, 3, 5, 8])
    def test_a_training_that_was_stopped_goes_on_to_the_same_end(
        self, steps: int, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, data = cnn(DATA, channels=((4, 1), (6, 2)), hidden=(16,)), replace(DATA, train=DATA.train.take(300))
        settings: dict[str, Any] = {"seed": 0, "epochs": 3, "crop": 1, "flip": True, "noise": 0.1, "threads": 1}
        whole = train(model, data, store=False, **settings)
        ran = count_steps(monkeypatch, stop=steps)
        with pytest.raises(KeyboardInterrupt):
            train(model, data, **settings)
        assert len(ran) == steps + 1
        assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == [".checkpoint"]
        again = count_steps(monkeypatch)
        found = train(model, data, **settings)
        assert len(again) == 9 - steps, "three batches in each epoch"
        assert equal(found, whole)
        assert (found.history, found.chosen) == (whole.history, whole.chosen)
        assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".lock", ".safetensors"]

    def test_a_damaged_checkpoint_is_left_aside(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = train(SMALL, DATA, seed=1, epochs=1, store=False)
        count_steps(monkeypatch, stop=4)
        with pytest.raises(KeyboardInterrupt):
            train(SMALL, DATA, seed=1, epochs=1)
        [checkpoint] = cache.glob("*.checkpoint")
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
        count_steps(monkeypatch)
        with pytest.warns(TeacherStoreWarning, match="begins anew: .* cannot be read as a checkpoint"):
            found = train(SMALL, DATA, seed=1, epochs=1)
        assert equal(found, whole)

    def test_a_checkpoint_that_cannot_be_written_costs_a_warning_only(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise StoredFileError("the disk is full")

        count_steps(monkeypatch)
        monkeypatch.setattr("chipsim.checkpoint.replace_file", full)
        with pytest.warns(TeacherStoreWarning, match="without checkpoints: the disk is full") as warned:
            train(SMALL, DATA, seed=1, epochs=1)
        assert len(warned) == 1

    def test_a_teacher_that_cannot_be_stored_leaves_its_checkpoint(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise StoredFileError("the disk is full")

        ran = count_steps(monkeypatch)
        with monkeypatch.context() as during:
            during.setattr("teachers.store.replace_file", full)
            with pytest.warns(TeacherStoreWarning, match="could not be stored: the disk is full"):
                first = train(SMALL, DATA, seed=1, epochs=2)
        steps = len(ran)
        assert equal(train(SMALL, DATA, seed=1, epochs=2), first)
        assert steps > 0
        assert len(ran) == steps, "nothing is trained twice"
        assert not list(cache.glob("*.checkpoint"))

    def test_a_short_training_writes_no_checkpoint(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ran = count_steps(monkeypatch, stop=4, every=300.0)
        with pytest.raises(KeyboardInterrupt):
            train(SMALL, DATA, seed=1, epochs=1)
        assert len(ran) == 5
        assert not list(cache.glob("*.checkpoint"))

    def test_store_can_be_left_out(self, cache: Path) -> None:
        train(SMALL, DATA, seed=1, epochs=1, store=False)
        assert not cache.exists()


def count_steps(monkeypatch: pytest.MonkeyPatch, stop: int = 1000, every: float = -1.0) -> list[int]:
    """A list that grows with every mini-batch of a training, which is interrupted after `stop` of them and saves a
    checkpoint when `every` seconds are over.
    """
    ran: list[int] = []

    def counted(fit: _Fit, *arguments: Any) -> float:
        ran.append(len(ran))
        if len(ran) > stop:
            raise KeyboardInterrupt
        return step(fit, *arguments)

    monkeypatch.setattr(_Fit, "_step", counted)
    monkeypatch.setitem(train.__globals__, "EVERY", every)
    return ran


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
        ours = forward(network, DATA.test.inputs)
        for a, b in zip(ours, teacher.activations(DATA.test.inputs), strict=True):
            assert np.allclose(a, b, rtol=0, atol=1e-10)
        assert np.mean(ours[-1].argmax(1) == DATA.test.labels) == teacher.accuracy(DATA.test)

    @pytest.mark.parametrize(
        "model",
        [
            cnn(DATA, channels=((4, 1), (6, 2)), hidden=(16,)),
            cnn(replace_shape((1, 7, 10)), channels=((4, 2), (6, 2)), hidden=(16,)),
            POOLED,
            replace(SMALL, pool=2),
            vgg11(replace_shape((3, 16, 16)), width=1 / 16),
            cifarnet(DATA, width=1 / 32),
            resnet20(replace_shape((3, 16, 16))),
            cnn(DATA, [Convolution(4), Convolution(6, stride=4, shortcut=0), Convolution(9, shortcut=1)], hidden=()),
        ],
        ids=["cnn", "not square", "pooled", "pooled mlp", "vgg11", "cifarnet", "resnet20", "shortcuts"],
    )
    def test_network_of_convolutions(self, model: Model) -> None:
        teacher = moved(model)
        inputs = np.random.default_rng(0).random((20, *model.shape), dtype=np.float32)
        with torch.no_grad():
            expected = copy.deepcopy(teacher.stack).double().activations(torch.tensor(inputs, dtype=torch.float64))
        teacher = replace(teacher, calibration=Split(inputs, np.zeros(20, np.int64)))
        network = teacher.network(percentile=99.0)
        assert network.wirings == model.wirings
        assert network.shape == model.shape
        for a, b, c in zip(forward(network, inputs), expected, teacher.activations(inputs), strict=True):
            assert np.allclose(a, b.numpy().reshape(20, -1), rtol=0, atol=1e-9)
            assert np.allclose(a, c.reshape(20, -1), rtol=0, atol=1e-4)
            assert c.dtype == (np.float32 if model.convolutions else np.float64)
        for layer, activation in zip(network.layers[:-1], teacher.activations(inputs)[:-1], strict=True):
            assert layer.constant == np.percentile(activation, 99, method="inverted_cdf")

    def test_layers_carry_what_the_model_says(self) -> None:
        first, second, third, last = moved(POOLED).network().layers
        assert [type(layer) for layer in (first, second, third, last)] == [Conv2d, Conv2d, Conv2d, Dense]
        assert [layer.weight.shape for layer in (first, second, third)] == [(4, 1, 3, 3), (6, 4, 5, 5), (8, 6, 2, 2)]
        assert [(layer.pool, layer.padding) for layer in (first, second, third)] == [(1, 1), (2, 2), (1, 0)]
        assert (last.pool, last.weight.shape) == (3, (8, 10))

    def test_constants_do_not_depend_on_the_chunk(
        self, convolutional: Teacher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = replace(convolutional).constants(99.0)
        monkeypatch.setattr(targets, "CHUNK_BYTES", 8 * 378 * 100)  # 100 samples of 4 x 64 + 6 x 16 + 16 + 10 neurons
        assert targets.chunk(convolutional.model) == 100
        assert np.allclose(replace(convolutional).constants(99.0), whole, rtol=1e-6)

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

    def test_accuracy_needs_samples_of_the_right_shape(self, teacher: Teacher) -> None:
        with pytest.raises(ParameterError, match="at least one sample"):
            teacher.accuracy(DATA.test.take(0))
        with pytest.raises(ParameterError, match="reads samples of shape"):
            teacher.accuracy(Split(np.zeros((2, 64), np.float32), np.zeros(2, np.int64)))


class TestTargets:
    def test_against_a_direct_computation(self, teacher: Teacher) -> None:
        network = teacher.network()
        seen = 0
        for inputs, labels, rates in teacher.targets(DATA.validation):
            hidden = forward(network, inputs)[:-1]
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

    @pytest.mark.parametrize("readout", ["labels", "teacher"])
    def test_convolutions(self, readout: Literal["labels", "teacher"], convolutional: Teacher) -> None:
        network = convolutional.network(percentile=99.0)
        [batch] = convolutional.targets(DATA.validation, percentile=99.0, readout=readout).batches(247)
        assert [rate.shape for rate in batch.rates] == [(247, 256), (247, 96), (247, 16), (247, 10)]
        assert batch.inputs.shape == (247, 64)
        assert {array.dtype for array in (batch.inputs, *batch.rates)} == {np.dtype(np.float32)}
        activations = forward(network, batch.inputs)
        for layer, activation, rate in zip(network.layers, activations, batch.rates[:-1], strict=False):
            assert np.allclose(rate, np.clip(activation / layer.constant, 0, 1), rtol=0, atol=1e-5)
        if readout == "labels":
            assert np.array_equal(batch.rates[-1], np.eye(10)[batch.labels])
        else:
            assert np.allclose(batch.rates[-1].sum(1), 1, atol=1e-6)

    def test_dtype_of_activations(self, teacher: Teacher) -> None:
        for dtype in (np.float32, np.float64, "float32"):
            layers = teacher.activations(DATA.test.inputs, dtype=dtype)
            assert {layer.dtype for layer in layers} == {np.dtype(dtype)}
        with pytest.raises(ParameterError, match="dtype must be float32 or float64"):
            teacher.activations(DATA.test.inputs, dtype=np.int64)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"readout": "logits"}, "readout must be 'labels' or 'teacher'"),
            ({"device": "cuda:99"}, "PyTorch finds [0-9]+ GPUs here"),
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


class TestAugment:
    IMAGES = np.arange(1, 1 + 400 * 2 * 3 * 4, dtype=np.float32).reshape(400, 2, 3, 4)

    def test_every_move_and_mirror_image_comes_up_and_nothing_else(self) -> None:
        padded = np.pad(self.IMAGES, ((0, 0), (0, 0), (1, 1), (1, 1)))
        found = augment(self.IMAGES, crop=1, flip=True, rng=np.random.default_rng(0))
        seen: dict[tuple[int, int, int], int] = {}
        for index, image in enumerate(found):
            views = {
                (down, right, step): padded[index, :, down : down + 3, right : right + 4][..., ::step]
                for down in range(3)
                for right in range(3)
                for step in (1, -1)
            }
            [move] = [move for move, view in views.items() if np.array_equal(view, image)]
            seen[move] = seen.get(move, 0) + 1
        assert len(seen) == 18
        assert max(seen.values()) < 400 / 18 + 5 * np.sqrt(400 / 18)

    def test_a_split_gives_each_batch_its_own_moves_and_the_same_ones_again(self) -> None:
        split = Split(self.IMAGES, np.arange(400) % 3)
        samples = Augmented(split, crop=1, flip=True, seed=4)
        assert samples.inputs.shape == split.inputs.shape
        assert len(samples) == len(samples.inputs) == 400
        assert np.array_equal(samples.labels, split.labels)
        first, other = np.arange(20), np.arange(20)[::-1]
        batch = samples.inputs[first]
        assert np.array_equal(batch, samples.inputs[:20])
        assert not np.array_equal(batch, samples.inputs[other][::-1])
        assert not np.array_equal(batch, Augmented(split, crop=1, flip=True, seed=5).inputs[first])
        assert not np.array_equal(batch, split.inputs[first])
        padded = np.pad(split.inputs[first], ((0, 0), (0, 0), (1, 1), (1, 1)))
        for image, whole in zip(batch, padded, strict=True):
            views = (whole[:, d : d + 3, r : r + 4][..., ::s] for d in range(3) for r in range(3) for s in (1, -1))
            assert any(np.array_equal(image, view) for view in views)
        assert np.array_equal(Augmented(split).inputs[first], split.inputs[first])
        assert np.array_equal(np.asarray(samples.inputs), split.inputs)

    @pytest.mark.parametrize(("crop", "words"), [(-1, "at least 0, not -1"), (True, "not True"), (1.5, "not 1.5")])
    def test_a_crop_that_is_none_is_refused(self, crop: Any, words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            Augmented(Split(self.IMAGES, np.arange(400)), crop=crop)
        with pytest.raises(ParameterError, match=r"need images, not samples of shape \(8,\)"):
            Augmented(Split(np.zeros((3, 8)), np.arange(3)), crop=1)

    def test_chips_learn_from_images_that_move(self) -> None:
        data = datasets.load("digits")
        teacher = train(cnn(data, ((4, 2),), (8,)), data, seed=0, epochs=1, store=False, progress=False)
        samples = Augmented(data.train.take(64), crop=1, seed=1)
        design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), headroom=5.0)
        assert np.array_equal(samples.take(8).inputs[:3], samples.take(8).inputs[np.arange(3)])
        ways: tuple[Callable[[cs.Deployment, Any], object], ...] = (
            lambda snn, given: cs.train_in_the_loop(snn, given, method=cs.Tandem(), batch=32, progress=False),
            lambda snn, given: cs.learn(
                snn, teacher.targets(given), rule=cs.LocalTandem(warm_up=2), batch=32, progress=False
            ),
            lambda snn, given: cs.learn(snn, given, rule=cs.Decolle(warm_up=2), batch=32, progress=False),
        )
        for learn in ways:
            found = []
            for given in (samples, data.train.take(64)):
                snn = cs.deploy(
                    teacher.network(), cs.fabricate(design, seed=0), window=4, engine=cs.Torch(compile=False)
                )
                learn(snn, given)
                found.append(snn.weights(0))
            assert not np.array_equal(*found)
        batch = next(teacher.targets(samples, seed=3).batches(32))
        [hidden, *_] = teacher.activations(batch.inputs.reshape(-1, *data.shape))
        wanted = np.clip(hidden.reshape(32, -1) / teacher.constants()[0], 0, 1)
        np.testing.assert_allclose(batch.rates[0], wanted, rtol=1e-6)

    def test_off(self) -> None:
        assert np.array_equal(augment(self.IMAGES, crop=0, flip=False, rng=np.random.default_rng(0)), self.IMAGES)


@pytest.mark.parametrize("percentile", [0.1, 10.0, 50.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("size", [1, 10, 1000, 1001])
def test_nearest_rank(percentile: float, size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    rank = -(-round(percentile * 10) * size // 1000)
    assert nearest_rank(values, percentile) == np.sort(values)[rank - 1]


def test_noise_aware_training_meets_another_network_in_every_batch() -> None:
    model = mlp(DATA, hidden=(400,))
    stack = model.build()
    torch.manual_seed(0)
    first, second = (_disturbed(stack, 0.2) for _ in range(2))
    assert set(first) == {name for name, _ in stack.named_parameters()}
    name = "blocks.0.linear.weight"
    ratio = (first[name] / stack.state_dict()[name]).detach()
    by_neuron = ratio.mean(1)
    assert float(by_neuron.std()) == pytest.approx(0.2, rel=4 / np.sqrt(2 * 400) + 0.05)
    assert float((ratio / by_neuron[:, None]).std()) == pytest.approx(0.2, rel=0.05)
    bias = first["blocks.0.linear.bias"] / stack.state_dict()["blocks.0.linear.bias"]
    assert float((bias.detach() - by_neuron).abs().max()) < 0.2  # the bias shares its neuron's gain
    assert not torch.equal(first[name], second[name])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_noise_aware_training_repeats_and_withstands_mismatch(batch_norm: bool) -> None:
    model = mlp(DATA, hidden=(64,), batch_norm=batch_norm)
    options: dict[str, Any] = {"seed": 0, "epochs": 40, "lr": 5e-3, "store": False, "progress": False}
    plain, one, two = (train(model, DATA, noise=noise, **options) for noise in (0.0, 0.4, 0.4))
    weights = [teacher.stack.readout.weight for teacher in (plain, one, two)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    torch.manual_seed(0)

    def accuracy(teacher: Teacher) -> float:
        inputs, labels = torch.tensor(DATA.validation.inputs), DATA.validation.labels
        found = []
        for _ in range(20):
            disturbed = _disturbed(teacher.stack, 0.5)
            logits = torch.func.functional_call(teacher.stack, disturbed, inputs)
            found.append(float((logits.argmax(1).numpy() == labels).mean()))
        return float(np.mean(found))

    assert accuracy(one) > accuracy(plain)


def test_noise_is_part_of_how_a_teacher_is_found_only_where_there_is_some() -> None:
    model = mlp(DATA, hidden=(8,))
    settings = {"epochs": 1, "lr": 1e-3, "batch": 32, "weight_decay": 0.0, "crop": 0, "flip": False}
    with_noise, without = (
        _recipe(model, DATA, 0, Settings(**settings, noise=noise, threads=1, device="cpu")) for noise in (0.1, 0.0)
    )
    assert with_noise["settings"]["noise"] == 0.1
    assert "noise" not in without["settings"]
    with pytest.raises(ParameterError, match="noise must be from 0 to 2"):
        train(model, DATA, seed=0, noise=-0.1)
