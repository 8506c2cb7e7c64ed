"""The controller's side: starts a fork server in the best isolation there is, and jobs in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dlip_reg
from dlip_reg.grading import processes
from dlip_reg.grading.child import READY
from dlip_reg.grading.errors import (
    GraderError,
    GradingError,
    MissingError,
    ProbeError,
    RejectedError,
    StudentError,
    StudentMemoryError,
    StudentTimeoutError,
)
from dlip_reg.grading.isolation.tiers import TIERS, WEAK, visible_paths
from dlip_reg.grading.limits import Limits, Times
from dlip_reg.grading.weak import FreshProcess
from dlip_reg.grading.wire import Channel, UnsendableError, WireError

PRELOAD = ("numpy", "tensorflow", "keras", "keras_tuner", "h5py", "matplotlib.pyplot")
_PACKAGE = Path(dlip_reg.__file__).resolve().parent
_GRADING = _PACKAGE / "grading"
_START_SECONDS = 600.0
_END_SECONDS = 20.0
_TEXT = 4000
_WORTH_COUNTING, _WORTH_WAITING = 0.5, 0.05
_FAILURES = {"error": StudentError, "memory": StudentMemoryError, "missing": MissingError}
_MEMORY = StudentMemoryError, "More than {memory_mb} MB of memory were used."
_ENDINGS: dict[str, tuple[type[ProbeError], str]] = {
    "memory": _MEMORY,
    "time": (StudentTimeoutError, "The time is up."),
    "output": (StudentError, "More than {output_mb} MB were printed."),
    "disk": (StudentError, "More than {disk_mb} MB or too many files."),
    "threads": (StudentError, "More than {threads} threads were started."),
    "exit": (StudentError, "The process ended itself with status {detail}."),
    "signal": (StudentError, "The process crashed ({detail})."),
    "stopped": (RejectedError, "The submission closed its channel to the grader."),
}


class Sandbox:
    """Runs student code in isolation; a context manager.

    Args:
        limits: What each child may use.
        tier: None for the best that this machine offers, or one of TIERS.
        allow_weak: Whether the weak tier is taken where there is no better one.
        preload: The modules that are imported once and shared by all jobs.
        probes: The package whose functions `Job.run` may name, besides "call".
        packages: Folders of further packages that children may import.
        secret: Paths that student code must not be able to read.

    Raises:
        GradingError: At the start, if the machine offers too little, or a secret can be read.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        tier: str | None = None,
        allow_weak: bool = False,
        preload: Sequence[str] = PRELOAD,
        probes: str = "",
        packages: Sequence[Path | str] = (),
        secret: Sequence[Path | str] = (),
    ) -> None:
        if tier not in (None, *TIERS):
            raise GradingError(f"There is no tier {tier!r}; there are {', '.join(TIERS)}.")
        self.limits = limits or Limits()
        self.tier = ""
        self._requested, self._allow_weak = tier, allow_weak or tier == WEAK
        self._preload, self._probes, self._secret = list(preload), probes, list(secret)
        packages = [Path(path) for path in packages]
        # Of this project a child sees what runs it, not what solves the assignment.
        self._visible = [_PACKAGE / "__init__.py", *_GRADING.glob("*.py"), _GRADING / "isolation"]
        self._visible += packages
        self._masked = [_PACKAGE, _PACKAGE.parent / "callbacks"]
        self._environment = clean_environment(
            [_PACKAGE.parent, *(path.parent for path in packages)]
        )
        self._server: subprocess.Popen | None = None
        self._orders: Channel | None = None
        self._running: set[_ForkedProcess | FreshProcess] = set()
        self._failure = ""

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server unless it runs already."""
        if self.tier == WEAK or (self._server is not None and self._server.poll() is None):
            return
        if self._requested == WEAK or sys.platform != "linux":
            self._take_weak(f"{sys.platform} has neither namespaces nor Landlock")
            return
        if self._failure:
            raise GraderError(self._failure)
        self.close()
        self._server, self._orders = processes.start("dlip_reg.grading.server", self._environment)
        stderr = processes.StderrTail(self._server)
        configuration = {
            "tier": self._requested,
            "preload": self._preload,
            "visible": [str(path) for path in self._visible],
            "masked": [str(path) for path in self._masked],
            "probes": self._probes,
        }
        try:
            deadline = time.monotonic() + _START_SECONDS
            self._orders.send(configuration, deadline)
            started = self._orders.receive(deadline)
        except TimeoutError:
            self.close(kill=True)
            raise GraderError(f"The fork server did not start in {_START_SECONDS:g} s.") from None
        except OSError:
            self.close(kill=True)
            self._failure = f"The fork server did not start: {processes.last_line(stderr.text())}"
            raise GraderError(self._failure) from None
        if started["tier"] == WEAK:
            self.close()
            self._take_weak(started["reason"])
        else:
            self._check_secrets()
            self.tier = started["tier"]

    def _check_secrets(self) -> None:
        visible = visible_paths(self._visible, self._masked)
        for path in filter(visible.shows, self._secret):
            self.close()
            raise GradingError(
                f"{path} lies where student code reads its libraries: put it, or the Python "
                "environment, elsewhere."
            )

    def _take_weak(self, reason: str) -> None:
        if not self._allow_weak:
            raise GradingError(
                f"This machine offers no sandbox for student code ({reason}); grade on another, "
                "or allow the weak tier if you trust every submission."
            )
        self.tier = WEAK

    def job(self, files: Mapping[str, bytes]) -> Job:
        """A fresh child with `files` (path to content) as its working folder, once it can be asked:
        what that takes is not the submission's time."""
        self.start()
        if self.tier == WEAK:
            process = FreshProcess(
                files, self.limits, self._environment, self._preload, self._probes
            )
        else:
            process = self._fork(files)
        self._running.add(process)
        job = Job(self, process)
        try:
            if process.channel.receive(time.monotonic() + _START_SECONDS) == READY:
                return job
        except (OSError, WireError):
            pass
        output = job.end()["output"]
        raise GraderError(f"The child did not start: {processes.last_line(output)}")

    def _fork(self, files: Mapping[str, bytes]) -> _ForkedProcess:
        channel, stream = socket.socketpair()
        reports, control = socket.socketpair()
        with stream, control, self.in_touch():
            order = {"files": dict(files), "limits": asdict(self.limits)}
            self._orders.send(order, time.monotonic() + _END_SECONDS)
            self._orders.stream.settimeout(_END_SECONDS)
            descriptors = [stream.fileno(), control.fileno()]
            socket.send_fds(self._orders.stream, [b"f"], descriptors)
        return _ForkedProcess(Channel(channel), Channel(reports))

    @contextlib.contextmanager
    def in_touch(self) -> Iterator[None]:
        """Where the server or a supervisor is gone, end all of them and raise GraderError."""
        try:
            yield
        except (OSError, WireError):
            self.close(kill=True)
            raise GraderError(
                "The fork server is gone; it is started again for the next test."
            ) from None

    def end(self, process: _ForkedProcess | FreshProcess) -> dict[str, Any]:
        """End that process and wait until it is reaped; gives how it ended (see supervisor)."""
        self._running.discard(process)
        with self.in_touch():
            return process.end()

    def close(self, kill: bool = False) -> None:
        """End the server and every job."""
        if kill and self._server is not None:
            self._server.kill()
        while self._running:
            with contextlib.suppress(OSError, WireError):
                self._running.pop().end()
        if self._server is None:
            return
        self._orders.close()
        try:
            self._server.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = self._orders = None


class _ForkedProcess:
    """The controller's two lines to a job of the fork server: to the child, and to the supervisor.

    TimeoutError, OSError or WireError where the supervisor does not answer.
    """

    def __init__(self, channel: Channel, supervisor: Channel) -> None:
        self.channel, self._supervisor = channel, supervisor
        self._ended: dict[str, Any] | None = None

    def times(self) -> Times:
        """What the child has used and waited for so far; zeros once it has ended."""
        deadline = time.monotonic() + _END_SECONDS
        if self._ended is None:
            with contextlib.suppress(OSError):  # it has ended, and said how
                self._supervisor.send("times", deadline)
            report = self._supervisor.receive(deadline)
            if "end" not in report:
                return Times(**report)
            self._ended = report
        return Times()

    def end(self) -> dict[str, Any]:
        """End the child; once supervisor and child are gone, gives how it ended."""
        deadline = time.monotonic() + _END_SECONDS
        self.channel.close()
        with self._supervisor.stream as stream:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
            while self._ended is None:
                report = self._supervisor.receive(deadline)
                self._ended = report if "end" in report else None
            with contextlib.suppress(OSError):
                stream.recv(1)
        return self._ended


class Job:
    """One child. Every failure is a ProbeError; after one that ends the child, `alive` is False."""

    def __init__(self, sandbox: Sandbox, process: _ForkedProcess | FreshProcess) -> None:
        self._sandbox, self._process = sandbox, process
        self._channel = process.channel
        self.alive, self.requests = True, 0
        self.ended: dict[str, Any] = {}
        self.lacked = 0.0  # seconds of the last request in which others had the processors

    def load(self, file: str, seconds: float) -> None:
        """Import `file` as the submission."""
        self._request({"do": "import", "file": file}, seconds)

    def run(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        """What the probe "module.function" gives, as plain data."""
        self.requests += 1
        return self._request({"do": "run", "probe": probe, "arguments": arguments}, seconds)

    def end(self) -> dict[str, Any]:
        """End the child; once it has ended, gives how."""
        self.alive = False
        self.ended = self._sandbox.end(self._process)
        return self.ended

    @property
    def disturbed(self) -> bool:
        """Whether the child has said something unasked, or is gone: it is of no more use."""
        return bool(select.select([self._channel.stream], [], [], 0)[0])

    def _request(self, request: dict[str, Any], seconds: float) -> Any:
        nonce = secrets.token_hex(8)
        try:
            answer = self._answer({**request, "nonce": nonce}, seconds)
        except TimeoutError:
            raise StudentTimeoutError("The time is up.", self.end()["output"]) from None
        except UnsendableError as error:
            raise GraderError(f"The test's arguments cannot be sent: {error}") from None
        except OSError:
            raise self._why_it_ended() from None
        except WireError as error:
            output = self.end()["output"]
            raise RejectedError(f"The answer is no plain data: {error}", output) from None
        match answer:
            case [str(returned), "value", value] if returned == nonce:
                return value
            case [str(returned), str(kind), str(text)] if returned == nonce and kind in _FAILURES:
                raise _FAILURES[kind](printable(text[:_TEXT]))
        output = self.end()["output"]
        raise RejectedError("The answer is to no question that was asked.", output)

    def _answer(self, request: dict[str, Any], seconds: float) -> Any:
        """The answer; TimeoutError after `seconds`, those not counted that the child lacked."""
        before, started = self._times(), time.monotonic()
        self.lacked, deadline = 0.0, started + seconds
        self._channel.queue(request)
        while True:
            try:
                answer = self._channel.receive(deadline)
            except TimeoutError:
                self._count_lacked(before, started, seconds)
                deadline = started + seconds + self.lacked
                if deadline - time.monotonic() < _WORTH_WAITING:
                    raise
            else:
                self._count_lacked(before, started, seconds)
                return answer

    def _count_lacked(self, before: Times, started: float, seconds: float) -> None:
        elapsed = time.monotonic() - started
        if elapsed > min(_WORTH_COUNTING, seconds):
            self.lacked = self._times().lacked(before, elapsed, seconds)

    def _times(self) -> Times:
        with self._sandbox.in_touch():
            return self._process.times()

    def _why_it_ended(self) -> ProbeError:
        ended = self.end()
        kind, detail, output = ended["end"], ended["detail"], ended["output"]
        error, text = _ENDINGS[kind]
        if kind == "signal":
            if detail == signal.SIGABRT and "bad_alloc" in output:
                error, text = _MEMORY
            with contextlib.suppress(ValueError):
                detail = signal.Signals(detail).name
        return error(text.format(**asdict(self._sandbox.limits), detail=detail), output)


def printable(text: str) -> str:
    """`text` without control characters other than new lines."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def clean_environment(roots: Sequence[Path]) -> dict[str, str]:
    """What a server or child may know of this process's environment."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": "/nonexistent",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, roots))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }
