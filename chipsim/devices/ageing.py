"""What cells share that are written with noise, or that go on moving after they were written."""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chipsim.arrays import AnyArray, like, namespace
from chipsim.devices.base import Device
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


class ExtrapolationWarning(UserWarning):
    """A model is used beyond what was measured."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Device, ABC):
    """A cell whose write leaves max(0, target + sigma(target) N(0, 1))."""

    draws: ClassVar[bool] = True

    @abstractmethod
    def sigma(self, g: AnyArray) -> AnyArray:
        """Return the standard deviation of the programmed conductance [S] around the target `g` [S]."""

    def written(self, target: AnyArray, rng: np.random.Generator | None) -> AnyArray:
        assert rng is not None
        drawn = like(rng.standard_normal(tuple(target.shape)), target)
        return namespace(target).clip(target + self.sigma(target) * drawn, min=0.0)


@dataclass(frozen=True, kw_only=True)
class Ageing(Drawn, ABC):
    """A cell whose conductance goes on moving: until `measured_until` seconds after its write as measured, and beyond
    that only where `extrapolate` asks for what the fit says there.
    """

    ages: ClassVar[bool] = True
    goes_on: ClassVar[bool] = True
    """Whether its fit says anything beyond what was measured."""

    measured_until: float = quantity(math.inf, "s", (0.0, math.inf))
    extrapolate: bool = False

    def check_age(self, age: float) -> None:
        if age <= self.measured_until:
            return
        beyond = f"cells of {age:.4g} s are older than {type(self).__name__} was measured, {self.measured_until:.4g} s"
        if not self.extrapolate:
            raise ParameterError(f"{beyond}{'; extrapolate=True goes on with its fit' if self.goes_on else ''}")
        warnings.warn(f"{beyond}: extrapolated", ExtrapolationWarning, stacklevel=2)


@dataclass(frozen=True, kw_only=True)
class Flickering(Ageing, ABC):
    r"""A cell with 1/f read noise, that accumulates from `t_read` after the write on:

        sigma^2 = flicker^2 ln((age + t_0 + t_read) / (2 t_read))

    Each factor of time adds the same variance. What is slower than a step stands still while samples are presented, and
    is drawn anew whenever time is waited; what is faster, ln(step / (2 t_read)), is another one at every access.
    Together they are the published noise.
    """

    t_0: float = quantity(0.0, "s", (0.0, 1e6))
    """Time from the write to the first measurement, from which ages count."""
    t_read: float = quantity(1e-6, "s", (1e-12, 1.0))

    @property
    def fluctuates(self) -> bool:  # type: ignore[override]
        g = np.linspace(self.g_min, self.g_max, 100)
        return bool((self.flicker(g, g) > 0).any())

    @abstractmethod
    def flicker(self, g: AnyArray, target: AnyArray) -> AnyArray:
        """Return the standard deviation [S] of the noise that a factor e of time adds."""

    def slow(self, g: AnyArray, target: AnyArray, age: AnyArray, step: float) -> AnyArray:
        xp = namespace(g)
        octaves = xp.log((age + self.t_0 + self.t_read) / max(step, 2 * self.t_read))
        return self.flicker(g, target) * xp.sqrt(xp.clip(octaves, min=0.0))

    def variance(self, g: AnyArray, target: AnyArray, step: float) -> AnyArray:
        return self.flicker(g, target) ** 2 * max(0.0, math.log(step / (2 * self.t_read)))
