"""Named random streams: what a stream is called decides what it draws, never the order of calls.

A stream's key is SHA-256 of the seed and the names, so that adding a draw in one place changes no other place, and
two processes draw the same numbers. Philox (Salmon et al. 2011) takes the key. Noise that acts while samples are
presented comes from `normals`, a pure function of its key and place, which an engine may compute wherever it runs.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, to_numpy
from chipsim.errors import ParameterError

Name = str | int

GAMMA, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Increment and multipliers of SplitMix64."""


def _key(seed: int, names: tuple[Name, ...]) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ParameterError(f"seed must be an integer from 0 to 2^63 - 1, not {seed!r}")
    text = json.dumps([int(seed), *(name if isinstance(name, str) else int(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def stream(seed: int, *names: Name) -> np.random.Generator:
    """Return the generator called `names` under `seed`; the same arguments give the same draws in any process.

    >>> float(stream(7, "tile", 0).random()) == float(stream(7, "tile", 0).random())
    True
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, names)))


def noise_key(seed: int, *names: Name) -> int:
    """Return the 64-bit key of the noise called `names` under `seed`."""
    return _key(seed, names) % 2**64


class White(NamedTuple):
    """Gaussian noise of standard deviation `sigma`, independent from step to step, drawn by `normals` from a key for
    each chip; or events of probability `sigma`, drawn by `uniforms`.
    """

    keys: tuple[int, ...]
    sigma: float

    def seen(self, kind: str, samples: Iterable[int], count: int, size: int) -> tuple[float, int]:
        """Return what `count` steps of the first chip meet: the sum of squares, or events where the kind of noise is a
        "loss", and how many numbers were drawn.
        """
        if kind == "loss":
            events = uniforms(self.keys[0], samples, 0, count, size) < self.sigma
            return float(events.sum()), events.size
        drawn = self.sigma * normals(self.keys[0], samples, 0, count, size)
        return float(np.sum(drawn * drawn)), drawn.size


def normals(key: int, samples: Iterable[int], first: int, count: int, size: int) -> NDArray[np.float64]:
    """Standard normals [count, samples, size] of steps `first` on: noise that is a function of its place alone.

    SplitMix64 (Steele et al. 2014) at random places of its sequence: with its finaliser m and increment G, sample s has
    the key k = m(key + (s + 1) G), and pair p of a step t the word z = m(k + (t h + p + 1) G), h = ceil(size / 2).
    Box and Muller make the two numbers p and h + p of the step from the upper and lower 32 bits of z. Any batch, chunk
    of steps, engine and machine meets the same noise.
    """
    half, keys = (size + 1) // 2, sample_keys(key, samples)
    with np.errstate(over="ignore"):
        places = np.arange(first * half + 1, (first + count) * half + 1, dtype=np.uint64).reshape(count, 1, half)
        words = _mixed(keys[:, None] + places * GAMMA)
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + 0.5) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)) * (2 * np.pi * 2.0**-32)
    drawn: NDArray[np.float64] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=2)[..., :size]
    return drawn


def uniforms(key: int, samples: Iterable[int], first: int, count: int, size: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) [count, samples, size] of steps `first` on, a function of their place alone: the upper
    53 bits of the word of place t size + i + 1 under the sample's key, as in `normals`.
    """
    keys = sample_keys(key, samples)
    with np.errstate(over="ignore"):
        places = np.arange(first * size + 1, (first + count) * size + 1, dtype=np.uint64).reshape(count, 1, size)
        words = _mixed(keys[:, None] + places * GAMMA)
    drawn: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def sample_keys(key: int, samples: Iterable[int]) -> NDArray[np.uint64]:
    """Return the key of each sample under `key`, as `normals` uses it."""
    numbers = np.fromiter((int(sample) + 1 for sample in samples), dtype=np.uint64)
    with np.errstate(over="ignore"):
        return _mixed(np.uint64(key) + numbers * GAMMA)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * FIRST
    words = (words ^ (words >> np.uint64(27))) * SECOND
    return words ^ (words >> np.uint64(31))


class SideBySide:
    """Streams of several chips as one, for cells of which `chips` [cells] says on which of them each is."""

    def __init__(self, streams: Sequence[np.random.Generator], chips: NDArray[np.generic]) -> None:
        self.streams, self.chips = streams, chips

    def standard_normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normals [cells], each chip's from its own stream."""
        drawn = np.empty(shape)
        for number, stream in enumerate(self.streams):
            mine = self.chips == number
            drawn[mine] = stream.standard_normal(np.count_nonzero(mine))
        return drawn


def among(rng: Any, chosen: AnyArray) -> Any:
    """Return the stream of some of the cells that `rng` is of."""
    return SideBySide(rng.streams, rng.chips[to_numpy(chosen) > 0]) if isinstance(rng, SideBySide) else rng


class Draw(NamedTuple):
    """Named streams of one effect, or of the memory cells, on the die `seed`: `draw(name)` of the neuron bank or tile,
    `place`, that is being fabricated, and `draw.die(name)`, which all banks and tiles of the die share.
    """

    seed: int
    effect: str
    place: tuple[str | int, ...]

    def __call__(self, name: str) -> np.random.Generator:
        return stream(self.seed, *self.place, self.effect, name)

    def die(self, name: str) -> np.random.Generator:
        """Return the stream called `name` of the whole die."""
        return stream(self.seed, "die", self.effect, name)
