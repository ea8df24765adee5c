import numpy as np
import pytest

from chipsim.errors import ParameterError
from chipsim.streams import sample_normals, stream


def test_the_same_name_draws_the_same_whatever_was_drawn_before() -> None:
    first = stream(7, "tile", 0).random(5)
    stream(7, "tile", 1).random(1000)
    np.testing.assert_array_equal(stream(7, "tile", 0).random(5), first)


def test_frozen_numbers() -> None:
    """A change here changes every chip: raise chip.MODEL_VERSION with it."""
    np.testing.assert_array_equal(stream(7, "tile", 0).random(2), [0.4963606072502814, 0.3156584516457007])
    np.testing.assert_array_equal(sample_normals(7, "noise", samples=[3], shape=(1,)), [[-0.8177484094631355]])


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


def test_noise_is_keyed_by_sample() -> None:
    together = sample_normals(7, "noise", samples=range(10), shape=(3, 4))
    assert together.shape == (10, 3, 4)
    for samples in ([4], [9, 0, 5], range(2, 7)):
        np.testing.assert_array_equal(
            sample_normals(7, "noise", samples=samples, shape=(3, 4)), together[list(samples)]
        )
    assert len(np.unique(together)) == together.size
    assert not np.array_equal(sample_normals(7, "other", samples=[4], shape=(3, 4)), together[[4]])


def test_a_longer_window_begins_with_the_shorter_one() -> None:
    short, long = (sample_normals(7, "noise", samples=[2], shape=(steps, 4)) for steps in (2, 5))
    np.testing.assert_array_equal(long[:, :2], short)


def test_noise_is_standard_normal_across_and_within_samples() -> None:
    draws = sample_normals(0, "law", samples=range(200), shape=(100,))
    for axis in (0, 1):
        means = draws.mean(axis=axis) * np.sqrt(draws.shape[axis])
        assert abs(means.std() - 1) < 4 / np.sqrt(2 * means.size)
    assert abs(draws.mean()) < 4 / np.sqrt(draws.size)
    assert abs(draws.std() - 1) < 4 / np.sqrt(2 * draws.size)
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 4 / np.sqrt(draws.size)


def test_no_samples_give_no_noise() -> None:
    assert sample_normals(7, "noise", samples=[], shape=(2,)).shape == (0, 2)
