"""A die is the same die: in another process, for another network, in whatever order its arrays are asked for."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipsim.chip import Chip, ChipDesign, fabricate, known_types
from chipsim.circuits import IF
from chipsim.devices import ECRAM_MO_KIM_2019, RRAM_MILO_2021
from chipsim.effects import DeadNeurons, MembraneNoise, Mismatch, StuckCells
from chipsim.quantity import canonical_json, from_json
from chipsim.testing import strategies

SIZE = {"tiles": 2, "rows": 5, "columns": 4, "neurons": 9, "readouts": 3}
DESIGNS = [
    ChipDesign(**SIZE),
    ChipDesign(circuit=IF(soft_reset=True, v_floor=-1.0), device=RRAM_MILO_2021, **SIZE),
    ChipDesign(effects=(Mismatch(sigma=0.3),), **SIZE),
    ChipDesign(device=ECRAM_MO_KIM_2019, pair="reference", **SIZE),
    ChipDesign(effects=(StuckCells(rate=0.3), DeadNeurons(rate=0.3), Mismatch(kinds=("reset",))), **SIZE),
    ChipDesign(effects=(MembraneNoise(sigma=0.1), Mismatch(sigma=0.0)), **SIZE),
]
ELSEWHERE = """
import json, sys
from chipsim.chip import fabricate, known_types
from chipsim.quantity import from_json
sys.path.insert(0, sys.argv[1])
from test_chips import digest
for design, seed in json.load(sys.stdin):
    chip = fabricate(from_json(design, known_types()), seed)
    print(chip.hash, digest(chip))
"""


def digest(chip: Chip) -> str:
    """Hash of everything that the chip draws."""
    found = hashlib.sha256()
    for bank in (
        chip.neurons, chip.readouts, *chip.tile(1), chip.cells(1), *chip.frozen_neurons, *chip.frozen_readouts,
    ):  # fmt: skip
        for name in sorted(bank):
            found.update(name.encode() + bank[name].tobytes())
    return found.hexdigest()


def test_the_same_design_and_seed_give_the_same_die_in_another_process() -> None:
    chips = [fabricate(design, seed) for design in DESIGNS for seed in (0, 7)]
    asked = json.dumps([[json.loads(canonical_json(chip.design)), chip.seed] for chip in chips])
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(Path(__file__).parent)],
        input=asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split("\n")[:-1] == [f"{chip.hash} {digest(chip)}" for chip in chips]
    assert len({chip.hash for chip in chips}) == len(chips)


@given(strategies.designs(), strategies.SEEDS)
def test_hash_is_of_design_and_seed(design: ChipDesign, seed: int) -> None:
    chip = fabricate(design, seed)
    assert chip.hash == fabricate(from_json(json.loads(canonical_json(design)), known_types()), seed).hash
    assert chip.hash != fabricate(design, seed + 1).hash
    assert design == from_json(json.loads(canonical_json(design)), known_types())


@given(strategies.chips(), st.permutations(["neurons", "readouts", "tile"]))
def test_the_order_of_questions_plays_no_part(chip: Chip, order: list[str]) -> None:
    again = fabricate(chip.design, chip.seed)
    for question in order:
        answer = again.tile(0) if question == "tile" else getattr(again, question)
        assert answer is not None
    assert digest(again) == digest(fabricate(chip.design, chip.seed))


@given(strategies.chips())
def test_saved_chips_come_back(tmp_path_factory: pytest.TempPathFactory, chip: Chip) -> None:
    path = tmp_path_factory.mktemp("chip") / "die.h5"
    chip.save(path)
    back = Chip.load(path)
    assert (back.design, back.seed, back.hash) == (chip.design, chip.seed, chip.hash)
    assert digest(back) == digest(chip)


@given(strategies.chips(), strategies.SEEDS)
def test_measured_chips_come_back(tmp_path_factory: pytest.TempPathFactory, drawn: Chip, seed: int) -> None:
    rng = np.random.default_rng(seed)
    measured = {
        f"{place}/{effect.name}/{kind}": values * rng.uniform(0.5, 1.0, values.shape)
        for place, bank in (("neurons", drawn.frozen_neurons), ("tiles/1", drawn._drawn_tile(1)))
        for effect, frozen in zip(drawn.design.acting, bank, strict=True)
        for kind, values in frozen.items()
    }
    measured |= {f"tiles/1/device/{kind}": 0.9 * values for kind, values in drawn.cells(1).items()}
    chip = Chip.from_measurements(drawn.design, measured, seed=drawn.seed)
    assert (chip.hash == drawn.hash) == (not measured)
    for effect, frozen in zip(chip.design.acting, chip.frozen_neurons, strict=True):
        for kind, values in frozen.items():
            np.testing.assert_array_equal(values, measured[f"neurons/{effect.name}/{kind}"])
    for kind, values in chip.cells(1).items():
        np.testing.assert_array_equal(values, measured[f"tiles/1/device/{kind}"])
    path = tmp_path_factory.mktemp("chip") / "die.h5"
    chip.save(path)
    back = Chip.load(path)
    assert back.hash == chip.hash
    assert digest(back) == digest(chip)
