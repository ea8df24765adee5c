"""The one place that imports matplotlib: the look of all figures, and a picture of one of them as bytes."""

import io
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
    "legend.frameon": False,
}


def render(
    draw: Callable[[Any], None],
    kind: str,
    panels: tuple[int, int] = (1, 1),
    size: tuple[float, float] = (5.6, 3.8),
) -> bytes:
    """Let `draw` draw on new axes, or on an array [rows, columns] of them if there are several `panels`; return the
    picture, of `size` in inches, as a file of type `kind` (png, pdf, svg).
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ChipsimError("figures need matplotlib, which is not installed; pip install 'chipsim[plots]'") from error
    style: Any = {**mpl.rcParamsDefault, **STYLE}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, dpi=200, layout="constrained")
        if kind not in FigureCanvasAgg(figure).get_supported_filetypes():
            raise ParameterError(f"cannot draw a figure of type {kind!r}; take png, pdf or svg")
        draw(figure.add_subplot() if panels == (1, 1) else figure.subplots(*panels, squeeze=False))
        content = io.BytesIO()
        figure.savefig(content, format=kind)
    return content.getvalue()
