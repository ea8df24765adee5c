"""What a run says while it runs, on stderr: a bar on a terminal, else a line now and then."""

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar, Self, TypeVar, final

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")
QUIET = 2.0
"""A loop that is over sooner shows no bar [s]."""
SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_SHARES = 10.0, 60.0
"""Where there is no terminal: between lines of finished trials, and of how far an unfinished one is."""
TELL = 5.0
"""How often a trial says how far it is [s]."""

# ------------------------------------------------------------------------------------------------------- a loop


class _Told:
    """Where the loops of a trial say how far they are."""

    def __init__(self, file: Path | None, which: str) -> None:
        self.file, self.which, self.last = file, which, -np.inf

    def tell(self, words: str) -> None:
        now = time.monotonic()
        if self.file is None or now - self.last < TELL:
            return
        self.last = now
        with contextlib.suppress(OSError):  # a trial is worth more than words about it
            self.file.write_text(f"{words} ({self.which})", encoding="utf-8")


_told: ContextVar[_Told | None] = ContextVar("told", default=None)


@contextlib.contextmanager
def told_in(file: Path | None, which: str) -> Iterator[None]:
    """Within the block, loops show no bar of their own, but say in a file how far they are, and in what; which: words
    that follow. The file is there for the length of the block alone; without one they say nothing.
    """
    before = _told.set(_Told(file, which))
    try:
        yield
    finally:
        _told.reset(before)
        if file is not None:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


@final
class Bar:
    """How far a loop is: a bar on the terminal once it has taken longer than QUIET, if `shown` and there is no other;
    what `told_in` asks for in its place.
    """

    drawn: ClassVar[bool] = False
    """Whether the terminal has one."""

    def __init__(self, title: str, shown: bool) -> None:
        self.title, self.shown, self.begun = title, shown, time.monotonic()
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            Bar.drawn = False

    def show(self, share: float) -> None:
        """Say that `share` of the loop is done."""
        if (told := _told.get()) is not None:
            told.tell(f"{share:.0%} of {self.title}")
        elif self._progress is not None:
            self._progress.update(self._task, completed=share)
        elif self.shown and time.monotonic() - self.begun > QUIET:
            self._start(share)

    def _start(self, share: float) -> None:
        self.shown = False  # the first try is the last
        console = Console(stderr=True)
        if Bar.drawn or not console.is_terminal:
            return
        progress = Progress(console=console, transient=True)
        self._task = progress.add_task(self.title, total=1.0)
        progress.update(self._task, completed=share)
        progress.start()
        Bar.drawn, self._progress = True, progress


def with_progress(items: Iterable[T], total: int, title: str, shown: bool, before: int = 0) -> Generator[T, None, None]:
    """Yield items, of which `before` of `total` were done before, behind a bar; it ends with the last, or when what
    this returns is closed.
    """
    with Bar(title, shown) as bar:
        for done, item in enumerate(items, before):
            bar.show(done / total)
            yield item


# ------------------------------------------------------------------------------------------------------ a study


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
            TextColumn("left  {task.fields[last]}", markup=False),
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
        else:
            self._line(f"{which}: {result}", SECONDS_BETWEEN_LINES)

    def going_on(self, words: str) -> None:
        """Show how far an unfinished trial is."""
        if self._bar is not None:
            self._bar.update(self._task, last=words)
        else:
            self._line(words, SECONDS_BETWEEN_SHARES)

    def _line(self, words: str, seconds: float) -> None:
        if time.monotonic() - self._last_line >= seconds:
            self._last_line = time.monotonic()
            self.say(f"{self._done} of {self._total} trials; {words}")


def in_short(trial: xr.Dataset) -> str:
    """The first variable of a trial with a handful of numbers, in words: `accuracy 0.83 -> 0.96`."""
    for name, variable in trial.data_vars.items():
        if variable.dtype.kind in "fiu" and 1 <= variable.size <= 6:
            return f"{name} " + " -> ".join(f"{value:.4g}" for value in variable.values.ravel())
    return "stored"
