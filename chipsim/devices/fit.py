"""fit(): a device from a user's own measurements of states, drift or pulses."""

import dataclasses
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
from chipsim.quantity import whole

Array = NDArray[np.float64]
COLUMNS = {
    "states": ("target", "conductance"),
    "drift": ("cell", "target", "time", "conductance"),
    "pulses": ("cell", "pulse", "conductance"),
}
LEVELS, REPEATS, TIMES = 3, 5, 3
"""The fewest levels, measurements of a level, and times of a cell, that a fit takes."""
STRAY = 6.0
"""Robust standard deviations from the median of its level beyond which a cell is none of the spread's."""
RISING = 1.645
"""Standard deviations of exponents that their mean must be above 0: 5 % of cells drift upwards there."""
CLEAR = 4.0
"""Standard deviations of a reading that a cell must be off its extreme reading for its next pulses not to be cut."""
SURE = 4.0
"""Standard errors that noise of reading must be above 0 to be taken for real."""
QUIET = 1e-9
"""Relative read noise that rounding leaves."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A device and how good it is: explained, the share of the variance of what was fitted that the fit explains, by
    curve; left_out, what was measured and is not in the device: "mean error", the largest distance of a level's mean
    from its target over g_max, "stray cells", the share of those far from their level, which `StuckCells` may describe,
    and "stuck cells", those that no pulse moved; g_min, g_max [S] and until [s], the range in which it was measured;
    cells: how many measurements or cells.
    """

    device: Device
    explained: dict[str, float]
    left_out: dict[str, float]
    g_min: float
    g_max: float
    until: float
    cells: int

    def __str__(self) -> str:
        quality, beside = (
            ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
            for shares in (self.explained, self.left_out)
        )
        return (
            f"{type(self.device).__name__} from {self.cells} cells, {self.g_min:.4g} to {self.g_max:.4g} S, until "
            f"{self.until:.4g} s; explained variance: {quality}; left out: {beside}"
        )


def fit(path: str | PathLike[str], *, degree: int = 2) -> Fitted:
    """Return a device fitted to a CSV file of measurements, with the quality and the range of the fit.

    The columns say what was measured; conductances in siemens, times in seconds since the write:

        target, conductance                 states: spread of cells around their targets -> Relaxing, without ageing
        cell, target, time, conductance     drift: spread at the first time, and a power law of each cell -> Pcm
        cell, pulse, conductance            pulses, in order: +1, -1, or 0 for the first reading of a cell -> Pulsed

    degree: of the polynomials in x = g / g_max that spreads and exponents are fitted with, if there are more levels
    than coefficients. A cell may be written to
    several targets, once to each; what its power law leaves unexplained is taken for read noise. Pulses are fitted with
    steps that are linear in the conductance, their spread from cell to cell and from pulse to pulse, and noise of
    reading. The number of levels is not fitted, nor are means of levels that are not at their targets.
    Raises StoredFileError for a file that cannot be read, ParameterError for columns or values that cannot be fitted.
    """
    whole(degree, "degree", 0)
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
    good = np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1) & table.notna().to_numpy().all(axis=1)
    if not good.all():
        raise ParameterError(f"{path} holds values that are no finite numbers, first in line {good.argmin() + 2}")
    positive = (numbers.drop(columns="pulse", errors="ignore") >= 0).to_numpy().all(axis=1)
    if not positive.all():
        raise ParameterError(f"{path} holds negative conductances or times, first in line {positive.argmin() + 2}")
    table = table.assign(**{name: numbers[name] for name in numbers})
    if "target" in table and len(asked := table[table.target > 0]):
        ratio = float((asked.conductance / asked.target).median())
        if not 0.1 <= ratio <= 10:
            raise ParameterError(f"{path} holds conductances {ratio:.3g} times their targets; give both in siemens")
    return table


def _curve(x: Array, y: Array, degree: int) -> tuple[Polynomial, float]:
    """A polynomial through points, and the share of their variance that it explains."""
    degree = min(degree, max(0, len({*x.tolist()}) - 2))  # through all points a curve would explain everything
    powers = np.polynomial.polynomial.polyfit(x, y, degree)
    curve = Polynomial(powers=tuple(float(power) for power in powers))
    left, all_ = float(np.mean((y - curve(x)) ** 2)), float(np.var(y))
    return curve, 1.0 - left / all_ if all_ > 0 else 1.0


def _levels(table: Any) -> tuple[Any, Any, dict[str, float]]:
    """The cells that are not stray, what they deviate by level, of levels that were measured often enough, and what is
    left out.
    """
    deviation = table.conductance - table.target
    off = (deviation - deviation.groupby(table.target).transform("median")).abs()
    usual = off.groupby(table.target).transform("median") / 0.6745
    stray = (off > STRAY * usual) & (usual > 0)
    table = table.assign(deviation=deviation)[~stray]
    found = table.groupby("target").deviation.agg(["mean", "std", "count"])
    found = found[found["count"] >= REPEATS]
    if len(found) < LEVELS:
        raise ParameterError(f"a fit needs {LEVELS} levels with {REPEATS} measurements each, not {len(found)}")
    error = float(found["mean"].abs().max() / found.index.max())
    return table, found, {"mean error": error, "stray cells": float(stray.mean())}


def _states(table: Any, degree: int) -> Fitted:
    table, levels, left_out = _levels(table)
    low, high = float(levels.index.min()), float(levels.index.max())
    spread, explained = _curve(levels.index.to_numpy() / high, levels["std"].to_numpy() / MICRO, degree)
    device = Relaxing(g_min=low, g_max=high, spreads=(spread,), extrapolate=True)
    return Fitted(
        device=device, explained={"spread": explained}, left_out=left_out, g_min=low, g_max=high, until=math.inf,
        cells=len(table),
    )  # fmt: skip


def _drift(table: Any, degree: int) -> Fitted:
    table = table.assign(write=table.groupby(["cell", "target"]).ngroup())
    first, levels, left_out = _levels(table.sort_values("time").groupby("write").head(1))
    low, high = float(levels.index.min()), float(levels.index.max())
    start = float(first.time.median())
    if not start > 0:
        raise ParameterError("times of drift count from the write, and a power law has none at 0 s: leave those out")
    table = table[table.write.isin(first.write) & table.target.isin(levels.index) & (table.conductance > 0)]
    table = table[table.time > 0]
    table = table[table.groupby("write").time.transform("nunique") >= TIMES]
    if table.empty:
        raise ParameterError(f"a fit of drift needs cells with {TIMES} times above 0 s and conductances above 0 S each")
    logs = table.assign(x=np.log(table.time), y=np.log(table.conductance))
    logs[["x", "y"]] -= logs.groupby("write")[["x", "y"]].transform("mean")
    products = {"xy": logs.x * logs.y, "xx": logs.x**2, "yy": logs.y**2}
    writes = pd.DataFrame({**products, "write": logs.write}).groupby("write").sum()
    writes["target"], writes["free"] = table.groupby("write").target.first(), table.groupby("write").size() - 2
    writes["exponent"] = -writes.xy / writes.xx
    writes["left"] = ((logs.y + logs.write.map(writes.exponent) * logs.x) ** 2).groupby(logs.write).sum()
    writes["inverse"] = 1 / writes.xx
    by_level = writes.groupby("target")
    found = by_level.exponent.agg(["mean", "std", "count"])
    found["noise"] = by_level.left.sum() / by_level.free.sum()  # variance of ln g
    found["std"] = (found["std"] ** 2 - found.noise * by_level.inverse.mean()).clip(lower=0) ** 0.5
    found = found[found["count"] >= REPEATS]
    if found.empty:
        raise ParameterError(f"a fit of drift needs {REPEATS} cells of a level")
    if len(rising := found[found["mean"] < RISING * found["std"]]):
        level = rising.iloc[0]
        raise ParameterError(
            f"cells at {rising.index[0]:.4g} S drift upwards as well as downwards, by exponents of {level['mean']:.3g} "
            f"with a spread of {level['std']:.3g}, and Pcm falls alone; describe them as Relaxing, with a spread for "
            "each time"
        )
    of_reading = (found.noise * found.index.to_series() ** 2).reindex(levels.index, fill_value=0.0)
    spreads = (levels["std"] ** 2 - of_reading).clip(lower=0) ** 0.5
    spread, of_spread = _curve(levels.index.to_numpy() / high, spreads.to_numpy() / MICRO, degree)
    x = found.index.to_numpy() / high
    mean, of_mean = _curve(x, found["mean"].to_numpy(), degree)
    std, of_std = _curve(x, found["std"].to_numpy(), degree)
    until = float(table.time.max()) - start
    device = Pcm(
        g_min=low, g_max=high, g_fit=high, t_0=start, measured_until=until, spread=spread, drift_mean=mean,
        drift_std=std, noise=Polynomial(powers=(0.0,)),
    )  # fmt: skip
    explained = {
        "spread": of_spread, "power law": 1.0 - float(writes.left.sum() / writes.yy.sum()), "mean exponent": of_mean,
        "spread of exponents": of_std,
    }  # fmt: skip
    if (found.noise**0.5 > QUIET).any():
        octaves = float(np.log(table.time / (2 * device.t_read) + 0.5).mean())
        noise, explained["read noise"] = _curve(x, (found.noise / octaves).to_numpy() ** 0.5, degree)
        device = dataclasses.replace(device, noise=noise)
    return Fitted(
        device=device, explained=explained, left_out=left_out, g_min=low, g_max=high, until=until, cells=len(writes)
    )


def _pulses(table: Any, degree: int) -> Fitted:
    if not np.isin(table.pulse, (-1, 0, 1)).all():
        raise ParameterError("the column pulse must hold +1, -1 or 0")
    cells = table.groupby("cell").conductance
    still = cells.transform("max") == cells.transform("min")
    left_out = {"stuck cells": float(still.groupby(table.cell).first().mean())}
    table = table[~still]
    if table.empty:
        raise ParameterError("the conductances never change: pulses cannot be fitted")
    noise = 0.0
    for _ in range(3):  # noise of reading spoils the lines that it is found beside
        moves, low, high = _moves(table, noise)
        lines = _lines(moves, reading := (noise / (high - low) * 2) ** 2)
        for name, (size, _) in lines.items():
            if not size > 0:
                raise ParameterError(f"pulses {name} do not move the conductance {name}")
        noise = math.sqrt(_of_reading(table.join(_left(moves, lines)), lines)) * (high - low) / 2
    explained = {}
    for name, sign in SIGNS.items():
        chosen, (size, slope) = moves[moves.pulse == sign], lines[name]
        left = np.var(chosen.step - size - slope * chosen.w)
        explained[f"step {name}"] = float(1 - left / np.var(chosen.step))
    between, cycle = _spreads(moves, lines, reading)
    step = max(size for size, _ in lines.values())
    slopes = {name: float(np.clip(-SIGNS[name] * slope / size, 0.0, 1.0)) for name, (size, slope) in lines.items()}
    device = Pulsed(
        g_min=low,
        g_max=high,
        step=step,
        step_spread=math.sqrt(between),
        asymmetry=(lines["up"][0] - lines["down"][0]) / step,
        cycle=math.sqrt(cycle),
        write_noise=math.sqrt(reading) / step,
        response=Linear(up=slopes["up"], down=slopes["down"]),
    )
    return Fitted(
        device=device, explained=explained, left_out=left_out, g_min=low, g_max=high, until=math.inf,
        cells=int(table.cell.nunique()),
    )  # fmt: skip


SIGNS = {"up": 1, "down": -1}


def _moves(table: Any, noise: float) -> tuple[Any, float, float]:
    """Steps of pulses, towards where they go, from w, without those that a bound of the cell may have cut; and the ends
    of the range, w = -1 and 1. noise: of a reading [S].
    """
    cells, far = table.groupby("cell").conductance, 3 * noise
    low, high = max(0.0, float(table.conductance.min()) + far), float(table.conductance.max()) - far
    if not low < high:
        raise ParameterError(f"readings have a noise of {noise:.3g} S, in which pulses do not show")
    before, middle, half = cells.shift(), (low + high) / 2, (high - low) / 2
    # a reading whose noise is in neither end of the step says where the cell is
    seen = cells.shift(2).fillna(before) if noise else table.conductance
    room = np.where(table.pulse > 0, cells.transform("max") - seen, seen - cells.transform("min"))
    moves = table[before.notna() & (table.pulse != 0) & (room > CLEAR * noise)]
    before = before[moves.index]
    moves = moves.assign(w=(before - middle) / half, step=(moves.conductance - before) / half * moves.pulse)
    for name, sign in SIGNS.items():
        if (count := int((moves.pulse == sign).sum())) < REPEATS * LEVELS:
            raise ParameterError(f"a fit of pulses needs {REPEATS * LEVELS} pulses {name}, not {count}")
    return moves, low, high


def _left(moves: Any, lines: dict[str, tuple[float, float]]) -> Any:
    """What lines leave of each step, upwards positive."""
    size, slope = (moves.pulse.map({SIGNS[name]: line[part] for name, line in lines.items()}) for part in (0, 1))
    return (moves.pulse * (moves.step - size - slope * moves.w)).rename("left")


def _lines(moves: Any, reading: float) -> dict[str, tuple[float, float]]:
    """Size at w = 0 and slope of the steps of either direction, where w was read with the variance `reading`.

    w = w' + e, and the step holds -e upwards, +e downwards: cov(step, w) = slope var(w') - sign reading.
    """
    found = {}
    for name, sign in SIGNS.items():
        chosen = moves[moves.pulse == sign]
        together = np.cov(chosen.step, chosen.w)
        spread = together[1, 1] - reading
        slope = float((together[0, 1] + sign * reading) / spread) if spread > 0 else 0.0
        found[name] = float(chosen.step.mean() - slope * chosen.w.mean()), slope
    return found


def _of_reading(table: Any, lines: dict[str, tuple[float, float]]) -> float:
    """Variance of reading w, from what neighbouring steps share: the reading between two is in both, with opposite
    signs; two steps further apart share what is the cell's alone. 0 where it cannot be told from 0.
    """
    ahead = [table.groupby("cell")[["left", "pulse"]].shift(-count) for count in (1, 2)]
    same = (ahead[0].pulse == table.pulse) & (ahead[1].pulse == table.pulse)
    passed_on = 1 + table.pulse * table.pulse.map({sign: lines[name][1] for name, sign in SIGNS.items()})
    shared = (table.left * (ahead[1].left - ahead[0].left) / passed_on)[same].dropna()
    error = float(shared.std()) / math.sqrt(len(shared)) if len(shared) > 1 else math.inf
    return float(shared.mean()) if shared.mean() > SURE * error else 0.0


def _spreads(moves: Any, lines: dict[str, tuple[float, float]], reading: float) -> tuple[float, float]:
    """Variances of steps over their size: from cell to cell, and from pulse to pulse."""
    parts, of_reading = [], 0.0
    for name, sign in SIGNS.items():
        chosen, (size, slope) = moves[moves.pulse == sign], lines[name]
        parts.append(
            pd.DataFrame({"cell": chosen.cell, "s": chosen.step / size, "p": (size + slope * chosen.w) / size})
        )
        of_reading += reading * (1 + (1 + sign * slope) ** 2) / size**2 * len(chosen) / len(moves)
    seen = pd.concat(parts)
    noise = max(0.0, float(np.mean((seen.s - seen.p) ** 2)) - of_reading)
    by_cell = pd.DataFrame({"sp": seen.s * seen.p, "pp": seen.p**2, "cell": seen.cell}).groupby("cell").sum()
    by_cell = by_cell[by_cell.pp > 0]
    # s = k p + cycle N: k of a cell by least squares has the variance between + cycle^2 / sum(p^2), and what is left of
    # the mean p^2 between + cycle^2
    scale, share = float(np.mean(seen.p**2)), float(np.mean(1 / by_cell.pp))
    apart = float((by_cell.sp / by_cell.pp).var()) if len(by_cell) > 1 else 0.0
    between = max(0.0, (apart - noise * share) / (1 - scale * share)) if scale * share < 1 else 0.0
    return between, max(0.0, noise - scale * between)


FITS = {"states": _states, "drift": _drift, "pulses": _pulses}
