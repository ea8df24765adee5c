"""The effect report: which effects acted on a run, and how large each turned out."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from chipsim.effects import Effect
from chipsim.errors import ChipsimError, ParameterError


class RareEventWarning(UserWarning):
    """An effect by rate drew no event on this chip."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: the effect, the part of it, its stated strength, its measured size (None: nothing to measure yet)."""

    effect: str
    part: str
    strength: float
    measured: float | None

    @property
    def text(self) -> str:
        if self.strength == 0:
            return "off"
        return "not yet measured" if self.measured is None else f"{self.measured:.4g}"


@dataclass(frozen=True)
class EffectReport:
    """The lines of a report; `print` it, or store `to_json`."""

    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        lines = [("effect", "part", "strength", "measured")]
        lines += [(e.effect, e.part, f"{e.strength:.4g}", e.text) for e in self.entries]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        return "\n".join(
            "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def __getitem__(self, effect: str) -> dict[str, float | None]:
        """Return part -> measured size of one effect; raise ParameterError for one that is not in the report."""
        if effect not in (known := sorted({entry.effect for entry in self.entries})):
            raise ParameterError(f"no effect {effect!r} in this report; it has {', '.join(known)}")
        return {entry.part: entry.measured for entry in self.entries if entry.effect == effect}

    def to_json(self) -> str:
        """Return the report as JSON text: a list of entries."""
        return json.dumps([asdict(entry) for entry in self.entries])


def entries(effect: Effect, sizes: dict[str, float], *, presented: bool) -> Sequence[Entry]:
    """Return the lines of one effect from its measured sizes; presented: whether any sample was.

    Raises ChipsimError when an effect of a strength above 0 found nothing to act on or measured exactly 0: it silently
    did nothing. An effect by rate that drew no event warns instead.
    """
    if effect.strength == 0:
        return [Entry(effect=effect.name, part="off", strength=0.0, measured=0.0)]
    for part, size in sizes.items():
        if size == 0:
            message = f"effect {effect.name} has strength {effect.strength:g}, but its {part} measured exactly 0"
            if not effect.by_rate:
                raise ChipsimError(f"{message}: it did not act")
            warnings.warn(f"{message}: no such event on this chip", RareEventWarning, stacklevel=3)
    if not sizes and (presented or not effect.noisy):
        raise ChipsimError(
            f"effect {effect.name} has strength {effect.strength:g}, but this network gives it nothing to act on: "
            "leave it out of the design, or set it to 0"
        )
    lines = [Entry(effect=effect.name, part=p, strength=effect.strength, measured=s) for p, s in sizes.items()]
    return lines or [Entry(effect=effect.name, part="", strength=effect.strength, measured=None)]
