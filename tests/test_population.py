import brian2
import numpy as np
import pytest

from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import ALL, BRAINSCALES2, DPI, DYNAP_SE2, IF, LIF, AdEx, Circuit, Integrator
from chipsim.effects import MembraneNoise, Mismatch
from chipsim.engines import Torch
from chipsim.errors import ParameterError
from chipsim.population import bench, step_error

AMPERE_PER_VOLT = 1e-12 / 1e-3
"""Current that moves 1 pF by 1 V in a step of 1 ms."""


def test_if_fires_every_so_many_steps() -> None:
    currents = np.array([0.049, 0.11, 0.21, 0.31, 0.61]) * AMPERE_PER_VOLT  # 13, 6, 3, 2, 1 steps to pass 0.6 V
    found = bench(IF(), current=currents, duration=0.6)
    np.testing.assert_allclose(found.rate[:, 0] / 1000, [1 / 13, 1 / 6, 1 / 3, 1 / 2, 1], atol=1 / 600)
    np.testing.assert_allclose(found.rate, found.spikes.sum("time") / 0.6)


def test_lif_needs_its_rheobase() -> None:
    """The membrane ends at q / (1 - lam): below the threshold it never fires."""
    rheobase = 0.6 * (1 - np.exp(-0.1)) * AMPERE_PER_VOLT
    found = bench(LIF(), current=[0.99 * rheobase, 1.01 * rheobase], duration=0.2)
    assert found.rate[0, 0] == 0
    assert found.rate[1, 0] > 0
    np.testing.assert_allclose(found.v[0, -1, 0], 0.99 * 0.6, rtol=1e-6)


def test_a_finer_step_brings_less_charge_per_step() -> None:
    coarse, fine = (bench(IF(), current=[0.11e-9], duration=0.3, step=step) for step in (1e-3, 0.1 * brian2.ms))
    assert fine.sizes["time"] == 10 * coarse.sizes["time"]
    assert float(fine.rate[0, 0]) == pytest.approx(0.11 / 0.6 * 1000, rel=0.05)
    np.testing.assert_allclose(fine.v[0, 9, 0], coarse.v[0, 0, 0])


def test_units_and_coordinates_are_there() -> None:
    found = bench(IF(), current=[0.0, 1e-9], duration=5e-3, neurons=2)
    assert found.v.dims == ("current", "time", "neuron")
    assert found.v.shape == (2, 5, 2)
    assert {name: found[name].attrs["units"] for name in ("v", "spikes", "rate", "current", "time")} == {
        "v": "V",
        "spikes": "1",
        "rate": "Hz",
        "current": "A",
        "time": "s",
    }
    np.testing.assert_allclose(found.time, np.arange(1, 6) * 1e-3)


def test_a_population_on_a_chip_has_the_chips_mismatch() -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.3),)), 3)
    found = bench(LIF(), chip, current=[1e-9], duration=1e-3, neurons=20)
    np.testing.assert_allclose(found.v[0, 0], chip.neurons["gain"][:20])
    assert len(np.unique(bench(LIF(), current=[1e-9], duration=1e-3, neurons=20).v)) == 1


def test_another_circuit_takes_the_place_of_the_designs() -> None:
    chip = fabricate(ChipDesign(circuit=LIF(), effects=(Mismatch(sigma=0.3),)), 3)
    found = bench(IF(), chip, current=[1e-9], duration=1e-3, neurons=20)
    np.testing.assert_allclose(found.v[0, 0], chip.neurons["gain"][:20])


def test_a_read_out_has_a_trace_and_no_rate() -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.3),)), 3)
    found = bench(Integrator(), chip, current=1e-9, duration=3e-3, neurons=4)
    assert set(found) == {"v"}
    np.testing.assert_allclose(found.v[0], np.outer([1, 2, 3], chip.readouts["gain"][:4]))


SPIKING = [kind() for kind in ALL if kind is not Integrator]
FAST = Torch(dtype="float64", device="cpu", compile=False)


@pytest.mark.parametrize("circuit", [*SPIKING, BRAINSCALES2, DYNAP_SE2], ids=lambda circuit: type(circuit).__name__)
def test_every_circuit_has_an_f_i_curve_on_a_chip(circuit: Circuit) -> None:
    chip = fabricate(ChipDesign(effects=(Mismatch(sigma=0.1),)), 3)
    unit = circuit.firing_drive / circuit.per_ampere(circuit.step)
    found = bench(
        circuit,
        chip,
        current=np.array([0.0, 0.5, 1.0, 2.0]) * unit,
        duration=2 * circuit.answers_within,
        step=circuit.step,
        neurons=3,
        engine=FAST,
    )
    assert (found.rate[0] == 0).all()
    assert (found.rate.diff("current") >= 0).all()
    assert (found.rate[-1] > 0).all()


def test_a_step_error_is_the_difference_to_half_the_step() -> None:
    current = [10e-12, 50e-12]
    found = step_error(DPI(), current=current, duration=0.05, engine=FAST)
    one, two = (bench(DPI(), current=current, duration=0.05, step=step, engine=FAST) for step in (1e-4, 5e-5))
    np.testing.assert_array_equal(found.spike_error, (one.spikes.sum("time") - two.spikes.sum("time"))[:, 0])
    first = int(np.argmax(one.spikes[1, :, 0].values)), int(np.argmax(two.spikes[1, :, 0].values)) // 2
    difference = (one.v.values[1, :, 0] - two.v.values[1, 1::2, 0])[: min(first)] / DPI().swing
    assert found.v_error[1] == pytest.approx(np.sqrt(np.mean(difference**2)))
    assert found.attrs["step"] == 1e-4


def test_a_step_error_falls_with_the_step_as_the_integrator_says() -> None:
    def error(circuit: Circuit, current: float, step: float) -> float:
        return float(step_error(circuit, current=current, duration=0.02, step=step, engine=FAST).v_error[0])

    euler, runge_kutta = DPI(i_fb_gain=0.0), AdEx()
    assert error(euler, 6e-12, 2e-4) / error(euler, 6e-12, 1e-4) == pytest.approx(2.0, rel=0.1)
    assert error(runge_kutta, 0.5e-9, 2e-4) / error(runge_kutta, 0.5e-9, 1e-4) == pytest.approx(4.0, rel=0.1)
    assert error(LIF(), 0.5e-9, 1e-4) > 0  # a charge port takes a step's charge at once
    assert set(step_error(Integrator(), current=1e-9, step=1e-3, engine=FAST)) == {"v_error"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"current": []}, "current must be one or more finite currents in ampere"),
        ({"current": [np.nan]}, "current must be one or more finite"),
        ({"current": [[1e-9]]}, "current must be one or more finite"),
        ({"neurons": 0}, "neurons must be a whole number of at least 1, not 0"),
        ({"neurons": 2.0}, "neurons must be a whole number"),
        ({"duration": 0.5e-3}, "duration = 0.0005 s must be finite and at least one step of 0.001 s"),
        ({"duration": np.inf}, "must be finite"),
        ({"step": 0.0}, "at least one step of 0 s"),
        ({"duration": 1 * brian2.volt}, "wrong unit: expected s"),
        ({"neurons": 7}, "this chip has 6 such circuits, fewer than the 7 asked for"),
    ],
)
def test_impossible_benches_are_refused(arguments: dict[str, object], sentence: str) -> None:
    chip = fabricate(ChipDesign(neurons=6), 0)
    with pytest.raises(ParameterError, match=sentence):
        bench(LIF(), chip, **{"current": [1e-9], **arguments})  # type: ignore[arg-type]


def test_a_read_out_on_a_bench_meets_no_noise_of_membranes() -> None:
    chip = fabricate(ChipDesign(effects=(MembraneNoise(sigma=0.2),)), 0)
    found = bench(Integrator(), chip, current=[0.0], duration=5e-3, neurons=2)
    assert not found.v.values.any()
    assert bench(LIF(), chip, current=[0.0], duration=5e-3, neurons=2).v.values.any()
