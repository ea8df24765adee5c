from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import chipsim as cs
from chipsim import writers
from chipsim.arrays import to_numpy
from chipsim.engines import Brian, Engine, Torch, Watch, Window
from chipsim.errors import ChipsimError, ParameterError
from chipsim.host.perturbation import _Perturbing
from chipsim.streams import stream
from chipsim.writers import PulseWriter, Writer

FAST = Torch(dtype="float64", device="cpu", compile=False)


@dataclass
class Lesson:
    inputs: np.ndarray
    labels: np.ndarray


def lesson(count: int = 12, size: int = 5, classes: int = 3) -> Lesson:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    return Lesson(rng.uniform(0, 1, (count, size)) + 0.5 * np.eye(classes, size)[labels], labels)


def deployed(*sizes: int, engine: Engine = FAST) -> cs.Deployment:
    design = cs.ChipDesign(circuit=cs.IF(soft_reset=True), headroom=100.0)
    return cs.deploy(cs.Network.random(sizes, seed=0), cs.fabricate(design, seed=0), window=4, engine=engine)


@pytest.mark.parametrize("engine", [FAST, Brian()], ids=["torch", "brian"])
def test_a_change_is_the_slope_along_the_perturbation(engine: Engine) -> None:
    """Of a read-out alone the loss is smooth: the change is -lr (D . dL/dW) D."""
    snn, samples = deployed(5, 3, engine=engine), lesson()
    before = to_numpy(snn.cells[0].wanted)
    cs.perturb_in_the_loop(snn, samples, size=1e-4, optimiser=cs.SGD(lr=0.1), batch=12, seed=4, progress=False)
    signs = stream(4, "perturbation").integers(0, 2, before.shape) * 2.0 - 1.0
    weights = torch.tensor(before, requires_grad=True)
    rows = torch.tensor(np.hstack([samples.inputs, np.ones((12, 1))]))
    loss = torch.nn.functional.cross_entropy(4 * rows @ weights, torch.tensor(samples.labels))
    (slope,) = torch.autograd.grad(loss, weights)
    expected = -0.1 * (signs * slope.numpy()).sum() * signs
    np.testing.assert_allclose(to_numpy(snn.cells[0].wanted) - before, expected, rtol=1e-5)


def test_each_array_takes_the_slope_of_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays of different weights: the change of each is -lr (L+ - L-) / (2 size rms) D, of the losses shown."""
    snn, samples, size, rate = deployed(5, 8, 3), lesson(), 0.2, 0.01
    before = [to_numpy(cells.copied().wanted) for cells in snn.cells]
    shown, learn = [], _Perturbing._learn

    def noted(host: _Perturbing, value: Any, labels: np.ndarray) -> None:
        readout = snn.chip.design.readout
        logits = (to_numpy(value) - readout.rest) / readout.unit_drive
        right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        shown.append(np.mean(np.log(np.exp(logits).sum(1)) - right))
        learn(host, value, labels)

    monkeypatch.setattr(_Perturbing, "_learn", noted)
    cs.perturb_in_the_loop(snn, samples, size=size, optimiser=cs.SGD(lr=rate), batch=12, seed=4, progress=False)
    draws, (plus, minus) = stream(4, "perturbation"), shown
    assert abs(plus - minus) > 1e-3
    for cells, had in zip(snn.cells, before, strict=True):
        signs = draws.integers(0, 2, had.shape) * 2.0 - 1.0
        expected = -rate * (plus - minus) / (2 * size * np.sqrt(np.mean(had**2))) * signs
        np.testing.assert_allclose(to_numpy(cells.wanted) - had, expected, rtol=1e-7)


@pytest.mark.parametrize("writer", writers.ALL, ids=lambda kind: kind.__name__)
def test_the_controller_takes_a_perturbation_back_whoever_writes(
    writer: type[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells follow as far as the writer takes them: those that it looks at all the way, about."""
    design = cs.ChipDesign(device=cs.ECRAM_MO_KIM_2019, pair="reference", circuit=cs.IF(soft_reset=True), headroom=1.0)
    chip = cs.fabricate(design, seed=0)
    snn = cs.deploy(cs.Network.random((5, 8, 3), seed=0), chip, window=4, engine=FAST)
    before = [to_numpy(cells.copied().wanted) for cells in snn.cells]
    tried, shown, learn = [], [], _Perturbing._learn

    def noted(host: _Perturbing, *arguments: Any) -> None:
        tried.append([to_numpy(cells.copied().wanted) for cells in snn.cells])
        shown.append([snn.weights(layer).copy() for layer in range(2)])
        learn(host, *arguments)

    monkeypatch.setattr(_Perturbing, "_learn", noted)
    cs.perturb_in_the_loop(
        snn, lesson(), size=0.1, writer=writer(), optimiser=cs.SGD(lr=0.0), batch=12, seed=4, progress=False
    )
    draws = stream(4, "perturbation")
    for layer, (wanted, cells) in enumerate(zip(before, snn.cells, strict=True)):
        far = 0.1 * np.sqrt(np.mean(wanted**2)) * (draws.integers(0, 2, wanted.shape) * 2.0 - 1.0)
        most = float(snn.arrays[layer].w_max)
        for aimed, found in ((wanted + far, tried[0]), (wanted - far, tried[1])):
            np.testing.assert_allclose(found[layer], np.clip(aimed, -most, most), atol=1e-12)
        np.testing.assert_allclose(to_numpy(cells.wanted), wanted, atol=1e-12)
        moved = float(np.median((shown[0][layer] - shown[1][layer]) / (2 * far)))
        left = float(np.median(abs(snn.weights(layer) - wanted) / abs(far)))
        if issubclass(writer, PulseWriter):
            assert 0 < moved < 0.5
        else:
            assert moved == pytest.approx(1.0, abs=0.1)
            assert left < 0.5


def test_after_divergence_no_perturbation_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    snn = deployed(5, 8, 3)
    before = [to_numpy(cells.copied().wanted) for cells in snn.cells]
    monkeypatch.setattr("chipsim.host.perturbation.functional.cross_entropy", lambda *_: torch.tensor(np.inf))
    with pytest.raises(ChipsimError, match="diverged"):
        cs.perturb_in_the_loop(snn, lesson(), size=0.1, progress=False)
    for wanted, cells in zip(before, snn.cells, strict=True):
        np.testing.assert_allclose(to_numpy(cells.wanted), wanted, atol=1e-12)


def test_no_two_presentations_meet_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    original = Torch.run

    def spied(self: Torch, stages: object, windows: Iterable[Window], **kwargs: object) -> None:
        def noted() -> Iterator[Window]:
            for window in windows:
                numbers.extend(window.numbers)
                yield window

        original(self, stages, noted(), **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Torch, "run", spied)
    cs.perturb_in_the_loop(deployed(5, 3), lesson(), batch=5, epochs=2, progress=False)
    assert sorted(numbers) == list(range(2 * 2 * 12))


def test_it_learns_a_small_task_from_its_loss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[Watch | None] = []
    original = Torch.run

    def spied(self: Torch, *args: object, watch: Watch | None = None, **kwargs: object) -> None:
        watched.append(watch)
        original(self, *args, watch=watch, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Torch, "run", spied)
    snn, samples = deployed(5, 12, 3), lesson(60)
    history = cs.perturb_in_the_loop(
        snn, samples, size=0.1, optimiser=cs.Adam(lr=0.02), batch=60, epochs=150, progress=False
    )
    assert watched == [None] * len(watched)  # nothing but outputs
    assert float(history.loss[-10:].mean()) < 0.6 * float(history.loss[:10].mean())
    assert history.attrs["method"] == "weight perturbation"
    assert (history.writes[0] > 0).all()


def test_impossible_perturbations_are_refused() -> None:
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="size of a perturbation"):
            cs.perturb_in_the_loop(deployed(5, 3), lesson(), size=size)
    for wrong in ({"optimiser": "adam"}, {"writer": cs.Direct}):
        with pytest.raises(ParameterError, match=r"must be one, as (Adam|Direct)\(\) is, not"):
            cs.perturb_in_the_loop(deployed(5, 3), lesson(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a label for each of 12 samples"):
        cs.perturb_in_the_loop(deployed(5, 3), Lesson(lesson().inputs, np.zeros(3, int)))
    blank = cs.Network((cs.network.Dense(weight=np.zeros((5, 3)), bias=np.zeros(3)),))
    snn = cs.deploy(blank, cs.fabricate(cs.ChipDesign(), seed=0), engine=FAST)
    with pytest.raises(ParameterError, match="not all 0"):
        cs.perturb_in_the_loop(snn, lesson())
