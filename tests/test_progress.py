"""Progress: bars of loops on a terminal, and what a trial says of its loops."""

import contextlib
from pathlib import Path

import pytest

from chipsim import progress
from chipsim.progress import told_in, with_progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """A terminal, on which bars appear at once."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes one of anything
    monkeypatch.setattr(progress, "QUIET", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    return capsys


@pytest.mark.parametrize("shown", [True, False])
def test_a_loop_has_a_bar_where_one_is_wanted(shown: bool, terminal: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(iter("abc"), 4, "learning", shown, before=1)) == ["a", "b", "c"]
    assert ("learning" in (said := terminal.readouterr().err)) == shown
    assert ("75%" in said) == shown


def test_a_short_loop_has_none(terminal: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 100.0)
    assert list(with_progress("abc", 3, "learning", True)) == ["a", "b", "c"]
    assert not terminal.readouterr().err


def test_without_a_terminal_there_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "QUIET", -1.0)
    assert list(with_progress("abc", 3, "learning", True)) == ["a", "b", "c"]
    assert not capsys.readouterr().err


def test_a_loop_within_another_goes_on_without_a_bar(terminal: pytest.CaptureFixture[str]) -> None:
    for _ in with_progress("ab", 2, "learning", True):
        assert list(with_progress("abc", 3, "presenting", True)) == ["a", "b", "c"]
    said = terminal.readouterr().err
    assert "learning" in said
    assert "presenting" not in said


def test_a_bar_ends_where_its_loop_fails(terminal: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(with_progress("ab", 2, "learning", True)) as kept:
        for _ in kept:
            assert progress.Bar.drawn
            raise KeyboardInterrupt
    assert not progress.Bar.drawn


def test_a_trial_says_in_a_file_how_far_its_loops_are(
    tmp_path: Path, terminal: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TELL", 0.0)
    file = tmp_path / "words"
    with told_in(file, "chip 3"):
        said = [file.read_text() for _ in with_progress(range(4), 4, "learning", True)]
    assert said == [f"{share}% of learning (chip 3)" for share in (0, 25, 50, 75)]
    assert not file.exists()
    with told_in(tmp_path / "nowhere" / "words", "chip 3"), told_in(None, "chip 4"):
        assert list(with_progress("abc", 3, "learning", True)) == ["a", "b", "c"]
    assert not terminal.readouterr().err


def test_a_trial_does_not_say_it_all_the_time(tmp_path: Path) -> None:
    file = tmp_path / "words"
    with told_in(file, "chip 3"):
        for _ in with_progress(range(4), 4, "learning", False):
            assert file.read_text() == "0% of learning (chip 3)"
