import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import brian2
import numpy as np
import pytest

from chipsim.circuits import LIF
from chipsim.errors import ChipsimError, ParameterError
from chipsim.quantity import INF, UNITS, Parameters, canonical_json, declarations, from_json, quantity, to_json, to_si


@dataclass(frozen=True, kw_only=True)
class Cell(Parameters):
    tau: float = quantity(10e-3, "s", (1e-6, 1.0), "Nobody 2020, Table 1")
    g: float = quantity(1e-6, "S")
    name: str = "cell"


@dataclass(frozen=True, kw_only=True)
class Pair(Parameters):
    cells: tuple[Cell, ...] = (Cell(),)


def test_defaults_and_declarations() -> None:
    assert Cell().tau == 10e-3
    declared = declarations(Cell)
    assert set(declared) == {"tau", "g"}
    assert declared["tau"].unit == "s"
    assert declared["tau"].range == (1e-6, 1.0)
    assert declared["tau"].source == "Nobody 2020, Table 1"
    assert declared["g"].range == (-INF, INF)
    assert declared["g"].source == "design choice"


def test_a_brian_quantity_is_taken_in_si() -> None:
    assert Cell(tau=20 * brian2.ms, g=3 * brian2.uS) == Cell(tau=20e-3, g=3e-6)
    assert type(Cell(tau=20 * brian2.ms).tau) is float


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", brian2.second),
        ("Hz", brian2.hertz),
        ("A", brian2.amp),
        ("K", brian2.kelvin),
        ("V", brian2.volt),
        ("S", brian2.siemens),
        ("ohm", brian2.ohm),
        ("F", brian2.farad),
        ("J", brian2.joule),
        ("W", brian2.watt),
        ("m", brian2.metre),
        ("m2", brian2.metre**2),
        ("V m", brian2.volt * brian2.metre),
    ],
)
def test_every_unit_is_brians(unit: str, value: Any) -> None:
    assert to_si(2.5 * value, unit) == 2.5
    for other in set(UNITS) - {unit}:
        with pytest.raises(ParameterError, match=f"wrong unit: expected {other}$"):
            to_si(value, other)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"tau": 2.0},
            r"Cell.tau = 2 s is outside its valid range 1e-06 to 1 s \(source of its default: Nobody 2020, Table 1\)",
        ),
        ({"tau": -1}, "outside its valid range"),
        ({"tau": math.nan}, "Cell.tau = nan s is outside"),
        ({"g": math.nan}, "Cell.g = nan S is outside"),
        ({"tau": 20 * brian2.mV}, "Cell.tau = .* has the wrong unit: expected s"),
        ({"tau": "fast"}, "Cell.tau = 'fast' is not a number; give a number in s"),
        ({"tau": True}, "is not a number"),
        ({"tau": None}, "is not a number"),
        ({"tau": [1.0, 2.0]}, "is not a number"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Cell(**given)


@dataclass(frozen=True, kw_only=True)
class Made(Parameters):
    cell: Cell = Cell()
    cells: tuple[Cell, ...] = ()
    crossing: tuple[int, int] = (0, 0)
    powers: tuple[float, ...] = ()
    factor: float = 1.0
    count: int = 1
    levels: int | None = None
    awake: bool = False
    side: Literal["plus", "minus"] = "plus"
    word: str = ""


def test_fields_become_what_they_are_annotated_with() -> None:
    made = Made(cells=[Cell()], crossing=np.array([1, 2]), powers=np.array([1, 2.5]), factor=2, levels=np.int64(3))  # type: ignore[arg-type]
    assert (made.cells, made.crossing, made.powers, made.factor) == ((Cell(),), (1, 2), (1.0, 2.5), 2.0)
    assert [type(value) for value in (*made.crossing, made.factor, made.levels)] == [int, int, float, int]
    assert from_json(json.loads(canonical_json(made)), {"Made": Made, "Cell": Cell}) == made


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"cell": 1.0}, "Made.cell must be a Cell, not 1.0"),
        ({"cells": Cell()}, r"Made.cells must be a tuple, as \(one,\) or \(one, two\), not Cell"),
        ({"cells": (Cell(), "b")}, r"Made.cells\[1\] must be a Cell, not 'b'"),
        ({"crossing": (1, 2, 3)}, r"Made.crossing must hold 2 values, not \(1, 2, 3\)"),
        ({"crossing": (1, 2.5)}, r"Made.crossing\[1\] must be a whole number, not 2.5"),
        ({"powers": (1.0, math.nan)}, r"Made.powers\[1\] is NaN"),
        ({"powers": "12"}, "Made.powers must be a tuple"),
        ({"powers": (1.0, "a")}, r"Made.powers\[1\] = 'a' is not a number"),
        ({"factor": math.nan}, "Made.factor is NaN"),
        ({"count": True}, "Made.count must be a whole number, not True"),
        ({"levels": 2.0}, "Made.levels must be a whole number, not 2.0"),
        ({"awake": "no"}, "Made.awake must be True or False, not 'no'"),
        ({"awake": 1}, "Made.awake must be True or False, not 1"),
        ({"side": "left"}, 'Made.side must be "plus" or "minus", not'),
        ({"word": 1}, "Made.word must be a str, not 1"),
    ],
)
def test_values_of_another_kind_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Made(**given)


def test_a_class_of_types_that_only_a_function_knows_takes_what_it_gets() -> None:
    class Hidden: ...

    @dataclass(frozen=True, kw_only=True)
    class Local(Parameters):
        hidden: "Hidden"
        tau: float = quantity(1.0, "s", (0.0, 2.0))

    assert isinstance(Local(hidden=Hidden()).hidden, Hidden)
    with pytest.raises(ParameterError, match="outside"):
        Local(hidden=Hidden(), tau=3.0)


def test_parameter_errors_are_both_chipsims_and_value_errors() -> None:
    assert issubclass(ParameterError, ChipsimError)
    assert issubclass(ParameterError, ValueError)


def test_an_unknown_unit_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ParameterError, match="unknown unit 'volt'; known: 1, s, Hz"):
        quantity(1.0, "volt")


def test_ends_of_the_range_are_valid() -> None:
    assert Cell(tau=1e-6).tau == 1e-6
    assert Cell(tau=1.0).tau == 1.0


def test_json_names_the_type_and_comes_back() -> None:
    pair = Pair(cells=(Cell(tau=0.5), Cell(g=INF)))
    assert to_json(pair)["type"] == "Pair"
    assert to_json(pair)["cells"][0] == {"type": "Cell", "tau": 0.5, "g": 1e-6, "name": "cell"}
    assert from_json(json.loads(canonical_json(pair)), {"Pair": Pair, "Cell": Cell}) == pair


def test_canonical_json_does_not_depend_on_how_a_value_was_given() -> None:
    assert canonical_json(Cell(tau=1)) == canonical_json(Cell(tau=1.0)) == canonical_json(Cell(tau=1 * brian2.second))
    assert " " not in canonical_json(Pair())
    keys = list(json.loads(canonical_json(Cell())))
    assert keys == sorted(keys)


def test_foreign_json_is_refused() -> None:
    with pytest.raises(ParameterError, match="unknown type 'Pair' in stored design; give classes of your own"):
        from_json(to_json(Pair()), {"Cell": Cell})
    with pytest.raises(ParameterError, match="unknown field 'colour' of Cell in stored design; known: g, name, tau"):
        from_json({**to_json(Cell()), "colour": 1}, {"Cell": Cell})
    with pytest.raises(ParameterError, match="outside its valid range"):
        from_json({**to_json(Cell()), "tau": 7.0}, {"Cell": Cell})


def test_replace_checks_again() -> None:
    assert dataclasses.replace(LIF(), tau=5 * brian2.ms).tau == 5e-3
    with pytest.raises(ParameterError):
        dataclasses.replace(LIF(), tau=-1.0)
