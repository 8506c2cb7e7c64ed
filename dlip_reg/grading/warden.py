"""The warden of one job: makes its scratch space, forks the student's process, watches its limits,
and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlip_reg.grading.folders import disk_use, remove_tree
from dlip_reg.grading.limits import Times
from dlip_reg.grading.rlimits import set_limits
from dlip_reg.grading.walls import namespaces, tiers
from dlip_reg.grading.walls.syscalls import die_with_parent
from dlip_reg.grading.wire import Channel

_TICK = 0.02
_DISK_TICK = 0.1
_GRACE = 0.1
_OUTPUT_KEPT = 8_000
_MB = 1 << 20
WORK, TEMPORARY = "work", "tmp"


def run_job(
    order: dict[str, Any],
    stream: int,
    orders: int,
    report: int,
    tier: str,
    visible: tiers.Visible,
    folder: str,
    probes: str,
    proc: int,
) -> None:
    """Run one job to its end, write what became of it to `report`, and end this process.

    `stream` is the job's side of its channel; a byte in `orders` asks for the job's times, and its
    end ends the job; `proc` is an open /proc.
    """
    os.setsid()
    if tier == tiers.STRONG:
        namespaces.private_scratch(order["limits"]["disk_mb"], order["limits"]["files"])
        scratch = namespaces.SCRATCH
    else:
        scratch = f"{folder}/{order['job']}"
        Path(scratch).mkdir(mode=0o700)
    try:
        lay_out(order["files"], Path(scratch))
        output_in, output_out = os.pipe()
        warden = os.getpid()
        student = os.fork()
        if not student:
            try:
                _become_student(order["limits"], stream, output_out, tier, visible, scratch, warden)
                _answer(probes)
            finally:
                os._exit(0)
        os.close(stream)
        os.close(output_out)
        watch = _Watch(student, output_in, orders, report, order["limits"], tier, scratch, proc)
        ended = watch.until_the_end()
    finally:
        if tier != tiers.STRONG:
            remove_tree(scratch)
    _say(report, ended)
    os._exit(0)


def _say(report: int, what: dict[str, Any]) -> None:
    os.write(report, json.dumps(what).encode() + b"\n")


def lay_out(files: dict[str, bytes], scratch: Path) -> None:
    """The submission's files, and an empty folder for temporary ones."""
    (scratch / WORK).mkdir()
    (scratch / TEMPORARY).mkdir()
    for name, data in files.items():
        path = scratch / WORK / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _become_student(
    limits: dict[str, Any],
    stream: int,
    output: int,
    tier: str,
    visible: tiers.Visible,
    scratch: str,
    warden: int,
) -> None:
    die_with_parent(warden)
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
    sys.stdout.reconfigure(line_buffering=True)  # what is printed before a crash is kept
    set_limits(limits)
    tiers.wall_off(tier, visible, scratch)


def _answer(probes: str) -> None:
    from dlip_reg.grading.child import serve

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    serve(Channel(socket.socket(fileno=3)), probes)


class _Watch:
    def __init__(
        self,
        student: int,
        output: int,
        orders: int,
        report: int,
        limits: dict[str, Any],
        tier: str,
        scratch: str,
        proc: int,
    ) -> None:
        self._student, self._output, self._orders = student, output, orders
        self._report = report
        self._limits, self._scratch = limits, scratch
        self._counts_disk = tier != tiers.STRONG
        self._status = _StatusFile(proc, student)
        self._text, self._written, self._peak = b"", 0, 0.0
        os.set_blocking(output, False)

    def until_the_end(self) -> dict[str, Any]:
        handle = os.pidfd_open(self._student)
        started, most = time.monotonic(), self._limits["total_seconds"] + 5
        look_at_disk = 0.0
        reason = ""
        open_ends = [handle, self._orders, self._output]
        while not reason:
            ready, _, _ = select.select(open_ends, [], [], _TICK)
            if self._output in ready and not self._read_output():
                open_ends.remove(self._output)
            if handle in ready:
                break
            if self._orders in ready and os.read(self._orders, 1):
                _say(self._report, {"times": asdict(self._status.times())})
            elif self._orders in ready:
                # Its own end, if it comes of itself, says more than ours.
                reason = "" if select.select([handle], [], [], _GRACE)[0] else "told to"
                break
            elapsed = time.monotonic() - started
            if elapsed > most and elapsed > most + self._lacked(elapsed):
                reason = "time"
            else:
                reason = self._passed()
                if not reason and self._counts_disk and time.monotonic() > look_at_disk:
                    reason = self._passed_on_disk()
                    look_at_disk = time.monotonic() + _DISK_TICK
        if reason:
            os.kill(self._student, signal.SIGKILL)
        _, status, used = os.wait4(self._student, 0)
        self._read_output()
        code = os.waitstatus_to_exitcode(status)
        return {
            "end": reason or ("exit" if code >= 0 else "signal"),
            "detail": abs(code),
            "output": self._text.decode("utf-8", "replace"),
            "peak_mb": round(self._peak),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        }

    def _lacked(self, elapsed: float) -> float:
        return self._status.times().lacked(Times(), elapsed, self._limits["total_seconds"])

    def _read_output(self) -> bool:
        """Whether more may come; what is over the cap is counted and dropped."""
        for _ in range(64):
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._written += len(data)
            self._text += data[: _OUTPUT_KEPT - len(self._text)]
        return True

    def _passed(self) -> str:
        """The limit that the student's process has passed, or ""."""
        if self._written > self._limits["output_mb"] * _MB:
            return "output"
        memory, threads = self._status.read()
        self._peak = max(self._peak, memory)
        if memory > self._limits["memory_mb"]:
            return "memory"
        return "threads" if threads > self._limits["threads"] else ""

    def _passed_on_disk(self) -> str:
        most = self._limits["disk_mb"] * _MB
        size, files = disk_use(self._scratch, most, self._limits["files"])
        size += self._status.unlinked_bytes()
        return "disk" if size > most or files > self._limits["files"] else ""


class _StatusFile:
    """What /proc says about the student's process, which may be numbered differently there."""

    def __init__(self, proc: int, student: int) -> None:
        self._proc, self._name = proc, ""
        with contextlib.suppress(OSError):
            warden = os.readlink("self", dir_fd=proc)
            self._name = self._read(f"{warden}/task/{warden}/children").split()[0]

    def _read(self, name: str) -> str:
        opened = os.open(name, os.O_RDONLY, dir_fd=self._proc)
        with os.fdopen(opened, encoding="utf-8", errors="replace") as file:
            return file.read()

    def read(self) -> tuple[float, int]:
        """Megabytes of its own in memory, and threads; zeros where /proc does not tell."""
        try:
            lines = self._read(f"{self._name}/status").splitlines() if self._name else []
        except OSError:
            return 0.0, 0
        values = dict(line.partition(":")[::2] for line in lines)
        kilobytes = sum(int(values.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem"))
        return kilobytes / 1024, int(values.get("Threads", "0"))

    def times(self) -> Times:
        """How long its threads were ready to run and had no processor, and had one; 0 if not
        told."""
        waited = used = 0
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Unlike those of the tasks, these also hold the time of threads that have ended.
            fields = self._read(f"{self._name}/stat").rpartition(")")[2].split()
            used = int(fields[11]) + int(fields[12])
            tasks = os.open(f"{self._name}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._proc)
            try:
                for name in os.listdir(tasks):  # noqa: PTH208
                    waited += int(self._read(f"{self._name}/task/{name}/schedstat").split()[1])
            finally:
                os.close(tasks)
        return Times(waited / 1e9, used / os.sysconf("SC_CLK_TCK"))

    def unlinked_bytes(self) -> int:
        """Bytes of files that are open but have no name any more."""
        total = 0
        with contextlib.suppress(OSError):
            opened = os.open(f"{self._name}/fd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._proc)
            try:
                for name in os.listdir(opened):  # noqa: PTH208
                    with contextlib.suppress(OSError):
                        found = os.stat(name, dir_fd=opened)
                        total += 0 if found.st_nlink else found.st_blocks * 512
            finally:
                os.close(opened)
        return total
