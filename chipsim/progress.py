"""What a run says while it runs, on stderr: a bar on a terminal, else a line now and then."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Shows how far a run is; says nothing at all when not `shown`."""

    def __init__(self, title: str, *, shown: bool) -> None:
        self.title, self.shown = title, shown
        self.console = Console(stderr=True, quiet=not shown, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._done, self._total, self._last_line = 0, 0, -np.inf

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(f"{self.title}: {message}", markup=False)

    @contextlib.contextmanager
    def bar(self, total: int, done: int) -> Iterator[None]:
        """Show a bar of `total` trials, of which `done` are stored already, for the length of the block."""
        self._done, self._total = done, total
        if not self.console.is_terminal or not self.shown:
            yield
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(12), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("left  {task.fields[last]}"),
        )  # fmt: skip
        with Progress(*columns, console=self.console) as self._bar:
            self._task = self._bar.add_task(self.title, total=total, completed=done, last="")
            yield
        self._bar = None

    def finished(self, which: str, result: str) -> None:
        """Count one more finished trial, and show its result in a few words."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, last=result)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"{self._done} of {self._total} trials; {which}: {result}")


def in_short(trial: xr.Dataset) -> str:
    """The first variable of a trial with a handful of numbers, in words: `accuracy 0.83 -> 0.96`."""
    for name, variable in trial.data_vars.items():
        if variable.dtype.kind in "fiu" and 1 <= variable.size <= 6:
            return f"{name} " + " -> ".join(f"{value:.4g}" for value in variable.values.ravel())
    return "stored"
