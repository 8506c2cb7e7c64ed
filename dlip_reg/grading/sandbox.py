"""The controller's side: starts a fork server behind the best walls there are, and jobs in it."""

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
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dlip_reg
from dlip_reg.grading import processes
from dlip_reg.grading.child import PROBES, READY
from dlip_reg.grading.errors import (
    GraderError,
    GradingError,
    Missing,
    ProbeError,
    Rejected,
    StudentError,
    StudentMemory,
    StudentTimeout,
)
from dlip_reg.grading.limits import PATIENCE, Limits, Times
from dlip_reg.grading.walls.tiers import TIERS, WEAK, visible_paths
from dlip_reg.grading.weak import FreshProcess
from dlip_reg.grading.wire import Channel, Closed, CutShort, TimeUp, Unsendable, WireError

PRELOAD = ("numpy", "tensorflow", "keras", "keras_tuner", "h5py", "matplotlib.pyplot")
_PACKAGE = Path(dlip_reg.__file__).resolve().parent
_GRADING = _PACKAGE / "grading"
_START_SECONDS = 600.0
_END_SECONDS = 20.0
_TEXT = 4000
_WORTH_COUNTING, _WORTH_WAITING = 0.5, 0.05
_FAILURES = {
    "error": StudentError,
    "memory": StudentMemory,
    "missing": Missing,
}


class Sandbox:
    """Runs student code behind walls; a context manager.

    `tier` None takes the best that this machine offers; "weak" is taken only with `allow_weak`,
    otherwise GradingError says what is missing. `preload` is imported once and shared by all jobs;
    `probes` is the package whose functions `Job.run` may name. GradingError where student code
    could read one of the paths `secret`.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        tier: str | None = None,
        allow_weak: bool = False,
        preload: Sequence[str] = PRELOAD,
        probes: str = PROBES,
        packages: Sequence[Path | str] = (),
        secret: Sequence[Path | str] = (),
    ) -> None:
        if tier not in (None, *TIERS):
            raise GradingError(f"There is no tier {tier!r}; there are {', '.join(TIERS)}.")
        self.limits = limits or Limits()
        self.tier, self.reason = "", ""
        self._asked, self._allow_weak = tier, allow_weak or tier == WEAK
        self._preload, self._probes = list(preload), probes
        packages = [Path(path) for path in packages]
        # Of this project a child sees what runs it, not what solves the assignment.
        self._visible = [_PACKAGE / "__init__.py", *_GRADING.glob("*.py"), _GRADING / "walls"]
        self._visible += [_GRADING / "probes", *packages]
        self._masked = [_PACKAGE, _PACKAGE.parent / "callbacks"]
        self._secret = list(secret)
        self._roots = [_PACKAGE.parent, *(path.parent for path in packages)]
        self._process: subprocess.Popen | None = None
        self._control: Channel | None = None
        self._ended: dict[int, dict[str, Any]] = {}
        self._fresh: dict[int, FreshProcess] = {}
        self._number, self._failure = 0, ""

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server unless it runs already."""
        if self.tier == WEAK or (self._process is not None and self._process.poll() is None):
            return
        if self._asked == WEAK or sys.platform != "linux":
            self._take_weak(f"{sys.platform} has neither namespaces nor Landlock")
            return
        if self._failure:
            raise GraderError(self._failure)
        self.close()
        self._process, self._control = processes.start(
            "dlip_reg.grading.server", clean_environment(self._roots)
        )
        last_words = processes.LastWords(self._process)
        try:
            deadline = time.monotonic() + _START_SECONDS
            self._control.send(
                {
                    "tier": self._asked,
                    "preload": self._preload,
                    "visible": [str(path) for path in self._visible],
                    "masked": [str(path) for path in self._masked],
                    "probes": self._probes,
                },
                deadline,
            )
            hello = self._control.receive(deadline)
        except TimeUp:
            self.close(kill=True)
            raise GraderError(f"The fork server did not start in {_START_SECONDS:g} s.") from None
        except (Closed, CutShort):
            self.close(kill=True)
            self._failure = f"The fork server did not start: {last_words.line()}"
            raise GraderError(self._failure) from None
        if hello["tier"] == WEAK:
            self.close()
            self._take_weak(hello["reason"])
        else:
            self._check_secrets()
            self.tier, self.reason = hello["tier"], hello["reason"]

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
                f"This machine offers no walls around student code ({reason}); grade on another, "
                "or allow the weak tier if you trust every submission."
            )
        self.tier, self.reason = WEAK, reason

    def job(self, files: Mapping[str, bytes]) -> Job:
        """A fresh child with `files` (path to content) as its working folder."""
        self.start()
        self._number += 1
        if self.tier == WEAK:
            fresh = FreshProcess(
                files,
                self.limits,
                clean_environment(self._roots),
                self._preload,
                self._probes,
            )
            self._fresh[self._number] = fresh
            return self._ready(Job(self, self._number, fresh.channel))
        ours, theirs = socket.socketpair()
        order = {
            "do": "start",
            "job": self._number,
            "files": dict(files),
            "limits": asdict(self.limits),
        }
        with theirs:
            try:
                self._control.send(order, time.monotonic() + _END_SECONDS)
                self._control.stream.settimeout(_END_SECONDS)
                socket.send_fds(self._control.stream, [b"f"], [theirs.fileno()])
            except (Closed, TimeUp, OSError):
                ours.close()
                self._lost()
        return self._ready(Job(self, self._number, Channel(ours)))

    @staticmethod
    def _ready(job: Job) -> Job:
        """The job, once its child can be asked: what that takes is not the submission's time."""
        try:
            job.await_ready(time.monotonic() + _START_SECONDS)
        except (Closed, WireError, TimeUp):
            said = job.end()["output"].strip().splitlines() or ["it said nothing"]
            raise GraderError(f"The child did not start: {said[-1]}") from None
        return job

    def end(self, number: int) -> dict[str, Any]:
        """End that job and wait until it is reaped; gives how it ended (see warden)."""
        if number in self._fresh:
            return self._fresh.pop(number).end()
        self._report_after("end", number)
        return self._ended.pop(number)

    def times(self, number: int) -> Times:
        """What that job has used and waited for so far; zeros once it has ended."""
        if number in self._fresh:
            return self._fresh[number].times()
        return Times(**self._report_after("times", number).get("times", {}))

    def _report_after(self, order: str, number: int) -> dict[str, Any]:
        """Send the order and give the job's next report of that kind, or of its end."""
        deadline = time.monotonic() + _END_SECONDS
        try:
            if number not in self._ended:
                self._control.send({"do": order, "job": number}, deadline)
            while number not in self._ended:
                report = self._control.receive(deadline)
                if "end" in report:
                    self._ended[report["job"]] = report
                elif report["job"] == number and order in report:
                    return report
        except (Closed, WireError, TimeUp):
            self._lost()
        return self._ended[number]

    def _lost(self) -> None:
        self.close(kill=True)
        raise GraderError("The fork server is gone; it is started again for the next test.")

    def close(self, kill: bool = False) -> None:
        """End the server and every job."""
        while self._fresh:
            self._fresh.popitem()[1].end()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            if kill:
                self._process.kill()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._ended.clear()


class Job:
    """One child. Every failure is a ProbeError; after one that ends the child, `alive` is False."""

    def __init__(self, sandbox: Sandbox, number: int, channel: Channel) -> None:
        self._sandbox, self._number, self._channel = sandbox, number, channel
        self.alive, self.output, self.asked = True, "", 0
        self.lacked = 0.0  # seconds of the last request in which others had the processors

    def await_ready(self, deadline: float) -> None:
        """Wait until the child can be asked; Closed, WireError or TimeUp where it never can."""
        if self._channel.receive(deadline) != READY:
            raise WireError("The child did not say that it is ready.")

    def load(self, file: str, seconds: float) -> None:
        """Import `file` as the submission."""
        self._ask({"do": "import", "file": file}, seconds)

    def run(self, probe: str, arguments: dict[str, Any], seconds: float) -> Any:
        """What the probe "module.function" gives, as plain data."""
        self.asked += 1
        return self._ask({"do": "run", "probe": probe, "arguments": arguments}, seconds)

    def end(self) -> dict[str, Any]:
        """End the child; once it has ended, gives how."""
        self.alive = False
        self._channel.close()
        ended = self._sandbox.end(self._number)
        self.output = ended["output"]
        return ended

    @property
    def disturbed(self) -> bool:
        """Whether the child has said something unasked, or is gone: it is of no more use."""
        return bool(select.select([self._channel.stream], [], [], 0)[0])

    def _ask(self, request: dict[str, Any], seconds: float) -> Any:
        nonce = secrets.token_hex(8)
        cut = False
        try:
            answer = self._answer({**request, "nonce": nonce}, seconds)
        except TimeUp:
            self.end()
            raise StudentTimeout("The time is up.", self.output) from None
        except Unsendable as error:
            raise GraderError(f"The test's arguments cannot be sent: {error}") from None
        except (Closed, CutShort):
            cut = True
        except WireError as error:
            self.end()
            raise Rejected(f"The answer is no plain data: {error}", self.output) from None
        if cut:
            raise _why_it_ended(self.end(), self._sandbox.limits)
        match answer:
            case [str(said), "value", value] if said == nonce:
                return value
            case [str(said), str(kind), str(text)] if said == nonce and kind in _FAILURES:
                raise _FAILURES[kind](printable(text[:_TEXT]))
        self.end()
        raise Rejected("The answer is to no question that was asked.", self.output)

    def _answer(self, request: dict[str, Any], seconds: float) -> Any:
        """The answer; TimeUp after `seconds`, those not counted that the child lacked."""
        before, started = self._sandbox.times(self._number), time.monotonic()
        self.lacked = 0.0

        def left() -> float:
            return max(0.0, started + seconds + self.lacked - time.monotonic())

        def look() -> None:
            elapsed = time.monotonic() - started
            if elapsed > min(_WORTH_COUNTING, seconds):
                now = self._sandbox.times(self._number)
                self.lacked = now.lacked(before, elapsed, seconds)

        self._channel.send(request, started + seconds * (1 + PATIENCE))
        while not select.select([self._channel.stream], [], [], left())[0]:
            look()
            if left() < _WORTH_WAITING:
                raise TimeUp
        answer = self._channel.receive(started + seconds * (1 + PATIENCE))
        look()
        return answer


def _why_it_ended(ended: dict[str, Any], limits: Limits) -> ProbeError:
    output, detail = ended["output"], ended["detail"]
    match ended["end"]:
        case "memory":
            return StudentMemory(f"More than {limits.memory_mb} MB of memory were used.", output)
        case "time":
            return StudentTimeout("The time is up.", output)
        case "output":
            return StudentError(f"More than {limits.output_mb} MB were printed.", output)
        case "disk":
            return StudentError(f"More than {limits.disk_mb} MB or too many files.", output)
        case "threads":
            return StudentError(f"More than {limits.threads} threads were started.", output)
        case "exit":
            return StudentError(f"The process ended itself with status {detail}.", output)
        case "signal" if detail == signal.SIGABRT and "bad_alloc" in output:
            return StudentMemory(f"More than {limits.memory_mb} MB of memory were used.", output)
        case "signal":
            with contextlib.suppress(ValueError):
                detail = signal.Signals(detail).name
            return StudentError(f"The process crashed ({detail}).", output)
        case "told to":
            return Rejected("The submission closed the line to the grader.", output)
    return GraderError("The fork server lost the job.", output)


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
