"""Data sets with fixed splits: digits (ships inside scikit-learn), MNIST, Fashion-MNIST and CIFAR-10.

`load` looks in the folder of the environment variable CHIPSIM_DATA, in chipsim's cache, in `./data` and in the folders
that torchvision uses, each in torchvision's layout; then it downloads. Files hold bytes; a Split holds them as float32
in 0..1 (value / 255; digits: value / 16). Which sample is in which split, and in which order, is the permutation of a
named stream, so it is the same everywhere and for ever; `take(n)` is therefore a fair sample of a split.
"""

import functools
import hashlib
import importlib.util
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from filelock import FileLock
from numpy.typing import ArrayLike, NDArray

from chipsim.errors import ParameterError, StoredFileError
from chipsim.streams import stream
from teachers.download import retrieve
from teachers.formats import Images, Labels, read_cifar_batch, read_idx_pair
from teachers.store import cache_folder, write


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with labels: inputs float32 [n, *shape] in 0..1 and labels int64 [n]; both are read-only.

    Raises ParameterError when the two differ in length. Other ranges are legal for a data set of one's own.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.dtype.kind not in "iu" and not (labels.dtype.kind == "f" and (labels == np.round(labels)).all()):
            raise ParameterError(f"labels must be whole numbers, not of the kind {labels.dtype}")
        object.__setattr__(self, "inputs", _read_only(self.inputs, np.float32))
        object.__setattr__(self, "labels", _read_only(labels, np.int64))
        if self.labels.ndim != 1 or self.inputs.ndim < 2 or len(self.inputs) != len(self.labels):
            raise ParameterError(
                f"a split needs inputs [n, ...] and labels [n], not shapes {self.inputs.shape} and {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} samples of shape {self.inputs.shape[1:]})"

    def take(self, n: int) -> "Split":
        """Return the first `n` samples; ParameterError when there are fewer."""
        if not 0 <= n <= len(self):
            raise ParameterError(f"cannot take {n} samples of a split of {len(self)}")
        return Split(self.inputs[:n], self.labels[:n])

    def subset(self, indices: ArrayLike) -> "Split":
        """Return the samples at `indices`, in that order."""
        chosen = np.asarray(indices)
        return Split(self.inputs[chosen], self.labels[chosen])

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of shape, inputs and labels."""
        digest = hashlib.sha256(repr(self.inputs.shape).encode())
        digest.update(np.ascontiguousarray(self.inputs).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def _read_only(values: ArrayLike, dtype: type) -> NDArray[Any]:
    """The values as an array that nobody else can change: a copy, unless it is read-only already."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and not values.flags.writeable:
        return values
    array: NDArray[Any] = np.array(values, dtype)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: `shape` of one sample (channels, height, width), number of `classes`, three splits, its `source`.

    A data set of one's own is made by calling this class. Raises ParameterError for samples of another shape and for
    labels outside 0..classes-1.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    train: Split
    validation: Split
    test: Split
    source: str

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if split.inputs.shape[1:] != self.shape:
                raise ParameterError(
                    f"{self.name}: {name} has samples of shape {split.inputs.shape[1:]}, not {self.shape}"
                )
            if len(split) and not (split.labels.min() >= 0 and split.labels.max() < self.classes):
                raise ParameterError(f"{self.name}: {name} has labels outside 0..{self.classes - 1}")


Part = tuple[Images, Labels]


@final
@dataclass(frozen=True, kw_only=True)
class _Source:
    """How one data set is found, downloaded and read.

    layout: its folder below a root. files: which must be there, plain or with `.gz`. cuts: sizes of the consecutive
    splits (train, validation, test) that each published part is cut into. originals: MD5 sums of published files.
    """

    layout: str
    files: tuple[str, ...]
    shape: tuple[int, ...]
    cuts: tuple[tuple[int, ...], ...]
    read: Callable[[Path], Sequence[Part]]
    download: Callable[[Path], None]
    roots: Callable[[], list[Path]]
    classes: int = 10
    full_scale: int = 255
    originals: Mapping[str, str] = field(default_factory=dict)

    def missing(self, folder: Path) -> list[str]:
        """Return which of the files `folder` lacks."""
        return [file for file in self.files if _file(folder, file) is None]

    def describe(self, folder: Path) -> str:
        """Say where the data come from, and whether they differ from the published files."""
        for file, md5 in self.originals.items():
            if hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest() != md5:
                return f"{folder} (not the published files)"
        return str(folder)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _roots() -> list[Path]:
    torchvision = [Path("data"), Path.home() / ".cache" / "torchvision"]
    return list(dict.fromkeys([_download_root(), cache_folder() / "data", *torchvision]))


def _download_root() -> Path:
    chosen = os.environ.get("CHIPSIM_DATA")
    return Path(chosen).expanduser() if chosen else cache_folder() / "data"


def _source(name: str) -> _Source:
    if name not in _SOURCES:
        raise ParameterError(f"unknown data set {name!r}; known: {', '.join(NAMES)}")
    return _SOURCES[name]


def search_paths(name: str) -> list[Path]:
    """Return the folders that `load` looks in, in order. Raises ParameterError for an unknown name."""
    source = _source(name)
    return [root / source.layout for root in source.roots()]


def locate(name: str) -> Path | None:
    """Return the first of `search_paths(name)` that holds every file of the data set, or None."""
    source = _source(name)
    return next((folder for folder in search_paths(name) if folder.is_dir() and not source.missing(folder)), None)


def fetch(name: str) -> Path:
    """Return the folder of a data set; download it, with a progress bar and checksums, when `locate` finds none.

    It goes to the folder of CHIPSIM_DATA, else to chipsim's cache. Raises StoredFileError when no server gives it.
    """
    found = locate(name)
    if found is not None:
        return found
    source = _source(name)
    folder = _download_root() / source.layout
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoredFileError(f"{cache_folder()} cannot be made ({error}); set CHIPSIM_CACHE to another") from error
    with FileLock(cache_folder() / f".{name}.lock"):  # several processes download once
        if locate(name) is None:
            source.download(folder)
    return folder


def load(name: str, *, download: bool = True) -> Dataset:
    """Return the data set called `name`, one of NAMES, with its fixed splits.

    train / validation / test: digits 1,200 / 247 / 350; MNIST and Fashion-MNIST 55,000 / 5,000 / 10,000; CIFAR-10
    45,000 / 5,000 / 10,000. The test split is the published one (digits have none). Raises ParameterError for an
    unknown name, StoredFileError when files are missing (and `download` is False or fails) or damaged.
    """
    source = _source(name)
    folder = locate(name)
    if folder is None:
        if not download:
            raise StoredFileError(_not_found(name))
        folder = _fetch_or_explain(name)
    train, validation, test = _cut(name, source, source.read(folder), folder)
    return Dataset(name, source.shape, source.classes, train, validation, test, source.describe(folder))


def learning_samples(name: str) -> int:
    """Return how many samples the training split of a data set has. Raises ParameterError for an unknown name."""
    return _source(name).cuts[0][0]


def resized(data: Dataset, side: int) -> Dataset:
    """Return a data set of images whose pixels are averages over equal parts of the area, `side` x `side` of them.

    Raises ParameterError for samples that are not square images, and for a side below 1.
    """
    if len(data.shape) != 3 or data.shape[1] != data.shape[2] or side < 1:
        raise ParameterError(f"samples of shape {data.shape} cannot be resized to images of {side} x {side} pixels")
    edges, fine = np.linspace(0, data.shape[1], side + 1), np.arange(data.shape[1])
    shared = np.minimum(edges[1:, None], fine + 1) - np.maximum(edges[:-1, None], fine)
    weights = np.maximum(shared, 0.0).astype(np.float32) * np.float32(side / data.shape[1])
    train, validation, test = (
        Split(np.einsum("ij,ncjk,lk->ncil", weights, split.inputs, weights, optimize=True), split.labels)
        for split in (data.train, data.validation, data.test)
    )
    shape = (data.shape[0], side, side)
    return Dataset(f"{data.name}-{side}x{side}", shape, data.classes, train, validation, test, data.source)


def _fetch_or_explain(name: str) -> Path:
    try:
        return fetch(name)
    except StoredFileError as error:
        raise StoredFileError(f"{_not_found(name)} ({error})") from error


def _not_found(name: str) -> str:
    places = []
    for folder in search_paths(name):
        missing = _source(name).missing(folder)
        places.append(f"{folder} (lacks {missing[0]})" if folder.is_dir() and missing else str(folder))
    return (
        f"the data set {name!r} is in none of: {'; '.join(places)}. Set CHIPSIM_DATA to a folder that holds "
        f"{_source(name).layout}, or run: chipsim data get {name}"
    )


def _cut(name: str, source: _Source, parts: Sequence[Part], folder: Path) -> list[Split]:
    splits = []
    for index, ((images, labels), sizes) in enumerate(zip(parts, source.cuts, strict=True)):
        if len(images) != sum(sizes):
            raise StoredFileError(f"{folder} holds {len(images)} images in part {index}, expected {sum(sizes)}")
        order = stream(0, "data set", name, index).permutation(len(images))
        for chosen in np.split(order, np.cumsum(sizes)[:-1]):
            inputs = np.divide(images[chosen], source.full_scale, dtype=np.float32)
            inputs.flags.writeable = False  # nobody else has them
            splits.append(Split(inputs, labels[chosen]))
    return splits


def _read_digits(folder: Path) -> Sequence[Part]:
    from sklearn.datasets import load_digits  # takes a second, and only this data set needs it

    pixels, labels = load_digits(return_X_y=True)
    return [(pixels.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64))]


def _no_download(folder: Path) -> None:
    raise StoredFileError(f"digits ship inside scikit-learn, which lacks {folder}; install scikit-learn again")


def _scikit_learn() -> list[Path]:
    found = importlib.util.find_spec("sklearn")
    return [] if found is None or found.origin is None else [Path(found.origin).parent]


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _read_idx_files(folder: Path) -> Sequence[Part]:
    paths = [_file(folder, name) or folder / name for name in _IDX_FILES]
    return [read_idx_pair(paths[0], paths[1], (1, 28, 28), 10), read_idx_pair(paths[2], paths[3], (1, 28, 28), 10)]


def _idx_download(urls: Sequence[str], md5: Sequence[str]) -> Callable[[Path], None]:
    def download(folder: Path) -> None:
        for name, checksum in zip(_IDX_FILES, md5, strict=True):
            retrieve([f"{url}{name}.gz" for url in urls], folder / f"{name}.gz", checksum)

    return download


def _idx_source(layout: str, urls: Sequence[str], md5: Sequence[str]) -> _Source:
    return _Source(
        layout=layout,
        files=_IDX_FILES,
        shape=(1, 28, 28),
        cuts=((55_000, 5_000), (10_000,)),
        read=_read_idx_files,
        download=_idx_download(urls, md5),
        roots=_roots,
    )


_CIFAR_FILES = (*(f"data_batch_{index}" for index in range(1, 6)), "test_batch")
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR_MD5 = "c58f30108f718f92721af3b95e74349a"


def _read_cifar_files(folder: Path) -> Sequence[Part]:
    *train, test = (read_cifar_batch(folder / name, (3, 32, 32), 10) for name in _CIFAR_FILES)
    images, labels = zip(*train, strict=True)
    return [(np.concatenate(images), np.concatenate(labels)), test]


def _download_cifar(folder: Path) -> None:
    archive = folder.parent / "cifar-10-python.tar.gz"
    retrieve([_CIFAR_URL], archive, _CIFAR_MD5)
    try:
        with tarfile.open(archive) as tar:
            for name in _CIFAR_FILES:  # only the known names, so that an archive cannot write elsewhere
                member = tar.extractfile(f"cifar-10-batches-py/{name}")
                if member is None:
                    raise StoredFileError(f"{archive} holds no file cifar-10-batches-py/{name}")
                write(folder / name, member.read())
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise StoredFileError(f"{archive} cannot be unpacked: {error}") from error
    archive.unlink(missing_ok=True)


# Addresses and MD5 sums are those that torchvision publishes (datasets/mnist.py, datasets/cifar.py).
_SOURCES = {
    "digits": _Source(
        layout="datasets",
        files=(),
        shape=(1, 8, 8),
        cuts=((1_200, 247, 350),),
        read=_read_digits,
        download=_no_download,
        roots=_scikit_learn,
        full_scale=16,
    ),
    "mnist": _idx_source(
        "MNIST/raw",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": _idx_source(
        "FashionMNIST/raw",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": _Source(
        layout="cifar-10-batches-py",
        files=_CIFAR_FILES,
        shape=(3, 32, 32),
        cuts=((45_000, 5_000), (10_000,)),
        read=_read_cifar_files,
        download=_download_cifar,
        roots=_roots,
        originals={"test_batch": "40351d587109b95175f43aff81a1287e"},
    ),
}
NAMES = tuple(_SOURCES)
