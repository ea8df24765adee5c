"""What a learning rule is: a pure pair of init and update on the signals of one array."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chipsim.circuits import Circuit
from chipsim.quantity import Parameters, quantity
from chipsim.signals import LocalSignals

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rule(Parameters, ABC):
    """A local learning rule. Each array of the chip runs it alone, from its own `LocalSignals`.

    reads: the signals it uses in hidden and in read-out arrays; all others arrive as None. gate: half-width of the
    comparator window around the threshold, relative to the circuit's unit voltage.
    """

    reads: ClassVar[frozenset[str]]
    gate: float = quantity(0.2, "1", (0.0, 1e3), "Yang 2022, released code")

    def check(self, circuit: Circuit) -> None:
        """Raise ParameterError where the rule is wrong for this neuron circuit."""

    @abstractmethod
    def init(self, batch: int, rows: int, columns: int) -> Any:
        """Return the state at the start of a window."""

    @abstractmethod
    def update(self, state: Any, signals: LocalSignals) -> tuple[Any, Array | None]:
        """Take one step's signals; return the new state, and the gradient [rows, columns] of the local loss, averaged
        over the batch, or None where this step teaches nothing. Neither argument is edited.
        """
