"""What a host method is: a loss whose gradient the host computes on a twin of the network, anchored on what it read.

The host holds the weights that the controller wants and computes with PyTorch; the chip shows what the method reads.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from chipsim.circuits import Circuit
from chipsim.engines.torch import product
from chipsim.errors import ParameterError
from chipsim.host.normalisation import Normalised
from chipsim.quantity import Parameters
from chipsim.wiring import Wiring

T = TypeVar("T")
READABLE = frozenset({"counts", "spikes", "membranes", "outputs"})
"""What a host can read from a chip."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """What the host read from the chip for a batch; None for what the method does not declare in `reads`. Neurons of
    convolutions, of shape (channels, height, width) on the chip, have their channels last, which multiplies faster.

    counts: spikes of every hidden layer in the window [batch, neurons]. spikes, membranes: of every hidden layer
    [steps, batch, neurons], the membrane from rest, before the reset, in the circuit's unit drive. outputs: sums of
    what the read-outs received in the window [batch, outputs], in theirs.
    """

    counts: tuple[Tensor, ...] | None = None
    spikes: tuple[Tensor, ...] | None = None
    membranes: tuple[Tensor, ...] | None = None
    outputs: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TwinLayer:
    """One layer as the host models it: nominal, all neurons alike.

    weights [rows + bias rows, columns]: the host's, of which the gradient is taken. threshold: from rest, in unit
    drives, as `Readings.membranes`. leak: share of the membrane that is left after a step. norm, affine [2, columns]:
    how the host normalises drives, with its gain and shift; None for what it does not normalise. factors: dtype of
    products, that of the weights by default.
    """

    weights: Tensor
    wiring: Wiring
    bias_rows: int
    circuit: Circuit
    step: float
    norm: Normalised | None = None
    affine: Tensor | None = None
    factors: torch.dtype | None = None

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What the host learns: weights, and with a normalisation gain and shift."""
        return (self.weights,) if self.affine is None else (self.weights, self.affine)

    @property
    def threshold(self) -> float:
        return self.circuit.swing / self.circuit.unit_drive

    @property
    def leak(self) -> float:
        return self.circuit.leak(self.step)

    def drive(self, inputs: Tensor) -> Tensor:
        """Return what the array gives its neurons [..., batch, neurons], times the gain of their inputs, for inputs
        [..., batch, size] of a step. Images have their channels last, as of all that the host reads.
        """
        steps = (inputs if inputs.ndim == 3 else inputs[None]).to(self.factors or inputs.dtype)
        driven = product(self.wiring, steps, self.weights * self.circuit.gain, self.bias_rows, last=True)
        if self.norm is not None and self.affine is not None:
            driven = self.norm(driven, self.affine)
        return (driven if inputs.ndim == 3 else driven[0]).to(inputs.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Twin:
    """The network as the host models it: inputs [steps, batch, size] as the host sent them, before converters and
    drivers, or [1, batch, size] where they are the same in each of `window` steps, and its layers. kept: with dropout,
    what the spikes of the last hidden layer count for in the outputs [batch, neurons].
    """

    inputs: Tensor
    window: int
    hidden: tuple[TwinLayer, ...]
    readout: TwinLayer
    kept: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Mean inputs of a step [batch, size]."""
        return self.inputs.mean(0)

    @property
    def each(self) -> Tensor:
        """Inputs of every step [steps, batch, size], in the dtype that products round them to anyway: half the bytes in
        mixed precision, of the drives that they make too.
        """
        factors = (*self.hidden, self.readout)[0].factors
        return self.inputs.to(factors or self.inputs.dtype).expand(self.window, -1, -1)

    def shown(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return the sums of the read-outs as the chip showed them, [batch, outputs], with the gradient of the twin's
        for mean spikes `inputs` of a step; less what the twin has of spikes that dropout leaves out.
        """
        whole = self.readout.drive(inputs) * self.window
        part = whole if self.kept is None else self.readout.drive(inputs * self.kept) * self.window
        return anchored(part, outputs + (part - whole).detach())


@dataclass(frozen=True, kw_only=True)
class HostMethod(Parameters, ABC):
    """A way of training a chip from a host.

    reads: what it reads from the chip, of READABLE; everything else arrives as None.
    """

    reads: ClassVar[frozenset[str]]

    def check(self, circuit: Circuit) -> None:
        """Raise ParameterError where the method is wrong for this neuron circuit, or reads what no chip shows."""
        if circuit.port != "charge" or circuit.threshold is None:
            raise ParameterError(
                f"{type(self).__name__} models neurons that gather charge and spike, which {type(circuit).__name__} "
                "does not"
            )
        if circuit.nominal().get("v_reset", circuit.rest) != circuit.rest:
            raise ParameterError(
                f"{type(self).__name__} models neurons that a spike takes to rest, or lowers by the way from there to "
                f"the threshold; take {type(circuit).__name__} with v_reset = v_rest"
            )
        if unknown := self.reads - READABLE:
            raise ParameterError(
                f"{type(self).__name__} reads {min(unknown)!r}; a chip shows: {', '.join(sorted(READABLE))}"
            )

    @abstractmethod
    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        """Return the sums of the read-outs [batch, outputs]: their values as the chip shows them, or the twin's; their
        gradient with respect to the twin's weights by the method. A layer that no gradient reaches is not written.
        """

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a mean over its samples: cross-entropy of softmax(outputs) against the labels.

        Outputs are sums over the window: weights of a teacher that was trained on logits z show about T z, and a loss
        that much sharper, where local rules take the mean of a step.
        """
        return functional.cross_entropy(outputs, labels)


def anchored(model: Tensor, seen: Tensor) -> Tensor:
    """Return `seen` with the gradient of `model` (straight through)."""
    return seen + (model - model.detach())


Slopes = Callable[[int], tuple[Tensor, Tensor]]
"""Of a step t, ds[t] / du[t] and du[t+1] / du[t], both [batch, neurons]."""


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, drive: Tensor, spikes: Tensor, slopes: Slopes) -> Tensor:
        ctx.slopes = slopes
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        found, later = torch.empty_like(gradient), None
        for t in reversed(range(len(found))):
            slope, keep = ctx.slopes(t)
            here = slope * gradient[t]
            later = found[t] = here if later is None else here.addcmul_(keep, later)
        return found, None, None


def unrolled(drive: Tensor, spikes: Tensor, slopes: Slopes) -> Tensor:
    """Return `spikes` as the chip showed them, with the gradient of neurons that are unrolled over the window:

        du[t] / d drive[t] = 1        ds[t] / du[t], du[t+1] / du[t] = slopes(t)

    drive, spikes: [steps, batch, neurons]. It takes one pass backwards over the steps, and none forwards; slopes are
    those of a step at a time, so that no more than drives and spikes of a window is kept.
    """
    shown: Tensor = _Unrolled.apply(drive, spikes, slopes)  # type: ignore[no-untyped-call]
    return shown


def read(reading: T | None) -> T:
    """Return a reading that a method declares; ParameterError for one that it does not."""
    if reading is None:
        raise ParameterError("a host method read what it does not declare in `reads`")
    return reading


def rate(layer: TwinLayer, drive: Tensor, window: int) -> Tensor:
    """Return how many spikes a window of constant drive makes in a neuron of the layer, negative drive included.

    IF:  T I / theta      LIF with a reset to rest:  T / (tau ln(1 + theta / (R I - theta)))    R = 1 / (1 - leak)

    tau in steps; the LIF's formula is smoothed by a softplus (of a sharpness of 10, a choice) in place of the
    rectifier. The IF's is that of a reset by subtraction, the LIF's that of a reset to rest; other neurons without leak
    fire less, and other leaky ones more. Source: Wu et al. 2021, that of the LIF as recalled.
    """
    if layer.leak == 1.0:
        return drive * (window / layer.threshold)
    tau = -1 / math.log(layer.leak)
    above = functional.softplus(drive / ((1 - layer.leak) * layer.threshold) - 1, beta=10.0)
    return window / (tau * torch.log1p(1 / above.clamp(min=1e-6)))
