"""The controller's side: starts a fork server in the best isolation there is, and jobs in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import dlip_reg
from dlip_reg.grading import processes
from dlip_reg.grading.child import READY
from dlip_reg.grading.children import END_SECONDS, ForkedProcess, FreshProcess, WatchedProcess
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
from dlip_reg.grading.wire import Channel, UnsendableError, WireError

PRELOAD = ("numpy", "tensorflow", "keras", "keras_tuner", "h5py", "matplotlib.pyplot")
_PACKAGE = Path(dlip_reg.__file__).resolve().parent
_GRADING = _PACKAGE / "grading"
_START_SECONDS = 600.0
_TEXT = 4000
_WORTH_COUNTING, _WORTH_WAITING = 0.5, 0.05
_FAILURES = {"error": StudentError, "memory": StudentMemoryError, "missing": MissingError}


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
        self._packages = [Path(path) for path in packages]
        self._environment = clean_environment(
            [_PACKAGE.parent, *(path.parent for path in self._packages)]
        )
        self._server: subprocess.Popen | None = None
        self._descriptors: Channel | None = None  # leads to the server
        self._running: set[WatchedProcess] = set()
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
        if self._failure:
            raise GraderError(self._failure)
        self.close()
        tier, reason = WEAK, f"{sys.platform} has neither namespaces nor Landlock"
        if self._requested != WEAK and sys.platform == "linux":
            tier, reason = self._start_server()
        if tier == WEAK:
            self.close()
            if not self._allow_weak:
                raise GradingError(
                    f"This machine offers no sandbox for student code ({reason}); grade on "
                    "another, or allow the weak tier if you trust every submission."
                )
        self.tier = tier

    def _start_server(self) -> tuple[str, str]:
        """Gives the server's tier, and why it is no stronger one."""
        # Of this project a child sees what runs it, not what solves the assignment.
        own = [_PACKAGE / "__init__.py", *_GRADING.glob("*.py"), _GRADING / "isolation"]
        masked = [_PACKAGE, _PACKAGE.parent / "callbacks"]
        visible = visible_paths([*own, *self._packages], masked)
        for path in filter(visible.shows, self._secret):
            raise GradingError(
                f"{path} lies where student code reads its libraries: put it, or the Python "
                "environment, elsewhere."
            )
        with tempfile.TemporaryFile() as output:
            self._server, self._descriptors = processes.start(
                "dlip_reg.grading.server", self._environment, output
            )
            try:
                deadline = time.monotonic() + _START_SECONDS
                configuration = [self._requested, self._preload, self._probes, astuple(visible)]
                self._descriptors.send(configuration, deadline)
                tier, reason = self._descriptors.receive(deadline)
                return tier, reason
            except OSError:
                self.close(kill=True)
                said = processes.last_line(processes.text_in(output))
                self._failure = f"The fork server did not start: {said}"
                raise GraderError(self._failure) from None

    def job(self, files: Mapping[str, bytes]) -> Job:
        """A fresh child with `files` (path to content) as its working folder, once it can be asked:
        what that takes is not the submission's time."""
        self.start()
        process: WatchedProcess
        if self.tier == WEAK:
            process = FreshProcess(
                files, self.limits, self._environment, self._preload, self._probes
            )
        else:
            with self._in_touch():
                process = ForkedProcess(self._descriptors, files, self.limits)
        self._running.add(process)
        job = Job(self, process)
        try:
            if process.channel.receive(time.monotonic() + _START_SECONDS) == READY:
                return job
        except (OSError, WireError):
            pass
        said = processes.last_line(job.end().output)
        raise GraderError(f"The child did not start: {said}")

    @contextlib.contextmanager
    def _in_touch(self) -> Iterator[None]:
        """Where the server or a supervisor is gone, end all of them and raise GraderError."""
        try:
            yield
        except (OSError, WireError):
            self.close(kill=True)
            raise GraderError(
                "The fork server is gone; it is started again for the next test."
            ) from None

    def end(self, process: WatchedProcess) -> ProbeError:
        """End that process and wait until it is reaped; gives how it ended."""
        if process not in self._running:  # it was ended when the fork server was closed
            return GraderError("The fork server was closed.")
        self._running.discard(process)
        with self._in_touch():
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
        self._descriptors.close()
        try:
            self._server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = self._descriptors = None


class Job:
    """One child. Every failure is a ProbeError; after one that ends the child, `alive` is False."""

    def __init__(self, sandbox: Sandbox, process: WatchedProcess) -> None:
        self._sandbox, self._process = sandbox, process
        self._channel = process.channel
        self.alive, self.requests = True, 0
        self.seconds = 0.0  # of the last request, without those in which others had the processors

    def load(self, file: str, seconds: float) -> None:
        """Import `file` as the submission."""
        self._request("import", {"file": file}, seconds)

    def run(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        """What the probe "module.function" gives, as plain data."""
        self.requests += 1
        return self._request(probe, arguments, seconds)

    def end(self) -> ProbeError:
        """End the child; once it has ended, gives how, with what it had printed."""
        self.alive = False
        return self._sandbox.end(self._process)

    @property
    def disturbed(self) -> bool:
        """Whether the child has said something unasked, or is gone: it is of no more use."""
        stream = self._channel.stream
        return stream.fileno() < 0 or bool(select.select([stream], [], [], 0)[0])

    def _request(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        nonce = secrets.token_hex(8)
        try:
            answer = self._answer([nonce, probe, arguments], seconds)
        except TimeoutError:
            raise StudentTimeoutError("The time is up.", self.end().output) from None
        except UnsendableError as error:
            raise GraderError(f"The test's arguments cannot be sent: {error}") from None
        except OSError:
            raise self.end() from None
        except WireError as error:
            text = f"The answer is no plain data: {error}"
            raise RejectedError(text, self.end().output) from None
        match answer:
            case [str(returned), "value", value] if returned == nonce:
                return value
            case [str(returned), str(kind), str(text)] if returned == nonce and kind in _FAILURES:
                raise _FAILURES[kind](printable(text[:_TEXT]))
        text = "The answer is to no question that was asked."
        raise RejectedError(text, self.end().output)

    def _answer(self, request: list[Any], seconds: float) -> Any:
        """The answer; TimeoutError after `seconds`, those not counted that the child lacked."""
        before, started = self._process.times(), time.monotonic()
        self.seconds = lacked = 0.0
        self._channel.queue(request)
        try:
            while True:
                try:
                    return self._channel.receive(started + seconds + lacked)
                except TimeoutError:
                    lacked = self._lacked(before, started, seconds)
                    if started + seconds + lacked - time.monotonic() < _WORTH_WAITING:
                        raise
        finally:
            self.seconds = time.monotonic() - started - self._lacked(before, started, seconds)

    def _lacked(self, before: Times, started: float, seconds: float) -> float:
        elapsed = time.monotonic() - started
        if elapsed < min(_WORTH_COUNTING, seconds):
            return 0.0
        return self._process.times().lacked(before, elapsed, seconds)


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
