"""One circuit population alone, driven by currents: bench() gives traces, spikes and f-I curve, step_error() what the
length of the step does to them.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from chipsim.arrays import to_numpy
from chipsim.chip import Chip
from chipsim.circuits import Circuit
from chipsim.engines import Engine, Stage, StageState, Watch, Window, reference
from chipsim.errors import ParameterError
from chipsim.probe import variable
from chipsim.quantity import check_unit, to_si, whole
from chipsim.schema import DIMENSIONS
from chipsim.streams import White


def bench(
    circuit: Circuit,
    chip: Chip | None = None,
    *,
    current: ArrayLike,
    duration: float = 0.1,
    step: float | None = None,
    neurons: int = 1,
    engine: Engine | None = None,
) -> xr.Dataset:
    """Drive `neurons` circuits with each of the constant input currents [A] for `duration` [s], in steps of `step` [s],
    by default the circuit's own.

    With a chip, the first `neurons` of its spiking circuits as fabricated with `circuit` in place of the design's: the
    same seed, mismatch, membrane noise and losses of spikes. Without one, nominal circuits. A current i moves a
    membrane by i step / C in a step, or enters the equations of a circuit with a current port.
    Returns v(current, time, neuron), the membrane before reset in the circuit's unit, spikes(current, time, neuron),
    and for circuits that spike the f-I curve rate(current, neuron) [Hz] and threshold(neuron) in the circuit's unit.

    >>> from chipsim.circuits import IF
    >>> float(bench(IF(), current=[0.0, 301e-12], duration=0.02).rate.max())  # 0.301 V a step: every second step
    500.0
    """
    if not isinstance(circuit, Circuit):
        raise ParameterError(f"bench needs a circuit, as LIF() is, not {circuit!r}")
    check_unit(current, "A", "current")
    try:
        currents = np.atleast_1d(np.asarray(current, dtype=float))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"current must be one or more currents in ampere: {error}") from error
    seconds = circuit.step if step is None else to_si(step, "s", "step")
    length = to_si(duration, "s", "duration")
    if currents.ndim != 1 or not currents.size or not np.isfinite(currents).all():
        raise ParameterError("current must be one or more finite currents in ampere")
    if not 0 < seconds <= length < np.inf:
        raise ParameterError(f"duration = {length:g} s must be finite and at least one step of {seconds:g} s")
    circuit.check_step(seconds)
    states: list[StageState] = []
    steps = round(length / seconds)
    parameters = _bank(circuit, chip, neurons)
    drive_bank(
        circuit,
        parameters,
        currents[:, None],
        drive=np.full(neurons, circuit.per_ampere(seconds)),
        chip=chip,
        steps=steps,
        step=seconds,
        engine=engine or reference(),
        see=lambda first, state: states.append(state),
        v=True,
    )
    found = _dataset(circuit, states, currents, seconds)
    if "threshold" in circuit.roles:
        values = parameters[circuit.roles["threshold"]]
        found["threshold"] = variable(("neuron",), values, circuit.membrane_unit, "threshold")
    return found.assign_attrs(chip.provenance) if chip else found


def drive_bank(
    circuit: Circuit,
    parameters: Mapping[str, NDArray[np.float64]],
    inputs: NDArray[np.float64],
    *,
    drive: NDArray[np.float64],
    chip: Chip | None,
    steps: int,
    step: float,
    engine: Engine,
    see: Callable[[int, StageState], None],
    v: bool,
    first: int = 0,
) -> None:
    """Run a bank of circuits with per-neuron `parameters` [neurons] alone, side by side in every sample of a batch.

    inputs, [batch, 1] for all steps or [steps, batch, 1], times drive [neurons] is what each receives in a step, in
    units of the circuit's port. chip: whose membrane noise and losses of spikes act, keyed by the numbers of the
    samples, from `first` on. see: called with the first of some steps and the state in them, its membrane too if `v`.
    """
    weights = engine.array(drive[None])
    white: tuple[White, ...] = ()
    lost: tuple[White, ...] = ()
    if chip is not None and circuit.threshold is not None:
        white = tuple(chip.noise("membrane", circuit, ("bench",), step).values())
        lost = tuple(chip.noise("loss", circuit, ("bench", "loss"), step).values())

    def seen(index: int, at: int, state: StageState) -> bool:
        see(at, state)
        return False

    batch = inputs.shape[-2]
    engine.run(
        [Stage(circuit=circuit, parameters=parameters, weights=lambda: weights, lossy=bool(lost))],
        [
            Window(
                inputs=inputs,
                numbers=range(first, first + batch),
                noise=(white or None,),
                losses=(lost or None,),
            )
        ],
        count=1,
        batch=batch,
        steps=steps,
        step=step,
        watch=Watch(see=seen, v=[v]),
    )


def step_error(
    circuit: Circuit,
    *,
    current: ArrayLike,
    duration: float = 0.1,
    step: float | None = None,
    engine: Engine | None = None,
) -> xr.Dataset:
    """Estimate what steps of `step` seconds, by default the circuit's own, cost: the same run in steps of half of it.

    Nominal circuits, driven with each of the constant currents [A] for `duration` [s]; see `bench`. Returns, by
    current, spike_error: spikes more than in half steps (not for read-outs), and v_error: the root mean square of the
    membrane's difference until the first spike of either run, over the circuit's swing (NaN for one in the first step).

    >>> from chipsim.circuits import DPI, DynapSE
    >>> euler, runge_kutta = (step_error(kind(), current=20e-12).v_error.item() for kind in (DPI, DynapSE))
    >>> euler > 0.01 > runge_kutta
    True
    """
    seconds = circuit.step if step is None else to_si(step, "s", "step")
    coarse = bench(circuit, current=current, duration=duration, step=seconds, engine=engine)
    steps = coarse.sizes["time"]
    fine = bench(circuit, current=current, duration=steps * seconds, step=seconds / 2, engine=engine)
    difference = (coarse.v.values - fine.v.values[:, 1::2])[:, :, 0] / circuit.swing
    before, found = np.ones(difference.shape, bool), {}
    if circuit.threshold is not None:
        spikes = coarse.spikes.values[:, :, 0], fine.spikes.values[:, :, 0]
        either = (spikes[0] + spikes[1].reshape(len(spikes[1]), steps, 2).sum(axis=2)) > 0
        before = ~np.logical_or.accumulate(either, axis=1)
        more = spikes[0].sum(axis=1) - spikes[1].sum(axis=1)
        found["spike_error"] = variable(("current",), more, "1", "spikes more than in half steps")
    compared = before.sum(axis=1)
    rms = np.sqrt((difference**2 * before).sum(axis=1) / np.maximum(compared, 1))
    rms[compared == 0] = np.nan
    found["v_error"] = variable(("current",), rms, "1", "rms of the membrane against half steps, over the swing")
    return xr.Dataset(found, {"current": coarse.current}, {"step": seconds})


def _bank(circuit: Circuit, chip: Chip | None, neurons: int) -> dict[str, NDArray[np.float64]]:
    neurons = whole(neurons, "neurons", 1)
    if chip is None:
        return {name: np.full(neurons, value) for name, value in circuit.nominal().items()}
    if circuit.threshold is None:
        bank = dataclasses.replace(chip, design=dataclasses.replace(chip.design, readout=circuit)).readouts
    else:
        bank = dataclasses.replace(chip, design=dataclasses.replace(chip.design, circuit=circuit)).neurons
    available = len(next(iter(bank.values())))
    if neurons > available:
        raise ParameterError(f"this chip has {available} such circuits, fewer than the {neurons} asked for")
    return {name: values[:neurons] for name, values in bank.items()}


def _dataset(circuit: Circuit, states: list[StageState], currents: NDArray[np.float64], step: float) -> xr.Dataset:
    dims = ("current", "time", "neuron")
    v, spikes = (
        np.concatenate([to_numpy(getattr(state, name)) for state in states]).swapaxes(0, 1) for name in ("v", "spikes")
    )
    time = (np.arange(v.shape[1]) + 1) * step
    found = {"v": variable(dims, v, circuit.membrane_unit, "membrane before reset")}
    if circuit.threshold is not None:
        found["spikes"] = variable(dims, spikes, "1", "spikes")
        found["rate"] = variable(("current", "neuron"), spikes.mean(axis=1) / step, "Hz", "firing rate")
    coords = {"current": currents, "time": time, "neuron": np.arange(v.shape[2])}
    return xr.Dataset(found, {name: variable((name,), values, *DIMENSIONS[name]) for name, values in coords.items()})
