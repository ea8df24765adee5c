"""perturb_in_the_loop(): learning from labels alone, by trying changes of all weights at once."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.nn import functional

from chipsim.arrays import AnyArray, like, namespace, to_numpy
from chipsim.deployment import Batch, Deployment, Samples
from chipsim.errors import ChipsimError, ParameterError
from chipsim.host.training import PURPOSE, Trainer, checked_labels, trained
from chipsim.loop import Adam, Optimiser, part_of
from chipsim.quantity import canonical_json
from chipsim.streams import stream
from chipsim.writers import Direct, Writer


def perturb_in_the_loop(
    deployment: Deployment,
    samples: Samples,
    *,
    size: float = 0.01,
    writer: Writer | None = None,
    optimiser: Optimiser | None = None,
    batch: int = 64,
    epochs: int = 1,
    seed: int = 0,
    progress: bool = True,
    on_epoch: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Weight perturbation: the floor of what labels alone teach a chip that shows nothing but its outputs.

        g_ij = (L(W + size D) - L(W - size D)) / (2 size) D_ij        D_ij = +1 or -1, for all weights at once

    L: cross-entropy of softmax(outputs) against the labels of a batch, which is presented twice, with noise of its own
    each time. Each perturbation is a write like any other, with the device's noise, and clipped like any other; on
    cells with levels a perturbation below the distance of two levels moves some of them only, while all take the slope;
    pulses that nobody checks move cells by something else, and leave some of it behind.
    size: in weights, relative to the root mean square of an array's weights at the start; the gradient of each array is
    scaled alike. Other arguments and what is returned: as `train_in_the_loop`. Raises ParameterError for arguments out
    of range, arrays of zeros and several chips; ChipsimError when the loss is not finite. Source: simultaneous
    perturbation, Spall 1992.
    """
    if not 0 < size < np.inf:
        raise ParameterError(f"size of a perturbation must be above 0 and finite, not {size!r}")
    writer = part_of("writer", Writer, writer, Direct())
    optimiser = part_of("optimiser", Optimiser, optimiser, Adam())
    labels = checked_labels(deployment, samples, batch, epochs)
    host = _Perturbing(deployment, writer, optimiser, epochs * len(labels), size, seed)
    parts = {"writer": writer, "optimiser": optimiser}
    return trained(host, samples, labels, batch, epochs, seed, progress, on_epoch).assign_attrs(
        {name: canonical_json(part) for name, part in parts.items()}, method="weight perturbation", size=size
    )


class _Perturbing(Trainer):
    """The perturbation at hand, and the loss that it gave with a plus."""

    def __init__(
        self, deployment: Deployment, writer: Writer, optimiser: Optimiser, total: int, size: float, seed: int
    ) -> None:
        wanted = [to_numpy(cells.wanted) for cells in deployment.cells]
        self.sizes = [size * float(np.sqrt(np.mean(weights**2))) for weights in wanted]
        if not all(self.sizes):
            raise ParameterError("weight perturbation needs arrays whose weights are not all 0")
        super().__init__(deployment, writer, optimiser, 0, total)
        self.draws = stream(seed, "perturbation")
        self.signs: list[AnyArray] = []
        self.wanted: list[AnyArray] = []
        self.losses: list[float] = []

    def run(
        self, samples: Samples, labels: NDArray[np.integer], chosen: Iterator[NDArray[np.int64]], count: int, size: int
    ) -> None:
        at_hand: list[NDArray[np.integer]] = []

        def presented() -> Iterator[Batch]:
            for _ in range(count):
                places = next(chosen)
                at_hand[:] = [labels[places]]
                self.first, self.done = self.done, self.done + size
                inputs = self.deployment.flat(samples.inputs[places])
                self._draw()
                wanted = [cells.wanted for cells in self.deployment.cells]  # which pulse writers edit
                self.wanted = [namespace(weights).asarray(weights, copy=True) for weights in wanted]
                for number, sign in ((2 * self.first, 1.0), (2 * self.first + size, -1.0)):
                    for index, (signs, far) in enumerate(zip(self.signs, self.sizes, strict=True)):
                        self._bring(index, self.wanted[index] + sign * far * signs)
                    yield Batch(inputs=inputs, numbers=range(number, number + size))

        self.deployment.run(
            presented(),
            count=2 * count,
            size=size,
            purpose=PURPOSE,
            on_window=lambda value: self._learn(value, at_hand[0]),
        )

    def _draw(self) -> None:
        self.signs = [
            like(self.draws.integers(0, 2, cells.wanted.shape) * 2.0 - 1.0, cells.wanted)
            for cells in self.deployment.cells
        ]

    def _bring(self, index: int, weights: AnyArray) -> None:
        """Have an array's weights written, from wherever they are."""
        self.controller.change(index, weights - self.deployment.cells[index].wanted)

    def _learn(self, value: AnyArray, labels: NDArray[np.integer]) -> None:
        readout = self.deployment.chip.design.readout
        outputs = torch.as_tensor((to_numpy(value) - readout.rest) / readout.unit_drive)
        self.losses.append(functional.cross_entropy(outputs, torch.as_tensor(labels)).item())
        if len(self.losses) < 2:
            return
        plus, minus = self.losses
        if not math.isfinite(plus + minus):
            for index, weights in enumerate(self.wanted):
                self._bring(index, weights)
            raise ChipsimError(f"training diverged after {self.done / self.total:.0%}; take a smaller lr or size")
        self.losses, self.loss = [], self.loss + 0.5 * (plus + minus) * len(labels)
        controller, progress = self.controller, self.first / self.total
        for index, (signs, size) in enumerate(zip(self.signs, self.sizes, strict=True)):
            slope = (plus - minus) / (2 * size) * signs
            controller.states[index], change = controller.optimiser.step(controller.states[index], slope, progress)
            self._bring(index, self.wanted[index] + change)
