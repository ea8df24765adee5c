"""Every preset's curves against the published fits, written out a second time in plain numbers."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chipsim import devices
from chipsim.devices import (
    ECRAM_WOX_2023,
    PCM_HERMES,
    PCM_HERMES_PAIR,
    PCM_JOSHI_2020,
    PCM_NANDAKUMAR_2019,
    RRAM_FALCONE_2025,
    RRAM_FALCONE_2025_FINE,
    RRAM_MILO_2021,
    RRAM_WAN_2022,
    RRAM_WAN_2022_CROSSSIM,
    SONOS_AGRAWAL_2022,
    Device,
    ExtrapolationWarning,
    Pcm,
    Pulsed,
)
from chipsim.errors import ParameterError
from chipsim.streams import Draw, stream

Array = NDArray[np.float64]
DAY = 86_400.0
X = np.array([0.02, 0.05, 0.12, 0.2, 0.35, 0.5, 0.8, 1.0])


def poly(x: Array, *highest_first: float) -> Array:
    return np.polyval(highest_first, x)


def clipped_log(x: Array, slope: float, offset: float, low: float, high: float) -> Array:
    return np.clip(slope * np.log(x) + offset, low, high)


def pcm_mean(x: Array) -> Array:
    return np.where(x < 0.0945, clipped_log(x, -0.0387, -0.0182, 0.072, 0.13), poly(x, -0.0436, -0.0126, 0.0736))


def exponent(device: Pcm, drawn: float) -> Callable[[Array], Array]:
    return lambda x: device.exponent(x * device.g_max, np.full_like(x, drawn))


def std_of_exponent(device: Pcm) -> Callable[[Array], Array]:
    return lambda x: exponent(device, 0.5)(x) * 2 - exponent(device, 0.0)(x) * 2


def spread(device: Device) -> Callable[[Array], Array]:
    return lambda x: device.sigma(x * device.g_max) * 1e6  # type: ignore[attr-defined]


def noise(device: Pcm) -> Callable[[Array], Array]:
    return lambda x: device.flicker(x * device.g_max, x * device.g_max) / (x * device.g_max)


CURVES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "PCM, spread": (spread(PCM_NANDAKUMAR_2019), lambda x: poly(x, -1.1731, 1.9650, 0.26348)),
    "PCM, spread as in CrossSim": (
        spread(PCM_JOSHI_2020),
        lambda x: poly(25 * x, -0.00178767, 0.07585724, 0.28638599),
    ),
    "PCM, mean exponent": (
        exponent(PCM_NANDAKUMAR_2019, 0.0),
        lambda x: clipped_log(x, -0.0155, 0.0244, 0.049, 0.1),
    ),
    "PCM, spread of exponents": (
        std_of_exponent(PCM_NANDAKUMAR_2019),
        lambda x: clipped_log(x, -0.0125, -0.0059, 0.008, 0.045),
    ),
    "PCM, read noise": (noise(PCM_NANDAKUMAR_2019), lambda x: np.minimum(0.0088 / x**0.65, 0.2)),
    "HERMES, spread": (
        spread(PCM_HERMES),
        lambda x: poly(x, 0.68841818, -2.16310839, 2.32443916, 0.15781817),
    ),
    "HERMES, mean exponent": (exponent(PCM_HERMES, 0.0), pcm_mean),
    "HERMES, spread of exponents": (
        std_of_exponent(PCM_HERMES),
        lambda x: np.where(
            x < 0.3039, clipped_log(x, -0.0120, -0.0023, 0.0124, 0.04), poly(x, -0.0165, 0.0116, 0.0104)
        ),
    ),
    "HERMES, read noise": (
        noise(PCM_HERMES),
        lambda x: np.where(
            x < 0.1591, clipped_log(x, -0.0078, 0.0038, 0.0179, 0.04), poly(x, 0.0664, -0.1352, 0.0768, 0.0088)
        ),
    ),
    "HERMES, two a side, spread": (
        spread(PCM_HERMES_PAIR),
        lambda x: poly(x, 4.68961419, -8.48101252, 4.71806468, 0.16603222),
    ),
    "HERMES, two a side, mean exponent": (exponent(PCM_HERMES_PAIR, 0.0), pcm_mean),
    "HERMES, two a side, spread of exponents": (
        std_of_exponent(PCM_HERMES_PAIR),
        lambda x: np.where(
            x < 0.3055, clipped_log(x, -0.0117, -0.0057, 0.0091, 0.04), poly(x, -0.0118, 0.0093, 0.0073)
        ),
    ),
    "HERMES, two a side, read noise": (
        noise(PCM_HERMES_PAIR),
        lambda x: np.where(
            x < 0.16, clipped_log(x, -0.0117, -0.0069, 0.015, 0.04), poly(x, 0.0069, -0.0280, 0.0211, 0.0123)
        ),
    ),
    "NeuRRAM, 1 s": (spread(RRAM_WAN_2022), lambda x: poly(x, -16.815, 45.393, -43.853, 16.030, 0.348)),
    "NeuRRAM, 1 day": (
        lambda x: RRAM_WAN_2022.spread(40e-6 * x, np.full_like(x, DAY)) * 1e6,
        lambda x: poly(x, -16.458, 47.095, -50.773, 22.086, 0.701),
    ),
    "NeuRRAM, 2 days": (
        lambda x: RRAM_WAN_2022.spread(40e-6 * x, np.full_like(x, 2 * DAY)) * 1e6,
        lambda x: poly(x, -11.934, 37.062, -43.507, 20.274, 0.782),
    ),
    "NeuRRAM as in CrossSim": (
        spread(RRAM_WAN_2022_CROSSSIM),
        lambda x: poly(39.26 * x, 1.536e-4, -1.167e-2, 0.2374, 1.053),
    ),
    "IHP": (spread(RRAM_MILO_2021), lambda x: 4.782321 - 0.009107 * 225 * x),
    "CMO/HfOx, 2 % window": (spread(RRAM_FALCONE_2025), lambda x: 0.0112185391 + 0.01129027418 * 88.19 * x),
    "CMO/HfOx, 0.2 % window": (spread(RRAM_FALCONE_2025_FINE), lambda x: 0.00081107 + 0.00106879 * 88.19 * x),
    "CMO/HfOx, mean after half an hour": (
        lambda x: RRAM_FALCONE_2025.aged(40e-6 + 9e-6 * x, 40e-6 + 9e-6 * x, 0.0 * x, 1800 + 0.0 * x) * 1e6,
        lambda x: 40 + 9 * x - 0.08900206 * math.log(1800),
    ),
    "CMO/HfOx, spread over time": (
        lambda x: (
            (
                RRAM_FALCONE_2025.aged(40e-6 + 0 * x, 40e-6 + 0 * x, 1.0 + 0 * x, 3600 * x)
                - RRAM_FALCONE_2025.aged(40e-6 + 0 * x, 40e-6 + 0 * x, 0.0 * x, 3600 * x)
            )
            * 1e6
        ),
        lambda x: 0.04201137 * np.log(3600 * x) + 0.41183342,
    ),
    "CMO/HfOx, read noise": (
        lambda x: RRAM_FALCONE_2025.flicker(88.19e-6 * x, 88.19e-6 * x) * 1e6,
        lambda x: 0.0277316483 * np.log10(np.maximum(88.19 * x, 1.0)),
    ),
    "SONOS, day 0": (
        lambda x: SONOS_AGRAWAL_2022.sigma(9e-6 * x) * 0.2e9,
        lambda x: 19.88665 * (1 - np.exp(-1800 * x / 176.3115)),
    ),
    "SONOS, read noise": (
        lambda x: np.sqrt(SONOS_AGRAWAL_2022.variance(9e-6 * x, 9e-6 * x, 1e-3)) * 0.2e9,
        lambda x: 12.58037 * (1 - np.exp(-1800 * x / 215.36557)),
    ),
}

SONOS_SPREADS = (
    (25.59102, 186.85544),
    (28.72753, 193.56834),
    (31.04318, 198.90332),
    (33.76214, 204.77023),
    (34.57909, 207.34309),
)
SONOS_DRIFTS = (
    (1.72684e-1, 5.72552e-2, -6.85715e-4, 3.50271e-6, -9.37682e-9, 1.40575e-11, -1.19803e-14, 5.41293e-18,
     -8.85448e-22, -1.66869e-25, 5.95180e-29),
    (2.50712e-1, 6.62195e-2, -6.83218e-4, 2.99442e-6, -6.78255e-9, 7.70482e-12, -3.04983e-15, -2.15919e-18,
     2.94617e-21, -1.23359e-24, 1.85329e-28),
    (-1.75300e-2, 9.76883e-2, -9.63791e-4, 4.55551e-6, -1.22391e-8, 1.93786e-11, -1.85899e-14, 1.07659e-17,
     -3.58211e-21, 5.96785e-25, -3.30410e-29),
    (4.03338e-2, 1.03111e-1, -1.04740e-3, 4.83961e-6, -1.28132e-8, 1.99484e-11, -1.85139e-14, 1.00008e-17,
     -2.84944e-21, 3.01008e-25, 1.18747e-29),
    (3.19927e-1, 1.06596e-1, -1.04054e-3, 4.50290e-6, -1.10352e-8, 1.56477e-11, -1.27592e-14, 5.45513e-18,
     -7.26841e-22, -2.43893e-25, 7.14608e-29),
)  # fmt: skip


def sonos(day: int, x: Array, deviation: float = 0.0) -> Array:
    """Current [nA] after some days of cells that were programmed `deviation` spreads beside their target."""
    target = 9e-6 * x
    g = target + deviation * SONOS_AGRAWAL_2022.sigma(target)
    return SONOS_AGRAWAL_2022.aged(g, target, None, np.full_like(x, day * DAY)) * 0.2e9


for _day, ((_height, _scale), _powers) in enumerate(zip(SONOS_SPREADS, SONOS_DRIFTS, strict=True), 1):
    CURVES[f"SONOS, drift of day {_day}"] = (
        lambda x, day=_day: sonos(day, x) - 1800 * x,  # type: ignore[misc]
        lambda x, powers=_powers: poly(1800 * x, *reversed(powers)),  # type: ignore[misc]
    )
    CURVES[f"SONOS, spread of day {_day}"] = (
        lambda x, day=_day: sonos(day, x, 1.0) - sonos(day, x),  # type: ignore[misc]
        lambda x, height=_height, scale=_scale: height * (1 - np.exp(-1800 * x / scale)),  # type: ignore[misc]
    )


def compare(found: Array, published: Array) -> None:
    np.testing.assert_allclose(found, published, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CURVES)
def test_a_presets_curve_is_the_published_fit(name: str) -> None:
    ours, published = CURVES[name]
    compare(ours(X), published(X))


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_that_is_a_tenth_off_would_be_seen(name: str) -> None:
    ours, published = CURVES[name]
    with pytest.raises(AssertionError):
        compare(1.1 * ours(X), published(X))


def test_the_two_fits_of_pcm_programming_agree_within_five_percent_from_2_to_25_microsiemens() -> None:
    g = np.linspace(2e-6, 25e-6, 50)
    np.testing.assert_allclose(PCM_JOSHI_2020.sigma(g), PCM_NANDAKUMAR_2019.sigma(g), rtol=0.05)


def test_the_two_fits_of_neurram_disagree_as_tabulated() -> None:
    g = np.array([4e-6, 20e-6, 39.26e-6])
    one, other = RRAM_WAN_2022.sigma(g) * 1e6, RRAM_WAN_2022_CROSSSIM.sigma(g) * 1e6
    np.testing.assert_allclose(one[:2], [1.56, 2.02], atol=0.005)
    np.testing.assert_allclose(other[:2], [1.83, 2.36], atol=0.005)
    assert RRAM_WAN_2022.sigma(np.array([40e-6]))[0] == pytest.approx(1.10e-6, abs=0.005e-6)
    assert other[2] / one[2] > 1.4


@pytest.mark.parametrize("x", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_drift_exponents_of_programmed_pcm_cells_have_the_published_mean_and_spread(x: float) -> None:
    count = 5000
    target = np.full(count, x * 25e-6)
    rng = stream(0, "exponents", round(100 * x))
    g = PCM_NANDAKUMAR_2019.programme(target, rng)
    drawn = rng.standard_normal(count)
    hour = PCM_NANDAKUMAR_2019.aged(g, target, drawn, np.full(count, 3600.0))
    found = -np.log(hour / g) / math.log(3620 / 20)
    mean, std = (float(curve(np.array(x))) for curve in (PCM_NANDAKUMAR_2019.drift_mean, PCM_NANDAKUMAR_2019.drift_std))
    assert abs(found.mean() - mean) <= 4 * std / math.sqrt(count)
    assert abs(found.std(ddof=1) - std) <= 4 * std / math.sqrt(2 * count)


@pytest.mark.parametrize("x", [0.2, 0.4, 0.6, 0.8, 1.0])
def test_the_accumulated_read_noise_of_pcm_after_an_hour_is_the_published_one(x: float) -> None:
    g, age = np.array([x * 25e-6]), np.array([3600.0])
    slow = PCM_NANDAKUMAR_2019.slow(g, g, age, 1e-3)
    fast = PCM_NANDAKUMAR_2019.variance(g, g, 1e-3)
    total = x * 25e-6 * min(0.0088 / x**0.65, 0.2) * math.sqrt(math.log((3620 + 250e-9) / 500e-9))
    np.testing.assert_allclose(np.sqrt(slow**2 + fast), total, rtol=1e-9)


PEER = json.loads((Path(__file__).parent / "data" / "aihwkit_pcm.json").read_text())


@pytest.mark.parametrize("recorded", PEER["statistics"], ids=lambda r: f"{r['level'] * 1e6:g} uS, {r['age']:g} s")
def test_programmed_and_aged_cells_are_distributed_as_aihwkits(recorded: dict[str, Any]) -> None:
    count, level, age = PEER["count"], recorded["level"], recorded["age"]
    rng = stream(0, "aihwkit", round(level * 1e9), round(age))
    target, device = np.full(count, level), PCM_NANDAKUMAR_2019
    g = device.programme(target, rng)
    now = device.aged(g, target, rng.standard_normal(count), np.full(count, age))
    # its read noise is that of the conductance as programmed, ours that of the target
    now = now + device.slow(now, target, np.full(count, age), 1e-3) * rng.standard_normal(count)
    now = now + np.sqrt(device.variance(now, target, 1e-3)) * rng.standard_normal(count)
    for ours, theirs in ((g, recorded["programmed"]), (now, recorded["aged"])):
        std = theirs[1]
        assert abs(ours.mean() - theirs[0]) <= 4 * std * math.sqrt(2 / count) + 0.002 * theirs[0]
        assert abs(ours.std(ddof=1) - std) <= 4 * std * math.sqrt(1 / count) + 0.01 * std


PULSED = {
    "ReRamES": devices.RERAM_ES_GONG_2018,
    "ReRamSB": devices.RERAM_SB_GONG_2018,
    "Capacitor": devices.CAPACITOR_LI_2018,
    "EcRam": devices.ECRAM_TANG_2018,
    "EcRamMO": devices.ECRAM_MO_KIM_2019,
    "GokmenVlasov": devices.GOKMEN_VLASOV_2016,
    "Idealized": devices.IDEALIZED,
    "PCM": devices.PCM_NANDAKUMAR_2020,
    "ReRamArrayOM": devices.RERAM_ARRAY_OM_2022,
    "ReRamArrayHfO2": devices.RERAM_ARRAY_HFO2_2022,
}
PULSES = json.loads((Path(__file__).parent / "data" / "aihwkit_pulses.json").read_text())


def answered(device: Pulsed, name: str, changes: Sequence[int]) -> Iterator[Array]:
    """Relative weights as read of cells that start at 0, after each of `changes` pulses more."""
    count = PULSES["count"]
    cell = dict(device.fabricate((count,), Draw(0, name, ("aihwkit",))))
    g, rng = device.conductance(np.zeros(count)), stream(0, "aihwkit", name, "pulses")
    for pulses in changes:
        g = device.pulse(g, np.full(count, pulses), cell, rng)
        yield device.relative(device.written(g, rng))


def answers_as_recorded(device: Pulsed, name: str) -> None:
    # far from 0 S, so that its bounds, which are relative, stay as they are
    device = dataclasses.replace(device, g_min=100e-6, g_max=110e-6)
    points, count, runs = PULSES["points"][name], PULSES["count"], PULSES["runs"]
    pulses = np.array([point[0] for point in points])
    turn = int(np.argmax(pulses < 0))
    changes = np.diff(pulses, prepend=0)
    changes[turn] = pulses[turn]
    for weights, (at, mean, std) in zip(answered(device, name, changes.tolist()), points, strict=True):
        # its noise from pulse to pulse comes from a finite list: between runs, means differ by 1 % of a step's noise
        bias = 0.01 * device.cycle * abs(mean - (0.0 if at > 0 else points[turn - 1][1])) * 2 / math.sqrt(runs)
        error = std * math.sqrt(1 / count + 1 / (count * runs))
        assert abs(weights.mean() - mean) <= 4 * error + bias, f"mean after {at} pulses"
        slack = 4 / math.sqrt(count) + 0.05 + 0.02 * device.cycle
        assert abs(weights.std(ddof=1) / std - 1) <= slack, f"spread after {at} pulses"


@pytest.mark.parametrize("name", PULSED)
def test_cells_answer_to_pulses_as_aihwkits(name: str) -> None:
    answers_as_recorded(PULSED[name], name)


@pytest.mark.parametrize("name", PULSED)
def test_an_answer_that_is_a_tenth_off_would_be_seen(name: str) -> None:
    with pytest.raises(AssertionError, match="pulses"):
        answers_as_recorded(dataclasses.replace(PULSED[name], step=1.1 * PULSED[name].step), name)


def test_a_hundred_pulses_take_ecram_of_tungsten_oxide_through_its_range_and_back() -> None:
    cells = ECRAM_WOX_2023.fabricate((2, 3, 4), Draw(0, "test", ()))
    state = np.full((2, 3, 4), 0.1e-6)
    for count, end in ((100, 230e-6), (-100, 0.1e-6)):
        state = ECRAM_WOX_2023.pulse(state, np.full(state.shape, count), cells, stream(0, "test", "pulses"))
        np.testing.assert_allclose(state, end, rtol=1e-9)


def test_an_hour_of_relaxation_of_cmo_cells_is_near_the_measured_mean() -> None:
    g = np.array([45e-6])
    moved = RRAM_FALCONE_2025.aged(g, g, np.zeros(1), np.array([3600.0])) - g
    assert moved[0] == pytest.approx(-0.68e-6, abs=0.06e-6)  # average over the array after an hour, Falcone et al. 2025


def test_between_two_measured_days_the_spread_lies_between_them() -> None:
    g = np.array([4e-6, 10e-6, 30e-6])
    ends = [RRAM_WAN_2022.spread(g, np.full(3, age)) for age in (1.0, DAY)]
    middle = RRAM_WAN_2022.spread(g, np.full(3, math.sqrt(DAY)))
    np.testing.assert_allclose(middle, (ends[0] + ends[1]) / 2, rtol=1e-12)
    np.testing.assert_array_equal(RRAM_WAN_2022.spread(g, np.full(3, 1e-3)), ends[0])


@pytest.mark.parametrize("device", [RRAM_WAN_2022, RRAM_FALCONE_2025])
def test_a_fit_is_extrapolated_only_when_that_is_asked_for(device: Device) -> None:
    with pytest.raises(ParameterError, match="was measured"):
        device.check_age(1e7)
    with pytest.warns(ExtrapolationWarning, match="extrapolated"):
        dataclasses.replace(device, extrapolate=True).check_age(1e7)  # type: ignore[call-arg]


def test_the_spread_of_sonos_at_a_microampere() -> None:
    assert SONOS_AGRAWAL_2022.sigma(np.array([5e-6]))[0] * 0.2e9 == pytest.approx(19.8182, abs=1e-4)


@pytest.mark.parametrize("changes", [{"g_max": 20e-6}, {"measured_until": 6 * DAY}, {"extrapolate": True}])
def test_sonos_is_refused_beyond_its_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        dataclasses.replace(SONOS_AGRAWAL_2022, **changes)
    with pytest.raises(ParameterError, match="older than Sonos was measured"):
        SONOS_AGRAWAL_2022.check_age(6 * DAY)
