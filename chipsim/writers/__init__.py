"""Writers: how a wanted change becomes writes on cells. To add one: a file here and a line in `ALL`."""

from chipsim.writers.base import Writer
from chipsim.writers.direct import Direct

ALL: tuple[type[Writer], ...] = (Direct,)

__all__ = ["ALL", "Direct", "Writer"]
