"""The fork server: has TensorFlow imported, has run no op, and holds no secret.

    controller  -- orders -->  server  -- fork -->  supervisor  -- fork -->  student code
        ^  ^---------- times, how a job ended ----------^                         ^
        '-------------------------- frames of one job ----------------------------'

A supervisor watches one job: it alone knows the limits, and ends, reaps and cleans up the whole
job. The server ends when its channel closes, and every job when its own does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from dlip_reg.grading.child import preload
from dlip_reg.grading.isolation import namespaces, tiers
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.processes import connected
from dlip_reg.grading.supervisor import supervise
from dlip_reg.grading.wire import Channel


def main() -> None:
    """Serve the program that started this one."""
    channel = connected(sys.argv[1])
    configuration = channel.receive()
    visible = tiers.visible_paths(
        [Path(path) for path in configuration["visible"]],
        [Path(path) for path in configuration["masked"]],
    )
    tier, reason = configuration["tier"], ""
    if tier is None:
        tier, reason = tiers.best_tier(visible)
    if tier == tiers.WEAK:
        channel.send({"tier": tier, "reason": reason})
        return
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)  # supervisors look up their jobs in it
    isolation = tiers.Isolation(tier, visible)
    isolation.enter()
    os.environ["TMPDIR"] = isolation.folder or namespaces.SCRATCH
    tempfile.tempdir = None  # some libraries look for one on import
    try:
        preload(configuration["preload"], configuration["probes"])
        gc.freeze()  # children neither search nor copy what they share
        channel.send({"tier": tier, "reason": reason})
        with contextlib.suppress(OSError):  # until the other end closes
            while True:
                _start_job(channel, isolation, configuration["probes"], proc)
    finally:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        if isolation.folder:
            shutil.rmtree(isolation.folder, ignore_errors=True)
    os._exit(0)


def _start_job(channel: Channel, isolation: tiers.Isolation, probes: str, proc: int) -> None:
    """Wait for the order to start a job, and start it."""
    order = channel.receive()
    _, (stream, control), _, _ = socket.recv_fds(channel.stream, 1, 2)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    if not isolation.fork():
        with contextlib.suppress(BaseException):
            lowest = 3
            for kept in (*sorted((stream, control, proc)), 1 << 16):
                os.closerange(lowest, kept)
                lowest = kept + 1
            limits, reports = Limits(**order["limits"]), Channel(socket.socket(fileno=control))
            supervise(order["files"], limits, isolation, probes, stream, reports, proc)
        os._exit(0)
    os.close(stream)
    os.close(control)


if __name__ == "__main__":
    main()
