import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from chipsim.host import ALL, HostMethod, Proxy, Readings, SpikeBackprop, Surrogate, Twin
from chipsim.host.base import read
from chipsim.testing import conformance

VARIANTS: dict[str, HostMethod] = {
    "SpikeBackprop by cross-entropy": SpikeBackprop(cross_entropy=True),
    "Surrogate, wide gate": Surrogate(gate=0.6),
}
METHODS = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.METHOD)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_method(method: HostMethod, check: Callable[[HostMethod], None]) -> None:
    check(method)


@dataclass(frozen=True, kw_only=True)
class Own(HostMethod):
    """Proxy learning, but for what a test breaks."""

    reads: ClassVar[frozenset[str]] = frozenset({"outputs"})

    def outputs(self, twin: Twin, seen: Readings) -> Tensor:
        return Proxy().outputs(twin, seen)


def transposed(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(twin, seen).T


def forgetful(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(twin, seen).detach()


def editing(self: Own, twin: Twin, seen: Readings) -> Tensor:
    twin.readout.weights.data.clamp_(min=0.0)
    return Proxy().outputs(twin, seen)


def chance(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(twin, seen) * torch.rand(())


def first_step(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(dataclasses.replace(twin, inputs=twin.inputs[:1]), seen)


def whole(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(dataclasses.replace(twin, kept=None), seen)


def coupled(self: Own, twin: Twin, seen: Readings) -> Tensor:
    outputs = Proxy().outputs(twin, seen)
    return outputs - outputs.mean(0)


def doubled(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(twin, seen) * len(twin.inputs)


def precise(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return Proxy().outputs(twin, seen).to(torch.float64)


def against(self: Own, twin: Twin, seen: Readings) -> Tensor:
    return 2 * read(seen.outputs) - Proxy().outputs(twin, seen)


def agrees(self: Own, circuit: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        ({"reads": frozenset()}, "declares_known_readings", "reads nothing"),
        ({"reads": frozenset({"outputs", "currents"})}, "declares_known_readings", "currents"),
        ({"check": agrees}, "refuses_what_does_not_spike", "must be refused"),
        ({"outputs": transposed}, "gives_outputs", r"outputs are \[4, 6\]"),
        ({"outputs": forgetful}, "gives_gradients", "taught nothing"),
        ({"reads": frozenset({"outputs", "counts"})}, "reads_all_it_declares", "'counts' is declared"),
        ({"outputs": editing}, "is_pure", "weights were edited"),
        ({"outputs": chance}, "is_pure", "another gradient"),
        ({"outputs": coupled}, "averages_over_the_batch", "play into each other"),
        ({"outputs": doubled}, "takes_inputs_step_by_step", "another gradient"),
        ({"outputs": first_step}, "takes_inputs_step_by_step", "step 11 play no part"),
        ({"outputs": whole}, "leaves_out_what_dropout_leaves_out", "plays no part"),
        ({"outputs": precise}, "keeps_the_precision", "another dtype"),
        ({"outputs": against}, "learns_on_a_chip", "told right goes from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_method_is_found(broken: dict[str, Any], check: str, words: str) -> None:
    [found] = [each for each in conformance.METHOD if each.__name__ == check]
    method = type("Broken", (Own,), broken)()
    with pytest.raises(AssertionError, match=words):
        found(method)
