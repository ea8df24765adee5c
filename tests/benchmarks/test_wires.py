"""Arrays with wires beside badcrossbar, all inputs, the same currents: ratios of one run on one thread, where SuperLU
has no more to use. Run alone: make bench.
"""

import contextlib
import io
import logging
import warnings

import numpy as np
import peers
import pytest
import scipy.linalg  # noqa: F401 - its library of threads is one of those that are limited
from measure import Figure, side_by_side, table, write
from threadpoolctl import threadpool_limits

from chipsim.iv import IV_MILO_2021
from chipsim.wires import Wires

ROW, COLUMN = 1.0, 2.5
FIGURES: list[Figure] = []


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def theirs(cells):
    """Return a function that gives the currents [rows, columns] of badcrossbar for a volt at each word line alone."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # says that it cannot plot without cairo
        import badcrossbar
    logging.getLogger("badcrossbar").setLevel(logging.WARNING)
    volts, ohms = np.eye(len(cells)), 1 / cells
    options = {"node_voltages": False, "all_currents": False}  # what is asked for, and no more
    return lambda: badcrossbar.compute(volts, ohms, r_i_word_line=ROW, r_i_bit_line=COLUMN, **options).currents.output


@pytest.mark.parametrize(("size", "goal", "rounds"), [(128, 8.0, 7), (256, 5.0, 2)])
def test_arrays_beside_badcrossbar(size, goal, rounds):
    cells = np.random.default_rng(0).uniform(1e-6, 100e-6, (size, size))
    wires = Wires(row=ROW, column=COLUMN, source=ROW, terminal=COLUMN)
    functions = {"chipsim": lambda: wires.lattice(cells).effective()}
    version = peers.peer_version("badcrossbar")
    if version is not None:
        functions["badcrossbar"] = theirs(cells)
        np.testing.assert_allclose(functions["badcrossbar"](), functions["chipsim"](), rtol=1e-9)
    times = side_by_side(functions, rounds=rounds, warmup=1)
    FIGURES.append(
        Figure(
            name=f"wires of a {size} x {size} array, all inputs, speed over badcrossbar",
            value=times["badcrossbar"] / times["chipsim"] if version is not None else None,
            goal=goal,
            peer="badcrossbar",
            peer_version=version,
            note="" if version is not None else "not installed: pip install --no-deps badcrossbar pathvalidate",
            details={f"{name} [ms]": 1e3 * seconds for name, seconds in times.items()},
        )
    )


def test_cells_with_a_curve_and_voltages_of_a_single_input():
    """No peer: what one input costs, ohmic and with the 1T1R cell's curve."""
    rng = np.random.default_rng(0)
    cells, v = rng.uniform(62.5e-6, 110e-6, (128, 128)), rng.uniform(0.0, 0.5, 128)
    wires = Wires(row=ROW, column=COLUMN, source=ROW, terminal=COLUMN)
    times = side_by_side(
        {
            "ohmic": lambda: wires.lattice(cells).solve(v),
            "1T1R curve": lambda: wires.lattice(cells, iv=IV_MILO_2021).solve(v),
        },
        rounds=5,
        warmup=1,
    )
    FIGURES.append(
        Figure(
            name="voltages of a 128 x 128 array, solutions a second",
            value=1 / times["ohmic"],
            details={f"{name} [ms]": 1e3 * seconds for name, seconds in times.items()},
        )
    )


def test_report():
    """Print the table and keep the figures."""
    write(FIGURES)
    print(f"\n{table(FIGURES)}\n")
