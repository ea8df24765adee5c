"""What works with what: every pair of parts, tried on a small network, as tables in Markdown.

`python -m chipsim.testing.support > SUPPORT.md` writes them; a test holds the file to what it finds.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chipsim import circuits, devices, effects, engines, host, rules, writers
from chipsim.chip import ChipDesign, fabricate
from chipsim.circuits import IF, LIF, Circuit
from chipsim.deployment import Deployment, deploy
from chipsim.effects import Effect
from chipsim.engines import Engine
from chipsim.errors import ParameterError
from chipsim.learning import learn
from chipsim.network import Network
from chipsim.report import RareEventWarning
from chipsim.streams import stream

WORKS = "yes"
WINDOW = 16
ENGINES: tuple[Engine, ...] = (engines.Brian(), engines.Torch(dtype="float64"))


class Samples:
    """A few samples with labels and targets, of a network of 6, 8 and 3."""

    inputs = stream(0, "support", "inputs").uniform(0.0, 2.0, (4, 6))
    labels = np.arange(4) % 3
    readout = "labels"

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, epoch: int = 0) -> Any:
        """Yield all samples at once, each neuron's target at half of its largest rate."""
        yield self.inputs, self.labels, (np.full((4, 8), 0.5), np.eye(3)[self.labels])


def deployed(design: ChipDesign, engine: Engine) -> Deployment:
    """Return the small network on a chip of this design, with the circuit's own step."""
    network = Network.random((6, 8, 3), seed=0)
    return deploy(network, fabricate(design, 0), window=WINDOW, step=design.circuit.step, engine=engine)


def _design(**parts: Any) -> ChipDesign:
    return ChipDesign(tiles=4, rows=12, columns=12, neurons=16, readouts=8, **{"circuit": LIF(), **parts})


def _attempt(run: Callable[[], Any]) -> str:
    """ "yes", or the sentence with which it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RareEventWarning)  # nothing was tried where nothing happened
        try:
            run()
        except ParameterError as error:
            return str(error)
    return WORKS


def presented(**parts: Any) -> Callable[[], None]:
    """Return a run that presents samples on both engines and asks for the effect report."""

    def run() -> None:
        for engine in ENGINES:
            snn = deployed(_design(**parts), engine)
            outputs = snn.outputs(Samples.inputs)
            assert np.isfinite(outputs).all(), f"{parts} on {type(engine).__name__}: outputs are not finite"
            snn.effect_report()

    return run


def taught(rule: Any, writer: Any = None, **parts: Any) -> Callable[[], None]:
    """Return a run that learns one batch on both engines."""

    def run() -> None:
        for engine in ENGINES:
            snn = deployed(_design(**parts), engine)
            learn(snn, Samples(), rule=rule, writer=writer, batch=4, progress=False)
            assert all(np.isfinite(snn.weights(layer)).all() for layer in range(2)), f"{parts}: weights not finite"

    return run


def trained(method: Any, **parts: Any) -> Callable[[], None]:
    """Return a run that trains one batch from the host on the fast engine."""

    def run() -> None:
        snn = deployed(_design(**parts), ENGINES[1])
        host.train_in_the_loop(snn, Samples(), method=method, batch=4, progress=False)
        if not np.isfinite(snn.outputs(Samples.inputs)).all():
            raise AssertionError(f"{method} left numbers that are not finite")

    return run


def _effects() -> list[Effect]:
    """Effects as they are by default, but faults so frequent that a small chip has some."""
    frequent: dict[str, Any] = {"rate": 0.4}
    every: list[Effect] = [kind() for kind in effects.ALL]
    return [replace(effect, **frequent) if hasattr(effect, "rate") else effect for effect in every]


def _spiking() -> list[Circuit]:
    return [circuit for kind in circuits.ALL if (circuit := kind()).threshold is not None]


TABLES: dict[str, Callable[[], tuple[Sequence[Any], Sequence[Any], Callable[[Any, Any], Callable[[], None]]]]] = {
    "Circuits and effects, both engines": lambda: (
        _effects(), _spiking(),
        lambda effect, circuit: presented(circuit=circuit, effects=(effect,)),
    ),
    "Devices and effects, both engines": lambda: (
        _effects(), [kind() for kind in devices.ALL],
        lambda effect, device: presented(device=device, effects=(effect,)),
    ),
    "Circuits and local rules, both engines": lambda: (
        [kind() for kind in rules.ALL], _spiking(), lambda rule, circuit: taught(rule, circuit=circuit)
    ),
    "Devices and local rules, both engines": lambda: (
        [kind() for kind in rules.ALL], [kind() for kind in devices.ALL],
        lambda rule, device: taught(rule, device=device),
    ),
    "Devices and writers, both engines": lambda: (
        [kind() for kind in writers.ALL], [kind() for kind in devices.ALL],
        lambda writer, device: taught(rules.Delta(warm_up=4), writer, device=device),
    ),
    "Circuits and host methods": lambda: (
        [kind() for kind in host.ALL], [*_spiking(), IF(soft_reset=True)],
        lambda method, circuit: trained(method, circuit=circuit),
    ),
}  # fmt: skip


def _named(part: Any) -> str:
    return f"{type(part).__name__}{'(soft_reset=True)' if getattr(part, 'soft_reset', False) else ''}"


def table(title: str) -> str:
    """Return one table: rows and columns by class name, "yes", or the number of a note with the refusal."""
    rows, columns, run = TABLES[title]()
    notes: list[str] = []
    lines = [f"## {title}", "", f"| | {' | '.join(map(_named, columns))} |"]
    lines.append("|---|" + "---|" * len(columns))
    for row in rows:
        cells = []
        for column in columns:
            found = _attempt(run(row, column))
            if found != WORKS:
                for part, name in ((column, "the column"), (row, "the row")):
                    found = re.sub(rf"(this )?\b{type(part).__name__}\b(?!\()", name, found)
                found = found[0].upper() + found[1:]
                if found not in notes:
                    notes.append(found)
                found = f"no ({notes.index(found) + 1})"
            cells.append(found)
        lines.append(f"| {type(row).__name__} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), *[""][: len(notes)]])


HEAD = """# What works with what

The pairs below, tried on a network of 6-8-3 with each part's defaults (faults more frequent): "yes" where it ran and
gave finite numbers (and effects their report; host methods ran by the fast engine); "no" where it is refused, with the
sentence. Written by `python -m chipsim.testing.support`.
"""


def document() -> str:
    """Return all tables, as SUPPORT.md has them."""
    return "\n".join([HEAD, *(table(title) for title in TABLES)]).rstrip() + "\n"


if __name__ == "__main__":
    print(document(), end="")
