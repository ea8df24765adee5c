"""Floors: the least that a machine needs for the network's products, and for moving data through its memory."""

import itertools
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Product = tuple[Tensor, Tensor, Tensor]
"""A product: left, right and the preallocated result."""


def matrix_products(sizes: Sequence[int], window: int, batch: int, dtype: torch.dtype) -> Callable[[], None]:
    """Return the bare products of a network, no neurons: those of the first layer once, of the others for each step.

    The left sides are images in 0..1, then spikes of 0 or 1. A layer's rows are independent, so its product may run in
    chunks of rows, and its weights may lie by rows or by columns: the fastest on this machine with its present number
    of threads is taken here.
    """
    generator = torch.Generator().manual_seed(0)
    products: list[Product] = []
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        rows = batch if layer == 0 else window * batch
        left = torch.rand(rows, inputs, generator=generator, dtype=dtype)
        left = left if layer == 0 else (left < 0.2).to(dtype)
        right = torch.randn(inputs, outputs, generator=generator, dtype=dtype)
        products += _fastest(left, right, left.new_empty(rows, outputs))

    def multiply() -> None:
        for left, right, out in products:
            torch.mm(left, right, out=out)

    return multiply


def copy_bandwidth(elements: int, dtype: torch.dtype) -> Callable[[], None]:
    """Return a copy of one preallocated tensor onto another, which moves `copied_bytes(elements, dtype)`.

    Take at least ten times the last cache; below, it is the cache that is measured.
    """
    source, target = torch.ones(elements, dtype=dtype), torch.zeros(elements, dtype=dtype)

    def copy() -> None:
        target.copy_(source)

    return copy


def copied_bytes(elements: int, dtype: torch.dtype) -> int:
    """Bytes that one copy reads and writes; what a cache fetches before it writes is not counted."""
    return 2 * elements * dtype.itemsize


def _fastest(left: Tensor, right: Tensor, out: Tensor, tries: int = 15) -> list[Product]:
    """One product in the form that took least: by the best of some tries each, in turn, so that disturbance is fair."""
    rows = len(left)
    forms = [
        [(part, weights, to) for part, to in zip(left.split(size), out.split(size), strict=True)]
        for weights in (right, right.t().contiguous().t())
        for size in sorted({rows, *(size for size in (64, 128, 256, 512, 1024) if size < rows)})
    ]
    best = [float("inf")] * len(forms)
    for _, index in itertools.product(range(tries), range(len(forms))):
        start = time.perf_counter()
        for chunk, weights, to in forms[index]:
            torch.mm(chunk, weights, out=to)
        best[index] = min(best[index], time.perf_counter() - start)
    return forms[best.index(min(best))]
