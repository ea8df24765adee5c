"""Resistive memory cells with a measured, conductance-dependent programming noise."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from chipsim.arrays import AnyArray, like, namespace
from chipsim.devices.base import Device
from chipsim.errors import ParameterError
from chipsim.quantity import quantity


@final
@dataclass(frozen=True, kw_only=True)
class Rram(Device):
    """g = max(0, target + sigma(target) N(0, 1)),   sigma(g) = max(0, sigma_offset + sigma_slope g).

    g, target, sigma: siemens; sigma_slope: 1. A draw below zero is truncated at zero. Valid for conductances in
    fit_min .. fit_max; a cell that is asked to leave that range raises ParameterError.
    """

    draws: ClassVar[bool] = True

    sigma_offset: float = quantity(0.0, "S", (0.0, 1.0))
    sigma_slope: float = quantity(0.0, "1", (-1.0, 1.0))
    fit_min: float = quantity(0.0, "S", (0.0, 1.0))
    fit_max: float = quantity(1.0, "S", (0.0, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fit_min <= self.g_min < self.g_max <= self.fit_max:
            raise ParameterError(
                f"Rram range {self.g_min:g} to {self.g_max:g} S leaves the measured range "
                f"{self.fit_min:g} to {self.fit_max:g} S, where sigma is not known"
            )

    def sigma(self, g: AnyArray) -> AnyArray:
        """Standard deviation of the programmed conductance [S] around the target `g` [S]."""
        return namespace(g).clip(self.sigma_offset + self.sigma_slope * g, min=0.0)

    def written(self, target: AnyArray, rng: np.random.Generator | None) -> AnyArray:
        assert rng is not None
        drawn = like(rng.standard_normal(tuple(target.shape)), target)
        return namespace(target).clip(target + self.sigma(target) * drawn, min=0.0)


RRAM_MILO_2021 = Rram(
    g_min=50e-6,
    g_max=225e-6,
    levels=32,  # design choice
    sigma_offset=4.782321e-6,
    sigma_slope=-0.009107,
    fit_min=50e-6,
    fit_max=225e-6,
)
"""130 nm HfO2 cell, 50-225 uS, sigma = 4.782 uS - 0.009107 g. Source: Milo et al., IRPS 2021, fit as in CrossSim.
The number of levels (32) is a design choice."""
