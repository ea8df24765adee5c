"""augment: random crops and mirror images of a batch, as teachers of natural images are trained on. Augmented: a split
that gives them, for chips to learn from.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.streams import stream
from teachers.datasets import Split

Images = NDArray[np.float32]


def augment(images: Images, *, crop: int, flip: bool, rng: np.random.Generator) -> Images:
    """Return `images` [b, channels, height, width], each moved by up to `crop` pixels and, with `flip`, half mirrored.

    Every move is as likely as any other, the pixels that come in are 0, and mirrored means left to right.
    """
    count, _, height, width = images.shape
    if crop:
        padded = np.pad(images, ((0, 0), (0, 0), (crop, crop), (crop, crop)))
        windows = sliding_window_view(padded, (height, width), axis=(2, 3))  # type: ignore[call-overload]
        down, right = rng.integers(0, 2 * crop + 1, (2, count))
        images = windows[np.arange(count), :, down, right]
    if flip:
        mirrored = rng.random((count, 1, 1, 1)) < 0.5
        images = np.where(mirrored, images[..., ::-1], images)
    return images


@final
@dataclass(frozen=True)
class Augmented:
    """A split of images that are moved and mirrored anew in every batch, as `augment` does: what `train_in_the_loop`
    takes as samples, and `Teacher.targets` as a split.

    What becomes of a batch is a function of `seed` and of which samples it holds in which order, so that training which
    goes on from a checkpoint meets the same images. Raises ParameterError for samples that are no images, and for a
    crop that is no whole number of at least 0.
    """

    split: Split
    crop: int = 0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.split.inputs.shape) != 4:
            raise ParameterError(f"crop and flip need images, not samples of shape {self.split.inputs.shape[1:]}")
        if isinstance(self.crop, bool) or not isinstance(self.crop, int) or self.crop < 0:
            raise ParameterError(f"crop must be an integer of at least 0, not {self.crop!r}")

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of all samples."""
        return self.split.labels

    @property
    def inputs(self) -> "Augmented":
        """What gives images by the numbers of their samples."""
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images."""
        return self.split.inputs.shape

    def __len__(self) -> int:
        return len(self.split)

    def take(self, n: int) -> "Augmented":
        """Return the first `n` samples; ParameterError when there are fewer."""
        return replace(self, split=self.split.take(n))

    def __getitem__(self, places: Any) -> Images:
        """Images of some samples, moved and mirrored."""
        numbers = np.arange(len(self))[places]
        rng = stream(self.seed, "augmented", hashlib.sha256(numbers.tobytes()).hexdigest())
        return augment(self.split.inputs[numbers], crop=self.crop, flip=self.flip, rng=rng)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Images:
        return np.asarray(self.split.inputs, dtype=dtype)
