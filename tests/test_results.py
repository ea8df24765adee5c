"""Result files: schema, provenance, atomic writing, combination."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from chipsim import results
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.files import remove_leftovers
from chipsim.results import Manifest
from chipsim.schema import VERSION

ONE = {"units": "1", "long_name": "a number"}

MANIFEST = Manifest(
    study="toy",
    question="Does it work?",
    dataset="digits",
    seed=3,
    options={"samples": 100},
    design='{"effects":[{"sigma":0.3,"type":"Mismatch"}],"type":"Design"}',
    grid={"chip": (3000, 3001), "sigma": (0.0, 0.5), "rule": ("online",)},
    labels={"chip": ("1", "seed of the chip"), "sigma": ("1", "mismatch"), "rule": ("1", "learning rule")},
    figure="degradation",
    table=("accuracy",),
)


def trial(accuracy: float = 0.5) -> xr.Dataset:
    stages = {"stage": ("stage", ["before", "after"], {"units": "1", "long_name": "before or after learning"})}
    values = [accuracy, accuracy + 0.1]
    return xr.Dataset({"accuracy": ("stage", values, ONE), "chip_hash": ((), f"h{accuracy}", ONE)}, coords=stages)


def store(path: Path, manifest: Manifest = MANIFEST) -> None:
    results.trials_folder(path).mkdir(exist_ok=True)
    for index, point in enumerate(manifest.points()):
        dataset = trial(0.1 * index)
        dataset.attrs = results.trial_attributes(manifest.identity_hash, point, 2.0)
        results.write_trial(dataset, path, point)


def test_write_and_open_give_the_same_dataset(tmp_path: Path) -> None:
    dataset = trial().assign_attrs(schema_version=VERSION, note="µ")
    results.write(dataset, tmp_path / "a.h5")
    assert results.open(tmp_path / "a.h5").identical(dataset)
    with xr.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as opened:
        assert opened["accuracy"].values.tolist() == [0.5, 0.6]


def test_identical_looks_at_everything_but_the_volatile() -> None:
    one = trial().assign_attrs(seed=0, wall_time=1.0, host="a", date="x")
    assert results.identical(one, one.assign_attrs(wall_time=2.0, host="b", date="y"))
    assert results.identical(one.assign(wall_time=((), 1.0, ONE)), one.assign(wall_time=((), 2.0, ONE)))
    assert not results.identical(one, one.assign_attrs(seed=1))
    assert not results.identical(one, one.assign(accuracy=one["accuracy"] + 1e-15))
    assert "host" in one.attrs, "the argument must stay as it is"
    one["accuracy"].attrs["host"] = "a"
    results.drop_volatile(one)
    assert one["accuracy"].attrs["host"] == "a"


def test_volatile_variables_that_some_trials_lack_are_left_out(tmp_path: Path) -> None:
    """As in a result that an earlier version began."""
    path = tmp_path / "a.h5"
    store(path)
    last = list(MANIFEST.points())[-1]
    dataset = trial(0.5).assign(wall_time=((), 3.0, ONE))
    dataset.attrs = results.trial_attributes(MANIFEST.identity_hash, last, 2.0)
    results.write_trial(dataset, path, last)
    results.combine(MANIFEST, path)
    assert "wall_time" not in results.open(path)


def test_intervals_are_those_of_the_books() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.01, (10, 3))
    array = xr.DataArray(values, dims=("chip", "sigma"))
    low, high = stats.t.interval(0.95, 9, values.mean(0), values.std(0, ddof=1) / np.sqrt(10))
    found = results.interval(array)
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-12)
    assert results.interval(array[:1]).low.isnull().all()
    gap = array.copy()
    gap[3:, 0] = np.nan
    np.testing.assert_allclose(results.interval(gap).low[0], results.interval(array[:3]).low[0], rtol=1e-12)
    repeated = array.expand_dims(seed=20).transpose("chip", "seed", "sigma")  # the same chip is no other one
    xr.testing.assert_allclose(results.interval(repeated), found)
    one = xr.DataArray(values[:, :1].T, dims=("chip", "seed"))
    np.testing.assert_allclose(results.interval(one).low, low[0], rtol=1e-12)
    hits = xr.DataArray([0, 3, 10], dims="sigma")
    found = results.share_interval(hits, 10)
    for place, count in enumerate(hits.values):
        expected = stats.binomtest(int(count), 10).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(
            [found.low[place], found.high[place]], [expected.low, expected.high], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    results.write(trial().assign_attrs(schema_version=VERSION), path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoredFileError, match=os.strerror(code)):
        results.write(trial(0.7), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.h5.01ab.part", ".b.h5.01ab.part", "a.h5", "a.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.h5")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".b.h5.01ab.part", "a.h5", "a.part"]
    remove_leftovers(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "a.part"]


def _garbage(path: Path) -> None:
    path.write_bytes(b"not HDF5 at all")


def _empty(path: Path) -> None:
    path.touch()


def _truncated(path: Path) -> None:
    results.write(trial(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def _other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)


def _other_version(path: Path) -> None:
    results.write(trial().assign_attrs(schema_version=VERSION + 1), path)


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_nothing, "does not exist"),
        (Path.mkdir, "is a folder"),
        (_garbage, "cannot be read"),
        (_empty, "cannot be read"),
        (_truncated, "truncated"),
        (_other_hdf5, "not a chipsim result"),
        (_other_version, f"schema version {VERSION + 1}, but this chipsim reads version {VERSION}"),
    ],
)
def test_open_refuses_what_is_not_a_result(make, sentence: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "a.h5")
    with pytest.raises(StoredFileError, match=sentence):
        results.open(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (xr.Dataset({"x": ((), 1.0, {"long_name": "x"})}), "no 'units'"),
        (xr.Dataset({"x": ((), 1.0, {"units": "1"})}), "no 'long_name'"),
        (xr.Dataset({"x": ("chpi", [1.0], ONE)}), "unknown dimension 'chpi'"),
        (xr.Dataset({"x": ("chip", [1.0], ONE)}, coords={"lot": ("chip", [1], ONE)}), "not the index"),
        (xr.Dataset({"test_accuracy": ("chip", [0.5, 1.2], ONE)}), r"share in 0\.\.1"),
        (xr.Dataset({"accuracy": ("chip", [0.5, np.nan], ONE)}), r"share in 0\.\.1"),
        (xr.Dataset(coords={"epoch": [0, 1]}), "'epoch' has no 'units'"),
    ],
)
def test_validate_refuses(dataset: xr.Dataset, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        results.validate(dataset)


def test_label_and_factors_satisfy_validate() -> None:
    dataset = xr.Dataset({"x": (("epoch", "sigma"), [[1.0]], ONE)}, coords={"epoch": [0]})
    results.validate(results.label(dataset), ["sigma"])
    assert dataset["epoch"].attrs == {}, "the argument must stay as it is"


def test_spread() -> None:
    array = xr.DataArray([[1.0, 2.0], [3.0, 6.0]], dims=("chip", "sigma"))
    spread = results.spread(array)
    assert spread["mean"].values.tolist() == [2.0, 4.0]
    assert spread["std"].values == pytest.approx([2**0.5, 8**0.5])
    assert (spread["lowest"].values.tolist(), spread["highest"].values.tolist()) == ([1.0, 2.0], [3.0, 6.0])
    assert results.spread(array[:1])["std"].values.tolist() == [0.0, 0.0]


def test_manifest_survives_attributes_and_its_file(tmp_path: Path) -> None:
    assert Manifest.from_attributes(MANIFEST.attributes(), tmp_path) == MANIFEST
    path = tmp_path / "a.h5"
    assert results.read_manifest(path) is None
    results.trials_folder(path).mkdir()
    results.write_manifest(MANIFEST, path)
    assert results.read_manifest(path) == MANIFEST


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "{}", json.dumps({"schema_version": 99}), json.dumps({**MANIFEST.attributes(), "grid": "[1]"})],
)
def test_a_damaged_manifest_is_one_sentence(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    results.trials_folder(path).mkdir()
    (results.trials_folder(path) / "manifest.json").write_text(content)
    with pytest.raises(StoredFileError, match=r"manifest\.json"):
        results.read_manifest(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study": "other"}, 'study "toy", not "other"'),
        ({"dataset": "mnist"}, 'dataset "digits", not "mnist"'),
        ({"seed": 4}, "seed 3, not 4"),
        ({"options": {"samples": 9}}, "options.samples 100, not 9"),
        ({"schema_version": 2}, "schema version 1, not 2"),
        ({"design": MANIFEST.design.replace("0.3", "0.5")}, "design.effects[0].sigma 0.3, not 0.5"),
        ({"design": '{"effects":[],"type":"Design"}'}, "design.effects"),
    ],
)
def test_difference_names_what_differs(changes: dict[str, object], words: str) -> None:
    other = dataclasses.replace(MANIFEST, **changes)  # type: ignore[arg-type]
    assert other.identity_hash != MANIFEST.identity_hash
    found = results.difference(MANIFEST, other)
    assert found is not None
    assert words in found


def test_the_grid_is_no_part_of_the_identity() -> None:
    larger = dataclasses.replace(MANIFEST, grid={**MANIFEST.grid, "sigma": (0.0, 0.1, 0.5)})
    assert results.difference(MANIFEST, larger) is None
    assert larger.identity_hash == MANIFEST.identity_hash


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1) | st.text(max_size=200)), unique=True, max_size=5))
def test_trial_paths_are_unique_and_harmless(points: list[tuple[int, float | str]]) -> None:
    out = Path("folder/a.h5")
    paths = [results.trial_path(out, {"chip": chip, "factor": value}) for chip, value in points]
    assert len({str(path).lower() for path in paths}) == len(points)
    assert all(path.parent == Path("folder/a.h5.trials") and len(path.name) < 200 for path in paths)
    assert all(path.name.isascii() and not path.name.startswith(".") for path in paths)


def test_combine_puts_each_trial_in_its_place_with_provenance(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    results.combine(MANIFEST, path)
    dataset = results.open(path)
    assert dataset["accuracy"].dims == ("chip", "sigma", "rule", "stage")
    assert dataset["chip"].values.tolist() == [3000, 3001]
    for index, point in enumerate(MANIFEST.points()):
        assert dataset["accuracy"].sel({**point, "stage": "before"}) == 0.1 * index
        assert dataset["chip_hash"].sel(point) == f"h{0.1 * index}"
    results.validate(dataset, MANIFEST.grid)
    assert dataset["sigma"].attrs == {"units": "1", "long_name": "mismatch"}
    assert Manifest.from_attributes(dataset.attrs, path) == MANIFEST
    assert dataset.attrs["design_hash"] == MANIFEST.design_hash
    assert set(json.loads(dataset.attrs["versions"])) == {*results.PACKAGES, "source"}
    assert dataset.attrs["wall_time"] == 8.0


def test_combine_needs_every_trial_and_refuses_strangers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    stranger = dataclasses.replace(MANIFEST, seed=4)
    with pytest.raises(StoredFileError, match="another trial or study"):
        results.combine(stranger, path)
    results.trial_path(path, next(MANIFEST.points())).unlink()
    with pytest.raises(StoredFileError, match="does not exist"):
        results.combine(MANIFEST, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (trial().rename(accuracy="loss"), "not every one has 'accuracy', which its table shows"),
        (trial().isel(stage=[1, 0]), "other coordinates"),
        (trial().assign(chip_hash=("stage", ["a", "b"], ONE)), "'chip_hash' of shape"),
        (trial().assign(chip_hash=((), "a", {**ONE, "units": "V"})), "other attributes"),
    ],
)
def test_trials_that_do_not_fit_together(other: xr.Dataset, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    point = list(MANIFEST.points())[-1]
    other.attrs = results.trial_attributes(MANIFEST.identity_hash, point, 2.0)
    results.write_trial(other, path, point)
    with pytest.raises(ChipsimError, match=words):
        results.combine(MANIFEST, path)


@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: float, change: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("x") / "a.h5"
    results.write(trial().assign_attrs(schema_version=VERSION), path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 60))] ^= change
    path.write_bytes(content)
    with pytest.raises(StoredFileError, match="checksum"):
        results.open(path)


def test_a_file_that_another_program_rewrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    results.write(trial().assign_attrs(schema_version=VERSION), path)
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "from h5py"
    assert results.open(path).attrs["note"] == "from h5py"


@given(
    values=st.lists(st.floats() | st.integers(-9, 9).map(float), min_size=1, max_size=4),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[float], text: str) -> None:
    path, point = tmp_path_factory.mktemp("x") / "a.h5", next(MANIFEST.points())
    results.trials_folder(path).mkdir()
    dataset = xr.Dataset(
        {
            "x": ("time", values, {**ONE, "levels": [1, 2]}),
            "n": ((), 3, {**ONE, "about": text}),
            "ok": ("time", [True] * len(values), ONE),
            "words": ("time", [text] * len(values), ONE),
        }
    )
    dataset.attrs = results.trial_attributes(MANIFEST.identity_hash, point, 1.0)
    results.write_trial(dataset, path, point)
    back = results.read_trial(MANIFEST, path, point)
    assert back.attrs == dataset.attrs
    for name, variable in dataset.data_vars.items():
        np.testing.assert_array_equal(back[name].values, variable.values)


def test_the_source_of_ones_own_studies_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {results.versions()["source"]}
    monkeypatch.setenv("CHIPSIM_STUDIES", str(tmp_path))
    for text in ("a = 1", "a = 2"):
        (tmp_path / "mine.py").write_text(text)
        results._source_hash.cache_clear()
        found.add(results.versions()["source"])
    assert len(found) == 3


def test_versions_of_all_trials_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    point = next(MANIFEST.points())
    dataset = results.read_trial(MANIFEST, path, point)
    results.write_trial(dataset.assign_attrs(versions='{"numpy": "0.1"}'), path, point)
    results.combine(MANIFEST, path)
    used = json.loads(results.open(path).attrs["versions"])
    assert len(used) == 2
    assert {"numpy": "0.1"} in used


def test_variables_that_some_trials_lack_are_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    point = next(MANIFEST.points())
    dataset = results.read_trial(MANIFEST, path, point)
    newer = dataset.rename(chip_hash="chip_name").assign_attrs(dataset.attrs)
    results.write_trial(newer, path, point)
    assert results.combine(MANIFEST, path) == ["chip_hash", "chip_name"]
    assert set(results.open(path).data_vars) == {"accuracy"}


def test_trials_are_restored_from_the_combined_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    store(path)
    results.combine(MANIFEST, path)
    whole = results.open(path)
    for file in results.trials_folder(path).iterdir():
        file.unlink()
    results.restore_trials(MANIFEST, path)
    results.combine(MANIFEST, path)
    assert results.identical(results.open(path), whole)
    assert results.open(path).attrs["wall_time"] == pytest.approx(whole.attrs["wall_time"])
    assert whole.attrs["wall_time"] > 0
