"""What every non-ideality must do; give an instance of a strength above 0.

A measured size is what the effect states of the part, with cells at g_max: its strength, unless it overrides `stated`.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, to_numpy
from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.circuits import LIF
from chipsim.deployment import Deployment, deploy
from chipsim.effects import Effect, Seen
from chipsim.effects.base import DRAWN
from chipsim.network import Network
from chipsim.quantity import declarations
from chipsim.report import RareEventWarning
from chipsim.streams import stream
from chipsim.testing.conformance.parameters import PARAMETERS

Array = NDArray[np.float64]
CHIPS = 24
TILES = 8


def _chip(*effects: Effect, seed: int = 0) -> Chip:
    return fabricate(ChipDesign(circuit=LIF(), effects=effects, tiles=8, rows=40, columns=40, neurons=64), seed)


@cache
def _samples() -> Array:
    return stream(0, "conformance", "inputs").uniform(0.0, 2.0, (4, 16))


def _deployed(*effects: Effect, seed: int = 0) -> Deployment:
    return deploy(Network.random((16, 64, 8), seed=0), _chip(*effects, seed=seed), window=8)


@cache
def _ideal() -> Array:
    return _deployed().outputs(_samples())


def switched_off(effect: Effect) -> Effect:
    """Return the effect at strength 0; raise AssertionError where no parameter switches it off."""
    for name in declarations(effect):
        low, high = declarations(effect)[name].range
        off = dataclasses.replace(effect, **{name: 0.0}) if low <= 0.0 <= high else effect
        if off.strength == 0:
            return off
    none = {name: 0.0 for name, declared in declarations(effect).items() if declared.range[0] <= 0.0}
    if (off := dataclasses.replace(effect, **none)).strength == 0:
        return off
    empty = {int: 0, tuple: ()}
    kinds = {field.name: type(getattr(effect, field.name)) for field in dataclasses.fields(effect)}
    off = dataclasses.replace(off, **{name: empty[kind] for name, kind in kinds.items() if kind in empty})
    if off.strength == 0:
        return off
    raise AssertionError(f"no parameter of {effect.name} brings its strength to 0: strength 0 must be legal")


def states_its_strength(effect: Effect) -> None:
    """It has a name fit for a file, and a finite strength above 0."""
    assert effect.name.isidentifier(), f"the name {effect.name!r} is no identifier"
    assert effect.name == effect.name.lower(), f"the name {effect.name!r} is not in lower case"
    assert 0 < effect.strength < np.inf, f"give an instance of a strength above 0, not {effect.strength}"


def does_nothing_at_strength_zero(effect: Effect) -> None:
    """At strength 0 outputs are bit-identical to those without it, and the report reads "off"."""
    deployment = _deployed(switched_off(effect))
    assert np.array_equal(deployment.outputs(_samples()), _ideal()), "at strength 0 it changes outputs"
    (text,) = (entry.text for entry in deployment.effect_report().entries if entry.effect == effect.name)
    assert text == "off", f'at strength 0 the report reads "{text}", not "off"'


def acts(effect: Effect) -> None:
    """Switched on alone it changes the outputs, paired, on one of the first 24 chips, and the report gives its size."""
    for seed in range(CHIPS):
        deployment = _deployed(effect, seed=seed)
        if not np.array_equal(deployment.outputs(_samples()), _ideal()):
            sizes = deployment.effect_report()[effect.name]
            assert any(sizes.values()), f"it changes outputs, but the report says {sizes}"
            return
    raise AssertionError(f"switched on alone it changes no output of {CHIPS} chips")


def stays_frozen(effect: Effect) -> None:
    """The same die meets the same variation at every look and every run; hooks draw nothing of their own."""
    one, other = _chip(effect), _chip(effect)
    _equal(one.frozen_neurons[0], other.frozen_neurons[0], "frozen arrays of neurons")
    _equal(one.tile(3)[0], other.tile(3)[0], "frozen arrays of cells")
    _equal(one.tile(3)[0], one.tile(3)[0], "frozen arrays of cells, asked twice,")
    _equal(one.neurons, other.neurons, "parameters of neurons")
    deployment = _deployed(effect)
    first, again = deployment.outputs(_samples()), deployment.outputs(_samples())
    assert np.array_equal(first, again), "the same samples on the same deployment gave other outputs"


def _equal(one: object, other: object, what: str) -> None:
    assert isinstance(one, dict) and isinstance(other, dict), f"{what} must be a dict"  # noqa: PT018
    assert one.keys() == other.keys(), f"{what} have other names"
    for name, values in one.items():
        assert np.array_equal(values, other[name]), f"{what} differ in {name!r}"


def differs_from_tile_to_tile(effect: Effect) -> None:
    """Tiles and dies draw independently: no two share their frozen variation. What the design itself places is the same
    on all dies.
    """
    one, other = _chip(effect), _chip(effect, seed=1)
    pairs = [
        (one.tile(0)[0], one.tile(1)[0], "two tiles"),
        (one.tile(0)[0], other.tile(0)[0], "two dies"),
        (one.frozen_neurons[0], other.frozen_neurons[0], "two dies"),
    ]
    for left, right, where in pairs:
        for name, values in left.items():
            varied, same = values.min() != values.max(), np.array_equal(values, right[name])
            if name not in effect.designed:
                assert not (varied and same), f"{where} have the same {name!r}"
            elif where == "two dies":
                assert same, f"the design places {name!r}, but two dies differ in it"


def edits_no_argument(effect: Effect) -> None:
    """Its hooks leave their arguments as they were."""
    chip = _chip(effect)
    circuit, device = chip.design.circuit, chip.design.device
    values = {name: np.full(64, value) for name, value in circuit.nominal().items()}
    neurons, cells = dict(chip.frozen_neurons[0]), dict(chip.tile(0)[0])
    g = np.linspace(device.g_min, device.g_max, 2 * 40 * 40).reshape(2, 40, 40)
    noise = np.array([1.0, 1.0])
    arrays = [*values.values(), *neurons.values(), *cells.values(), g, noise]
    copies = [array.copy() for array in arrays]
    names = [list(values), list(neurons), list(cells)]
    effect.neurons(circuit, values, neurons)
    effect.programme(g, cells)
    effect.read(g, cells)
    effect.variance(g, device.g_max)
    effect.settled(cells)
    effect.column_gain(cells)
    effect.column_offset(cells)
    effect.column_variance(cells)
    effect.column_errors(neurons)
    effect.measure(Seen(neurons=[neurons], cells=[cells], noise=noise, conductances=[g], g_max=device.g_max))
    assert names == [list(values), list(neurons), list(cells)], "a hook added or removed an entry of its argument"
    for array, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(array, copy), "a hook edited an array that it was given"


def keeps_conductances_physical(effect: Effect) -> None:
    """What stands after a write and what a read sees is finite and not negative."""
    chip = _chip(effect)
    device, frozen = chip.design.device, chip.tile(0)[0]
    g = np.linspace(device.g_min, device.g_max, 2 * 40 * 40).reshape(2, 40, 40)
    for hook, after in (("programme", effect.programme(g, frozen)), ("read", effect.read(g, frozen))):
        assert after.shape == g.shape, f"{hook} changed the shape of the conductances"
        assert np.isfinite(after).all(), f"{hook} gave a conductance that is NaN or infinite"
        assert (after >= 0).all(), f"{hook} gave a negative conductance"
    variance = effect.variance(g, device.g_max)
    shapes = (g.shape, (*g.shape[:-2], 1, 1))
    assert variance.shape in shapes, "variance has neither the shape of the conductances nor one row and column"
    assert np.isfinite(variance).all(), "a variance is NaN or infinite"
    assert (variance >= 0).all(), "a variance is negative"
    assert effect.reads_noisily == bool(variance.any()), "it reads noisily just where it overrides `variance`"


def runs_on_either_kind_of_array(effect: Effect) -> None:
    """On tensors of PyTorch its hooks on cells and columns give what they give on numpy's arrays."""
    chip = _chip(effect)
    device, frozen = chip.design.device, chip.tile(0)[0]
    g = np.linspace(device.g_min, device.g_max, 2 * 40 * 40).reshape(2, 40, 40)

    def hooks(g: AnyArray, frozen: Mapping[str, AnyArray]) -> list[AnyArray]:
        columns = [effect.column_gain(frozen), effect.column_offset(frozen), effect.column_variance(frozen)]
        cells = [effect.programme(g, frozen), effect.read(g, frozen), effect.variance(g, device.g_max)]
        return cells + [values for values in columns if values is not None]

    tensors = hooks(torch.tensor(g), {name: torch.tensor(values) for name, values in frozen.items()})
    for ours, tensor in zip(hooks(g, frozen), tensors, strict=True):
        assert isinstance(tensor, torch.Tensor), "a hook gave back another kind of array than it was given"
        # the libraries' exp differ in the last bit
        assert np.allclose(ours, to_numpy(tensor), rtol=1e-14, atol=0), "tensors give other numbers than arrays"


def states_its_membrane_noise(effect: Effect) -> None:
    """Noise of a step has a finite standard deviation that grows with the root of the step; 0 where it adds none."""
    circuit = LIF()
    short, long = (effect.membrane(circuit, seconds) for seconds in (1e-3, 4e-3))
    drawn = [effect.drawn(kind, circuit, 1e-3) for kind in DRAWN]
    assert effect.noisy == any(drawn), "it draws anew just where it overrides `membrane`, `driver` or `loss`"
    assert all(0 <= size < np.inf for size in drawn), f"noise of sizes {drawn}"
    assert 0 <= effect.loss() <= 1, f"a probability of {effect.loss():g}"
    assert 0 <= short < np.inf, f"a standard deviation of {short:g}"
    assert np.isclose(long, 2 * short, rtol=1e-9), "white noise over four times as long must be twice as large"


def has_converters_in_order(effect: Effect) -> None:
    """Every converter has a step above 0 that divides its range, or stands on neither side."""
    for side, grid in (("rows", effect.rows()), ("columns", effect.columns())):
        if grid is not None:
            assert 0 < grid.step <= grid.limit < np.inf, f"{side} have converters of step {grid.step:g}"
            assert np.isclose(grid.limit / grid.step, round(grid.limit / grid.step)), f"{side}: the range is no code"


def measures_what_it_states(effect: Effect) -> None:
    """Over 24 chips (more than 12,000 draws) every measured size is what it states, within 4 standard errors."""
    design = ChipDesign(circuit=LIF(), effects=(effect,), tiles=TILES, rows=32, columns=32, neurons=512)
    found: dict[str, list[float]] = {}
    for seed in range(CHIPS):
        chip = fabricate(design, seed)
        noise = np.zeros(2)
        for kind in DRAWN:
            for white in chip.noise(kind, design.circuit, ("conformance",), 1e-3).values():
                noise += white.seen(kind, range(32), 1, 512)
        full = np.full((2, 32, 32), design.device.g_max)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RareEventWarning)
            sizes = effect.measure(
                Seen(
                    neurons=[chip.frozen_neurons[0]],
                    cells=[chip.tile(tile)[0] for tile in range(TILES)],
                    noise=noise,
                    conductances=[full] * TILES,
                    g_max=design.device.g_max,
                )
            )
        for part, size in sizes.items():
            found.setdefault(part, []).append(size)
    assert found, "it measures nothing"
    for part, measured in found.items():
        stated = effect.stated(part, design.circuit, design.device)
        if np.isnan(stated):
            continue
        mean, error = float(np.mean(measured)), float(np.std(measured, ddof=1)) / np.sqrt(CHIPS)
        assert abs(mean - stated) <= 4 * error + 1e-12, f"{part} measures {mean:g} +- {error:g}, but it states {stated}"


EFFECT: tuple[Callable[[Effect], None], ...] = (
    *PARAMETERS,
    states_its_strength,
    does_nothing_at_strength_zero,
    acts,
    stays_frozen,
    differs_from_tile_to_tile,
    edits_no_argument,
    keeps_conductances_physical,
    runs_on_either_kind_of_array,
    states_its_membrane_noise,
    has_converters_in_order,
    measures_what_it_states,
)
