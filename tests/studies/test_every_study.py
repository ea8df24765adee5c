"""Every study, on its smallest grid: it runs, fits the schema, and its figure draws."""

import importlib
import pkgutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import chipsim as cs
import studies
from chipsim import plots, results
from chipsim.study import Settings, Study, run
from studies.reference_teacher import optimiser


def every_study():
    folder = str(Path(studies.__file__).parent)
    modules = [importlib.import_module(f"studies.{module.name}") for module in pkgutil.iter_modules([folder])]
    return {module.STUDY.name: module.STUDY for module in modules if isinstance(getattr(module, "STUDY", None), Study)}


STUDIES = every_study()


@pytest.fixture(scope="module", params=STUDIES)
def finished(request, tmp_path_factory):
    """One study, run once: its dataset and file."""
    study = STUDIES[request.param]
    out = tmp_path_factory.mktemp(study.name) / "out.h5"
    with ThreadPoolExecutor(1) as thread, warnings.catch_warnings():  # no process that first has to import everything
        warnings.simplefilter("ignore", cs.devices.ExtrapolationWarning)
        return study, run(study, out=out, progress=False, executor=thread, **study.smallest), out


def test_result_is_stored_and_fits_the_schema(finished):
    study, dataset, out = finished
    results.validate(dataset, [factor.name for factor in study.factors])
    stored = xr.open_dataset(out, engine="h5netcdf").load()
    assert results.identical(stored, dataset)
    assert {"chip", *(factor.name for factor in study.factors)} <= set(dataset[study.table[0]].dims)


def test_accuracy_is_a_share_and_better_than_chance(finished):
    _, dataset, _ = finished
    if "accuracy" not in dataset:
        pytest.skip("a study of chips without a network")
    assert bool((dataset.accuracy >= 0).all())
    assert bool((dataset.accuracy <= 1).all())
    assert float(dataset.accuracy.mean()) > 0.15  # ten classes


def test_figure_draws(finished, tmp_path):
    study, dataset, _ = finished
    plots.save(study.figure, dataset, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_mismatch_study_holds_what_it_promises(tmp_path):
    study = STUDIES["accuracy_vs_mismatch"]
    dataset = run(study, out=tmp_path / "out.h5", progress=False, **study.smallest)
    assert dataset.accuracy.dims == ("chip", "sigma", "stage")
    assert dataset.stage.values.tolist() == ["before", "after"]
    assert [name for name in dataset.variables if "accuracy" in name] == ["accuracy"]
    assert len(np.unique(dataset.chip_hash)) == dataset.chip_hash.size
    assert "off" in str(dataset.effect_report.sel(sigma=0.0).values[0])
    assert "threshold CV" in str(dataset.effect_report.sel(sigma=0.3).values[0])


@pytest.mark.parametrize(("unit", "relative"), [("weights", False), ("rms", True)])
def test_the_learning_rate_counts_in_what_a_run_asks_for(unit, relative):
    settings = Settings(dataset="digits", seed=0, options={"lr": 0.1, "lr_unit": unit})
    assert optimiser(settings) == cs.Adam(lr=0.1, relative=relative, final=0.0)
