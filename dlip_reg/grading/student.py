"""A submission as the tests see it: ask it something, get plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlip_reg.grading.alarm import suspended
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
    was left out and why, `key` says what is graded by which tests."""

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    main: str
    notes: tuple[str, ...] = ()
    key: str = ""


class Student:
    """Runs probes beside a submission: one child for the public tests and one for the hidden, a
    fresh one after a crash, and a clean child for `rebuild`.

    What a public test says could carry what the child has seen in a hidden one: hence two. Seconds
    count while a child works for a request and others do not have the processors.
    """

    def __init__(self, sandbox: Sandbox, submission: Submission) -> None:
        self._sandbox, self._submission = sandbox, submission
        self._limits = sandbox.limits
        self._left = self._limits.total_seconds
        self._left_for_test = self._limits.test_seconds
        self._public = False
        self._jobs: dict[bool, Job] = {}
        self._clean: Job | None = None
        self._import_failure: ProbeError | None = None

    def begin(self, public: bool) -> None:
        """A test starts: its time runs from here. StudentTimeoutError where none is left."""
        if self._left <= 0:
            raise StudentTimeoutError("The time for the whole submission is up.")
        self._public = public
        self._left_for_test = self._limits.test_seconds

    def run(self, probe: str, /, **arguments: Any) -> Any:
        """What the probe "module.function" gives for the submission.

        Raises:
            ProbeError: Whatever went wrong; its class and `verdict` say whose fault it is.
        """
        with suspended():
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
        with suspended():
            if self._clean is None or not self._clean.alive:
                self._clean = self._sandbox.job({})
            try:
                return self._timed(self._clean, probe, arguments)
            except StudentError as error:
                if not self._clean.alive:
                    raise
                _, _, text = str(error).partition(": ")
                raise UnusableAnswerError(text, error.output) from None

    def _timed(self, job: Job, probe: str, arguments: dict[str, Any]) -> Any:
        """All probes of one test share its time."""
        try:
            return job.run(probe, arguments, max(min(self._left_for_test, self._left), 0.0))
        finally:
            self._left_for_test -= job.seconds
            self._left -= job.seconds

    def close(self) -> None:
        """End the children."""
        for job in (*self._jobs.values(), self._clean):
            if job is not None and job.alive:
                job.end()
        self._jobs, self._clean = {}, None

    def _imported(self) -> Job:
        if self._import_failure is not None:
            raise self._import_failure
        job = self._jobs.get(self._public)
        if job is not None and job.alive and job.disturbed:
            job.end()
        if job is None or not job.alive:
            job = self._jobs[self._public] = self._sandbox.job(self._submission.files)
            try:
                job.load(self._submission.main, self._limits.import_seconds)
            except GraderError:
                job.end()
                raise
            except ProbeError as error:
                self._import_failure = type(error)(f"On import: {error}", error.output)
                raise self._import_failure from None
            finally:
                self._left -= job.seconds
        return job
