"""A device fitted to what another device shows is that device again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chipsim import devices
from chipsim.devices import PCM_NANDAKUMAR_2019, RRAM_WAN_2022, Linear, Pulsed, Relaxing
from chipsim.devices.fit import fit
from chipsim.errors import ParameterError, StoredFileError
from chipsim.streams import Draw, stream
from chipsim.testing import conformance

CELLS = 400


def states(path: Path) -> Path:
    target = np.repeat(np.linspace(2e-6, 40e-6, 12), CELLS)
    g = RRAM_WAN_2022.programme(target, stream(0, "fit", "states"))
    pd.DataFrame({"target": target, "conductance": g}).to_csv(path, index=False)
    return path


def drift(path: Path, lowest: float = 5e-6) -> Path:
    target = np.repeat(np.linspace(lowest, 25e-6, 6), CELLS)
    rng = stream(0, "fit", "drift")
    g, drawn = PCM_NANDAKUMAR_2019.programme(target, rng), rng.standard_normal(len(target))
    parts = [
        pd.DataFrame(
            {
                "cell": np.arange(len(target)),
                "target": target,
                "time": 20.0 + age,
                "conductance": PCM_NANDAKUMAR_2019.aged(g, target, drawn, np.full_like(g, age)),
            }
        )
        for age in (0.0, 100.0, 1e4, 1e5)
    ]
    pd.concat(parts).to_csv(path, index=False)
    return path


TRUE = Pulsed(
    step=0.02, step_spread=0.2, asymmetry=0.3, cycle=0.5, response=Linear(up=0.6, down=0.8, additive_noise=True)
)


def pulses(path: Path, device: Pulsed = TRUE) -> Path:
    cell = dict(device.fabricate((300,), Draw(0, "fit", ())))
    g, rng, rows = np.full(300, 30e-6), stream(0, "fit", "pulses"), []
    rows.append(pd.DataFrame({"cell": np.arange(300), "pulse": 0, "conductance": g}))
    for sign in [1] * 60 + [-1] * 120 + [1] * 60:
        g = device.pulse(g, np.full(300, sign), cell, rng)
        rows.append(pd.DataFrame({"cell": np.arange(300), "pulse": sign, "conductance": device.written(g, rng)}))
    pd.concat(rows).to_csv(path, index=False)
    return path


def test_states_give_back_the_spread_of_the_cells(tmp_path: Path) -> None:
    found = fit(states(tmp_path / "states.csv"), degree=4)
    assert isinstance(found.device, Relaxing)
    g = np.linspace(3e-6, 39e-6, 7)
    np.testing.assert_allclose(found.device.sigma(g), RRAM_WAN_2022.sigma(g), rtol=4 / np.sqrt(CELLS))
    assert (found.g_min, found.g_max) == pytest.approx((2e-6, 40e-6))
    assert found.explained["spread"] > 0.7
    assert "explained variance: spread" in str(found)
    with pytest.raises(ParameterError, match="cannot be programmed"):
        found.device.programme(np.array([1e-6]), stream(0))


def test_drift_gives_back_the_exponents_of_the_cells(tmp_path: Path) -> None:
    found = fit(drift(tmp_path / "drift.csv"))
    device = found.device
    assert isinstance(device, devices.Pcm)
    assert device.t_0 == 20.0
    assert found.until == pytest.approx(1e5)
    g = np.linspace(6e-6, 24e-6, 5)
    for drawn in (0.0, 1.0):
        ours, true = (each.exponent(g, np.full(5, drawn)) for each in (device, PCM_NANDAKUMAR_2019))
        np.testing.assert_allclose(ours, true, rtol=0.05)
    np.testing.assert_allclose(device.sigma(g), PCM_NANDAKUMAR_2019.sigma(g), rtol=6 / np.sqrt(CELLS))
    with pytest.raises(ParameterError, match="older than"):
        device.check_age(1e6)


def test_pulses_give_back_the_steps_of_the_cells(tmp_path: Path) -> None:
    found = fit(pulses(tmp_path / "pulses.csv"))
    device = found.device
    assert isinstance(device, Pulsed)
    unit = (device.g_max - device.g_min) / 2
    true_unit = (TRUE.g_max - TRUE.g_min) / 2
    shift = ((device.g_max + device.g_min) / 2 - 30e-6) / true_unit
    for name, sign in (("up", 1), ("down", -1)):
        asymmetry = 1 - max(0.0, sign * -1 * device.asymmetry)
        step = device.step * asymmetry * unit / true_unit
        slope = getattr(TRUE.response, name)
        true = TRUE.step * (0.7 if sign < 0 else 1.0) * (1 - sign * slope * shift)
        assert step == pytest.approx(true, rel=0.06)
        seen = slope * unit / true_unit / (1 - sign * slope * shift)
        assert getattr(device.response, name) == pytest.approx(seen, abs=0.1)
    assert device.step_spread == pytest.approx(0.2, abs=0.06)
    assert device.cycle == pytest.approx(0.5, abs=0.12)
    assert 0 < found.explained["step up"] < 1


@pytest.mark.parametrize(
    "true",
    [
        Pulsed(step=0.02, cycle=2.0, response=Linear(up=1.0, down=1.0)),
        Pulsed(step=0.02, step_spread=0.2, cycle=2.0, response=Linear(up=1.0, down=1.0)),
        Pulsed(step=0.03, step_spread=0.3),
    ],
    ids=["of pulses", "of both", "of cells"],
)
def test_spread_of_pulses_is_told_from_spread_of_cells(true: Pulsed, tmp_path: Path) -> None:
    """Near soft bounds, where steps vanish in the noise; and where hard ones cut pulses off."""
    found = fit(pulses(tmp_path / "pulses.csv", true)).device
    assert isinstance(found, Pulsed)
    assert found.step == pytest.approx(true.step, rel=0.15)
    assert found.step_spread == pytest.approx(true.step_spread, abs=0.06)
    assert found.cycle == pytest.approx(true.cycle, abs=0.1)
    assert isinstance(found.response, Linear)
    for name in ("up", "down"):
        assert getattr(found.response, name) == pytest.approx(getattr(true.response, name), abs=0.1)


@pytest.mark.parametrize("size", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("true", [TRUE, Pulsed(step=0.02)], ids=["soft bounds", "hard bounds"])
def test_noise_of_reading_is_told_from_pulses(true: Pulsed, size: float, tmp_path: Path) -> None:
    true = dataclasses.replace(true, write_noise=size)
    found = fit(pulses(tmp_path / "pulses.csv", true)).device
    assert isinstance(found, Pulsed)
    noise, expected = (device.sigma(np.array(30e-6)) for device in (found, true))
    assert noise == pytest.approx(expected, rel=0.02)
    assert found.pulse_size == pytest.approx(true.pulse_size, rel=0.02)
    assert found.step_spread == pytest.approx(true.step_spread, abs=0.05)
    assert found.cycle == pytest.approx(true.cycle, abs=0.25 * max(size, 0.1))
    for name in ("up", "down"):
        assert getattr(found.response, name) == pytest.approx(getattr(true.response, name), abs=0.1)


def test_noise_that_pulses_do_not_show_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="pulses up do not move the conductance up"):
        fit(pulses(tmp_path / "pulses.csv", Pulsed(step=0.002, write_noise=300.0)))


def drifting(path: Path, exponents: float, spread: float, noise: float = 0.0, cells: int = CELLS) -> Path:
    """The same cells at four targets, one after the other; higher targets drift less."""
    rng = np.random.default_rng(1)
    cell, target, time = (
        part.ravel() for part in np.meshgrid(np.arange(cells), np.linspace(10e-6, 40e-6, 4), [10.0, 30.0, 100.0, 1e3])
    )
    written = rng.normal(1.0, 0.02, (4, cells)).repeat(4, axis=1).reshape(4, cells, 4)
    own = rng.normal(exponents, spread, (4, cells))[..., None]
    order = np.lexsort((time, cell, target))
    cell, target, time = cell[order], target[order], time[order]
    own = (own * np.linspace(2, 1, 4)[:, None, None] * np.ones((1, 1, 4))).ravel()
    g = target * written.ravel() * (time / 10.0) ** -own * np.exp(noise * rng.standard_normal(len(time)))
    table = pd.DataFrame({"cell": cell, "target": target, "time": time, "conductance": g})
    table.sample(frac=1, random_state=0).to_csv(path, index=False)
    return path


def test_cells_that_stood_at_several_targets_keep_the_exponents_of_each(tmp_path: Path) -> None:
    found = fit(drifting(tmp_path / "drift.csv", 0.05, 0.005), degree=1)
    assert isinstance(found.device, devices.Pcm)
    np.testing.assert_allclose(found.device.exponent(np.array([10e-6, 40e-6]), np.zeros(2)), [0.1, 0.05], rtol=0.02)
    assert found.explained["power law"] > 0.9999
    assert found.cells == 4 * CELLS


def test_noise_of_reading_is_told_from_drift(tmp_path: Path) -> None:
    found = fit(drifting(tmp_path / "drift.csv", 0.05, 0.005, noise=0.03), degree=1)
    device, g = found.device, np.array([10e-6, 40e-6])
    assert isinstance(device, devices.Pcm)
    np.testing.assert_allclose(device.exponent(g, np.zeros(2)), [0.1, 0.05], rtol=0.05)
    np.testing.assert_allclose(device.drift_std(g / 40e-6), [0.01, 0.005], atol=0.0015)
    np.testing.assert_allclose(device.sigma(g), 0.02 * g, rtol=0.25)
    at = np.full(2, 90.0)
    seen = np.sqrt(device.slow(g, g, at, 1e-3) ** 2 + device.variance(g, g, 1e-3))
    np.testing.assert_allclose(seen, 0.03 * g, rtol=0.1)
    assert 0.5 < found.explained["power law"] < 0.99


@pytest.mark.parametrize("exponents", [-0.03, 0.0, 0.005])
def test_conductances_that_rise_are_refused(exponents: float, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"drift upwards as well as downwards, .* describe them as Relaxing"):
        fit(drifting(tmp_path / "drift.csv", exponents, 0.005))


def test_stray_cells_and_means_beside_their_targets_are_named(tmp_path: Path) -> None:
    table = pd.read_csv(states(tmp_path / "states.csv"))
    clean = fit(tmp_path / "states.csv", degree=4)
    assert clean.left_out == {"mean error": pytest.approx(0.0, abs=0.01), "stray cells": pytest.approx(0.0, abs=1e-3)}
    stuck = np.random.default_rng(0).random(len(table)) < 0.02
    table.loc[stuck & (table.target > 20e-6), "conductance"] = 0.0
    table.conductance *= 0.9
    table.to_csv(tmp_path / "spoilt.csv", index=False)
    found = fit(tmp_path / "spoilt.csv", degree=4)
    assert found.left_out["stray cells"] == pytest.approx((stuck & (table.target > 20e-6)).mean(), abs=1e-3)
    assert found.left_out["mean error"] == pytest.approx(0.1, abs=0.01)
    assert isinstance(clean.device, Relaxing)
    assert isinstance(found.device, Relaxing)
    g = np.linspace(25e-6, 39e-6, 5)
    np.testing.assert_allclose(found.device.sigma(g), 0.9 * clean.device.sigma(g), rtol=0.05)
    assert "left out: mean error 0.09" in str(found)


def test_cells_that_no_pulse_moves_are_named(tmp_path: Path) -> None:
    table = pd.read_csv(pulses(tmp_path / "pulses.csv"))
    clean = fit(tmp_path / "pulses.csv")
    table.loc[table.cell < 30, "conductance"] = 20e-6
    table.to_csv(tmp_path / "spoilt.csv", index=False)
    found = fit(tmp_path / "spoilt.csv")
    assert clean.left_out == {"stuck cells": 0.0}
    assert found.left_out["stuck cells"] == pytest.approx(0.1)
    assert found.cells == 270


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "give target, conductance"),
        ("target,conductance\n1e-6,1e-6\n1e-6,nan\n", "no finite numbers, first in line 3"),
        ("target,conductance\n1e-6,-1e-6\n", "negative conductances or times, first in line 2"),
        ("target,conductance\n1e-6,1.0\n", r"1e\+06 times their targets; give both in siemens"),
        ("cell,pulse,conductance\n,0,1e-6\n", "no finite numbers, first in line 2"),
        ("target,conductance\n1e-6,1e-6\n", "needs 3 levels"),
        ("cell,pulse,conductance\n0,0,1e-6\n0,1,1e-6\n", "never change"),
        ("cell,pulse,conductance\n0,0,1e-6\n0,2,2e-6\n", r"\+1, -1 or 0"),
        ("cell,pulse,conductance\n0,0,1e-6\n0,1,2e-6\n", "needs 15 pulses up"),
        ("cell,target,time,conductance\n0,1e-6,1,1e-6\n", "needs 3 levels"),
    ],
)
def test_what_cannot_be_fitted_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ParameterError, match=sentence):
        fit(path)


def test_drift_from_0_s_on_is_refused(tmp_path: Path) -> None:
    table = pd.read_csv(drift(tmp_path / "drift.csv"))
    table.time -= 20.0
    table.to_csv(tmp_path / "early.csv", index=False)
    with pytest.raises(ParameterError, match="none at 0 s: leave those out"):
        fit(tmp_path / "early.csv")


@pytest.mark.parametrize("degree", [-1, 1.5, "2"])
def test_a_degree_that_is_none_is_refused(tmp_path: Path, degree: int) -> None:
    with pytest.raises(ParameterError, match="degree must be a whole number of at least 0"):
        fit(states(tmp_path / "states.csv"), degree=degree)


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoredFileError):
        fit(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(StoredFileError):
        fit(tmp_path / "empty.csv")


@pytest.mark.parametrize("measured", [states, drift, pulses])
def test_a_fitted_device_says_only_what_it_does(tmp_path: Path, measured: Callable[[Path], Path]) -> None:
    device = fit(measured(tmp_path / "measured.csv")).device
    for check in conformance.DEVICE:
        check(device)
    assert not device.fluctuates  # no read noise was measured
    assert not (measured is states and device.ages)  # nor was time


def test_a_fitted_device_stands_in_a_design(tmp_path: Path) -> None:
    import chipsim as cs

    device = fit(drift(tmp_path / "drift.csv")).device
    design = cs.ChipDesign(device=dataclasses.replace(device), tiles=2, rows=8, columns=8, neurons=8)
    snn = cs.deploy(cs.Network.random((3, 4, 2), seed=0), cs.fabricate(design, 0), window=4)
    snn.wait(100.0)
    assert snn.effect_report()["drift"]["rms change of cells since their write, share of range"] > 0
