"""Figures: the numbers exactly, the drawing by smoke test."""

import builtins
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from chipsim import plots
from chipsim.errors import ChipsimError, ParameterError
from chipsim.plots import (
    array_map,
    comparison,
    data_needed,
    degradation,
    die,
    headlines,
    learning_curve,
    non_idealities,
)
from chipsim.plots.canvas import render
from chipsim.wires import Wires

ONE = {"units": "1", "long_name": "a number"}


def result(**dimensions: Any) -> xr.Dataset:
    """Accuracies (i + 1) / (n + 1), in the order of the dimensions."""
    shape = [len(values) for values in dimensions.values()]
    values = (np.arange(np.prod(shape)) + 1.0).reshape(shape) / (np.prod(shape) + 1)
    return xr.Dataset(
        {"accuracy": (tuple(dimensions), values, {"units": "1", "long_name": "accuracy on the test split"})},
        coords={name: (name, values, ONE) for name, values in dimensions.items()},
        attrs={"question": "Does it work?", "dataset": "digits", "grid": json.dumps(_grid(dimensions))},
    )


def _grid(dimensions: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in dimensions.items() if name not in ("stage", "epoch")}


STAGES = ["before", "after"]
SIGMA = result(chip=[0, 1, 2], sigma=[0.0, 0.1, 0.5], stage=STAGES)
METHODS = result(chip=[0, 1, 2], approach=["conversion", "ltl-online", "tandem"], sigma=[0.0, 0.3], stage=STAGES)
EPOCHS = result(seed=[0, 1], rule=["online", "offline"], epoch=[0, 1, 2])


def test_degradation_numbers() -> None:
    data = degradation.data(SIGMA)
    assert data.lines["line"].values.tolist() == STAGES
    assert (data.x, data.x_label, data.y_label) == ("sigma", "a number", "accuracy on the test split [%]")
    expected = SIGMA["accuracy"].transpose("stage", "sigma", "chip").values
    np.testing.assert_array_equal(data.lines["mean"], expected.mean(-1))
    np.testing.assert_allclose(data.lines["std"], expected.std(-1, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(data.lines["lowest"], expected.min(-1))
    np.testing.assert_array_equal(data.lines["highest"], expected.max(-1))
    np.testing.assert_array_equal(data.lines["dots"], np.moveaxis(expected, -1, 0))


def test_degradation_draws_a_line_per_combination_of_the_other_factors() -> None:
    dataset = result(chip=[0, 1], rule=["online", "offline"], window=[8, 16], sigma=[0.1], stage=STAGES)
    data = degradation.data(dataset)
    assert data.x == "window"
    assert data.lines["line"].values.tolist() == [
        "online, before",
        "online, after",
        "offline, before",
        "offline, after",
    ]
    picked = dataset["accuracy"].sel(rule="offline", stage="before", sigma=0.1)
    np.testing.assert_allclose(data.lines["mean"].sel(line="offline, before"), picked.mean("chip"), rtol=1e-12)
    assert degradation.data(dataset, factor="rule").lines.sizes["rule"] == 2


def test_what_is_published_is_drawn_beside_accuracies() -> None:
    dataset = result(chip=[0, 1], rule=["online", "offline"], place=["software", "chip"])
    dataset["published"] = ("place", [0.9, np.nan])
    data = degradation.data(dataset)
    np.testing.assert_array_equal(data.lines["published"], [[0.9, 0.9], [np.nan, np.nan]])
    said: list[str] = []

    def drawn(axes: Any) -> None:
        degradation.draw(axes, data)
        said.extend(text.get_text() for text in axes.get_legend().get_texts())

    render(drawn, "png")
    assert said == ["software", "chip", "published"]
    other = degradation.data(dataset.assign(loss=dataset["accuracy"]), variable="loss")
    assert "published" not in other.lines


def test_learning_curve_numbers() -> None:
    data = learning_curve.data(EPOCHS)
    assert data.x == "epoch"
    np.testing.assert_allclose(
        data.lines["mean"].sel(line="offline"), EPOCHS["accuracy"].sel(rule="offline").mean("seed")
    )
    np.testing.assert_array_equal(data.lines["dots"][1], EPOCHS["accuracy"].sel(seed=1))
    assert data.repeat == "seed"


def test_no_chip_of_a_comparison_is_outside_of_its_figure() -> None:
    dataset = METHODS.copy(deep=True)
    dataset["accuracy"][:] = 0.9
    dataset["accuracy"][0, 0, 1, -1] = 0.7
    seen: list[float] = []

    def drawn(axes: Any) -> None:
        comparison.draw(axes, comparison.data(dataset))
        seen.extend(axes[0][0].get_xlim())

    render(drawn, "png", (1, 2))
    assert 0 < seen[0] <= 70.0


def test_the_chips_before_learning_are_within_the_figure_of_the_samples_needed() -> None:
    needed = result(chip=[0, 1], rule=["a"], writer=["direct"], samples=[10, 100], stage=STAGES)
    needed["accuracy"][:] = np.array([0.5, 0.9])
    needed["ideal"] = needed["accuracy"].isel(stage=1, drop=True) * 0 + 0.91
    seen: list[float] = []

    def drawn(axes: Any) -> None:
        data_needed.draw(axes, data_needed.data(needed))
        seen.extend(axes.get_ylim())

    render(drawn, "png")
    assert seen[0] < 50.0 < 91.0 < seen[1]


def test_comparison_numbers_are_paired_by_chip_and_yield_counts_from_the_ideal_chip() -> None:
    after = np.array([[[0.90, 0.85], [0.90, 0.88]], [[0.92, 0.86], [0.91, 0.92]]])  # chip, approach, sigma
    before = np.array([[[0.90, 0.80], [0.89, 0.80]], [[0.92, 0.82], [0.90, 0.81]]])
    dataset = xr.Dataset(
        {"accuracy": (("chip", "approach", "sigma", "stage"), np.stack([before, after], -1), ONE)},
        coords={"chip": [0, 1], "approach": ["conversion", "ltl-online"], "sigma": [0.0, 0.3], "stage": STAGES},
    )
    numbers = comparison.data(dataset).numbers
    np.testing.assert_allclose(numbers["mean"], after.mean(0))
    np.testing.assert_allclose(numbers["worst"], after.min(0))
    np.testing.assert_allclose(numbers["before"], before.mean(0))
    np.testing.assert_allclose(numbers["yielded"], [[1.0, 0.0], [1.0, 1.0]])  # 0.88 is within a point of 0.89
    lead = after[:, 0, 1] - after[:, 1, 1]
    assert float(numbers["ahead"].sel(approach="conversion", sigma=0.3)) == pytest.approx(lead.mean())
    half = 12.7062047 * lead.std(ddof=1) / np.sqrt(2)
    assert float(numbers["ahead_high"].sel(approach="conversion", sigma=0.3)) == pytest.approx(lead.mean() + half)
    assert (numbers["ahead"].sel(approach="ltl-online") == 0).all()
    said = plots.words("comparison", dataset)
    assert re.search(r"ltl-online +0.3 +90.00", said)
    spread = dataset.isel(sigma=[1])  # no ideal chips, and so no yield
    assert "yielded" not in comparison.data(spread).numbers
    said = plots.words("comparison", spread)
    assert re.search(r"ltl-online +0.3 +90.00", said)
    assert "yield" not in said
    alone = comparison.data(dataset.expand_dims(pace=[1.0])).numbers
    assert alone.identical(numbers)
    paces = xr.concat([dataset, dataset - 0.01], xr.Variable("pace", [1.0, 3.0]))
    each = comparison.data(paces).numbers
    assert each["approach"].values.tolist() == [
        "conversion, pace 1", "ltl-online, pace 1", "conversion, pace 3", "ltl-online, pace 3"
    ]  # fmt: skip
    np.testing.assert_allclose(each["mean"].values[2:], numbers["mean"].values - 0.01)
    assert plots.words("degradation", dataset) == plots.words("none", dataset) == ""


CASES = xr.Dataset(
    {
        "accuracy": (("chip", "case"), [[0.98, 0.90, 0.95], [0.99, 0.92, 0.97]], ONE),
        "ann": (("chip", "case"), [[0.99, 0.93, 0.98], [0.99, 0.93, 0.98]], ONE),
        "published": (("chip", "case"), [[0.984, 0.9456, np.nan]] * 2, ONE),
        "mark": (("chip", "case"), [[0.984, 0.915, np.nan]] * 2, ONE),
        "epochs": (("chip", "case"), [[3, 4, 0]] * 2, ONE),
        "recalled": (("chip", "case"), [[False, True, True]] * 2, ONE),
        "full": (("chip", "case"), [[False, True, False]] * 2, ONE),
    },
    coords={"chip": [0, 1], "case": ["spike-count", "proxy", "conversion"]},
)
MODELS = xr.Dataset(
    {
        "accuracy": (
            ("chip", "kind", "model", "level", "stage"),
            np.arange(32).reshape(2, 2, 2, 2, 2) / 100 + 0.5,
            ONE,
        ),
        "strength": (("chip", "kind", "level"), [[[0.0, 0.3], [0.0, 4.0]]] * 2, ONE),
    },
    coords={
        "chip": [0, 1], "kind": ["mismatch", "quantisation"], "model": ["published", "chip"], "level": [0, 1],
        "stage": STAGES,
    },
)  # fmt: skip


def test_headlines_say_which_marks_were_reached() -> None:
    numbers = headlines.data(CASES).numbers
    np.testing.assert_allclose(numbers["mean"], [0.985, 0.91, 0.96])
    half = 12.7062047 * 0.01 / 2  # Student's t of two values 0.01 apart: s / sqrt(2) = 0.005
    assert numbers["high"].sel(case="spike-count") == 1.0 < 0.985 + half, "no more can be right"
    np.testing.assert_allclose(numbers["low"].sel(case="spike-count"), 0.985 - half)
    said = plots.words("headlines", CASES)
    assert re.search(r"spike-count +scaled +98.50 .* 98.40 +reached +99.00 +98.40 +3", said)
    assert re.search(r"proxy +full +91.00 .* 91.50 +MISSED +93.00 +~94.56 +4", said)
    assert re.search(r"conversion +scaled +96.00 \S+ .*- +98.00 +- +0", said.replace("  ", " ").replace("  ", " "))


def test_non_idealities_are_means_over_chips_by_kind_model_and_level() -> None:
    numbers = non_idealities.data(MODELS).numbers
    np.testing.assert_allclose(numbers["mean"], MODELS.accuracy.values.mean(0))
    np.testing.assert_allclose(numbers["worst"], MODELS.accuracy.values.min(0))
    np.testing.assert_allclose(numbers["strength"], [[0.0, 0.3], [0.0, 4.0]])
    said = plots.words("non_idealities", MODELS)
    assert re.search(r"quantisation +4 bit +chip +72.00 +73.00", said)
    assert re.search(r"quantisation +any +published", said)


CELLS = np.array([[1e-4, 0.0, 2e-4], [1e-4, 1e-4, 5e-5]])
ARRAY = array_map.solved(Wires(row=20.0, column=10.0, source=50.0, terminal=30.0).lattice(CELLS), [0.2, 0.1])


def test_an_array_map_is_the_solution_and_the_error_of_each_cell() -> None:
    lattice = Wires(row=20.0, column=10.0, source=50.0, terminal=30.0).lattice(CELLS)
    numbers, solution = array_map.data(ARRAY).numbers, lattice.solve([0.2, 0.1])
    np.testing.assert_array_equal(numbers["word"], solution.word)
    np.testing.assert_array_equal(array_map.data(ARRAY.transpose("column", "row")).numbers["bit"], solution.bit)
    effective = lattice.effective()
    assert float(numbers["error"].sel(row=0, column=2)) == pytest.approx(effective[0, 2] / 2e-4 - 1)
    assert np.isnan(numbers["error"].sel(row=0, column=1))  # there is no cell
    assert -0.1 < numbers["error"].min() < numbers["error"].max() < 0


def test_an_array_map_draws_the_rows_downwards() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 3, squeeze=False)
    data = array_map.data(ARRAY)
    array_map.draw(axes, data)
    shown = axes[0, 0].images[0]
    np.testing.assert_array_equal(shown.get_array(), data.numbers["word"])
    assert axes[0, 0].get_ylim()[0] > axes[0, 0].get_ylim()[1]
    low, high = axes[0, 2].images[0].get_clim()
    assert low == -high < 0


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("array_map", ARRAY),
        ("array_map", ARRAY.isel(row=[0], column=[0]).assign_attrs(question="One cell?")),
        ("headlines", CASES),
        ("headlines", CASES.isel(chip=[0])),
        ("non_idealities", MODELS),
        ("non_idealities", MODELS.isel(chip=[0], kind=[0])),
        ("degradation", SIGMA),
        ("degradation", SIGMA.isel(chip=[0])),
        ("degradation", SIGMA.isel(sigma=[1])),
        ("degradation", result(chip=[0, 1], rule=["online", "offline"])),
        ("learning_curve", EPOCHS),
        ("learning_curve", EPOCHS.isel(rule=[0])),
        ("comparison", METHODS),
        ("comparison", METHODS.isel(chip=[0], sigma=[0])),
        ("comparison", METHODS.isel(sigma=[1])),
    ],
)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_are_drawn(name: str, dataset: xr.Dataset, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"figure.{kind}"
    plots.save(name, dataset, path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") or b"<?xml" in start
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_is_drawn_is_what_the_numbers_say() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    data = degradation.data(SIGMA)
    degradation.draw(axes, data)
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert set(lines) == set(STAGES)
    np.testing.assert_allclose(lines["after"], 100 * data.lines["mean"].sel(line="after"))
    heights = np.concatenate(
        [np.asarray(dots.get_offsets())[:, 1] for dots in axes.collections if len(dots.get_offsets()) > 1]
    )
    np.testing.assert_allclose(np.sort(heights), np.sort(100 * SIGMA["accuracy"].values.ravel()))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.1", "0.5"]
    assert axes.get_ylabel() == "accuracy on the test split [%]"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda path: plots.save("pie", SIGMA, path / "a.png"),
            "unknown figure 'pie'; known: array_map, circuit, comparison",
        ),
        (lambda path: plots.save("degradation", SIGMA, path / "a.xyz"), "type 'xyz'; take png"),
        (lambda path: degradation.data(SIGMA, variable="loss"), "no variable 'loss'; it has accuracy"),
        (lambda path: degradation.data(SIGMA, factor="tau"), "does not depend on 'tau'"),
        (lambda path: learning_curve.data(SIGMA), "does not depend on 'epoch'"),
        (lambda path: comparison.data(SIGMA), "needs the dimension 'approach'"),
        (lambda path: array_map.data(SIGMA), "needs 'word' over row, column"),
        (lambda path: headlines.data(SIGMA), "need the dimension 'case'"),
        (lambda path: headlines.data(CASES.drop_vars("ann")), "need the variable 'ann'"),
        (lambda path: non_idealities.data(CASES), "needs 'accuracy' over kind, level, model, stage"),
        (lambda path: non_idealities.data(MODELS.drop_vars("strength")), "needs 'strength'"),
    ],
)
def test_errors_are_sentences(call: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return find(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ChipsimError, match=r"pip install 'chipsim\[plots\]'"):
        plots.save("degradation", SIGMA, tmp_path / "a.png")


def test_every_figure_is_registered() -> None:
    folder = Path(str(importlib.util.find_spec("chipsim.plots").submodule_search_locations[0]))  # type: ignore[union-attr, index]
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "canvas", "curves"}
    assert modules == set(plots.ALL), "add the line to ALL in chipsim/plots/__init__.py"


def a_die() -> xr.Dataset:
    """Two dies of 3 x 4 neurons at three settings, the second with rows that rise by 0.2 and edges of 0.9."""
    chips, peaks = [4, 9], [3e-3, 0.08, 0.2]
    rng = np.random.default_rng(0)
    one = np.ones((2, 3, 3, 4))
    one[1] += 0.1 * np.linspace(1, -1, 3)[:, None]
    one[1, ..., [0, 3]] -= 0.1
    scalars = {name: (("chip", "peak"), rng.random((2, 3)), ONE) for name in die.NEEDED[:6]}
    return xr.Dataset(
        {
            **scalars,
            "slow": (("chip", "peak", "row", "column"), one, ONE),
            "fast": (("chip", "peak", "neuron"), np.broadcast_to([0.9, 1.0, 1.1, 2.0], (2, 3, 4)), ONE),
            "tau": (("chip", "peak", "neuron"), np.broadcast_to([0.8, 1.0, 1.0, 1.2], (2, 3, 4)), ONE),
        },
        {"chip": chips, "peak": peaks},
        {"question": "Does it vary?"},
    )


def test_numbers_of_a_die() -> None:
    dataset = a_die()
    found = die.data(dataset)
    assert (found.peak, found.chip, found.title) == (0.08, 9, "Does it vary?")
    assert found.rise == pytest.approx(-0.2)
    assert found.edge == pytest.approx(0.9)
    np.testing.assert_array_equal(found.map, dataset["slow"].sel(chip=9, peak=0.08))
    np.testing.assert_allclose(found.cv["mean"], dataset["cv"].mean("chip"))
    np.testing.assert_allclose(found.cv["highest"], dataset["cv"].max("chip"))
    assert found.fast.size == found.tau.size == 8
    marks = found.marks["mean"].to_series()
    assert marks["time constant, robust CV"] == pytest.approx(1.4826 * 0.1)
    assert marks["time constants above 1.5x"] == 0
    assert marks["fast weights above 1.5x"] == 0.25
    assert marks["neighbours in a row"] == pytest.approx(float(dataset["along_rows"].sel(peak=0.08).mean()))
    assert marks["weight and time constant"] == pytest.approx(float(dataset["with_tau"].sel(peak=0.08).mean()))
    assert float(found.marks["low"].sel(mark="neighbours in a column")) == 0.34


def test_a_die_draws_and_a_foreign_result_is_refused(tmp_path: Path) -> None:
    plots.save("die", a_die(), tmp_path / "die.png")
    assert (tmp_path / "die.png").stat().st_size > 5_000
    with pytest.raises(ParameterError, match="this figure needs cv, local_cv"):
        die.data(SIGMA)
