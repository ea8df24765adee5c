"""Engines that run the circuits' text. `Brian` is the reference."""

from chipsim.engines.base import Engine, Stage, StageState, Window

__all__ = ["Engine", "Stage", "StageState", "Window"]
