"""Write and verify: a controller that looks at what it wrote."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from chipsim.arrays import AnyArray, namespace
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.quantity import quantity, whole
from chipsim.writers.base import Writer


@final
@dataclass(frozen=True, kw_only=True)
class WriteVerify(Writer):
    """wanted += change; cells whose target moved by at least one level are written, read, and written again, until they
    are within `window` of their target, a share of the device's range, or were written `rounds` times in all.

    A device that answers to pulses gets round(error / pulse) of them in each round, at least one; another is programmed
    anew. The controller's memory of `wanted` is exact, and it reads what stands in each cell alone: without ageing,
    read noise, wires, and factors on what is read, as of mismatch (`verify` of `deploy` corrects these).
    """

    words: ClassVar[int] = 1

    window: float = quantity(0.02, "1", (1e-6, 1.0))
    rounds: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.rounds, "WriteVerify.rounds", 1)

    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams | None, time: Any) -> Cells:
        xp, device = namespace(change), array.device
        wanted = array.clip(cells.wanted + change)
        target = array.asked(wanted, cells)
        wrong = target != cells.target
        if device.pulses:
            cells = cells.copied()
        for _ in range(self.rounds):
            if not bool(wrong.any()):
                break
            if device.pulses:
                assert rng is not None
                places = xp.nonzero(wrong)
                error = (target - cells.g)[places]
                whole = xp.clip(xp.round(abs(error) / device.pulse_size), min=1.0)
                array.pulse(cells, places, xp.sign(error) * whole, rng, time)
            else:
                cells = array.rewritten(cells, wanted, target, wrong, rng, time)
            wrong = wrong & (abs(cells.g - target) > self.window * (device.g_max - device.g_min))
        return replace(cells, wanted=wanted, target=target if device.pulses else cells.target)
