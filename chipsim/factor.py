"""Factor: one axis of a study's grid, with its unit and valid range."""

import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chipsim.errors import ParameterError
from chipsim.results import Value

INF = math.inf


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One axis of a study's grid: its default values, unit and valid range. An option is a factor of one value.

    All values are of the type of the defaults: integers, floats or words. Words must be among `choices` (the default
    values, where none are given), or be the path of a file whose name ends with `files`, which is kept as PATH#DIGEST,
    so that a result knows what was in it. A factor may carry a reserved name (`seed`), never `chip`.
    """

    name: str
    values: tuple[Value, ...]
    unit: str = "1"
    long_name: str = ""
    range: tuple[float, float] = (-INF, INF)
    choices: tuple[str, ...] = ()
    files: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name == "chip":
            raise ParameterError(f"{self.name!r} cannot be a factor; take a Python name other than 'chip'")
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "values", self.convert(self.values))

    @property
    def kind(self) -> type[int] | type[float] | type[str]:
        """The type of the values, as the default values have it."""
        kinds = {type(value) for value in self.values}
        return str if str in kinds else int if kinds == {int} else float

    @property
    def _in_unit(self) -> str:
        return "" if self.unit == "1" else f" {self.unit}"

    def convert(self, values: Sequence[Value | str]) -> tuple[Value, ...]:
        """Return `values` as this factor holds them, in order; raises ParameterError at one that it cannot take."""
        if isinstance(values, str) or not values:
            raise ParameterError(f"{self.name} needs at least one value")
        converted = tuple(self._convert(value) for value in values)
        if repeated := [value for value in converted if converted.count(value) > 1]:
            raise ParameterError(f"{self.name} = {repeated[0]} is given twice; give each value once")
        return converted

    def _convert(self, value: Value) -> Value:
        if self.kind is str:
            choices = self.choices or self.values
            if value not in choices:
                if self.files and str(value).partition("#")[0].endswith(self.files):
                    return self._file(str(value))
                known = tuple(str(choice) for choice in choices)
                known += (f"FILE{self.files}",) if self.files else ()
                raise ParameterError(f"{self.name} = {value!r} is unknown; {suggest(str(value), known)}")
            return str(value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ParameterError(f"{self.name} = {value!r} is not a number; give numbers{self._in_unit}") from None
        low, high = self.range
        if not low <= number <= high or not math.isfinite(number):
            raise ParameterError(
                f"{self.name} = {number:g} is outside its valid range {low:g} to {high:g}{self._in_unit}"
            )
        if self.kind is int and not number.is_integer():
            raise ParameterError(f"{self.name} = {number:g} is not an integer; give integers")
        return int(number) if self.kind is int else number

    def _file(self, value: str) -> str:
        path, _, digest = value.partition("#")
        try:
            found = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
        except OSError as error:
            raise ParameterError(f"{self.name} = {path} cannot be read: {error.strerror}") from error
        if digest not in ("", found):
            raise ParameterError(f"{self.name} = {path} is not what it was (#{digest}): its content is now #{found}")
        return f"{path}#{found}"

    def order(self, values: set[Value]) -> tuple[Value, ...]:
        """Sort values: numbers by size, words as in the defaults."""
        if self.kind is str:
            words = [*self.values, *self.choices]
            words += sorted(str(value) for value in values if value not in words)  # stored when there were others
            return tuple(sorted(values, key=words.index))
        return tuple(sorted(values))


def suggest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, and all of them.

    >>> suggest("sigm", ["sigma", "tau"])
    "did you mean 'sigma'? Known: sigma, tau"
    """
    nearest = difflib.get_close_matches(name, known, 1)
    return (f"did you mean {nearest[0]!r}? Known: " if nearest else "known: ") + (", ".join(known) or "none")
