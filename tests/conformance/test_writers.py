from collections.abc import Callable

import pytest

from chipsim.testing import conformance
from chipsim.writers import ALL, StochasticPulses, Writer, WriteVerify

VARIANTS: dict[str, Writer] = {"StochasticPulses, few": StochasticPulses(most=40), "Once": WriteVerify(rounds=1)}
WRITERS = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.WRITER)
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_writer(writer: Writer, check: Callable[[Writer], None]) -> None:
    check(writer)
