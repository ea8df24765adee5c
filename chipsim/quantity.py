"""quantity(default, unit, range, source): a dataclass field that knows its unit, its valid range and its paper.

Values are SI floats inside. A Brian2 quantity is accepted wherever a float is (its dimension is checked against the
field's unit); it is recognised by duck type, so that this module needs no Brian2.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, cast

from chipsim.errors import ParameterError

INF = math.inf

# SI exponents (metre, kilogram, second, ampere, kelvin, mole, candela) of the units that fields may have.
UNITS: dict[str, tuple[int, ...]] = {
    "1": (0, 0, 0, 0, 0, 0, 0),
    "s": (0, 0, 1, 0, 0, 0, 0),
    "Hz": (0, 0, -1, 0, 0, 0, 0),
    "A": (0, 0, 0, 1, 0, 0, 0),
    "K": (0, 0, 0, 0, 1, 0, 0),
    "V": (2, 1, -3, -1, 0, 0, 0),
    "S": (-2, -1, 3, 2, 0, 0, 0),
    "ohm": (2, 1, -3, -2, 0, 0, 0),
    "F": (-2, -1, 4, 2, 0, 0, 0),
    "J": (2, 1, -2, 0, 0, 0, 0),
    "W": (2, 1, -3, 0, 0, 0, 0),
    "m": (1, 0, 0, 0, 0, 0, 0),
    "m2": (2, 0, 0, 0, 0, 0, 0),
    "V m": (3, 1, -3, -1, 0, 0, 0),
}


@dataclass(frozen=True)
class Declaration:
    """What a quantity field declares: its unit, closed valid range and source (a paper's key, or "design choice")."""

    unit: str
    range: tuple[float, float]
    source: str


def quantity(
    default: float | dataclasses._MISSING_TYPE = dataclasses.MISSING,
    unit: str = "1",
    range: tuple[float, float] = (-INF, INF),  # noqa: A002 - the word of the design
    source: str = "design choice",
) -> Any:
    """Declare a dataclass field with a unit, a closed valid range in that unit, and a source.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Membrane(Parameters):
    ...     tau: float = quantity(10e-3, "s", (1e-9, 1e3), "Yang 2022")
    >>> Membrane(tau=20e-3).tau
    0.02
    """
    if unit not in UNITS:
        raise ParameterError(f"unknown unit {unit!r}; known: {', '.join(UNITS)}")
    return dataclasses.field(default=default, metadata={"quantity": Declaration(unit, range, source)})


def declarations(parameters: object) -> dict[str, Declaration]:
    """Return the quantity declarations of a dataclass or of an instance of one, by field name."""
    fields = dataclasses.fields(cast(Any, parameters))
    return {field.name: field.metadata["quantity"] for field in fields if "quantity" in field.metadata}


def check_unit(value: Any, unit: str, name: str = "value") -> None:
    """Raise ParameterError for a Brian2 quantity, scalar or array, that has not the dimension of `unit`."""
    dimension = getattr(value, "dim", None)
    if dimension is not None and tuple(int(d) for d in dimension._dims) != UNITS[unit]:
        raise ParameterError(f"{name} = {value} has the wrong unit: expected {unit}")


def to_si(value: Any, unit: str, name: str = "value") -> float:
    """Return `value` as an SI float; a Brian2 quantity must have the dimension of `unit`, a plain number is SI."""
    check_unit(value, unit, name)
    if isinstance(value, (bool, str)):
        raise ParameterError(f"{name} = {value!r} is not a number; give a number in {unit}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} = {value!r} is not a number; give a number in {unit}") from error


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Base of everything that has physical parameters: checks each quantity field once, at construction."""

    def __post_init__(self) -> None:
        for name, declared in declarations(self).items():
            label = f"{type(self).__name__}.{name}"
            value = to_si(getattr(self, name), declared.unit, label)
            low, high = declared.range
            if not low <= value <= high:  # also refuses NaN
                raise ParameterError(
                    f"{label} = {value:g} {declared.unit} is outside its valid range "
                    f"{low:g} to {high:g} {declared.unit} (source: {declared.source})"
                )
            object.__setattr__(self, name, value)


def to_json(value: Any) -> Any:
    """Turn nested parameter objects into plain JSON values; each object becomes {"type": ..., **fields}."""
    if isinstance(value, Parameters):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """Canonical JSON text of `to_json(value)`: sorted keys, no spaces; equal parameters give equal text."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"))


def from_json(data: Any, known: dict[str, type[Parameters]]) -> Any:
    """Rebuild what `to_json` wrote; `known` maps type names to classes, and any other name is refused."""
    if isinstance(data, list):
        return tuple(from_json(item, known) for item in data)
    if not isinstance(data, dict):
        return data
    fields = dict(data)
    name = fields.pop("type", None)
    if name not in known:
        raise ParameterError(f"unknown type {name!r} in stored design; known: {', '.join(sorted(known))}")
    allowed = {f.name for f in dataclasses.fields(known[name])}
    if unknown := sorted(set(fields) - allowed):
        raise ParameterError(
            f"unknown field {unknown[0]!r} of {name} in stored design; known: {', '.join(sorted(allowed))}"
        )
    return known[name](**{key: from_json(item, known) for key, item in fields.items()})
