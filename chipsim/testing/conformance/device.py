"""What every memory cell must do.

A device whose programming spreads says so in a method `sigma(g)`, the standard deviation [S] around the target `g`;
one without it is taken at its word: it programmes exactly. What lands below zero is truncated at zero. One that ages
says so in `ages`, and until when in `measured_until`.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import to_numpy
from chipsim.devices import Device
from chipsim.errors import ParameterError
from chipsim.streams import Draw, stream
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
    target, age = _targets(device), np.full(CELLS, _ages(device)[-1])
    drawn = _drawn(device, target)
    given = [None if values is None else torch.tensor(values) for values in (ours, target, drawn, age)]
    for hook, arrays, tensors in (
        ("aged", (ours, target, drawn, age), given),
        ("slow", (ours, target, age, 1e-3), (given[0], given[1], given[3], 1e-3)),
        ("variance", (ours, target, 1e-3), (given[0], given[1], 1e-3)),
    ):
        on_arrays, on_tensors = getattr(device, hook)(*arrays), getattr(device, hook)(*tensors)
        assert isinstance(on_tensors, torch.Tensor), f"{hook} gave back another kind of array than it was given"
        assert np.allclose(to_numpy(on_tensors), on_arrays, rtol=1e-9, atol=1e-18), f"{hook} differs on tensors"


def _drawn(device: Device, like: Array) -> Array | None:
    return _rng("drawn").standard_normal(like.shape) if device.drifts else None


def _ages(device: Device) -> Array:
    """Ages at which the device may be read [s]."""
    ages: Array = np.array([0.0, *np.geomspace(1e-3, min(getattr(device, "measured_until", 1e6), 1e6), 8)])
    return ages


def says_whether_it_ages(device: Device) -> None:
    """One that does not age stays where it was written; one that ages moves, and not beyond what was measured."""
    target = _targets(device)
    g, oldest = device.programme(target, _rng()), _ages(device)[-1]
    aged = device.aged(g, target, _drawn(device, g), np.full_like(g, oldest))
    if not device.ages:
        assert np.array_equal(aged, g), "it says that it does not age, but moves"
        assert not device.drifts, "it draws for a drift that it says it has not"
        device.check_age(1e30)
        return
    if oldest > 1 and not device.pulses:  # of pulsed cells, only those with write noise
        assert not np.array_equal(aged, g), "it says that it ages, but stays where it was written"
    device.check_age(oldest)
    last = getattr(device, "measured_until", np.inf)
    if np.isfinite(last):
        raises(ParameterError, lambda: device.check_age(last * 1.01), "a cell older than was measured must be refused")


def ages_smoothly(device: Device) -> None:
    """Aged conductances are finite and not negative, cell by cell, and move less between ages that lie nearer."""
    target = _targets(device)
    g = device.programme(target, _rng())
    drawn = _drawn(device, g)
    for age in _ages(device):
        now = device.aged(g, target, drawn, np.full_like(g, age))
        soon = device.aged(g, target, drawn, np.full_like(g, age * (1 - 1e-6)))
        assert now.shape == g.shape, "ageing changed the shape"
        assert np.isfinite(now).all(), f"a conductance at {age:g} s is NaN or infinite"
        assert (now >= 0).all(), f"a conductance at {age:g} s is negative"
        assert np.abs(now - soon).max() <= 1e-3 * device.g_max, f"conductances jump at {age:g} s"
        single = device.aged(g[:3], target[:3], None if drawn is None else drawn[:3], np.full(3, age))
        assert np.array_equal(single, now[:3]), "a cell ages otherwise beside others than alone"


def edits_no_argument(device: Device) -> None:
    """What ages, reads, limits and pulses cells leaves its arguments as they were."""
    target = _targets(device)
    g = device.programme(target, _rng())
    drawn, age, counts = _drawn(device, g), np.full_like(g, _ages(device)[-1]), np.arange(CELLS) % 5 - 2
    cell = dict(device.fabricate((CELLS,), Draw(0, "device", ("cells",))))
    given = [values for values in (target, g, drawn, age, counts, *cell.values()) if values is not None]
    kept, names = [values.copy() for values in given], list(cell)
    device.quantise(g)
    device.aged(g, target, drawn, age)
    device.slow(g, target, age, 1e-3)
    device.variance(g, target, 1e-3)
    device.limit(g, cell)
    if device.pulses:
        device.pulse(g, counts, cell, _rng("pulse"))
    assert list(cell) == names, "a method added or removed an entry of what is frozen"
    assert all(np.array_equal(now, was) for now, was in zip(given, kept, strict=True)), "a method edited an argument"


def spreads_more_with_time(device: Device) -> None:
    """The spread of cells, relative to where they are on average, does not shrink while they age."""
    if not device.ages:
        return
    target = np.full(CELLS, (device.g_min + device.g_max) / 2)  # whatever the levels
    g = device.programme(target, _rng())
    drawn = _drawn(device, g)
    aged = [device.aged(g, target, drawn, np.full_like(g, age)) for age in _ages(device)[1:]]
    spreads = [values.std() / values.mean() for values in aged]
    assert all(later >= 0.97 * before for before, later in pairwise(spreads)), "it shrinks"


def states_its_read_noise(device: Device) -> None:
    """Read noise is finite, not negative, there just where `fluctuates` says so, and one whole whatever the step."""
    target = _targets(device)
    age = np.full_like(target, _ages(device)[-1])
    slow = [device.slow(target, target, age, step) for step in (1e-4, 1e-3)]
    fast = [device.variance(target, target, step) for step in (1e-4, 1e-3)]
    for values in (*slow, *fast):
        assert np.isfinite(values).all(), "read noise is NaN or infinite"
        assert (values >= 0).all(), "read noise is negative"
    assert device.fluctuates == any(values.any() for values in (*slow, *fast)), (
        "it fluctuates where it says it does not"
    )
    assert (slow[0] >= slow[1]).all(), "what stands still in a longer step is more"
    total = [standing**2 + passing for standing, passing in zip(slow, fast, strict=True)]
    assert np.allclose(total[0], total[1], rtol=1e-9), (
        "the two parts of the read noise do not make one whole whatever the step"
    )


def _pulsed(device: Device, w: float, counts: int, seed: int = 0) -> tuple[Array, Array, dict[str, Array]]:
    """Cells at a share `w` of the range, the same after `counts` pulses each, and what is frozen of them."""
    cell = dict(device.fabricate((CELLS,), Draw(0, "device", ("cells",))))
    g = np.full(CELLS, device.g_min + w * (device.g_max - device.g_min))
    g = device.limit(g, cell)
    return g, device.pulse(g, np.full(CELLS, counts), cell, _rng("pulse", seed)), cell


def answers_to_pulses(device: Device) -> None:
    """Pulses move cells in their direction on average, within each cell's limits; none moves nothing; a device without
    an answer refuses. What is frozen is the same at every look.
    """
    cell = dict(device.fabricate((4,), Draw(0, "device", ("cells",))))
    if not device.pulses:
        g = np.full(4, device.g_max)
        assert not cell, "a device without pulses draws nothing for them"
        raises(ParameterError, lambda: device.pulse(g, np.ones(4), cell, _rng()), "pulses must be refused")
        return
    again = device.fabricate((4,), Draw(0, "device", ("cells",)))
    assert all(np.array_equal(values, again[name]) for name, values in cell.items()), "frozen arrays differ"
    for counts in (0, 1, -1, 20, -20):
        g, after, cell = _pulsed(device, 0.5, counts)
        assert np.array_equal(device.limit(after, cell), after), "a pulse took a cell beyond its limits"
        assert (after >= 0).all(), "a pulse left a negative conductance"
        assert np.allclose(after, g, rtol=1e-12) if counts == 0 else np.sign((after - g).mean()) == np.sign(counts)
    mixed = np.arange(CELLS) % 3 - 1
    g, _, cell = _pulsed(device, 0.5, 0)
    after = device.pulse(g, mixed, cell, _rng("mixed"))
    assert np.allclose(after[mixed == 0], g[mixed == 0], rtol=1e-12), "a cell moved that was not pulsed"
    tensors = {name: torch.tensor(values) for name, values in cell.items()}
    other = device.pulse(torch.tensor(g), torch.tensor(mixed), tensors, _rng("mixed"))
    assert np.allclose(to_numpy(other), after, rtol=1e-9, atol=1e-18), "tensors are pulsed to other values than arrays"


DEVICE: tuple[Callable[[Device], None], ...] = (
    *PARAMETERS,
    programmes_within_bounds,
    leaves_its_targets,
    refuses_targets_out_of_range,
    has_stable_levels,
    spreads_as_stated,
    repeats_with_its_stream,
    states_whether_it_draws,
    says_whether_it_ages,
    ages_smoothly,
    edits_no_argument,
    spreads_more_with_time,
    states_its_read_noise,
    answers_to_pulses,
    runs_on_either_kind_of_array,
)
