"""augment: random crops and mirror images of a batch, as teachers of natural images are trained on."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

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
