"""The fork server: has TensorFlow imported, has run no op, and holds no secret.

    worker  <-- control frames -->  server  -- fork -->  warden  -- fork -->  student code
       ^------------------------- frames of one job ------------------------------^

A warden watches one job: it alone knows the limits, and ends, reaps and cleans up the whole job.
The server ends when the control socket closes, and every job with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from dlip_reg.grading.preload import preload
from dlip_reg.grading.processes import connected
from dlip_reg.grading.walls import namespaces, tiers
from dlip_reg.grading.walls.syscalls import die_with_parent
from dlip_reg.grading.warden import run_job
from dlip_reg.grading.wire import Channel, Closed, WireError

_DESCRIPTORS = 1024


def main() -> None:
    """Serve the program that started this one."""
    channel = connected(sys.argv[1])
    configuration = channel.receive()
    paths = (map(Path, configuration[name]) for name in ("visible", "masked"))
    visible = tiers.visible_paths(*map(list, paths))
    tier, reason = configuration["tier"], ""
    if tier is None:
        tier, reason = tiers.best_tier(visible)
    if tier == tiers.WEAK:
        channel.send({"tier": tier, "reason": reason})
        return
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)  # wardens look their jobs up in it
    folder, tree = "", None
    if tier == tiers.STRONG:
        tree = namespaces.enter(visible.readable)
    else:
        folder = tempfile.mkdtemp(prefix="dlip-grading-")
    os.environ["TMPDIR"] = folder or namespaces.SCRATCH
    tempfile.tempdir = None  # some libraries look for one on import
    try:
        preload(configuration["preload"], configuration["probes"])
        gc.freeze()  # children neither search nor copy what they share
        channel.send({"tier": tier, "reason": reason, "folder": folder})
        Server(channel, tier, visible, folder, configuration["probes"], proc, tree).serve()
    except (Closed, WireError):
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True) if folder else None
    os._exit(0)


class Server:
    """Starts jobs when told to, and reports the end of each."""

    def __init__(
        self,
        channel: Channel,
        tier: str,
        visible: tiers.Visible,
        folder: str,
        probes: str,
        proc: int,
        tree: int | None,
    ) -> None:
        self._channel, self._tier, self._visible = channel, tier, visible
        self._folder, self._probes, self._proc = folder, probes, proc
        self._tree = tree
        self._jobs: dict[int, _Job] = {}  # by the file that reports the job's end

    def serve(self) -> None:
        control = self._channel.stream.fileno()
        try:
            while True:
                ready, _, _ = select.select([control, *self._jobs], [], [])
                for descriptor in ready:
                    if descriptor == control:
                        self._obey(self._channel.receive())
                    elif descriptor in self._jobs:
                        self._report(descriptor)
        finally:
            for job in self._jobs.values():
                job.end()
            for job in self._jobs.values():
                job.wait()

    def _obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "start":
            _, descriptors, _, _ = socket.recv_fds(self._channel.stream, 1, 1)
            self._start(order, descriptors[0])
            return
        for job in self._jobs.values():
            if job.number == order["job"]:
                job.end() if order["do"] == "end" else job.ask()

    def _start(self, order: dict[str, Any], stream: int) -> None:
        orders_in, orders_out = os.pipe()
        report_in, report_out = os.pipe()
        server = os.getpid()
        pid = os.fork() if self._tree is None else namespaces.fork_process_tree(self._tree)
        if not pid:
            with contextlib.suppress(BaseException):
                die_with_parent(server if self._tree is None else 0)
                kept = {stream, orders_in, report_out, self._proc}
                for descriptor in range(3, _DESCRIPTORS):
                    if descriptor not in kept:
                        with contextlib.suppress(OSError):
                            os.close(descriptor)
                run_job(
                    order,
                    stream,
                    orders_in,
                    report_out,
                    self._tier,
                    self._visible,
                    self._folder,
                    self._probes,
                    self._proc,
                )
            os._exit(1)
        os.close(stream)
        os.close(orders_in)
        os.close(report_out)
        self._jobs[report_in] = _Job(order["job"], pid, orders_out, report_in)

    def _report(self, descriptor: int) -> None:
        job = self._jobs[descriptor]
        for report in job.reports():
            self._channel.send({"job": job.number, **report})
        if job.over:
            del self._jobs[descriptor]


class _Job:
    def __init__(self, number: int, pid: int, orders: int, report: int) -> None:
        self.number, self.over = number, False
        self._pid, self._orders, self._report = pid, orders, report
        self._said, self._last = b"", {}

    def ask(self) -> None:
        """Ask the warden for the job's times."""
        with contextlib.suppress(OSError):
            os.write(self._orders, b"?")

    def end(self) -> None:
        """Tell the warden to end the job (again and again does no harm)."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def reports(self) -> list[dict[str, Any]]:
        """What the warden has to say; once it is gone, how the job ended."""
        data = os.read(self._report, 1 << 16)
        if not data:
            return [self._reaped()]
        *lines, self._said = (self._said + data).split(b"\n")
        found = [json.loads(line) for line in lines]
        self._last = next((one for one in found if "end" in one), self._last)
        return [one for one in found if "end" not in one]

    def wait(self) -> None:
        """Wait for the warden's end."""
        while not self.over:
            self.reports()

    def _reaped(self) -> dict[str, Any]:
        self.over = True
        self.end()
        os.close(self._report)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return self._last or {"end": "lost", "detail": 0, "output": "", "peak_mb": 0}


if __name__ == "__main__":
    main()
