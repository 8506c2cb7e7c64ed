"""Where runs run: processes of this machine, or a Dask cluster, behind one interface."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from types import MappingProxyType
from typing import Any

from dlip_reg.training.process import ONE_THREAD, configure_at_full_speed, start_worker

_PATIENCE = 10  # seconds for a scheduler to answer


class SchedulerError(ValueError):
    """There is no Dask scheduler at the address given, or it has no workers."""


class Workers:
    """A supply of executors of one kind; a broken one is replaced by a new one.

    `count` runs are kept in flight, in processes that start with the variables of `environment`
    set. Use as a context: leaving it by an exception (Ctrl-C among them) ends the processes at
    once, otherwise after their work.
    """

    def __init__(
        self,
        open_executor: Callable[[], Executor],
        count: int,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._open, self.count, self._environment = open_executor, count, environment
        self._executor: Executor | None = None
        self._children: list[BaseProcess] = []

    def submit(self, function: Callable, *arguments) -> Future:
        """Like `Executor.submit`."""
        if self._executor is None:
            self._executor = self._open()
        others = set(multiprocessing.active_children())
        with _interrupts_held(), _environment(self._environment):
            future = self._executor.submit(function, *arguments)
            # A pool starts its processes there. One that has ended is no longer listed: keep them,
            # to ask how they ended.
            self._children += set(multiprocessing.active_children()) - others
        return future

    def replace(self) -> str:
        """Give up a broken executor; says how its processes ended, as far as that is known."""
        children = self._children
        self.close()  # a broken pool ends its survivors by SIGTERM, and waits for them
        codes = [child.exitcode for child in children]
        if not codes:
            return "on a cluster"
        causes = [code for code in codes if code not in (None, -signal.SIGTERM)]
        return _ending(causes[0] if causes else -signal.SIGTERM)

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
        lambda: ProcessPoolExecutor(count, mp_context=context, initializer=start_worker),
        count,
        ONE_THREAD,
    )


def timing_worker() -> Workers:
    """One process with all the machine's threads, for what is measured in seconds."""
    context = multiprocessing.get_context("spawn")
    at_full_speed = functools.partial(start_worker, configure_at_full_speed)
    return Workers(lambda: ProcessPoolExecutor(1, mp_context=context, initializer=at_full_speed), 1)


def dask_workers(address: str) -> Workers:
    """The workers of the Dask cluster whose scheduler listens at `address`.

    Its workers should be processes of one thread each, with this package installed
    (``dask worker ADDRESS --nworkers 2 --nthreads 1``). A run whose worker dies is run again by the
    cluster itself. Raises SchedulerError where no scheduler with workers answers.
    """
    import asyncio  # a quarter of the time that --help takes

    try:
        workers = asyncio.run(asyncio.wait_for(_cluster_workers(address), _PATIENCE))
    except TimeoutError:
        raise SchedulerError(
            f"No Dask scheduler answers at {address!r} within {_PATIENCE} seconds."
        ) from None
    except Exception as error:  # what a wrong address raises depends on its scheme
        raise SchedulerError(f"No Dask scheduler answers at {address!r}: {error}.") from None
    if not workers:
        raise SchedulerError(f"The Dask scheduler at {address} has no workers; start some first.")
    # Two runs a worker, so that none waits for the way there and back.
    return Workers(lambda: _DaskExecutor(address), 2 * len(workers))


async def _cluster_workers(address: str) -> dict[str, Any]:
    # Asked for by hand: a Client waits for ever where something else than a scheduler listens.
    import asyncio

    from distributed import rpc

    end = time.monotonic() + _PATIENCE / 2  # workers that were just started may join by then
    async with rpc(address) as scheduler:
        while True:
            identity = await scheduler.identity()
            if "workers" not in identity:
                raise ValueError("a worker listens there")
            if identity["workers"] or time.monotonic() > end:
                return identity["workers"]
            await asyncio.sleep(0.2)


class _DaskExecutor(Executor):
    """Dask's executor with a client of its own, and the `shutdown` of every other executor."""

    def __init__(self, address: str) -> None:
        from distributed import Client

        self._client = Client(address, timeout=_PATIENCE)
        # pure=False: the same call twice is two calls.
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable, /, *arguments) -> Future:
        return self._executor.submit(function, *arguments)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait)  # cancels what it does not wait for
        self._client.close()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables are set within the block."""
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits for the block's end, and never reaches the processes that start in it.

    It is sent to the whole process group: a worker that is still being imported would answer with a
    traceback, and one whose start was cut short would be waited for in vain.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    pressed: list[bool] = []
    earlier = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    can_mask = hasattr(signal, "pthread_sigmask")  # inherited by processes; not on Windows
    if can_mask:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, earlier)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _ending(exit_code: int) -> str:
    return (
        f"killed by {signal.Signals(-exit_code).name}"
        if exit_code < 0
        else f"exit code {exit_code}"
    )


def is_death(error: BaseException | None) -> bool:
    """Whether a future's exception says that its process died, once or as often as Dask tries."""
    # By name, for Dask is not imported where no cluster is used.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def usable_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
