"""Processes that are forked from a server with TensorFlow imported, since the import takes seconds.

The package spawns its workers, and a lab is a process of its own; each of them imports TensorFlow.
Tests of what these processes do, and not of how they start or die, use the ones here. Where there
are no fork servers they are started as always.
"""

import contextlib
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from unittest import mock

from dlip_reg.experiments import Workers
from dlip_reg.training.process import ONE_THREAD, start_worker, usable_cores

PRELOADED = [
    *("tensorflow", "keras", "matplotlib.pyplot", "rich.table", "dlip_reg.report.page"),
    *("dlip_reg.training.run", "dlip_reg.training.interpolation", "dlip_reg.models.builders"),
    *("dlip_reg.cli", "dlip_reg.studies.all", "dlip_reg.tuning.tuner", "dlip_reg.tuning.oracles"),
]
HAS_SERVERS = "forkserver" in multiprocessing.get_all_start_methods()
SHARED = "DLIP_REG_TEST_SERVER"  # environment variable: the address of a server that others started


class WarmProcess(multiprocessing.context.ForkServerProcess if HAS_SERVERS else object):
    """A process from the server, with the environment of its parent and the same output files."""

    outputs = ()  # of this process: where it and the processes that it starts write to

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._environment, self._outputs = dict(os.environ), WarmProcess.outputs
        self._group, self._mask = os.getpgrp(), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def run(self):
        gc.freeze()  # what was imported need not be looked through again and again
        # A group receives Ctrl-C; these are what a child that is not the server's inherits.
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        with contextlib.suppress(OSError):  # all processes of the group have ended
            os.setpgid(0, self._group)
        # What this process starts comes from the server of its parent, too.
        forkserver._forkserver.ensure_running = lambda: None
        multiprocessing.get_context = lambda method=None: WarmContext()
        os.environ.clear()
        os.environ.update(self._environment)
        tempfile.tempdir = None  # what TMPDIR says now
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
    """The context of processes that have TensorFlow imported, and have not run it yet."""
    if not HAS_SERVERS:
        return multiprocessing.get_context("spawn")
    if SHARED in os.environ:
        server = forkserver._forkserver
        if server._forkserver_address is None:
            server._forkserver_address = os.environ[SHARED]
            server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # others keep it alive
            server.ensure_running = lambda: None
        return WarmContext()
    forkserver.set_forkserver_preload(PRELOADED)
    # Libraries read these when they are loaded.
    with mock.patch.dict(os.environ, {**ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"}):
        forkserver.ensure_running()
    return WarmContext()


def share_server():
    """Start one server for all processes that this one starts, as long as this one lives."""
    if not HAS_SERVERS:
        return
    own = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # what its processes write is not this one's output
        os.dup2(nowhere, number)
    warm_context()
    for number, descriptor in zip((1, 2), own, strict=True):
        os.dup2(descriptor, number)
    os.environ[SHARED] = forkserver._forkserver._forkserver_address


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
    prepare()
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(number, "w", encoding=encoding, closefd=False))  # noqa: SIM115
    os.chdir(cwd)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(str(script), run_name="__main__")


class WarmScript:
    """`python SCRIPT ARGUMENTS` under way in a warm process, with the interface of a `Popen`.

    Args:
        script: The script.
        *arguments: Its arguments.
        cwd: The folder that it runs in.
        env: Its environment (default: that of this process).
        prepare: Called in the process before the script begins.
    """

    def __init__(self, script, *arguments, cwd=".", env=None, prepare=int):
        self.args = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for output in self._outputs:
            output.touch()
        context = warm_context()
        with (
            mock.patch.dict(os.environ, env or {}, clear=env is not None),
            mock.patch.object(WarmProcess, "outputs", self._outputs),
        ):
            call = (script, self.args, cwd, prepare)
            self._process = context.Process(target=_run_script, args=call)
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def communicate(self, timeout=300):
        """What it wrote, once it has ended; it is killed if that takes too long."""
        self._process.join(timeout)
        is_alive = self.returncode is None
        if is_alive:
            self._process.kill()
        texts = [output.read_text("utf-8") for output in self._outputs]
        self._folder.cleanup()
        assert not is_alive, texts
        return texts


def start_script(script, *arguments):
    """Start `python SCRIPT ARGUMENTS` as the leader of a process group of its own.

    It and the worker processes that it starts can be sent one signal, as a terminal's Ctrl-C is.
    """
    if not HAS_SERVERS:
        return start_cold(script, *arguments)
    process = WarmScript(script, *arguments, prepare=lead_group)
    while os.getpgid(process.pid) != process.pid:
        time.sleep(0.01)
    return process


def start_cold(script, *arguments):
    """The same in a process that is started as Python starts, and starts its workers so."""
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def lead_group():
    """Make this process the leader of a group, which Ctrl-C interrupts."""
    os.setpgid(0, 0)
    # A shell that starts the tests in the background lets them and their children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run_script(script, *arguments, timeout=300, **options):
    """The finished `python SCRIPT ARGUMENTS`, with its output as text; options as `WarmScript`."""
    if not HAS_SERVERS:
        options.pop("prepare", None)
        return subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            capture_output=True, encoding="utf-8", timeout=timeout, check=False, **options,
        )  # fmt: skip
    process = WarmScript(script, *arguments, **options)
    texts = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, *texts)
