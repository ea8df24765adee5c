from collections.abc import Callable

import pytest

from chipsim.effects import (
    ALL,
    DYNAP_SE2_DIE,
    DYNAP_SE2_FAST,
    BrokenLines,
    CircuitNoise,
    Converters,
    DeadNeurons,
    Effect,
    FailingTiles,
    HotNeurons,
    MembraneNoise,
    Mismatch,
    ReadNoise,
    SenseAmplifiers,
    SiliconMismatch,
    StuckCells,
)
from chipsim.effects.mismatch import KINDS
from chipsim.testing import conformance

VARIANTS: dict[str, Effect] = {
    **{f"Mismatch of {kind}": Mismatch(sigma=0.3, kinds=(kind,)) for kind in KINDS},
    "Mismatch, strong": Mismatch(sigma=0.5),
    "CircuitNoise": CircuitNoise(excess=1e4),  # of one pF alone it changes too few spikes to be seen
    "CircuitNoise that flickers": CircuitNoise(excess=1e4, corner=1e3, window=1.0),
    "MembraneNoise, strong": MembraneNoise(sigma=0.5),
    "MembraneNoise, of longer steps": MembraneNoise(sigma=0.1, reference=4e-3),
    "ReadNoise of each cell": ReadNoise(sigma=0.1, relative_to="cell"),
    "Converters of rows only": Converters(dac_bits=4, adc_bits=0),
    "Converters of columns only": Converters(dac_bits=0, adc_bits=5, adc_range=3.0),
    "Converters with errors": Converters(adc_gain=0.01, adc_offset=0.5, adc_unit=0.02),
    "DYNAP_SE2_DIE": DYNAP_SE2_DIE,
    "DYNAP_SE2_FAST": DYNAP_SE2_FAST,
    "SiliconMismatch of cells too": SiliconMismatch(transistor_cells=True, edge_rows=0.9, edge_columns=1.1),
    "DeadNeurons by place": DeadNeurons(rate=0.0, places=(0, 3, 63)),
    "HotNeurons by place": HotNeurons(rate=0.0, places=(5,)),
    "FailingTiles by place": FailingTiles(rate=0.0, places=(1,)),
    "BrokenLines by place": BrokenLines(rate=0.0, word_places=((0, 0, 3, 0), (1, 1, 2, 4)), bit_places=((2, 0, 9, 1),)),
    "StuckCells by place": StuckCells(rate=0.0, at_max=1.0, places=((0, 0, 3, 2), (1, 1, 5, 6))),
    "SenseAmplifiers, noisy": SenseAmplifiers(noise=0.3, hold=0.1),
    "StuckCells at g_min": StuckCells(rate=0.1, at_max=0.0),
}
EFFECTS = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.EFFECT)
@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
def test_effect(effect: Effect, check: Callable[[Effect], None]) -> None:
    check(effect)
