"""`chipsim doctor`: what is installed, what will be used, what is missing and how to get it."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator

from packaging.requirements import Requirement

Say = Callable[[str], None]


def examine(say: Say) -> bool:
    """Print the findings with `say`; returns whether everything required is there."""
    say(f"chipsim {importlib.metadata.version('chipsim')}, Python {platform.python_version()} at {sys.executable}")
    say(f"{platform.platform()}, {os.cpu_count()} processors; each trial runs on one, --jobs says how many at once")
    missing = _packages(say)
    if not missing:
        _computing(say)
        _data(say)
    say("")
    say(f"missing: pip install {' '.join(missing)}" if missing else "everything required is installed")
    return not missing


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """The packages that this Python needs, each with the extra that asks for it."""
    for text in importlib.metadata.requires("chipsim") or ():
        requirement = Requirement(text)
        extras = re.findall(r"extra == ['\"](\w+)['\"]", text)
        extra = extras[0] if extras else ""
        if extra != "dev" and (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            yield requirement, extra


def _packages(say: Say) -> list[str]:
    """Print every package with its version; returns the required ones that are missing or too old."""
    missing = []
    say("\npackages")
    for requirement, extra in _requirements():
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        good = bool(version) and requirement.specifier.contains(version, prereleases=True)
        state = version or "missing"
        if not good:
            state += f" (needs {requirement.specifier})" if version else ""
            state += f"; optional: pip install 'chipsim[{extra}]'" if extra else ""
            missing += [] if extra else [f"'{requirement.name}{requirement.specifier}'"]
        say(f"  {requirement.name:14} {state}")
    return missing


def _computing(say: Say) -> None:
    """What computes: Brian2's code target, torch's device and threads."""
    import torch

    from chipsim.engines import Brian, Torch
    from chipsim.engines.torch import compiler_found

    compiler, cpp = _compiler(), compiler_found("cpu")
    say("\ncomputing")
    say(f"  Brian2 target  {Brian().target}")
    say(f"  C compiler     {compiler or 'none found: the cython target is not possible; install gcc or clang'}")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU found"
    say(f"  torch device   {Torch().device} ({gpu}); teachers are trained on the cpu unless asked")
    say("  torch.compile  " + ("possible" if cpp else "not possible without a C++ compiler: scans run uncompiled"))
    say(f"  threads        torch {torch.get_num_threads()} here, 1 in each trial")


def _compiler() -> str | None:
    names = (str(sysconfig.get_config_var("CC") or "cc").split()[0], "cc", "gcc", "clang", "cl")
    return next(filter(None, map(shutil.which, names)), None)


def _data(say: Say) -> None:
    """Where the data sets are, and where chipsim keeps what it can make again."""
    from teachers import datasets
    from teachers.store import cache_folder

    say("\ndata sets")
    for name in datasets.NAMES:
        found = datasets.locate(name)
        say(f"  {name:14} {found if found is not None else f'missing; get it with: chipsim data get {name}'}")
    say(f"  set CHIPSIM_DATA to look elsewhere (now: {os.environ.get('CHIPSIM_DATA', 'not set')})")
    say(f"\ncache            {cache_folder()} (set CHIPSIM_CACHE to move it)")
