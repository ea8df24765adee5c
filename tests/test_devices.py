import dataclasses

import numpy as np
import pytest

from chipsim.devices import RRAM_MILO_2021, SONOS_AGRAWAL_2022, Ideal, Pcm, Relaxing, Rram
from chipsim.devices.curves import Polynomial
from chipsim.errors import ParameterError
from chipsim.streams import stream

NOTHING = Polynomial(powers=(0.0,))


def test_levels_are_even_and_ends_included() -> None:
    device = Ideal(g_min=10e-6, g_max=40e-6, levels=4)
    g = np.array([10e-6, 14e-6, 16e-6, 26e-6, 39e-6])
    np.testing.assert_allclose(device.quantise(g), [10e-6, 10e-6, 20e-6, 30e-6, 40e-6])


def test_an_ideal_cell_is_its_target() -> None:
    target = np.linspace(0, 100e-6, 7)
    np.testing.assert_array_equal(Ideal().programme(target, stream(0)), target)


def test_milos_cell_has_the_published_spread() -> None:
    microsiemens = np.array([50.0, 100.0, 150.0, 225.0])
    np.testing.assert_allclose(
        RRAM_MILO_2021.sigma(microsiemens * 1e-6), (4.782321 - 0.009107 * microsiemens) * 1e-6, rtol=1e-12
    )
    assert (RRAM_MILO_2021.g_min, RRAM_MILO_2021.g_max) == (50e-6, 225e-6)
    assert len(np.unique(RRAM_MILO_2021.quantise(np.linspace(50e-6, 225e-6, 1000)))) == 32


def test_a_spread_that_would_be_negative_is_none() -> None:
    device = Rram(g_max=100e-6, sigma_offset=1e-6, sigma_slope=-0.02)
    np.testing.assert_allclose(device.sigma(np.array([0.0, 50e-6, 100e-6])), [1e-6, 0.0, 0.0], atol=1e-20)


def test_what_lands_below_zero_is_truncated_at_zero() -> None:
    g = Rram(sigma_offset=10e-6).programme(np.zeros(10_000), stream(0, "zero"))
    assert g.min() == 0.0
    assert abs(np.mean(g == 0) - 0.5) < 4 * 0.5 / 100
    assert abs(g.mean() - 10e-6 / np.sqrt(2 * np.pi)) < 4 * 10e-6 / 100


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Ideal(g_min=1e-4, g_max=1e-4), "Ideal.g_min = 0.0001 S must lie below g_max = 0.0001 S"),
        (lambda: Ideal(levels=1), "Ideal.levels must be a whole number from 2 to 16777216, not 1"),
        (lambda: Ideal(levels=True), "Ideal.levels must be a whole number, not True"),
        (lambda: Ideal(levels=2.5), "Ideal.levels must be a whole number, not 2.5"),
        (lambda: Ideal(levels="16"), "Ideal.levels must be a whole number, not '16'"),
        (lambda: dataclasses.replace(RRAM_MILO_2021, g_max=300e-6), "Rram range 5e-05 to 0.0003 S leaves the measured"),
        (lambda: dataclasses.replace(RRAM_MILO_2021, g_min=0.0), "where sigma is not known"),
        (lambda: Rram(sigma_offset=-1e-6), "Rram.sigma_offset"),
        (
            lambda: Relaxing(times=(1.0, 1e4), spreads=(Polynomial(powers=(0.0,)), Polynomial(powers=(1.0,)))),
            "grow from nothing",
        ),
        (lambda: Relaxing(times=(), spreads=()), "Relaxing.times must rise"),
        (lambda: Pcm(spread=1.0), "Pcm.spread must be a Curve, not 1.0"),
        (lambda: Pcm(extrapolate="no"), "Pcm.extrapolate must be True or False, not 'no'"),
        (lambda: SONOS_AGRAWAL_2022.check_age(1e6), "was measured, 4.32e\\+05 s$"),
        (lambda: RRAM_MILO_2021.programme(np.array([40e-6]), stream(0)), "Rram cannot be programmed to 4e-05 .. 4e-05"),
    ],
)
def test_impossible_devices_and_targets_are_refused(call: object, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call()  # type: ignore[operator]
