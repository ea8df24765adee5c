"""How much of the robustness of Local Tandem Learning is in the model of the chip?

Yang et al. (NeurIPS 2022) perturb a trained network in four ways and go on learning. Each way is simulated here as
their released code models it ("published"; their quantiser was not released, and is assumed to be per array, between
plus and minus its largest weight as deployed), and as a chip would have it ("chip"), at the same strength:

                  published                                            chip
    mismatch      one time constant |N(tau, sigma tau)| for all;       every threshold, time constant, reset, gain and
                  weights and biases multiplied once by                cell of its own, frozen, also while it learns
                  1 + sigma N(0, 1), and each gate of the rule in
                  every step; thresholds are exact
    quantisation  hidden arrays alone, levels over their range         all arrays, levels over the range of the cells
    thermal       inputs and spikes multiplied by 1 + sigma N(0, 1)    a voltage of sigma of the swing on each membrane
    silencing     each spike lost with probability p                   each neuron dead with probability p

The teacher's network is deployed, judged, learns online from `samples` samples with all of that present, and is judged
again. Networks and levels are ours: the published curves could not be had.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import xarray as xr

import chipsim as cs
from chipsim.arrays import AnyArray, like, to_numpy
from chipsim.checkpoint import fingerprint
from chipsim.effects import Effect
from chipsim.factor import Factor
from chipsim.quantity import quantity
from chipsim.rules import Rule
from chipsim.signals import LocalSignals
from chipsim.streams import stream
from chipsim.study import Study, Trial
from studies.accuracy_vs_mismatch import STAGES, design
from studies.learning_rules_compared import OPTIONS
from studies.methods import METHODS
from studies.reference_teacher import FASHION_FIRST, engine, fitted, made_of, named, passes, prepare, taught

STRENGTHS: dict[str, tuple[float, ...]] = {
    "mismatch": (0.0, 0.1, 0.2, 0.3, 0.5),
    "quantisation": (0.0, 5.0, 4.0, 3.0, 2.0),
    "thermal": (0.0, 0.2, 0.5, 1.0, 2.0),
    "silencing": (0.0, 0.1, 0.2, 0.4, 0.6),
}
"""By level: sigma, bits of a signed weight (0: continuous), sigma, probability."""
MODELS = ("published", "chip")
SHORTEST = 1e-4
"""Of time constants drawn [s]."""


@dataclass(frozen=True, kw_only=True)
class NoisyGate(Rule):
    """Online Local Tandem Learning of which every gate is multiplied by 1 + sigma N(0, 1), drawn anew at every use.

    A rule draws nothing of its own, so the draws are a function of the seed, the array, the step and its spikes.
    """

    reads: ClassVar[frozenset[str]] = cs.LocalTandem.reads
    sigma: float = quantity(0.2, "1", (0.0, 10.0), "Yang 2022, released code")
    seed: int = 0

    def silent(self, window: int) -> int:
        return cs.LocalTandem().silent(window)

    def init(self) -> None:
        return cs.LocalTandem().init()

    def update(self, state: AnyArray | None, signals: LocalSignals) -> tuple[AnyArray | None, AnyArray | None]:
        counter, delta = cs.LocalTandem(gate=self.gate).update(state, signals)
        if delta is None or signals.readout:
            return counter, delta
        seen = fingerprint(to_numpy(counter))
        drawn = stream(self.seed, "noisy gate", signals.array, signals.step, seen).standard_normal(delta.shape)
        return counter, delta * (1 + self.sigma * like(drawn, delta))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What differs from the ideal chip: the network's weights, the neurons, the rule, effects, and the cells."""

    network: cs.Network
    circuit: cs.LIF = field(default_factory=cs.LIF)
    rule: Rule = field(default_factory=cs.LocalTandem)
    effects: tuple[Effect, ...] = ()
    device: cs.Ideal = field(default_factory=cs.Ideal)


def perturbed(network: cs.Network, sigma: float, seed: int) -> cs.Network:
    """Return the network with every weight and bias multiplied by 1 + sigma N(0, 1)."""
    rng = stream(seed, "perturbed weights")
    layers = []
    for layer in network.layers:
        factors = [1 + sigma * rng.standard_normal(values.shape) for values in (layer.weight, layer.bias)]
        layers.append(dataclasses.replace(layer, weight=layer.weight * factors[0], bias=layer.bias * factors[1]))
    return cs.Network(tuple(layers), network.shape)


def setup(network: cs.Network, kind: str, model: str, strength: float, seed: int) -> Setup:
    """Return what a non-ideality of this strength changes in one of the two models."""
    if strength == 0:
        return Setup(network=network)
    if kind == "quantisation":
        return Setup(network=network, device=cs.Ideal(levels=2 ** (int(strength) - 1)))
    effects: dict[tuple[str, str], Callable[[], Effect]] = {
        ("mismatch", "chip"): lambda: cs.Mismatch(sigma=strength),
        ("thermal", "published"): lambda: cs.DriverNoise(sigma=strength),
        ("thermal", "chip"): lambda: cs.MembraneNoise(sigma=strength),
        ("silencing", "published"): lambda: cs.SpikeLoss(rate=strength),
        ("silencing", "chip"): lambda: cs.DeadNeurons(rate=strength),
    }
    if (kind, model) in effects:
        return Setup(network=network, effects=(effects[kind, model](),))
    tau = abs(float(stream(seed, "time constant").normal(1.0, strength))) * cs.LIF().tau
    return Setup(
        network=perturbed(network, strength, seed),
        circuit=cs.LIF(tau=max(tau, SHORTEST)),
        rule=NoisyGate(sigma=strength, seed=seed),
    )


def quantised_as_published(snn: cs.Deployment) -> None:
    """Let the levels of hidden arrays span the weights of each as they are now, also while it learns, and the read-out
    have no levels.
    """
    *hidden, readout = snn.arrays
    fitted_to = [float(np.abs(to_numpy(cells.wanted)).max()) for cells in snn.cells]
    snn.arrays = (
        *(
            dataclasses.replace(array, w_max=snn.engine.scalar(largest))
            for array, largest in zip(hidden, fitted_to, strict=False)
        ),
        dataclasses.replace(readout, device=cs.Ideal()),
    )
    for index, array in enumerate(snn.arrays):
        snn.write(index, array.programme(None, snn.cells[index].wanted, snn.write_stream(), snn.time))


def trial(trial: Trial) -> xr.Dataset:
    """Judge one chip under one non-ideality in one model, before and after learning."""
    found, options, point = taught(trial.settings), trial.settings.options, trial.point
    kind, model = str(point["kind"]), str(point["model"])
    strength = STRENGTHS[kind][int(point["level"])]
    percentile, method, kernels = float(options["percentile"]), METHODS["ltl-online"], options["network"] != "mlp"
    samples, epochs = passes(int(options["samples"]), len(found.data.train))
    changed = setup(found.teacher.network(percentile=percentile), kind, model, strength, trial.chip)
    drawn = dataclasses.replace(
        fitted(design(trial.settings), changed.network),
        circuit=changed.circuit,
        device=changed.device,
        effects=changed.effects,
    )
    chip = cs.fabricate(drawn, seed=trial.chip)
    snn = cs.deploy(changed.network, chip, engine=engine(trial.settings))
    if kind == "quantisation" and model == "published" and strength:
        quantised_as_published(snn)
    judged = found.judged
    before = snn.accuracy(judged)
    cs.learn(
        snn,
        found.teacher.targets(found.data.train, percentile=percentile, samples=samples, seed=trial.chip),
        rule=changed.rule,
        optimiser=cs.Adam(lr=method.rate(kernels=kernels), relative=kernels, final=0.0),
        epochs=epochs,
        progress=False,
    )
    return xr.Dataset(
        {
            "accuracy": (
                "stage",
                [before, snn.accuracy(judged)],
                named(f"share of {found.split} samples classified right"),
            ),
            "strength": ((), strength, named("strength: sigma, probability, or bits of a weight (0: continuous)")),
            "teacher": ((), found.teacher.accuracy(judged), named(f"{found.split} score of the teacher")),
            "samples": ((), samples * epochs, named("learning samples presented")),
            **made_of(snn),
        },
        coords={"stage": np.array(STAGES)},
    )


STUDY = Study(
    name="reproduce_yang_2022",
    question="How much of LTL's robustness is in the model of the chip?",
    factors=(
        Factor(name="kind", values=tuple(STRENGTHS), choices=tuple(STRENGTHS), long_name="non-ideality"),
        Factor(name="model", values=MODELS, choices=MODELS, long_name="whose model of it"),
        Factor(name="level", values=(0, 1, 2, 3, 4), long_name="index of its strength", range=(0, 4)),
    ),
    options=OPTIONS,
    datasets=FASHION_FIRST,
    design=design,
    prepare=prepare,
    trial=trial,
    figure="non_idealities",
    table=("accuracy",),
    smallest={
        "chips": 1,
        "dataset": "digits",
        "factors": {"level": (0, 2)},
        "options": {"samples": 128, "judged": 100},
    },
)
