"""An array's update comes from its own signals alone, through learn(), whatever happens in the rest of the chip."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import chipsim as cs
from chipsim.arrays import AnyArray, to_numpy
from chipsim.crossbar import Cells, Crossbar, Streams
from chipsim.engines import Engine, Stage, StageState, Torch, Watch, Window
from chipsim.engines.base import OnWindow
from chipsim.learning import TargetBatch
from chipsim.network import Network
from chipsim.rules import ALL, Rule
from chipsim.writers import Writer

SIZES, SAMPLES, WINDOW = (7, 6, 5, 4), 3, 16
INNER = Torch(dtype="float64", device="cpu", compile=False)


@final
@dataclass(frozen=True, kw_only=True)
class Replaying(Engine):
    """Shows the learning circuits of one array what is recorded of it, and all others what happens now."""

    array_at: int
    record: list[tuple[int, StageState]]
    recording: bool

    def array(self, values: NDArray[np.floating]) -> AnyArray:
        return INNER.array(values)

    def outer(self, stage: Stage, inputs: AnyArray, bias: Sequence[float], delta: AnyArray, *, held: bool) -> AnyArray:
        return INNER.outer(stage, inputs, bias, delta, held=held)

    def run(
        self, stages: Sequence[Stage], windows: Iterable[Window], *, count: int, batch: int, steps: int, step: float,
        watch: Watch | None = None, on_window: OnWindow | None = None,
    ) -> None:  # fmt: skip
        assert watch is not None
        replay = iter(list(self.record))

        def see(index: int, first: int, state: StageState) -> bool:
            if index == self.array_at:
                if self.recording:
                    self.record.append((first, state))
                else:
                    recorded, state = next(replay)
                    assert first == recorded
            return watch.see(index, first, state)

        shown = dataclasses.replace(watch, see=see)
        INNER.run(stages, windows, count=count, batch=batch, steps=steps, step=step, watch=shown, on_window=on_window)


@final
@dataclass(frozen=True, kw_only=True)
class Noting(Writer):
    """Writes nothing and keeps the changes that it is asked for, array after array."""

    asked: ClassVar[list[NDArray[np.float64]]] = []

    def write(self, array: Crossbar, cells: Cells, change: AnyArray, rng: Streams, time: float) -> Cells:
        self.asked.append(to_numpy(change))
        return cells


@dataclass
class Lesson:
    """Three samples, one after another."""

    inputs: NDArray[np.float64]
    labels: NDArray[np.int64]
    rates: list[NDArray[np.float64]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, epoch: int = 0) -> Iterator[TargetBatch]:
        for k in range(len(self)):
            part = slice(k, k + 1)
            yield self.inputs[part], self.labels[part], tuple(rates[part] for rates in self.rates)


def lesson(rng: np.random.Generator) -> Lesson:
    labels = rng.integers(0, SIZES[-1], SAMPLES)
    rates = [rng.random((SAMPLES, n)) for n in SIZES[1:-1]] + [np.eye(SIZES[-1])[labels]]
    return Lesson(rng.uniform(0, 2, (SAMPLES, SIZES[0])), labels, rates)


def updates(rule: Rule, network: Network, engine: Replaying, samples: Lesson) -> list[NDArray[np.float64] | None]:
    """The change that the engine's array asks for after each sample; None where it asks for none."""
    snn = cs.deploy(network, cs.fabricate(cs.ChipDesign(headroom=20.0), seed=0), window=WINDOW, engine=engine)
    Noting.asked.clear()
    cs.learn(snn, samples, rule=rule, writer=Noting(), optimiser=cs.SGD(lr=1.0), update="sample", progress=False)
    learning = [k for k in range(len(snn.cells)) if rule.hidden or k == len(snn.cells) - 1]
    assert len(Noting.asked) == SAMPLES * len(learning)
    if engine.array_at not in learning:
        return [None] * SAMPLES
    return list(Noting.asked[learning.index(engine.array_at) :: len(learning)])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("array_at", range(len(SIZES) - 1))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_an_update_is_of_the_arrays_own_signals(kind: type[Rule], array_at: int, seed: int) -> None:
    """While the signals of one array replay: new cells in all other arrays, other inputs, other targets for all other
    columns and arrays, other labels for all other samples. The change of the column, one that does change, does not
    move by a bit.
    """
    rng, rule = np.random.default_rng(seed), kind()
    mine, theirs = lesson(rng), lesson(rng)
    network = Network.random(SIZES, seed=seed)
    record: list[tuple[int, StageState]] = []
    before = updates(rule, network, Replaying(array_at=array_at, record=record, recording=True), mine)

    if before[0] is None:
        assert not rule.hidden
        return
    changing = np.argwhere([change.any(axis=0) for change in before if change is not None])
    assume(len(changing))
    sample, column = changing[rng.integers(len(changing))]
    other = Network.random(SIZES, seed=seed + 1)
    layers = [mine_or_other(k, array_at, network, other) for k in range(len(network.layers))]
    theirs.labels[sample] = mine.labels[sample]
    theirs.rates[array_at][:, column] = mine.rates[array_at][:, column]
    replaying = Replaying(array_at=array_at, record=record, recording=False)
    after = updates(rule, Network(tuple(layers)), replaying, theirs)
    ours, again = before[sample], after[sample]
    assert ours is not None
    assert again is not None
    np.testing.assert_array_equal(again[:, column], ours[:, column])


def mine_or_other(k: int, array_at: int, network: Network, other: Network) -> Any:
    return network.layers[k] if k == array_at else other.layers[k]
