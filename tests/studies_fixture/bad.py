"""A trial that takes its worker down."""

import json
import os
import signal
import warnings

import xarray as xr

from chipsim.checkpoint import Checkpoint
from chipsim.study import Trial


def die(trial: Trial) -> xr.Dataset:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def halfway(trial: Trial) -> xr.Dataset:
    """Stop halfway the first time, as of another version, and go on from there the second."""
    assert trial.checkpoint is not None
    kept = Checkpoint(trial.checkpoint, {})
    if not trial.checkpoint.exists():
        kept.versions = json.dumps({"source": "before"})
        kept.save(0.5)
        raise RuntimeError("stopped halfway")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share = 0.1 + kept.load(0.0)
    return xr.Dataset({"accuracy": ((), share, {"units": "1", "long_name": "share"})})
