"""A PyTorch module as a teacher: it answers as the module does, or says why it cannot."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import chipsim as cs
from chipsim.errors import ParameterError
from teachers import from_torch
from teachers.datasets import Dataset, Split


def data(shape: tuple[int, ...] = (2, 8, 8), classes: int = 4, count: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.random((count, *shape), dtype=np.float32), np.arange(count) % classes)
    return Dataset("mine", shape, classes, split, split, split, "drawn")


def trained(module: nn.Sequential) -> nn.Sequential:
    """Give normalisation what training would leave, and weights some size."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator))
            assert part.running_var is not None
            part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))
    return module


MODULES = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, 4)),
    "read-out alone": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 4, bias=False)),
    "clipped": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.ReLU6(), nn.Linear(9, 4)),
    "normalised": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 20, bias=False), nn.BatchNorm1d(20), nn.Hardtanh(0.0, 2.0), nn.Linear(20, 4)
    ),
    "cnn": lambda: nn.Sequential(
        OrderedDict(
            features=nn.Sequential(
                nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2),
                nn.Conv2d(6, 5, 2, stride=2), nn.ReLU(),
            ),
            head=nn.Sequential(nn.Flatten(), nn.Linear(20, 7), nn.ReLU(), nn.Identity(), nn.Linear(7, 4)),
        )
    ),
    "pooled read-out": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4, stride=4), nn.Flatten(), nn.Linear(24, 4)
    ),
    "pooled hidden layer": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 5), nn.ReLU(),
        nn.Linear(5, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_teacher_answers_as_its_module(name: str) -> None:
    torch.manual_seed(0)
    module, found = trained(MODULES[name]()), data()
    module.train()
    before = {key: values.clone() for key, values in module.state_dict().items()}
    teacher = from_torch(module, found)
    shown = found.test.inputs
    with torch.no_grad():
        expected = module.eval()(torch.tensor(shown)).numpy()
    np.testing.assert_allclose(teacher.activations(shown)[-1], expected, rtol=1e-4, atol=1e-5)
    assert teacher.accuracy(found.test) == np.mean(expected.argmax(1) == found.test.labels)
    assert all(torch.equal(module.state_dict()[key], values) for key, values in before.items())


def test_a_module_is_left_in_its_mode() -> None:
    module = MODULES["mlp"]().train()
    from_torch(module, data())
    assert module.training


@pytest.mark.parametrize("name", ["mlp", "normalised", "cnn"])
def test_a_teacher_of_a_module_teaches_a_chip(name: str) -> None:
    torch.manual_seed(0)
    found = data()
    teacher = from_torch(trained(MODULES[name]()), found)
    chip = cs.fabricate(cs.ChipDesign(effects=(cs.Mismatch(sigma=0.3),)), seed=0)
    snn = cs.deploy(teacher.network(percentile=99.0), chip)
    history = cs.learn(snn, teacher.targets(found.train), batch=10, progress=False)
    assert (history.writes > 0).all()


def test_rates_of_a_chip_follow_the_activations_of_the_module() -> None:
    torch.manual_seed(0)
    found = data()
    teacher = from_torch(MODULES["mlp"](), found)
    snn = cs.deploy(
        teacher.network(), cs.fabricate(cs.ChipDesign(circuit=cs.IF(soft_reset=True), headroom=10.0), 0), window=200
    )
    rates = snn.present(found.test.inputs[:5], cs.Record(layer=0, spikes=True)).spikes.values.mean(1)
    wanted = teacher.activations(found.test.inputs[:5])[0] / teacher.constants()[0]
    np.testing.assert_allclose(rates, wanted.clip(0, 1), atol=0.02)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Linear(128, 4), "made from nn.Sequential, not from Linear"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.GELU(), nn.Linear(9, 4)), "a teacher has no GELU there"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.Softmax(1)), "a teacher has no Softmax there"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU()), "the last layer of a teacher is a Linear"),
        (nn.Sequential(nn.Conv2d(2, 4, 8)), "the last layer of a teacher is a Linear"),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4)),
            "a teacher has no MaxPool2d there: .*; train with average pooling",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.Linear(9, 4)),
            "a teacher has no BatchNorm1d there",
        ),
        (nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)), "a teacher has no ReLU there"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.Hardtanh(), nn.Linear(9, 4)), "from 0 on; .* from -1"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU6(), nn.Linear(9, 4)),
            "a teacher has one for all",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 5)), "has 5 outputs, but mine has 4 classes"),
        (nn.Sequential(nn.Flatten(), nn.Linear(100, 4)), "layer 0 takes 100 inputs, .* gives 128"),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)),
            "square kernels, one stride",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, (3, 1)), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4)),
            "square kernels, one stride",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2, stride=1), nn.Flatten(), nn.Linear(100, 4)),
            "pools by squares that do not overlap",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.BatchNorm1d(9, affine=False), nn.ReLU(), nn.Linear(9, 4)),
            "its own weights",
        ),
    ],
)
def test_what_no_teacher_can_be_is_refused(module: nn.Module, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        from_torch(module, data())  # type: ignore[arg-type]


def test_layers_that_are_used_otherwise_are_noticed() -> None:
    class Scaled(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    with pytest.raises(ParameterError, match="does not answer as the module does"):
        from_torch(Scaled(nn.Flatten(), nn.Linear(128, 4)), data())
