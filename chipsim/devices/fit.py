"""fit(): a device from a user's own measurements of states, drift or pulses."""

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any, final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from chipsim.devices.base import Device
from chipsim.devices.curves import Polynomial
from chipsim.devices.pcm import Pcm
from chipsim.devices.pulsed import Linear, Pulsed
from chipsim.devices.rram import MICRO, Relaxing
from chipsim.errors import ParameterError, StoredFileError

Array = NDArray[np.float64]
COLUMNS = {
    "states": ("target", "conductance"),
    "drift": ("cell", "target", "time", "conductance"),
    "pulses": ("cell", "pulse", "conductance"),
}
LEVELS, REPEATS, TIMES = 3, 5, 3
"""The fewest levels, measurements of a level, and times of a cell, that a fit takes."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A device and how good it is: explained, the share of the variance of what was fitted that the fit explains, by
    curve; g_min, g_max [S] and until [s], the range in which it was measured; cells: how many measurements or cells.
    """

    device: Device
    explained: dict[str, float]
    g_min: float
    g_max: float
    until: float
    cells: int

    def __str__(self) -> str:
        quality = ", ".join(f"{name} {share:.3f}" for name, share in self.explained.items())
        return (
            f"{type(self.device).__name__} from {self.cells} cells, {self.g_min:.4g} to {self.g_max:.4g} S, until "
            f"{self.until:.4g} s; explained variance: {quality}"
        )


def fit(path: str | PathLike[str], *, degree: int = 2) -> Fitted:
    """Return a device fitted to a CSV file of measurements, with the quality and the range of the fit.

    The columns say what was measured; conductances in siemens, times in seconds since the write:

        target, conductance                 states: spread of cells around their targets -> Relaxing, without ageing
        cell, target, time, conductance     drift: spread at the first time, and a power law of each cell -> Pcm
        cell, pulse, conductance            pulses, in order: +1, -1, or 0 for the first reading of a cell -> Pulsed

    degree: of the polynomials in x = g / g_max that spreads and exponents are fitted with. Pulses are fitted with steps
    that are linear in the conductance, and their spread from cell to cell and from pulse to pulse.
    Raises StoredFileError for a file that cannot be read, ParameterError for columns or values that cannot be fitted.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StoredFileError(f"{path} cannot be read as CSV: {error}") from error
    table.columns = table.columns.str.strip()
    for kind, columns in sorted(COLUMNS.items(), key=lambda item: -len(item[1])):
        if set(columns) <= set(table.columns):
            return FITS[kind](_checked(table, columns, str(path)), degree)
    wanted = "; ".join(f"{', '.join(columns)} ({kind})" for kind, columns in COLUMNS.items())
    raise ParameterError(f"{path} has the columns {', '.join(table.columns)}; give {wanted}")


def _checked(table: Any, columns: tuple[str, ...], path: str) -> Any:
    table = table[list(columns)]
    numbers = table.drop(columns="cell", errors="ignore").apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy(dtype=float)).all():
        raise ParameterError(f"{path} holds values that are no finite numbers")
    if (numbers.drop(columns="pulse", errors="ignore") < 0).to_numpy().any():
        raise ParameterError(f"{path} holds negative conductances or times")
    return table.assign(**{name: numbers[name] for name in numbers})


def _curve(x: Array, y: Array, degree: int) -> tuple[Polynomial, float]:
    """A polynomial through points, and the share of their variance that it explains."""
    degree = min(degree, len({*x.tolist()}) - 1)
    powers = np.polynomial.polynomial.polyfit(x, y, degree)
    curve = Polynomial(powers=tuple(float(power) for power in powers))
    left, all_ = float(np.mean((y - curve(x)) ** 2)), float(np.var(y))
    return curve, 1.0 - left / all_ if all_ > 0 else 1.0


def _levels(table: Any) -> Any:
    """Deviations by level, of levels that were measured often enough."""
    grouped = table.assign(deviation=table.conductance - table.target).groupby("target").deviation
    found = grouped.agg(["std", "count"])
    found = found[found["count"] >= REPEATS]
    if len(found) < LEVELS:
        raise ParameterError(f"a fit needs {LEVELS} levels with {REPEATS} measurements each, not {len(found)}")
    return found


def _states(table: Any, degree: int) -> Fitted:
    levels = _levels(table)
    low, high = float(levels.index.min()), float(levels.index.max())
    spread, explained = _curve(levels.index.to_numpy() / high, levels["std"].to_numpy() / MICRO, degree)
    device = Relaxing(g_min=low, g_max=high, spreads=(spread,), extrapolate=True)
    return Fitted(
        device=device, explained={"spread": explained}, g_min=low, g_max=high, until=math.inf, cells=len(table)
    )


def _drift(table: Any, degree: int) -> Fitted:
    first = table.sort_values("time").groupby("cell").head(1)
    levels = _levels(first)
    low, high = float(levels.index.min()), float(levels.index.max())
    spread, of_spread = _curve(levels.index.to_numpy() / high, levels["std"].to_numpy() / MICRO, degree)
    start = float(first.time.median())
    table = table[table.target.isin(levels.index) & (table.conductance > 0) & (table.time > 0)]
    counts = table.groupby("cell").time.nunique()
    table = table[table.cell.isin(counts.index[counts >= TIMES])]
    if table.empty or start <= 0:
        raise ParameterError(f"a fit of drift needs cells with {TIMES} times above 0 s and conductances above 0 S each")
    logs = table.assign(x=np.log(table.time), y=np.log(table.conductance))
    means = logs.groupby("cell")[["x", "y"]].transform("mean")
    dx, dy = logs.x - means.x, logs.y - means.y
    by_cell = pd.DataFrame({"xy": dx * dy, "xx": dx * dx, "cell": logs.cell}).groupby("cell").sum()
    exponents = (-by_cell.xy / by_cell.xx).rename("exponent").to_frame()
    exponents["target"] = table.groupby("cell").target.first()
    found = exponents.groupby("target").exponent.agg(["mean", "std", "count"])
    found = found[found["count"] >= REPEATS]
    if found.empty:
        raise ParameterError(f"a fit of drift needs {REPEATS} cells of a level")
    x = found.index.to_numpy() / high
    mean, of_mean = _curve(x, found["mean"].to_numpy(), degree)
    std, of_std = _curve(x, found["std"].to_numpy(), degree)
    until = float(table.time.max()) - start
    device = Pcm(
        g_min=low, g_max=high, g_fit=high, t_0=start, measured_until=until, spread=spread, drift_mean=mean,
        drift_std=std, noise=Polynomial(powers=(0.0,)),
    )  # fmt: skip
    explained = {"spread": of_spread, "mean exponent": of_mean, "spread of exponents": of_std}
    return Fitted(device=device, explained=explained, g_min=low, g_max=high, until=until, cells=len(exponents))


def _pulses(table: Any, degree: int) -> Fitted:
    table = table.assign(before=table.groupby("cell").conductance.shift())
    ends = table.groupby("cell").conductance.transform("max"), table.groupby("cell").conductance.transform("min")
    cut = np.where(table.pulse > 0, table.conductance == ends[0], table.conductance == ends[1])  # by a bound, perhaps
    moved = table[table.before.notna() & (table.pulse != 0) & ~cut]
    if not np.isin(table.pulse, (-1, 0, 1)).all():
        raise ParameterError("the column pulse must hold +1, -1 or 0")
    low, high = float(table.conductance.min()), float(table.conductance.max())
    middle, half = (low + high) / 2, (high - low) / 2
    if not half > 0:
        raise ParameterError("the conductances never change: pulses cannot be fitted")
    w, steps = (moved.before - middle) / half, (moved.conductance - moved.before) / half * moved.pulse
    found: dict[str, float] = {}
    explained, parts = {}, []
    for name, sign in (("up", 1), ("down", -1)):
        chosen = (moved.pulse == sign).to_numpy()
        if chosen.sum() < REPEATS * LEVELS:
            raise ParameterError(f"a fit of pulses needs {REPEATS * LEVELS} pulses {name}, not {chosen.sum()}")
        slope, size = np.polyfit(w[chosen], steps[chosen], 1)
        if not size > 0:
            raise ParameterError(f"pulses {name} do not move the conductance {name}")
        predicted = size + slope * w[chosen]
        explained[f"step {name}"] = float(1 - np.var(steps[chosen] - predicted) / np.var(steps[chosen]))
        found[name], found[f"slope {name}"] = float(size), float(np.clip(-sign * slope / size, 0.0, 1.0))
        parts.append(pd.DataFrame({"cell": moved.cell[chosen], "s": steps[chosen] / size, "p": predicted / size}))
    seen = pd.concat(parts)
    noise = float(np.mean((seen.s - seen.p) ** 2))
    by_cell = pd.DataFrame({"sp": seen.s * seen.p, "pp": seen.p**2, "cell": seen.cell}).groupby("cell").sum()
    by_cell = by_cell[by_cell.pp > 0]
    # s = k p + cycle N: k of a cell by least squares has the variance between + cycle^2 / sum(p^2), and what is left of
    # the mean p^2 between + cycle^2
    scale, share = float(np.mean(seen.p**2)), float(np.mean(1 / by_cell.pp))
    apart = float((by_cell.sp / by_cell.pp).var()) if len(by_cell) > 1 else 0.0
    between = max(0.0, (apart - noise * share) / (1 - scale * share)) if scale * share < 1 else 0.0
    step = max(found["up"], found["down"])
    device = Pulsed(
        g_min=low,
        g_max=high,
        step=step,
        step_spread=math.sqrt(between),
        asymmetry=(found["up"] - found["down"]) / step,
        cycle=math.sqrt(max(0.0, noise - scale * between)),
        response=Linear(up=found["slope up"], down=found["slope down"]),
    )
    return Fitted(
        device=device, explained=explained, g_min=low, g_max=high, until=math.inf, cells=int(table.cell.nunique())
    )


FITS = {"states": _states, "drift": _drift, "pulses": _pulses}
