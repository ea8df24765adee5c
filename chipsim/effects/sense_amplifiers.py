"""What reads the columns: amplifiers with offset, gain error and noise, and a sample-and-hold that droops."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Draw, Effect, Frozen, Seen
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class SenseAmplifiers(Effect):
    """Every column of every tile is read in every step by an amplifier of its own, whose output is held:

        out = (1 + gain N) exp(-hold / hold_tau) in + offset N' + noise N''

    N, N': frozen, of each column of a tile; N'': fresh in every step. offset, noise: in currents of one driven cell
    pair at w_max. A layer's tiles below one another add what their amplifiers give. An amplifier's input resistance is
    `WireResistance.terminal`. All sizes are design choices.
    """

    name: ClassVar[str] = "sense_amplifiers"

    gain: float = quantity(0.01, "1", (0.0, 1.0))
    offset: float = quantity(0.05, "1", (0.0, 100.0))
    noise: float = quantity(0.0, "1", (0.0, 100.0))
    hold: float = quantity(0.0, "s", (0.0, 1e3))
    hold_tau: float = quantity(1.0, "s", (1e-9, 1e9))

    @property
    def strength(self) -> float:
        return max(self.gain, self.offset, self.noise, self._droop)

    @property
    def _droop(self) -> float:
        """Share of its value that an output loses until it is used."""
        return -math.expm1(-self.hold / self.hold_tau)

    @property
    def designed(self) -> frozenset[str]:
        return super().designed | {"head"}

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        rows, columns = shape
        offset, head = np.zeros((2, 2, rows, columns))
        head[0, 0] = 1.0  # an amplifier a column, with the column's first cell
        offset[0, 0] = draw("offset").standard_normal(columns)
        gain = np.maximum(0.0, 1.0 + self.gain * draw("gain").standard_normal(columns))
        return {"gain": np.broadcast_to(gain, offset.shape).copy(), "offset": offset, "head": head}

    def column_gain(self, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return frozen["gain"][0] * (1.0 - self._droop)

    def column_offset(self, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return self.offset * frozen["offset"][0].sum(-2)

    def column_variance(self, frozen: Mapping[str, AnyArray]) -> AnyArray | None:
        if not self.noise:
            return None
        return self.noise**2 * frozen["head"][0].sum(-2)

    def measure(self, seen: Seen) -> dict[str, float]:
        heads = np.concatenate([cells["head"].ravel() > 0 for cells in seen.cells])
        drawn = {
            kind: np.concatenate([cells[kind].ravel() for cells in seen.cells])[heads] for kind in ("gain", "offset")
        }
        sizes = {
            "rms gain error": float(np.sqrt(np.mean((drawn["gain"] - 1.0) ** 2))),
            "rms offset, cells at w_max": self.offset * float(np.sqrt(np.mean(drawn["offset"] ** 2))),
            "noise of a step, cells at w_max": self.noise,
            "droop": self._droop,
        }
        return {part: size for part, size in sizes.items() if self._sizes[part]}

    @property
    def _sizes(self) -> dict[str, float]:
        return {
            "rms gain error": self.gain,
            "rms offset, cells at w_max": self.offset,
            "noise of a step, cells at w_max": self.noise,
            "droop": self._droop,
        }

    def stated(self, part: str, circuit: Circuit, device: Device) -> float:
        return self._sizes[part]
