"""retrieve: download one file with a progress bar, from the first address that gives the right checksum."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from chipsim.errors import StoredFileError


class _DownloadBar:
    """A rich progress bar on stderr with the methods that pooch calls (those of tqdm); quiet without a terminal."""

    def __init__(self, label: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    @property
    def total(self) -> float | None:
        """Size of the file in bytes."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, size: float) -> None:
        self._progress.update(self._task, total=size)

    def update(self, amount: int) -> None:
        """Advance by `amount` bytes."""
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        """Begin again."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it stands."""


def retrieve(urls: Sequence[str], path: Path, md5: str) -> None:
    """Download `path` from the first of `urls` that gives a file with this MD5 sum.

    The file appears only when it is complete. Raises StoredFileError with every reason when no address gives it.
    """
    reasons = []
    for url in urls:
        try:
            with _DownloadBar(path.name) as bar:
                downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=30)
                pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=downloader)
        except (OSError, ValueError) as error:  # no connection, or another checksum
            reasons.append(f"{url}: {error}")
        else:
            return
    raise StoredFileError(f"{path.name} could not be downloaded: {'; '.join(reasons)}")
