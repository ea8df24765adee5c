"""Local learning rules: pure functions of one array's `LocalSignals`. To add one: a file here and a line in `ALL`."""

from chipsim.rules.base import Rule
from chipsim.rules.decolle import Decolle
from chipsim.rules.delta import Delta
from chipsim.rules.local_tandem import LocalTandem, LocalTandemOffline, LocalTandemTrace

ALL: tuple[type[Rule], ...] = (LocalTandem, LocalTandemOffline, LocalTandemTrace, Decolle, Delta)

__all__ = ["ALL", "Decolle", "Delta", "LocalTandem", "LocalTandemOffline", "LocalTandemTrace", "Rule"]
