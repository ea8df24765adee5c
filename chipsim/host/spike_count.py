"""Spike-count learning (Wu et al., IJCNN 2019): back-propagation with spike counts as activations."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.host.base import HostMethod, Readings, Twin, anchored, read


@final
@dataclass(frozen=True, kw_only=True)
class SpikeCount(HostMethod):
    """A neuron that fired answers its free membrane V_i = sum_j w_ij c_j + T b_i with a slope of 1 / theta:

        dc_i / dc_j = w_ij / theta where c_i > 0, else 0

    For neurons without leak and with a reset by subtraction. Source: Wu et al. 2019.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"counts", "outputs"})

    def check(self, circuit: Circuit) -> None:
        super().check(circuit)
        if circuit.leak(1e-3) != 1.0 or not getattr(circuit, "soft_reset", False):
            raise ParameterError(
                f"SpikeCount needs neurons without leak and with a reset by subtraction, as IF(soft_reset=True), not "
                f"this {type(circuit).__name__}"
            )

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        window, inputs = twin.window, twin.mean
        for layer, count in zip(twin.hidden, read(seen.counts), strict=True):
            linear = layer.drive(inputs) * (window / layer.threshold)
            inputs = torch.where(count > 0, anchored(linear, count), count) / window
        return twin.shown(inputs, read(seen.outputs))
