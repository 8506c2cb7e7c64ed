"""The supervisor of one job: makes its scratch space, forks the process that runs student code,
watches its limits, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dlip_reg.grading.child import serve
from dlip_reg.grading.folders import TEMPORARY, WORK, disk_use, lay_out, remove_tree
from dlip_reg.grading.isolation.libc import die_with_parent
from dlip_reg.grading.isolation.tiers import Isolation
from dlip_reg.grading.limits import MB, Limits, Times
from dlip_reg.grading.wire import Channel

OUTPUT_KEPT = 8_000
_TICK = 0.02
_DISK_TICK = 0.1
_GRACE = 0.1


def supervise(
    files: Mapping[str, bytes],
    limits: Limits,
    isolation: Isolation,
    probes: str,
    stream: int,
    control: Channel,
    proc: int,
) -> None:
    """Run one job to its end and report to `control` how it ended.

    Anything received from `control` asks for the job's times, and its end ends the job.

    Args:
        files: The submission's files, path to content.
        stream: The job's side of its channel.
        proc: An open /proc.
    """
    os.setsid()
    scratch = isolation.scratch(limits.disk_mb, limits.files)
    try:
        lay_out(files, scratch)
        output_in, output_out = os.pipe()
        supervisor = os.getpid()
        student = os.fork()
        if not student:
            try:
                die_with_parent(supervisor)
                _become_student(limits, isolation, scratch, stream, output_out)
                serve(Channel(socket.socket(fileno=3)), probes)
            finally:
                os._exit(0)
        os.close(stream)
        os.close(output_out)
        counted = scratch if isolation.folder else ""
        ended = _Watch(student, output_in, control, limits, counted, proc).until_the_end()
    finally:
        if isolation.folder:
            remove_tree(scratch)
    control.send(ended)


def _become_student(
    limits: Limits, isolation: Isolation, scratch: str, stream: int, output: int
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
    sys.stdout.reconfigure(line_buffering=True)  # what is printed before a crash is kept
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    limits.apply()
    isolation.confine(scratch)


class _Watch:
    """Watches one process; `scratch` is "" where the kernel keeps its limits."""

    def __init__(
        self,
        student: int,
        output: int,
        control: Channel,
        limits: Limits,
        scratch: str,
        proc: int,
    ) -> None:
        self._student, self._output, self._control = student, output, control
        self._limits, self._scratch = limits, scratch
        self._status = _Status(proc)
        self._text, self._written = b"", 0
        self._started, self._next_look_at_disk = time.monotonic(), 0.0
        os.set_blocking(output, False)

    def until_the_end(self) -> dict[str, Any]:
        """Wait for the end, which it brings about where that is asked for or a limit is passed."""
        reason = self._reason_to_end()
        if reason:
            os.kill(self._student, signal.SIGKILL)
        _, status, used = os.wait4(self._student, 0)
        self._read_output()
        code = os.waitstatus_to_exitcode(status)
        return {
            "end": reason or ("exit" if code >= 0 else "signal"),
            "detail": abs(code),
            "output": self._text.decode("utf-8", "replace"),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        }

    def _reason_to_end(self) -> str:
        """Wait for a reason to end the process; "" once it has ended by itself."""
        handle = os.pidfd_open(self._student)
        open_ends = [handle, self._control.stream.fileno(), self._output]
        while True:
            ready, _, _ = select.select(open_ends, [], [], _TICK)
            if self._output in ready and not self._read_output():
                open_ends.remove(self._output)
            if handle in ready:
                return ""
            if self._control.stream.fileno() in ready:
                try:
                    self._control.receive()
                except ConnectionError:
                    # Its own end, if it comes of itself, says more than ours.
                    return "" if select.select([handle], [], [], _GRACE)[0] else "stopped"
                self._control.send(asdict(self._status.times()))
            if reason := self._limit_passed():
                return reason

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
            self._text += data[: OUTPUT_KEPT - len(self._text)]
        return True

    def _limit_passed(self) -> str:
        limits = self._limits
        elapsed, most = time.monotonic() - self._started, limits.total_seconds + 5
        if elapsed > most:
            lacked = self._status.times().lacked(Times(), elapsed, limits.total_seconds)
            if elapsed > most + lacked:
                return "time"
        if self._written > limits.output_mb * MB:
            return "output"
        memory, threads = self._status.memory_and_threads()
        if memory > limits.memory_mb:
            return "memory"
        if threads > limits.threads:
            return "threads"
        if self._scratch and time.monotonic() > self._next_look_at_disk:
            size, files = disk_use(self._scratch, limits.disk_mb * MB, limits.files)
            size += self._status.unlinked_bytes()
            self._next_look_at_disk = time.monotonic() + _DISK_TICK
            if size > limits.disk_mb * MB or files > limits.files:
                return "disk"
        return ""


class _Status:
    """What /proc says about this process's one child, which may be numbered differently there;
    zeros where it says nothing."""

    def __init__(self, proc: int) -> None:
        self._folder = proc
        own = os.readlink("self", dir_fd=proc)
        child = self._read(f"{own}/task/{own}/children").strip()
        self._folder = -1
        with contextlib.suppress(OSError):
            self._folder = os.open(child, os.O_RDONLY | os.O_DIRECTORY, dir_fd=proc)

    def _read(self, name: str) -> str:
        with contextlib.suppress(OSError):
            opened = os.open(name, os.O_RDONLY, dir_fd=self._folder)
            with os.fdopen(opened, encoding="utf-8", errors="replace") as file:
                return file.read()
        return ""

    def _list(self, name: str) -> list[str]:
        with contextlib.suppress(OSError):
            opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._folder)
            try:
                return os.listdir(opened)  # noqa: PTH208
            finally:
                os.close(opened)
        return []

    def memory_and_threads(self) -> tuple[float, int]:
        """Megabytes of its own in memory, with the tables that map memory, and threads."""
        lines = self._read("status").splitlines()
        values = dict(line.partition(":")[::2] for line in lines)
        parts = ("RssAnon", "RssShmem", "VmPTE")
        kilobytes = sum(int(values.get(name, "0").split()[0]) for name in parts)
        return kilobytes / 1024, int(values.get("Threads", "0"))

    def times(self) -> Times:
        """How long its threads were ready to run and had no processor, and had one."""
        # Unlike those of the tasks, these also hold the time of threads that have ended.
        fields = self._read("stat").rpartition(")")[2].split()
        if not fields:
            return Times()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        tasks = [self._read(f"task/{name}/schedstat").split() for name in self._list("task")]
        return Times(sum(int(task[1]) for task in tasks if task) / 1e9, used)

    def unlinked_bytes(self) -> int:
        """Bytes of files that are open but have no name any more."""
        total = 0
        for name in self._list("fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"fd/{name}", dir_fd=self._folder)
                total += 0 if found.st_nlink else found.st_blocks * 512
        return total
