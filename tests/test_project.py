"""The project's own files agree with each other: pins, versions, licence, families, public names."""

import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import chipsim

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOLDERS = [found.name for found in pkgutil.iter_modules(chipsim.__path__) if found.ispkg]
NO_FAMILY = {"testing"}
"""Folders that hold no variants."""
NOT_LISTED = {"engines"}
"""Families without an ALL: listing the engines would load Brian2 for everyone who needs only their types."""


def pins() -> dict[str, Version]:
    """The versions of constraints.txt, by canonical name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = [line.split("==") for line in lines if line]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def holds(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    """Whether a requirement needs a pin: it counts for this Python and these extras, on every platform."""
    marker = requirement.marker
    if marker is None:
        return True
    return "platform" not in str(marker) and any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def wrong_pin(requirement: Requirement) -> str | None:
    """What is wrong with the pin of a requirement, if anything is."""
    pin = pins().get(canonicalize_name(requirement.name))
    if pin is None:
        return f"{requirement} has no pin: add {requirement.name}==VERSION to constraints.txt"
    if not requirement.specifier.contains(pin, prereleases=True):
        return f"the pin {requirement.name}=={pin} in constraints.txt is outside of {requirement}"
    return None


def required() -> Iterator[Requirement]:
    """Everything that pyproject.toml asks for on this machine, all extras included."""
    for text in (*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)):
        if holds(requirement := Requirement(text)):
            yield requirement


def test_each_dependency_has_a_pin_in_its_range() -> None:
    assert not [problem for requirement in required() if (problem := wrong_pin(requirement))]


def test_what_the_pinned_versions_need_is_pinned_too() -> None:
    problems, waiting, seen = [], list(required()), set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        if (name, frozenset(asked.extras)) in seen or Version(distribution.version).public != str(pins().get(name)):
            continue
        seen.add((name, frozenset(asked.extras)))
        needed = [each for text in distribution.requires or () if holds(each := Requirement(text), asked.extras)]
        problems += [f"{name}: {problem}" for requirement in needed if (problem := wrong_pin(requirement))]
        waiting += needed
    assert not problems


def test_a_missing_and_a_stale_pin_are_found() -> None:
    assert "add no-such-package==VERSION" in str(wrong_pin(Requirement("no-such-package>=1")))
    assert "outside of" in str(wrong_pin(Requirement("numpy>=99")))


def test_every_file_states_the_same_version() -> None:
    stated = {
        "pyproject.toml": PROJECT["version"],
        "CITATION.cff": re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE),
        "CHANGELOG.md": re.search(r"^## \[(\d\S+)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE),
    }
    found = {name: match if isinstance(match, str) else match and match[1] for name, match in stated.items()}
    assert set(found.values()) == {PROJECT["version"]}, found


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert re.search(r"^license: Apache-2.0$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """The files of a family's folder."""
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def unlisted(package: ModuleType) -> list[str]:
    """What stands in a family's folder but not in its ALL, as the lines to add.

    A family's ALL lists classes (what derives from the base that stands in base.py), or figures by name (modules with
    data() and draw()).
    """
    place = f"ALL in {package.__name__.replace('.', '/')}/__init__.py"
    if isinstance(package.ALL, dict):
        figures = {module.__name__.rpartition(".")[2]: module for module in modules(package) if is_figure(module)}
        return [
            f'add "{name}": {name} to {place}'
            for name, module in figures.items()
            if package.ALL.get(name) is not module
        ]
    base = tuple(kind for kind in classes(package.base) if inspect.isabstract(kind))
    variants = (kind for module in modules(package) for kind in classes(module) if issubclass(kind, base))
    return [
        f"add {kind.__name__} to {place}"
        for kind in variants
        if not inspect.isabstract(kind) and kind not in package.ALL
    ]


def is_figure(module: ModuleType) -> bool:
    return all(inspect.isfunction(getattr(module, name, None)) for name in ("data", "draw"))


def classes(module: ModuleType) -> list[type]:
    """The classes that a module defines."""
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]


@pytest.mark.parametrize("folder", sorted(set(FOLDERS) - NO_FAMILY - NOT_LISTED))
def test_everything_in_a_family_is_listed(folder: str) -> None:
    package = importlib.import_module(f"chipsim.{folder}")
    assert hasattr(package, "ALL"), f"chipsim/{folder} is a family: give chipsim/{folder}/__init__.py its ALL"
    assert package.ALL
    assert not unlisted(package)


def test_an_unlisted_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = tmp_path / "toy_family"
    family.mkdir()
    (family / "base.py").write_text(
        "from abc import ABC, abstractmethod\n\nclass Toy(ABC):\n    @abstractmethod\n    def play(self): ...\n"
    )
    for name in ("listed", "forgotten"):
        (family / f"{name}.py").write_text(
            f"from toy_family.base import Toy\n\nclass {name.title()}(Toy):\n    def play(self): ...\n"
        )
    (family / "__init__.py").write_text("from toy_family.listed import Listed\n\nALL = (Listed,)\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        package = importlib.import_module("toy_family")
        assert unlisted(package) == ["add Forgotten to ALL in toy_family/__init__.py"]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "toy_family"]:
            del sys.modules[name]


def in_a_new_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_chipsim_loads_nothing_heavy() -> None:
    heavy = {"brian2", "torch", "xarray", "h5py", "scipy", "sklearn", "matplotlib"}
    assert not heavy & set(in_a_new_process("import sys, chipsim; print(*sys.modules)").split())


def test_every_public_name_exists_and_is_loaded_when_first_used() -> None:
    assert list(chipsim.__all__) == sorted(set(chipsim.__all__))
    assert set(chipsim.__all__) <= set(dir(chipsim))
    code = "import chipsim\nfor name in chipsim.__all__: print(name, getattr(chipsim, name, None) is not None)"
    lines = in_a_new_process(code).splitlines()
    assert lines == [f"{name} True" for name in chipsim.__all__]


def test_an_unknown_public_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        chipsim.no_such_name  # noqa: B018


def test_public_names_are_the_same_for_type_checkers() -> None:
    source = (ROOT / "chipsim" / "__init__.py").read_text()
    assert set(re.findall(r"^    from \S+ import \S+ as (\S+)$", source, re.MULTILINE)) == set(chipsim.__all__)


def test_every_public_name_stands_in_the_docstring() -> None:
    assert not [name for name in chipsim.__all__ if not re.search(rf"\b{name}\b", chipsim.__doc__ or "")]
