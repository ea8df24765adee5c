"""Exchange formats for other simulators. To add one: a file here and an entry in `ALL`."""

from types import ModuleType

from chipsim.export import spice

ALL: dict[str, ModuleType] = {"spice": spice}
