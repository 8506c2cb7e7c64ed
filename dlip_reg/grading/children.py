"""Children as the controller sees them: asked, measured from outside, ended at a limit."""

from __future__ import annotations

import abc
import contextlib
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import psutil

from dlip_reg.grading import errors, processes
from dlip_reg.grading.answers import require
from dlip_reg.grading.folders import TEMPORARY, WORK, disk_use, lay_out, remove_tree
from dlip_reg.grading.interrupts import SHARE, said_of
from dlip_reg.grading.limits import MB, Limits, SandboxSetting, counted
from dlip_reg.grading.wire import Channel, UnsendableError, WireError

END_SECONDS = 20.0  # for what a supervisor or a fresh process answers at once
_GRACE = 0.2
_TICK = 0.02
_DISK_TICK = 0.1
_TEXT = 4000
_WORTH_WAITING = 0.05
_LINUX = sys.platform == "linux"
_STATUS = re.compile(rb"^(RssAnon|RssShmem|VmPTE|Threads):\s+(\d+)", re.MULTILINE)
_MAPPED = re.compile(rb"(\d+) +(/.*) \(deleted\)$", re.MULTILINE)
_HAS_ENDED = psutil.Error, OSError, ValueError  # raised where the process has ended
_FAILURES = {
    "error": errors.StudentError,
    "memory": errors.StudentMemoryError,
    "missing": errors.MissingError,
}


class Child(abc.ABC):
    """A process that runs student code; a thread watches its limits until `end`.

    Every failure is a ProbeError; after one that ends the child, `alive` is False.

    Args:
        pid: Its number, as this process sees it.
        channel: Leads to it.
        limits: What it may use.
        output: The file that its output goes to.
        folder: The folder that it may write to; "" where the kernel limits that.
    """

    def __init__(
        self, pid: int, channel: Channel, limits: Limits, output: IO[bytes], folder: str
    ) -> None:
        self.channel = channel
        self.on_loss: Callable[[], None] = lambda: None  # called where it cannot be reaped
        self.alive, self.requests = True, 0
        self.seconds = 0.0  # of the last request, those that count
        self._pid, self._limits, self._output, self._folder = pid, limits, output, folder
        self._next_look_at_disk = 0.0
        self._passed: errors.ProbeError | None = None  # a limit
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    @abc.abstractmethod
    def kill(self) -> None:
        """End the process at once."""

    @abc.abstractmethod
    def let_run(self, runs: bool) -> None:
        """Stop the process or, where `runs`, let it go on."""

    @abc.abstractmethod
    def reap(self) -> tuple[bool, int]:
        """Wait for the process, or end it, and clean up after it; gives whether it had to be ended,
        and its exit status, negative for a signal's number."""

    def used(self) -> float:
        """Seconds in which the process has used processors so far; 0 once it has ended."""
        with contextlib.suppress(*_HAS_ENDED):
            times = psutil.Process(self._pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def load(self, file: str, seconds: float) -> list[str]:
        """Import `file` as the submission; gives a sentence on what took too long, and one on what
        raised an exception."""
        own = {"file": file, "seconds": SHARE * seconds}
        stopped, raised = require(self._request("import", own, seconds), ([int], [int]))
        kinds = ((stopped, True), (raised, False))
        return [said_of(file, numbers, is_stopped) for numbers, is_stopped in kinds if numbers]

    def run(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        """What the probe "module.function" gives, as plain data."""
        self.requests += 1
        return self._request(probe, arguments, seconds)

    @property
    def disturbed(self) -> bool:
        """Whether the child has said something unasked, or is gone: it is of no more use."""
        return bool(select.select([self.channel.stream], [], [], 0)[0])

    def end(self) -> errors.ProbeError:
        """End the process and wait until it is reaped; gives how it ended, with its output."""
        if not self.alive:  # it was ended when the fork server was closed
            return errors.GraderError("The fork server was closed.")
        self.alive = False
        self._over.set()
        self._watching.join()
        self.let_run(True)  # so that it can end by itself
        self.channel.close()
        try:
            stopped, status = self.reap()
        except (OSError, WireError):
            self.on_loss()
            raise errors.GraderError(errors.SERVER_LOST) from None
        with self._output:
            output = processes.text_in(self._output)
        error = self._passed
        if error is None and stopped:
            error = errors.RejectedError("The submission closed its channel to the grader.")
        elif error is None and status >= 0:
            error = errors.StudentError(f"The process ended itself with status {status}.")
        elif error is None and status == -signal.SIGABRT and "bad_alloc" in output:
            error = self._too_much_memory()
        elif error is None:
            name = signal.strsignal(-status) or -status
            error = errors.StudentError(f"The process crashed ({name}).")
        error.output = output
        return error

    def _request(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        nonce = secrets.token_hex(8)
        try:
            answer = self._answer([nonce, probe, arguments], seconds)
        except TimeoutError:
            text = "The time is up: it took too long."
            raise errors.StudentTimeoutError(text, self.end().output) from None
        except UnsendableError as error:
            raise errors.GraderError(f"The test's arguments cannot be sent: {error}") from None
        except OSError:
            raise self.end() from None
        except WireError as error:
            text = f"The answer is not plain data: {error}"
            raise errors.RejectedError(text, self.end().output) from None
        # Whether the watch has seen what was printed is a matter of chance, and the mark is not.
        self._passed = self._passed or self._too_much_output()
        if self._passed is not None:
            raise self.end()
        match answer:
            case [str(returned), "value", value] if returned == nonce:
                return value
            case [str(returned), str(kind), str(text)] if returned == nonce and kind in _FAILURES:
                raise _FAILURES[kind](printable(text[:_TEXT]))
        text = "The answer is to no question that was asked."
        raise errors.RejectedError(text, self.end().output)

    def _answer(self, request: list[Any], seconds: float) -> Any:
        """The answer; TimeoutError after `seconds`, of those that count."""
        before, started = self.used(), time.monotonic()
        self.seconds, left = 0.0, seconds
        self.channel.queue(request, exact=True)  # a student may rely on what a test passes in
        try:
            while True:
                try:
                    return self.channel.receive(time.monotonic() + left)
                except TimeoutError:
                    left = seconds - counted(time.monotonic() - started, self.used() - before)
                    if left < _WORTH_WAITING:
                        raise
        finally:
            self.seconds = counted(time.monotonic() - started, self.used() - before)

    def _watch(self) -> None:
        while not self._over.wait(_TICK) and self._passed is None:
            with contextlib.suppress(*_HAS_ENDED):
                self._passed = self._limit_passed()
                if self._passed is not None:
                    self.kill()

    def _too_much_memory(self) -> errors.ProbeError:
        return errors.StudentMemoryError(
            f"More than {self._limits.memory_mb} MB of memory were used."
        )

    def _too_much_output(self) -> errors.ProbeError | None:
        limits = self._limits
        printed = os.fstat(self._output.fileno())
        # A file can take up room beyond its size; a file system reserves some by itself.
        taken = getattr(printed, "st_blocks", 0) * 512
        if printed.st_size > limits.output_mb * MB or taken > limits.disk_mb * MB:
            return errors.StudentError(f"More than {limits.output_mb} MB were printed.")
        return None

    def _limit_passed(self) -> errors.ProbeError | None:
        limits = self._limits
        if (error := self._too_much_output()) is not None:
            return error
        memory, threads = _memory_and_threads(self._pid)
        if memory > limits.memory_mb * MB:
            return self._too_much_memory()
        if not memory and threads > 1:  # the kernel shows no memory and no files of such a process
            return errors.StudentError("The main thread ended before the others.")
        if threads > limits.threads:
            return errors.StudentError(f"More than {limits.threads} threads were started.")
        if self._folder and time.monotonic() > self._next_look_at_disk:
            self._next_look_at_disk = time.monotonic() + _DISK_TICK
            most = limits.disk_mb * MB
            size, files = disk_use(self._folder, most, limits.files)
            size += _unlinked_bytes(self._pid, self._folder, most, self._output)
            if size > most or files > limits.files:
                return errors.StudentError(f"More than {limits.disk_mb} MB or too many files.")
        return None


def printable(text: str) -> str:
    """`text` without colours, and without control characters other than new lines."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


class ForkedChild(Child):
    """A job of the fork server; OSError or WireError where its supervisor does not answer."""

    def __init__(self, server: Channel, files: Mapping[str, bytes], limits: Limits) -> None:
        ours, stream = socket.socketpair()
        control, theirs = socket.socketpair()
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the job's end
        with stream, theirs:
            descriptors = [theirs.fileno(), stream.fileno(), output.fileno()]
            socket.send_fds(server.stream, [b"j"], descriptors)
        supervisor = self._supervisor = Channel(control)
        deadline = time.monotonic() + END_SECONDS
        supervisor.send({"files": dict(files), "limits": asdict(limits)}, deadline)
        _, handles, _, _ = socket.recv_fds(supervisor.stream, 1, 1)
        folder = supervisor.receive(deadline)
        if not handles:
            raise ConnectionError("The supervisor ended before it started the process.")
        (self._handle,) = handles
        about = Path(f"/proc/self/fdinfo/{self._handle}").read_text()
        pid = int(about.rpartition("\nPid:")[2].split()[0])
        if pid == 0:
            raise errors.GradingError(
                "/proc shows no processes of student code: its limits need that."
            )
        super().__init__(pid, Channel(ours), limits, output, folder)

    def kill(self) -> None:
        """End the process at once."""
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def let_run(self, runs: bool) -> None:
        """See `Child`."""
        with contextlib.suppress(OSError):  # it has ended
            signal.pidfd_send_signal(self._handle, signal.SIGCONT if runs else signal.SIGSTOP)

    def reap(self) -> tuple[bool, int]:
        """See `Child`."""
        os.close(self._handle)
        with self._supervisor.stream as stream:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
            stopped, status = self._supervisor.receive(time.monotonic() + END_SECONDS)
            with contextlib.suppress(OSError):
                stream.recv(1)  # until the supervisor has ended, too
        return stopped, status


class FreshChild(Child):
    """A process of its own with its files in a temporary folder, without isolation, on any system.

    For a student's own machine, and for staff who trust every submission.
    """

    def __init__(
        self, files: Mapping[str, bytes], setting: SandboxSetting, environment: Mapping[str, str]
    ) -> None:
        folder = tempfile.mkdtemp(prefix="dlip-grading-")
        lay_out(files, folder)
        temporary = f"{folder}/{TEMPORARY}"
        own = {"HOME": folder, "TMPDIR": temporary}
        own |= {"USERPROFILE": folder, "TEMP": temporary}  # on Windows
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the job's end
        self._process, channel = processes.start(
            "dlip_reg.grading.child", {**environment, **own}, output, Path(folder, WORK)
        )
        super().__init__(self._process.pid, channel, setting.limits, output, folder)
        order = [asdict(setting.limits), list(setting.preload), setting.probes, setting.folders]
        with contextlib.suppress(OSError):  # who waits for it to be ready will see
            channel.send(order, time.monotonic() + END_SECONDS)

    def kill(self) -> None:
        """Kill the process, its descendants, and its group."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self._pid, signal.SIGKILL)
            self._process.kill()

    def let_run(self, runs: bool) -> None:
        """Do nothing: this tier does not keep children from each other."""

    def reap(self) -> tuple[bool, int]:
        """See `Child`."""
        try:
            self._process.wait(_GRACE)
            stopped = False
        except subprocess.TimeoutExpired:
            stopped = True
        self.kill()
        status = self._process.wait()
        remove_tree(self._folder)
        return stopped, status


def _memory_and_threads(pid: int) -> tuple[int, int]:
    """Bytes in memory, on Linux those of its own with the tables that map memory, and threads."""
    if not _LINUX:
        process = psutil.Process(pid)
        return process.memory_info().rss, process.num_threads()
    values = dict(_STATUS.findall(Path(f"/proc/{pid}/status").read_bytes()))
    threads = int(values.pop(b"Threads", 0))
    return 1024 * sum(map(int, values.values())), threads


def _unlinked_bytes(pid: int, folder: str, largest: int, output: IO[bytes]) -> int:
    """Bytes of files that it has open, or mapped from `folder`, and that have no name any more; of
    the latter nobody sees the size: they count as the `largest`. `output`, which has a limit of its
    own, does not count. 0 if not on Linux."""
    sizes = {}
    printed = os.fstat(output.fileno())
    with contextlib.suppress(OSError):
        for inode, path in _MAPPED.findall(Path(f"/proc/{pid}/maps").read_bytes()):
            if path.startswith(os.fsencode(os.path.realpath(folder))):
                sizes[int(inode)] = largest
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            found = descriptor.stat()
            if not (found.st_nlink or os.path.samestat(found, printed)):
                sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())
