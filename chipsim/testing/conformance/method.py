"""What every host method must do, on a twin of a small network with a convolution, and on a chip.

A method is shown what nominal neurons of the twin's layers do in a window of 12 steps, in the fields of `Readings` that
it declares; its gradient is that of its loss with respect to the twin's weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import IF, LIF, Circuit, Integrator
from chipsim.deployment import deploy
from chipsim.engines import Torch
from chipsim.errors import ParameterError
from chipsim.host import HostMethod, Readings, Twin, TwinLayer, train_in_the_loop
from chipsim.host.base import READABLE
from chipsim.loop import Adam
from chipsim.network import Conv2d, Dense, Network
from chipsim.streams import stream
from chipsim.testing.conformance.parameters import PARAMETERS, raises

STEPS, BATCH, CLASSES = 12, 6, 4
SHAPE = (2, 4, 4)
CIRCUITS: tuple[Circuit, ...] = (IF(soft_reset=True), LIF(), IF(), LIF(soft_reset=True))
NETWORK = Network(
    (
        Conv2d(weight=np.zeros((3, 2, 3, 3)), bias=np.zeros(3), padding=1),
        Dense(weight=np.zeros((12, 8)), bias=np.zeros(8), pool=2),
        Dense(weight=np.zeros((8, CLASSES)), bias=np.zeros(CLASSES)),
    ),
    SHAPE,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A batch as a method gets it."""

    twin: Twin
    seen: Readings
    labels: Tensor


def suited(method: HostMethod) -> Circuit:
    """The first of some circuits that a method has a model of."""
    why = ""
    for circuit in CIRCUITS:
        try:
            method.check(circuit)
        except ParameterError as error:
            why = str(error)
            continue
        return circuit
    raise AssertionError(f"it refuses IF and LIF neurons of either reset: {why}")


def shown(
    method: HostMethod, *, seed: int = 0, dtype: torch.dtype = torch.float64, samples: slice = slice(None)
) -> Shown:
    """Return the twin of a random network, what its neurons show of random samples, as far as declared, and labels."""
    circuit, rng = suited(method), stream(seed, "conformance", "method")
    inputs = torch.tensor(rng.uniform(0.0, 1.5, (1, BATCH, 32)), dtype=dtype)[:, samples]
    labels = torch.tensor(rng.integers(0, CLASSES, BATCH))[samples]
    layers: list[TwinLayer] = []
    for layer, wiring in zip(NETWORK.redrawn(seed=seed).layers, NETWORK.wirings, strict=True):
        weights = torch.tensor(np.vstack([layer.matrix, layer.bias]), dtype=dtype, requires_grad=True)
        kind = circuit if len(layers) < 2 else Integrator()
        layers.append(TwinLayer(weights=weights, wiring=wiring, bias_rows=1, circuit=kind, step=1e-3))
    *hidden, readout = layers
    signal, spikes, membranes = inputs.expand(STEPS, -1, -1), [], []
    with torch.no_grad():
        for twin in hidden:
            signal, membrane = _fires(twin, twin.drive(signal))
            spikes.append(signal)
            membranes.append(membrane)
        outputs = readout.drive(signal).sum(0)
    every: dict[str, Any] = {
        "counts": tuple(each.sum(0) for each in spikes), "spikes": tuple(spikes), "membranes": tuple(membranes),
        "outputs": outputs,
    }  # fmt: skip
    seen = Readings(**{name: readings for name, readings in every.items() if name in method.reads})
    return Shown(
        twin=Twin(inputs=inputs, window=STEPS, hidden=tuple(hidden), readout=readout), seen=seen, labels=labels
    )


def _fires(layer: TwinLayer, drives: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and membranes before the reset [steps, batch, neurons] of nominal neurons."""
    soft, left = bool(getattr(layer.circuit, "soft_reset", False)), torch.zeros_like(drives[0])
    spikes, membranes = [], []
    for drive in drives:
        membranes.append(layer.leak * left + drive)
        spikes.append((membranes[-1] > layer.threshold).to(drive.dtype))
        left = membranes[-1] - (layer.threshold if soft else membranes[-1]) * spikes[-1]
    return torch.stack(spikes), torch.stack(membranes)


def gradients(method: HostMethod, batch: Shown) -> list[Tensor]:
    """Return the gradient of each layer's weights; 0 for a layer that it leaves alone."""
    loss = method.loss(method.outputs(batch.twin, batch.seen), batch.labels)
    weights = [layer.weights for layer in (*batch.twin.hidden, batch.twin.readout)]
    nothing = [None for _ in weights]
    found = torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else nothing
    return [torch.zeros_like(w) if gradient is None else gradient for gradient, w in zip(found, weights, strict=True)]


def _alike(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-9) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(bool((a.double() - b.double()).abs().max() <= tolerance * b.abs().max()) for a, b in pairs)


def declares_known_readings(method: HostMethod) -> None:
    """`reads` names what a chip can show."""
    assert method.reads, "a method that reads nothing from the chip does not train it in the loop"
    assert method.reads <= READABLE, f"reads names {sorted(method.reads - READABLE)}; a chip shows {sorted(READABLE)}"


def refuses_what_does_not_spike(method: HostMethod) -> None:
    """Some IF or LIF neuron suits it, and one that never spikes raises ParameterError."""
    suited(method)
    raises(ParameterError, lambda: method.check(Integrator()), "neurons that do not spike must be refused")


def gives_outputs(method: HostMethod) -> None:
    """From the declared readings alone it makes finite outputs [batch, outputs], and of them a loss, one number."""
    batch = shown(method)
    outputs = method.outputs(batch.twin, batch.seen)
    assert outputs.shape == (BATCH, CLASSES), f"outputs are {list(outputs.shape)}, not {[BATCH, CLASSES]}"
    assert bool(torch.isfinite(outputs).all()), "an output is NaN or infinite"
    loss = method.loss(outputs, batch.labels)
    assert loss.ndim == 0, f"the loss is {list(loss.shape)}, not one number"
    assert bool(torch.isfinite(loss)), "the loss is NaN or infinite"


def gives_gradients(method: HostMethod) -> None:
    """A random window teaches something, with finite gradients."""
    found = gradients(method, shown(method))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found), "a gradient is NaN or infinite"
    assert any(bool(gradient.any()) for gradient in found), "a random window taught nothing"


def reads_all_it_declares(method: HostMethod) -> None:
    """Every declared reading changes the gradient: nothing is read for nothing."""
    batch, other = (shown(method, seed=seed) for seed in (0, 1))
    before = gradients(method, batch)
    for name in sorted(method.reads):
        swapped = replace(batch, seen=replace(batch.seen, **{name: getattr(other.seen, name)}))
        assert not _alike(gradients(method, swapped), before), f"{name!r} is declared in reads, but changes nothing"


def is_pure(method: HostMethod) -> None:
    """The same batch gives the same gradient again, and is not edited."""
    batch, fresh = shown(method), shown(method)
    first = gradients(method, batch)
    for (name, ours), (_, theirs) in zip(_given(batch), _given(fresh), strict=True):
        assert torch.equal(ours, theirs), f"{name} were edited"
    assert _alike(gradients(method, batch), first, 0.0), "a second call gave another gradient"


def _given(batch: Shown) -> Iterator[tuple[str, Tensor]]:
    """All that a method is given, by name."""
    yield "labels", batch.labels
    yield "inputs", batch.twin.inputs
    for layer in (*batch.twin.hidden, batch.twin.readout):
        yield "weights", layer.weights
    for name, readings in vars(batch.seen).items():
        for part in [readings] if isinstance(readings, Tensor) else readings or ():
            yield name, part


def averages_over_the_batch(method: HostMethod) -> None:
    """The gradient of a batch is the mean of those of its samples."""
    alone = [gradients(method, shown(method, samples=slice(k, k + 1))) for k in range(BATCH)]
    mean = [torch.stack(layers).mean(0) for layers in zip(*alone, strict=True)]
    assert _alike(gradients(method, shown(method)), mean), "samples of a batch play into each other's gradients"


def takes_inputs_step_by_step(method: HostMethod) -> None:
    """Inputs that are given for every step, and are the same in each, give the gradient of inputs given once; and where
    inputs play a part, those of no step are left out.
    """
    batch, other = shown(method), shown(method, seed=1)

    def of(*steps: Tensor) -> list[Tensor]:
        return gradients(method, replace(batch, twin=replace(batch.twin, inputs=torch.cat(steps))))

    ours, theirs, before = batch.twin.inputs, other.twin.inputs, gradients(method, batch)
    assert _alike(of(*[ours] * STEPS), before), "inputs of every step give another gradient"
    if not _alike(of(theirs), before):
        for step in (0, STEPS - 1):
            steps = [ours] * STEPS
            steps[step] = theirs
            assert not _alike(of(*steps), before), f"inputs of step {step} play no part"


def leaves_out_what_dropout_leaves_out(method: HostMethod) -> None:
    """Where dropout leaves the spikes of a last hidden neuron out of the outputs, its weights in the read-out get no
    gradient.
    """
    batch = shown(method)
    kept = torch.full((BATCH, NETWORK.sizes[-2]), 1.25, dtype=torch.float64)
    kept[:, 0] = 0.0
    *_, readout = gradients(method, replace(batch, twin=replace(batch.twin, kept=kept)))
    assert not readout[0].any(), "dropout (`twin.kept`) plays no part; take `twin.shown` for the outputs"


def keeps_the_precision(method: HostMethod) -> None:
    """Single precision in gives single precision out, and nearly the same gradient."""
    batch = shown(method, dtype=torch.float32)
    assert method.outputs(batch.twin, batch.seen).dtype == torch.float32, "outputs have another dtype than the twin"
    assert _alike(gradients(method, batch), gradients(method, shown(method)), 1e-3), "float32 gives another gradient"


class _Lesson:
    """Samples that are easily told apart."""

    labels: NDArray[np.int64] = np.arange(48) % CLASSES
    rng = stream(0, "conformance", "lesson")
    inputs = rng.uniform(0.0, 1.2, (CLASSES, *SHAPE))[labels] + rng.uniform(0.0, 0.2, (48, *SHAPE))


def learns_on_a_chip(method: HostMethod) -> None:
    """In 15 epochs of 48 samples of 4 classes on an ideal chip, a quarter more of them than before are told apart."""
    chip = fabricate(ChipDesign(circuit=suited(method), headroom=10.0), seed=0)
    engine = Torch(dtype="float64", device="cpu", compile=False)
    snn = deploy(NETWORK.redrawn(seed=1), chip, engine=engine, window=STEPS)
    before = snn.accuracy(_Lesson())
    train_in_the_loop(snn, _Lesson(), method=method, optimiser=Adam(lr=0.01), batch=8, epochs=15, progress=False)
    after = snn.accuracy(_Lesson())
    assert after >= before + 0.25, f"the share of samples told right goes from {before:.2f} to {after:.2f}"


METHOD: tuple[Callable[[HostMethod], None], ...] = (
    *PARAMETERS,
    declares_known_readings,
    refuses_what_does_not_spike,
    gives_outputs,
    gives_gradients,
    reads_all_it_declares,
    is_pure,
    averages_over_the_batch,
    takes_inputs_step_by_step,
    leaves_out_what_dropout_leaves_out,
    keeps_the_precision,
    learns_on_a_chip,
)
