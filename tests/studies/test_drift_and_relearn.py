import dataclasses

import numpy as np
import pytest
import xarray as xr

import chipsim as cs
from chipsim import plots
from chipsim.devices import PCM_NANDAKUMAR_2019
from chipsim.errors import ParameterError
from chipsim.plots import remedies
from chipsim.study import Settings, Trial
from studies import drift_and_relearn as study
from studies.reference_teacher import fitted, taught

OPTIONS = {option.name: option.values[0] for option in study.STUDY.options}
SETTINGS = Settings(dataset="digits", seed=0, options={**OPTIONS, "samples": 128, "judged": 60, "split": "validation"})


@pytest.fixture(scope="module")
def aged():
    """A chip that has aged for a month, the snapshot of it, and what taught it."""
    found = taught(SETTINGS)
    network = found.teacher.network(percentile=99.0)
    design = dataclasses.replace(fitted(study.design(SETTINGS), network), device=PCM_NANDAKUMAR_2019)
    snn = cs.deploy(network, cs.fabricate(design, seed=0), engine=cs.Torch())
    snn.wait(30 * study.DAY)
    return snn, snn.snapshot(), found


def treated(aged, remedy):
    """The writes that a cell got on average by a remedy, its samples, and the sum of all weights' sizes."""
    snn, snapshot, found = aged
    snn.restore(snapshot)
    taken = study.remedied(snn, remedy, found, SETTINGS, seed=0)
    wear = [float((cells.wear - had.wear).mean()) for cells, had in zip(snn.cells, snapshot.cells, strict=True)]
    return wear, taken, sum(float(np.abs(snn.weights(layer)).sum()) for layer in range(len(wear)))


def test_each_remedy_takes_the_samples_and_writes_that_it_says(aged) -> None:
    wear, taken, left = treated(aged, "none")
    assert (wear, taken) == ([0.0, 0.0, 0.0], 0)
    wear, taken, compensated = treated(aged, "gain")
    assert (wear, taken) == ([0.0, 0.0, 0.0], 0)
    wear, taken, anew = treated(aged, "reprogram")
    assert (wear, taken) == ([1.0, 1.0, 1.0], 0)
    assert left < 0.7 * anew  # a month takes two fifths of the conductance of these cells
    assert compensated == pytest.approx(anew, rel=0.05)
    for remedy in ("recalibrate", "relearn", "gain then relearn"):
        wear, taken, _ = treated(aged, remedy)
        assert taken == 128
        assert min(wear) > 0
    assert max(aged[0].gains) > 1.2  # of the last remedy, whose gain stays


def test_what_is_shared_between_remedies_is_what_a_chip_alone_has() -> None:
    points = [{"device": "pcm", "remedy": remedy} for remedy in ("none", "reprogram")]
    study._measured.clear()
    first, second = (study.trial(Trial(chip=3, point=point, settings=SETTINGS)) for point in points)
    study._measured.clear()
    alone = study.trial(Trial(chip=3, point=points[1], settings=SETTINGS))
    xr.testing.assert_identical(second, alone)
    assert first.accuracy.values[0] == second.accuracy.values[0]
    assert first.accuracy.values[1] == first.accuracy.values[2]
    assert float(second.written) == 1.0
    assert float(second.loss) == pytest.approx(float(second.accuracy[0] - second.accuracy[2]))


def test_after_a_remedy_every_chip_settles_also_that_of_none() -> None:
    options = {**SETTINGS.options, "settle": study.DAY}
    settings = Settings(dataset="digits", seed=0, options=options)
    study._measured.clear()
    found = study.trial(Trial(chip=3, point={"device": "pcm", "remedy": "none"}, settings=settings))
    study._measured.clear()
    reference = taught(settings)
    network = reference.teacher.network(percentile=99.0)
    design = dataclasses.replace(fitted(study.design(settings), network), device=PCM_NANDAKUMAR_2019)
    snn = cs.deploy(network, cs.fabricate(design, seed=3), engine=cs.Torch())
    expected = []
    for seconds in (float(options["first"]), float(options["age"]), study.DAY):
        snn.wait(seconds)
        with snn.held():
            expected.append(snn.accuracy(reference.judged))
    np.testing.assert_array_equal(found.accuracy, expected)


def test_recalibration_takes_no_more_samples_than_there_are(aged, monkeypatch) -> None:
    snn, snapshot, found = aged
    snn.restore(snapshot)
    said = {}
    monkeypatch.setattr(cs, "recalibrate", lambda snn, inputs, **options: said.update(options, inputs=inputs))
    settings = Settings(dataset="digits", seed=0, options={**SETTINGS.options, "samples": 12_000})
    taken = study.remedied(snn, "recalibrate", found, settings, seed=0)
    assert taken == len(said["inputs"]) * said["rounds"] == 12_000


def result() -> xr.Dataset:
    """Two chips: a remedy that is back to within half a point, one whose interval is not, and one that is not."""
    after = np.array([[0.900, 0.897, 0.894], [0.898, 0.899, 0.890]])  # chip, remedy
    accuracy = np.stack([np.full_like(after, 0.9), np.full_like(after, 0.85), after], axis=-1)[:, None]
    one = {"units": "1", "long_name": "a number"}
    return xr.Dataset(
        {
            "accuracy": (("chip", "device", "remedy", "stage"), accuracy, one),
            "written": (("chip", "device", "remedy"), np.full((2, 1, 3), 0.25), one),
        },
        coords={"chip": [0, 1], "device": ["pcm"], "remedy": ["a", "b", "c"], "stage": list(study.STAGES)},
        attrs={"question": "Back?", "dataset": "digits"},
    )


def test_the_figures_numbers_are_points_below_day_0(tmp_path) -> None:
    data = remedies.data(result())
    part = data.numbers.sel(device="pcm")
    np.testing.assert_allclose(part["loss"], [0.1, 0.2, 0.8], atol=1e-12)
    np.testing.assert_allclose(part["worst"], [0.2, 0.3, 1.0], atol=1e-12)
    np.testing.assert_allclose(part["aged"], 5.0)
    half = 12.706 * np.array([0.1, 0.1, 0.2])  # Student's t of two chips, 97.5 %
    np.testing.assert_allclose(part["high"] - part["loss"], half, rtol=1e-4)
    assert float(data.first.sel(device="pcm")) == pytest.approx(90.0)
    rows = [row.split() for row in remedies.words(data).splitlines()[2:]]
    assert [row[7:10] for row in rows] == [["yes", "|", "no"], ["yes", "|", "no"], ["no", "|", "no"]]
    assert rows[0][-2] == "25.0"
    alone = remedies.words(remedies.data(result().isel(chip=[0])))
    assert "yes | -" in alone  # one chip has no interval
    plots.save("remedies", result(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_the_figure_needs_the_dimensions_of_the_study() -> None:
    with pytest.raises(ParameterError, match="'remedy'"):
        remedies.data(result().isel(remedy=0, drop=True))
