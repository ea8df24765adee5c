import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chipsim.errors import ParameterError
from chipsim.loop import SGD, Adam, Optimiser

Array = NDArray[np.float64]


def test_sgd_goes_down_the_gradient() -> None:
    optimiser = SGD(lr=0.1)
    _, change = optimiser.step(optimiser.init(np.ones((1, 2))), np.array([[2.0, -1.0]]), progress=0.0)
    np.testing.assert_allclose(change, [[-0.2, 0.1]])


@pytest.mark.parametrize("optimiser", [SGD(lr=0.4, final=0.25), Adam(lr=0.4, final=0.25)])
def test_the_rate_falls_linearly_to_its_final_share(optimiser: Optimiser) -> None:
    assert [optimiser.rate(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.25, 0.1])
    state = optimiser.init(np.ones((1, 1)))
    _, early = optimiser.step(state, np.ones((1, 1)), 0.0)
    _, late = optimiser.step(state, np.ones((1, 1)), 1.0)
    assert late.item() == pytest.approx(early.item() / 4)


def test_adam_is_torchs_adam() -> None:
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    reference = torch.optim.Adam([weight], lr=0.01, betas=(0.8, 0.95), eps=1e-7)
    optimiser = Adam(lr=0.01, beta1=0.8, beta2=0.95, epsilon=1e-7)
    ours = weight.detach().numpy().copy()
    state = optimiser.init(ours)
    for _ in range(10):
        gradient = rng.normal(size=(3, 4))
        weight.grad = torch.tensor(gradient)
        reference.step()
        state, change = optimiser.step(state, gradient, 0.3)
        ours = ours + change
        np.testing.assert_allclose(ours, weight.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_relative_rate_counts_in_the_size_of_each_arrays_weights(kind: type[Optimiser]) -> None:
    rng = np.random.default_rng(0)
    chips = rng.normal(size=(2, 3, 4)) * np.array([0.1, 5.0])[:, None, None]
    gradient = rng.normal(size=(2, 3, 4))

    def change(weights: Array, gradient: Array, **options: bool) -> Array:
        optimiser = kind(lr=0.1, **options)
        return np.asarray(optimiser.step(optimiser.init(weights), gradient, 0.0)[1])

    both = change(chips, gradient, relative=True)
    for chip, weights in enumerate(chips):
        rms = np.sqrt((weights**2).mean())
        np.testing.assert_allclose(both[chip], rms * change(weights, gradient[chip]), rtol=1e-12)


def test_a_relative_rate_needs_weights() -> None:
    with pytest.raises(ParameterError, match="not all 0"):
        SGD(relative=True).init(np.stack([np.ones((2, 2)), np.zeros((2, 2))]))
    with pytest.raises(ParameterError, match=r"Adam.relative must be True or False, not 1"):
        Adam(relative=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimiser", [SGD(), Adam()])
def test_optimisers_edit_nothing(optimiser: Optimiser) -> None:
    gradient = np.full((2, 2), 0.5)
    gradient.flags.writeable = False
    state = optimiser.init(gradient)
    (one, first), (other, second) = (optimiser.step(state, gradient, 0.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert str(one) == str(other)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (SGD, {"lr": -1.0}),
        (SGD, {"final": 1.5}),
        (Adam, {"beta1": 1.0}),
        (Adam, {"epsilon": 0.0}),
        (SGD, {"lr": np.nan}),
    ],
)
def test_impossible_optimisers_are_refused(kind: type[Optimiser], fields: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=f"{kind.__name__}.{next(iter(fields))} = .* is outside its valid range"):
        kind(**fields)
