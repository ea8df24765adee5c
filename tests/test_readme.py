"""The README is true: its code blocks run, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.S)


def test_python_blocks_run_in_order_and_learning_helps(capsys):
    names = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)  # noqa: S102
    assert names["after"] > names["before"] + 0.02
    assert names["after"] > 0.9
    assert f"{names['after']:.3f}" in capsys.readouterr().out


def test_shell_blocks_name_real_commands():
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(("chipsim", "make"))]
    assert commands
    makefile = (README.parent / "Makefile").read_text()
    for command in commands:
        words = command.split("#")[0].split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.M), command
        else:
            verbs = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
            subprocess.run([sys.executable, "-m", "studies.cli", *verbs, "--help"], check=True, capture_output=True)


def test_paths_named_in_the_readme_exist():
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text()):
        assert (README.parent / path).exists(), path
