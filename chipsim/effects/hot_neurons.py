"""Neurons that fire whatever their input."""

import re
from dataclasses import dataclass
from typing import ClassVar, final

from chipsim.circuits import Circuit
from chipsim.effects.places import FaultyThresholds
from chipsim.errors import ParameterError
from chipsim.quantity import INF, quantity


@final
@dataclass(frozen=True, kw_only=True)
class HotNeurons(FaultyThresholds):
    """Each spiking neuron is hot with probability `rate`, for good: its threshold lies below every membrane, so that it
    fires in every step, or as often as its refractory time allows.

    places: neurons of the die, by number, that are hot beside those. Raises ParameterError for circuits whose reset or
    equations use the threshold, as a soft reset does: an unbounded one would destroy their membrane.

    >>> HotNeurons(rate=0.0, places=(3, 17)).strength
    2.0
    """

    name: ClassVar[str] = "hot_neurons"
    fault: ClassVar[str] = "hot"

    rate: float = quantity(0.01, "1", (0.0, 1.0))

    @property
    def threshold(self) -> float:
        return -INF

    def check(self, circuit: Circuit, device: object) -> None:
        super().check(circuit, device)
        text = f"{circuit.equations}\n{circuit.inject}\n{circuit.reset}"
        if self.strength and re.search(rf"\b{circuit.roles['threshold']}\b", text):
            raise ParameterError(
                f"HotNeurons cannot act on this {type(circuit).__name__}, whose reset or equations use its threshold; "
                "take a hard reset, or leave HotNeurons out"
            )
