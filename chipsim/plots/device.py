"""A population of one memory cell: what it is programmed to, and whatever of drift, read noise and pulses it has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from chipsim import devices
from chipsim.devices import Device
from chipsim.errors import ParameterError
from chipsim.plots.canvas import prefixed
from chipsim.plots.curves import COLOURS
from chipsim.plots.over_time import MARKS
from chipsim.streams import Draw, stream

Array = NDArray[np.float64]
CELLS, PULSED, SHOWN = 5_000, 500, 12
"""Cells that the statistics are of, those that meet many pulses, and how many are drawn one by one."""
TARGETS, LEVELS = 41, 64
"""How many targets of a continuous cell; up to how many levels are targets one by one."""
YEAR = 3.2e7
STEP = 1e-3
"""Time of a read [s]."""
LONGEST = 20_000
"""The most pulses in one direction."""
SHARES = {"lowest": 0.05, "low": 0.16, "mean": None, "high": 0.84, "highest": 0.95}
"""What is shown of a spread: the central 68 and 90 % of cells, and their mean."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The numbers of a figure, in siemens and seconds; None where the device has nothing of the kind.

    programmed: lowest, low, mean, high, highest (age, target): of all cells at the write, and at the last age if they
    move. drift: single (age, target, cell), mean (age, target). noise: fast (target), slow (age, target): standard
    deviation of what is another one at every read, and of what stands. pulses: single (pulse, cell), mean (pulse), of
    `ups` pulses up and as many down. steps: low, mean, high (direction, conductance) of one pulse.
    """

    programmed: xr.Dataset
    drift: xr.Dataset | None
    noise: xr.Dataset | None
    pulses: xr.Dataset | None
    steps: xr.Dataset | None
    ups: int
    title: str

    @property
    def panels(self) -> "list[Callable[[Any, Cells], None]]":
        """What there is to draw, in order."""
        spread = bool((self.programmed["highest"] > self.programmed["lowest"]).any())
        chosen = {
            _programmed: True,
            _deviation: spread or self.drift is not None,
            _drift: self.drift is not None,
            _noise: self.noise is not None,
            _pulses: self.pulses is not None,
            _steps: self.steps is not None,
        }
        return [panel for panel, there in chosen.items() if there]


def data(device: Device, *, seed: int = 0) -> Cells:
    """The numbers of 5,000 cells, programmed to each target in turn, drawn from `seed`; cells are followed for as long
    as was measured, at most a year.
    """
    if not isinstance(device, Device):
        raise ParameterError(f"this figure is of a device, as Ideal() or PCM_HERMES, not of a {type(device).__name__}")
    until = min(getattr(device, "measured_until", YEAR), YEAR)
    ages = np.geomspace(min(1.0, until / 1e3), until, 50) if until > 0 else np.zeros(1)
    targets = _targets(device)
    population = _Population(device, targets, seed)
    first, last = population.at(0.0), population.at(ages[-1])
    moves = device.ages and not np.allclose(first, last, rtol=1e-6, atol=0)
    at = {0.0: first, ages[-1]: last} if moves else {0.0: first}
    programmed = _spread(np.stack([*at.values()]), {"age": [*at], "target": targets})
    pulses, ups = _pulsed(device, seed) if device.pulses else (None, 0)
    return Cells(
        programmed=programmed,
        drift=_followed(population, ages) if moves else None,
        noise=_read(device, targets, ages) if device.fluctuates else None,
        pulses=pulses,
        steps=_stepped(device, seed) if device.pulses else None,
        ups=ups,
        title=_title(device, moves),
    )


class _Population:
    """The same cells programmed to each target, with the same draws: [targets, cells]."""

    def __init__(self, device: Device, targets: Array, seed: int) -> None:
        self.device, self.target = device, np.repeat(targets[:, None], CELLS, axis=1)
        frozen = device.fabricate((CELLS,), Draw(seed, "device", ("plots",)))
        aims = [device.limit(target, frozen) for target in self.target]
        self.g = np.stack([device.written(aim, stream(seed, "plots", "programme")) for aim in aims])
        drawn = stream(seed, "plots", "drawn").standard_normal(CELLS)
        self.drawn = np.broadcast_to(drawn, self.g.shape) if device.drifts else None

    def at(self, age: float) -> Array:
        """Conductances `age` seconds after the write."""
        found: Array = self.device.aged(self.g, self.target, self.drawn, np.full_like(self.g, age))
        return found


def _targets(device: Device) -> Array:
    count = device.levels if device.levels is not None and device.levels <= LEVELS else TARGETS
    targets: Array = device.quantise(np.linspace(device.g_min, device.g_max, count))
    return targets


def _spread(values: Array, coordinates: dict[str, Any]) -> xr.Dataset:
    """Mean and quantiles over the last axis."""
    dims = tuple(coordinates)
    shares = {name: values.mean(-1) if q is None else np.quantile(values, q, -1) for name, q in SHARES.items()}
    return xr.Dataset({name: (dims, found) for name, found in shares.items()}, coordinates)


def _followed(population: _Population, ages: Array) -> xr.Dataset:
    """Cells of a low, a middle and the highest target through the ages."""
    targets = population.target[:, 0]
    chosen = [round(share * (len(targets) - 1)) for share in (0.25, 0.6, 1.0)]
    found = np.stack([population.at(age)[chosen] for age in ages])
    return xr.Dataset(
        {"single": (("age", "target", "cell"), found[..., :SHOWN]), "mean": (("age", "target"), found.mean(-1))},
        {"age": ages, "target": targets[chosen]},
    )


def _read(device: Device, targets: Array, ages: Array) -> xr.Dataset:
    ends = np.unique(ages[[0, -1]])
    usual = np.zeros_like(targets) if device.drifts else None
    slow = [
        device.slow(device.aged(targets, targets, usual, age), targets, age, STEP)
        for age in (np.full_like(targets, end) for end in ends)
    ]
    return xr.Dataset(
        {
            "fast": ("target", np.sqrt(device.variance(targets, targets, STEP))),
            "slow": (("age", "target"), np.stack(slow)),
        },
        {"target": targets, "age": ends},
    )


def _pulsed(device: Device, seed: int) -> tuple[xr.Dataset, int]:
    """Cells at g_min through pulses up, twice as many as would cross the range at the middle's step, and down again."""
    span, rng = device.g_max - device.g_min, stream(seed, "plots", "pulses")
    cell = device.fabricate((PULSED,), Draw(seed, "device", ("plots",)))
    middle = device.limit(np.full(PULSED, device.g_min + span / 2), cell)
    step = float((device.pulse(middle, np.ones(PULSED), cell, rng) - middle).mean())
    ups = int(np.clip(2 * span / max(step, 1e-9 * span), 5, LONGEST))
    each = -(-ups // 60)
    ups = each * (-(-ups // each))
    g = device.limit(np.full(PULSED, device.g_min), cell)
    found = [_stands(device, g, rng)]
    for sign in (1, -1):
        for _ in range(ups // each):
            g = device.pulse(g, np.full(PULSED, sign * each), cell, rng)
            found.append(_stands(device, g, rng))
    values = np.stack(found)
    return xr.Dataset(
        {"single": (("pulse", "cell"), values[:, :SHOWN]), "mean": ("pulse", values.mean(-1))},
        {"pulse": each * np.arange(len(values))},
    ), ups


def _stands(device: Device, g: Array, rng: np.random.Generator) -> Array:
    """What stands after a pulse that left `g`."""
    found: Array = device.written(g, rng)
    return found


def _stepped(device: Device, seed: int) -> xr.Dataset:
    """What one pulse up or down does to the same cells, brought to one conductance after the other."""
    places = np.linspace(device.g_min, device.g_max, 21)
    cell = device.fabricate((CELLS,), Draw(seed, "device", ("plots",)))
    found = np.empty((2, len(places), CELLS))
    for index, place in enumerate(places):
        g = device.limit(np.full(CELLS, place), cell)
        for way, sign in enumerate((1, -1)):
            found[way, index] = device.pulse(g, np.full(CELLS, sign), cell, stream(seed, "plots", "steps")) - g
    return _spread(found, {"direction": ["up", "down"], "conductance": places})


def _title(device: Device, moves: bool) -> str:
    scale, unit = prefixed("S", device.g_max)
    name = type(device).__name__
    presets = (each for each, preset in vars(devices).items() if preset == device and isinstance(preset, Device))
    levels = "any level" if device.levels is None else f"{device.levels} levels"
    lacks = {"drift": moves, "read noise": device.fluctuates, "pulses": device.pulses}
    without = ", ".join(f"no {word}" for word, there in lacks.items() if not there)
    words = [
        f"{scale * device.g_min:.4g} to {scale * device.g_max:.4g} {unit}",
        levels,
        *([without] if without else []),
    ]
    preset = next(presets, None)
    return f"{f'{preset} ({name})' if preset else name}: {', '.join(words)}"


# ------------------------------------------------------------------------------------------------- drawing


def layout(data: Cells) -> tuple[tuple[int, int], tuple[float, float]]:
    """Rows and columns of panels, and the size in inches."""
    rows, columns = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2)}.get(len(data.panels), (2, 3))
    return (rows, columns), (0.6 + 4.9 * columns, 0.4 + 3.8 * rows)


def draw(axes: Any, data: Cells) -> None:
    """Draw what the device has, a panel each."""
    places = np.atleast_1d(axes).ravel()
    for place, panel in zip(places, data.panels, strict=False):
        panel(place, data)
    for place in places[len(data.panels) :]:
        place.remove()
    places[0].figure.suptitle(data.title, x=0.01, ha="left", fontsize=10.5, color="#222222")


def _scale(data: Cells) -> tuple[float, str]:
    return prefixed("S", float(data.programmed["target"].max()))


def _programmed(panel: Any, data: Cells) -> None:
    scale, unit = _scale(data)
    now = data.programmed.isel(age=0) * scale
    target = scale * now["target"].values
    ends = target[[0, -1]]
    panel.plot(ends, ends, "--", color="#555555", linewidth=1, label="as asked for", zorder=4)
    spread = bool((now["highest"] > now["lowest"]).any())
    if spread:
        panel.fill_between(
            target, now["lowest"], now["highest"], color=COLOURS[1], alpha=0.16, linewidth=0, label="90 % of cells"
        )
        panel.fill_between(
            target, now["low"], now["high"], color=COLOURS[1], alpha=0.3, linewidth=0, label="68 % of cells"
        )
    mark = "o" if len(target) <= LEVELS and len(target) != TARGETS else ""
    panel.plot(target, now["mean"], color=COLOURS[1], marker=mark, markersize=2.5, linewidth=1.6, label="mean")
    panel.set_xlabel(f"target [{unit}]")
    panel.set_ylabel(f"conductance after the write [{unit}]")
    panel.legend(fontsize=8.5, loc="upper left")


def _deviation(panel: Any, data: Cells) -> None:
    target = data.programmed["target"]
    off = data.programmed - target
    scale, unit = prefixed("S", float(abs(off).to_dataarray().max()))
    across, of_target = _scale(data)
    for index, age in enumerate(data.programmed["age"].values):
        part, colour = scale * off.isel(age=index), COLOURS[(1, 0)[index]]
        when = f"after {_words(age)}" if age else "after the write"
        panel.fill_between(across * target, part["low"], part["high"], color=colour, alpha=0.22, linewidth=0)
        panel.plot(across * target, part["mean"], color=colour, linewidth=1.6, label=when)
    panel.axhline(0.0, color="#555555", linestyle="--", linewidth=1)
    panel.set_xlabel(f"target [{of_target}]")
    panel.set_ylabel(f"off the target [{unit}]")
    _headroom(panel, 0.3)
    panel.legend(loc="upper left", fontsize=8.5, title="mean, 68 % of cells", title_fontsize=8.5, alignment="left")


def _headroom(panel: Any, share: float) -> None:
    """Leave room for a legend above what is drawn."""
    low, high = panel.get_ylim()
    panel.set_ylim(low, high + share * (high - low))


def _words(age: float) -> str:
    """An age in its natural unit."""
    units = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86_400.0, "months": 2.63e6, "years": 3.15e7}
    name = [unit for unit, seconds in units.items() if age >= 0.999 * seconds or unit == "s"][-1]
    count = f"{age / units[name]:.2g}"
    return f"{count} {name.removesuffix('s') if count == '1' and len(name) > 1 else name}"


def _drift(panel: Any, data: Cells) -> None:
    assert data.drift is not None
    scale, unit = _scale(data)
    ages = data.drift["age"].values
    for index, target in enumerate(data.drift["target"].values):
        part, colour = scale * data.drift.isel(target=index), COLOURS[(2, 0, 1)[index]]
        panel.plot(ages, part["single"], color=colour, linewidth=0.6, alpha=0.45)
        panel.plot(ages, part["mean"], color=colour, linewidth=2.4)
        panel.annotate(
            f"target\n{scale * target:.3g} {unit}", (ages[-1], float(part["mean"][-1])), (5, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip
    panel.plot([], [], color="#555555", linewidth=2.4, label="mean")
    panel.plot([], [], color="#555555", linewidth=0.6, label="single cells")
    panel.set_xscale("log")
    marks = MARKS if ages[-1] < 1e7 else (*MARKS[:-1], (3.15e7, "1 year"))
    shown = [(age, words) for age, words in marks if ages[0] / 1.05 <= age <= ages[-1] * 1.05]
    if len(shown) > 1:
        panel.set_xticks([age for age, _ in shown], [words for _, words in shown])
        panel.minorticks_off()
    panel.set_ylim(0)
    panel.set_xlabel("time since the write" + (" [s]" if len(shown) < 2 else ""))
    panel.set_ylabel(f"conductance [{unit}]")
    panel.legend(fontsize=8.5, loc="lower left")


def _noise(panel: Any, data: Cells) -> None:
    assert data.noise is not None
    across, of_target = _scale(data)
    scale, unit = prefixed("S", float(data.noise.to_dataarray().max()))
    target = across * data.noise["target"]
    panel.plot(
        target,
        scale * data.noise["fast"],
        color=COLOURS[1],
        linewidth=1.8,
        label=f"another at every read of {STEP * 1e3:g} ms",
    )
    if data.noise["slow"].any():
        for index, age in enumerate(data.noise["age"].values):
            label = f"stands while samples are presented, after {_words(age)}"
            panel.plot(
                target, scale * data.noise["slow"].isel(age=index), color=COLOURS[(2, 0)[index]], linewidth=1.8,
                linestyle="--", label=label,
            )  # fmt: skip
    panel.set_ylim(0, 1.35 * scale * float(data.noise.to_dataarray().max()))
    panel.set_xlabel(f"target [{of_target}]")
    panel.set_ylabel(f"read noise, standard deviation [{unit}]")
    panel.legend(fontsize=8.5, loc="upper left")


def _pulses(panel: Any, data: Cells) -> None:
    assert data.pulses is not None
    scale, unit = _scale(data)
    pulse = data.pulses["pulse"].values
    panel.plot(pulse, scale * data.pulses["single"], color=COLOURS[1], linewidth=0.6, alpha=0.5)
    panel.plot(pulse, scale * data.pulses["mean"], color=COLOURS[0], linewidth=2.4, label="mean")
    panel.plot([], [], color=COLOURS[1], linewidth=0.6, label="single cells")
    panel.axvline(data.ups, color="#555555", linestyle=":", linewidth=1)
    for at, words in ((0.5, "pulses up"), (1.5, "pulses down")):
        panel.text(at * data.ups, 1.02, words, transform=panel.get_xaxis_transform(), ha="center", fontsize=8.5)
    panel.set_ylim(0)
    _headroom(panel, 0.2)
    panel.set_xlim(0, pulse[-1])
    panel.set_xlabel("pulse")
    panel.set_ylabel(f"conductance [{unit}]")
    panel.legend(fontsize=8.5, loc="upper left")


def _steps(panel: Any, data: Cells) -> None:
    assert data.steps is not None
    across, of_target = _scale(data)
    scale, unit = prefixed("S", float(abs(data.steps[["low", "high"]]).to_dataarray().max()))
    places = across * data.steps["conductance"]
    for index, direction in enumerate(data.steps["direction"].values):
        part, colour = scale * data.steps.isel(direction=index), COLOURS[(1, 0)[index]]
        panel.fill_between(places, part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
        panel.plot(places, part["mean"], color=colour, linewidth=1.8, label=f"pulse {direction}")
    panel.axhline(0.0, color="#555555", linewidth=0.8)
    panel.set_xlabel(f"conductance before [{of_target}]")
    panel.set_ylabel(f"step of one pulse [{unit}]")
    _headroom(panel, 0.3)
    panel.legend(loc="upper left", fontsize=8.5, title="mean, 68 % of cells", title_fontsize=8.5, alignment="left")
