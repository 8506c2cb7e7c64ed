"""Processes that are forked from a server with TensorFlow imported, for the import takes seconds.

The package spawns its workers, and a lab is a process of its own; each of them imports TensorFlow.
Tests of what these processes do, and not of how they start or die, use the ones here. Where there
are no fork servers they are started as always.
"""

import contextlib
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from unittest import mock

from dlip_reg.experiments import Workers
from dlip_reg.training.process import ONE_THREAD, start_worker, usable_cores

PRELOADED = [
    *("tensorflow", "keras", "matplotlib.pyplot", "dlip_reg.training.run", "dlip_reg.report"),
    *("dlip_reg.studies", "dlip_reg.tuning.tuner", "dlip_reg.tuning.oracles"),
]
HAS_SERVERS = "forkserver" in multiprocessing.get_all_start_methods()


class WarmProcess(multiprocessing.context.ForkServerProcess if HAS_SERVERS else object):
    """A process from the server, with the environment of its parent and the same output files."""

    outputs = ()  # of this process: where it and the processes that it starts write to

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._environment, self._outputs = dict(os.environ), WarmProcess.outputs

    def run(self):
        gc.freeze()  # what was imported need not be looked through again and again
        # As its documentation says, the server of this process's parent is used, and no other.
        forkserver._forkserver.ensure_running = lambda: None
        os.environ.clear()
        os.environ.update(self._environment)
        WarmProcess.outputs = self._outputs
        for number, name in zip((1, 2), self._outputs, strict=False):
            descriptor = os.open(name, os.O_WRONLY | os.O_APPEND)
            os.dup2(descriptor, number)
            os.close(descriptor)
        super().run()


class WarmContext(multiprocessing.context.ForkServerContext if HAS_SERVERS else BaseContext):
    """The context of these processes."""

    Process = WarmProcess


def warm_context():
    """The context of processes that have TensorFlow imported, and have run nothing of it yet."""
    if not HAS_SERVERS:
        return multiprocessing.get_context("spawn")
    forkserver.set_forkserver_preload(PRELOADED)
    # Libraries read these when they are loaded.
    with mock.patch.dict(os.environ, {**ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"}):
        forkserver.ensure_running()
    return WarmContext()


def warm_workers(count=None):
    """As `dlip_reg.experiments.local_workers`."""
    count = count or usable_cores()
    context = warm_context()
    return Workers(
        lambda: ProcessPoolExecutor(count, mp_context=context, initializer=start_worker),
        count,
        ONE_THREAD,
    )


@contextlib.contextmanager
def warm_cluster(n_workers, threads=1):
    """A Dask cluster of such processes on this machine."""
    import dask  # imported here because each of the processes imports this module
    from distributed import LocalCluster

    method = "forkserver" if HAS_SERVERS else "spawn"
    warm_context()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        LocalCluster(
            n_workers=n_workers, threads_per_worker=threads, host="127.0.0.1",
            dashboard_address=None, silence_logs="CRITICAL",
        ) as cluster,
    ):  # fmt: skip
        yield cluster


def _run_script(script, arguments, cwd, prepare):
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(number, "w", encoding=encoding, closefd=False))  # noqa: SIM115
    os.chdir(cwd)
    prepare()
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(Path(script).parent))
    spawn = WarmContext()
    with mock.patch.object(multiprocessing, "get_context", lambda method=None: spawn):
        runpy.run_path(str(script), run_name="__main__")


def run_script(script, *arguments, cwd=".", env=None, prepare=int, timeout=300):
    """The finished `python SCRIPT ARGUMENTS`, with its output as text.

    `prepare` is called in the process before the script begins.
    """
    arguments = [str(argument) for argument in arguments]
    if not HAS_SERVERS:
        return subprocess.run(
            [sys.executable, script, *arguments],
            cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=timeout, check=False,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for output in outputs:
            output.touch()
        context = warm_context()
        with (
            mock.patch.dict(os.environ, env or {}, clear=env is not None),
            mock.patch.object(WarmProcess, "outputs", outputs),
        ):
            process = context.Process(target=_run_script, args=(script, arguments, cwd, prepare))
            process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
        texts = [output.read_text("utf-8") for output in outputs]
        assert process.exitcode is not None, texts
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)
