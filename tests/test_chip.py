import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from chipsim.chip import MODEL_VERSION, Chip, ChipDesign, fabricate
from chipsim.circuits import IF, LIF, Integrator
from chipsim.devices import RRAM_MILO_2021, Ideal
from chipsim.effects import DeadNeurons, Mismatch, StuckCells
from chipsim.errors import ParameterError, StoredFileError
from chipsim.signals import LearningCircuits

SIZE = {"tiles": 3, "rows": 4, "columns": 5, "neurons": 6, "readouts": 2}
DESIGN = ChipDesign(device=RRAM_MILO_2021, effects=(Mismatch(sigma=0.3), StuckCells(rate=0.2)), **SIZE)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tiles": 0}, "ChipDesign.tiles must be a whole number of at least 1, not 0"),
        ({"rows": 2.0}, "ChipDesign.rows must be a whole number"),
        ({"neurons": True}, "ChipDesign.neurons must be a whole number"),
        ({"v_read": -0.1}, "ChipDesign.v_read"),
        ({"headroom": 0.0}, "ChipDesign.headroom"),
        ({"circuit": "lif"}, "ChipDesign.circuit must be a Circuit, not 'lif'"),
        ({"device": LIF()}, "ChipDesign.device must be a Device"),
        ({"circuit": Integrator()}, "ChipDesign.circuit must spike; Integrator does not"),
        ({"readout": LIF()}, "ChipDesign.readout must not spike; LIF does"),
        ({"effects": (Mismatch(), Mismatch(sigma=0.1))}, "effect mismatch stands twice"),
        ({"effects": ("mismatch",)}, r"ChipDesign.effects\[0\] must be an Effect, not 'mismatch'"),
        ({"pair": "reference", "device": Ideal(levels=2)}, "in the middle, which a device of 2 levels has not"),
        ({"circuit": IF(), "effects": (Mismatch(kinds=("time_constant",)),)}, "IF has no time_constant"),
    ],
)
def test_impossible_designs_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        ChipDesign(**fields)  # type: ignore[arg-type]


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(TypeError, match="devise"):
        ChipDesign(devise=RRAM_MILO_2021)  # type: ignore[call-arg]


def test_every_change_of_a_design_changes_its_hash() -> None:
    changes = {
        "circuit": LIF(tau=11e-3),
        "readout": Integrator(gain=2.0),
        "device": dataclasses.replace(RRAM_MILO_2021, levels=16),
        "effects": (Mismatch(sigma=0.31), StuckCells(rate=0.2)),
        "tiles": 4,
        "rows": 7,
        "columns": 9,
        "neurons": 11,
        "readouts": 13,
        "v_read": 0.1,
        "pair": "reference",
        "headroom": 2.0,
        "learning": LearningCircuits(counter_bits=5),
        "trace_tau": 1e-3,
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(ChipDesign)}
    hashes = {DESIGN.hash, *(dataclasses.replace(DESIGN, **{name: value}).hash for name, value in changes.items())}  # type: ignore[arg-type]
    assert len(hashes) == 1 + len(changes)


def test_a_chip_draws_banks_and_tiles_of_its_size() -> None:
    chip = fabricate(DESIGN, 3)
    assert {values.shape for values in chip.neurons.values()} == {(6,)}
    assert {values.shape for values in chip.readouts.values()} == {(2,)}
    mismatch, stuck = chip.tile(2)
    assert mismatch["cell_gain"].shape == stuck["stuck"].shape == (2, 4, 5)
    for index in (-1, 3):
        with pytest.raises(ParameterError, match=f"tile {index} does not exist; this chip has tiles 0 to 2"):
            chip.tile(index)


def test_frozen_numbers() -> None:
    """The same design and seed are the same die for good; a change here raises MODEL_VERSION."""
    chip = fabricate(DESIGN, 3)
    assert MODEL_VERSION == 1
    np.testing.assert_allclose(chip.neurons["v_threshold"][:2], [0.4073494539043041, 0.49348771795520585], rtol=1e-13)
    np.testing.assert_allclose(
        chip.tile(1)[0]["cell_gain"][1, 2, :2], [0.5989421691213802, 0.783573692796095], rtol=1e-13
    )


def test_an_effect_that_is_added_leaves_the_others_draws() -> None:
    chip = fabricate(DESIGN, 3)
    more = fabricate(dataclasses.replace(DESIGN, effects=(DeadNeurons(rate=0.5), *DESIGN.effects)), 3)
    np.testing.assert_array_equal(more.frozen_neurons[1]["threshold"], chip.frozen_neurons[0]["threshold"])
    np.testing.assert_array_equal(more.tile(0)[1]["cell_gain"], chip.tile(0)[0]["cell_gain"])


def test_a_larger_chip_begins_with_the_same_neurons() -> None:
    large = fabricate(dataclasses.replace(DESIGN, neurons=60), 3)
    np.testing.assert_array_equal(large.neurons["tau"][:6], fabricate(DESIGN, 3).neurons["tau"])


def test_neurons_readouts_and_tiles_differ() -> None:
    chip = fabricate(dataclasses.replace(DESIGN, readouts=6), 3)
    assert not np.array_equal(chip.neurons["gain"], chip.readouts["gain"])
    assert not np.array_equal(chip.tile(0)[0]["cell_gain"], chip.tile(1)[0]["cell_gain"])
    assert not np.array_equal(chip.neurons["gain"], fabricate(chip.design, 4).neurons["gain"])


def test_effects_of_strength_0_draw_nothing() -> None:
    chip = fabricate(dataclasses.replace(DESIGN, effects=(Mismatch(sigma=0), StuckCells(rate=0))), 3)
    assert chip.design.acting == ()
    assert chip.tile(0) == ()
    assert all(len(np.unique(values)) == 1 for values in chip.neurons.values())


@pytest.mark.parametrize("seed", [-1, 1.5, "7"])
def test_a_bad_seed_is_refused(seed: object) -> None:
    with pytest.raises(ParameterError, match="seed must be an integer from 0 to"):
        fabricate(DESIGN, seed)  # type: ignore[arg-type]


def test_measured_arrays_stand_in_place_of_drawn_ones() -> None:
    threshold, gain = np.linspace(0.5, 1.5, 6), np.full((2, 4, 5), 1.25)
    measured = {"neurons/mismatch/threshold": threshold, "tiles/1/mismatch/cell_gain": gain}
    drawn, chip = fabricate(DESIGN, 3), Chip.from_measurements(DESIGN, measured, seed=3)
    np.testing.assert_allclose(chip.neurons["v_threshold"], 0.6 * threshold)
    np.testing.assert_array_equal(chip.neurons["tau"], drawn.neurons["tau"])
    np.testing.assert_array_equal(chip.tile(1)[0]["cell_gain"], gain)
    np.testing.assert_array_equal(chip.tile(0)[0]["cell_gain"], drawn.tile(0)[0]["cell_gain"])
    assert chip.hash != drawn.hash
    assert (
        chip.hash != Chip.from_measurements(DESIGN, {**measured, "tiles/1/mismatch/cell_gain": gain * 2}, seed=3).hash
    )
    threshold[0] = 99.0
    assert chip.measured["neurons/mismatch/threshold"][0] == 0.5


@pytest.mark.parametrize(
    ("key", "values", "sentence"),
    [
        ("neurons/mismatch/treshold", np.ones(6), "unknown measured array 'neurons/mismatch/treshold'; keys: neurons/"),
        ("neurons/drift/nu", np.ones(6), "unknown measured array"),
        ("somas/mismatch/threshold", np.ones(6), "unknown measured array"),
        ("threshold", np.ones(6), "unknown measured array"),
        ("tiles/x/mismatch/cell_gain", np.ones((2, 4, 5)), "unknown measured array"),
        ("tiles/7/mismatch/cell_gain", np.ones((2, 4, 5)), "tile 7 does not exist"),
        ("neurons/mismatch/threshold", np.ones(5), r"must have shape \(6,\), not \(5,\)"),
        ("tiles/0/stuck_cells/stuck", np.ones((4, 5)), r"must have shape \(2, 4, 5\), not \(4, 5\)"),
        ("neurons/mismatch/threshold", np.full(6, np.nan), "holds NaN or infinite values"),
        ("tiles/1/mismatch/cell_gain", np.full((2, 4, 5), -0.5), r"give cells of tile 1 from -.* in siemens, and fact"),
        ("tiles/1/mismatch/cell_gain", np.full((2, 4, 5), 1e5), "give cells of tile 1 from 5 to 22.5 S"),
    ],
)
def test_impossible_measurements_are_refused(key: str, values: np.ndarray, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Chip.from_measurements(DESIGN, {key: values})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnCircuit(LIF):
    """A user's circuit."""


def test_a_chip_of_ones_own_classes_is_saved_and_loaded(tmp_path: Path) -> None:
    chip = fabricate(ChipDesign(circuit=OwnCircuit(tau=3e-3)), 1)
    chip.save(tmp_path / "own.h5")
    with pytest.raises(StoredFileError, match=r"unknown type 'OwnCircuit' .* give classes of your own as known="):
        Chip.load(tmp_path / "own.h5")
    loaded = Chip.load(tmp_path / "own.h5", known=(OwnCircuit,))
    assert loaded.design == chip.design
    assert loaded.hash == chip.hash


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "die.h5"
    Chip.from_measurements(DESIGN, {"neurons/mismatch/gain": np.arange(1.0, 7.0)}, seed=3).save(path)
    return path


def test_saving_twice_keeps_one_whole_file(saved: Path) -> None:
    fabricate(DESIGN, 9).save(saved)
    assert Chip.load(saved).seed == 9
    assert [path.name for path in saved.parent.iterdir()] == ["die.h5"]


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoredFileError, match=r"there is no file .*none\.h5"):
        Chip.load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not a chip at all")
    with pytest.raises(StoredFileError, match="cannot be read as a chip"):
        Chip.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["accuracy"] = 0.9
    with pytest.raises(StoredFileError, match=r"other\.h5 is an HDF5 file, but not of a chip"):
        Chip.load(tmp_path / "other.h5")
    with pytest.raises(StoredFileError, match="there is no file"):
        Chip.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StoredFileError, match="cannot be read as a chip"):
        Chip.load(saved)


def _edit(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "r+") as file:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value


DESIGN_JSON = {"type": "ChipDesign"}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("model_version", MODEL_VERSION + 1, "was written by model version 2; this one is 1, which would fabricate an"),
        ("model_version", None, "cannot be read as a chip"),
        ("seed", None, "cannot be read as a chip"),
        ("seed", -4, "cannot be read as a chip: seed must be"),
        ("design", "{", "cannot be read as a chip"),
        ("design", json.dumps({"type": "Wafer"}), "unknown type 'Wafer' in stored design"),
        ("design", json.dumps({**DESIGN_JSON, "colour": 1}), "unknown field 'colour' of ChipDesign"),
        ("design", json.dumps({**DESIGN_JSON, "v_read": -1.0}), "ChipDesign.v_read = -1 V is outside"),
        ("design", json.dumps({"type": "LIF"}), "cannot be read as a chip"),
        ("design", json.dumps(DESIGN_JSON), "unknown measured array 'neurons/mismatch/gain'"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(saved: Path, name: str, value: object, sentence: str) -> None:
    _edit(saved, name, value)
    with pytest.raises(StoredFileError, match=sentence):
        Chip.load(saved)


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoredFileError):
        fabricate(DESIGN, 3).save(tmp_path / "file" / "die.h5")
    with pytest.raises(StoredFileError):
        fabricate(DESIGN, 3).save(tmp_path / "no folder" / "die.h5")
