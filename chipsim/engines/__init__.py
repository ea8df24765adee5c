"""Engines that run the circuits' text. `Brian` is the reference, `Torch` the fast one."""

from typing import TYPE_CHECKING

from chipsim.engines.base import Engine, Shortcut, Stage, StageState, Watch, Window

if TYPE_CHECKING:
    from chipsim.engines.torch import Torch

__all__ = ["Engine", "Shortcut", "Stage", "StageState", "Torch", "Watch", "Window", "reference"]


def reference() -> Engine:
    """Return the engine that runs unless another is given; imported here, so that importing chipsim needs no Brian2."""
    from chipsim.engines.brian import Brian

    return Brian()


def __getattr__(name: str) -> type[Engine]:
    if name != "Torch":
        raise AttributeError(f"module 'chipsim.engines' has no attribute {name!r}")
    from chipsim.engines.torch import Torch

    return Torch
