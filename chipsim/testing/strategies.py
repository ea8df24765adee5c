"""Hypothesis strategies for networks, designs, chips, inputs and whatever they are made of.

    from hypothesis import given
    from chipsim.testing import strategies

    @given(strategies.networks(), strategies.chips())
    def test_mine(network, chip):
        snn = chipsim.deploy(network, chip, window=4)

All sizes are small: every drawn network fits on every drawn chip (with the default sizes of both), and a design's
tiles are often smaller than a layer. Networks are dense and neurons gather charge unless a strategy says otherwise:
`conv_networks`, `every_circuit`. Large arrays are drawn as a seed, so that failing examples shrink in shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from chipsim.chip import Chip, ChipDesign, fabricate
from chipsim.circuits import (
    BRAINSCALES2,
    DPI,
    DYNAP_SE1,
    DYNAP_SE2,
    IF,
    LIF,
    ROCKPOOL_DYNAPSIM,
    AdEx,
    Circuit,
    CurrentLIF,
    DynapSE,
    Integrator,
)
from chipsim.devices import (
    PCM_HERMES,
    PCM_HERMES_PAIR,
    PCM_JOSHI_2020,
    PCM_NANDAKUMAR_2019,
    RRAM_MILO_2021,
    Cmo,
    Device,
    Exponential,
    Ideal,
    Linear,
    Pcm,
    Pulsed,
    Relaxing,
    Rram,
    Sonos,
)
from chipsim.devices.curves import Polynomial
from chipsim.effects import (
    BrokenLines,
    CircuitNoise,
    Converters,
    DeadNeurons,
    DriverNoise,
    Effect,
    FailingTiles,
    HotNeurons,
    MembraneNoise,
    Mismatch,
    ReadNoise,
    SenseAmplifiers,
    SiliconMismatch,
    SpikeLoss,
    StuckCells,
    TelegraphNoise,
    WireResistance,
)
from chipsim.network import Conv2d, Dense, Layer, Network
from chipsim.streams import stream
from chipsim.wires import Ends

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def _between(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, width=64)


def strengths(high: float = 0.5) -> st.SearchStrategy[float]:
    """Strengths of an effect: 0, or anything from 0.01 to `high`."""
    return st.just(0.0) | _between(0.01, high)


@st.composite
def circuits(draw: st.DrawFn, kinds: Sequence[type[Circuit]] = (IF, LIF)) -> Circuit:
    """Spiking circuits of random threshold, rest, reset, gain, unit and time constant, hard or soft, with or without
    rails; those with a current port where `kinds` names them.
    """
    kind = draw(st.sampled_from(list(kinds)))
    if kind in _CURRENT_PORTS:
        return _CURRENT_PORTS[kind](draw)
    rest, swing = draw(_between(-0.2, 0.2)), draw(_between(0.2, 1.2))
    threshold, reset = max(rest + swing, 1e-2), rest + draw(_between(-0.5, 0.5)) * swing
    fields: dict[str, float | bool] = {
        "v_unit": draw(_between(0.5, 2.0)),
        "v_rest": rest,
        "v_threshold": threshold,
        "v_reset": min(reset, threshold - 0.2 * swing),
        "gain": draw(_between(0.5, 2.0)),
        "soft_reset": draw(st.booleans()),
    }
    if draw(st.booleans()):
        fields["v_floor"] = min(rest, reset) - draw(_between(0.0, 1.0))
        fields["v_ceiling"] = threshold + draw(_between(0.05, 1.0))
    if "tau" in kind.__dataclass_fields__:
        fields["tau"] = draw(_between(1e-3, 50e-3))
    return kind(**fields)


def _dpi(draw: st.DrawFn) -> DPI:
    """DPI neurons whose equations may be integrated in their own step, also with some mismatch."""
    i_0 = draw(_between(0.5e-12, 2e-12))
    return DPI(
        capacitance=draw(_between(2e-12, 6e-12)),
        i_tau=draw(_between(2e-12, 8e-12)),
        alpha=draw(_between(50.0, 300.0)),
        i_0=i_0,
        i_threshold=draw(_between(0.5e-9, 4e-9)),
        i_reset=i_0 * draw(_between(0.0, 3.0)),
        i_fb_gain=draw(st.just(0.0) | _between(10e-12, 100e-12)),
        t_refractory=draw(st.just(0.0) | _between(0.1e-3, 5e-3)),
        i_unit=draw(_between(50e-12, 500e-12)),
        gain=draw(_between(0.5, 2.0)),
    )


def _current_lif(draw: st.DrawFn) -> CurrentLIF:
    """Current-mode neurons at any temperature."""
    return CurrentLIF(
        temperature=draw(_between(260.0, 340.0)),
        i_tau=draw(_between(1e-12, 10e-12)),
        alpha=draw(_between(50.0, 300.0)),
        i_reset=draw(_between(0.0, 10e-12)),
        t_refractory=draw(st.just(0.0) | _between(0.1e-3, 5e-3)),
        gain=draw(_between(0.5, 2.0)),
    )


def _dynapse(draw: st.DrawFn) -> DynapSE:
    """The presets with any of their branches, at temperatures that suit their own step."""
    preset = draw(st.sampled_from([DYNAP_SE1, DYNAP_SE2, ROCKPOOL_DYNAPSIM]))
    return replace(
        preset,
        temperature=draw(_between(280.0, 340.0)),
        i_ahp_weight=draw(st.just(0.0) | _between(1e-9, 100e-9)),
        i_nmda=draw(st.just(0.0) | _between(1e-12, 100e-12)),
        shunt=draw(st.just(0.0) | _between(0.0, 1.0)),
        linear=draw(st.booleans()),
        gain=draw(_between(0.5, 2.0)),
        t_refractory=draw(st.just(0.0) | _between(0.1e-3, 5e-3)),
    )


def _adex(draw: st.DrawFn) -> AdEx:
    """Neurons of biology's and of accelerated time, with and without adaptation."""
    preset = draw(st.sampled_from([AdEx(), BRAINSCALES2]))
    return replace(
        preset,
        v_t=preset.v_t * draw(_between(0.8, 1.2)),
        a=preset.g_l * draw(st.just(0.0) | _between(-0.1, 0.5)),
        b=preset.b * draw(st.just(0.0) | _between(0.5, 2.0)),
        t_refractory=preset.tau * draw(st.just(0.0) | _between(0.0, 0.3)),
        gain=draw(_between(0.5, 2.0)),
    )


_CURRENT_PORTS: dict[type[Circuit], Callable[[st.DrawFn], Circuit]] = {
    AdEx: _adex,
    CurrentLIF: _current_lif,
    DPI: _dpi,
    DynapSE: _dynapse,
}


def every_circuit() -> st.SearchStrategy[Circuit]:
    """Spiking circuits of every kind, those with a current port too."""
    return circuits((*_CURRENT_PORTS, IF, LIF))


@st.composite
def readouts(draw: st.DrawFn) -> Circuit:
    """Read-out circuits of random unit, rest and gain."""
    return Integrator(v_unit=draw(_between(0.5, 2.0)), v_rest=draw(_between(-0.2, 0.2)), gain=draw(_between(0.5, 2.0)))


def _range(draw: st.DrawFn, low: float = 1e-6, high: float = 1e-3) -> dict[str, Any]:
    """A conductance range with g_max [S] within low .. high, from 0 or from a share of it on, and levels or none."""
    g_max = draw(_between(low, high))
    g_min = g_max * draw(st.just(0.0) | _between(0.01, 0.5))
    return {"g_min": g_min, "g_max": g_max, "levels": draw(st.none() | st.integers(2, 64))}


def _ideal(draw: st.DrawFn) -> Ideal:
    return Ideal(**_range(draw))


def _rram(draw: st.DrawFn) -> Rram:
    """Cells of any noise, none too, and the measured ones with any number of levels."""
    if draw(st.booleans()):
        return replace(RRAM_MILO_2021, levels=draw(st.just(32) | st.none() | st.integers(2, 64)))
    span = _range(draw)
    offset, slope = draw(strengths(0.05)), draw(st.just(0.0) | _between(-0.04, -0.001) | _between(0.001, 0.04))
    return Rram(**span, sigma_offset=offset * span["g_max"], sigma_slope=slope)


def _relaxing(draw: st.DrawFn) -> Relaxing:
    """Cells whose spread grows with one to three times, the last of which ends what was measured."""
    span = _range(draw)
    times = sorted(draw(st.sets(st.sampled_from([1e-2, 1.0, 60.0, 3600.0, 86_400.0]), min_size=1, max_size=3)))
    powers = [draw(_between(0.005, 0.03)), *draw(st.lists(_between(0.0, 0.02), max_size=2))]
    size, spreads = span["g_max"] / 1e-6, []
    for _ in times:
        spreads.append(Polynomial(powers=tuple(size * power for power in powers)))
        size *= draw(_between(1.1, 1.5))
    until = times[-1] if len(times) > 1 else 1.0  # with one time they stand still
    return Relaxing(**span, times=tuple(times), spreads=tuple(spreads), measured_until=until)


def _cmo(draw: st.DrawFn) -> Cmo:
    """Cells of a range that is wide against what they move, which relax downwards."""
    g_min = draw(_between(9e-6, 40e-6))
    return Cmo(
        g_min=g_min,
        g_max=min(88.19e-6, g_min + draw(_between(30e-6, 80e-6))),
        levels=draw(st.none() | st.integers(2, 64)),
        t_read=draw(_between(1e-9, 1e-2)),
        spread=Polynomial(powers=(draw(_between(1e-3, 0.3)), draw(_between(0.0, 0.02)))),
        shift=draw(_between(-0.3, 0.0)),
        slope=draw(_between(0.01, 0.1)),
        offset=draw(_between(0.0, 0.5)),
        noise=draw(_between(1e-3, 0.1)),
        measured_until=draw(_UNTIL),
    )


def _pcm(draw: st.DrawFn) -> Pcm:
    """Cells of any time of first measurement and of reading, with the curves of the measured ones or simple ones."""
    span = _range(draw, 1e-6, 1e-4)
    preset = draw(st.sampled_from([PCM_NANDAKUMAR_2019, PCM_JOSHI_2020, PCM_HERMES, PCM_HERMES_PAIR]))
    return replace(
        preset,
        **span,
        t_0=draw(_between(1.0, 1e3)),
        t_read=draw(_between(1e-9, 1e-2)),
        measured_until=draw(_UNTIL),
        drift_mean=draw(st.just(preset.drift_mean) | _constants(0.0, 0.1)),
        drift_std=draw(st.just(preset.drift_std) | _constants(0.001, 0.05)),
        noise=draw(st.just(preset.noise) | _constants(0.001, 0.2)),
    )


def _constants(low: float, high: float) -> st.SearchStrategy[Polynomial]:
    return _between(low, high).map(lambda value: Polynomial(powers=(value,)))


def _sonos(draw: st.DrawFn) -> Sonos:
    """Cells of currents that were measured well: below some 100 nA the fit of the drift leaves zero."""
    return Sonos(**_range(draw, 2e-6, 9e-6), measured_until=draw(_between(3600.0, 5 * 86_400.0)))


def _pulsed(draw: st.DrawFn) -> Pulsed:
    """Cells with a step of any form, spread and noise that leaves them an answer to twenty pulses."""
    step = draw(_between(1e-4, 0.02))
    slope = _between(0.0, 1.0)
    linear = Linear(up=draw(slope), down=draw(slope), spread=draw(strengths(0.2)), additive_noise=draw(st.booleans()))
    factor = _between(-1.5, 0.0)
    exponential = Exponential(
        a_up=draw(factor), a_down=draw(factor), gamma_up=draw(_between(0.1, 2.0)), gamma_down=draw(_between(0.1, 2.0))
    )
    return Pulsed(
        **_range(draw),
        step=step,
        step_spread=draw(strengths(0.8)),
        log_normal=draw(st.booleans()),
        asymmetry=draw(_between(-0.5, 0.5)),
        asymmetry_spread=draw(strengths(0.1)),
        top=draw(_between(0.5, 1.5)),
        bottom=draw(_between(-1.5, -0.5)),
        top_spread=draw(strengths(0.5)),
        bottom_spread=draw(strengths(0.5)),
        cycle=draw(strengths(5.0)),
        write_noise=draw(strengths(0.05)) / step,
        response=draw(st.sampled_from([linear, exponential])),
    )


_UNTIL = st.just(1e12) | _between(1.0, 1e6)
_DEVICE_KINDS: dict[type[Device], Callable[[st.DrawFn], Device]] = {
    Ideal: _ideal,
    Rram: _rram,
    Relaxing: _relaxing,
    Cmo: _cmo,
    Pcm: _pcm,
    Sonos: _sonos,
    Pulsed: _pulsed,
}


@st.composite
def devices(draw: st.DrawFn, kinds: Sequence[type[Device]] = tuple(_DEVICE_KINDS)) -> Device:
    """Cells of every kind, or of `kinds`, of random range, levels, spread, ageing, read noise and answer to pulses.

    Those that age or fluctuate do so by more than nothing, within a range where the conformance suite holds.
    """
    return _DEVICE_KINDS[draw(st.sampled_from(list(kinds)))](draw)


_BITS = st.just(0) | st.integers(2, 12)
_OHMS = st.just(0.0) | _between(0.1, 100.0)
_ENDS: st.SearchStrategy[Ends] = st.sampled_from(["near", "far", "both"])


def _silicon(draw: st.DrawFn, max_strength: float) -> SiliconMismatch:
    return SiliconMismatch(
        scale=draw(strengths(max_strength)),
        gradient=draw(_between(0.01, 0.5)),
        edge_rows=draw(_between(0.8, 1.2)),
        edge_columns=draw(_between(0.8, 1.2)),
        outliers_weight=draw(strengths(0.2)),
        outliers_bias=draw(strengths(0.2)),
        core_rows=draw(st.integers(1, 20)),
        core_columns=draw(st.integers(1, 20)),
        lot=draw(st.integers(0, 3)),
        transistor_cells=draw(st.booleans()),
    )


def _wires(draw: st.DrawFn, max_strength: float) -> WireResistance:
    return WireResistance(
        row=draw(_OHMS),
        column=draw(_OHMS),
        source=draw(_OHMS),
        terminal=draw(_OHMS),
        access=draw(_OHMS),
        drive=draw(_ENDS),
        sense=draw(_ENDS),
        refresh=draw(st.integers(1, 100)),
    )


def _converters(draw: st.DrawFn, max_strength: float) -> Converters:
    size, bits = strengths(max_strength / 2), draw(_BITS)
    errors = {name: draw(size) for name in ("adc_gain", "adc_offset", "adc_unit") if bits}
    return Converters(dac_bits=draw(_BITS), adc_bits=bits, adc_range=draw(_between(1.0, 20.0)), **errors)


def _amplifiers(draw: st.DrawFn, max_strength: float) -> SenseAmplifiers:
    size = strengths(max_strength)
    return SenseAmplifiers(gain=draw(size), offset=draw(size), noise=draw(size), hold=draw(size))


_EFFECT_KINDS: dict[type[Effect], Callable[[st.DrawFn, float], Effect]] = {
    BrokenLines: lambda draw, high: BrokenLines(rate=draw(strengths(high))),
    CircuitNoise: lambda draw, high: CircuitNoise(excess=1e4 * draw(strengths(high)), corner=draw(_between(0.0, 1e4))),
    Converters: _converters,
    DeadNeurons: lambda draw, high: DeadNeurons(rate=draw(strengths(high))),
    DriverNoise: lambda draw, high: DriverNoise(sigma=draw(strengths(high))),
    FailingTiles: lambda draw, high: FailingTiles(rate=draw(strengths(high))),
    HotNeurons: lambda draw, high: HotNeurons(rate=draw(strengths(high))),
    MembraneNoise: lambda draw, high: MembraneNoise(sigma=draw(strengths(high))),
    Mismatch: lambda draw, high: Mismatch(sigma=draw(strengths(high))),
    ReadNoise: lambda draw, high: ReadNoise(
        sigma=draw(strengths(high)), relative_to=draw(st.sampled_from(["range", "cell"]))
    ),
    SenseAmplifiers: _amplifiers,
    SiliconMismatch: _silicon,
    SpikeLoss: lambda draw, high: SpikeLoss(rate=draw(strengths(high))),
    StuckCells: lambda draw, high: StuckCells(rate=draw(strengths(high)), at_max=draw(_between(0.0, 1.0))),
    TelegraphNoise: lambda draw, high: TelegraphNoise(
        share=draw(strengths(high)), depth=draw(strengths(high)), occupancy=draw(_between(0.0, 1.0))
    ),
    WireResistance: _wires,
}
_ANYWHERE = [kind for kind in _EFFECT_KINDS if kind not in (HotNeurons, CircuitNoise)]


@st.composite
def effect(draw: st.DrawFn, kind: type[Effect], max_strength: float = 0.5) -> Effect:
    """Effects of one kind, of sizes up to `max_strength`, that are on."""
    made = _EFFECT_KINDS[kind](draw, max_strength)
    assume(made.strength > 0)
    return made


@st.composite
def effects(draw: st.DrawFn, max_strength: float = 0.5) -> tuple[Effect, ...]:
    """Tuples of effects in random order, each at most once, at any strength from 0 to `max_strength`: all but
    HotNeurons and CircuitNoise, which not every circuit can have.
    """
    every = [_EFFECT_KINDS[kind](draw, max_strength) for kind in _ANYWHERE]
    chosen = draw(st.permutations(every))
    return tuple(chosen[: draw(st.integers(0, len(every)))])


@st.composite
def designs(
    draw: st.DrawFn,
    circuits: st.SearchStrategy[Circuit] | None = None,
    devices: st.SearchStrategy[Device] | None = None,
    effects: st.SearchStrategy[tuple[Effect, ...]] | None = None,
) -> ChipDesign:
    """Designs of random circuits, cells, effects and tile size; give a strategy to hold one of them narrower."""
    return ChipDesign(
        circuit=draw(_CIRCUITS if circuits is None else circuits),
        readout=draw(readouts()),
        device=draw(_DEVICES if devices is None else devices),
        effects=draw(_EFFECTS if effects is None else effects),
        tiles=1024,
        rows=draw(st.integers(2, 16)),
        columns=draw(st.integers(2, 16)),
        neurons=640,
        readouts=32,
        headroom=draw(_between(1.0, 2.0)),
    )


_CIRCUITS, _DEVICES, _EFFECTS = circuits(), devices(), effects()


@st.composite
def chips(draw: st.DrawFn, designs: st.SearchStrategy[ChipDesign] | None = None) -> Chip:
    """Chips fabricated from random designs and seeds."""
    return fabricate(draw(_DESIGNS if designs is None else designs), draw(SEEDS))


_DESIGNS = designs()


@st.composite
def networks(draw: st.DrawFn, max_layers: int = 3, max_width: int = 8, min_layers: int = 1) -> Network:
    """Networks of `min_layers` to `max_layers` layers, each 1 to `max_width` wide, with weights, biases and constants:
    the last one is the read-out.
    """
    sizes = draw(st.lists(st.integers(1, max_width), min_size=min_layers + 1, max_size=max_layers + 1))
    rng, scale = stream(draw(SEEDS), "testing", "network"), draw(_between(0.1, 3.0))
    layers = []
    for index in range(len(sizes) - 1):
        shape = (sizes[index], sizes[index + 1])
        bound = scale / np.sqrt(shape[0])
        constant = 1.0 if index == len(sizes) - 2 else draw(_between(0.5, 2.0))
        weight, bias = rng.uniform(-bound, bound, shape), rng.uniform(-bound, bound, shape[1])
        layers.append(Dense(weight=weight, bias=bias, constant=constant))
    return Network(tuple(layers))


@st.composite
def conv_networks(draw: st.DrawFn, max_layers: int = 2) -> Network:
    """Networks of 1 to `max_layers` small convolutions and a dense read-out, with any stride, padding, groups, average
    pooling and residual addition that fit each other.
    """
    rng, scale = stream(draw(SEEDS), "testing", "network"), draw(_between(0.5, 3.0))
    start: tuple[int, ...] = (draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(2, 5)))
    shape = start
    layers: list[Layer] = []

    def drawn(*weight_shape: int, columns: int) -> dict[str, Any]:
        bound = scale / np.sqrt(np.prod(weight_shape) / columns)
        return {"weight": rng.uniform(-bound, bound, weight_shape), "bias": rng.uniform(-bound, bound, columns)}

    for index in range(draw(st.integers(1, max_layers))):
        geometry = draw(_residual(shape) if index and draw(st.booleans()) else _free(shape))
        columns, kernel, shortcut = geometry.pop("columns"), geometry.pop("kernel"), geometry.pop("shortcut")
        weights = drawn(columns, shape[0] // geometry["groups"], *kernel, columns=columns)
        source = index - 1 if shortcut else None
        layers.append(Conv2d(**weights, **geometry, constant=draw(_between(0.5, 2.0)), shortcut=source))
        shape = layers[-1].wiring(shape).outputs
    pool, outputs = draw(_dividing(*shape[1:])), draw(st.integers(1, 4))
    values = shape[0] * (shape[1] // pool) * (shape[2] // pool)
    return Network((*layers, Dense(**drawn(values, outputs, columns=outputs), pool=pool)), start)


def _dividing(*sizes: int) -> st.SearchStrategy[int]:
    return st.sampled_from([part for part in (1, 2, 3) if not any(size % part for size in sizes)])


@st.composite
def _free(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Any]:
    """Geometry of a convolution of inputs of `shape`."""
    pool, groups, padding = draw(_dividing(*shape[1:])), draw(_dividing(shape[0])), draw(st.integers(0, 1))
    kernel = tuple(draw(st.integers(1, min(3, side // pool + 2 * padding))) for side in shape[1:])
    return {
        "columns": groups * draw(st.integers(1, 2)),
        "kernel": kernel,
        "pool": pool,
        "stride": draw(st.integers(1, 2)),
        "padding": padding,
        "groups": groups,
        "shortcut": False,
    }


@st.composite
def _residual(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Any]:
    """Geometry of a convolution of inputs of `shape` that can add them: of the same image, or every second pixel."""
    groups, side = draw(_dividing(shape[0])), draw(st.sampled_from([1, 3]))
    return {
        "columns": shape[0] + groups * draw(st.integers(0, 1)),
        "kernel": (side, side),
        "stride": draw(_dividing(*shape[1:]).filter(lambda stride: stride < 3)),
        "padding": side // 2,
        "groups": groups,
        "shortcut": True,
    }


@st.composite
def inputs(draw: st.DrawFn, network: Network, max_samples: int = 5) -> Array:
    """Samples [1 to max_samples, inputs] for a network, in -1 .. 2, some of them zero."""
    shape = (draw(st.integers(1, max_samples)), network.sizes[0])
    rng = stream(draw(SEEDS), "testing", "inputs")
    samples: Array = rng.uniform(-1.0, 2.0, shape) * (rng.random(shape) < 0.9)
    return samples
