"""What the studies share: the options of learning, and one MLP teacher per data set, found again in the cache."""

from dataclasses import dataclass

from chipsim.factor import Factor
from chipsim.study import Settings
from teachers import Teacher, datasets, mlp, train
from teachers.datasets import Dataset, Split

HIDDEN = {"digits": (128, 128)}
"""Hidden widths by data set; 512-512 where nothing is said, as in 784-512-512-10."""

DATASETS = ("digits", "mnist", "fashion-mnist")
LEARNING = (
    Factor(name="lr", values=(1e-3,), long_name="learning rate of Adam, falling linearly to 0", range=(0.0, 1.0)),
    Factor(
        name="split",
        values=("test",),
        choices=("validation", "test"),
        long_name="samples that accuracy is measured on; make choices on validation",
    ),
    Factor(name="percentile", values=(99.0,), long_name="percentile of the targets", range=(50.0, 100.0)),
)
"""The options of every study that learns from this teacher."""


@dataclass(frozen=True)
class Taught:
    """A data set, its teacher, and the split on which a run is judged."""

    data: Dataset
    teacher: Teacher
    split: str

    @property
    def judged(self) -> Split:
        """The samples that accuracy is measured on."""
        return self.data.test if self.split == "test" else self.data.validation


def taught(settings: Settings, *, progress: bool = False) -> Taught:
    """Return the data set of a run and its teacher, trained from the run's seed if it is not stored yet."""
    data = datasets.load(settings.dataset)
    model = mlp(data, hidden=HIDDEN.get(settings.dataset, (512, 512)))
    teacher = train(model, data, seed=settings.seed, progress=progress)
    return Taught(data, teacher, str(settings.options["split"]))


def passes(samples: int, available: int) -> tuple[int, int]:
    """Return how many samples of a split to present in how many equal passes, to present `samples` in all.

    >>> passes(6400, 55_000), passes(6400, 1200)
    ((6400, 1), (1066, 6))
    """
    epochs = -(-samples // available)
    return samples // epochs, epochs


def prepare(settings: Settings) -> None:
    """Train and store the teacher before the trials ask for it."""
    taught(settings, progress=True)
