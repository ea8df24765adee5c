"""Data sets: fixed splits, the search for files, and the readers of IDX files and CIFAR-10 batches."""

import gzip
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from chipsim.errors import ParameterError, StoredFileError
from teachers import datasets
from teachers.datasets import Dataset, Split
from teachers.formats import read_cifar_batch, read_idx, read_idx_pair

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 7, dtype=np.uint8)
PIXELS = RNG.integers(0, 256, (5, 3072), dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(path: Path, array: np.ndarray, packed: bool = False) -> Path:
    content = idx_bytes(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, compresslevel=1) if packed else content)
    return path


def batch(keys: Callable[[str], str | bytes] = str, **changes: object) -> dict[str | bytes, object]:
    content = {"data": PIXELS, "labels": [0, 1, 2, 9, 4], **changes}
    return {keys(key): value for key, value in content.items()}


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes bytes and text as Python 2 wrote its strings, and the module names of numpy 1."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def write_batch(path: Path, content: object, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


class TestSplits:
    def test_digits(self) -> None:
        data = datasets.load("digits")
        assert (data.name, data.shape, data.classes) == ("digits", (1, 8, 8), 10)
        assert [len(s) for s in (data.train, data.validation, data.test)] == [1200, 247, 350]
        assert data.train.inputs.dtype == np.float32
        assert data.train.labels.dtype == np.int64
        assert data.train.inputs.min() == 0
        assert data.train.inputs.max() == 1
        assert set(data.test.labels) == set(range(10))

    def test_no_sample_is_in_two_splits(self) -> None:
        from sklearn.datasets import load_digits

        data = datasets.load("digits")
        ours = np.concatenate([s.inputs.reshape(-1, 64) * 16 for s in (data.train, data.validation, data.test)])
        theirs = load_digits().data
        assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))

    def test_split_is_frozen_for_ever(self) -> None:
        data = datasets.load("digits")
        assert data.train.labels[:12].tolist() == FIRST_DIGITS
        assert [split.hash[:16] for split in (data.train, data.validation, data.test)] == DIGITS

    def test_take_and_subset(self) -> None:
        split = datasets.load("digits").train
        assert np.array_equal(split.take(3).inputs, split.inputs[:3])
        assert split.subset([5, 2]).labels.tolist() == [split.labels[5], split.labels[2]]
        with pytest.raises(ParameterError, match="cannot take 2000 samples of a split of 1200"):
            split.take(2000)

    def test_split_is_read_only_and_leaves_the_callers_array_alone(self) -> None:
        inputs = np.zeros((2, 3), np.float32)
        split = Split(inputs, np.array([0, 1]))
        with pytest.raises(ValueError, match="read-only"):
            split.inputs[0, 0] = 1
        inputs[0, 0] = 1
        assert split.inputs[0, 0] == 0
        assert Split(split.inputs, split.labels).inputs is split.inputs

    @pytest.mark.parametrize("labels", [[0.7, 1.0], [np.nan, 0.0], ["a", "b"]])
    def test_labels_are_whole_numbers(self, labels: list[object]) -> None:
        with pytest.raises(ParameterError, match="labels must be whole numbers"):
            Split(np.zeros((2, 3), np.float32), np.array(labels))
        assert Split(np.zeros((2, 3), np.float32), np.array([0.0, 1.0])).labels.tolist() == [0, 1]

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(ParameterError, match="inputs"):
            Split(np.zeros((2, 3), np.float32), np.array([0]))

    @pytest.mark.parametrize(("shape", "label", "message"), [((3,), 0, "shape"), ((2,), 5, "labels outside 0..1")])
    def test_dataset_checks_its_splits(self, shape: tuple[int, ...], label: int, message: str) -> None:
        split = Split(np.zeros((1, *shape), np.float32), np.array([label]))
        with pytest.raises(ParameterError, match=message):
            Dataset("mine", (2,), 2, split, split, split, "here")

    def test_unknown_name(self) -> None:
        with pytest.raises(
            ParameterError, match="unknown data set 'minst'; known: digits, mnist, fashion-mnist, cifar10"
        ):
            datasets.load("minst")


DIGITS = ["1d06ffef87eea4ea", "e9e44a755d6fd4e8", "956b3e7c4cd9a13d"]
FIRST_DIGITS = [5, 8, 9, 7, 3, 8, 9, 7, 2, 5, 1, 0]


class TestSearch:
    @pytest.fixture(autouse=True)
    def nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHIPSIM_DATA", str(tmp_path / "chosen"))
        monkeypatch.setenv("CHIPSIM_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")

    def write_mnist(self, folder: Path, packed: bool = False, train: int = 60_000) -> None:
        for part, count in (("train", train), ("t10k", 10_000)):
            labels = (np.arange(count) % 10).astype(np.uint8)
            images = np.broadcast_to(labels[:, None, None], (count, 28, 28))
            suffix = ".gz" if packed else ""
            write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images, packed)
            write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels, packed)

    def test_missing_data_says_where_it_looked_and_what_to_do(self, tmp_path: Path) -> None:
        assert datasets.locate("mnist") is None
        with pytest.raises(StoredFileError) as failure:
            datasets.load("mnist", download=False)
        message = str(failure.value)
        for folder in datasets.search_paths("mnist"):
            assert str(folder) in message
        assert str(tmp_path / "chosen" / "MNIST" / "raw") in message
        assert "CHIPSIM_DATA" in message
        assert "chipsim data get mnist" in message

    def test_incomplete_folder_is_named(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "chosen/MNIST/raw/train-images-idx3-ubyte", IMAGES)
        with pytest.raises(StoredFileError, match="lacks train-labels-idx1-ubyte"):
            datasets.load("mnist", download=False)

    def test_failing_download(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_connection(*arguments: object, **options: object) -> None:
            raise OSError("no connection")

        monkeypatch.setattr("pooch.retrieve", no_connection)
        with pytest.raises(StoredFileError, match=r"none of.*chipsim data get fashion-mnist.*no connection"):
            datasets.load("fashion-mnist")

    def test_download_checks_sums_and_goes_to_the_chosen_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def retrieve(url: str, known_hash: str, name: str, folder: Path, **options: object) -> None:
            assert known_hash.startswith("md5:")
            assert url.endswith(name)
            write_idx(folder / name, IMAGES, packed=True)

        monkeypatch.setattr("pooch.retrieve", retrieve)
        assert datasets.fetch("mnist") == tmp_path / "chosen/MNIST/raw"
        assert datasets.locate("mnist") == tmp_path / "chosen/MNIST/raw"

    @pytest.mark.parametrize("root", ["chosen", "cache/data", "work/data", "home/.cache/torchvision"])
    def test_every_root_is_found(self, root: str, tmp_path: Path) -> None:
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            write_idx(tmp_path / root / f"FashionMNIST/raw/{name}-ubyte.gz", IMAGES, packed=True)
        found = datasets.locate("fashion-mnist")
        assert found is not None
        assert found.resolve() == (tmp_path / root / "FashionMNIST/raw").resolve()
        assert datasets.locate("mnist") is None

    @pytest.mark.parametrize("packed", [False, True])
    def test_mnist_loads(self, packed: bool, tmp_path: Path) -> None:
        self.write_mnist(tmp_path / "chosen/MNIST/raw", packed)
        data = datasets.load("mnist", download=False)
        assert [len(s) for s in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
        assert data.train.inputs.shape == (55_000, 1, 28, 28)
        assert data.source == str(tmp_path / "chosen/MNIST/raw")
        for split in (data.train, data.validation, data.test):
            assert np.allclose(split.inputs[:, 0, 3, 4] * 255, split.labels)
            assert np.bincount(split.labels[:2000]).min() > 150

    def test_another_number_of_images_is_refused(self, tmp_path: Path) -> None:
        self.write_mnist(tmp_path / "chosen/MNIST/raw", train=100)
        with pytest.raises(StoredFileError, match="holds 100 images in part 0, expected 60000"):
            datasets.load("mnist", download=False)

    def test_cifar_loads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small = replace(datasets._SOURCES["cifar10"], cuts=((45, 5), (10,)))
        monkeypatch.setitem(datasets._SOURCES, "cifar10", small)
        labels = list(range(10))
        pixels = np.repeat(np.array(labels, np.uint8), 3072).reshape(-1, 3072)
        for name in small.files:
            write_batch(tmp_path / "chosen" / small.layout / name, {b"data": pixels, b"labels": labels}, protocol=4)
        data = datasets.load("cifar10", download=False)
        assert [len(s) for s in (data.train, data.validation, data.test)] == [45, 5, 10]
        assert data.shape == (3, 32, 32)
        assert np.allclose(data.train.inputs[:, 2, 5, 6] * 255, data.train.labels)
        assert data.source.endswith("(not the published files)")

    def test_cifar_archive_is_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def retrieve(urls: list[str], archive: Path, md5: str) -> None:
            archive.parent.mkdir(parents=True)
            with tarfile.open(archive, "w:gz") as tar:
                for name in (*datasets._CIFAR_FILES, "../../escaped"):
                    path = write_batch(tmp_path / "made", batch())
                    tar.add(path, f"cifar-10-batches-py/{name}")

        monkeypatch.setattr(datasets, "retrieve", retrieve)
        folder = datasets.fetch("cifar10")
        assert folder == datasets.locate("cifar10") == tmp_path / "chosen/cifar-10-batches-py"
        assert sorted(path.name for path in folder.iterdir()) == sorted(datasets._CIFAR_FILES)
        assert [path.name for path in folder.parent.iterdir()] == ["cifar-10-batches-py"]
        assert not list(tmp_path.rglob("escaped"))

    def test_digits_need_no_folder(self) -> None:
        assert datasets.locate("digits") is not None
        assert datasets.fetch("digits") == datasets.locate("digits")


class TestIdx:
    @pytest.mark.parametrize("packed", [False, True])
    def test_round_trip(self, packed: bool, tmp_path: Path) -> None:
        images = write_idx(tmp_path / "images", IMAGES, packed)
        labels = write_idx(tmp_path / "labels", LABELS, packed)
        pixels, found = read_idx_pair(images, labels, (1, 28, 28), 10)
        assert np.array_equal(pixels[:, 0], IMAGES)
        assert np.array_equal(found, LABELS)
        assert (pixels.dtype, found.dtype) == (np.uint8, np.int64)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (idx_bytes(IMAGES)[:-1], "announces 7 items, 5488 bytes of data, but holds only 5487"),
            (idx_bytes(IMAGES) + b"\0", "holds more"),
            (gzip.compress(idx_bytes(IMAGES), mtime=0)[:-20], "truncated or damaged"),
            (gzip.compress(idx_bytes(IMAGES), mtime=0)[:5], "truncated or damaged"),
            (idx_bytes(LABELS), "begins with 00000801, expected the IDX magic number 00000803"),
            (b"", "begins with"),
            (idx_bytes(IMAGES)[:9], "ends inside its IDX header"),
            (idx_bytes(IMAGES[:, :27]), "items of shape \\(27, 28\\), expected \\(28, 28\\)"),
        ],
        ids=["truncated", "too long", "gzip truncated", "gzip header alone", "labels", "empty", "header", "shape"],
    )
    def test_faults(self, content: bytes, message: str, tmp_path: Path) -> None:
        path = tmp_path / "images"
        path.write_bytes(content)
        with pytest.raises(StoredFileError, match=message) as failure:
            read_idx(path, (28, 28))
        assert str(path) in str(failure.value)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(StoredFileError, match="cannot be read"):
            read_idx(tmp_path / "none", (28, 28))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [(LABELS[:6], "6 labels, but there are 7 images"), (LABELS + 10, "expected labels from 0 to 9")],
    )
    def test_labels_that_do_not_fit(self, labels: np.ndarray, message: str, tmp_path: Path) -> None:
        images = write_idx(tmp_path / "images", IMAGES)
        with pytest.raises(StoredFileError, match=message):
            read_idx_pair(images, write_idx(tmp_path / "labels", labels), (1, 28, 28), 10)


class TestCifar:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("keys", [str, str.encode])
    def test_numpy_2_pickle(self, protocol: int, keys: Callable[[str], str | bytes], tmp_path: Path) -> None:
        self.check(write_batch(tmp_path / "batch", batch(keys), protocol))

    def test_numpy_1_pickle(self, tmp_path: Path) -> None:
        path = write_batch(tmp_path / "batch", batch())
        content = path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        path.write_bytes(content)
        assert b"numpy.core" in content
        self.check(path)

    def test_python_2_pickle(self, tmp_path: Path) -> None:
        path = tmp_path / "batch"
        with path.open("wb") as file:
            Python2Pickler(file, 2).dump(batch())
        path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
        self.check(path)

    def check(self, path: Path) -> None:
        pixels, labels = read_cifar_batch(path, (3, 32, 32), 10)
        assert np.array_equal(pixels.reshape(5, -1), PIXELS)
        assert labels.tolist() == [0, 1, 2, 9, 4]
        assert pixels.shape == (5, 3, 32, 32)

    def test_code_in_a_pickle_does_not_run(self, tmp_path: Path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "attacked"),)

        path = write_batch(tmp_path / "batch", batch(labels=Attack()))
        with pytest.raises(StoredFileError, match=r"posix.mkdir is not allowed|nt.mkdir is not allowed"):
            read_cifar_batch(path, (3, 32, 32), 10)
        assert not (tmp_path / "attacked").exists()

    @pytest.mark.parametrize("name", [b"cbuiltins\neval\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\nscalar\n"])
    def test_names_outside_the_list_are_refused(self, name: bytes, tmp_path: Path) -> None:
        path = tmp_path / "batch"
        path.write_bytes(b"\x80\x02" + name + b".")
        with pytest.raises(StoredFileError, match="is not allowed"):
            read_cifar_batch(path, (3, 32, 32), 10)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([1, 2], "holds a list"),
            (batch(data=PIXELS[:, :-1]), "array of bytes of shape"),
            (batch(data=PIXELS.astype(float)), "has type 'f8', expected 'u1'"),
            (batch(data=None), "array of bytes of shape"),
            (batch(labels=None), "a list of 5 integers"),
            (batch(labels=[1]), "1 labels, but there are 5 images"),
            (batch(labels=[0, 1, 2, 3, 10]), "labels from 0 to 10"),
            (batch(labels=[0, 1, 2, 3, "x"]), "not a list of integers"),
            (batch(labels=[0, 1, 2, 3, [1, 2]]), "not a list of integers"),
        ],
    )
    def test_other_content_is_refused(self, content: object, message: str, tmp_path: Path) -> None:
        with pytest.raises(StoredFileError, match=message):
            read_cifar_batch(write_batch(tmp_path / "batch", content), (3, 32, 32), 10)

    @pytest.mark.parametrize("length", [0, 1, 50, 5_000])
    def test_truncated(self, length: int, tmp_path: Path) -> None:
        path = write_batch(tmp_path / "batch", batch())
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(StoredFileError, match="cannot be read as a CIFAR-10 batch"):
            read_cifar_batch(path, (3, 32, 32), 10)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 16])
def test_resized_images_average_equal_parts_of_the_area(side: int) -> None:
    data = datasets.load("digits")
    small = datasets.resized(data, side)
    assert small.shape == (1, side, side)
    assert small.name == f"digits-{side}x{side}"
    np.testing.assert_allclose(small.test.inputs.mean((1, 2, 3)), data.test.inputs.mean((1, 2, 3)), rtol=1e-5)
    if side in (1, 2, 8):  # whole pixels
        blocks = data.test.inputs.reshape(-1, 1, side, 8 // side, side, 8 // side).mean((3, 5))
        np.testing.assert_allclose(small.test.inputs, blocks, atol=1e-6)
    if side == 16:
        np.testing.assert_allclose(small.test.inputs, data.test.inputs.repeat(2, 2).repeat(2, 3), atol=1e-6)
    np.testing.assert_array_equal(small.train.labels, data.train.labels)


def test_a_part_of_a_pixel_counts_as_such() -> None:
    image = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32).reshape(1, 1, 3, 3)
    split = datasets.Split(image, np.zeros(1, int))
    data = datasets.Dataset("one", (1, 3, 3), 1, split, split, split, "made")
    np.testing.assert_allclose(datasets.resized(data, 2).test.inputs[0, 0], [[4 / 9, 0], [0, 0]], atol=1e-7)


def test_what_is_no_square_image_is_not_resized() -> None:
    split = datasets.Split(np.zeros((1, 1, 2, 3)), np.zeros(1, int))
    with pytest.raises(ParameterError, match="cannot be resized to images of 4 x 4"):
        datasets.resized(datasets.Dataset("one", (1, 2, 3), 1, split, split, split, "made"), 4)
    with pytest.raises(ParameterError, match="0 x 0 pixels"):
        datasets.resized(datasets.load("digits"), 0)
