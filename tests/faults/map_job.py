"""A map over one of the engines, to be killed: ``python -m tests.faults.map_job ENGINE DIRECTORY ITEMS SECONDS``.

Each item tells ``begin`` and its process in a file of its own that survives everything; items named in ``POISON`` take
their worker with them. Workers' process ids stand in ``workers``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from resumable import checkpointed, every

WINDOW = 16
WORKERS = 2
BAD = 13
"""The item whose work raises an error."""


def note(directory: Path, name: str, text: str) -> None:
    """One line, whole even when many processes write."""
    descriptor = os.open(directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


class Square:
    """Work that tells what it does. The same on each engine."""

    def __init__(self, directory: Path, seconds: float, poison: frozenset[int] = frozenset()) -> None:
        self.directory, self.seconds, self.poison = directory, seconds, poison

    def __call__(self, number: int) -> int:
        note(self.directory, "begun", f"{number} {os.getpid()}")
        if number in self.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == BAD:
            raise ValueError(f"{number} is bad luck")
        time.sleep(self.seconds)
        return number * number


def engine(name: str, stack: ExitStack) -> Any:
    """What to give as ``executor``."""
    return ENGINES[name](stack)


def threads(stack: ExitStack) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return lambda: ThreadPoolExecutor(WORKERS)


def processes(stack: ExitStack) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    return lambda: ProcessPoolExecutor(WORKERS)


def loky(stack: ExitStack) -> Any:
    from loky import ProcessPoolExecutor

    return lambda: ProcessPoolExecutor(WORKERS)


def spawned(stack: ExitStack) -> Any:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return lambda: ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))


def mpi(stack: ExitStack) -> Any:
    from mpi4py.futures import MPIPoolExecutor

    return lambda: MPIPoolExecutor(WORKERS)


def dask(stack: ExitStack) -> Any:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.admin.tick.limit": "60s",
            "distributed.comm.timeouts.connect": "10s",  # as long it asks a worker that is dead for its results
            "distributed.logging.distributed": "critical",
        }
    )
    cluster = stack.enter_context(
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50, processes=True)
    )
    # A worker that is killed while it starts is not replaced otherwise.
    cluster.adapt(minimum=2, maximum=2, interval="200 ms", wait_count=10**9)
    return stack.enter_context(Client(cluster))


def ray(stack: ExitStack) -> Any:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    stack.callback(ray.shutdown)
    return ray


ENGINES: dict[str, Callable[[ExitStack], Any]] = {
    "threads": threads,
    "processes": processes,
    "spawned": spawned,
    "loky": loky,
    "mpi": mpi,
    "dask": dask,
    "ray": ray,
}


def main(name: str, directory: Path, items: int, seconds: float, poison: frozenset[int] = frozenset()) -> None:
    with ExitStack() as stack:
        executor = engine(name, stack)
        note(directory, "ready", str(os.getpid()))
        cp = stack.enter_context(checkpointed("map", every(items=1), store=directory, auto_cleanup=False))
        squares = cp.mapping("squares")
        work = Square(directory, seconds, poison)
        for number, square in cp.map(work, range(items), executor=executor, max_in_flight=WINDOW, on_error="skip"):
            note(directory, "landed", str(number))
            squares[str(number)] = square
        note(directory, "finished", json.dumps(cp.failed))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), frozenset(map(int, sys.argv[5:])))
