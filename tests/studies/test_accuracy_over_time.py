import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

from chipsim.errors import ParameterError
from chipsim.plots import over_time
from chipsim.study import Settings, plan
from studies import accuracy_over_time as study
from studies import drift_and_relearn

RESULTS = Path(study.__file__).parent / "results"


@pytest.fixture(scope="module")
def stored() -> xr.Dataset:
    return xr.open_dataset(RESULTS / "accuracy_over_time.h5", engine="h5netcdf").load()


def test_pcm_keeps_its_accuracy_as_long_as_in_aihwkit_to_within_a_point(stored: xr.Dataset) -> None:
    assert stored.sizes["chip"] >= 10
    ours, theirs = stored.accuracy.mean("chip"), stored.aihwkit.mean("chip")
    assert stored.age.values.tolist() == list(study.AGES)
    assert float(abs(ours - theirs).max()) < 0.01
    for part in (
        ours,
        theirs,
    ):  # the same trend: without remedy it falls at every age, with a gain by less than a point
        bare, remedied = part.sel(device="pcm", remedy="none").values, part.sel(device="pcm", remedy="gain").values
        assert (np.diff(bare) < 0).all()
        assert bare[0] - bare[-1] > 0.04
        assert remedied[0] - remedied[-1] < 0.01


def test_the_stored_peer_is_the_recorded_one(stored: xr.Dataset) -> None:
    recorded = json.loads(study.PEER.read_text())
    assert recorded["draws"] >= 10
    for remedy, by_age in recorded["accuracy"].items():
        for age, accuracy in by_age.items():
            point = stored.aihwkit.sel(device="pcm", remedy=remedy, age=float(age))
            assert float(point.isel(chip=0)) == pytest.approx(accuracy, abs=1e-12)


def test_a_peer_is_named_only_for_the_network_that_was_recorded() -> None:
    options = {option.name: option.values[0] for option in study.STUDY.options}
    settings = Settings(dataset="fashion-mnist", seed=0, options=options)
    known = json.loads(study.PEER.read_text())["network"]
    assert 0.8 < study.peer(settings, "pcm", 25.0, "none", known) < 0.9
    assert np.isnan(study.peer(settings, "pcm", 25.0, "none", "another"))
    assert np.isnan(study.peer(settings, "pcm", 26.0, "none", known))
    assert np.isnan(study.peer(settings, "rram-cmo", 25.0, "none", known))
    for other in ({"judged": 1000}, {"split": "validation"}):
        settings = Settings(dataset="fashion-mnist", seed=0, options={**options, **other})
        assert np.isnan(study.peer(settings, "pcm", 25.0, "none", known))


def test_the_figures_numbers_are_means_over_chips(stored: xr.Dataset) -> None:
    numbers = over_time.data(stored)
    line = numbers.curves.lines.line.values.tolist().index("gain")
    expected = stored.accuracy.sel(device="pcm", remedy="gain").mean("chip").values
    np.testing.assert_allclose(numbers.curves.lines["mean"].values[line], expected)
    np.testing.assert_allclose(numbers.peer[line], stored.aihwkit.sel(device="pcm", remedy="gain").mean("chip").values)


@pytest.mark.parametrize("asked", [study, drift_and_relearn], ids=lambda module: module.STUDY.name)
def test_what_was_not_measured_for_so_long_is_refused_before_anything_runs(asked: ModuleType) -> None:
    plan(asked.STUDY, factors={"device": ["pcm", "rram-cmo"]})
    with pytest.raises(ParameterError, match="older than"):
        plan(asked.STUDY, factors={"device": ["flash-sonos"]})
