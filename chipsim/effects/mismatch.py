"""Device mismatch: frozen spread from neuron to neuron and from cell to cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray
from chipsim.circuits import Circuit
from chipsim.devices import Device
from chipsim.effects.base import Array, Draw, Effect, Frozen, Seen
from chipsim.errors import ParameterError
from chipsim.quantity import quantity

FACTORS = ("threshold", "time_constant", "gain")
KINDS = (*FACTORS, "reset", "cell_gain")


def log_normal(rng: np.random.Generator, cv: float, shape: tuple[int, ...]) -> Array:
    """Log-normal factors of mean 1 and coefficient of variation `cv`: exp(s N - s^2 / 2), s^2 = ln(1 + cv^2).

    >>> bool((log_normal(np.random.default_rng(0), 0.0, (3,)) == 1).all())
    True
    """
    variance = math.log1p(cv * cv)
    factors: Array = np.exp(math.sqrt(variance) * rng.standard_normal(shape) - variance / 2)
    return factors


@final
@dataclass(frozen=True, kw_only=True)
class Mismatch(Effect):
    """Frozen mismatch of relative size `sigma` on each of `kinds`.

    threshold, time_constant, gain (per neuron), cell_gain (per cell): multiplied by log-normal factors of mean 1 and
    CV sigma; of a threshold, its `swing` from rest. reset: Gaussian offset of standard deviation
    sigma (v_threshold - v_reset), nominal values. Factors are log-normal because Gaussian ones of sigma 0.5 would make
    2 % of thresholds negative. A kind that `kinds` names and the neuron circuit lacks raises ParameterError; by default
    every kind that the circuit has is taken.
    Form after Büchel et al. 2021 (Sci. Rep.): per neuron and per synapse, threshold included.

    >>> Mismatch(sigma=0.3).strength
    0.3
    """

    name: ClassVar[str] = "mismatch"

    sigma: float = quantity(0.2, "1", (0.0, 2.0), "Büchel et al. 2021, default")
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kinds is not None and not self.kinds:
            raise ParameterError("Mismatch.kinds is empty, so that it could not act; name kinds, or give sigma=0")
        if self.kinds is None:
            return
        for kind in self.kinds:
            if kind not in KINDS:
                raise ParameterError(f"unknown kind of mismatch {kind!r}; known: {', '.join(KINDS)}")
        object.__setattr__(self, "kinds", tuple(kind for kind in KINDS if kind in self.kinds))

    @property
    def strength(self) -> float:
        return self.sigma

    def check(self, circuit: Circuit, device: Device) -> None:
        for kind in self.kinds or ():
            if kind != "cell_gain" and kind not in circuit.roles:
                raise ParameterError(
                    f"{type(circuit).__name__} has no {kind} for Mismatch to act on; leave it out of kinds"
                )

    def _acts(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds

    def fabricate_neurons(self, circuit: Circuit, count: int, draw: Draw) -> Frozen:
        frozen = {
            kind: log_normal(draw(kind), self.sigma, (count,))
            for kind in FACTORS
            if kind in circuit.roles and self._acts(kind)
        }
        if "reset" in circuit.roles and self._acts("reset"):
            frozen["reset"] = self.sigma * draw("reset").standard_normal(count)
        return frozen

    def fabricate_cells(self, device: Device, shape: tuple[int, int], draw: Draw) -> Frozen:
        return {"cell_gain": log_normal(draw("cell_gain"), self.sigma, (2, *shape))} if self._acts("cell_gain") else {}

    def neurons(self, circuit: Circuit, values: Mapping[str, Array], frozen: Frozen) -> Mapping[str, Array]:
        changed = dict(values)
        for kind, variation in frozen.items():
            field = circuit.roles[kind]
            if kind == "reset":
                nominal = circuit.nominal()
                swing = nominal[circuit.roles["threshold"]] - nominal[field]
                changed[field] = changed[field] + swing * variation
            else:
                zero = circuit.zero if kind == "threshold" else 0.0  # where voltages are 0 is arbitrary
                changed[field] = zero + (changed[field] - zero) * variation
        return changed

    def read(self, g: AnyArray, frozen: Mapping[str, AnyArray]) -> AnyArray:
        return g * frozen["cell_gain"] if "cell_gain" in frozen else g

    def measure(self, seen: Seen) -> dict[str, float]:
        drawn: dict[str, list[Array]] = {}
        for frozen in (*seen.neurons, *seen.cells):
            for kind, values in frozen.items():
                drawn.setdefault(kind, []).append(values.ravel())
        return {f"{kind} CV": _spread(kind, np.concatenate(values)) for kind, values in drawn.items()}


def _spread(kind: str, values: Array) -> float:
    """Root mean square deviation from the stated mean, so that a single neuron measures something too."""
    return float(np.sqrt(np.mean((values - (kind != "reset")) ** 2)))
