"""The wires of an array against Kirchhoff's laws written out node by node, and closed forms."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.wires import Broken, Lattice, Wires

Array = NDArray[np.float64]


def nodal(lattice: Lattice) -> Array:
    """Currents of the bit lines for a volt at each word line [rows, columns], from one sparse matrix of all nodes."""
    rows, columns = lattice.cells.shape
    word = np.arange(rows * columns).reshape(rows, columns)
    bit = word + rows * columns
    elements = [
        (word, bit, lattice.cells),
        (word[:, :-1], word[:, 1:], lattice.rows[:, 1:-1]),
        (bit[:-1], bit[1:], lattice.columns[1:-1]),
    ]
    one = np.concatenate([a.ravel() for a, _, _ in elements])
    other = np.concatenate([b.ravel() for _, b, _ in elements])
    g = np.concatenate([values.ravel() for _, _, values in elements])
    to_ground = np.zeros(2 * rows * columns)
    for nodes, values in (
        (word[:, 0], lattice.rows[:, 0]), (word[:, -1], lattice.rows[:, -1]),
        (bit[0], lattice.columns[0]), (bit[-1], lattice.columns[-1]),
    ):  # fmt: skip
        np.add.at(to_ground, nodes, values)
    size = len(to_ground)
    matrix = scipy.sparse.coo_matrix(
        (
            np.concatenate([g, g, -g, -g, to_ground]),
            (
                np.concatenate([one, other, one, other, np.arange(size)]),
                np.concatenate([one, other, other, one, np.arange(size)]),
            ),
        ),
        shape=(size, size),
    )
    driven = np.zeros((size, rows))
    np.add.at(driven, (word[:, 0], np.arange(rows)), lattice.rows[:, 0])
    np.add.at(driven, (word[:, -1], np.arange(rows)), lattice.rows[:, -1])
    v = scipy.sparse.linalg.splu(matrix.tocsc()).solve(driven)
    return np.asarray((lattice.columns[0][:, None] * v[bit[0]] + lattice.columns[-1][:, None] * v[bit[-1]]).T)


ENDS = st.sampled_from(["near", "far", "both"])
OHMS = st.floats(0.01, 200.0)
WIRES = st.builds(
    Wires, row=OHMS, column=OHMS, source=OHMS, terminal=OHMS, access=st.floats(0, 1e3), drive=ENDS, sense=ENDS
)


@settings(max_examples=60, deadline=None)
@given(WIRES, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_matrix_and_the_voltages_are_those_of_all_nodes_together(
    wires: Wires, rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lattice = wires.lattice(rng.uniform(1e-7, 1e-3, (rows, columns)))
    expected = nodal(lattice)
    np.testing.assert_allclose(lattice.effective(), expected, rtol=1e-8)
    v = rng.normal(size=rows)
    found = lattice.solve(v)
    np.testing.assert_allclose(found.currents, v @ expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())
    assert found.residual < 1e-9


def test_a_single_cell_is_a_row_of_resistors() -> None:
    wires = Wires(source=10.0, terminal=20.0, access=300.0)
    assert wires.lattice([[1e-3]]).effective()[0, 0] == pytest.approx(1 / (10 + 20 + 300 + 1000), rel=1e-12)
    both = Wires(source=10.0, terminal=20.0, access=300.0, drive="both", sense="both")
    assert both.lattice([[1e-3]]).effective()[0, 0] == pytest.approx(1 / (5 + 10 + 300 + 1000), rel=1e-12)


def test_two_cells_of_a_word_line_are_a_ladder() -> None:
    # source - r_s - node 1 - r - node 2; each node to ground through its cell and a terminal without resistance
    g1, g2, r, r_s = 1e-3, 2e-3, 50.0, 30.0
    behind = 1 / (r + 1 / g2)
    into = 1 / (r_s + 1 / (g1 + behind))
    first = into * (1 / (g1 + behind))  # voltage of node 1 for a volt
    wires = Wires(row=r, column=1.0, source=r_s, terminal=0.0)
    found = wires.lattice([[g1, g2]]).effective()
    np.testing.assert_allclose(found, [[first * g1, first * behind]], rtol=1e-8)


def test_without_resistance_the_matrix_is_that_of_the_cells() -> None:
    g = np.random.default_rng(0).uniform(0, 1e-4, (40, 30))
    found = Wires(row=0.0, column=0.0).lattice(g).effective()
    np.testing.assert_allclose(found, g, rtol=1e-5, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(WIRES, st.integers(0, 2**32 - 1))
def test_an_array_is_reciprocal_passive_and_monotone(wires: Wires, seed: int) -> None:
    g = np.random.default_rng(seed).uniform(1e-7, 1e-3, (6, 5))
    found = wires.lattice(g).effective()
    assert (found > 0).all()
    assert (found.sum(1) <= g.sum(1)).all()  # a word line draws no more than its cells would without wires
    worse = Wires(**{**wires.__dict__, "row": 2 * wires.row, "column": 2 * wires.column}).lattice(g).effective()
    assert worse.sum() < found.sum()


def test_what_lies_behind_a_broken_line_gets_nothing() -> None:
    g = np.full((5, 6), 1e-4)
    wires = Wires(row=2.0, column=3.0, source=1.0, terminal=1.0)
    whole = wires.lattice(g).effective()
    cut = wires.lattice(g, Broken(rows=((2, 3),))).effective()
    assert (cut[2, :3] > whole[2, :3]).all()  # less drop before the break
    # the cells behind it join their bit lines with one another, which are nearly at ground
    assert np.abs(cut[2, 3:]).max() < 1e-5 * whole.max()
    silent = wires.lattice(g, Broken(columns=((4, 5),))).effective()  # the last segment of bit line 4
    assert np.abs(silent[:, 4]).max() < 1e-12
    gone = wires.lattice(g, Broken(rows=((0, 0),), columns=((0, 5), (0, 0))))
    assert gone.solve(np.ones(5)).residual < 1e-9
    nothing = wires.lattice(np.zeros((3, 3)), Broken(rows=((0, 0), (0, 2)))).effective()
    assert np.abs(nothing).max() < 1e-12


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([1.0, 2.0], "rows, columns"),
        ([[1.0, -1.0]], "negative"),
        ([[np.nan]], "NaN"),
        (np.zeros((0, 3)), "shape"),
    ],
)
def test_what_is_no_array_of_conductances_is_refused(cells: object, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Wires().lattice(cells)  # type: ignore[arg-type]


def test_bad_inputs_and_ends_are_refused() -> None:
    with pytest.raises(ParameterError, match="2 finite voltages"):
        Wires().lattice([[1.0], [1.0]]).solve([1.0])
    with pytest.raises(ParameterError, match="near, far or both"):
        Wires(drive="left")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="outside"):
        Wires(row=-1.0)
    with pytest.raises(ParameterError, match="no segment"):
        Wires().lattice([[1.0]], Broken(rows=((0, 5),)))
