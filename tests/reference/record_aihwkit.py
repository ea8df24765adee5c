"""Record what aihwkit's PCMLikeNoiseModel makes of conductances, in three steps, of which the second needs aihwkit 1.1:

python tests/reference/record_aihwkit.py targets FOLDER     the target conductances of the study's network
python tests/reference/record_aihwkit.py draw FOLDER        with aihwkit: draws at every age, and data/aihwkit_pcm.json
python tests/reference/record_aihwkit.py accuracy FOLDER    accuracies, to studies/results/aihwkit_pcm.json
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

AGES = (25.0, 3600.0, 86_400.0, 2_592_000.0)
LEVELS = (2.5e-6, 7.5e-6, 12.5e-6, 17.5e-6, 25e-6)
DRAWS, COUNT = 10, 20_000
DATA = Path(__file__).parent / "data" / "aihwkit_pcm.json"
RESULT = Path(__file__).parents[2] / "studies" / "results" / "aihwkit_pcm.json"


def deployed():
    """The study's network, on cells that do not age but have the range of PCM."""
    import dataclasses

    import chipsim as cs
    from chipsim.study import Settings
    from studies import accuracy_over_time as study
    from studies.reference_teacher import fitted, taught

    options = {option.name: option.values[0] for option in study.STUDY.options}
    settings = Settings(dataset="fashion-mnist", seed=0, options=options)
    found = taught(settings, progress=True)
    network = found.teacher.network(percentile=float(options["percentile"]))
    pcm = study.AGEING["pcm"]
    ideal = cs.Ideal(g_min=pcm.g_min, g_max=pcm.g_max)
    design = dataclasses.replace(fitted(study.design(settings), network), device=ideal)
    return cs.deploy(network, cs.fabricate(design, seed=0), engine=cs.Torch()), found, network


def targets(folder: Path) -> None:
    snn, _, _ = deployed()
    np.savez(folder / "targets.npz", *(np.asarray(cells.target, dtype=np.float32) for cells in snn.cells))


def draw(folder: Path) -> None:
    import torch
    from aihwkit.inference import PCMLikeNoiseModel

    torch.manual_seed(0)
    model = PCMLikeNoiseModel(g_max=25.0)

    def aged(target, age):
        g = model.apply_programming_noise_to_conductance(target.clone())
        return g, model.apply_drift_noise_to_conductance(g, model.generate_drift_coefficients(target.clone()), age)

    with np.load(folder / "targets.npz") as file:
        layers = [torch.tensor(file[name]) * 1e6 for name in file.files]
    for number in range(DRAWS):
        for age in AGES:
            found = [[part.numpy() * 1e-6 for part in aged(target, age)] for target in layers]
            arrays = {f"{what}{k}": g for k, pair in enumerate(found) for what, g in zip("pg", pair, strict=True)}
            np.savez(folder / f"drawn_{number}_{age:g}.npz", **arrays)
    statistics = []
    for level in LEVELS:
        for age in AGES:
            g, now = (1e-6 * part.numpy() for part in aged(torch.full((COUNT,), level * 1e6), age))
            statistics.append(
                {"level": level, "age": age, "programmed": [float(g.mean()), float(g.std(ddof=1))],
                 "aged": [float(now.mean()), float(now.std(ddof=1))]}
            )  # fmt: skip
    about = {"model": "PCMLikeNoiseModel(g_max=25.0)", "aihwkit": version("aihwkit"), "torch": version("torch")}
    DATA.write_text(json.dumps({**about, "seed": 0, "count": COUNT, "statistics": statistics}, indent=1) + "\n")


def accuracy(folder: Path) -> None:
    import dataclasses

    snn, found, network = deployed()
    engine = snn.engine
    scores: dict[str, dict[str, list[float]]] = {"none": {}, "gain": {}}
    for number in range(DRAWS):
        for age in AGES:
            with np.load(folder / f"drawn_{number}_{age:g}.npz") as file:
                cells = [[engine.array(file[f"{what}{k}"]) for k in range(len(snn.cells))] for what in "pg"]
            sums = []
            for part in cells:
                for index, g in enumerate(part):
                    snn.write(index, dataclasses.replace(snn.cells[index], g=g))
                sums.append([np.abs(snn.weights(index)).sum() for index in range(len(snn.cells))])
            plain = snn.snapshot()
            for remedy, gains in (("none", None), ("gain", np.divide(*sums))):
                if gains is not None:
                    snn.gains = tuple(map(float, gains))
                    for index in range(len(snn.cells)):
                        snn.write(index, snn.cells[index])
                scores[remedy].setdefault(f"{age:g}", []).append(snn.accuracy(found.judged))
                snn.restore(plain)
            print(number, age, *(scores[remedy][f"{age:g}"][-1] for remedy in scores), flush=True)
    about = json.loads(DATA.read_text())
    RESULT.write_text(
        json.dumps(
            {
                **{name: about[name] for name in ("model", "aihwkit", "torch", "seed")},
                "network": network.hash,
                "split": found.split,
                "samples": len(found.judged),
                "draws": DRAWS,
                "accuracy": {r: {age: float(np.mean(v)) for age, v in by.items()} for r, by in scores.items()},
                "std": {r: {age: float(np.std(v, ddof=1)) for age, v in by.items()} for r, by in scores.items()},
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    {"targets": targets, "draw": draw, "accuracy": accuracy}[sys.argv[1]](Path(sys.argv[2]))
