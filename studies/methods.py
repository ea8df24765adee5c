"""The ways to win a chip back, each with a learning rate chosen on validation: name -> Method.

Every method starts from the same teacher's network on the same die; noise-aware training has a teacher of its own.
Learning rates are Adam's, in weights; they were chosen in steps of about 3 on the validation split of Fashion-MNIST at
sigma 0.3, for 784-512-512-10 and 6,400 samples, on dies that no study has: `studies/results/learning_rates.h5` has each
beside three times and down to a hundredth as much. No rate there lets the delta rule, DECOLLE or spike-based
back-propagation win a tenth of a point; theirs costs one or two. Those for convolutions were chosen likewise, by
three dies and 2,000 images, for 32C3-64C3s2-128C3s2-256-10: each is the best of the four in
`studies/results/learning_rates_cnn.h5`, in steps of about 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import chipsim as cs
from chipsim.circuits import Circuit
from chipsim.errors import ParameterError
from chipsim.host import HostMethod
from chipsim.learning import Labelled, Targets
from chipsim.rules import Rule
from teachers import Teacher
from teachers.datasets import Split

LEAKY = cs.LIF()
ROUNDS = 8
"""Rounds of recalibration at least; all present the same samples, so few that they add up to those of learning."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a method may use: the deployment, samples in `epochs` passes, their teacher, a seed for their order, and a
    learning rate, relative to the size of each array's weights or not.
    """

    snn: cs.Deployment
    teacher: Teacher
    samples: Split
    epochs: int
    percentile: float
    seed: int
    lr: float
    relative: bool = False

    @property
    def adam(self) -> cs.Adam:
        return cs.Adam(lr=self.lr, relative=self.relative, final=0.0)


def _nothing(lesson: Lesson) -> None:
    """Leave the chip as it was deployed."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to win a chip back: what it does, the neurons that it needs, and its learning rates.

    lr: for dense networks, in weights, NaN for a method that takes none; kernel_lr: for those with convolutions, in
    root mean squares of each array's weights, NaN where none was chosen. noise: how noisily its teacher is trained,
    relative to the mismatch of the chip. unit_outputs: whether the read-out is scaled so that outputs of the right
    class are about 1, as a squared error against one-hot labels needs; it changes no prediction.
    """

    train: Callable[[Lesson], object] = _nothing
    circuit: Circuit = LEAKY
    lr: float = math.nan
    kernel_lr: float = math.nan
    noise: float = 0.0
    unit_outputs: bool = False

    @property
    def learns(self) -> bool:
        """Whether anything is done on the chip."""
        return self.train is not _nothing

    def rate(self, *, kernels: bool) -> float:
        """Return the learning rate for a network, with convolutions or without; NaN for a method that takes none.

        Raises ParameterError where the method takes one and none was chosen.
        """
        if kernels and math.isnan(self.kernel_lr) and not math.isnan(self.lr):
            fit = (name for name, other in METHODS.items() if math.isnan(other.kernel_lr) == math.isnan(other.lr))
            raise ParameterError(
                "no learning rate was chosen for this approach on a network with convolutions; take of approaches: "
                f"{', '.join(fit)}; or network=mlp"
            )
        return self.kernel_lr if kernels else self.lr


def _rule(rule: Rule, layers: tuple[int, ...] | None = None) -> Callable[[Lesson], object]:
    def train(lesson: Lesson) -> object:
        targets: Targets = Labelled(samples=lesson.samples, seed=lesson.seed)
        if "target" in rule.reads:
            targets = lesson.teacher.targets(lesson.samples, percentile=lesson.percentile, seed=lesson.seed)
        return cs.learn(
            lesson.snn,
            targets,
            rule=rule,
            layers=layers,
            optimiser=lesson.adam,
            epochs=lesson.epochs,
            progress=False,
        )

    return train


def _host(method: HostMethod) -> Callable[[Lesson], object]:
    return lambda lesson: cs.train_in_the_loop(
        lesson.snn,
        lesson.samples,
        method=method,
        optimiser=lesson.adam,
        epochs=lesson.epochs,
        seed=lesson.seed,
        progress=False,
    )


def _perturbed(lesson: Lesson) -> object:
    return cs.perturb_in_the_loop(
        lesson.snn, lesson.samples, optimiser=lesson.adam, epochs=lesson.epochs, seed=lesson.seed, progress=False
    )


def recalibrate(snn: cs.Deployment, samples: Split, epochs: int, by: Literal["column", "layer"] = "column") -> int:
    """Recalibrate a chip with about as many presentations as `epochs` passes over `samples`; return how many."""
    rounds = max(ROUNDS, epochs)
    inputs = samples.inputs[: max(2, len(samples) * epochs // rounds)]
    cs.recalibrate(snn, inputs, by=by, rounds=rounds, progress=False)
    return len(inputs) * rounds


def _recalibrated(by: Literal["column", "layer"]) -> Callable[[Lesson], object]:
    return lambda lesson: recalibrate(lesson.snn, lesson.samples, lesson.epochs, by)


def unit_outputs(network: cs.Network, teacher: Teacher) -> cs.Network:
    """Return the network with a read-out whose largest output is 1 on average over the teacher's calibration set."""
    *_, logits = teacher.activations(teacher.calibration.inputs)
    *hidden, last = network.layers
    unit = float(logits.max(axis=1).mean())
    return cs.Network((*hidden, replace(last, weight=last.weight / unit, bias=last.bias / unit)), network.shape)


METHODS: dict[str, Method] = {
    "conversion": Method(),
    "noise-aware": Method(noise=1.0),
    "recalibration-layer": Method(train=_recalibrated("layer")),
    "recalibration-column": Method(train=_recalibrated("column")),
    "delta": Method(train=_rule(cs.Delta()), lr=3e-6, unit_outputs=True),
    "read-out": Method(train=_rule(cs.LocalTandem(), layers=(-1,)), lr=1e-3),
    "weight-perturbation": Method(train=_perturbed, lr=1e-4),
    "decolle": Method(train=_rule(cs.Decolle()), lr=1e-5),
    "ltl-online": Method(train=_rule(cs.LocalTandem()), lr=1e-3, kernel_lr=3e-2),
    "ltl-offline": Method(train=_rule(cs.LocalTandemOffline()), lr=1e-3),
    "ltl-trace": Method(train=_rule(cs.LocalTandemTrace()), lr=1e-3),
    "tandem": Method(train=_host(cs.Tandem()), lr=3e-5, kernel_lr=3e-3),
    "spike-count": Method(train=_host(cs.SpikeCount()), circuit=cs.IF(soft_reset=True), lr=3e-5, kernel_lr=3e-3),
    "spike-backprop": Method(train=_host(cs.SpikeBackprop()), lr=3e-6, kernel_lr=9e-4, unit_outputs=True),
    "spike-backprop-cross-entropy": Method(train=_host(cs.SpikeBackprop(cross_entropy=True)), lr=3e-5, kernel_lr=3e-3),
    "proxy": Method(train=_host(cs.Proxy()), lr=3e-5, kernel_lr=3e-3),
    "surrogate": Method(train=_host(cs.Surrogate()), lr=3e-5),
}
