"""The peer for one large population of neurons: Brian2 on the same equations, in Cython and as C++ with OpenMP.

`cython` and `standalone` return nanoseconds per neuron and step, each in a process of its own, since Brian2's device
and preferences are global. Alone: python tests/benchmarks/brian_dpi.py [neurons].
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import brian2
import numpy as np
from brian2 import Quantity
from brian2.units.fundamentalunits import get_unit
from numpy.typing import NDArray

from chipsim.circuits import DPI, Circuit
from chipsim.engines.brian import NAMES
from chipsim.quantity import declarations

REPEAT_AND_TIME = """
std::ofstream loops("loops.txt");
for (int repeat = 0; repeat < {repeats}; repeat++) {{
    {network}.run({seconds!r}, NULL, 10.0);
    loops << Network::_last_run_time << std::endl;
}}
"""
"""C++ for the program's main function: after the first run, more of them, and what Brian2's clock says of each."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons as plain data, in Brian2's words.

    A scalar of `namespace` is a constant. One with a value for each neuron becomes a constant parameter of the
    equations. `initial` has the state at the start, a value or one for each neuron; `method` and `dt` are the
    integrator's.
    """

    neurons: int
    equations: str
    threshold: str
    reset: str
    refractory: Quantity | str | bool = False
    namespace: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    method: str = "euler"
    dt: Quantity


def population_of(circuit: Circuit, drive: NDArray[np.float64], step: float) -> Population:
    """Return one of chipsim's circuits with a constant drive [SI] for each neuron, its text and numbers as they are."""
    units = {unit: getattr(brian2, name) for unit, name in NAMES.items()} | {"1": 1}
    constants = {name: getattr(circuit, name) * units[field.unit] for name, field in declarations(circuit).items()}
    return Population(
        neurons=len(drive),
        equations=circuit.equations,
        threshold=circuit.threshold or "",
        reset=circuit.reset or "",
        refractory=circuit.refractory or False,
        namespace=constants | {"drive": drive * (brian2.volt if circuit.port == "charge" else brian2.amp)},
        initial={state: constants[name] for state, name in circuit.initial.items()},
        method=circuit.method,
        dt=step * brian2.second,
    )


def cython(population: Population, *, repeats: int = 5, steps: int = 200) -> float:
    """Return ns per neuron and step of the runtime mode, one thread: a median, each a difference of two durations."""
    return _alone(_cython, population, repeats, steps)


def standalone(population: Population, *, repeats: int = 5, steps: int = 200, threads: int = 2) -> float:
    """Return ns per neuron and step of the built program, Brian2's default optimisation: the median of its loops.

    Brian2's own clock in the program times a loop alone: no start, no files.
    """
    return _alone(_standalone, population, repeats, steps, threads)


def firing_rate(population: Population, *, steps: int = 1000) -> float:
    """Return spikes per neuron and second, untimed: that the neurons which are timed do spike."""
    return _alone(_firing_rate, population, steps)


def _alone(function: Callable[..., float], *arguments: object) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def _cython(population: Population, repeats: int, steps: int) -> float:
    brian2.prefs.codegen.target = "cython"
    network = brian2.Network(_group(population))

    def seconds(count: int) -> float:
        start = time.perf_counter()
        network.run(count * population.dt, namespace={})
        return time.perf_counter() - start

    few = steps // 10
    seconds(few)  # generates and compiles the code
    loops = [seconds(steps + few) - seconds(few) for _ in range(repeats)]
    return statistics.median(loops) / (population.neurons * steps) * 1e9


def _standalone(population: Population, repeats: int, steps: int, threads: int) -> float:
    brian2.prefs.devices.cpp_standalone.openmp_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        brian2.set_device("cpp_standalone", build_on_run=False, directory=folder)
        network = brian2.Network(_group(population))
        brian2.device.insert_code(
            "after_network_run",
            REPEAT_AND_TIME.format(network=network.name, seconds=float(steps * population.dt), repeats=repeats),
        )
        network.run(steps * population.dt, namespace={})
        brian2.device.build(directory=folder, with_output=False)
        loops = [float(line) for line in (Path(folder) / "loops.txt").read_text().split()]
    return statistics.median(loops) / (population.neurons * steps) * 1e9


def _firing_rate(population: Population, steps: int) -> float:
    brian2.prefs.codegen.target = "numpy"
    group = _group(population)
    spikes = brian2.SpikeMonitor(group, record=False)
    duration = steps * population.dt
    brian2.Network(group, spikes).run(duration, namespace={})
    return spikes.num_spikes / population.neurons / float(duration)


def _group(population: Population) -> brian2.NeuronGroup:
    brian2.defaultclock.dt = population.dt
    arrays = {name: value for name, value in population.namespace.items() if np.ndim(value)}
    group = brian2.NeuronGroup(
        population.neurons,
        "\n".join([population.equations, *(f"{name} : {_unit(value)} (constant)" for name, value in arrays.items())]),
        threshold=population.threshold,
        reset=population.reset,
        refractory=population.refractory,
        method=population.method,
        namespace={name: value for name, value in population.namespace.items() if name not in arrays},
    )
    for name, value in {**arrays, **population.initial}.items():
        setattr(group, name, value)
    return group


def _unit(value: Any) -> str:
    dimensions = brian2.get_dimensions(value)
    return "1" if dimensions.is_dimensionless else repr(get_unit(dimensions))


def main(neurons: int = 262_144) -> None:
    """Print the three figures of the DPI neurons."""
    drives = np.random.default_rng(0).uniform(0, 200e-12, neurons)
    population = population_of(DPI(), drives, DPI().step)
    print(f"{neurons} DPI neurons, float64, Brian2 {brian2.__version__}")
    print(f"  {firing_rate(population_of(DPI(), drives[:4096], DPI().step)):8.1f} spikes per neuron and second")
    print(f"  {cython(population):8.2f} ns per neuron and step, cython, one thread")
    print(f"  {standalone(population):8.2f} ns per neuron and step, C++ standalone, 2 OpenMP threads")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
