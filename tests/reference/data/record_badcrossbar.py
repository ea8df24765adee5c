"""Records badcrossbar.npz: currents of arrays as badcrossbar solves them, for a volt at each word line.

    python -m venv VENV && VENV/bin/pip install numpy scipy pathvalidate
    VENV/bin/pip install --no-deps badcrossbar
    VENV/bin/python tests/reference/data/record_badcrossbar.py

Its plots need cairo, its solutions do not. Of every case: cells [rows, columns] in siemens, the resistances in ohm of a
segment of a word and of a bit line (one more of each leads to the source and to the virtual ground), currents
[rows, columns] in ampere, row i for a volt at word line i alone. The cells are drawn evenly between 1 / high and
1 / low; the pair of the last case has cells that conduct as well as the lines.
"""

import importlib.metadata
import json
import logging
from pathlib import Path

import numpy as np

CASES = {
    "2x2": (2, 2, 1.0, 5.0, (1e3, 1e5)),
    "8x8": (8, 8, 3.0, 0.5, (1e4, 1e6)),
    "16x12": (16, 12, 0.2, 7.0, (1e3, 1e4)),
    "32x32": (32, 32, 2.0, 1.0, (5e3, 1e5)),
    "32x32, thin lines": (32, 32, 40.0, 15.0, (1e3, 1e4)),
    "8x8, cells like lines": (8, 8, 10.0, 20.0, (10.0, 1e3)),
}


def main() -> None:
    """Solve every case and write the file."""
    import badcrossbar

    logging.disable(logging.INFO)
    recorded: dict[str, np.ndarray] = {}
    for seed, (name, (rows, columns, row, column, (low, high))) in enumerate(CASES.items()):
        g = np.random.default_rng(seed).uniform(1 / high, 1 / low, (rows, columns))
        found = badcrossbar.compute(np.eye(rows), 1 / g, r_i_word_line=row, r_i_bit_line=column)
        recorded[f"{name}/cells"], recorded[f"{name}/currents"] = g, found.currents.output
        recorded[f"{name}/ohm"] = np.array([row, column])
    versions = {package: importlib.metadata.version(package) for package in ("badcrossbar", "numpy", "scipy")}
    np.savez_compressed(Path(__file__).with_name("badcrossbar.npz"), **recorded, versions=json.dumps(versions))


if __name__ == "__main__":
    main()
