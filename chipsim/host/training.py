"""train_in_the_loop(): the one loop of all host methods."""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from chipsim.arrays import AnyArray, to_numpy
from chipsim.checkpoint import Checkpoint, fingerprint, pieces
from chipsim.deployment import Batch, Deployment, Samples, labels_of
from chipsim.engines import StageState, Watch
from chipsim.engines.torch import channels_last
from chipsim.errors import ChipsimError, ParameterError
from chipsim.host.base import HostMethod, Readings, Twin, TwinLayer
from chipsim.host.normalisation import Normalised
from chipsim.loop import Adam, Controller, Optimiser, part_of
from chipsim.probe import variable
from chipsim.progress import with_progress
from chipsim.quantity import canonical_json, whole
from chipsim.schema import DIMENSIONS
from chipsim.streams import noise_key, stream, uniforms
from chipsim.writers import Direct, Writer

BATCH = 64
PURPOSE = "learn"


def train_in_the_loop(
    deployment: Deployment,
    samples: Samples,
    *,
    method: HostMethod,
    writer: Writer | None = None,
    optimiser: Optimiser | None = None,
    batch: int = BATCH,
    epochs: int = 1,
    batch_norm: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    progress: bool = True,
    on_epoch: Callable[[int], None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> xr.Dataset:
    """Train a chip from a host: the chip presents each batch, the host reads what the method declares to read, computes
    a gradient on its twin of the network, and the writer writes the optimiser's change into the cells.

    writer: Direct() by default; optimiser: Adam(). batch: samples presented for one gradient. batch_norm: the twin
    normalises what its hidden layers receive, and the chip gets weights with that folded in; for training from random
    weights, since the scale of trained ones is lost, on a design whose headroom has room for what comes of them.
    dropout: probability that the spikes of a last hidden neuron are left out of a sample's outputs, by what the twin
    has of them; the others count 1 / (1 - dropout). seed: of the order of the samples, and of dropout.
    on_epoch(epoch) is called after each epoch. Each call starts anew, as `learn` does. One with a checkpoint, a file
    that keeps what was reached after every epoch and every five minutes or so, goes on from there if it finds it, on a
    deployment made in the same way, and comes to the same end as one that was never stopped.

    Returns loss(epoch), its mean over the samples, writes(epoch, layer), the number of cell writes, and
    clipped(epoch, layer), the share of weights at the limit of the cells after the epoch; its attributes say which
    method, writer and optimiser trained. Raises ParameterError for arguments out of range, neurons that the method has
    no model of, several chips, networks with shortcuts; ChipsimError when the loss is not finite; StoredFileError for
    the checkpoint of another run, or a damaged one.
    """
    labels = checked_labels(deployment, samples, batch, epochs)
    if batch_norm and (batch == 1 or len(labels) % batch == 1):
        raise ParameterError(
            f"batch_norm needs batches of at least 2 samples, and {len(labels)} in batches of {batch} leave one of 1"
        )
    if not 0 <= dropout < 1:
        raise ParameterError(f"dropout must be at least 0 and below 1, not {dropout}")
    writer = part_of("writer", Writer, writer, Direct())
    optimiser = part_of("optimiser", Optimiser, optimiser, Adam())
    updates = epochs * math.ceil(len(labels) / batch)
    host = _Host(deployment, writer, optimiser, updates, epochs * len(labels), method, batch_norm, dropout, seed)
    parts = {"method": method, "writer": writer, "optimiser": optimiser}
    made_by = {name: canonical_json(part) for name, part in parts.items()}
    kept = None
    if checkpoint is not None:
        run = {
            **made_by, "batch_norm": batch_norm, "dropout": float(dropout), "batch": batch, "epochs": epochs,
            "seed": int(seed), "samples": fingerprint(samples.inputs, samples.inputs[:batch], labels),
        }  # fmt: skip
        kept = Checkpoint(checkpoint, {**deployment.identity, **run})
    return trained(host, samples, labels, batch, epochs, seed, progress, on_epoch, kept).assign_attrs(made_by)


class Trainer(ABC):
    """One training: the loss so far, the samples done of `total`, and the controller that writes."""

    def __init__(self, deployment: Deployment, writer: Writer, optimiser: Optimiser, updates: int, total: int) -> None:
        if len(deployment.chips) > 1:
            raise ParameterError("a host trains one chip at a time; deploy the network on each chip alone")
        self.deployment, self.total = deployment, total
        self.controller = Controller(deployment, writer, optimiser, updates)
        self.first = self.done = 0  # samples before the batch at hand, and with it
        self.loss = 0.0

    def clipped(self) -> NDArray[np.float64]:
        """Share of each layer's weights that are at the limit of the cells."""
        pairs = zip(self.deployment.cells, self.deployment.arrays, strict=True)
        return np.array([np.mean(to_numpy(abs(cells.wanted) > 0.999999 * array.w_max)) for cells, array in pairs])

    def snapshot(self) -> Any:
        """What a checkpoint keeps of the training, between two runs."""
        return self.controller.snapshot(), self.done, self.loss

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        reached, self.done, self.loss = snapshot
        self.controller.restore(reached)

    @abstractmethod
    def run(
        self, samples: Samples, labels: NDArray[np.integer], chosen: Iterator[NDArray[np.int64]], count: int, size: int
    ) -> None:
        """Present `count` batches of `size` samples and learn from them."""


def checked_labels(deployment: Deployment, samples: Samples, batch: int, epochs: int) -> NDArray[np.int64]:
    """Return the labels of samples; raise ParameterError where they, `batch` or `epochs` cannot be."""
    for name, value in (("batch", batch), ("epochs", epochs)):
        whole(value, name, 1)
    labels = labels_of(samples, deployment.network.sizes[-1], "a host")
    if not hasattr(samples.inputs, "shape"):  # each batch is chosen by index
        raise ParameterError(
            f"a host needs samples with arrays of inputs and labels, not a {type(samples.inputs).__name__} of inputs"
        )
    return labels


def trained(
    host: Trainer,
    samples: Samples,
    labels: NDArray[np.int64],
    batch: int,
    epochs: int,
    seed: int,
    progress: bool,
    on_epoch: Callable[[int], None] | None,
    checkpoint: Checkpoint | None = None,
) -> xr.Dataset:
    """Show all samples to a trainer, epoch after epoch, each in an order of its own; return loss and writes."""
    losses, writes = np.zeros(0), np.zeros((0, len(host.controller.writes)))
    clipped = writes
    if checkpoint is not None and (found := checkpoint.load((host.snapshot(), losses, writes, clipped))) is not None:
        snapshot, losses, writes, clipped = found
        host.restore(snapshot)

    def save() -> None:
        if checkpoint is not None:
            checkpoint.save((host.snapshot(), losses, writes, clipped))

    for epoch in range(len(losses), epochs):
        before = host.done - epoch * len(labels)
        order = stream(seed, "host", epoch).permutation(len(labels))[before:]
        title, total = f"training, epoch {epoch + 1} of {epochs}", math.ceil(len(labels) / batch)
        starts = range(0, len(order), batch)
        with contextlib.closing(with_progress(starts, total, title, progress, before // batch)) as shown:
            chosen = (order[start : start + batch] for start in shown)
            for count, size in pieces(len(order), batch, save if checkpoint else None):
                host.run(samples, labels, chosen, count, size)
        losses = np.append(losses, host.loss / len(labels))
        writes = np.vstack([writes, host.controller.writes])
        clipped = np.vstack([clipped, host.clipped()])
        host.loss, host.controller.writes = 0.0, np.zeros(writes.shape[1])
        save()
        if on_epoch is not None:
            on_epoch(epoch)
    return xr.Dataset(
        {
            "loss": variable(("epoch",), losses, "1", "mean loss of the samples"),
            "writes": variable(("epoch", "layer"), writes, "1", "cell writes"),
            "clipped": variable(("epoch", "layer"), clipped, "1", "share of weights at the limit of the cells"),
        },
        coords={
            "epoch": variable(("epoch",), np.arange(1, epochs + 1), *DIMENSIONS["epoch"]),
            "layer": variable(("layer",), np.arange(writes.shape[1]), *DIMENSIONS["layer"]),
        },
        attrs={**host.deployment.chip.provenance, "batch": batch, "seed": seed},
    )


class _Host(Trainer):
    """A training by a method: what was read of the batch at hand."""

    def __init__(
        self,
        deployment: Deployment,
        writer: Writer,
        optimiser: Optimiser,
        updates: int,
        total: int,
        method: HostMethod,
        batch_norm: bool,
        dropout: float,
        seed: int,
    ) -> None:
        if any(layer.shortcut is not None for layer in deployment.network.layers):
            raise ParameterError("host methods have no twin of networks with shortcuts")
        if not isinstance(method, HostMethod):
            raise ParameterError(f"method must be a HostMethod, as in method=Tandem(), not {method!r}")
        method.check(deployment.chip.design.circuit)
        super().__init__(deployment, writer, optimiser, updates, total)
        self.method = method
        self.dropout, self.key = dropout, noise_key(seed, "host", "dropout")
        self.factors: torch.dtype | None = getattr(deployment.engine, "factors", None)
        self.norms: list[Normalised | None] = [None] * len(deployment.stages)
        if batch_norm:
            states = self.controller.states
            states[:-1] = [None] * len(states[:-1])  # the optimiser's memory is with the norms
            *hidden, _ = (self._layer(index) for index in range(len(deployment.stages)))
            for index, layer in enumerate(hidden):
                rows = layer.weights.detach()[: -layer.bias_rows]
                self.norms[index] = Normalised.of(rows, layer.threshold, optimiser)
        self.seen: dict[str, list[Tensor]] = {}

    def snapshot(self) -> Any:
        return super().snapshot(), self.norms

    def restore(self, snapshot: Any) -> None:
        common, self.norms = snapshot
        super().restore(common)

    def run(
        self, samples: Samples, labels: NDArray[np.integer], chosen: Iterator[NDArray[np.int64]], count: int, size: int
    ) -> None:
        at_hand: list[tuple[Batch, NDArray[np.integer]]] = []

        def presented() -> Iterator[Batch]:
            for _ in range(count):
                places = next(chosen)
                inputs = self.deployment.flat(samples.inputs[places])
                self.seen = {name: [] for name in self.method.reads}
                self.first, self.done = self.done, self.done + size
                batch = Batch(inputs=inputs, numbers=range(self.first, self.done))
                at_hand[:] = [(batch, labels[places])]
                yield batch

        self.deployment.run(
            presented(),
            count=count,
            size=size,
            purpose=PURPOSE,
            watch=self._watch(),
            on_window=lambda value: self._learn(*at_hand[0], value),
        )

    def _watch(self) -> Watch | None:
        """What is read while a window goes on: nothing, where the method reads the outputs alone."""
        if not self.method.reads & {"counts", "spikes", "membranes"}:
            return None
        hidden = len(self.deployment.stages) - 1
        return Watch(see=self._see, v=["membranes" in self.method.reads] * hidden + [False])

    def _see(self, index: int, first: int, state: StageState) -> bool:
        if index < len(self.deployment.stages) - 1:
            for name in self.method.reads - {"outputs"}:
                self._keep(name, index, first, state)
        return False

    def _keep(self, name: str, index: int, first: int, state: StageState) -> None:
        """Add what a layer shows in some steps to what was read of it in this window."""
        stage, kept = self.deployment.stages[index], self.seen[name]
        if name == "counts":
            counts = channels_last(_tensor(state.spikes).sum(0), stage.geometry.outputs)
            if first:
                kept[index] += counts
            else:
                kept.append(counts)
            return
        if name == "spikes":
            part = _tensor(state.spikes)
            part = part.to(self.factors or part.dtype)  # first, so that fewer bytes change places
        else:
            assert state.v is not None
            part = (_tensor(state.v) - stage.circuit.rest) / stage.circuit.unit_drive
        if not first:
            kept.append(part.new_empty((self.deployment.window, *part.shape[1:])))
        kept[index][first : first + len(part)] = channels_last(part, stage.geometry.outputs)

    def _learn(self, batch: Batch, labels: NDArray[np.integer], value: AnyArray) -> None:
        with torch.enable_grad():
            twin = self._twin(batch)
            layers = (*twin.hidden, twin.readout)
            outputs = self.method.outputs(twin, self._readings(value, twin))
            loss = self.method.loss(outputs, torch.as_tensor(labels, device=outputs.device))
            if not torch.isfinite(loss):
                raise ChipsimError(f"training diverged after {self.done / self.total:.0%}; take a smaller lr")
            leaves = [leaf for layer in layers for leaf in layer.leaves]
            gradients = iter(torch.autograd.grad(loss, leaves, allow_unused=True))
        self.loss += loss.item() * len(labels)
        for index, layer in enumerate(layers):
            self._write(index, layer, [next(gradients) for _ in layer.leaves])

    def _write(self, index: int, layer: TwinLayer, gradients: list[Tensor | None]) -> None:
        wanted, progress = self.deployment.cells[index].wanted, self.first / self.total
        found = [gradient for gradient in gradients if gradient is not None]
        if len(found) < len(gradients):
            return
        if layer.norm is None:
            self.controller.write(index, _like(found[0], wanted), progress)
            return
        layer.norm.step(self.controller.optimiser, found, progress)
        bias_rows = self.deployment.stages[index].bias_rows
        self.controller.change(index, _like(layer.norm.folded(bias_rows, layer.circuit.gain) - _tensor(wanted), wanted))

    def _layer(self, index: int) -> TwinLayer:
        """The twin of a layer as it is now."""
        deployment, norm = self.deployment, self.norms[index]
        stage = deployment.stages[index]
        weights = _tensor(deployment.cells[index].wanted) if norm is None else norm.weights
        return TwinLayer(
            weights=weights.detach().requires_grad_(),
            wiring=stage.geometry,
            bias_rows=stage.bias_rows if norm is None else 0,
            circuit=stage.circuit,
            step=deployment.step,
            norm=norm,
            affine=None if norm is None else norm.affine.detach().requires_grad_(),
            factors=self.factors,
        )

    def _twin(self, batch: Batch) -> Twin:
        inputs = self.deployment.encoded(batch, PURPOSE)
        *hidden, readout = (self._layer(index) for index in range(len(self.norms)))
        given = torch.as_tensor(inputs if inputs.ndim == 3 else inputs[None]).to(readout.weights)
        return Twin(
            inputs=channels_last(given, self.deployment.stages[0].geometry.inputs),
            window=self.deployment.window,
            hidden=tuple(hidden),
            readout=readout,
            kept=self._kept(batch, readout) if self.dropout else None,
        )

    def _kept(self, batch: Batch, readout: TwinLayer) -> Tensor:
        """What dropout leaves of the last hidden layer for these samples, a function of their numbers alone."""
        drawn = uniforms(self.key, batch.numbers, 0, 1, readout.wiring.size)[0]
        return torch.as_tensor((drawn >= self.dropout) / (1 - self.dropout)).to(readout.weights)

    def _readings(self, value: AnyArray, twin: Twin) -> Readings:
        seen: dict[str, Any] = {name: tuple(layers) for name, layers in self.seen.items()}
        if "outputs" in seen:
            readout = twin.readout.circuit
            seen["outputs"] = (_tensor(value).to(twin.inputs) - readout.rest) / readout.unit_drive
        return Readings(**seen)


def _tensor(values: AnyArray) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(to_numpy(values))


def _like(gradient: Tensor, kind: AnyArray) -> AnyArray:
    return gradient if isinstance(kind, Tensor) else gradient.numpy()
