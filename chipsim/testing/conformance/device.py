"""What every memory cell must do.

A device whose programming spreads says so in a method `sigma(g)`, the standard deviation [S] around the target `g`;
one without it is taken at its word: it programmes exactly. What lands below zero is truncated at zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.devices import Device
from chipsim.errors import ParameterError
from chipsim.streams import stream
from chipsim.testing.conformance.parameters import PARAMETERS, raises

Array = NDArray[np.float64]
CELLS = 10_000


def _rng(*names: str | int) -> np.random.Generator:
    return stream(0, "conformance", *names)


def _targets(device: Device, count: int = CELLS) -> Array:
    levels: Array = device.quantise(np.linspace(device.g_min, device.g_max, count))
    return levels


def _sigma(device: Device, g: Array) -> Array:
    """Stated spread at `g`; 0 where the device states none."""
    stated = getattr(device, "sigma", None)
    return np.zeros_like(g) if stated is None else np.broadcast_to(stated(g), g.shape)


def programmes_within_bounds(device: Device) -> None:
    """Programmed conductances are finite and not negative, in the shape of their targets, also for none at all."""
    g = device.programme(_targets(device).reshape(2, -1, 50), _rng())
    assert g.shape == (2, CELLS // 100, 50), f"targets [2, {CELLS // 100}, 50] came back as {list(g.shape)}"
    assert np.isfinite(g).all(), "a programmed conductance is NaN or infinite"
    assert (g >= 0).all(), f"a programmed conductance is negative: {g.min():g} S"
    assert device.programme(np.empty(0), _rng()).shape == (0,), "programming no cell must give no cell"


def leaves_its_targets(device: Device) -> None:
    """Programming does not edit the targets; a device that draws noise gives conductances in an array of their own."""
    targets = _targets(device)
    before = targets.copy()
    g = device.programme(targets, _rng())
    assert np.array_equal(targets, before), "programming edited its targets"
    assert not (device.draws and np.shares_memory(g, targets)), "the conductances are the target array itself"


def refuses_targets_out_of_range(device: Device) -> None:
    """A target below g_min, above g_max or NaN raises ParameterError."""
    span = device.g_max - device.g_min
    for bad in (device.g_min - 0.01 * span, device.g_max + 0.01 * span, np.nan):
        targets = np.array([device.g_min, bad])
        raises(
            ParameterError,
            lambda targets=targets: device.programme(targets, _rng()),  # type: ignore[misc]
            f"a target of {bad:g} S must raise ParameterError",
        )


def has_stable_levels(device: Device) -> None:
    """Quantising gives the nearest of `levels` values, ends included; doing it twice changes nothing."""
    g = np.linspace(device.g_min, device.g_max, CELLS)
    once = device.quantise(g)
    assert np.array_equal(device.quantise(once), once), "quantising twice is not quantising once"
    if device.levels is None:
        assert np.array_equal(once, g), "a continuous cell must hold any conductance"
        return
    span = device.g_max - device.g_min
    assert np.abs(once - g).max() <= span / (device.levels - 1) / 2 * (1 + 1e-9), "not the nearest level"
    assert np.allclose(once[[0, -1]], g[[0, -1]], rtol=1e-12, atol=0), "g_min and g_max must be levels"
    if device.levels <= CELLS // 10:
        assert len(np.unique(once)) == device.levels, f"{len(np.unique(once))} levels, stated {device.levels}"


def spreads_as_stated(device: Device) -> None:
    """At 5 targets and 10,000 cells each, mean and spread are the target and `sigma`, within 4 standard errors."""
    for index, target in enumerate(device.quantise(np.linspace(device.g_min, device.g_max, 5))):
        targets = np.full(CELLS, target)
        sigma = float(_sigma(device, targets)[0])
        g = device.programme(targets, _rng("spread", index))
        if sigma == 0:
            assert np.array_equal(g, targets), f"at {target:g} S it states no spread, but is not exact"
        elif target >= 5 * sigma:  # closer to 0, truncation moves both
            error = abs(g.mean() - target) / (sigma / np.sqrt(CELLS))
            assert error <= 4, f"at {target:g} S the mean is {g.mean():g} S, {error:.1f} standard errors off"
            error = abs(g.std(ddof=1) - sigma) / (sigma / np.sqrt(2 * (CELLS - 1)))
            assert error <= 4, f"at {target:g} S the spread is {g.std():g} S, stated {sigma:g} S"


def repeats_with_its_stream(device: Device) -> None:
    """The same stream gives the same conductances; another gives others where a spread is stated."""
    targets = _targets(device)
    first, again, other = (device.programme(targets, _rng(name)) for name in ("a", "a", "b"))
    assert np.array_equal(first, again), "the same stream gave other conductances"
    if (_sigma(device, targets) > 0).any():
        assert not np.array_equal(first, other), "another stream gave the same conductances"


def states_whether_it_draws(device: Device) -> None:
    """One that states a spread says in `draws` that it draws; what another programmes is a function of its target."""
    targets = _targets(device)
    if (_sigma(device, targets) > 0).any():
        assert device.draws, "it states a spread, but not in `draws` that cells which are not written must draw none"
    if not device.draws:
        first, other = (device.programme(targets, _rng(name)) for name in ("a", "b"))
        assert np.array_equal(first, other), "it says that it draws nothing, but the stream plays a part"


def runs_on_either_kind_of_array(device: Device) -> None:
    """Tensors of PyTorch are quantised and programmed as numpy's arrays are."""
    g = np.linspace(device.g_min, device.g_max, CELLS)
    levels = device.quantise(torch.tensor(g))
    assert np.allclose(to_numpy(levels), device.quantise(g), rtol=1e-12), "tensors get other levels than arrays"
    ours, tensors = device.programme(_targets(device), _rng()), device.programme(torch.tensor(_targets(device)), _rng())
    assert isinstance(tensors, torch.Tensor), "programming gave back another kind of array than it was given"
    assert np.allclose(to_numpy(tensors), ours, rtol=1e-12), "tensors are programmed to other values than arrays"


DEVICE: tuple[Callable[[Device], None], ...] = (
    *PARAMETERS,
    programmes_within_bounds,
    leaves_its_targets,
    refuses_targets_out_of_range,
    has_stable_levels,
    spreads_as_stated,
    repeats_with_its_stream,
    states_whether_it_draws,
    runs_on_either_kind_of_array,
)
