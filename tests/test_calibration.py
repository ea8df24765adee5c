import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import chipsim as cs
from chipsim import responses
from chipsim.calibration import BIASES, STAGES, Calibrated
from chipsim.circuits import Circuit
from chipsim.errors import ChipsimError, ParameterError, StoredFileError
from chipsim.network import Network
from chipsim.population import drive_bank
from chipsim.streams import stream

FAST = cs.Torch(dtype="float64", device="cpu", compile=False)
SIZE = {"tiles": 4, "rows": 24, "columns": 24, "readouts": 4}
PERFECT = cs.Adc(bits=16, low=30 * 256, high=210 * 256, zero=80 * 256, swing=30 * 256, noise=0.0)
GAIN = cs.Bias(role="gain")
COARSE = 4e-7
"""Step of the BrainScaleS-2 circuit in these tests, a 25th of its time constant [s]."""


def die(
    circuit: cs.LIF | cs.AdEx | cs.IF | cs.CurrentLIF | None = None, sigma: float = 0.2, **design: object
) -> cs.Chip:
    effects = design.pop("effects", (cs.Mismatch(sigma=sigma),))
    fields = {**SIZE, "neurons": 60, **design}
    return cs.fabricate(cs.ChipDesign(circuit=circuit or cs.LIF(), effects=effects, **fields), seed=7)  # type: ignore[arg-type]


def calibrated(chip: cs.Chip, biases: Sequence[cs.Bias] | None = None, **options: object) -> Calibrated:
    return cs.calibrate(chip, biases, **{"engine": FAST, **options})  # type: ignore[arg-type]


def hidden(chip: cs.Chip, role: str) -> NDArray[np.float64]:
    """What a role's parameter really is on the die, relative to nominal, which no host sees."""
    nominal, roles = chip.design.circuit.nominal(), chip.design.circuit.roles
    field = roles[role]
    unit = nominal[roles["threshold"]] - nominal[field] if role == "reset" else nominal[field]
    return np.asarray((chip.neurons[field] - nominal[field]) / unit)


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize(
    ("circuit", "step"), [(cs.LIF(), None), (cs.BRAINSCALES2, COARSE)], ids=["LIF", "BRAINSCALES2"]
)
def test_the_residual_spread_is_below_that_at_the_median_code(circuit: Circuit, step: float | None) -> None:
    """The acceptance check of BrainScaleS-2, of what is measured and of what is hidden on the die."""
    chip = die(circuit)
    found = calibrated(chip, step=step)
    assert list(found.report.parameter.values) == ["time_constant", "gain", "threshold", "reset"]
    for role in circuit.roles:
        spread = found.report.spread.sel(parameter=role)
        assert spread.sel(stage="calibrated") < 0.3 * spread.sel(stage="median code")
        assert rms(hidden(found.chip, role)) < 0.25 * rms(hidden(chip, role))
    assert found.report.failures.sum() == 0
    for name in found.report:
        assert np.isfinite(found.report[name].values.astype(float)).all()


@pytest.mark.parametrize("circuit", [cs.IF(), cs.CurrentLIF()], ids=["IF", "CurrentLIF"])
def test_circuits_are_calibrated_in_the_roles_that_they_have(circuit: Circuit) -> None:
    chip = die(circuit, neurons=20)
    biases = tuple(dataclasses.replace(bias, bits=6) for bias in BIASES if bias.role in circuit.roles)
    found = calibrated(chip, biases, step=1e-3)
    assert set(found.report.parameter.values) == set(circuit.roles)
    for role in circuit.roles:
        assert rms(hidden(found.chip, role)) < 0.3 * rms(hidden(chip, role))


def test_a_perfect_converter_and_many_bits_reach_one_percent() -> None:
    biases = tuple(dataclasses.replace(bias, bits=12, write_noise=0.0) for bias in BIASES)
    chip = calibrated(die(), biases, adc=PERFECT).chip
    for role in chip.design.circuit.roles:
        assert np.abs(hidden(chip, role)).max() < 0.01


@pytest.mark.parametrize("bits", [2, 3, 5, 7])
def test_without_noise_the_nearest_code_is_found(bits: int) -> None:
    bias = cs.Bias(role="gain", bits=bits, write_noise=0.0, low=0.25, high=4.0)
    chip, others = die(effects=(cs.Mismatch(sigma=0.3, kinds=("gain",)),)), np.log(bias.settings)
    found = calibrated(chip, (bias,), adc=PERFECT)
    wanted = -np.log(1 + hidden(chip, "gain"))
    nearest = np.argmin(np.abs(np.expm1(others[:, None] - wanted)), axis=0)
    assert np.mean(found.report.code.values[0] == nearest) > 0.98  # one may lie in the middle between two
    np.testing.assert_allclose(found.chip.trim["neurons/gain"], bias.settings[found.report.code.values[0]])


def test_more_bits_leave_less_down_to_the_read_noise() -> None:
    chip = die(effects=(cs.Mismatch(sigma=0.3, kinds=("gain",)),), neurons=400)
    wide = cs.Bias(role="gain", write_noise=0.0, low=0.25, high=4.0)
    residual = [
        rms(hidden(calibrated(chip, (dataclasses.replace(wide, bits=bits),)).chip, "gain"))
        for bits in (2, 4, 6, 10, 14)
    ]
    noise = 2.0 * math.sqrt((1 / 20 + 1 / 40) / 64) / 15  # 20 and 40 readings of 64 presentations, of 15 LSB
    assert residual[0] > 2 * residual[1] > 4 * residual[2] > 4 * residual[3]
    assert residual[3] / noise == pytest.approx(1.0, abs=0.4)
    assert residual[4] / residual[3] == pytest.approx(1.0, abs=0.2)
    worse = calibrated(chip, (cs.Bias(role="gain", write_noise=0.0),), adc=cs.Adc(noise=8.0))
    assert rms(hidden(worse.chip, "gain")) > 2.5 * residual[3]


def test_a_role_is_searched_after_those_that_it_depends_on() -> None:
    """Rheobases come out alike in any order; thresholds only where nothing else is left to make up for."""
    chip, after = die(neurons=100), {"time_constant", "gain"}
    alone = calibrated(chip, tuple(b for b in BIASES if b.role == "threshold"))
    behind = calibrated(chip, tuple(b for b in BIASES if b.role in {"threshold", *after}))
    for found in (alone, behind):
        assert found.report.spread.sel(parameter="threshold", stage="calibrated") < 0.02
    assert rms(hidden(behind.chip, "threshold")) < 0.1 * rms(hidden(alone.chip, "threshold"))


def test_a_second_round_undoes_what_a_first_could_not_know() -> None:
    """The exponential of an AdEx lifts its rest, from which heights are counted, by what the threshold leaves it."""
    chip = die(cs.BRAINSCALES2, effects=(cs.Mismatch(sigma=0.2, kinds=("threshold",)),), neurons=30)
    biases = (cs.Bias(role="gain", bits=8), cs.Bias(role="threshold", bits=7))
    once, twice = (rms(hidden(calibrated(chip, biases, rounds=n, step=COARSE).chip, "gain")) for n in (1, 2))
    assert twice < 0.5 * once


def test_the_same_chip_and_seed_give_the_same_codes() -> None:
    biases = (cs.Bias(role="gain", bits=3), cs.Bias(role="threshold", bits=2))
    one, again, other = (calibrated(die(neurons=20), biases, seed=seed) for seed in (0, 0, 1))
    assert one.report.identical(again.report)
    assert one.chip.hash == again.chip.hash != other.chip.hash
    brian = calibrated(die(neurons=20), biases, engine=cs.Brian())
    np.testing.assert_array_equal(brian.report.code, one.report.code)


def test_the_first_neurons_alone_are_calibrated() -> None:
    chip = die(effects=(cs.Mismatch(sigma=0.2, kinds=("threshold", "gain")),))
    found = calibrated(chip, (GAIN,), neurons=10).chip
    np.testing.assert_array_equal(found.neurons["gain"][10:], chip.neurons["gain"][10:])
    assert np.abs(hidden(found, "gain")[:10]).max() < 0.05
    last = calibrated(found, (dataclasses.replace(GAIN, bits=2),), neurons=5).chip
    np.testing.assert_array_equal(last.trim["neurons/gain"][5:], found.trim["neurons/gain"][5:])
    np.testing.assert_array_equal(
        cs.bench(cs.LIF(), last, current=1e-9, duration=1e-3, neurons=60).v[0, 0], last.neurons["gain"]
    )
    for name in set(chip.neurons) - {"gain"}:
        np.testing.assert_array_equal(found.neurons[name], chip.neurons[name])


def test_dead_neurons_fail() -> None:
    chip = die(effects=(cs.DeadNeurons(rate=0.3), cs.Mismatch(sigma=0.1)))
    dead = chip.frozen_neurons[0]["dead"] > 0
    assert 0 < dead.sum() < len(dead)
    found = calibrated(chip, tuple(dataclasses.replace(bias, bits=5) for bias in BIASES))
    for role, failed in {"time_constant": 0 * dead, "gain": 0 * dead, "threshold": dead, "reset": dead}.items():
        np.testing.assert_array_equal(found.report.failed.sel(parameter=role), failed)
    np.testing.assert_array_equal(found.report.failures, found.report.failed.sum("neuron"))
    assert (found.report.code.sel(parameter="threshold").values[dead] == 15).all()  # the middle one
    assert np.isfinite(found.report.spread).all()


def test_a_code_whose_range_is_too_small_fails_and_stays_at_its_end() -> None:
    chip = die(effects=(cs.Mismatch(sigma=0.3, kinds=("gain",)),), neurons=200)
    bias = cs.Bias(role="gain", bits=6, low=0.9, high=1.1, write_noise=0.0)
    found = calibrated(chip, (bias,), adc=PERFECT)
    wanted = 1 / (1 + hidden(chip, "gain"))
    clear = np.abs(np.log(wanted[:, None] / [0.9, 1.1])).min(axis=1) > 1e-3
    assert clear.sum() > 195
    np.testing.assert_array_equal(found.report.failed[0][clear], ((wanted < 0.9) | (wanted > 1.1))[clear])
    assert (found.report.code.values[0][clear & (wanted < 0.9)] == 0).all()
    assert (found.report.code.values[0][clear & (wanted > 1.1)] == bias.last).all()
    assert 50 < int(found.report.failures[0]) < 199


def measured(gain: NDArray[np.float64]) -> cs.Chip:
    design = die(effects=(cs.Mismatch(sigma=0.1, kinds=("gain",)),)).design
    return cs.Chip.from_measurements(design, {"neurons/mismatch/gain": gain})


def test_readings_outside_of_the_trusted_range_are_refused() -> None:
    """A gain of 5 takes the membrane 75 LSB below rest at 80: at half of it still under the trusted 30."""
    gain = np.ones(60)
    gain[3] = 10.0
    narrow = calibrated(measured(gain), (GAIN,))
    np.testing.assert_array_equal(np.flatnonzero(narrow.report.failed[0]), [3])
    wide = calibrated(measured(gain), (dataclasses.replace(GAIN, low=0.05, high=20.0),))
    assert wide.report.failures[0] == 0
    assert wide.chip.neurons["gain"][3] == pytest.approx(1.0, abs=0.06)


def test_where_no_reading_can_be_trusted_nothing_is_calibrated() -> None:
    with pytest.raises(ChipsimError, match=r"no neuron shows a gain that can be trusted \(nominal code\)"):
        calibrated(measured(np.full(60, 50.0)), (GAIN,))


def test_a_converter_says_only_the_side_of_what_it_cannot_read() -> None:
    adc, lsb = cs.Adc(noise=0.0), np.array([-50.0, 29.4, 29.6, 80.2, 210.4, 210.6, 400.0])
    shown, refused = adc.read(lsb, 3, stream(0, "adc"))
    np.testing.assert_array_equal(shown, [30, 30, 30, 80, 210, 210, 210])
    np.testing.assert_array_equal(refused, [True, True, False, False, False, True, True])


def test_readings_have_the_stated_noise() -> None:
    shown, refused = cs.Adc(noise=2.0).read(np.full(20_000, 100.0), 1, stream(0, "adc"))
    sd = math.sqrt(4 + 1 / 12)  # and of the rounding
    assert not refused.any()
    assert abs(shown.mean() - 100) < 4 * sd / math.sqrt(20_000)
    assert abs(shown.std() / sd - 1) < 4 / math.sqrt(40_000)
    mean = cs.Adc(noise=2.0).read(np.full(20_000, 100.0), 16, stream(1, "adc"))[0]
    assert abs(mean.std() / (sd / 4) - 1) < 4 / math.sqrt(40_000)


def test_codes_are_written_with_the_stated_noise() -> None:
    bias = cs.Bias(role="gain", bits=10)
    places = np.log(bias.written(np.full(20_000, 300), stream(0, "write")) / bias.low) / math.log(4) * 1022 - 300
    assert np.abs(places).max() < 5
    assert abs(places.mean()) < 4 * 5 / math.sqrt(3 * 20_000)
    assert abs(places.std() / (5 / math.sqrt(3)) - 1) < 4 * math.sqrt(0.8 / 4 / 20_000)  # kurtosis of 1.8
    ends = bias.written(np.repeat([0, 1022], 5_000), stream(0, "ends"))
    assert ends.min() == bias.low
    assert ends.max() == bias.high
    quiet = dataclasses.replace(bias, write_noise=0.0)
    np.testing.assert_array_equal(quiet.written(np.arange(1023), stream(0, "quiet")), bias.settings)


def test_write_noise_stays_in_the_calibrated_chip() -> None:
    chip = die(effects=(cs.Mismatch(sigma=0.2, kinds=("gain",)),), neurons=400)
    loud = calibrated(chip, (cs.Bias(role="gain", write_noise=0.05),), adc=PERFECT).chip
    last_write = 0.05 * math.log(4) / math.sqrt(3)
    assert last_write < rms(hidden(loud, "gain")) < 1.6 * last_write  # the writes of the search misled it, too


@given(bits=st.integers(2, 16), low=st.floats(0.01, 0.99), logarithmic=st.booleans())
def test_codes_rise_from_low_to_high_around_the_middle(bits: int, low: float, logarithmic: bool) -> None:
    high = 1 / low if logarithmic else 2 - low
    bias = cs.Bias(role="gain", bits=bits, low=low, high=high, logarithmic=logarithmic)
    assert len(bias.settings) == 2**bits - 1
    assert (np.diff(bias.settings) > 0).all()
    np.testing.assert_allclose(bias.settings[[0, bias.last // 2, -1]], [low, 1.0, high])


def test_time_and_measurements_are_those_of_the_search() -> None:
    found = calibrated(die(), (cs.Bias(role="gain", bits=4), cs.Bias(role="threshold", bits=3)), repeats=5).report
    assert found.measurements == (4 + 3) + (3 + 3)
    step = (4 + 3) * 5 * (80 + 80 + 40) * 1e-3  # before, during and after the current
    rheobase = (3 + 3) * 3 * 16 * 100 * 1e-3  # three times 16 currents
    assert float(found.duration) == pytest.approx(step + rheobase)


def test_a_noisy_chip_is_calibrated_as_its_noise_lets_it() -> None:
    chip = die(effects=(cs.Mismatch(sigma=0.2), cs.MembraneNoise(sigma=0.01)), neurons=20)
    found = calibrated(chip, tuple(dataclasses.replace(b, bits=6) for b in BIASES), repeats=16, engine=cs.Torch())
    for role in ("gain", "threshold", "reset"):
        assert rms(hidden(found.chip, role)) < 0.5 * rms(hidden(chip, role))


def test_no_measurement_meets_the_noise_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[int] = []

    def spied(*given: Any, **options: Any) -> None:
        parameters, inputs = given[1:3]
        if len(parameters["gain"]) == 20:  # the die, not the host's nominal neurons
            met.extend(range(options["first"], options["first"] + inputs.shape[-2]))
        drive_bank(*given, **options)

    monkeypatch.setattr(responses, "drive_bank", spied)
    chip = die(effects=(cs.Mismatch(sigma=0.2), cs.MembraneNoise(sigma=0.01)), neurons=20)
    calibrated(chip, (cs.Bias(role="gain", bits=2), cs.Bias(role="threshold", bits=2)), repeats=3)
    assert len(set(met)) == len(met) == (2 + 3) * 3 + (2 + 3) * 3 * 16


def test_read_outs_are_calibrated_beside_the_neurons() -> None:
    chip = die()
    found = calibrated(calibrated(chip, (GAIN,)).chip, readouts=True)
    assert set(found.chip.trim) == {"neurons/gain", "readouts/gain"}
    assert np.abs(found.chip.readouts["gain"] - 1).max() < 0.05 < np.abs(chip.readouts["gain"] - 1).max()
    assert found.report.sizes["neuron"] == 4


def test_a_second_calibration_takes_the_place_of_the_first() -> None:
    chip = die()
    first = calibrated(chip, (cs.Bias(role="gain", bits=2), cs.Bias(role="threshold", bits=2)))
    second = calibrated(first.chip, (GAIN,)).chip
    np.testing.assert_array_equal(second.trim["neurons/threshold"], first.chip.trim["neurons/threshold"])
    np.testing.assert_array_equal(second.trim["neurons/gain"], calibrated(chip, (GAIN,)).chip.trim["neurons/gain"])


def test_a_deployment_and_learning_meet_the_calibrated_chip() -> None:
    network, inputs = Network.random((12, 20, 4), seed=0), stream(0, "inputs").uniform(0, 2, (32, 12))
    chip = die(effects=(cs.Mismatch(sigma=0.4, kinds=("threshold", "gain", "time_constant", "reset")),))
    wide = tuple(dataclasses.replace(b, low=0.2, high=5.0) if b.logarithmic else b for b in BIASES)
    trimmed = calibrated(calibrated(chip, wide).chip, readouts=True).chip
    ideal, before, after = (cs.deploy(network, one, engine=FAST) for one in (die(effects=()), chip, trimmed))
    errors = [rms(snn.outputs(inputs) - ideal.outputs(inputs)) for snn in (before, after)]
    assert errors[1] < 0.4 * errors[0]
    samples = type("Some", (), {"inputs": inputs, "labels": np.arange(32) % 4})()
    cs.learn(after, samples, rule=cs.Delta(), progress=False)
    np.testing.assert_array_equal(after.stages[0].parameters["tau"], trimmed.neurons["tau"][:20])


def test_a_trimmed_chip_is_saved_hashed_and_loaded(tmp_path: Path) -> None:
    chip = die()
    trim = {"neurons/gain": np.linspace(0.5, 2.0, 60), "neurons/reset": np.linspace(-0.1, 0.1, 60)}
    trimmed = dataclasses.replace(chip, trim=trim)
    trimmed.save(tmp_path / "die.h5")
    loaded = cs.Chip.load(tmp_path / "die.h5")
    assert loaded.hash == trimmed.hash != chip.hash
    assert loaded.trim.keys() == trim.keys()
    np.testing.assert_array_equal(loaded.neurons["gain"], chip.neurons["gain"] * trim["neurons/gain"])
    np.testing.assert_allclose(loaded.neurons["v_reset"], chip.neurons["v_reset"] + 0.6 * trim["neurons/reset"])
    np.testing.assert_array_equal(loaded.readouts["gain"], chip.readouts["gain"])
    trim["neurons/gain"][0] = 99.0
    assert trimmed.trim["neurons/gain"][0] == 0.5
    with h5py.File(tmp_path / "die.h5", "r+") as file:
        file["trim/neurons/gain"][0] = -1.0
    with pytest.raises(StoredFileError, match="must hold factors above 0, not -1"):
        cs.Chip.load(tmp_path / "die.h5")


@pytest.mark.parametrize(
    ("trim", "sentence"),
    [
        ({"neurons/leak": np.ones(60)}, "unknown trim 'neurons/leak' of this design; known: neurons/threshold"),
        ({"readouts/threshold": np.ones(4)}, "unknown trim 'readouts/threshold'"),
        ({"gain": np.ones(60)}, "unknown trim 'gain'"),
        ({"neurons/gain": np.ones(59)}, r"trim 'neurons/gain' must have shape \(60,\), not \(59,\)"),
        ({"neurons/gain": np.full(60, np.nan)}, "holds NaN or infinite values"),
        ({"neurons/gain": np.zeros(60)}, "must hold factors above 0, not 0"),
    ],
)
def test_impossible_trims_are_refused(trim: dict[str, NDArray[np.float64]], sentence: str) -> None:
    chip = die()
    gain = {"neurons/mismatch/gain": chip.frozen_neurons[0]["gain"]}
    for one in (chip, cs.Chip.from_measurements(chip.design, gain, seed=chip.seed)):
        with pytest.raises(ParameterError, match=sentence):
            dataclasses.replace(one, trim=trim)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"role": "leak"}, "unknown role 'leak' of a Bias; known: time_constant, gain, threshold, reset"),
        ({"bits": 1}, "Bias.bits must be a whole number from 2 to 16, not 1"),
        ({"bits": True}, "Bias.bits must be a whole number"),
        ({"bits": 8.0}, "Bias.bits must be a whole number"),
        ({"logarithmic": "no"}, "Bias.logarithmic must be True or False, not 'no'"),
        ({"low": 2.0}, "Bias.low = 2 must lie below Bias.high = 2"),
        ({"low": 0.0}, "Bias.low = 0 must lie above 0: a Bias of the gain is a factor"),
        ({"role": "reset", "low": -1.0}, "a Bias of the reset moves it by offsets: give logarithmic=False"),
        ({"write_noise": -0.1}, "Bias.write_noise"),
        ({"high": np.nan}, "Bias.high"),
    ],
)
def test_impossible_biases_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        cs.Bias(**{"role": "gain", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"bits": 1}, "Adc.bits must be a whole number from 2 to 20, not 1"),
        ({"zero": 20.0}, "Adc.low = 30, zero = 20 and high = 210 must rise, up to 255"),
        ({"bits": 7}, "must rise, up to 127, the largest reading of 7 bits"),
        ({"noise": -1.0}, "Adc.noise"),
        ({"swing": 0.0}, "Adc.swing"),
    ],
)
def test_impossible_converters_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        cs.Adc(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"biases": ()}, "biases must be one or more Bias objects"),
        ({"biases": GAIN}, "biases must be one or more Bias objects"),
        ({"biases": ("gain",)}, "biases must be one or more Bias objects"),
        ({"biases": (GAIN, GAIN)}, "the gain has two biases; give each role one"),
        ({"biases": (cs.Bias(role="threshold"),), "readouts": True}, "Integrator has no threshold for a Bias to move"),
        ({"neurons": 0}, "neurons must be a whole number from 1 to 60, not 0"),
        ({"neurons": 61}, "neurons must be a whole number from 1 to 60"),
        ({"neurons": 5, "readouts": True}, "neurons must be a whole number from 1 to 4, not 5"),
        ({"rounds": 1.5}, "rounds must be a whole number of at least 1, not 1.5"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, not 0"),
        ({"step": 0.0}, "step must be above 0 s and finite"),
        ({"step": math.inf}, "step must be above 0 s and finite"),
        ({"seed": -1}, "seed must be an integer"),
        (
            {"adc": cs.Adc(sample_time=1.0)},
            "the converter takes 1 s to read, too long",
        ),
    ],
)
def test_impossible_calibrations_are_refused(options: dict[str, object], sentence: str) -> None:
    biases = options.pop("biases", (GAIN,))
    with pytest.raises(ParameterError, match=sentence):
        calibrated(die(), biases, **options)  # type: ignore[arg-type]


def test_what_is_no_chip_or_cannot_be_pushed_is_refused() -> None:
    with pytest.raises(ParameterError, match="calibrate needs a Chip, as fabricate"):
        calibrated("chip")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no step of current moves a nominal DPI by"):
        calibrated(die(cs.DPI()), (GAIN,))
    assert STAGES[-1] == "calibrated"
