"""How figures are measured and kept: medians of interleaved repeats, peak tensor bytes, one record per figure."""

import datetime
import json
import os
import platform
import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

RESULTS = Path(__file__).with_name("results")
LATEST = RESULTS / "latest.json"
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure, phrased so that larger is better; goal None: shown only. value None: not run, and why in `note`."""

    name: str
    value: float | None
    goal: float | None = None
    peer: str = ""
    peer_version: str | None = None
    note: str = ""
    details: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not run"
        if self.goal is None:
            return ""
        return "reached" if self.value >= self.goal else "MISSED"


def side_by_side(functions: Mapping[str, Callable[[], object]], rounds: int = 15, warmup: int = 3) -> dict[str, float]:
    """Return the median seconds of each function; all of them in turn, so that disturbance is shared."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= warmup:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


class PeakBytes(TorchDispatchMode):
    """Within the block, counts the bytes of tensors that operations make; `peak` is the most alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector": torch.backends.cpu.get_cpu_capability(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def write(figures: list[Figure], growth: Mapping[str, object] | None = None) -> None:
    """Keep the figures and growth; what this run did not measure stays as it was, figures with their date."""
    today = datetime.date.today().isoformat()
    before = json.loads(LATEST.read_text()) if LATEST.exists() else {"figures": [], "growth": {}}
    kept = {record["name"]: record for record in before["figures"]}
    for figure in figures:
        if figure.value is None and kept.get(figure.name, {}).get("value") is not None:
            continue
        kept[figure.name] = {**asdict(figure), "date": today, "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    content = {"figures": list(kept.values()), "growth": {**before["growth"], **(growth or {})}}
    LATEST.write_text(json.dumps(content, indent=1) + "\n")


def table(figures: list[Figure]) -> str:
    """Return the figures as text."""
    rows = [("figure", "value", "goal", "", "peer")]
    for figure in figures:
        value = "-" if figure.value is None else f"{figure.value:.3g}"
        goal = "" if figure.goal is None else f"{figure.goal:.3g}"
        peer = f"{figure.peer} {figure.peer_version or ''}".strip()
        rows.append((figure.name, value, goal, figure.verdict, f"{peer}  {figure.note}".strip()))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows
    )
