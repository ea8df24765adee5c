r"""Star-mesh transformation: what an array's bit lines read per volt at its word lines, by merging blocks of cells.

Seen from outside, a block of cells is a mesh: a conductance between each pair of its ports, which are the places where
its lines leave it. Two neighbours that meet at ports p become one block when these are eliminated,

    K_ij := K_ij + sum_pq K_ip (P^-1)_pq K_qj        P = diag(sum_j K_pj) - K_pp        i, j the ports that remain

                     north                            ┌────┐ ┌────┐          ┌─────────┐
                 ┌─────┴─────┐                      ──┤    ├─┤    ├──      ──┤         ├──
            west ┤   block   ├ east                 ──┤    ├─┤    ├──  ->  ──┤         ├──
                 └─────┬─────┘                        └────┘ └────┘          └─────────┘
                     south

so an array of n x n cells, merged in pairs, costs about 80 n^3 operations: nested dissection, with dense blocks. All
terms are positive and no diagonal is kept, so nothing cancels: currents are exact to a few bits of each, however
unequal cells and wires are.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAF = (4, 9)
"""How many cells the side of a block may have that is made line by line; larger ones are merged in pairs."""
ROUNDING = 1e-15
"""Conductance to ground, relative to all others of a node, so that what is cut off has a voltage."""


def transfer(cells: Array, rows: Array, columns: Array) -> Array:
    """Return the current [rows, columns] [A] that each terminal reads for a volt at each source, the others at ground.

    cells [rows, columns]; rows [rows, columns + 1] and columns [rows + 1, columns]: the segments of word and bit lines,
    the first and last to sources and terminals; all in siemens, 0 where open.
    """
    (height, vertical), (width, horizontal) = (_levels(size) for size in cells.shape)
    padded = _padded(cells, rows, columns, (height << vertical, width << horizontal))
    blocks, height, width = _line_by_line(_single(*padded), height, width)
    for level in range(max(vertical, horizontal)):
        if level < horizontal:
            blocks, width = _beside(blocks[:, ::2], blocks[:, 1::2], height, width, width), 2 * width
        if level < vertical:
            blocks, height = _above(blocks[::2], blocks[1::2], width, height, height), 2 * height
    mesh: Array = blocks[0, 0]
    sources = mesh[:, :height] + mesh[:, height : 2 * height]
    currents = sources[2 * height : 2 * height + width] + sources[2 * height + width :]
    return currents.T[: cells.shape[0], : cells.shape[1]]


def _levels(size: int) -> tuple[int, int]:
    """Side of a leaf and number of doublings, that together give `size`, or as little more as can be."""
    fitting = [n for n in range(size.bit_length()) if LEAF[0] <= -(-size >> n) <= LEAF[1]] or [0]
    doublings = min(fitting, key=lambda n: (-(-size >> n) << n, -n))
    return -(-size >> doublings), doublings


def _padded(cells: Array, rows: Array, columns: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """The same network with as many lines as `shape` says: the last segments in pieces, with no cells between them."""
    below, right = shape[0] - cells.shape[0], shape[1] - cells.shape[1]
    last, end = (below + 1) * columns[-1:], (right + 1) * rows[:, -1:]
    columns = np.concatenate([columns[:-1], np.repeat(last, below + 1, axis=0)])
    rows = np.concatenate([rows[:, :-1], np.repeat(end, right + 1, axis=1)], axis=1)
    return (
        np.pad(cells, ((0, below), (0, right))),
        np.pad(rows, ((0, below), (0, 0))),
        np.pad(columns, ((0, 0), (0, right))),
    )


def _single(cells: Array, rows: Array, columns: Array) -> Array:
    """Meshes [rows, columns, 4, 4] of single cells between west, east, north and south. An inner segment is cut in
    halves, of twice its conductance, where its two cells meet.
    """
    along, down = 2 * rows, 2 * columns
    along[:, [0, -1]], down[[0, -1]] = rows[:, [0, -1]], columns[[0, -1]]
    word = np.stack([along[:, :-1], along[:, 1:]], axis=-1)
    word_sum = word.sum(-1) + cells
    share = word / np.where(word_sum > 0, word_sum, 1.0)[..., None]
    meshes = np.zeros((*cells.shape, 4, 4))
    meshes[..., 0, 1] = meshes[..., 1, 0] = share[..., 0] * word[..., 1]
    bit = np.stack([down[:-1], down[1:]], axis=-1)
    arms = np.concatenate([share * cells[..., None], bit], axis=-1)
    arms_sum = arms.sum(-1)
    meshes += arms[..., :, None] * (arms / np.where(arms_sum > 0, arms_sum, 1.0)[..., None])[..., None, :]
    meshes[..., range(4), range(4)] = 0.0
    return meshes


def _line_by_line(cells: Array, height: int, width: int) -> tuple[Array, int, int]:
    """Meshes of blocks of height x width cells, from those of single cells."""
    lines = cells[:, ::width]
    for k in range(1, width):
        lines = _beside(lines, cells[:, k::width], 1, k, 1)
    blocks = lines[::height]
    for k in range(1, height):
        blocks = _above(blocks, lines[k::height], width, k, 1)
    return blocks, height, width


def _beside(left: Array, right: Array, height: int, width: int, more: int) -> Array:
    """Merge blocks of height x width cells with blocks of height x more on their east."""
    west, east, ends = np.arange(height), np.arange(height, 2 * height), 2 * height
    kept = np.concatenate([west, np.arange(ends, ends + 2 * width)])
    other = np.arange(height, ends + 2 * more)
    size, total = len(kept), len(kept) + len(other)
    order = np.concatenate([
        west, size + west,
        np.arange(height, height + width), size + np.arange(height, height + more),
        np.arange(height + width, size), np.arange(size + height + more, total),
    ])  # fmt: skip
    return _merge(left, right, (kept, east), (other, west), order)


def _above(top: Array, bottom: Array, width: int, height: int, more: int) -> Array:
    """Merge blocks of height x width cells with blocks of more x width on their south."""
    north, sides = np.arange(width), np.arange(2 * height)
    kept = np.concatenate([sides, 2 * height + north])
    south = 2 * height + width + north
    other = np.concatenate([np.arange(2 * more), 2 * more + width + north])
    size = len(kept)
    order = np.concatenate([
        np.arange(height), size + np.arange(more),
        np.arange(height, 2 * height), size + np.arange(more, 2 * more),
        2 * height + north, size + 2 * more + north,
    ])  # fmt: skip
    return _merge(top, bottom, (kept, south), (other, 2 * more + north), order)


Ports = tuple[NDArray[np.intp], NDArray[np.intp]]


def _merge(one: Array, other: Array, ports: Ports, others: Ports, order: NDArray[np.intp]) -> Array:
    """One mesh for two. ports, others: of each those that remain, and those that meet; order: of what remains."""
    (kept, shared), (kept_too, shared_too) = ports, others
    arms = np.concatenate(
        [_part(one, shared, kept), _part(other, shared_too, kept_too)], axis=-1
    )  # [..., shared, remaining]
    between = _part(one, shared, shared) + _part(other, shared_too, shared_too)
    sums = arms.sum(-1) + between.sum(-1)
    eliminated = -between
    places = np.arange(len(shared))
    eliminated[..., places, places] = np.where(sums > 0, sums * (1 + ROUNDING), 1.0)
    arms = arms[..., order]
    if len(shared) == 1:
        merged = arms.swapaxes(-1, -2) * (arms / eliminated)
    else:
        merged = arms.swapaxes(-1, -2) @ np.linalg.solve(eliminated, arms)
    place = np.argsort(order)
    for mesh, stay, to in ((one, kept, place[: len(kept)]), (other, kept_too, place[len(kept) :])):
        merged[..., to[:, None], to] += _part(mesh, stay, stay)
    every = np.arange(len(order))
    merged[..., every, every] = 0.0
    return merged


def _part(mesh: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    return mesh[..., rows[:, None], columns]
