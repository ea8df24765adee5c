import numpy as np
import pytest
import torch

from chipsim.engines.torch import Places
from chipsim.engines.torch import normals as torch_normals
from chipsim.errors import ParameterError
from chipsim.streams import noise_key, normals, sample_keys, stream


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


def test_noise_is_a_function_of_sample_step_and_neuron_alone() -> None:
    key = noise_key(7, "noise")
    together = normals(key, range(10), 0, 6, 5)
    assert together.shape == (6, 10, 5)
    for samples in ([4], [9, 0, 5], range(2, 7)):
        np.testing.assert_array_equal(normals(key, samples, 0, 6, 5), together[:, list(samples)])
    for first, count in ((0, 1), (2, 3), (5, 1)):
        np.testing.assert_array_equal(normals(key, range(10), first, count, 5), together[first : first + count])
    assert len(np.unique(together)) == together.size
    assert not np.array_equal(normals(noise_key(7, "other"), range(10), 0, 6, 5), together)
    assert not np.array_equal(normals(noise_key(8, "noise"), range(10), 0, 6, 5), together)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_frozen_noise(size: int) -> None:
    """A change here changes every noisy result: raise chip.MODEL_VERSION with it. Written out from the definition."""
    mask = 2**64 - 1

    def mixed(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return word ^ (word >> 31)

    key, gamma, half = 2**63 + 12345, 0x9E3779B97F4A7C15, (size + 1) // 2
    found = normals(key, [3], 4, 2, size)
    for step in (4, 5):
        for neuron in range(size):
            pair = neuron % half
            word = mixed((mixed((key + 4 * gamma) & mask) + (step * half + pair + 1) * gamma) & mask)
            radius = np.sqrt(-2 * np.log(((word >> 32) + 0.5) / 2**32))
            angle = 2 * np.pi * (word % 2**32) / 2**32
            expected = radius * (np.sin(angle) if neuron >= half else np.cos(angle))
            assert found[step - 4, 0, neuron] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_noise_is_standard_normal() -> None:
    """Moments, quantiles and tails of 10^6 draws within 4 standard errors."""
    drawn = normals(noise_key(0, "law"), range(100), 0, 100, 100).ravel()
    count = drawn.size
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0), (6, 15.0, 10170.0)):
        assert abs(np.mean(drawn**power) - moment) < 4 * np.sqrt(variance / count), f"moment {power}"
    for level, share in ((-3.0, 0.0013498980316301), (-1.0, 0.158655253931457), (0.0, 0.5), (2.0, 0.977249868051821)):
        assert abs(np.mean(drawn < level) - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert 4.2 < np.abs(drawn).max() < 6.7


def test_noise_of_samples_steps_neurons_pairs_and_keys_is_independent() -> None:
    drawn = normals(noise_key(0, "law"), range(100), 0, 100, 100)  # [steps, samples, neurons]
    other = normals(noise_key(0, "other"), range(100), 0, 100, 100)
    pairs = {
        "neighbouring neurons": (drawn[:, :, :-1], drawn[:, :, 1:]),
        "the two of a pair": (drawn[:, :, :50], drawn[:, :, 50:]),
        "neighbouring samples": (drawn[:, :-1], drawn[:, 1:]),
        "neighbouring steps": (drawn[:-1], drawn[1:]),
        "keys": (drawn, other),
    }
    for name, (one, another) in pairs.items():
        for function in (lambda x: x, np.square, np.abs):
            correlation = np.corrcoef(function(one).ravel(), function(another).ravel())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(one.size), name
    for axis in range(3):
        means = drawn.mean(axis=axis) * 10
        assert abs(means.std() - 1) < 4 / np.sqrt(2 * means.size)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
@pytest.mark.parametrize("first", [0, 3, 10_000])
def test_tensors_meet_the_same_noise(size: int, first: int) -> None:
    key, samples = noise_key(3, "both"), [0, 5, 2**31, 7]
    expected = normals(key, samples, first, 4, size)
    keys, places = torch.as_tensor(sample_keys(key, samples).view(np.int64)), Places.of(first, 4, size, "cpu")
    found = torch_normals(keys, places, size, torch.float64)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_noise_in_single_precision_is_near() -> None:
    key, samples = noise_key(3, "both"), range(100)
    expected = normals(key, samples, 0, 100, 100)
    keys, places = torch.as_tensor(sample_keys(key, samples).view(np.int64)), Places.of(0, 100, 100, "cpu")
    off = np.abs(torch_normals(keys, places, 100, torch.float32).numpy() - expected)
    assert np.quantile(off, 0.99) < 1e-6
    assert off.max() < 3e-4  # the smallest radii: one minus a number below 2^-24


def test_no_samples_no_steps_and_no_neurons_give_no_noise() -> None:
    assert normals(7, [], 0, 3, 2).shape == (3, 0, 2)
    assert normals(7, [1], 0, 0, 2).shape == (0, 1, 2)
    assert normals(7, [1], 0, 3, 0).shape == (3, 1, 0)
