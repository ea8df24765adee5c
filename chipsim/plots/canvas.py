"""The one place that imports matplotlib: the look of all figures, and a picture of one of them as bytes."""

import io
import math
from collections.abc import Callable
from typing import Any

from chipsim.errors import ChipsimError, ParameterError

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
}
PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}


def prefixed(unit: str, largest: float) -> tuple[float, str]:
    """Return by what values are multiplied, and the unit with its prefix, for `largest` to read 1 to 1,000.

    >>> prefixed("S", 25e-6)
    (1000000.0, 'µS')
    """
    if unit == "1" or not 0 < largest < math.inf:
        return 1.0, unit
    exponent = min(max(3 * math.floor(math.log10(largest) / 3 + 1e-9), min(PREFIXES)), max(PREFIXES))
    return 10.0**-exponent, f"{PREFIXES[exponent]}{unit}"


def check(kind: str) -> None:
    """Raise ChipsimError where no picture of type `kind` (png, pdf, svg) can be made."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ChipsimError("figures need matplotlib, which is not installed; pip install 'chipsim[plots]'") from error
    if kind not in FigureCanvasAgg.filetypes:
        raise ParameterError(f"cannot draw a figure of type {kind!r}; take png, pdf or svg")


def render(
    draw: Callable[[Any], None],
    kind: str,
    panels: tuple[int, int] = (1, 1),
    size: tuple[float, float] = (5.6, 3.8),
) -> bytes:
    """Let `draw` draw on new axes, or on an array [rows, columns] of them if there are several `panels`; return the
    picture, of `size` in inches, as a file of type `kind` (png, pdf, svg).
    """
    check(kind)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {**mpl.rcParamsDefault, **STYLE}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, dpi=200, layout="constrained")
        draw(figure.add_subplot() if panels == (1, 1) else figure.subplots(*panels, squeeze=False))
        content = io.BytesIO()
        figure.savefig(content, format=kind)
    return content.getvalue()
