"""Executors: local worker processes or a Dask cluster, behind one interface."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import math
import multiprocessing
import multiprocessing.reduction
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing.process import BaseProcess
from types import MappingProxyType
from typing import Any

from dlip_reg.checks import require_whole
from dlip_reg.errors import DlipRegError
from dlip_reg.extras import require_extra
from dlip_reg.pools import pool_size
from dlip_reg.streams import open_standard_streams
from dlip_reg.training.process import (
    GPUS,
    KERAS_BACKEND,
    ONE_THREAD,
    ONEDNN,
    QUIET,
    TENSORFLOW_THREADS,
    UNSET,
    SettingError,
    configure_at_full_speed,
    configure_process,
    default_workers,
    onednn_setting,
    start_worker,
    stderr_to,
    usable_cores,
    usable_memory,
)

_logger = logging.getLogger(__name__)
_TIMEOUT = 10  # seconds for a scheduler to answer
# TensorFlow keeps a part of every graph that it has traced; renewing a process takes seconds.
_MOST_GROWTH, _LEAST_GROWTH = 2**30, 2**28
_NO_MAIN_GUARD = 117  # an exit status that nothing else uses


class SchedulerError(DlipRegError, ValueError):
    """No Dask scheduler answers at the given address, or it has no workers."""


class MainGuardError(DlipRegError, RuntimeError):
    """The script that is run starts its work when worker processes import it."""

    def __init__(self) -> None:
        super().__init__(
            'Put the call that runs the study under if __name__ == "__main__": at the end of the '
            "script, because worker processes import the script."
        )


def leave_import_of_main() -> None:
    """End this process if it is a worker that is importing the script that started it.

    A script without a main guard gets here. The exit status is how the script itself learns of it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(_NO_MAIN_GUARD)


class Workers:
    """Worker processes; broken ones are replaced by new ones.

    Use as a context: leaving it by an exception (Ctrl-C among them) ends the processes at once,
    otherwise after their work.

    Args:
        open_executor: Opens an executor.
        count: How many runs are kept in flight.
        environment: Environment variables that the processes start with.
        most_growth: By how many bytes a process may grow from the end of its first run on, before
            a sweep replaces the processes between two runs.
    """

    def __init__(
        self,
        open_executor: Callable[[], Executor],
        count: int,
        environment: Mapping[str, str] = MappingProxyType({}),
        most_growth: float = math.inf,
    ) -> None:
        self.most_growth = most_growth
        self._open, self.count, self._environment = open_executor, count, environment
        self._executor: Executor | None = None
        self._children: list[BaseProcess] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Submit a call, as `Executor.submit`."""
        if self._executor is None:
            self._executor = self._open()
        others = set(multiprocessing.active_children())
        with _interrupts_held(), _environment(self._environment):
            future = self._executor.submit(function, *arguments)
            # A pool starts its processes in `submit`. They are kept for their exit codes: one that
            # has ended is no longer listed.
            self._children += set(multiprocessing.active_children()) - others
        return future

    def replace(self) -> str:
        """Close a broken executor; return how its processes ended, as far as that is known."""
        children, early = self._children, getattr(self._executor, "early_output", "")
        self.close()  # a broken pool ends its other processes by SIGTERM, and waits for them
        codes = [child.exitcode for child in children]
        if _NO_MAIN_GUARD in codes:
            raise MainGuardError from None
        if early:
            sys.stderr.write(early)
        if not codes:
            return "on a cluster"
        causes = [code for code in codes if code not in (None, -signal.SIGTERM)]
        code = causes[0] if causes else -signal.SIGTERM
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def warn_if_gone(self) -> None:
        """Log that there is no worker any more, where only others can start new ones."""
        if isinstance(self._executor, _DaskExecutor) and not self._executor.has_workers():
            _logger.warning("No worker of the Dask cluster is left; waiting for one to join.")

    def close(self, at_once: bool = False) -> None:
        """End the processes after their work, or `at_once`."""
        if self._executor is not None:
            self._executor.shutdown(wait=not at_once, cancel_futures=True)
        if at_once:
            for child in self._children:
                with contextlib.suppress(ValueError):
                    child.terminate()
        self._executor, self._children = None, []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.close(at_once=error is not None)


def local_workers(count: int | None = None, *, gpus: bool = False) -> Workers:
    """Start local processes of one thread each.

    Args:
        count: How many; by default one per usable core, or fewer where there is less than 1.5 GB
            of memory for each.
        gpus: Whether they use the machine's GPUs, which they share, each taking the memory it
            needs. Some operations have no deterministic kernel there; a run with one of them fails
            and says so.

    Raises:
        ValueError: `count` is not a whole number of 1 or more.
        MissingExtraError: Libraries that look at the machine are not installed.
    """
    require_extra("tuning", "A worker process", "joblib", "psutil")
    if count is None:
        count, cores = default_workers(), usable_cores()
        if count < cores:
            _logger.warning("%d worker processes for %d cores: memory is scarce.", count, cores)
    count = require_whole("count", count)
    growth = min(_MOST_GROWTH, max(_LEAST_GROWTH, usable_memory() // count // 4))
    # What `configure_process` sets, for a script that uses TensorFlow when workers import it.
    started = KERAS_BACKEND | ONE_THREAD | TENSORFLOW_THREADS | {QUIET[0]: os.environ.get(*QUIET)}
    started |= onednn_setting()
    started |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if gpus else {"CUDA_VISIBLE_DEVICES": "-1"}
    return Workers(
        lambda: _Pool(count, configure_process),
        count,
        started | {GPUS: str(int(gpus))},
        growth,
    )


def timing_worker() -> Workers:
    """Start one process with all the machine's threads, for what is measured in seconds."""
    return Workers(lambda: _Pool(1, configure_at_full_speed), 1, KERAS_BACKEND | onednn_setting())


class _Pool(ProcessPoolExecutor):
    """Worker processes that show what they write to stderr once they have started, not before.

    While they start, they import the main script, and TensorFlow with it if the script does so.
    """

    def __init__(self, count: int, configure: Callable[[], None]) -> None:
        # Windows has processes inherit no files.
        self._files: list[_Inherited] = []
        if sys.platform != "win32":
            open_standard_streams()
            with tempfile.TemporaryFile("ab+") as early:
                self._files = [_Inherited(os.dup(early.fileno()), "a+"), _Inherited(os.dup(2), "w")]
        main = sys.modules["__main__"]
        if getattr(main, "__file__", None) == "<stdin>":  # which processes would look for on disk
            del main.__file__
        # spawn: forking a process that has run TensorFlow hangs, and Windows has only spawn.
        context = multiprocessing.get_context("spawn")
        arguments: Any = configure, *self._files
        super().__init__(pool_size(count), context, start_worker, arguments)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._files:
            return super().submit(function, *args, **kwargs)
        with stderr_to(self._files[0].fileno()):  # processes start in here, if there are too few
            return super().submit(function, *args, **kwargs)

    @property
    def early_output(self) -> str:
        """What processes wrote that have not started yet, or never will."""
        if not self._files:
            return ""
        self._files[0].seek(0)
        return self._files[0].read().decode(errors="replace")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        for file in self._files:
            file.close()


class _Inherited(io.FileIO):
    """An open file that a process which is started with it has as a descriptor."""

    # Not __reduce__, which Python 3.13's files no longer ask for.
    def __reduce_ex__(self, protocol: Any) -> Any:
        return _received, (multiprocessing.reduction.DupFd(self.fileno()),)


def _received(duplicate: Any) -> int:
    return duplicate.detach()


def dask_workers(address: str) -> Workers:
    """Connect to the workers of a Dask cluster.

    Its workers should be processes of one thread each, with this package installed
    (``dask worker ADDRESS --nworkers 2 --nthreads 1``). The cluster itself reruns a run whose
    worker dies.

    Args:
        address: The scheduler's address, such as "tcp://192.168.0.5:8786".

    Raises:
        SchedulerError: No scheduler with workers answers.
        MissingExtraError: The library of Dask clusters is not installed.
    """
    require_extra("cluster", "A Dask cluster")
    import asyncio  # imported here because it would slow --help down

    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook this thread runs a loop already
            asked = asyncio.wait_for(_cluster_workers(address), _TIMEOUT)
            workers = thread.submit(asyncio.run, asked).result()
    except TimeoutError:
        raise SchedulerError(
            f"No Dask scheduler answers at {address!r} within {_TIMEOUT} seconds."
        ) from None
    except Exception as error:  # the kind depends on the address's scheme
        raise SchedulerError(f"No Dask scheduler answers at {address!r}: {error}.") from None
    if not workers:
        raise SchedulerError(f"The Dask scheduler at {address} has no workers; start some first.")
    # Two runs a worker, so that none waits for the network.
    return Workers(lambda: _DaskExecutor(address), 2 * len(workers))


async def _cluster_workers(address: str) -> dict[str, Any]:
    # Not by a Client, which waits for ever if something else than a scheduler listens there.
    import asyncio

    from distributed import rpc

    end = time.monotonic() + _TIMEOUT / 2  # workers that were just started may still join
    async with rpc(address) as scheduler:
        while True:
            identity = await scheduler.identity()
            if "workers" not in identity:
                raise ValueError("a worker listens there")
            if identity["workers"] or time.monotonic() > end:
                return identity["workers"]
            await asyncio.sleep(0.2)


class _DaskExecutor(Executor):
    """Dask's executor with its own client, which `shutdown` closes."""

    def __init__(self, address: str) -> None:
        from distributed import Client

        self._client = Client(address, timeout=_TIMEOUT)
        # pure=False: do not merge equal calls.
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        import cloudpickle  # one of Dask's libraries

        # Pickled, because to unpickle it may import TensorFlow, which reads its settings then.
        call = cloudpickle.dumps((function, args, kwargs))
        return self._executor.submit(_with_setting, onednn_setting(), call)

    def has_workers(self) -> bool:
        """Whether any is connected; also if the scheduler does not say."""
        try:
            return bool(self._client.nthreads())
        except (OSError, TimeoutError):
            return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait)  # cancels what it does not wait for
        self._client.close()


def _with_setting(onednn: dict[str, str], call: bytes) -> Any:
    """Make a pickled call on a worker of a cluster, if it uses oneDNN where the program says so."""
    if onednn_setting() != onednn:
        raise SettingError(
            f"{ONEDNN} must be the same for the workers of the cluster as for the program, "
            "because records differ by it."
        )
    _separate_random()
    if "tensorflow" not in sys.modules:
        for name in UNSET:
            os.environ.pop(name, None)
        os.environ.update(ONE_THREAD | KERAS_BACKEND | onednn)
    function, args, kwargs = pickle.loads(call)
    return function(*args, **kwargs)


@functools.cache
def _separate_random() -> None:
    """Give Dask a module `random` of its own.

    Its main thread would draw from Python's generator while a run does, as Keras does for the seeds
    of layers, whose weights would then depend on the time.
    """
    spec: Any = importlib.util.find_spec("random")
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    for name, module in [*sys.modules.items()]:
        is_dask = name.startswith(("dask.", "distributed.", "tornado."))
        if is_dask and getattr(module, "random", None) is random:
            vars(module)["random"] = own


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and no other that changes what is computed, within the block."""
    names = {*variables, *UNSET}
    earlier = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(earlier)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM to the block's end; block Ctrl-C in processes that start in it.

    Ctrl-C is sent to the whole process group: a worker interrupted during its imports would print a
    traceback, and the pool would wait for ever for one interrupted during its start.
    """
    if threading.current_thread() is not threading.main_thread():  # only it is interrupted
        yield
        return
    pressed: list[int] = []
    earlier = {
        number: signal.signal(number, lambda number, _: pressed.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not None  # it could not be set again
    }
    can_mask = hasattr(signal, "pthread_sigmask")  # inherited by processes; not on Windows
    if can_mask:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if pressed:
            signal.raise_signal(pressed[0])


def is_death(error: BaseException | None) -> bool:
    """Whether a future's exception means that its process died (with Dask: on every retry)."""
    # By name, because Dask is imported only where a cluster is used.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"
