import numpy as np
import pytest
import xarray as xr

from chipsim.chip import ChipDesign, fabricate
from chipsim.deployment import BATCH, Deployment, deploy
from chipsim.devices import RRAM_MILO_2021
from chipsim.effects import Mismatch
from chipsim.errors import ParameterError
from chipsim.network import Network
from chipsim.probe import Record

INPUTS = np.random.default_rng(0).uniform(0, 2, (3, 4))


@pytest.fixture(scope="module")
def snn() -> Deployment:
    design = ChipDesign(device=RRAM_MILO_2021, effects=(Mismatch(sigma=0.2),), v_read=0.1)
    return deploy(Network.random((4, 6, 5, 2), seed=0), fabricate(design, 1), window=5)


@pytest.fixture(scope="module")
def hidden(snn: Deployment) -> xr.Dataset:
    cells = tuple((row, column) for row in range(5) for column in range(6))
    return snn.present(INPUTS, Record(v=True, spikes=True, rows=True, current=cells))


def test_probing_changes_nothing(snn: Deployment, hidden: xr.Dataset) -> None:
    np.testing.assert_array_equal(hidden.output, snn.outputs(INPUTS))
    np.testing.assert_array_equal(snn.present(INPUTS).output, snn.outputs(INPUTS))
    assert list(snn.present(INPUTS)) == ["output"]


def test_a_neuron_spikes_where_its_membrane_exceeds_its_own_threshold(snn: Deployment, hidden: xr.Dataset) -> None:
    threshold = snn.stages[0].parameters["v_threshold"]
    np.testing.assert_array_equal(hidden.spikes, hidden.v > threshold)
    assert 0 < hidden.spikes.sum() < hidden.spikes.size


def test_rows_are_driven_by_the_inputs_and_the_bias(hidden: xr.Dataset) -> None:
    for step in range(5):
        np.testing.assert_array_equal(hidden.drive[:, step], np.hstack([INPUTS, np.ones((3, 1))]))


def test_currents_are_those_that_move_the_membrane(snn: Deployment, hidden: xr.Dataset) -> None:
    currents = hidden.current.to_numpy().reshape(3, 5, 5, 6)
    array, stage = snn.arrays[0], snn.stages[0]
    charge = currents.sum(axis=2) / 0.1 / float(array.g_scale) * stage.circuit.v_unit
    np.testing.assert_allclose(hidden.v[:, 0], stage.parameters["gain"] * charge[:, 0], rtol=1e-9)


def test_a_later_layer_is_driven_by_the_spikes_of_the_one_before(snn: Deployment, hidden: xr.Dataset) -> None:
    later = snn.present(INPUTS, Record(layer=1, rows=True))
    np.testing.assert_array_equal(later.drive[:, :, :6], hidden.spikes)
    assert (later.drive[:, :, 6:] == 1).all()


def test_chosen_neurons_and_rows_are_those_of_the_whole(snn: Deployment, hidden: xr.Dataset) -> None:
    some = snn.present(INPUTS, Record(v=[4, 1], spikes=[4, 1], rows=[2], current=[(3, 5)]))
    np.testing.assert_array_equal(some.v, hidden.v[:, :, [4, 1]])
    np.testing.assert_array_equal(some.spikes, hidden.spikes[:, :, [4, 1]])
    np.testing.assert_array_equal(some.drive, hidden.drive[:, :, [2]])
    np.testing.assert_array_equal(some.current, hidden.current[:, :, [3 * 6 + 5]])
    assert some.neuron.to_numpy().tolist() == [4, 1]
    assert some.row.to_numpy().tolist() == [2]


def test_units_and_times_are_there(hidden: xr.Dataset) -> None:
    assert {name: hidden[name].attrs["units"] for name in hidden} == {
        "output": "1",
        "v": "V",
        "spikes": "1",
        "drive": "1",
        "current": "A",
    }
    assert all(hidden[name].attrs["long_name"] for name in hidden.variables)
    np.testing.assert_allclose(hidden.time, [1e-3, 2e-3, 3e-3, 4e-3, 5e-3])
    assert hidden.v.dims == ("sample", "time", "neuron")


def test_the_read_out_can_be_probed(snn: Deployment) -> None:
    found = snn.present(INPUTS, Record(layer=2, v=True, spikes=True))
    assert not found.spikes.any()
    np.testing.assert_allclose(found.v[:, -1] / 5, found.output)


@pytest.mark.parametrize("none", [(), [], np.empty((0, 2), dtype=int)])
def test_cells_may_be_an_array_or_none(snn: Deployment, none: object) -> None:
    shown = np.ones((2, snn.network.sizes[0]))
    assert "current" not in snn.present(shown, Record(v=[0], current=none))  # type: ignore[arg-type]
    pairs = [(0, 0), (1, 1)]
    found, same = (snn.present(shown, Record(current=chosen)) for chosen in (pairs, np.array(pairs)))  # type: ignore[arg-type]
    xr.testing.assert_identical(found, same)
    np.testing.assert_array_equal(snn.weights(-1), snn.weights(len(snn.arrays) - 1))


def test_samples_stand_in_order_across_batches(snn: Deployment) -> None:
    inputs = np.random.default_rng(1).uniform(0, 2, (BATCH + 3, 4))
    found = snn.present(inputs, Record(rows=[0, 1, 2, 3]))
    np.testing.assert_array_equal(found.drive[:, 2], inputs)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Record(layer=3, v=True), "Record.layer 3 does not exist; the network has layers 0 to 2"),
        (Record(layer=-1, v=True), "Record.layer -1 does not exist"),
        (Record(v=[0, 6]), "Record.v asks for index 6; there are 6, from 0 on"),
        (Record(spikes=[-1, 5]), "Record.spikes asks for index -1; there are 6, from 0 on"),
        (Record(rows=[5]), "Record.rows asks for index 5; there are 5, from 0 on"),
        (Record(current=[(0, 6)]), "Record.current asks for index 6"),
        (Record(current=[(5, 0)]), "Record.current asks for index 5"),
        (Record(v=[0], spikes=[1]), "Record.v and Record.spikes must name the same neurons"),
    ],
)
def test_impossible_probes_are_refused(snn: Deployment, record: Record, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        snn.present(INPUTS, record)
