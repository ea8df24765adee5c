"""Arrays of either kind, numpy's or PyTorch's: what runs on both is written once, against the array API standard."""

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

AnyArray: TypeAlias = Any
"""A numpy array, or a tensor on any device: whatever the engine of a deployment computes with."""


def namespace(*arrays: AnyArray) -> Any:
    """Return the functions of the array API standard for these arrays."""
    return array_namespace(*arrays)


def to_numpy(array: AnyArray) -> NDArray[np.float64]:
    """Return an array as numpy's, in float64."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array, dtype=np.float64)


def like(values: NDArray[np.floating], reference: AnyArray) -> AnyArray:
    """Return numpy values as an array of the kind, precision and device of `reference`."""
    if isinstance(reference, np.ndarray):
        return values.astype(reference.dtype, copy=False)
    return namespace(reference).asarray(values, dtype=reference.dtype, device=reference.device)
