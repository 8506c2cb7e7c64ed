"""The fork server: has TensorFlow imported, has run no op, and holds no secret.

    controller  -- descriptors -->  server  -- fork -->  supervisor  -- fork -->  student code
        ^  ^---- files and limits, how the job ended ----^                            ^
        '-------------------------- frames of one job --------------------------------'

A supervisor ends, reaps and cleans up one job. The server ends when its channel closes, and every
job when its own does.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
from multiprocessing.context import BaseContext

from dlip_reg.grading.child import preload, serve
from dlip_reg.grading.folders import TEMPORARY, WORK, lay_out, remove_tree
from dlip_reg.grading.isolation import namespaces, tiers
from dlip_reg.grading.isolation.libc import die_with_parent
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.processes import connected
from dlip_reg.grading.wire import Channel

_GRACE = 0.1


def main() -> None:
    """Serve the program that started this one."""
    channel = connected()
    tier, preloaded, probes, folders, paths = channel.receive()
    visible, reason = tiers.Visible(*(tuple(map(os.fsdecode, each)) for each in paths)), ""
    if tier is None:
        tier, reason = tiers.best_tier(visible)
    if tier == tiers.WEAK:
        channel.send([tier, reason])
        return
    isolation = tiers.Isolation(tier, visible)
    isolation.enter()
    os.environ["TMPDIR"] = isolation.folder or namespaces.SCRATCH
    tempfile.tempdir = None  # some libraries look for one on import
    try:
        preload(preloaded, probes, folders)
        gc.freeze()  # children neither search nor copy what they share
        channel.send([tier, reason])
        while _start_job(channel, isolation, probes):
            pass
    finally:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        if isolation.folder:
            shutil.rmtree(isolation.folder, ignore_errors=True)
    os._exit(0)


def _start_job(channel: Channel, isolation: tiers.Isolation, probes: str) -> bool:
    """Wait for a job's descriptors and start it; False once the other end has closed."""
    _, descriptors, _, _ = socket.recv_fds(channel.stream, 1, 3)
    if not descriptors:
        return False
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    if not isolation.fork():
        with contextlib.suppress(BaseException):
            lowest = 3
            for kept in (*sorted(descriptors), 1 << 16):
                os.closerange(lowest, kept)
                lowest = kept + 1
            control, *others = descriptors
            _supervise(isolation, probes, Channel(socket.socket(fileno=control)), *others)
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _supervise(
    isolation: tiers.Isolation, probes: str, control: Channel, stream: int, output: int
) -> None:
    """Run one job to its end.

    The controller sends the job's files and limits over `control`, gets the scratch folder and a
    descriptor that stands for the process, and once that has ended, how. The end of `control` ends
    the job.

    Args:
        stream: The job's side of its channel.
        output: A file for what it prints.
    """
    os.setsid()
    order = control.receive()
    limits = Limits(**order["limits"])
    scratch = isolation.scratch(limits.disk_mb, limits.files)
    try:
        lay_out(order["files"], scratch)
        supervisor = os.getpid()
        student = os.fork()
        if not student:
            try:
                die_with_parent(supervisor)
                _become_student(limits, isolation, scratch, stream, output)
                serve(Channel(socket.socket(fileno=3)), probes)
            finally:
                os._exit(0)
        os.close(stream)
        handle = os.pidfd_open(student)
        socket.send_fds(control.stream, [b"p"], [handle])
        control.send(isolation.folder and scratch)
        waited: list[int | socket.socket] = [handle, control.stream]
        ready, _, _ = select.select(waited, [], [])
        # Its own end, if it comes of itself, says more than ours.
        stopped = handle not in ready and not select.select([handle], [], [], _GRACE)[0]
        if stopped:
            os.kill(student, signal.SIGKILL)
        _, status = os.waitpid(student, 0)
    finally:
        if isolation.folder:
            remove_tree(scratch)
    control.send([stopped, os.waitstatus_to_exitcode(status)])


def _become_student(
    limits: Limits, isolation: tiers.Isolation, scratch: str, stream: int, output: int
) -> None:
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDONLY)
    # Out of the way first, for the numbers wanted may be in use.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (nothing, output, output, stream)]
    for wanted, have in enumerate(moved):
        os.dup2(have, wanted, inheritable=False)
    os.closerange(4, 1 << 16)
    os.chdir(f"{scratch}/{WORK}")
    os.umask(0o077)
    os.environ.update(HOME=scratch, TMPDIR=f"{scratch}/{TEMPORARY}")
    tempfile.tempdir = None  # found anew
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed before a crash is kept
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # Pools of threads take multiprocessing's own locks, which need shared memory.
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"):
        for place in (BaseContext, multiprocessing):
            setattr(place, name, staticmethod(getattr(threading, name)))
    limits.apply()
    isolation.confine(scratch)


if __name__ == "__main__":
    main()
