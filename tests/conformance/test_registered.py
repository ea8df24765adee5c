"""Every variant in a family's folder is in the family's `ALL`, and so meets its conformance suite."""

import importlib
import inspect
import pkgutil

import pytest

FAMILIES = {
    "circuits": "Circuit",
    "devices": "Device",
    "effects": "Effect",
    "host": "HostMethod",
    "rules": "Rule",
    "writers": "Writer",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_of_a_family_is_registered(family: str) -> None:
    package = importlib.import_module(f"chipsim.{family}")
    base = getattr(package, FAMILIES[family])
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"chipsim.{family}.{found.name}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and issubclass(kind, base) and not inspect.isabstract(kind):
                assert kind in package.ALL, f"add {name} to ALL in chipsim/{family}/__init__.py"


@pytest.mark.parametrize("family", FAMILIES)
def test_all_names_each_variant_once_and_exports_it(family: str) -> None:
    package = importlib.import_module(f"chipsim.{family}")
    names = [kind.__name__ for kind in package.ALL]
    assert len(set(names)) == len(names)
    assert set(names) <= set(package.__all__)


def test_effects_have_names_of_their_own() -> None:
    names = [kind.name for kind in importlib.import_module("chipsim.effects").ALL]
    assert len(set(names)) == len(names)
