"""Prices of the cost ledger: what an operation of a chip costs, each with its unit, its source and its node."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

from chipsim.quantity import Parameters, declarations, quantity

JOULES = (0.0, 1e-3)
SECONDS = (0.0, 1e3)


@dataclass(frozen=True, kw_only=True)
class Prices(Parameters):
    """What an operation costs. Energies [J] of one:

    spike        spike of a neuron
    route        spike on its way to an array
    drive        row of a tile, driven in a step
    code         input code converted for its row (DAC)
    conversion   column's value converted (ADC)
    count        step of a spike counter
    look         look of the comparator at a membrane
    signal       error of a column, made and converted
    memory       word of a memory beside the cells, read and written back
    target       bit of a target or label streamed to the chip

    and read_time [s] in which an event drives its row, pulse_voltage [V] and pulse_time [s] of a write pulse, and link
    [bit/s], the speed of the stream. Every source names the work and the technology node.

    The defaults are circuits in 65 nm where values of that node were found, with RRAM cells. Prices of other circuits
    are a subclass that declares them with their sources, as DYNAP_SE1_PRICES is.
    """

    node: ClassVar[str] = "65 nm"

    spike: float = quantity(
        5.096e-12, "J", JOULES, "Moitra 2022 (SpikeSim, released code): 4 x 1.274 pJ of its neurons in a cycle; 65 nm"
    )
    route: float = quantity(
        11e-12, "J", JOULES, "Qiao and Indiveri 2019 (arXiv 1908.07413), abstract: an event of 26 bits; 28 nm"
    )
    drive: float = quantity(
        2.205e-13,
        "J",
        JOULES,
        "Moitra 2022 (SpikeSim, released code): 8 reads of a 64 x 64 array, 1.76423 pJ each, cells included, by its "
        "rows; 65 nm",
    )
    code: float = quantity(
        3.333e-12,
        "J",
        JOULES,
        "Shafiee 2016 (ISAAC), as in hwcomponents: 0.41667 pJ a bit, taken eight times for 8 bits; 32 nm",
    )
    conversion: float = quantity(2.03084e-12, "J", JOULES, "Moitra 2022 (SpikeSim, released code): 4-bit ADC; 65 nm")
    count: float = quantity(
        0.1e-12, "J", JOULES, "Horowitz 2014 (ISSCC), as in PMC8934428, table 3: addition of 32-bit integers; 45 nm"
    )
    look: float = quantity(
        67e-15,
        "J",
        JOULES,
        "Satapathy and Kaur 2023 (CSSP), abstract: worst case of a dynamic comparator, simulated; 65 nm",
    )
    signal: float = quantity(
        3.433e-12, "J", JOULES, "assumption: an addition as in count (45 nm) and a conversion as in code (32 nm)"
    )
    memory: float = quantity(
        10e-12,
        "J",
        JOULES,
        "Horowitz 2014 (ISSCC), as in PMC8934428, table 3: 5 pJ for 32 bits of 8 kB of cache, twice; 45 nm",
    )
    target: float = quantity(
        20.3e-12,
        "J",
        JOULES,
        "Horowitz 2014 (ISSCC), as repeated in public code: DRAM, 1.3 nJ for 64 bits, its lower end; 45 nm",
    )
    read_time: float = quantity(
        104e-9, "s", SECONDS, "Moitra 2022 (SpikeSim, released code): a cycle of 26 clocks at 250 MHz; 65 nm"
    )
    pulse_voltage: float = quantity(
        0.9,
        "V",
        (0.0, 100.0),
        "Chen 2017 (NeuroSim), AlOx/HfO2: recalled, not looked up; a cell of unknown size beside circuits in 65 nm",
    )
    pulse_time: float = quantity(
        100e-6,
        "s",
        SECONDS,
        "Chen 2017 (NeuroSim), AlOx/HfO2: recalled, not looked up; a cell of unknown size beside circuits in 65 nm",
    )
    link: float = quantity(
        743.6e6,
        "Hz",
        (1.0, 1e15),
        "Qiao and Indiveri 2019 (arXiv 1908.07413), abstract: 28.6 million events of 26 bits a second; 28 nm",
    )

    @property
    def ledger(self) -> dict[str, dict[str, Any]]:
        """Value, unit and source of every price; of one that is not the declared one, the source is who gave it."""
        declared = declarations(self)
        return {
            field.name: {
                "value": (value := getattr(self, field.name)),
                "unit": declared[field.name].unit,
                "source": declared[field.name].source if value == field.default else "given by the user",
            }
            for field in fields(self)
        }


@final
@dataclass(frozen=True, kw_only=True)
class DynapPrices(Prices):
    """DYNAP-SE1, its events at 1.3 V. What it has no circuit for, converters and learning, costs as in `Prices`."""

    node: ClassVar[str] = "180 nm"

    spike: float = quantity(
        767e-12, "J", JOULES, "Moradi 2018, recalled, not looked up: spike 260 pJ, its encoding 507 pJ; 180 nm"
    )
    route: float = quantity(
        2.278e-9, "J", JOULES, "Moradi 2018, recalled, not looked up: routing 78 pJ, broadcast in a core 2.2 nJ; 180 nm"
    )
    drive: float = quantity(
        26e-12, "J", JOULES, "Moradi 2018, recalled, not looked up: extension of a pulse at its synapses; 180 nm"
    )
    target: float = quantity(
        27.4e-12,
        "J",
        JOULES,
        "arXiv 1908.06532, abstract: LVDS link, 22.87 mA at 1.5 Gbit/s, taken at the process's 1.8 V; 180 nm",
    )
    read_time: float = quantity(10e-6, "s", SECONDS, "rockpool (DynapSim), default pulse of DYNAP-SE2; 180 nm")
    link: float = quantity(1.5e9, "Hz", (1.0, 1e15), "arXiv 1908.06532, abstract: LVDS link for events; 180 nm")


SPIKESIM_PRICES = Prices()
"""Circuits in 65 nm, most of them of SpikeSim."""
DYNAP_SE1_PRICES = DynapPrices()
"""Circuits in 180 nm; the values of DYNAP-SE1 are recalled and were not looked up."""
