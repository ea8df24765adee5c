"""The wires of an array against Kirchhoff's laws written out node by node, closed forms, and badcrossbar's currents."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chipsim.errors import ChipsimError, ParameterError
from chipsim.iv import IV_MILO_2021, CubicIV
from chipsim.wires import Broken, Lattice, Shorts, Wires

RECORDED = np.load(Path(__file__).parent / "data" / "badcrossbar.npz")
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

SIZES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(WIRES, SIZES, SIZES, st.integers(0, 2**32 - 1))
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


def test_a_large_array_leaves_nothing_over() -> None:
    rng = np.random.default_rng(0)
    lattice = Wires(row=1.0, column=2.5, source=3.0, terminal=4.0).lattice(rng.uniform(1e-6, 1e-4, (128, 128)))
    v = rng.normal(size=128)
    found = lattice.solve(v)
    assert found.residual < 1e-9
    np.testing.assert_allclose(v @ lattice.effective(), found.currents, atol=1e-9 * np.abs(found.currents).max())


@settings(max_examples=30, deadline=None)
@given(WIRES, st.integers(0, 2**32 - 1))
def test_the_far_end_is_the_near_end_of_a_mirrored_array(wires: Wires, seed: int) -> None:
    g = np.random.default_rng(seed).uniform(1e-7, 1e-3, (6, 5))
    near, far = (replace(wires, drive=end).lattice(g).effective() for end in ("near", "far"))
    np.testing.assert_allclose(replace(wires, drive="near").lattice(g[:, ::-1]).effective()[:, ::-1], far, rtol=1e-9)
    assert not np.allclose(near, far, rtol=1e-9)
    near, far = (replace(wires, sense=end).lattice(g).effective() for end in ("near", "far"))
    np.testing.assert_allclose(replace(wires, sense="near").lattice(g[::-1]).effective()[::-1], far, rtol=1e-9)
    assert not np.allclose(near, far, rtol=1e-9)


def test_the_near_end_is_where_the_first_column_and_the_last_row_are() -> None:
    g = np.full((1, 2), 1e-3)
    first, last = Wires(row=100.0, column=0.0).lattice(g).effective()[0]
    assert first > 1.05 * last
    first, last = Wires(row=0.0, column=100.0).lattice(g.T).effective()[:, 0]
    assert last > 1.05 * first


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
    turned = replace(
        wires, row=wires.column, column=wires.row, source=wires.terminal, terminal=wires.source, drive=wires.sense,
        sense=wires.drive,
    )  # fmt: skip
    mirrored = turned.lattice(g[::-1, ::-1].T).effective().T[::-1, ::-1]  # rows end where columns begin
    np.testing.assert_allclose(mirrored, found, rtol=1e-9)
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


CASES = sorted({name.partition("/")[0] for name in RECORDED.files if "/" in name})


@pytest.mark.parametrize("case", CASES)
def test_currents_are_those_that_badcrossbar_recorded(case: str) -> None:
    row, column = RECORDED[f"{case}/ohm"]
    cells, expected = RECORDED[f"{case}/cells"], RECORDED[f"{case}/currents"]
    lattice = Wires(row=row, column=column, source=row, terminal=column).lattice(cells)
    np.testing.assert_allclose(lattice.effective(), expected, rtol=1e-11)  # 1.1e-13 is the largest deviation
    v = np.linspace(-0.1, 0.2, len(cells))
    np.testing.assert_allclose(lattice.solve(v).currents, v @ expected, rtol=1e-6, atol=1e-11 * expected.max())
    swapped = Wires(row=column, column=row, source=column, terminal=row).lattice(cells).effective()
    assert np.abs(swapped / expected - 1).max() > 1e-3


def test_what_badcrossbar_recorded_is_all_there() -> None:
    assert len(CASES) == 6
    assert json.loads(str(RECORDED["versions"]))["badcrossbar"] == "1.1.0"


@pytest.mark.parametrize(("rows", "columns"), [(1, 30), (30, 1), (12, 13), (25, 47), (96, 70), (129, 65)])
def test_arrays_of_any_size_are_merged_like_small_ones(rows: int, columns: int) -> None:
    wires = Wires(row=0.3, column=4.0, source=30.0, terminal=7.0, drive="both", sense="far")
    lattice = wires.lattice(np.random.default_rng(rows).uniform(1e-6, 1e-4, (rows, columns)))
    expected = nodal(lattice)
    np.testing.assert_allclose(lattice.effective(), expected, rtol=1e-10)
    assert lattice.solve(np.ones(rows)).currents == pytest.approx(expected.sum(0), rel=1e-10)


def test_cells_and_lines_may_differ_by_ten_orders_of_magnitude() -> None:
    g = 10.0 ** np.random.default_rng(0).uniform(-10, -3, (20, 20))
    ideal = Wires(row=1e-6, column=1e-6, source=1e-6, terminal=1e-6).lattice(g).effective()
    np.testing.assert_allclose(ideal, g, rtol=1e-4, atol=1e-18)


# ------------------------------------------------------------------------------------------- rows that are idle

MASK = np.array([True, False, True, True, False, False, True])
LINES = Wires(row=5.0, column=2.0, source=50.0, terminal=20.0)


def some_cells(rows: int = 7, columns: int = 6) -> Array:
    return np.random.default_rng(3).uniform(1e-5, 2e-4, (rows, columns))


def test_idle_rows_that_float_have_no_source() -> None:
    lattice, v = LINES.lattice(some_cells()), np.linspace(0.1, 0.3, 7)
    sources = lattice.rows.copy()
    sources[~MASK, 0] = sources[~MASK, -1] = 0.0
    expected = np.where(MASK, v, 0.0) @ nodal(replace(lattice, rows=sources))
    found = lattice.solve(v, driven=MASK)
    np.testing.assert_allclose(found.currents, expected, rtol=1e-9)
    assert found.residual < 1e-9
    assert (found.word[~MASK] > 0).all()  # they are lifted through their cells
    matrix = lattice.idle(MASK, "floating").effective()
    np.testing.assert_allclose(np.where(MASK, v, 0.0) @ matrix, expected, rtol=1e-9)
    grounded = lattice.solve(v, driven=MASK, idle="grounded").currents
    np.testing.assert_allclose(grounded, np.where(MASK, v, 0.0) @ nodal(lattice), rtol=1e-9)
    assert np.abs(found.currents / grounded - 1).max() > 1e-3


def test_idle_rows_that_are_gated_carry_nothing() -> None:
    lattice, v = LINES.lattice(some_cells()), np.linspace(0.1, 0.3, 7)
    expected = v @ nodal(replace(lattice, cells=np.where(MASK[:, None], lattice.cells, 0.0)))
    found = lattice.solve(v, driven=MASK, idle="gated")
    np.testing.assert_allclose(found.currents, expected, rtol=1e-9)
    assert np.abs(found.currents / lattice.solve(v, driven=MASK).currents - 1).max() > 1e-3


def test_a_cell_that_is_shorted_joins_its_lines() -> None:
    cells = some_cells()
    whole, v = LINES.lattice(cells), np.full(7, 0.2)
    for ohm in (0.0, 100.0):
        lattice = LINES.lattice(cells, shorts=Shorts(cells=((2, 4),), resistance=ohm))
        found = lattice.solve(v)
        np.testing.assert_allclose(lattice.effective(), nodal(lattice), rtol=1e-7)
        np.testing.assert_allclose(found.currents, v @ lattice.effective(), rtol=1e-7)
        assert found.currents[4] > 2 * whole.solve(v).currents[4]
    assert abs(LINES.lattice(cells, shorts=Shorts(cells=((2, 4),))).solve(v).word[2, 4]) < 0.2
    met = LINES.lattice(cells, shorts=Shorts(cells=((2, 4),))).solve(v)
    assert met.word[2, 4] == pytest.approx(met.bit[2, 4], rel=1e-6)


def test_a_short_passes_the_transistor_of_a_gated_cell() -> None:
    cells, v, short = some_cells(), np.where(MASK, 0.2, 0.0), Shorts(cells=((4, 4), (1, 1)), resistance=100.0)
    lattice = LINES.lattice(cells, shorts=short)
    off = np.where(MASK[:, None], cells, 0.0)
    expected = v @ nodal(LINES.lattice(off, shorts=short))
    np.testing.assert_allclose(lattice.solve(v, driven=MASK, idle="gated").currents, expected, rtol=1e-9)
    assert not MASK[[row for row, _ in short.cells]].any()
    np.testing.assert_allclose(
        Wires(terminal=100.0).lattice([[1e-5], [1e-5]], shorts=Shorts(cells=((1, 0),), resistance=100.0))
        .solve([0.2, 0.0], np.array([True, False]), "gated").currents,
        0.2 * 1e-5 / 2,  # half flows back through the short, to the row at 0 V
        rtol=1e-2,
    )  # fmt: skip


# --------------------------------------------------------------------------------------- cells that are not ohmic


def test_the_curve_of_the_1t1r_cell() -> None:
    g = np.array([62.5e-6, 93.9e-6, 225e-6])
    # g v + a2 v^2 + a3 v^3 by hand, log10(g) = -4.2041, -4.0273, -3.6478
    expected = [26.455e-6, 44.604e-6, 112.06e-6]
    np.testing.assert_allclose(IV_MILO_2021.current(g, np.full(3, 0.5)), expected, rtol=2e-4)
    bent = 0.5 * g + 1.1 * (IV_MILO_2021.current(g, np.full(3, 0.5)) - 0.5 * g)
    with pytest.raises(AssertionError):  # a tenth of the deviation from Ohm's law shows
        np.testing.assert_allclose(bent, expected, rtol=2e-4)
    np.testing.assert_allclose(IV_MILO_2021.current(g[2:], np.array([0.5])), 0.5 * g[2:], rtol=5e-3)  # linear there
    assert IV_MILO_2021.current(np.zeros(1), np.array([0.5])) == 0.0
    v = np.linspace(-0.5, 0.5, 41)
    for level in np.linspace(50e-6, 225e-6, 20):
        at, h = np.full(41, level), 1e-6
        slope = (IV_MILO_2021.current(at, v + h) - IV_MILO_2021.current(at, v - h)) / (2 * h)
        np.testing.assert_allclose(IV_MILO_2021.slope(at, v), slope, rtol=1e-7)
        assert (slope > 0).all()


def test_cells_with_a_curve_against_a_general_solver_of_all_nodes() -> None:
    rows, columns = 4, 3
    rng = np.random.default_rng(1)
    wires = Wires(row=300.0, column=200.0, source=500.0, terminal=400.0, drive="both")
    lattice = wires.lattice(rng.uniform(60e-6, 110e-6, (rows, columns)), iv=IV_MILO_2021)
    v = rng.uniform(-0.45, 0.45, rows)

    def sums(nodes: Array) -> Array:  # every node's currents, one element after another, in microamperes
        word, bit = nodes.reshape(2, rows, columns)
        total = np.zeros((2, rows, columns))
        for i in range(rows):
            for j in range(columns):
                left = v[i] if j == 0 else word[i, j - 1]
                right = v[i] if j == columns - 1 else word[i, j + 1]
                across = lattice.iv.current(lattice.cells[i, j], word[i, j] - bit[i, j])  # type: ignore[union-attr]
                above = 0.0 if i == 0 else bit[i - 1, j]
                below = 0.0 if i == rows - 1 else bit[i + 1, j]
                total[0, i, j] = lattice.rows[i, j] * (left - word[i, j]) - across
                total[0, i, j] += lattice.rows[i, j + 1] * (right - word[i, j])
                total[1, i, j] = lattice.columns[i, j] * (above - bit[i, j]) + across
                total[1, i, j] += lattice.columns[i + 1, j] * (below - bit[i, j])
        return 1e6 * total.ravel()

    expected = scipy.optimize.fsolve(sums, np.zeros(2 * rows * columns), xtol=1e-13).reshape(2, rows, columns)
    found = lattice.solve(v)
    np.testing.assert_allclose(found.word, expected[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.bit, expected[1], rtol=1e-8, atol=1e-10)
    assert found.residual < 1e-9
    ohmic = replace(lattice, iv=None).solve(v)
    assert np.abs(found.currents / ohmic.currents - 1).max() > 1e-2


@settings(max_examples=20, deadline=None)
@given(WIRES.map(lambda wires: replace(wires, access=0.0)), SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_newton_leaves_nothing_over_in_any_array(wires: Wires, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.uniform(50e-6, 225e-6, (rows, columns))
    v = rng.uniform(-0.5, 0.5, rows) / 2  # word lines of opposite sign add at cells between them
    assert wires.lattice(cells, iv=IV_MILO_2021).solve(v).residual < 1e-9


def test_a_straight_curve_is_ohmic() -> None:
    lattice, v = LINES.lattice(some_cells()), np.linspace(-0.2, 0.2, 7)
    straight = replace(lattice, iv=CubicIV())
    np.testing.assert_allclose(straight.solve(v).currents, lattice.solve(v).currents, rtol=1e-12)


def test_curves_are_refused_where_they_are_not_known() -> None:
    lattice = LINES.lattice(np.full((3, 3), 1e-4), iv=IV_MILO_2021)
    with pytest.raises(ParameterError, match=r"sees 0\.5\d* V, but this CubicIV is known up to 0\.5 V"):
        lattice.solve(np.full(3, 0.6))
    with pytest.raises(ParameterError, match="no product with a matrix"):
        lattice.effective()
    with pytest.raises(ParameterError, match=r"leave the range 5e-05 to 0\.000225 S"):
        LINES.lattice([[1e-6]], iv=IV_MILO_2021)
    with pytest.raises(ParameterError, match=r"no Wires\.access"):
        Wires(access=10.0).lattice([[1e-4]], iv=IV_MILO_2021)
    never = CubicIV(third=(-1e3,), v_max=100.0)  # turns back below a millivolt, and drives current against its voltage
    with pytest.raises(ChipsimError, match="after 30 steps"):
        Wires(row=1e5, column=1e5, source=1e5).lattice(np.full((2, 2), 1e-4), iv=never).solve([1.0, 0.7])


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
    with pytest.raises(ParameterError, match='"near" or "far" or "both"'):
        Wires(drive="left")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="outside"):
        Wires(row=-1.0)
    with pytest.raises(ParameterError, match="no segment"):
        Wires().lattice([[1.0]], Broken(rows=((0, 5),)))
    with pytest.raises(ParameterError, match="no cell"):
        Wires().lattice([[1.0]], shorts=Shorts(cells=((1, 0),)))
    with pytest.raises(ParameterError, match="a mask of 1 truth values"):
        Wires().lattice([[1.0]]).solve([1.0], driven=[1])
    with pytest.raises(ParameterError, match="grounded, floating or gated"):
        Wires().lattice([[1.0]]).solve([1.0], driven=[False], idle="asleep")  # type: ignore[arg-type]
