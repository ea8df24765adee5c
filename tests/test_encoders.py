import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chipsim as cs
from chipsim.arrays import to_numpy
from chipsim.encoders import Analog, Poisson
from chipsim.engines import Brian, Engine, Torch
from chipsim.errors import ParameterError
from chipsim.streams import uniforms

SIZES = (7, 9, 4)


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, SIZES[0]))


def deployed(engine: Engine, encoder: cs.Poisson | None, effects: tuple[object, ...] = ()) -> cs.Deployment:
    design = cs.ChipDesign(device=cs.Ideal(), effects=effects)
    chip = cs.fabricate(design, seed=5)
    return cs.deploy(cs.Network.random(SIZES, seed=1), chip, engine=engine, encoder=encoder, window=40)


def test_analog_is_the_value_itself() -> None:
    x = images()
    assert Analog().encode(x, range(6), 10, 0) is x
    np.testing.assert_array_equal(
        deployed(Brian(), None).outputs(x),
        deployed(Brian(), Analog()).outputs(x),  # type: ignore[arg-type]
    )


def test_poisson_spikes_are_signed_and_as_likely_as_the_value() -> None:
    x = np.array([[0.0, 0.25, -0.5, 2.0, -3.0]])
    spikes = Poisson(scale=0.8).encode(x, [3], 20_000, key=9)
    assert set(np.unique(spikes)) == {-1.0, 0.0, 1.0}
    p = np.array([0.0, 0.2, 0.4, 1.0, 1.0])
    error = np.sqrt(p * (1 - p) / 20_000)
    assert (np.abs(spikes.mean(0)[0] - np.sign(x[0]) * p) <= 4 * error).all()
    one, next_one = spikes[:-1, 0, 1], spikes[1:, 0, 1]  # independent from step to step
    assert abs(np.corrcoef(one, next_one)[0, 1]) < 0.03


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(1, 9), st.integers(0, 50), st.integers(1, 20))
def test_uniform_numbers_are_a_function_of_their_place(
    key: int, sample: int, size: int, first: int, count: int
) -> None:
    whole = uniforms(key, [sample, sample + 1], 0, first + count, size)
    assert ((whole >= 0) & (whole < 1)).all()
    np.testing.assert_array_equal(uniforms(key, [sample + 1], first, count, size), whole[first:, 1:])


def test_uniform_numbers_are_uniform() -> None:
    drawn = uniforms(4, range(50), 0, 40, 50)
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert ((counts - 5_000) ** 2 / 5_000).sum() < 50  # chi squared, 19 degrees of freedom


@pytest.mark.parametrize("effects", [(), (cs.Converters(), cs.ReadNoise(sigma=0.02), cs.MembraneNoise(sigma=0.05))])
def test_both_engines_give_the_same_for_spikes_in(effects: tuple[object, ...]) -> None:
    reference, fast = (
        deployed(engine, Poisson(), effects) for engine in (Brian(), Torch(dtype="float64", device="cpu"))
    )
    np.testing.assert_allclose(fast.outputs(images()), reference.outputs(images()), rtol=1e-9, atol=1e-12)
    assert not np.allclose(fast.outputs(images()), deployed(fast.engine, None, effects).outputs(images()))


def test_spikes_do_not_depend_on_batches_and_differ_between_samples() -> None:
    snn = deployed(Torch(dtype="float64", device="cpu"), Poisson())
    same = np.repeat(images(1), 4, axis=0)
    whole = snn.outputs(same)
    np.testing.assert_allclose(np.concatenate([snn.outputs(same[:3]), snn.outputs(same[3:], first=3)]), whole)
    assert len(np.unique(whole, axis=0)) == 4


def test_the_mean_of_the_output_of_a_read_out_alone_is_that_of_analog_inputs() -> None:
    network, design = cs.Network.random((7, 4), seed=1), cs.ChipDesign(device=cs.Ideal())
    x, chip, options = images(2), cs.fabricate(design, seed=0), {"engine": Torch(device="cpu")}
    spikes = cs.deploy(network, chip, window=20_000, encoder=Poisson(), **options).outputs(x)
    np.testing.assert_allclose(spikes, cs.deploy(network, chip, **options).outputs(x), atol=0.02)


@pytest.mark.parametrize("rule", [cs.LocalTandem(warm_up=9), cs.LocalTandemOffline(), cs.LocalTandemTrace()])
def test_rules_learn_the_same_from_spikes_on_both_engines(rule: cs.LocalTandem) -> None:
    class Lesson:
        def __len__(self) -> int:
            return 6

        def batches(self, size: int, epoch: int = 0):
            rng = np.random.default_rng(2)
            labels = rng.integers(0, 4, 6)
            yield images(), labels, (rng.uniform(0, 1, (6, 9)), np.eye(4)[labels])

    found = []
    for engine in (Brian(), Torch(dtype="float64", device="cpu")):
        snn = deployed(engine, Poisson())
        before = to_numpy(snn.cells[0].wanted)
        cs.learn(snn, Lesson(), rule=rule, optimiser=cs.SGD(lr=1.0), batch=6, progress=False)
        found.append(to_numpy(snn.cells[0].wanted) - before)
    assert np.abs(found[0]).max() > 1e-5
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7, atol=1e-12)


def test_what_is_no_encoder_is_refused() -> None:
    with pytest.raises(ParameterError, match="must be an Encoder"):
        deployed(Brian(), "poisson")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"Poisson\.scale"):
        Poisson(scale=0.0)
