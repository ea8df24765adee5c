"""LocalSignals: everything that the learning circuit of one array can see, and nothing else."""

from dataclasses import dataclass

from chipsim.arrays import AnyArray


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSignals:
    """One step of one array, for a batch of samples presented side by side. A rule gets the fields that it declares
    in `reads`; the others are None. Membranes are relative to the circuit's scale, so that they compare to weights.
    What the rows carry is not among them: it meets the rule's column signal in the cells (see `Rule`).

    spikes     [batch, neurons]  postsynaptic spikes of this step
    gate       [batch, neurons]  comparator: membrane within the window around the neuron's threshold, before reset
    membrane   [batch, neurons]  membrane before reset
    value      [batch, neurons]  accumulated value of a read-out column; None in hidden arrays
    target     [batch, neurons]  the neuron's target rate; in a read-out array, the label's or teacher's share per class
    label      [batch, classes]  1 for the sample's class, else 0: what a rule without teacher is told
    array      number of the array, counted from the input side
    step       index of the step, 0 .. window - 1
    window     steps per sample
    leak       nominal fraction of the membrane that is left after one step
    readout    whether this is a read-out array
    """

    step: int
    window: int
    leak: float
    readout: bool
    array: int = 0
    spikes: AnyArray | None = None
    gate: AnyArray | None = None
    membrane: AnyArray | None = None
    value: AnyArray | None = None
    target: AnyArray | None = None
    label: AnyArray | None = None
