"""LocalSignals: everything that the learning circuit of one array can see, and nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSignals:
    """One step of one array, for a batch of samples presented side by side. A rule gets the fields that it declares
    in `reads`; the others are None. Voltages are relative to the chip's unit voltage, so that they compare to weights.

    pre        [batch, rows]     presynaptic spikes or input codes; bias rows are always 1
    spikes     [batch, columns]  postsynaptic spikes of this step
    gate       [batch, columns]  comparator: membrane within the window around the neuron's threshold, before reset
    membrane   [batch, columns]  membrane before reset
    value      [batch, columns]  accumulated value of a read-out column; None in hidden arrays
    target     [batch, columns]  the column's target rate; in a read-out array, the label's or teacher's share per class
    step       index of the step, 0 .. window - 1
    window     steps per sample
    leak       nominal fraction of the membrane that is left after one step
    row_leak   nominal fraction of a row circuit's trace that is left after one step
    readout    whether this is a read-out array
    """

    step: int
    window: int
    leak: float
    row_leak: float
    readout: bool
    pre: Array | None = None
    spikes: Array | None = None
    gate: Array | None = None
    membrane: Array | None = None
    value: Array | None = None
    target: Array | None = None
