"""Conformance suites: what every circuit, device, effect, rule, host method and writer must do, as plain functions of
an instance.

Give each check an instance of ordinary size (mismatch of 0.2, not of 2): checks of a law allow 4 standard errors.
The docstring of a check says in one sentence what it demands. PARAMETERS holds those that all families share.
"""

from chipsim.testing.conformance.circuit import CIRCUIT
from chipsim.testing.conformance.device import DEVICE
from chipsim.testing.conformance.effect import EFFECT
from chipsim.testing.conformance.method import METHOD
from chipsim.testing.conformance.parameters import PARAMETERS
from chipsim.testing.conformance.rule import RULE
from chipsim.testing.conformance.writer import WRITER

__all__ = ["CIRCUIT", "DEVICE", "EFFECT", "METHOD", "PARAMETERS", "RULE", "WRITER"]
