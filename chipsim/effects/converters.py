"""Converters around an array: what drives its rows is digital, and so is what its columns give."""

from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Effect, Grid, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class Converters(Effect):
    """Ideal mid-tread converters: x -> clip(round(x / lsb) lsb, -range, range), lsb = range / (2^(bits - 1) - 1).

    dac_bits: of what drives the rows of the first layer with analog inputs, in +-dac_range (in inputs). adc_bits: of
    what the columns of every layer deliver in a step, in +-adc_range (in currents of one driven cell pair at w_max),
    before the neuron. 0 bits: none. The default range of 12 is that of aihwkit's IOParameters.

    >>> Converters(dac_bits=8, adc_bits=8).rows()
    Grid(step=0.007874015748031496, limit=1.0)
    """

    name: ClassVar[str] = "converters"

    dac_bits: int = 8
    adc_bits: int = 8
    dac_range: float = quantity(1.0, "1", (1e-6, 1e6))
    adc_range: float = quantity(12.0, "1", (1e-6, 1e6))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dac_bits", "adc_bits"):
            bits = getattr(self, name)
            if isinstance(bits, bool) or not isinstance(bits, int) or bits == 1 or not 0 <= bits <= 24:
                raise ParameterError(f"Converters.{name} must be 0 (none) or 2 to 24, not {bits!r}")

    @property
    def strength(self) -> float:
        return sum(2.0**-bits for bits in (self.dac_bits, self.adc_bits) if bits)

    def rows(self) -> Grid | None:
        return _grid(self.dac_bits, self.dac_range)

    def columns(self) -> Grid | None:
        return _grid(self.adc_bits, self.adc_range)

    def measure(self, seen: Seen) -> dict[str, float]:
        grids = {"DAC": self.rows(), "ADC": self.columns()}
        return {f"{name} step, share of range": grid.step / grid.limit for name, grid in grids.items() if grid}

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        bits = self.dac_bits if part.startswith("DAC") else self.adc_bits
        return 1.0 / int(2 ** (bits - 1) - 1)


def _grid(bits: int, limit: float) -> Grid | None:
    return Grid(limit / (2 ** (bits - 1) - 1), limit) if bits else None
