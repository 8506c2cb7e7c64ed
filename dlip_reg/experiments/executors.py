"""Where runs run: processes of this machine, or a Dask cluster, behind one interface."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess

from dlip_reg.training.process import start_worker


class SchedulerError(ValueError):
    """There is no Dask scheduler at the address given, or it has no workers."""


class Workers:
    """A supply of executors of one kind; a broken one is replaced by a new one.

    `count` runs are kept in flight. Use as a context: leaving it by an exception (Ctrl-C among
    them) ends the processes at once, otherwise after their work.
    """

    def __init__(self, open_executor: Callable[[], Executor], count: int) -> None:
        self._open, self.count = open_executor, count
        self._executor: Executor | None = None
        self._children: list[BaseProcess] = []

    def submit(self, function: Callable, *arguments) -> Future:
        """Like `Executor.submit`."""
        if self._executor is None:
            self._executor = self._open()
        before = {child.pid for child in self._children}
        future = self._executor.submit(function, *arguments)
        # A process that has ended is no longer listed: keep them, to ask how they ended.
        self._children += [c for c in multiprocessing.active_children() if c.pid not in before]
        return future

    def replace(self) -> str:
        """Give up a broken executor; says how its processes ended, as far as that is known."""
        for child in self._children:
            child.join(timeout=5)
        codes = [child.exitcode for child in self._children]
        self.close(at_once=True)
        # The pool itself ends the survivors by SIGTERM (-15); the first cause is another code.
        causes = [code for code in codes if code not in (None, 0, -15)] or [-15]
        return f"exit code {causes[0]}"

    def close(self, at_once: bool = False) -> None:
        """Release the processes: after their work, or `at_once`."""
        if self._executor is not None:
            self._executor.shutdown(wait=not at_once, cancel_futures=True)
        if at_once:
            for child in self._children:
                with contextlib.suppress(ValueError):
                    child.terminate()
        self._executor, self._children = None, []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close(at_once=error is not None)


def local_workers(count: int | None = None) -> Workers:
    """`count` processes of one thread each on this machine (default: one per usable core)."""
    count = count or usable_cores()
    # spawn, not fork: forking a process that has run TensorFlow hangs, and it is what Windows has.
    context = multiprocessing.get_context("spawn")
    return Workers(
        lambda: ProcessPoolExecutor(count, mp_context=context, initializer=start_worker), count
    )


def dask_workers(address: str) -> Workers:
    """The workers of the Dask cluster whose scheduler listens at `address`.

    Its workers should be processes of one thread each, with this package installed
    (``dask worker ADDRESS --nworkers 2 --nthreads 1``). A run whose worker dies is run again by the
    cluster itself. Raises SchedulerError where no scheduler answers.
    """
    from distributed import Client

    try:
        client = Client(address, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise SchedulerError(f"No Dask scheduler answers at {address}: {error}") from None
    threads = sum(client.nthreads().values())
    if not threads:
        client.close()
        raise SchedulerError(f"The Dask scheduler at {address} has no workers; start some first.")
    # Twice the threads, so that no worker waits for the way there and back.
    return Workers(lambda: client.get_executor(pure=False), 2 * threads)


def usable_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
