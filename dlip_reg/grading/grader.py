"""Grades submissions one after the other, in a worker process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlip_reg.grading import processes
from dlip_reg.grading.errors import GraderError, GradingError
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.marks import Marks, TestMark
from dlip_reg.grading.student import Submission
from dlip_reg.grading.wire import Channel, WireError

_OVERHEAD_SECONDS = 900.0  # starting a worker and its fork server, on a slow machine
_STOP_SECONDS = 30.0
_ATTEMPTS = 2


@dataclass(frozen=True)
class Setting:
    """What all submissions are graded with; student code may read neither `tests` nor `secret`."""

    tests: Path
    limits: Limits = field(default_factory=Limits)
    tier: str | None = None
    allow_weak: bool = False
    public_only: bool = False
    preload: Sequence[str] | None = None
    probes: str | None = None
    packages: Sequence[Path] = ()
    secret: Sequence[Path] = ()

    def sandbox_options(self) -> dict[str, Any]:
        given = {"preload": self.preload, "probes": self.probes}
        return {
            "tier": self.tier,
            "allow_weak": self.allow_weak,
            "packages": [str(path) for path in self.packages],
            "secret": [str(path.resolve()) for path in self._secrets()],
            **{name: value for name, value in given.items() if value is not None},
        }

    def _secrets(self) -> list[Path]:
        # Students have the public tests.
        return [*self.secret, *(() if self.public_only else (self.tests,))]


class Grader:
    """Marks submissions by the tests of one folder; a context manager.

    A worker that dies is replaced and the submission tried once more; after that its marks are a
    grader error. GradingError where the tests cannot be collected or the isolation is too
    weak.
    """

    def __init__(self, setting: Setting, seed: str) -> None:
        self._setting, self._seed = setting, seed
        self._process: subprocess.Popen | None = None
        self._channel: Channel | None = None
        self._stderr: processes.StderrTail | None = None
        self._stopped = False

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def collect(self) -> None:
        """GradingError where the tests cannot be used, or there are none."""
        answer = self._asked({"do": "collect"}, _OVERHEAD_SECONDS)
        if answer["errors"]:
            raise GradingError(f"The tests cannot be used: {answer['errors'][0]}.")
        if not answer["tests"]:
            raise GradingError(f"{self._setting.tests} holds no test with a points mark.")

    def grade(self, submission: Submission) -> Marks:
        """The submission's marks; GradingError where this machine cannot grade."""
        request = {
            "do": "grade",
            "student": submission.name,
            "files": dict(submission.files),
            "main": submission.main,
            "seed": self._seed,
        }
        seconds = self._setting.limits.total_seconds + _OVERHEAD_SECONDS
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._asked(request, seconds)
                if "failure" not in answer:
                    break
                self.close()
                raise GraderError(answer["failure"])
            except GraderError as error:
                if self._stopped:
                    raise
                if attempt + 1 == _ATTEMPTS:
                    return Marks(
                        submission.name,
                        (),
                        seed=self._seed,
                        notes=(*submission.notes, str(error)),
                        verdict_without_tests="grader error",
                    )
        if "error" in answer:
            raise GradingError(answer["error"])
        if not answer["tests"] and not answer["errors"]:
            raise GradingError(
                f"No test in {self._setting.tests} gave a mark: its conftest.py has to import "
                "dlip_reg.grading.pytest_plugin."
            )
        return Marks(
            submission.name,
            tuple(TestMark(**test) for test in answer["tests"]),
            tier=answer["tier"],
            seed=self._seed,
            seconds=answer["seconds"],
            notes=(*submission.notes, *answer["errors"]),
            verdict_without_tests="grader error" if answer["errors"] else "missing",
        )

    def _asked(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        if self._stopped:
            raise GraderError("The grader was stopped.")
        try:
            if self._process is None:
                self._start(deadline)
            self._channel.send(request, deadline)
            return self._channel.receive(deadline)
        except TimeoutError:
            self.close(kill=True)
            raise GraderError(f"The worker did not answer within {seconds:g} s.") from None
        except (OSError, WireError):
            self.close(kill=True)
            said = self._stderr.line()
            raise GraderError(f"The worker ended unexpectedly: {said}.") from None

    def _start(self, deadline: float) -> None:
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment.pop("PYTEST_ADDOPTS", None)
        self._process, self._channel = processes.start("dlip_reg.grading.worker", environment)
        self._stderr = processes.StderrTail(self._process)
        self._channel.send(
            {
                "tests": str(self._setting.tests.resolve()),
                "limits": asdict(self._setting.limits),
                "sandbox": self._setting.sandbox_options(),
                "public_only": self._setting.public_only,
            },
            deadline,
        )

    def stop(self) -> None:
        """Have `grade`, which another thread is in, end at once with GraderError."""
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()

    def close(self, kill: bool = False) -> None:
        """End the worker, its fork server and every job."""
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            with contextlib.suppress(OSError):
                self._channel.send({"do": "stop"}, time.monotonic() + _STOP_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._process = self._channel = None
