"""mlp, cnn, vgg11, cifarnet, resnet20: the networks by name, each a Model for the shape and classes of a data set.

C is a 3x3 convolution with padding 1 and s2 its stride of 2; numbers alone are fully connected layers.
"""

import math
from collections.abc import Sequence

from chipsim.errors import ParameterError
from teachers.models import Convolution, Model, Sized


def mlp(
    data: Sized,
    hidden: Sequence[int] = (512, 512),
    *,
    ceiling: float = 2.0,
    dropout: float = 0.2,
    batch_norm: bool = False,
) -> Model:
    """Fully connected teacher: inputs - hidden - classes.

    >>> from types import SimpleNamespace
    >>> mlp(SimpleNamespace(shape=(1, 8, 8), classes=10), hidden=(128, 128)).hidden
    (128, 128)
    """
    return cnn(data, (), hidden, ceiling=ceiling, dropout=dropout, batch_norm=batch_norm)


def cnn(
    data: Sized,
    channels: Sequence[tuple[int, int] | Convolution] = ((32, 1), (64, 2), (128, 2)),
    hidden: Sequence[int] = (256,),
    *,
    pool: int = 1,
    ceiling: float = 2.0,
    dropout: float = 0.2,
    batch_norm: bool = True,
) -> Model:
    """Convolutional teacher; `channels` gives a Convolution, or (channels, stride) of a 3x3 one, for each layer.

    The default on CIFAR-10 is 32C-64Cs2-128Cs2-256-10. pool: side of the average pooling before the first fully
    connected layer.

    >>> from types import SimpleNamespace
    >>> data = SimpleNamespace(shape=(1, 8, 8), classes=10)
    >>> pooled = cnn(data, [(4, 1), Convolution(6, kernel=5, pool=2, padding=2)], hidden=())
    >>> [wiring.outputs for wiring in pooled.wirings]
    [(4, 8, 8), (6, 4, 4), (10,)]
    """
    return Model(
        shape=tuple(int(size) for size in data.shape),
        classes=int(data.classes),
        convolutions=tuple(
            layer if isinstance(layer, Convolution) else Convolution(int(layer[0]), stride=int(layer[1]))
            for layer in channels
        ),
        hidden=tuple(int(width) for width in hidden),
        pool=pool,
        ceiling=float(ceiling),
        dropout=float(dropout),
        batch_norm=batch_norm,
    )


def vgg11(data: Sized, *, width: float = 1.0, ceiling: float = 2.0, dropout: float = 0.2) -> Model:
    """VGG-11 of Yang et al., NeurIPS 2022: 64C-128Cs2-256C-256Cs2-512C-512Cs2-512C-512Cs2-512-512-classes.

    Every hidden layer is as wide as `width` says, rounded, and at least 1.
    """
    channels = zip(_scaled((64, 128, 256, 256, 512, 512, 512, 512), width), (1, 2, 1, 2, 1, 2, 1, 2), strict=True)
    return cnn(data, list(channels), _scaled((512, 512), width), ceiling=ceiling, dropout=dropout)


def cifarnet(data: Sized, *, width: float = 1.0, ceiling: float = 2.0, dropout: float = 0.2) -> Model:
    """CifarNet of Wu et al., TNNLS 2021: 128C-256Cs2-512Cs2-1024C-512C-1024-classes; `width` as in vgg11."""
    channels = zip(_scaled((128, 256, 512, 1024, 512), width), (1, 2, 2, 1, 1), strict=True)
    return cnn(data, list(channels), _scaled((1024,), width), ceiling=ceiling, dropout=dropout)


def resnet20(data: Sized, *, width: float = 1.0, ceiling: float = 2.0, dropout: float = 0.2) -> Model:
    """ResNet-20 of He et al., CVPR 2016: 16C-3x(16C-16C)-3x(32Cs2-32C)-3x(64Cs2-64C), global average pooling, classes.

    The second layer of each pair adds what the pair reads. Needs square images with sides that 4 divides; `width` as in
    vgg11.
    """
    layers = [Convolution(channels) for channels in _scaled((16,), width)]
    for index, channels in enumerate(_scaled((16, 16, 16, 32, 32, 32, 64, 64, 64), width)):
        source = len(layers) - 1
        layers.append(Convolution(channels, stride=2 if index in (3, 6) else 1))
        layers.append(Convolution(channels, shortcut=source))
    return cnn(data, layers, (), pool=int(data.shape[-1]) // 4, ceiling=ceiling, dropout=dropout)


def _scaled(widths: Sequence[int], scale: float) -> list[int]:
    if not (math.isfinite(scale) and scale > 0):
        raise ParameterError(f"width must be finite and above 0, not {scale}")
    return [max(1, round(width * scale)) for width in widths]
