import numpy as np
import pytest

from chipsim.errors import ParameterError
from chipsim.streams import stream


def test_the_same_name_draws_the_same_whatever_was_drawn_before() -> None:
    first = stream(7, "tile", 0).random(5)
    stream(7, "tile", 1).random(1000)
    np.testing.assert_array_equal(stream(7, "tile", 0).random(5), first)


def test_frozen_numbers() -> None:
    """A change here changes every chip: raise chip.MODEL_VERSION with it."""
    np.testing.assert_array_equal(stream(7, "tile", 0).random(2), [0.4963606072502814, 0.3156584516457007])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((7, "tile", 0), (8, "tile", 0)),
        ((7, "tile", 0), (7, "tile", 1)),
        ((7, "tile", 0), (7, 0, "tile")),
        ((7, "tile", 1), (7, "tile", "1")),
        ((7, "ab"), (7, "a", "b")),
        ((7,), (7, "")),
        ((71, 1), (7, 11)),
    ],
)
def test_other_names_draw_other_numbers(one: tuple, other: tuple) -> None:
    assert not np.array_equal(stream(*one).random(4), stream(*other).random(4))


def test_numpy_integers_are_integers() -> None:
    assert stream(np.int64(7), np.uint8(3)).random() == stream(7, 3).random()


@pytest.mark.parametrize("seed", [-1, 1.0, True, "7", None])
def test_a_bad_seed_is_refused(seed: object) -> None:
    with pytest.raises(ParameterError, match="seed must be an integer from 0 to"):
        stream(seed, "tile")  # type: ignore[arg-type]
