"""Memory cells of any parameters keep the conformance suite, and do what the equation of their kind says."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chipsim.devices import ALL, Cmo, Device, Ideal, Pcm, Pulsed, Relaxing, Rram, Sonos
from chipsim.devices.curves import Polynomial
from chipsim.devices.pulsed import STEPS, Step
from chipsim.streams import Draw, stream
from chipsim.testing import conformance, strategies

NONE = Polynomial(powers=(0.0,))
QUIET: dict[type[Device], dict[str, Any]] = {
    Ideal: {},
    Rram: {"sigma_offset": 0.0, "sigma_slope": 0.0},
    Relaxing: {"times": (1.0, 60.0), "spreads": (NONE, NONE)},
    Cmo: {"spread": NONE, "shift": 0.0, "slope": 0.0, "offset": 0.0, "noise": 0.0},
    Pcm: {"spread": NONE, "drift_mean": NONE, "drift_std": NONE, "noise": NONE},
    Pulsed: {"write_noise": 0.0, "top_spread": 0.0, "bottom_spread": 0.0},
}
"""Parameters of strength 0. Sonos is missing: its spreads, drifts and noise are fixed."""
SPREADS = {"step_spread": 0.2, "asymmetry_spread": 0.1, "top_spread": 0.2, "bottom_spread": 0.2}


def kinds(*chosen: type[Device]) -> Any:
    """The test for each of these kinds of devices."""
    return pytest.mark.parametrize("kind", chosen, ids=[kind.__name__ for kind in chosen])


def population(device: Device, count: int = 2_000) -> tuple[NDArray[np.float64], ...]:
    """Targets at all levels, what they were programmed to, and what was drawn: as much above 0 as below."""
    target = device.quantise(np.linspace(device.g_min, device.g_max, count))
    half = stream(0, "test", "drawn").standard_normal(count // 2)
    return target, device.programme(target, stream(0, "test")), np.concatenate([half, -half])


def ages(device: Device, start: float = 1e-3) -> NDArray[np.float64]:
    return np.geomspace(start, max(10 * start, min(getattr(device, "measured_until", 1e6), 1e8)), 9)


@kinds(*ALL)
@given(data=st.data())
def test_devices_conform(kind: type[Device], data: st.DataObject) -> None:
    device = data.draw(strategies.devices((kind,)))
    for check in conformance.DEVICE:
        check(device)


@pytest.mark.parametrize("step", STEPS)
def test_steps_declare_their_numbers(step: type[Step]) -> None:
    for check in conformance.PARAMETERS:
        check(step())


def test_the_quiet_ones_are_all_but_sonos() -> None:
    assert set(QUIET) == set(ALL) - {Sonos}


@kinds(*QUIET)
@given(data=st.data())
def test_at_strength_zero_a_cell_is_its_target_for_good(kind: type[Device], data: st.DataObject) -> None:
    device = replace(data.draw(strategies.devices((kind,))), **QUIET[kind])
    target, g, drawn = population(device)
    cell = device.fabricate(target.shape, Draw(0, "device", ("cells",)))
    np.testing.assert_array_equal(g, target)
    np.testing.assert_allclose(device.limit(g, cell), target, rtol=1e-12)
    for age in ages(device):
        aged = device.aged(g, target, drawn, np.full_like(g, age))
        np.testing.assert_allclose(aged, target, rtol=1e-12)
        assert not device.slow(aged, target, np.full_like(g, age), 1e-3).any()
    assert not device.variance(g, target, 1e-3).any()


@given(strategies.devices((Pcm,)))
def test_every_phase_change_cell_only_loses_conductance(device: Device) -> None:
    target, g, drawn = population(device)
    found = [g, *(device.aged(g, target, drawn, np.full_like(g, age)) for age in ages(device))]
    assert all((later <= before).all() for before, later in pairwise(found))
    assert found[-1].mean() < g.mean()


@given(strategies.devices((Cmo,)), st.floats(-0.3, 0.3))
def test_the_mean_of_oxide_cells_moves_the_way_of_its_shift(device: Cmo, shift: float) -> None:
    device = replace(device, shift=shift, levels=None)
    half = stream(0, "test", "drawn").standard_normal(1_000)
    g, drawn = np.full(2_000, (device.g_min + device.g_max) / 2), np.concatenate([half, -half])
    means = np.array([device.aged(g, g, drawn, np.full_like(g, age)).mean() for age in ages(device, 1.0)])
    assert (np.sign(shift) * np.diff(means) >= -1e-12 * device.g_max).all()
    assert abs(means[0] - g[0]) < 1e-9 * device.g_max, "at 1 s the mean is where it was programmed"


@given(strategies.devices((Relaxing,)))
def test_the_mean_of_relaxing_cells_stands_still(device: Device) -> None:
    g = np.full(10_000, device.quantise(np.array((device.g_min + device.g_max) / 2)))
    written = device.programme(g, stream(0, "test"))
    for age in ages(device):
        aged = device.aged(written, g, None, np.full_like(g, age))
        assert abs(aged.mean() - g[0]) <= 4 * aged.std() / np.sqrt(g.size)


@kinds(Cmo, Pcm)
@given(data=st.data())
def test_read_noise_gathers_with_time(kind: type[Device], data: st.DataObject) -> None:
    device = data.draw(strategies.devices((kind,)))
    target, _, _ = population(device)
    slow = [device.slow(target, target, np.full_like(target, age), 1e-3) for age in ages(device)]
    assert all((later >= before).all() for before, later in pairwise(slow))
    loud = device.flicker(target, target) > 0
    assert (slow[-1][loud] > slow[0][loud]).all()


@kinds(*ALL)
@given(data=st.data(), seed=strategies.SEEDS)
def test_what_is_frozen_is_of_the_die(kind: type[Device], data: st.DataObject, seed: int) -> None:
    device = data.draw(strategies.devices((kind,)))
    if isinstance(device, Pulsed):
        device = replace(device, **SPREADS)
    one, again = (device.fabricate((2, 5, 4), Draw(seed, "device", ("tile", 0))) for _ in range(2))
    others = [device.fabricate((2, 5, 4), Draw(seed + die, "device", ("tile", 1 - die))) for die in range(2)]
    assert bool(one) == device.pulses
    for name, values in one.items():
        np.testing.assert_array_equal(values, again[name])
        assert values.shape == (2, 5, 4)
        if name.startswith("step") or name in ("top", "bottom"):
            assert not any(np.array_equal(values, other[name]) for other in others), name


@settings(max_examples=40)
@given(strategies.devices((Pulsed,)), st.integers(0, 60), st.integers(0, 60))
def test_pulses_of_equal_cells_are_a_path_without_noise(device: Pulsed, first: int, second: int) -> None:
    """Without noise and spread, pulses together are pulses one after the other, and cells move alike, one way."""
    quiet = dict.fromkeys((*SPREADS, "cycle", "write_noise"), 0.0)
    response = replace(device.response, spread=0.0) if hasattr(device.response, "spread") else device.response
    device = replace(device, **quiet, response=response)
    cell = device.fabricate((3,), Draw(0, "device", ("cells",)))
    start, rng = np.full(3, (device.g_min + device.g_max) / 2), stream(0, "test")
    for sign in (1, -1):
        part = device.pulse(start, np.full(3, sign * first), cell, rng)
        whole = device.pulse(start, np.full(3, sign * (first + second)), cell, rng)
        np.testing.assert_allclose(device.pulse(part, np.full(3, sign * second), cell, rng), whole, rtol=1e-9)
        assert np.ptp(whole) == 0
        slack = 1e-12 * device.g_max
        assert (sign * (part - start) >= -slack).all()
        assert (sign * (whole - part) >= -slack).all()
        assert device.g_min - slack <= whole[0] <= device.g_max + slack
