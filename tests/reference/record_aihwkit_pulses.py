"""Record how aihwkit 1.1's device presets answer to pulses, to data/aihwkit_pulses.json. Needs aihwkit.

Of each preset 10,000 cells in each of 8 runs, from weight 0: pulses upwards, then twice as many downwards; mean and
standard deviation of the weights as read, at eight points. Shares of corrupt devices ship as 0 and stay so.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

PRESETS = {
    "ReRamES": 400,
    "ReRamSB": 600,
    "Capacitor": 200,
    "EcRam": 600,
    "EcRamMO": 4000,
    "GokmenVlasov": 600,
    "Idealized": 4000,
    "PCM": 20,
    "ReRamArrayOM": 12,
    "ReRamArrayHfO2": 4,
}
SIZE = 100
RUNS = 8


def record() -> None:
    import torch
    from aihwkit.simulator.configs import SingleRPUConfig, UpdateParameters
    from aihwkit.simulator.parameters.enums import PulseType
    from aihwkit.simulator.presets import devices
    from aihwkit.simulator.tiles import AnalogTile

    update = UpdateParameters(
        desired_bl=1,
        update_bl_management=False,
        update_management=False,
        pulse_type=PulseType.DETERMINISTIC_IMPLICIT,
    )
    ones = torch.ones(1, SIZE)
    found = {}
    for name, pulses in PRESETS.items():
        marks = {round(pulses * share) for share in (0.25, 0.5, 0.75, 1.0)}
        points: dict[int, list[torch.Tensor]] = {}
        for run in range(RUNS):
            torch.manual_seed(run + 1)
            device = getattr(devices, f"{name}PresetDevice")(construction_seed=run + 1)
            tile = AnalogTile(SIZE, SIZE, SingleRPUConfig(device=device, update=update))
            tile.set_weights(torch.zeros(SIZE, SIZE))
            tile.set_learning_rate(1.0)  # one pulse an update, whatever the step
            for direction, count in ((1, pulses), (-1, 2 * pulses)):
                at = marks if direction > 0 else {2 * mark for mark in marks}
                for pulse in range(1, count + 1):
                    tile.update(ones, -direction * ones)
                    if pulse in at:
                        points.setdefault(direction * pulse, []).append(tile.get_weights()[0].clone())
        found[name] = [[at, *_moments(torch.stack(weights))] for at, weights in points.items()]
        print(name, found[name], flush=True)
    about = {"aihwkit": version("aihwkit"), "torch": version("torch"), "seed": 1, "count": SIZE**2, "runs": RUNS}
    path = Path(__file__).parent / "data" / "aihwkit_pulses.json"
    path.write_text(json.dumps({**about, "points": found}, indent=1) + "\n")


def _moments(weights: Any) -> list[float]:
    return [float(weights.double().mean()), float(weights.double().std())]


if __name__ == "__main__":
    record()
