"""A trial that takes its worker down."""

import os
import signal

import xarray as xr

from chipsim.study import Trial


def die(trial: Trial) -> xr.Dataset:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def halfway(trial: Trial) -> xr.Dataset:
    """Stop halfway the first time, and go on from there the second."""
    assert trial.checkpoint is not None
    found = trial.checkpoint.exists()
    if not found:
        trial.checkpoint.write_text("half")
        raise RuntimeError("stopped halfway")
    share = 0.5 + 0.1 * (trial.checkpoint.read_text() == "half")
    return xr.Dataset({"accuracy": ((), share, {"units": "1", "long_name": "share"})})
