"""The teacher that the studies share: one MLP per data set, trained once and found again in the cache."""

from dataclasses import dataclass

from chipsim.study import Settings
from teachers import Teacher, datasets, mlp, train
from teachers.datasets import Dataset

HIDDEN = {"digits": (128, 128)}
"""Hidden widths by data set; 512-512 where nothing is said, as in 784-512-512-10."""


@dataclass(frozen=True)
class Taught:
    """A data set and its teacher."""

    data: Dataset
    teacher: Teacher


def taught(settings: Settings, *, progress: bool = False) -> Taught:
    """Return the data set of a run and its teacher, trained from the run's seed if it is not stored yet."""
    data = datasets.load(settings.dataset)
    model = mlp(data, hidden=HIDDEN.get(settings.dataset, (512, 512)))
    return Taught(data, train(model, data, seed=settings.seed, progress=progress))


def prepare(settings: Settings) -> None:
    """Train and store the teacher before the trials ask for it."""
    taught(settings, progress=True)
