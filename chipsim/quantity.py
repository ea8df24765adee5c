"""quantity(default, unit, range, source): a dataclass field that knows its unit, its valid range and its paper.

Values are SI floats inside. A Brian2 quantity is accepted wherever a float is (its dimension is checked against the
field's unit); it is recognised by duck type, so that this module needs no Brian2.
"""

import dataclasses
import functools
import json
import math
import operator
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

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
    """Raise ParameterError for a Brian2 quantity, scalar, array or in a list, that has not the dimension of `unit`."""
    if isinstance(value, (list, tuple)):
        for each in value:
            check_unit(each, unit, name)
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


def whole(value: Any, name: str = "value", least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int within least .. most; a truth value or a number with a fraction is refused.

    >>> whole(3.5, "epochs", least=1)
    Traceback (most recent call last):
    ...
    chipsim.errors.ParameterError: epochs must be a whole number of at least 1, not 3.5
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        within = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        raise ParameterError(f"{name} must be a whole number{within}, not {value!r}")
    return found


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Base of everything that has physical parameters: checks each field once, at construction, quantities for their
    unit and range, others for the type that they are annotated with.
    """

    def __post_init__(self) -> None:
        declared, cls = declarations(self), cast(Any, type(self))
        for name, kind in _kinds(cls).items():
            label, value = f"{cls.__name__}.{name}", getattr(self, name)
            found = _in_range(value, declared[name], label) if name in declared else _of_kind(value, kind, label)
            object.__setattr__(self, name, found)


@functools.cache
def _kinds(cls: Any) -> Mapping[str, Any]:
    """The annotated types of the fields of a dataclass; Any for all where one is not known at the top of its module."""
    names = [field.name for field in dataclasses.fields(cls)]
    try:
        hints = typing.get_type_hints(cls)
    except NameError:
        return dict.fromkeys(names, Any)
    return {name: hints[name] for name in names}


def _in_range(value: Any, declared: Declaration, label: str) -> float:
    found = to_si(value, declared.unit, label)
    (low, high), unit = declared.range, "" if declared.unit == "1" else f" {declared.unit}"
    if not low <= found <= high:  # also refuses NaN
        raise ParameterError(
            f"{label} = {found:g}{unit} is outside its valid range {low:g} to {high:g}{unit} "
            f"(source of its default: {declared.source})"
        )
    return found


def _of_kind(value: Any, kind: Any, label: str) -> Any:
    """Return `value` as the annotated type `kind`: a sequence or an array for a tuple, an index for an int."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType) and types.NoneType in arguments:
        (kind,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _of_kind(value, kind, label)
    if origin is Literal:
        if value not in arguments:
            raise ParameterError(f"{label} must be {' or '.join(map(json.dumps, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        return _tuple_of(value, arguments, label)
    if kind is bool:
        if not isinstance(value, bool):
            raise ParameterError(f"{label} must be True or False, not {value!r}")
        return value
    if kind is int:
        return whole(value, label)
    if kind is float:
        found = to_si(value, "1", label)
        if math.isnan(found):
            raise ParameterError(f"{label} is NaN; give a number")
        return found
    if isinstance(kind, type) and issubclass(kind, (str, Parameters)) and not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ParameterError(f"{label} must be {article} {kind.__name__}, not {value!r}")
    return value


def _tuple_of(value: Any, kinds: tuple[Any, ...], label: str) -> tuple[Any, ...]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ParameterError(f"{label} must be a tuple, as (one,) or (one, two), not {value!r}")
    if kinds[-1:] == (...,):
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise ParameterError(f"{label} must hold {len(kinds)} values, not {value!r}")
    return tuple(
        _of_kind(each, kind, f"{label}[{place}]") for place, (each, kind) in enumerate(zip(value, kinds, strict=True))
    )


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
        raise ParameterError(
            f"unknown type {name!r} in stored design; give classes of your own as known=(Class,); "
            f"known: {', '.join(sorted(known))}"
        )
    allowed = {f.name for f in dataclasses.fields(known[name])}
    if unknown := sorted(set(fields) - allowed):
        raise ParameterError(
            f"unknown field {unknown[0]!r} of {name} in stored design; known: {', '.join(sorted(allowed))}"
        )
    return known[name](**{key: from_json(item, known) for key, item in fields.items()})
