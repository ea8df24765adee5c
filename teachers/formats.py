"""Readers of published file formats: IDX (MNIST, Fashion-MNIST) and the pickled batches of CIFAR-10.

Both give uint8 images [n, *shape] and int64 labels [n]. What a file must hold is known beforehand, so each fault gives
one StoredFileError that names the file and what was expected of it.
"""

import gzip
import math
import pickle  # only as the base of the restricted reader below
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from chipsim.errors import StoredFileError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip: [n, *shape].

    Layout: bytes 0 0, type 8 (uint8), the number of dimensions, each dimension as a big-endian uint32, the data.
    Raises StoredFileError when the file cannot be read, is no IDX file of this kind, or is too short or too long.
    """
    try:
        with _open(path) as file:
            count = _idx_count(path, file, shape)
            expected = count * math.prod(shape)
            data = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StoredFileError(f"{path} cannot be read as an IDX file, it is truncated or damaged: {error}") from error
    if len(data) != expected:
        found = f"only {len(data)}: it is truncated" if len(data) < expected else "more"
        raise StoredFileError(f"{path} announces {count} items, {expected} bytes of data, but holds {found}")
    return np.frombuffer(data, np.uint8).reshape(count, *shape)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _idx_count(path: Path, file: IO[bytes], shape: tuple[int, ...]) -> int:
    magic = bytes((0, 0, 8, 1 + len(shape)))
    header = file.read(4 + 4 * (1 + len(shape)))
    if header[:4] != magic:
        raise StoredFileError(f"{path} begins with {header[:4].hex()}, expected the IDX magic number {magic.hex()}")
    if len(header) < 8 + 4 * len(shape):
        raise StoredFileError(f"{path} ends inside its IDX header, after {len(header)} bytes")
    count, *found = (int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if tuple(found) != shape:
        raise StoredFileError(f"{path} holds items of shape {tuple(found)}, expected {shape}")
    return count


def read_idx_pair(images: Path, labels: Path, shape: tuple[int, ...], classes: int) -> tuple[Images, Labels]:
    """Read an IDX image file and its label file: [n, *shape] and [n]; `shape` is one image's, channels first."""
    pixels = read_idx(images, shape[-2:]).reshape(-1, *shape)
    return pixels, _checked_labels(labels, read_idx(labels, ()), len(pixels), classes)


def _checked_labels(path: Path, values: Any, count: int, classes: int) -> Labels:
    if len(values) != count:
        raise StoredFileError(f"{path} holds {len(values)} labels, but there are {count} images")
    if not all(isinstance(value, (int, np.integer)) for value in values) or not len(values):
        raise StoredFileError(f"{path} holds labels that are not a list of integers")
    labels = np.asarray(values)
    if labels.min() < 0 or labels.max() >= classes:
        raise StoredFileError(
            f"{path} holds labels from {labels.min()} to {labels.max()}, expected labels from 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes in old pickle protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r} is not allowed")
    return text.encode("latin1")


def _byte_type(code: bytes | str, *flags: bool) -> np.dtype[np.uint8]:
    """Stand in for `numpy.dtype`: unsigned bytes only."""
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"an array has type {code!r}, expected 'u1', unsigned bytes")
    return np.dtype(np.uint8)


def _from_buffer(data: bytes, dtype: np.dtype[np.uint8], shape: tuple[int, ...], order: str, *_: object) -> Images:
    """Stand in for numpy's function of this name, by which numpy writes arrays in pickle protocol 5."""
    if order != "C":
        raise pickle.UnpicklingError(f"an array is stored in order {order!r}, expected 'C'")
    return np.frombuffer(data, dtype).reshape(shape)


def _reconstruct(subtype: type, shape: tuple[int, ...], typecode: bytes | str) -> NDArray[Any]:
    """Stand in for numpy's function of this name: an empty array, filled by the state that follows in the pickle."""
    if subtype is not np.ndarray or shape != (0,) or typecode not in (b"b", "b"):
        raise pickle.UnpicklingError("an array is pickled in an unknown way")
    return np.ndarray((0,), np.int8)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers, numbers, text and numpy arrays, and refuses every other name.

    The published files were pickled by Python 2 and numpy 1 (`numpy.core`), newer copies by numpy 2 (`numpy._core`).
    """

    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _byte_type,
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("numpy._core.numeric", "_frombuffer"): _from_buffer,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for `module.name`, from the list above only; nothing is imported."""
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module}.{name} is not allowed in a data file") from None


def read_cifar_batch(path: Path, shape: tuple[int, ...], classes: int) -> tuple[Images, Labels]:
    """Read one pickled batch of CIFAR-10 without running code from it: [n, *shape] and [n].

    The pickle holds a dictionary (keys text or bytes) with `data`, uint8 [n, prod(shape)], and `labels`, n integers.
    Raises StoredFileError when it holds anything else, a name outside numpy arrays included.
    """
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise StoredFileError(f"{path} cannot be read as a CIFAR-10 batch: {error or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise StoredFileError(f"{path} holds a {type(content).__name__}, expected a dictionary of data and labels")
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (math.prod(shape),):
        raise StoredFileError(f"{path} must hold 'data', an array of bytes of shape [n, {math.prod(shape)}]")
    if not isinstance(labels, list):
        raise StoredFileError(f"{path} must hold 'labels', a list of {len(data)} integers")
    return data.reshape(-1, *shape), _checked_labels(path, labels, len(data), classes)
