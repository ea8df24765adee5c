"""What the studies share: the options of learning, the engines, and the teachers, found again in the cache."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch

import chipsim as cs
from chipsim.engines import Engine, Torch, reference
from chipsim.errors import ParameterError
from chipsim.factor import Factor
from chipsim.mapping import required
from chipsim.quantity import canonical_json
from chipsim.study import Settings
from teachers import Teacher, cifarnet, cnn, datasets, mlp, resnet20, train, vgg11
from teachers.datasets import Dataset, Split
from teachers.models import Model

HIDDEN = {"digits": (128, 128)}
"""Hidden widths by data set; 512-512 where nothing is said, as in 784-512-512-10."""

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10")
FASHION_FIRST = ("fashion-mnist", *(name for name in DATASETS if name != "fashion-mnist"))
NETWORKS: dict[str, Callable[[Dataset], Model]] = {
    "mlp": lambda data: mlp(data, hidden=HIDDEN.get(data.name, (512, 512))),
    "cnn": cnn,
    "vgg11": vgg11,
    "vgg11-quarter": lambda data: vgg11(data, width=0.25),
    "cifarnet": cifarnet,
    "resnet20": resnet20,
}
TRAINING: dict[str, dict[str, Any]] = {
    "cnn": {"epochs": 6, "lr": 2e-3},
    "vgg11-quarter": {"epochs": 12, "lr": 2e-3, "crop": 4, "flip": True},
    "vgg11": {"epochs": 40, "lr": 2e-3, "crop": 4, "flip": True},
    "cifarnet": {"epochs": 40, "lr": 2e-3, "crop": 4, "flip": True},
    "resnet20": {"epochs": 40, "lr": 2e-3, "crop": 4, "flip": True},
}
"""How the teachers of convolutional networks are trained; the others by the defaults."""
ENGINES: dict[str, Callable[[], Engine]] = {
    "torch": Torch,
    "torch-mixed": functools.partial(Torch, dtype="mixed"),
    "brian": reference,
}
LEARNING = (
    Factor(name="lr", values=(1e-3,), long_name="learning rate of Adam, falling linearly to 0", range=(0.0, 1.0)),
    Factor(
        name="lr_unit",
        values=("weights",),
        choices=("weights", "rms"),
        long_name="what lr counts in: weights, or the root mean square of each array's weights at the start",
    ),
    Factor(
        name="split",
        values=("test",),
        choices=("validation", "test"),
        long_name="samples that accuracy is measured on; make choices on validation",
    ),
    Factor(name="percentile", values=(99.0,), long_name="percentile of the targets", range=(50.0, 100.0)),
    Factor(name="network", values=("mlp",), choices=tuple(NETWORKS), long_name="network, and that of the teacher"),
    Factor(name="engine", values=("torch",), choices=tuple(ENGINES), long_name="engine that simulates the chip"),
)
"""The options of every study that learns from this teacher."""
JUDGED = Factor(name="judged", values=(10_000,), long_name="samples that accuracy is measured on", range=(1, 10**7))


@dataclass(frozen=True)
class Taught:
    """A data set, its teacher, the split on which a run is judged, and on how many samples of it at most."""

    data: Dataset
    teacher: Teacher
    split: str
    most: int

    @classmethod
    def of(cls, settings: Settings, data: Dataset, teacher: Teacher) -> Self:
        """Judge as a run's options say."""
        options = settings.options
        return cls(data, teacher, str(options["split"]), int(options.get("judged", len(data.test))))

    @property
    def judged(self) -> Split:
        """The samples that accuracy is measured on."""
        split = self.data.test if self.split == "test" else self.data.validation
        return split.take(min(self.most, len(split)))


loaded = functools.lru_cache(maxsize=1)(datasets.load)
"""A data set by name, kept from trial to trial of a process."""


def taught(settings: Settings, *, noise: float = 0.0, progress: bool = False) -> Taught:
    """Return the data set of a run and its teacher, trained from the run's seed if it is not stored yet; noise: of its
    training.
    """
    data = loaded(settings.dataset)
    network = str(settings.options["network"])
    options = TRAINING.get(network, {})
    teacher = train(NETWORKS[network](data), data, seed=settings.seed, noise=noise, progress=progress, **options)
    return Taught.of(settings, data, teacher)


def named(long_name: str, units: str = "1") -> dict[str, str]:
    """Return the attributes of a variable of a result."""
    return {"units": units, "long_name": long_name}


def made_of(snn: cs.Deployment) -> dict[str, Any]:
    """Return what a result says of the chips that it comes from: design, hash of every die, effect report."""
    hashes = [chip.hash for chip in snn.chips]
    return {
        "chip_design": ((), canonical_json(snn.chip.design), named("design of the chip, as JSON")),
        "chip_hash": (*(("die", hashes) if len(hashes) > 1 else ((), hashes[0])), named("SHA-256 of the chip")),
        "effect_report": ((), snn.effect_report().to_json(), named("effects that acted, as JSON")),
    }


def engine(settings: Settings) -> Engine:
    """Return the engine that a run asks for."""
    return ENGINES[str(settings.options["engine"])]()


def place(settings: Settings) -> str:
    """Return where a run's teacher computes: on the engine's device."""
    return str(getattr(engine(settings), "device", "cpu"))


def optimiser(settings: Settings) -> cs.Adam:
    """Return the optimiser of a run."""
    options = settings.options
    return cs.Adam(lr=float(options["lr"]), relative=options["lr_unit"] == "rms", final=0.0)


def fitted(design: cs.ChipDesign, network: cs.Network) -> cs.ChipDesign:
    """Return the design with as many tiles, neurons and read-outs as the network takes, if it has fewer."""
    sizes = {name: max(count, getattr(design, name)) for name, count in required(network, design).items()}
    return dataclasses.replace(design, **sizes)


def passes(samples: int, available: int) -> tuple[int, int]:
    """Return how many samples of a split to present in how many equal passes, to present `samples` in all.

    >>> passes(6400, 55_000), passes(6400, 1200)
    ((6400, 1), (1066, 6))
    """
    epochs = -(-samples // available)
    return samples // epochs, epochs


def enough(samples: int, dataset: str) -> None:
    """Refuse more samples, each shown once, than a data set has to learn from."""
    if samples > (most := datasets.learning_samples(dataset)):
        raise ParameterError(f"{dataset} has {most:,} learning samples, each shown once: ask for no more of them")


def peak_memory() -> float:
    """Return the largest memory so far in bytes: of tensors on the GPU where there is one, else of this process; NaN
    where the system does not say.
    """
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def prepare(settings: Settings) -> None:
    """Train and store the teacher before the trials ask for it."""
    taught(settings, progress=True)
