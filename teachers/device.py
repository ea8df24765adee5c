"""Where PyTorch computes: threads and device, so that results do not depend on what the caller has set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from chipsim.errors import ParameterError


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of PyTorch threads within the block and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checked_device(name: str) -> torch.device:
    """Return the device called `name`: "cpu", "cuda", "cuda:1". Raises ParameterError when this machine has it not."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ParameterError(f"device must be 'cpu' or 'cuda', not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ParameterError(f"device must be 'cpu' or 'cuda', not {name!r}")
    if device.type == "cpu":
        return device
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise ParameterError(f"device is {name!r}, but PyTorch finds {torch.cuda.device_count()} GPUs here; take 'cpu'")
    return torch.device("cuda", index)


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Within the block, convolutions on a GPU take float32 as it is, and the same algorithm every time."""
    cudnn = torch.backends.cudnn
    wanted = {"deterministic": True, "benchmark": False, "allow_tf32": False} if device.type == "cuda" else {}
    before = {name: getattr(cudnn, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(cudnn, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(cudnn, name, value)
