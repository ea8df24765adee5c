"""The peers of the benchmarks run the circuits as they are today; their speed is measured by `make bench` alone."""

import brian_dpi
import numpy as np
import pytest

import chipsim as cs


def test_the_peer_of_dpi_neurons_fires_as_they_do():
    circuit, drive = cs.DPI(), np.linspace(50e-12, 200e-12, 16)
    ours = cs.bench(circuit, current=drive, duration=1000 * circuit.step, step=circuit.step).rate
    theirs = brian_dpi.firing_rate(brian_dpi.population_of(circuit, drive, circuit.step), steps=1000)
    assert theirs > 20
    assert theirs == pytest.approx(float(ours.mean()), rel=0.02)
