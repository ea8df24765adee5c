"""What everything with parameters must do: declare its numbers, refuse bad ones, stay as it is, survive JSON."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from chipsim.errors import ParameterError
from chipsim.quantity import UNITS, Parameters, canonical_json, declarations, from_json


def raises(error: type[Exception], call: Callable[[], Any], demand: str) -> None:
    """Assert that `call()` raises `error`, with a message."""
    try:
        call()
    except error:
        return
    raise AssertionError(demand)


def declares_every_number(subject: Parameters) -> None:
    """Every real number among the fields is a quantity with a known unit, a range and a source."""
    declared = declarations(subject)
    for field in dataclasses.fields(subject):
        if isinstance(getattr(subject, field.name), float):
            assert field.name in declared, f"{field.name} is a number without a unit: declare it with quantity()"
    for name, declaration in declared.items():
        assert declaration.unit in UNITS, f"{name} has the unknown unit {declaration.unit!r}"
        assert declaration.source.strip(), f"{name} has no source"
        assert declaration.range[0] < declaration.range[1], f"{name} has an empty range {declaration.range}"


def refuses_values_out_of_range(subject: Parameters) -> None:
    """NaN, text and values beyond a declared range raise ParameterError."""
    for name, declared in declarations(subject).items():
        low, high = declared.range
        bad: list[Any] = [math.nan, "much"]
        bad += [low - max(1.0, abs(low))] if math.isfinite(low) else []
        bad += [high + max(1.0, abs(high))] if math.isfinite(high) else []
        for value in bad:
            raises(
                ParameterError,
                lambda name=name, value=value: dataclasses.replace(subject, **{name: value}),  # type: ignore[misc]
                f"{name} = {value!r} must raise ParameterError",
            )


def refuses_unknown_parameters(subject: Parameters) -> None:
    """A parameter that does not exist raises TypeError."""
    raises(
        TypeError,
        lambda: dataclasses.replace(subject, **{"no_such_parameter": 1.0}),
        "an unknown parameter must raise TypeError",
    )


def is_frozen(subject: Parameters) -> None:
    """No field can be set after construction."""
    for field in dataclasses.fields(subject):
        raises(
            dataclasses.FrozenInstanceError,
            lambda name=field.name: setattr(subject, name, 0.0),  # type: ignore[misc]
            f"{field.name} can be set; make it a frozen dataclass",
        )


def survives_json(subject: Parameters) -> None:
    """Canonical JSON text gives back an equal object, and the same text again."""
    text = canonical_json(subject)
    back = from_json(json.loads(text), {type(part).__name__: type(part) for part in _parts(subject)})
    assert back == subject, f"JSON gave back {back}, not {subject}"
    assert canonical_json(back) == text, "JSON text changed in a round trip"


def _parts(value: Any) -> Iterator[Parameters]:
    """A parameter object and those among its fields, at any depth."""
    if isinstance(value, Parameters):
        yield value
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        for item in value:
            yield from _parts(item)


PARAMETERS: tuple[Callable[[Parameters], None], ...] = (
    declares_every_number,
    refuses_values_out_of_range,
    refuses_unknown_parameters,
    is_frozen,
    survives_json,
)
