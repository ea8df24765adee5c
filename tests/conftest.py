"""Hypothesis profiles: "ci", the default, is the same at every run; `--hypothesis-profile explore` looks further.

Ctrl-C works, also where the tests run in the background of a script, whose children would ignore it.
"""

import signal

from hypothesis import HealthCheck, settings

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
