"""Engines that run the circuits' text. `Brian` is the reference."""

from chipsim.engines.base import Engine, Stage, StageState, Window

__all__ = ["Engine", "Stage", "StageState", "Window", "reference"]


def reference() -> Engine:
    """Return the engine that runs unless another is given; imported here, so that importing chipsim needs no Brian2."""
    from chipsim.engines.brian import Brian

    return Brian()
