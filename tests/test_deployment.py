import gc
import itertools
import weakref
from types import SimpleNamespace

import brian2
import numpy as np
import pytest

import chipsim as cs
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import IF, LIF, Integrator
from chipsim.deployment import BATCH, Deployment, deploy
from chipsim.devices import RRAM_MILO_2021, Ideal
from chipsim.effects import MembraneNoise, Mismatch, SiliconMismatch, StuckCells
from chipsim.engines.brian import Brian
from chipsim.errors import CapacityError, ChipsimError, ParameterError
from chipsim.network import Conv2d, Dense, Network
from chipsim.probe import Record

RNG = np.random.default_rng(0)
LINEAR = Network((Dense(weight=RNG.normal(size=(5, 3)), bias=RNG.normal(size=3)),))


def deployment(network: Network = LINEAR, window: int = 4, **design: object) -> Deployment:
    return deploy(network, fabricate(ChipDesign(**{"headroom": 2.0, **design}), 1), window=window)  # type: ignore[arg-type]


def test_a_read_out_alone_is_a_linear_layer() -> None:
    inputs = RNG.normal(size=(6, 5))
    expected = inputs @ LINEAR.layers[0].weight + LINEAR.layers[0].bias
    for design in ({}, {"rows": 2, "columns": 2}, {"readout": Integrator(v_unit=0.3, v_rest=0.2, gain=2.0)}):
        np.testing.assert_allclose(deployment(**design).outputs(inputs), expected, rtol=1e-9, atol=1e-12)


def test_one_input_drives_one_row() -> None:
    snn = deployment(readout=Integrator(), rows=2, columns=2)
    np.testing.assert_allclose(
        snn.outputs(np.eye(5)) - snn.outputs(np.zeros((1, 5))), LINEAR.layers[0].weight, atol=1e-9
    )


def test_hidden_rates_follow_the_teacher() -> None:
    """Soft-reset IF neurons fire at activation / c, to within a spike per window."""
    weight, bias = RNG.uniform(-0.5, 0.5, (6, 8)), RNG.uniform(-0.2, 0.2, 8)
    network = Network((Dense(weight=weight, bias=bias, constant=1.7), Dense(weight=np.eye(8), bias=np.zeros(8))))
    inputs = RNG.uniform(0, 1.5, (10, 6))
    snn = deployment(network, window=200, circuit=IF(v_threshold=0.8, soft_reset=True))
    activations = np.clip(inputs @ weight + bias, 0, 1.7)
    np.testing.assert_allclose(snn.outputs(inputs), activations, atol=1.7 * 2 / 200)


def test_mismatch_of_a_cell_moves_its_weight() -> None:
    snn = deployment(effects=(Mismatch(sigma=0.3, kinds=("cell_gain",)),))
    gain = snn.chip.tile(0)[0]["cell_gain"][:, :6, :3]
    layer = snn.placement.layers[0]
    expected = np.where(layer.weight > 0, layer.weight * gain[0], layer.weight * gain[1])
    np.testing.assert_allclose(snn.weights(0), expected)
    np.testing.assert_allclose(snn.outputs(np.eye(5)) - snn.outputs(np.zeros((1, 5))), expected[:5], atol=1e-9)


def test_programming_noise_is_in_the_weights_and_stays() -> None:
    snn = deployment(device=RRAM_MILO_2021)
    assert not np.allclose(snn.weights(0), snn.placement.layers[0].weight, atol=1e-3)
    before = snn.weights(0)
    inputs = RNG.normal(size=(3, 5))
    first = snn.outputs(inputs)
    np.testing.assert_array_equal(snn.outputs(inputs), first)
    np.testing.assert_array_equal(snn.weights(0), before)
    np.testing.assert_allclose(first, inputs @ before[:5] + before[5:].sum(axis=0), atol=1e-9)


def test_writing_changes_the_outputs() -> None:
    snn = deployment()
    array, cells = snn.arrays[0], snn.cells[0]
    snn.write(0, array.programme(cells, np.zeros_like(cells.wanted), snn.write_stream(), snn.time))
    np.testing.assert_allclose(snn.outputs(np.ones((1, 5))), 0.0, atol=1e-12)


def test_every_write_meets_noise_of_its_own() -> None:
    layers = (Dense(weight=np.eye(3), bias=np.zeros(3)), Dense(weight=np.eye(3), bias=np.zeros(3)))
    snn = deployment(Network(layers), device=RRAM_MILO_2021, circuit=LIF(v_threshold=1.0))
    deviations = [cells.g - cells.target for cells in snn.cells]
    for target in (0.5, 0.0):
        wanted = np.full_like(snn.cells[0].wanted, target)
        cells = snn.arrays[0].programme(None, wanted, snn.write_stream(), snn.time)
        deviations.append(cells.g - cells.target)
    for one, other in itertools.combinations(deviations, 2):
        assert not np.isclose(one, other, rtol=1e-6, atol=0).any()


def test_the_clock_advances_by_a_window_per_sample() -> None:
    snn = deploy(LINEAR, fabricate(ChipDesign(), 1), window=5, step=2 * brian2.ms)
    assert snn.step == 2e-3
    assert snn.time == 0.0
    snn.outputs(np.zeros((3, 5)))
    assert snn.time == pytest.approx(3 * 5 * 2e-3)
    snn.outputs(np.zeros((BATCH + 1, 5)))
    assert snn.time == pytest.approx((BATCH + 4) * 5 * 2e-3)


def test_accuracy_is_the_share_of_right_classes() -> None:
    snn = deployment()
    inputs = RNG.normal(size=(10, 5))
    right = np.argmax(inputs @ LINEAR.layers[0].weight + LINEAR.layers[0].bias, axis=1)
    np.testing.assert_array_equal(snn.predict(inputs), right)
    labels = right.copy()
    labels[:3] = (labels[:3] + 1) % 3
    assert snn.accuracy(SimpleNamespace(inputs=inputs, labels=labels)) == 0.7


def test_samples_may_have_any_shape_of_the_right_size() -> None:
    snn = deploy(Network.random((6, 4, 2), seed=0), fabricate(ChipDesign(), 1), window=2)
    images = RNG.normal(size=(3, 2, 3))
    np.testing.assert_array_equal(snn.outputs(images), snn.outputs(images.reshape(3, 6)))


def test_no_samples_have_no_outputs() -> None:
    assert deployment().outputs(np.empty((0, 5))).shape == (0, 3)
    assert deployment().present(np.empty((0, 5))).output.shape == (0, 3)
    with pytest.raises(ParameterError, match="present needs at least one sample to probe"):
        deployment().present(np.empty((0, 5)), Record(v=True))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.zeros((2, 4)), r"inputs must have shape \[samples, 5\], not \(2, 4\)"),
        (np.zeros(5), r"inputs must have shape \[samples, 5\], not \(5,\)"),
        (np.zeros((2, 5, 2)), r"not \(2, 5, 2\)"),
        ([[0, 0, np.nan, 0, np.inf]], "inputs hold 2 values that are NaN or infinite"),
    ],
)
def test_impossible_inputs_are_refused(inputs: object, sentence: str) -> None:
    for present in (deployment().outputs, deployment().present, deployment().predict):
        with pytest.raises(ParameterError, match=sentence):
            present(inputs)  # type: ignore[arg-type, operator]


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0.5, 1.0], ["a", "b"]])
def test_labels_that_are_no_classes_are_refused(labels: list[object]) -> None:
    with pytest.raises(ParameterError, match="labels must be whole numbers from 0 to 2"):
        deployment().accuracy(SimpleNamespace(inputs=np.zeros((2, 5)), labels=np.array(labels)))


def test_images_of_another_layout_are_refused() -> None:
    kernel = Conv2d(weight=np.ones((2, 3, 2, 2)), bias=np.zeros(2))
    network = Network((kernel, Dense(weight=np.ones((18, 3)), bias=np.zeros(3))), (3, 4, 4))
    with pytest.raises(ParameterError, match="chips side by side are for small dense networks"):
        deploy(network, [fabricate(ChipDesign(), seed) for seed in (0, 1)])
    snn = deploy(network, fabricate(ChipDesign(), 0), window=4)
    images = np.random.default_rng(0).random((2, 3, 4, 4))
    assert snn.outputs(images).shape == (2, 3)
    np.testing.assert_array_equal(snn.outputs(images), snn.outputs(images.reshape(2, -1)))
    with pytest.raises(ParameterError, match=r"samples of shape \(3, 4, 4\), or flat ones, not of \(4, 4, 3\)"):
        snn.outputs(images.transpose(0, 2, 3, 1))


def test_accuracy_needs_samples() -> None:
    with pytest.raises(ParameterError, match=r"inputs and labels, as data\.train has, not a tuple"):
        deployment().accuracy((np.zeros((2, 5)), np.zeros(2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [[], [0]])
def test_accuracy_needs_a_label_for_each_sample(labels: list[int]) -> None:
    with pytest.raises(ParameterError, match=f"a label for each of {2 if labels else 0} samples"):
        deployment().accuracy(SimpleNamespace(inputs=np.zeros((2 if labels else 0, 5)), labels=np.array(labels)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"window": 0}, "window must be a whole number of at least 1, not 0"),
        ({"window": 2.0}, "window must be a whole number"),
        ({"window": True}, "window must be a whole number"),
        ({"step": 0.0}, "step must be above 0 s and finite, not 0 s"),
        ({"step": np.inf}, "step must be above 0 s and finite"),
        ({"step": np.nan}, "step must be above 0 s and finite"),
        ({"step": 1 * brian2.mV}, "wrong unit: expected s"),
    ],
)
def test_impossible_windows_and_steps_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        deploy(LINEAR, fabricate(ChipDesign(), 1), **arguments)  # type: ignore[arg-type]


def test_a_network_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"raise ChipDesign\.readouts"):
        deployment(readouts=2)


def test_frozen_parameters_reach_the_neurons_of_the_layer() -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.3),)), 1)
    snn = deploy(Network.random((4, 6, 5, 3), seed=0), chip)
    for name in ("v_threshold", "tau", "v_reset", "gain"):
        np.testing.assert_array_equal(snn.stages[0].parameters[name], chip.neurons[name][:6])
        np.testing.assert_array_equal(snn.stages[1].parameters[name], chip.neurons[name][6:11])
    np.testing.assert_array_equal(snn.stages[2].parameters["gain"], chip.readouts["gain"][:3])


def test_membrane_noise_is_fresh_for_every_sample_step_and_neuron_and_not_for_every_run() -> None:
    network = Network((Dense(weight=np.zeros((2, 4)), bias=np.zeros(4)), Dense(weight=np.eye(4), bias=np.zeros(4))))
    snn = deployment(network, window=3, circuit=LIF(v_threshold=100.0, tau=1e-6), effects=(MembraneNoise(sigma=0.01),))
    v = snn.present(np.zeros((5, 2)), Record(v=True)).v.to_numpy()
    assert len(np.unique(v)) == 5 * 3 * 4
    assert 0.7 < v.std() < 1.3
    np.testing.assert_array_equal(snn.present(np.zeros((5, 2)), Record(v=True)).v.to_numpy(), v)


def test_a_stuck_cell_is_read_through_its_gain_whichever_effect_stands_first() -> None:
    effects = (StuckCells(rate=1.0, at_max=1.0), Mismatch(sigma=0.3, kinds=("cell_gain",)))
    for order in (effects, effects[::-1]):
        snn = deployment(device=Ideal(g_min=1e-6), effects=order)
        assert all((cells.g == 100e-6).all() for cells in snn.cells)
        assert len(np.unique(snn.weights(0))) == snn.weights(0).size


def test_effects_act_in_the_order_of_the_design() -> None:
    """A transistor whose slope depends on its current meets the gain before it or behind it."""
    effects, found = (Mismatch(sigma=0.3, kinds=("cell_gain",)), SiliconMismatch(transistor_cells=True)), []
    for order in (effects, effects[::-1]):
        snn = deployment(device=Ideal(g_min=1e-6), effects=order)
        g = snn.cells[0].g
        for effect, frozen in zip(order, snn._frozen[0], strict=True):
            g = effect.read(g, frozen)
        found.append(snn.weights(0))
        np.testing.assert_allclose(found[-1], (g[0] - g[1]) / float(snn.arrays[0].g_scale), rtol=1e-12)
    assert not np.allclose(*found, rtol=1e-3)


def test_an_engine_can_be_given() -> None:
    chip = fabricate(ChipDesign(), 1)
    engine = Brian()
    assert deploy(LINEAR, chip, engine=engine).engine is engine


def test_a_set_presented_in_parts_meets_the_noise_of_its_numbers() -> None:
    design = cs.ChipDesign(rows=8, columns=8, effects=(cs.MembraneNoise(sigma=0.3),))
    snn = cs.deploy(cs.Network.random((3, 5, 2), seed=0), cs.fabricate(design, seed=0))
    inputs = np.random.default_rng(0).random((9, 3))
    whole = snn.outputs(inputs)
    np.testing.assert_array_equal(snn.outputs(inputs[4:], first=4), whole[4:])
    assert not np.array_equal(snn.outputs(inputs[4:]), whole[4:])


def test_another_seed_programmes_the_same_die_anew() -> None:
    chip = cs.fabricate(cs.ChipDesign(device=cs.RRAM_MILO_2021, rows=8, columns=8), seed=0)
    network = cs.Network.random((3, 5, 2), seed=0)
    first, again, other = (cs.deploy(network, chip, seed=seed).weights(0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_nominal_gain_leaves_what_the_network_computes() -> None:
    network, inputs = cs.Network.random((3, 5, 2), seed=0), np.random.default_rng(0).random((9, 3))
    plain, gained = (
        cs.deploy(network, cs.fabricate(cs.ChipDesign(circuit=cs.LIF(gain=g), readout=cs.Integrator(gain=g)), seed=0))
        for g in (1.0, 2.0)
    )
    np.testing.assert_allclose(gained.outputs(inputs), plain.outputs(inputs), rtol=1e-12)


def test_an_effect_without_anything_to_act_on_raises() -> None:
    chip = cs.fabricate(cs.ChipDesign(effects=(cs.DeadNeurons(rate=0.5),)), seed=0)
    snn = cs.deploy(cs.Network.random((3, 2), seed=0), chip)
    with pytest.raises(ChipsimError, match="nothing to act on"):
        snn.effect_report()


def test_stuck_cells_are_not_taken_for_programming_noise() -> None:
    design = cs.ChipDesign(rows=8, columns=8, effects=(cs.StuckCells(rate=0.3),))
    report = cs.deploy(cs.Network.random((9, 5, 2), seed=0), cs.fabricate(design, seed=0)).effect_report()
    assert report["programming"]["rms deviation of cells from target, share of range"] == 0.0
    assert report["stuck_cells"]["share of stuck cells"] > 0.1
    with pytest.raises(ChipsimError, match="no effect 'stuck'"):
        report["stuck"]


def test_what_a_deployment_measures_says_which_chip_it_comes_from() -> None:
    chip = cs.fabricate(cs.ChipDesign(), seed=3)
    seen = cs.deploy(cs.Network.random((3, 2), seed=0), chip).present(np.zeros((1, 3)))
    assert seen.attrs["chip_hash"] == chip.hash
    assert seen.attrs["chip_seed"] == 3


def test_a_deployment_that_nobody_holds_is_freed_at_once() -> None:
    """Without waiting for the collector of cycles, which sees few objects and much memory."""

    def let_go() -> weakref.ref[Deployment]:
        snn = deploy(LINEAR, fabricate(ChipDesign(), 1), engine=cs.Torch(compile=False))
        snn.outputs(np.ones((2, 5)))
        return weakref.ref(snn)

    let_go()  # what a process does once may hold the first one
    gc.disable()
    try:
        assert let_go()() is None
    finally:
        gc.enable()
