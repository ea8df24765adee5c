from pathlib import Path

import pytest

from chipsim.testing import support

WRITTEN = (Path(__file__).parents[1] / "SUPPORT.md").read_text()


@pytest.mark.parametrize("title", support.TABLES)
def test_the_written_table_is_what_is_found(title: str) -> None:
    assert support.table(title).strip() in WRITTEN, "write it again: python -m chipsim.testing.support > SUPPORT.md"


def test_the_file_holds_all_tables_and_no_other() -> None:
    assert WRITTEN.startswith(support.HEAD)
    assert [line[3:] for line in WRITTEN.splitlines() if line.startswith("## ")] == list(support.TABLES)
