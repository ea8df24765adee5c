"""teachers: data sets and the networks trained on them that hand a chip its weights and its targets.

datasets    load("digits"): digits, MNIST, Fashion-MNIST, CIFAR-10, with fixed splits
mlp, cnn    what a teacher is made of: a Model; also vgg11, cifarnet, resnet20, and Convolution for layers of one's own
train       Model and data set -> Teacher (kept in a cache, found again by what produced it)
from_torch  a trained nn.Sequential of one's own -> Teacher
Teacher     network(): plain arrays for a chip; targets(split): the wanted rate of every neuron, batch by batch
Augmented   a split whose images are cropped and mirrored anew in every batch, for chips as for teachers
"""

from teachers import datasets
from teachers.augment import Augmented
from teachers.convert import from_torch
from teachers.models import Convolution
from teachers.networks import cifarnet, cnn, mlp, resnet20, vgg11
from teachers.targets import Teacher
from teachers.train import train

__all__ = [
    "Augmented", "Convolution", "Teacher", "cifarnet", "cnn", "datasets", "from_torch", "mlp", "resnet20", "train",
    "vgg11",
]  # fmt: skip
