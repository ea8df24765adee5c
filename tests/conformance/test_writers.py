from collections.abc import Callable

import pytest

from chipsim.testing import conformance
from chipsim.writers import ALL, Writer


@pytest.mark.parametrize("check", conformance.WRITER)
@pytest.mark.parametrize("writer", [kind() for kind in ALL], ids=[kind.__name__ for kind in ALL])
def test_writer(writer: Writer, check: Callable[[Writer], None]) -> None:
    check(writer)
