"""Engines that run the circuits' text: `Brian` is the reference, `Torch` the fast one. Loaded when first used, since
importing chipsim needs neither Brian2 nor PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chipsim.engines.base import Engine, Shortcut, Stage, StageState, Watch, Window

if TYPE_CHECKING:
    from chipsim.engines.brian import Brian
    from chipsim.engines.torch import Torch

__all__ = ["Brian", "Engine", "Shortcut", "Stage", "StageState", "Torch", "Watch", "Window", "reference"]


def reference() -> Engine:
    """Return the engine that runs unless another is given."""
    brian: type[Engine] = import_module("chipsim.engines.brian").Brian
    return brian()


def __getattr__(name: str) -> Any:
    if name not in ("Brian", "Torch"):
        raise AttributeError(f"module 'chipsim.engines' has no attribute {name!r}")
    return getattr(import_module(f"chipsim.engines.{name.lower()}"), name)
