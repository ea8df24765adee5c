"""Named random streams: what a stream is called decides what it draws, never the order of calls.

A stream's key is SHA-256 of the seed and the names, so that adding a draw in one place changes no other place, and
two processes draw the same numbers. Philox (Salmon et al. 2011) takes the key and a counter; `sample_normals` puts
the sample index into the counter, so that a sample meets the same noise in any batch.
"""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from chipsim.errors import ParameterError

Name = str | int


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


def sample_normals(seed: int, *names: Name, samples: Iterable[int], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normals [len(samples), *shape], keyed by sample index: the batch a sample is in plays no part."""
    key, indices = _key(seed, names), [int(sample) for sample in samples]
    draws = np.empty((len(indices), *shape))
    for row, index in zip(draws, indices, strict=True):
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index])).standard_normal(out=row)
    return draws
