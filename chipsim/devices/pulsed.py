"""Memory cells that are changed by pulses, each by a step that differs from cell to cell and from pulse to pulse."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from chipsim.arrays import AnyArray, like, namespace
from chipsim.devices.base import Device, Frozen
from chipsim.quantity import Parameters, quantity
from chipsim.streams import Draw, among

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Step(Parameters, ABC):
    """How the size of a step depends on where the cell is: a factor on the step at weight 0."""

    def fabricate(self, shape: tuple[int, ...], draw: Draw) -> Frozen:
        """Draw what is frozen of each cell beside its bounds."""
        return {}

    @abstractmethod
    def factor(self, w: AnyArray, up: AnyArray, cell: Mapping[str, AnyArray]) -> AnyArray:
        """Return the factor at weights `w`, upwards where `up`; cell: what is frozen of them, bounds included."""

    def change(self, step: AnyArray, factor: AnyArray, noise: AnyArray, w: AnyArray) -> AnyArray:
        """Return the changes of weights `w`, noise from pulse to pulse included; step: those at weight 0, signed."""
        return step * factor * (1.0 + noise)


@final
@dataclass(frozen=True, kw_only=True)
class Linear(Step):
    """1 - |up + spread N| w / top upwards, 1 - |down + spread N| w / bottom downwards. With up = down = 1: soft bounds,
    where a step vanishes at the bound it moves towards; a cell whose own slope is above 1 goes back near its bound.

    additive_noise: whether noise from pulse to pulse keeps its size where the step shrinks.
    """

    up: float = quantity(0.0, "1", (0.0, 1.0))
    down: float = quantity(0.0, "1", (0.0, 1.0))
    spread: float = quantity(0.0, "1", (0.0, 1.0))
    additive_noise: bool = True

    def fabricate(self, shape: tuple[int, ...], draw: Draw) -> Frozen:
        return {
            name: np.abs(getattr(self, name) + self.spread * draw(f"slope {name}").standard_normal(shape))
            for name in ("up", "down")
        }

    def factor(self, w: AnyArray, up: AnyArray, cell: Mapping[str, AnyArray]) -> AnyArray:
        xp = namespace(w)
        towards = xp.where(up, cell["up"], cell["down"]) * w / xp.where(up, cell["top"], cell["bottom"])
        return 1.0 - towards

    def change(self, step: AnyArray, factor: AnyArray, noise: AnyArray, w: AnyArray) -> AnyArray:
        return step * (factor + noise) if self.additive_noise else step * factor * (1.0 + noise)


@final
@dataclass(frozen=True, kw_only=True)
class Exponential(Step):
    """max(0, 1 - a exp(+-gamma z)),   z = 2 scale w / (top - bottom) + shift, with + upwards and a of either way.

    Noise from pulse to pulse is of spread cycle (|step| + noise_least + noise_slope |w|), step as at the weight w.
    """

    a_up: float = quantity(0.0, "1", (-1e3, 1e3))
    a_down: float = quantity(0.0, "1", (-1e3, 1e3))
    gamma_up: float = quantity(1.0, "1", (0.0, 1e2))
    gamma_down: float = quantity(1.0, "1", (0.0, 1e2))
    scale: float = quantity(-0.5, "1", (-10.0, 10.0))
    shift: float = quantity(-0.5, "1", (-10.0, 10.0))
    noise_least: float = quantity(0.0, "1", (0.0, 10.0))
    noise_slope: float = quantity(0.0, "1", (0.0, 10.0))

    def factor(self, w: AnyArray, up: AnyArray, cell: Mapping[str, AnyArray]) -> AnyArray:
        xp = namespace(w)
        z = 2 * self.scale * w / (cell["top"] - cell["bottom"]) + self.shift
        rising, falling = self.a_up * xp.exp(self.gamma_up * z), self.a_down * xp.exp(-self.gamma_down * z)
        return xp.clip(1.0 - xp.where(up, rising, falling), min=0.0)

    def change(self, step: AnyArray, factor: AnyArray, noise: AnyArray, w: AnyArray) -> AnyArray:
        beside = namespace(w).sign(step) * (self.noise_least + self.noise_slope * abs(w))
        return step * factor + noise * (step * factor + beside)


STEPS: tuple[type[Step], ...] = (Linear, Exponential)


@final
@dataclass(frozen=True, kw_only=True)
class Pulsed(Device):
    r"""A cell with a relative weight w, bottom at g_min and top at g_max, that every pulse moves by a step:

        dw = +-step_+- (factor(w) + cycle N(0, 1))   or   +-step_+- factor(w) (1 + cycle N(0, 1))     within its bounds
        read: w + write_noise step N(0, 1), another number after every write or pulse

    Frozen, of each cell: step_+ = step (s - max(0, -asymmetry) + r) upwards, step_- = step (s - max(0, asymmetry) - r)
    downwards, s of mean or median 1 and spread step_spread (log-normal where `log_normal`), r of spread
    asymmetry_spread; its bounds, of relative spreads top_spread and bottom_spread, and never below 0 siemens. What is
    programmed, not pulsed, is taken to be verified: it ends at its target, or at the cell's bound.
    Source of the form: aihwkit's pulsed devices. The conductance range is a design choice: the fits are relative.
    """

    draws: ClassVar[bool] = True
    pulses: ClassVar[bool] = True

    g_min: float = quantity(10e-6, "S", (0.0, 1.0))
    g_max: float = quantity(50e-6, "S", (1e-12, 1.0))
    step: float = quantity(0.002, "1", (1e-9, 1.0))
    step_spread: float = quantity(0.0, "1", (0.0, 2.0))
    log_normal: bool = False
    asymmetry: float = quantity(0.0, "1", (-1.0, 1.0))
    asymmetry_spread: float = quantity(0.0, "1", (0.0, 1.0))
    top: float = quantity(1.0, "1", (1e-6, 10.0))
    top_spread: float = quantity(0.0, "1", (0.0, 2.0))
    bottom: float = quantity(-1.0, "1", (-10.0, 0.0))
    bottom_spread: float = quantity(0.0, "1", (0.0, 2.0))
    cycle: float = quantity(0.0, "1", (0.0, 100.0))
    write_noise: float = quantity(0.0, "1", (0.0, 1000.0))
    response: Step = Linear()

    @property
    def pulse_size(self) -> float:
        """Conductance that a controller takes a pulse to move any cell by [S]: `step` on average, as aihwkit counts its
        pulses too. What the response and the asymmetry make of it is left out, unless bounds are soft at weight 0
        itself: then it is a pulse upwards from the middle.
        """
        mean = math.exp(self.step_spread**2 / 2) if self.log_normal else 1.0
        if self.bottom == 0:
            cell = {"top": np.array(self.top), "bottom": np.array(0.0)}
            mean *= float(self.response.factor(np.array(self.top / 2), np.True_, cell))
        return self.step * mean * self._unit

    @property
    def _unit(self) -> float:
        """Conductance of a relative weight of 1 [S]."""
        return (self.g_max - self.g_min) / (self.top - self.bottom)

    def relative(self, g: AnyArray) -> AnyArray:
        """Return the relative weights of conductances [S]."""
        return (g - self.g_min) / self._unit + self.bottom

    def conductance(self, w: AnyArray) -> AnyArray:
        """Return the conductances [S] of relative weights; rounding leaves none below 0."""
        return namespace(w).clip((w - self.bottom) * self._unit + self.g_min, min=0.0)

    def fabricate(self, shape: tuple[int, ...], draw: Draw) -> Frozen:
        def spread(name: str, size: float) -> Array:
            return size * draw(name).standard_normal(shape)

        size = spread("step", self.step_spread)
        common = np.exp(size) if self.log_normal else 1.0 + size
        tilt = spread("asymmetry", self.asymmetry_spread)
        least = float(self.relative(np.array(0.0)))
        return {
            "step_up": self.step * np.maximum(0.0, common - max(0.0, -self.asymmetry) + tilt),
            "step_down": self.step * np.maximum(0.0, common - max(0.0, self.asymmetry) - tilt),
            "top": np.maximum(1e-6, self.top * (1.0 + spread("top", self.top_spread))),
            "bottom": np.clip(self.bottom * (1.0 + spread("bottom", self.bottom_spread)), least, -1e-6),
            **self.response.fabricate(shape, draw),
        }

    def sigma(self, g: AnyArray) -> AnyArray:
        """Return the standard deviation of what a read adds to a state `g` [S]."""
        return g * 0.0 + self.write_noise * self.step * self._unit

    def written(self, target: AnyArray, rng: np.random.Generator | None) -> AnyArray:
        if not self.write_noise:
            return namespace(target).asarray(target, copy=True)
        assert rng is not None
        noise = like(rng.standard_normal(tuple(target.shape)), target)
        return namespace(target).clip(target + self.write_noise * self.step * self._unit * noise, min=0.0)

    def limit(self, g: AnyArray, cell: Mapping[str, AnyArray]) -> AnyArray:
        return namespace(g).clip(g, min=self.conductance(cell["bottom"]), max=self.conductance(cell["top"]))

    def pulse(self, g: AnyArray, counts: AnyArray, cell: Mapping[str, AnyArray], rng: np.random.Generator) -> AnyArray:
        """Return the states [S] after `counts` pulses to each cell, upwards where positive; `g` is not edited.

        One pulse of all cells after the other; a read adds write noise, see `written`.
        """
        xp = namespace(g)
        w, left = self.relative(g), abs(counts)
        while bool((active := left > 0).any()):
            part = {name: values[active] for name, values in cell.items()}
            now, up = w[active], counts[active] > 0
            step = xp.where(up, part["step_up"], -part["step_down"])
            drawn = among(rng, active).standard_normal(tuple(now.shape))
            factor, noise = self.response.factor(now, up, part), self.cycle * like(drawn, g)
            w[active] = xp.clip(
                now + self.response.change(step, factor, noise, now), min=part["bottom"], max=part["top"]
            )
            left = left - 1
        return self.conductance(w)


SOFT = Linear(up=1.0, down=1.0)

RERAM_ES_GONG_2018 = Pulsed(
    step=0.00135,
    step_spread=0.2,
    asymmetry=0.259359,
    asymmetry_spread=0.05,
    top_spread=0.3,
    bottom_spread=0.3,
    cycle=5.0,
    write_noise=75.0,
    response=Exponential(a_up=-1.18445, a_down=-0.081404, gamma_up=5.0, gamma_down=5.0),
)
"""Filamentary cells, exponential steps. Source: Gong et al., Nat. Commun. 2018, as in aihwkit (ReRamES)."""

RERAM_SB_GONG_2018 = Pulsed(
    step=0.002,
    step_spread=0.3,
    asymmetry_spread=0.01,
    top=1.25,
    bottom=-0.75,
    top_spread=0.24,
    bottom_spread=0.4,
    cycle=3.75,
    write_noise=56.0,
    response=SOFT,
)
"""The same cells with soft bounds (ReRamSB)."""

CAPACITOR_LI_2018 = Pulsed(
    step=0.005,
    step_spread=0.1,
    asymmetry_spread=0.06,
    top_spread=0.07,
    bottom_spread=0.07,
    cycle=0.3,
    response=Linear(up=0.05, down=0.05, spread=0.01),
)
"""Capacitors read by a transistor (3T1C). Source: Li et al., VLSI 2018, as in aihwkit (Capacitor). Its leak, a lifetime
of a million steps, is left out: it states no time."""

ECRAM_TANG_2018 = Pulsed(
    step=0.002,
    step_spread=0.1,
    asymmetry_spread=0.01,
    top=1.1724,
    bottom=-0.8276,
    top_spread=0.05,
    bottom_spread=0.05,
    cycle=0.3,
    response=Linear(up=0.1153, down=0.5085, spread=0.05, additive_noise=False),
)
"""Electrochemical cells with lithium. Source: Tang et al., IEDM 2018, as in aihwkit (EcRam)."""

ECRAM_MO_KIM_2019 = Pulsed(
    step=2.8214e-4,
    step_spread=0.1,
    asymmetry_spread=0.01,
    top=1.1714,
    bottom=-0.8286,
    top_spread=0.05,
    bottom_spread=0.05,
    cycle=2.0,
    response=Linear(up=0.4152, down=0.7342, spread=0.05, additive_noise=False),
)
"""Metal-oxide electrochemical cells. Source: Kim et al., IEDM 2019, as in aihwkit (EcRamMO)."""

ECRAM_WOX_2023 = Pulsed(g_min=0.1e-6, g_max=230e-6, step=0.02)
"""W/YSZ/WOx electrochemical cells, 0.1-230 uS in 100 pulses up and 100 down of 5 V and 100 ms. Source: Nat. Commun.
2023, s41467-023-41958-4. The shape of the answer and its spread were not read: steps are even and without noise."""

IDEALIZED = Pulsed(step=0.0002, step_spread=0.3, top_spread=0.3, bottom_spread=0.3, cycle=0.3)
"""Small, even steps that differ from cell to cell: aihwkit's IdealizedPresetDevice, of no paper."""

GOKMEN_VLASOV_2016 = Pulsed(
    step=0.0016, step_spread=0.3, asymmetry_spread=0.01, top_spread=0.3, bottom_spread=0.3, cycle=0.3
)
"""What a cell should be for training. Source: Gokmen and Vlasov, Front. Neurosci. 2016, as in aihwkit."""

RERAM_ARRAY_OM_2022 = Pulsed(
    step=0.0949,
    step_spread=0.7829,
    log_normal=True,
    asymmetry_spread=0.01,
    top_spread=0.3499,
    bottom_spread=0.5695,
    cycle=0.4158,
    write_noise=1.4113,
    response=SOFT,
)
"""Optimised filamentary array. Source: Gong, Rasch et al., IEDM 2022, as in aihwkit (ReRamArrayOM). 13.48 % of its
cells were corrupt: StuckCells(rate=0.1348) is theirs, and not in the preset."""

RERAM_ARRAY_HFO2_2022 = Pulsed(
    step=0.4622,
    step_spread=0.7125,
    log_normal=True,
    asymmetry_spread=0.01,
    top_spread=0.4295,
    bottom_spread=0.5990,
    cycle=0.2174,
    write_noise=0.5841,
    response=SOFT,
)
"""Its baseline (ReRamArrayHfO2); 9.77 % of the cells were corrupt."""

PCM_NANDAKUMAR_2020 = Pulsed(
    g_min=0.0,
    g_max=25e-6,
    step=0.01,
    step_spread=0.2,
    asymmetry_spread=0.05,
    top=2.0,
    top_spread=0.1,
    bottom=0.0,
    cycle=0.6,
    response=Exponential(
        a_up=-27.235,
        a_down=-2.235,
        gamma_up=2.5,
        gamma_down=2.5,
        scale=-1.0,
        shift=0.0,
        noise_least=0.042,
        noise_slope=0.108,
    ),
)
"""Phase change cells: small steps upwards, downwards ever larger ones as a reset is. Source: Nandakumar et al., Front.
Neurosci. 2020, as in aihwkit (PCM), which uses it upwards only, in pairs that are refreshed; no writer here does so."""
