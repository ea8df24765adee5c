"""What tests share: the command line, in the process of the tests; and Hypothesis profiles: "ci", the default, is the
same at every run, `--hypothesis-profile explore` looks further.

Ctrl-C works, also where the tests run in the background of a script, whose children would ignore it.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import studies
from studies import cli

settings.register_profile(
    "ci",
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")
signal.signal(signal.SIGINT, signal.default_int_handler)

FIXTURE = Path(__file__).parent / "studies_fixture"


@pytest.fixture
def chipsim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in an empty folder, with the toy study: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHIPSIM_STUDIES", str(FIXTURE))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(FIXTURE)])

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["chipsim", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0 if code is None else 1), *capfd.readouterr()

    return run
