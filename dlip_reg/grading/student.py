"""A submission as the tests see it: ask it something, get plain data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlip_reg.grading.errors import (
    GraderError,
    ProbeError,
    StudentError,
    StudentTimeoutError,
    UnusableAnswerError,
)
from dlip_reg.grading.sandbox import Job, Sandbox


@dataclass(frozen=True)
class Submission:
    """One student's files (path to content) and which of them is imported; `notes` tell staff what
    was left out and why."""

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    main: str
    notes: tuple[str, ...] = ()


class Student:
    """Runs probes beside a submission: one child for the public tests and one for the hidden, a
    fresh one after a crash, and a clean child for `rebuild`.

    What a public test says could carry what the child has seen in a hidden one: hence two.
    """

    def __init__(self, sandbox: Sandbox, submission: Submission) -> None:
        self._sandbox, self._submission = sandbox, submission
        self._limits = sandbox.limits
        self._end = time.monotonic() + self._limits.total_seconds
        self._left = self._limits.test_seconds
        self._public = False
        self._jobs: dict[bool, Job] = {}
        self._clean: Job | None = None
        self._import_failure: ProbeError | None = None

    @property
    def tier(self) -> str:
        """The tier of isolation in which the submission runs."""
        return self._sandbox.tier

    def begin(self, public: bool) -> None:
        """A test starts: its time runs from here."""
        self._public = public
        self._left = self._limits.test_seconds

    def run(self, probe: str, /, **arguments: Any) -> Any:
        """What the probe "module.function" gives for the submission.

        Raises:
            ProbeError: Whatever went wrong; its class and `verdict` say whose fault it is.
        """
        job = self._imported()
        try:
            return self._timed(job, probe, arguments)
        except (StudentTimeoutError, GraderError):
            raise
        except ProbeError:
            if job.alive or job.requests == 1:
                raise
        # What another test left in the child may have ended it: only a fresh one tells.
        return self._timed(self._imported(), probe, arguments)

    def call(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """What the submission's function `name` returns, as plain data; raises as `run` does."""
        return self.run("call", name=name, arguments=list(arguments), options=options)

    def rebuild(self, probe: str, /, **arguments: Any) -> Any:
        """The same in a clean child that has never seen the submission (`submission` is None)."""
        self._check_time()
        if self._clean is None or not self._clean.alive:
            self._clean = self._new_job({})
        try:
            return self._timed(self._clean, probe, arguments)
        except StudentError as error:
            if not self._clean.alive:
                raise
            _, _, text = str(error).partition(": ")
            raise UnusableAnswerError(text, error.output) from None

    def _timed(self, job: Job, probe: str, arguments: dict[str, Any]) -> Any:
        """All probes of one test share its time, that in which others had the processors apart."""
        started = time.monotonic()
        try:
            return job.run(probe, arguments, max(min(self._left, self._end - started), 0.0))
        finally:
            self._left -= time.monotonic() - started - job.lacked
            self._end += job.lacked

    def close(self) -> None:
        """End the children."""
        for job in (*self._jobs.values(), self._clean):
            if job is not None and job.alive:
                job.end()
        self._jobs, self._clean = {}, None

    def _new_job(self, files: Mapping[str, bytes]) -> Job:
        """A fresh child, whose start is not the submission's time."""
        started = time.monotonic()
        job = self._sandbox.job(files)
        self._end += time.monotonic() - started
        return job

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            raise StudentTimeoutError("The time for the whole submission is up.")

    def _imported(self) -> Job:
        self._check_time()
        if self._import_failure is not None:
            raise self._import_failure
        job = self._jobs.get(self._public)
        if job is not None and job.alive and job.disturbed:
            job.end()
        if job is None or not job.alive:
            job = self._jobs[self._public] = self._new_job(self._submission.files)
            try:
                job.load(self._submission.main, self._limits.import_seconds)
                self._end += job.lacked
            except GraderError:
                job.end()
                raise
            except ProbeError as error:
                self._import_failure = type(error)(f"On import: {error}", error.output)
                raise self._import_failure from None
        return job
