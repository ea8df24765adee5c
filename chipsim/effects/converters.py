"""Converters around an array: what drives its rows is digital, and so is what its columns give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Draw, Effect, Errors, Frozen, Grid, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

MIDDLE = "non-linearity in the middle, steps"


@final
@dataclass(frozen=True, kw_only=True)
class Converters(Effect):
    """Mid-tread converters: x -> clip(round(x / lsb) lsb, -range, range), lsb = range / (2^(bits - 1) - 1).

    dac_bits: of analog inputs of the first layer, in front of any pooling, in +-dac_range (in inputs). adc_bits: of
    what the columns of every layer deliver in a step, in +-adc_range (in currents of one driven cell pair at w_max),
    before the neuron. 0 bits: none. The default range of 12 is that of aihwkit's IOParameters.

    Those of the columns may err; what each column's own does is frozen. Successive approximation finds the largest code
    c, its bits from the highest on, that still fits in:

        sum_k c_k w_k <= (1 + adc_gain N) x / lsb + adc_offset N' + 2^(bits - 1) + 1/2
        w_k = 2^bits C_k / (C + sum_j C_j),   C_k = 2^k + adc_unit sqrt(2^k) N_k,   C = 1 + adc_unit N_C

    as of capacitors that are 2^k units each and one unit that is never switched; adc_unit is the relative spread of a
    unit, and code c stands adc_unit sqrt(c (1 - c / 2^bits)) steps off. adc_offset is in steps. All errors are design
    choices, 0 by default. Behind a convolution one converter serves all positions.

    >>> Converters(dac_bits=8, adc_bits=8).rows()
    Grid(step=0.007874015748031496, limit=1.0)
    """

    name: ClassVar[str] = "converters"

    dac_bits: int = 8
    adc_bits: int = 8
    dac_range: float = quantity(1.0, "1", (1e-6, 1e6))
    adc_range: float = quantity(12.0, "1", (1e-6, 1e6))
    adc_gain: float = quantity(0.0, "1", (0.0, 1.0))
    adc_offset: float = quantity(0.0, "1", (0.0, 1e6))
    adc_unit: float = quantity(0.0, "1", (0.0, 0.3))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dac_bits", "adc_bits"):
            bits = getattr(self, name)
            if bits == 1 or not 0 <= bits <= 24:
                raise ParameterError(f"Converters.{name} must be 0 (none) or 2 to 24, not {bits!r}")
        if self._errs and not self.adc_bits:
            raise ParameterError("Converters of adc_bits = 0 have no ADC that could err; leave its errors at 0")

    @property
    def _errs(self) -> bool:
        return max(self.adc_gain, self.adc_offset, self.adc_unit) > 0

    @property
    def strength(self) -> float:
        return sum(2.0**-bits for bits in (self.dac_bits, self.adc_bits) if bits)

    def rows(self) -> Grid | None:
        return _grid(self.dac_bits, self.dac_range)

    def columns(self) -> Grid | None:
        return _grid(self.adc_bits, self.adc_range)

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        if not self._errs:
            return {}
        units = 2.0 ** np.array([*range(self.adc_bits), 0])
        drawn = draw("capacitors").standard_normal((count, len(units)))
        capacitors = np.maximum(0.0, units + self.adc_unit * np.sqrt(units) * drawn)
        weights = 2.0**self.adc_bits * capacitors / capacitors.sum(axis=1, keepdims=True)
        return {
            "gain": np.maximum(0.0, 1.0 + self.adc_gain * draw("gain").standard_normal(count)),
            "offset": self.adc_offset * draw("offset").standard_normal(count),
            **{f"bit_{k}": weights[:, k] for k in range(self.adc_bits)},
        }

    def column_errors(self, frozen: Mapping[str, AnyArray]) -> Errors | None:
        if not self._errs:
            return None
        bits = tuple(frozen[f"bit_{k}"] for k in reversed(range(self.adc_bits)))
        return Errors(frozen["gain"], frozen["offset"], bits)

    def measure(self, seen: Seen) -> dict[str, float]:
        grids = {"DAC": self.rows() if seen.coded else None, "ADC": self.columns()}
        sizes = {f"{name} step, share of range": grid.step / grid.limit for name, grid in grids.items() if grid}
        highest = f"bit_{self.adc_bits - 1}"
        for part, kind, ideal in (
            ("gain error", "gain", 1.0), ("offset, steps", "offset", 0.0), (MIDDLE, highest, 2.0 ** (self.adc_bits - 1))
        ):  # fmt: skip
            if self._stated[f"ADC rms {part}"]:
                found = np.concatenate([frozen[kind] for frozen in seen.neurons]) - ideal
                sizes[f"ADC rms {part}"] = float(np.sqrt(np.mean(found**2)))
        return sizes

    @property
    def _stated(self) -> dict[str, float]:
        return {
            "ADC rms gain error": self.adc_gain,
            "ADC rms offset, steps": self.adc_offset,
            f"ADC rms {MIDDLE}": self.adc_unit * 2.0 ** (self.adc_bits / 2 - 1),
        }

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        if part in self._stated:
            return self._stated[part]
        bits = self.dac_bits if part.startswith("DAC") else self.adc_bits
        return 1.0 / int(2 ** (bits - 1) - 1)


def _grid(bits: int, limit: float) -> Grid | None:
    return Grid(limit / (2 ** (bits - 1) - 1), limit) if bits else None
