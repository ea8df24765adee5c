"""Worker processes for trials: few BLAS/torch threads each, deaf to Ctrl-C, gone as soon as their parent is gone.

Each worker holds the reading end of a pipe, the leash, that only the parent can write to. Nothing is ever written:
when the parent closes it, or dies by whatever signal, every worker reads the end of the file and leaves.
"""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import threadpoolctl

R = TypeVar("R")

# What BLAS and OpenMP libraries read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
WAITING = "OMP_WAIT_POLICY"
"""How OpenMP threads wait for each other; by default they keep their cores busy with it for a while."""


def limit_threads(count: int) -> None:
    """Put this process on `count` BLAS/torch threads: the libraries that are loaded, and those that will be."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    threadpoolctl.threadpool_limits(count)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Within the block, this process and those it starts are on `count` BLAS/torch threads; restored afterwards."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, WAITING)}
    torch = sys.modules.get("torch")
    torch_threads = torch.get_num_threads() if torch is not None else None
    limits = threadpoolctl.threadpool_limits(count)
    try:
        limit_threads(count)
        yield
    finally:
        limits.restore_original_limits()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        if torch is not None and torch_threads is not None:
            torch.set_num_threads(torch_threads)


@contextlib.contextmanager
def pool(jobs: int, threads: int) -> Iterator[concurrent.futures.Executor]:
    """An executor of `jobs` spawned workers of `threads` threads each; when the block ends by an exception, their work
    is dropped at once.
    """
    context = multiprocessing.get_context("spawn")
    leash, holder = context.Pipe(duplex=False)
    start = functools.partial(_start, leash, threads)
    workers = concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=start)
    try:
        with limited(threads):  # workers inherit the environment as they are spawned
            if jobs > 1:  # teachers with convolutions train on all cores, several at once
                os.environ.setdefault(WAITING, "passive")
            yield workers
        workers.shutdown(wait=True)
    finally:
        holder.close()
        workers.shutdown(wait=True, cancel_futures=True)
        leash.close()


@contextlib.contextmanager
def borrowed(executor: concurrent.futures.Executor, threads: int) -> Iterator[concurrent.futures.Executor]:
    """A user's executor; should it run threads of this process, they find it on `threads` BLAS threads."""
    with limited(threads):
        yield executor


def submit(
    executor: concurrent.futures.Executor, threads: int, function: Callable[..., R], *args: Any
) -> concurrent.futures.Future[R]:
    """Submit work, to be done on `threads` threads; a worker that this spawns never sees Ctrl-C, not even while it
    starts.
    """
    with _interrupt_blocked():
        return executor.submit(_work, _whereabouts(), threads, function, *args)


def _whereabouts() -> tuple[str, int]:
    return platform.node(), os.getpid()


def _work(submitter: tuple[str, int], threads: int, function: Callable[..., R], *args: Any) -> R:
    if _whereabouts() != submitter:  # a thread of the submitting process finds it limited already
        limit_threads(threads)
    return function(*args)


@contextlib.contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Hold Ctrl-C back for the block; child processes inherit this for life."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(leash: "Connection[Any, Any]", threads: int) -> None:
    """Initialise a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, args=(leash,), daemon=True).start()
    limit_threads(threads)


def _leave_with_parent(leash: "Connection[Any, Any]") -> None:
    with contextlib.suppress(EOFError, OSError):
        leash.recv_bytes()
    os._exit(1)
