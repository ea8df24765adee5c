"""Figures of devices and circuits: the numbers exactly, the drawing by smoke test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from chipsim import plots
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import DPI, IF, LIF, Integrator
from chipsim.deployment import deploy
from chipsim.devices import (
    PCM_NANDAKUMAR_2019,
    RERAM_ARRAY_OM_2022,
    RRAM_FALCONE_2025,
    RRAM_MILO_2021,
    RRAM_WAN_2022,
    RRAM_WAN_2022_CROSSSIM,
    SONOS_AGRAWAL_2022,
    Cmo,
    Device,
    Ideal,
    Linear,
    Pcm,
    Pulsed,
    Relaxing,
)
from chipsim.devices.curves import Polynomial
from chipsim.effects import Mismatch
from chipsim.engines import Torch
from chipsim.errors import ParameterError
from chipsim.network import Network
from chipsim.plots import circuit, device, population, traces
from chipsim.plots.canvas import prefixed
from chipsim.population import bench
from chipsim.probe import Record

NONE = Polynomial(powers=(0.0,))
FAST = Torch(dtype="float64", device="cpu", compile=False)


def panels(of: Device) -> list[str]:
    return [panel.__name__.strip("_") for panel in device.data(of).panels]


# ------------------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (Ideal(), ["programmed"]),
        (RRAM_MILO_2021, ["programmed", "deviation"]),
        (RRAM_WAN_2022, ["programmed", "deviation", "drift"]),
        (RRAM_WAN_2022_CROSSSIM, ["programmed", "deviation"]),
        (PCM_NANDAKUMAR_2019, ["programmed", "deviation", "drift", "noise"]),
        (Pulsed(), ["programmed", "pulses", "steps"]),
        (RERAM_ARRAY_OM_2022, ["programmed", "deviation", "pulses", "steps"]),
    ],
)
def test_a_device_has_the_panels_of_what_it_does(of: Device, expected: list[str]) -> None:
    assert panels(of) == expected


def test_an_ideal_cell_lies_on_its_target() -> None:
    found = device.data(Ideal(g_min=1e-6, g_max=3e-6, levels=3))
    np.testing.assert_allclose(found.programmed["target"], [1e-6, 2e-6, 3e-6])
    for name in device.SHARES:
        np.testing.assert_allclose(found.programmed[name].isel(age=0), found.programmed["target"], rtol=1e-12)
    assert found.title == "Ideal: 1 to 3 µS, 3 levels, no drift, no read noise, no pulses"
    assert device.data(RRAM_MILO_2021).title.startswith("RRAM_MILO_2021 (Rram): 50 to 225 µS, 32 levels, no drift")


def test_bands_hold_the_stated_shares_of_cells() -> None:
    """Quantiles of a normal distribution, within 4 standard errors of 5,000 cells."""
    programmed = device.data(RRAM_MILO_2021).programmed.isel(age=0)
    target = programmed["target"].values
    sigma = RRAM_MILO_2021.sigma(target)
    for name, z, error in (
        ("lowest", -1.645, 2.11),
        ("low", -0.994, 1.51),
        ("high", 0.994, 1.51),
        ("highest", 1.645, 2.11),
    ):
        np.testing.assert_array_less(abs((programmed[name] - target) / sigma - z), 4 * error / np.sqrt(5_000))
    np.testing.assert_array_less(abs(programmed["mean"] - target) / sigma, 4 / np.sqrt(5_000))


def test_drift_is_followed_for_as_long_as_was_measured() -> None:
    exact = Pcm(spread=NONE, drift_mean=Polynomial(powers=(0.05,)), drift_std=NONE, noise=NONE, measured_until=1e6)
    found = device.data(exact).drift
    assert found is not None
    age, target = found["age"], found["target"]
    assert (float(age[0]), float(age[-1])) == (pytest.approx(1.0), pytest.approx(1e6))
    np.testing.assert_allclose(target, [6.25e-6, 15e-6, 25e-6])
    expected = target * ((age + 20.0) / 20.0) ** -0.05
    np.testing.assert_allclose(found["mean"], expected.transpose("age", "target"), rtol=1e-9)
    np.testing.assert_allclose(found["single"], found["mean"].expand_dims(cell=12, axis=-1), rtol=1e-9)
    assert device.data(PCM_NANDAKUMAR_2019).drift["age"].max() == pytest.approx(device.YEAR)  # type: ignore[index]


def test_off_the_target_is_shown_at_the_write_and_at_the_last_age() -> None:
    found = device.data(RRAM_WAN_2022)
    np.testing.assert_allclose(found.programmed["age"], [0.0, 172_800.0])
    width = (found.programmed["high"] - found.programmed["low"]) / 2
    target = found.programmed["target"].values
    for index, age in enumerate((0.0, 172_800.0)):
        stated = RRAM_WAN_2022.spread(target, np.full_like(target, age))
        np.testing.assert_allclose(width[index, 5:], 0.994 * stated[5:], rtol=0.08)


def test_read_noise_is_what_the_device_states() -> None:
    found = device.data(Cmo(levels=8, measured_until=100.0)).noise
    assert found is not None
    target, cell = found["target"].values, Cmo()
    np.testing.assert_allclose(found["fast"] ** 2, cell.variance(target, target, 1e-3), rtol=1e-9)
    np.testing.assert_allclose(found["age"], [0.1, 100.0])
    aged = target - 0.08900206e-6 * np.log(100.0)  # on average
    aged = np.clip(aged, cell.g_min, cell.g_max)
    np.testing.assert_allclose(found["slow"][1], cell.slow(aged, target, np.full(8, 100.0), 1e-3), rtol=1e-9)


def test_cells_without_spread_answer_to_pulses_in_equal_steps() -> None:
    found = device.data(Pulsed(g_min=10e-6, g_max=50e-6, step=0.02))  # 0.4 uS of 40 uS
    assert found.ups == 200
    assert found.pulses is not None
    assert found.steps is not None
    pulse = found.pulses["pulse"].values
    expected = np.clip(10e-6 + 0.4e-6 * np.minimum(pulse, 200), None, 50e-6) - 0.4e-6 * np.maximum(pulse - 200, 0)
    np.testing.assert_allclose(found.pulses["mean"], np.maximum(expected, 10e-6), rtol=1e-9)
    np.testing.assert_allclose(found.pulses["single"], found.pulses["mean"].expand_dims(cell=12, axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.steps["mean"].sel(direction="up")[:-1], 0.4e-6, rtol=1e-6)
    np.testing.assert_allclose(found.steps["mean"].sel(direction="down")[1:], -0.4e-6, rtol=1e-6)
    assert abs(found.steps["mean"].sel(direction="up").values[-1]) < 1e-18


def test_soft_bounds_shrink_the_step() -> None:
    found = device.data(Pulsed(step=0.02, response=Linear(up=1.0, down=1.0))).steps
    assert found is not None
    w = 2 * (found["conductance"] - 10e-6) / 40e-6 - 1
    np.testing.assert_allclose(found["mean"].sel(direction="up"), 0.4e-6 * (1 - w), atol=1e-15)


@pytest.mark.parametrize(
    "of",
    [
        Ideal(),
        RRAM_MILO_2021,
        RRAM_FALCONE_2025,
        PCM_NANDAKUMAR_2019,
        SONOS_AGRAWAL_2022,
        RERAM_ARRAY_OM_2022,
        Pulsed(step=1e-9),
        Relaxing(spreads=(NONE,), measured_until=0.0),
        replace(RRAM_WAN_2022, measured_until=10.0),
    ],
    ids=lambda of: type(of).__name__,
)
def test_devices_are_drawn(of: Device, tmp_path: Path) -> None:
    plots.save("device", of, tmp_path / "device.png")
    assert (tmp_path / "device.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("age", "words"),
    [(0.5, "0.5 s"), (1.0, "1 s"), (60.0, "1 min"), (7200.0, "2 h"), (86_400.0, "1 day"), (3.2e7, "1 year")],
)
def test_ages_are_said_in_their_unit(age: float, words: str) -> None:
    assert device._words(age) == words


@pytest.mark.parametrize(
    ("unit", "largest", "expected"),
    [("S", 25e-6, (1e6, "µS")), ("S", 1e-6, (1e6, "µS")), ("A", 0.999e-9, (1e12, "pA")), ("V", 0.6, (1e3, "mV")),
     ("Hz", 1000.0, (1e-3, "kHz")), ("S", 0.0, (1.0, "S")), ("1", 1e6, (1.0, "1")), ("A", 1e-30, (1e15, "fA"))],
)  # fmt: skip
def test_prefixes_bring_the_largest_value_to_1_to_1000(unit: str, largest: float, expected: tuple[float, str]) -> None:
    factor, words = prefixed(unit, largest)
    assert (pytest.approx(factor), words) == expected


# ------------------------------------------------------------------------------------------------ circuits


def benched(sigma: float = 0.2, **options: Any) -> xr.Dataset:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=sigma),)), 3)
    given = {"current": [0.0, 0.045e-9, 0.31e-9], "duration": 0.06, "neurons": 5, "engine": FAST}
    return bench(LIF(), chip, **{**given, **options})


def test_traces_are_of_the_first_drive_at_which_all_fire_until_some_spikes() -> None:
    dataset = benched()
    found = traces.data(dataset)
    assert found.v.dims == ("time", "neuron")
    assert found.v.sizes["neuron"] == 3
    fired = dataset["spikes"].isel(current=2, neuron=slice(3)).values
    assert (dataset["spikes"].isel(current=1, neuron=slice(3)).sum("time") < 2).any(), "at the second, not all fire"
    end = found.v.sizes["time"]
    np.testing.assert_array_equal(found.v, dataset["v"].isel(current=2, neuron=slice(3), time=slice(end)))
    assert fired[:end].sum(axis=0).min() in (6, 7)
    for index, times in enumerate(found.spikes):
        np.testing.assert_allclose(times, dataset["time"].values[:end][fired[:end, index] > 0])
    np.testing.assert_array_equal(found.threshold, dataset["threshold"].values[:3])
    assert found.input is not None
    np.testing.assert_allclose(found.input, np.full((end, 1), 0.31e-9))
    np.testing.assert_array_equal(traces.data(dataset, at=0).v, dataset["v"].isel(current=0, neuron=slice(3)))


def test_the_thresholds_of_a_bench_are_those_of_the_chip() -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.2),)), 3)
    dataset = benched()
    np.testing.assert_array_equal(dataset["threshold"], chip.neurons["v_threshold"][:5])
    assert dataset["threshold"].attrs["units"] == "V"
    fired = dataset["spikes"].values > 0
    met = dataset["v"].values >= dataset["threshold"].values
    np.testing.assert_array_equal(fired, met)
    assert bench(DPI(), current=[0.0], duration=1e-3, step=1e-4)["threshold"].attrs["units"] == "A"


def test_traces_of_what_a_deployment_presented(tmp_path: Path) -> None:
    snn = deploy(Network.random((6, 8, 3), seed=0), fabricate(ChipDesign(), 0), window=20)
    inputs = np.random.default_rng(0).uniform(0, 2, (3, 6))
    dataset = snn.present(inputs, Record(v=[1, 4], spikes=[1, 4]))
    found = traces.data(dataset, at=1)
    np.testing.assert_array_equal(found.v, dataset["v"].isel(sample=1).values[: found.v.sizes["time"]])
    assert (found.threshold, found.input) == (None, None)
    plots.save("traces", dataset, tmp_path / "traces.png")
    driven = snn.present(inputs, Record(v=[1, 4], rows=[0, 2]))
    given = traces.data(driven, at=1).input
    assert given is not None
    np.testing.assert_array_equal(given, driven["drive"].isel(sample=1))
    plots.save("traces", driven, tmp_path / "driven.png")
    assert {path.name for path in tmp_path.iterdir()} == {"traces.png", "driven.png"}


def test_a_population_has_its_neurons_mean_band_and_nominal_neuron() -> None:
    dataset = benched(current=[0.31e-9, 0.0, 0.11e-9]).assign(nominal=("current", [300.0, 0.0, 100.0]))
    found = population.data(dataset)
    rates = dataset["rate"].values[[1, 2, 0]]
    np.testing.assert_allclose(found.neurons["current"], [0.0, 0.11e-9, 0.31e-9])
    np.testing.assert_array_equal(found.neurons, rates)
    np.testing.assert_allclose(found.spread["mean"], rates.mean(axis=1))
    np.testing.assert_allclose(found.spread["low"], np.quantile(rates, 0.05, axis=1))
    np.testing.assert_allclose(found.spread["high"], np.quantile(rates, 0.95, axis=1))
    assert found.nominal is not None
    np.testing.assert_array_equal(found.nominal, [0.0, 100.0, 300.0])
    assert population.data(benched()).nominal is None


def test_read_outs_answer_with_their_membrane() -> None:
    dataset = bench(Integrator(), current=[0.0, 1e-9], duration=5e-3, neurons=2)
    found = population.data(dataset)
    np.testing.assert_allclose(found.neurons, [[0.0, 0.0], [5.0, 5.0]])
    assert found.neurons.attrs["long_name"] == "membrane at the end"


@pytest.mark.parametrize("name", ["traces", "population", "circuit"])
@pytest.mark.parametrize(
    "dataset",
    [
        lambda: benched().assign(nominal=("current", [0.0, 1.0, 2.0])),
        lambda: benched(neurons=1),
        lambda: bench(Integrator(), current=[0.0, 1e-9], duration=5e-3, neurons=2),
        lambda: bench(IF(), current=[0.0, 1e-12], duration=1e-3),
    ],
    ids=["LIF", "one", "Integrator", "silent"],
)
def test_circuits_are_drawn(name: str, dataset: Any, tmp_path: Path) -> None:
    plots.save(name, dataset(), tmp_path / "circuit.png")
    assert (tmp_path / "circuit.png").stat().st_size > 5_000


def test_a_circuit_is_its_traces_and_its_population() -> None:
    dataset = benched().assign_attrs(title="LIF")
    found = circuit.data(dataset)
    np.testing.assert_array_equal(found.traces.v, traces.data(dataset).v)
    np.testing.assert_array_equal(found.answers.neurons, population.data(dataset).neurons)
    assert found.title == "LIF"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: device.data(LIF()), "this figure is of a device, as .* not of a LIF"),  # type: ignore[arg-type]
        (lambda: traces.data(benched().drop_vars("v")), "traces need 'v' over current or sample, time and neuron"),
        (lambda: traces.data(benched().isel(current=1)), "traces need 'v' over current or sample"),
        (lambda: population.data(benched().isel(current=[1])), "several currents"),
        (lambda: population.data(benched().isel(current=1)), "several currents"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        call()
