"""Samples, energy and wear that learning takes: the trials of both studies, and their figures."""

import numpy as np
import pytest
import xarray as xr

from chipsim import plots
from chipsim.errors import ParameterError
from chipsim.plots import cost_of_learning as cost_figure
from chipsim.plots import data_needed
from chipsim.study import Settings, Trial, plan
from studies import cost_of_learning, data_needed_to_recover, ltl_on_real_silicon

ONE = {"units": "1", "long_name": "a number"}
SMALL = {"dies": 2, "judged": 60, "split": "validation", "samples": 30}


def measured(rule: str, writer: str, **options) -> xr.Dataset:
    known = {option.name: option.values[0] for option in cost_of_learning.STUDY.options}
    settings = Settings(dataset="digits", seed=0, options={**known, **SMALL, **options})
    return cost_of_learning.trial(Trial(chip=0, point={"rule": rule, "writer": writer}, settings=settings))


def test_the_read_out_alone_is_written_by_the_delta_rule() -> None:
    found = measured("delta", "accumulate", endurance=1e6, pace=100.0)
    assert (found.worn.values[:-1] == 1e-6).all()  # the first programming
    assert found.worn.values[-1] > 2e-6
    cells = 10 * 65  # the read-out's columns, rows and bias row
    assert float(found.pulses) == pytest.approx(float(found.pulses_per_cell) * cells)
    assert float(found.samples_shown) == 30


def test_points_are_those_of_every_chip() -> None:
    found = measured("ltl-online", "direct", sigma=0.5, samples=200)
    np.testing.assert_allclose(found.recovered, 100 * np.diff(found.accuracy, axis=0)[0])
    assert float(found.recovered.mean()) > 0


def test_nothing_recovered_has_no_price_and_an_ideal_chip_nothing_to_recover() -> None:
    found = measured("ltl-online", "stochastic", pace=0.0, sigma=0.0)
    assert float(found.pulses) == 0
    assert (found.recovered == 0).all()
    assert float(found.energy.sum()) > 0  # samples were shown all the same
    priced = cost_figure.data(found.expand_dims(chip=[0], rule=["ltl-online"], writer=["stochastic"])).numbers
    assert np.isnan([priced[f"{name}_per_point"].item() for name in ("energy", "pulses", "worn")]).all()


def test_rules_start_from_the_same_chips_and_from_the_ideal_one_without_mismatch() -> None:
    data_needed_to_recover._known.clear()
    a, b = (measured(rule, "direct", sigma=0.0) for rule in ("decolle", "delta"))
    for found in (a, b):
        assert (found.accuracy.sel(stage="before") == found.ideal).all()
    assert float(a.ideal) == float(b.ideal)
    np.testing.assert_array_equal(a.chip_hash, b.chip_hash)


@pytest.mark.parametrize("study", [cost_of_learning, data_needed_to_recover, ltl_on_real_silicon])
def test_more_samples_than_there_are_are_refused_before_anything_runs(study) -> None:
    known = {option.name for option in study.STUDY.options}
    for number in (1200, 1201):
        given = {"options": {"samples": number}} if "samples" in known else {"factors": {"samples": [number]}}
        if number == 1200:
            plan(study.STUDY, dataset="digits", **given)
            continue
        with pytest.raises(ParameterError, match=r"digits has 1,200 learning samples, each shown once"):
            plan(study.STUDY, dataset="digits", **given)


def test_needed_is_the_number_of_samples_from_which_on_a_share_is_won_back(tmp_path) -> None:
    # chip, rule, writer, samples; recovered on average: 0.6, 0.4, 0.7 and 1.0 of ten points | nothing
    won = np.array([[[[6, 4, 7, 10.0]], [[0, 0, 0, 0]]], [[[6, 4, 7, 10.0]], [[0, 0, 0, 0]]]])
    accuracy = np.stack([np.full_like(won, 0.8), 0.8 + won / 100], axis=-1)
    dims = ("chip", "rule", "writer", "samples")
    result = xr.Dataset(
        {
            "accuracy": ((*dims, "stage"), accuracy, {"units": "1", "long_name": "share"}),
            "ideal": (dims, np.full_like(won, 0.9), ONE),
        },
        coords={
            "chip": [0, 1], "rule": ["a", "b"], "writer": ["direct"], "stage": ["before", "after"],
            "samples": ("samples", [10, 30, 100, 300], ONE),
        },
        attrs={"question": "How many?", "dataset": "digits"},
    )  # fmt: skip
    data = data_needed.data(result)
    np.testing.assert_array_equal(data.numbers["needed"].sel(rule="a", writer="direct"), [100, 300])
    assert data.numbers["needed"].sel(rule="b").isnull().all()
    np.testing.assert_allclose(data.numbers["recovered"].sel(rule="a", writer="direct"), [0.6, 0.4, 0.7, 1.0])
    row = data_needed.words(data).splitlines()[2].split()
    assert row[:8] == ["a", "direct", "90.00", "80.00", "86.00", "84.00", "87.00", "90.00"]
    assert row[-2:] == ["100", "300"]
    plots.save("data_needed", result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    with pytest.raises(ParameterError, match="'rule'"):
        data_needed.data(result.isel(rule=0, drop=True))


def test_the_figure_of_costs_divides_means_over_chips(tmp_path) -> None:
    dims, writers = ("chip", "rule", "writer"), ["direct", "accumulate"]
    points = np.array([[[1.99, -1.0]], [[2.01, 0.5]]])  # told from 0, and not
    energy = np.array([1e-3, 3e-3]) * np.array([1.0, 2.0])[:, None, None, None] * np.ones((1, 1, 2, 1))
    result = xr.Dataset(
        {
            "recovered": (dims, points, ONE),
            "energy": ((*dims, "part"), energy, {"units": "J", "long_name": "energy"}),
            "pulses_per_cell": (dims, np.full((2, 1, 2), 8.0), ONE),
            "worn": ((*dims, "layer"), np.full((2, 1, 2, 2), [0.1, 0.2]), ONE),
            "latency": (dims, np.full((2, 1, 2), 5.0), {"units": "s", "long_name": "time"}),
        },
        coords={"chip": [0, 1], "rule": ["ltl"], "writer": writers, "part": ["spike", "write"], "layer": [0, 1]},
        attrs={"question": "What does it cost?", "dataset": "digits"},
    )
    data = cost_figure.data(result)
    numbers = data.numbers
    assert numbers["method"].values.tolist() == ["ltl, direct", "ltl, accumulate"]
    np.testing.assert_allclose(numbers["recovered"], [2.0, -0.25])
    np.testing.assert_allclose(numbers["energy_per_point"], [6e-3 / 2, np.nan])
    np.testing.assert_allclose(numbers["pulses_per_point"], [4.0, np.nan])
    np.testing.assert_allclose(numbers["worn_per_point"], [0.1, np.nan])
    assert numbers["largest_part"].values.tolist() == ["write", "write"]
    np.testing.assert_allclose(numbers["largest_share"], 0.75)
    first, second = cost_figure.words(data).splitlines()[2:]
    assert "0.006 (0.003)" in first
    assert "write 75 %" in first
    assert "0.006 (-)" in second
    plots.save("cost_of_learning", result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
