"""Grades submissions in worker processes, which run the marking tests."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlip_reg.grading import worker
from dlip_reg.grading.errors import GraderError, GradingError
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.marks import Marks, TestMark
from dlip_reg.grading.student import Submission

PROBES = "probes"  # the folder of an assignment's probes, in that of its tests


@dataclass(frozen=True)
class Setting:
    """What all submissions are graded with; student code may read neither `tests` nor `secret`.

    By default the probes are the package `probes` in the folder of tests, where there is one.
    """

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
        probes, packages = self.probes, list(self.packages)
        own = self.tests.resolve() / PROBES
        if probes is None and own.is_dir():
            probes, packages = PROBES, [*packages, own]
        # Students have the public tests.
        secret = self.secret if self.public_only else (*self.secret, self.tests)
        return {
            "limits": self.limits,
            "tier": self.tier,
            "allow_weak": self.allow_weak,
            "packages": packages,
            "probes": probes or "",
            "secret": [path.resolve() for path in secret],
            **({} if self.preload is None else {"preload": self.preload}),
        }


class Grader:
    """Marks submissions by the tests of one folder; a context manager.

    A worker that dies is replaced and the submission tried once more; after that its marks are a
    grader error.
    """

    def __init__(self, setting: Setting, seed: str, workers: int = 1) -> None:
        self._setting, self._workers, self.seed = setting, workers, seed
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(kill=error is not None)

    def close(self, kill: bool = False) -> None:
        """End the workers, their fork servers and every job; with `kill` at once."""
        if self._pool is None:
            return
        if kill:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()
        self._pool.shutdown()
        self._pool = None

    def collect(self) -> None:
        """GradingError where the tests cannot be used, or there are none."""
        errors, tests = self._started().submit(worker.collect).result()
        if errors:
            raise GradingError(f"The tests cannot be used: {errors[0]}.")
        if not tests:
            raise GradingError(f"{self._setting.tests} holds no test with a points mark.")

    def grade(self, submission: Submission) -> Marks:
        """The submission's marks; GradingError where this machine cannot grade."""
        return next(self.grade_all([submission]))

    def grade_all(self, submissions: Sequence[Submission]) -> Iterator[Marks]:
        """The marks of each submission, as soon as they are there.

        Raises:
            GradingError: The machine's isolation is too weak, or no test gave a mark.
        """
        again: list[Submission] = []
        pool = self._started()
        futures = {pool.submit(worker.grade, each, self.seed): each for each in submissions}
        for future in as_completed(futures):
            try:
                yield self._marks(futures[future], future.result())
            except (BrokenProcessPool, GraderError):
                again.append(futures[future])
        if again:
            self.close()
        for submission in again:  # one at a time, so that none can harm another
            try:
                found = self._started().submit(worker.grade, submission, self.seed).result()
                marks = self._marks(submission, found)
            except (BrokenProcessPool, GraderError) as error:
                self.close()
                said = str(error) if isinstance(error, GraderError) else "The worker process ended."
                marks = self._without_tests(submission.name, (*submission.notes, said))
            yield marks

    def _marks(self, submission: Submission, found: worker.Graded) -> Marks:
        notes = (*submission.notes, *found.errors)
        if found.errors and not found.tests:
            return self._without_tests(submission.name, notes)
        if not found.tests:
            raise GradingError(
                f"No test in {self._setting.tests} gave a mark: its conftest.py has to import "
                "dlip_reg.grading.pytest_plugin."
            )
        return Marks(
            submission.name,
            tuple(TestMark(**test) for test in found.tests),
            tier=found.tier,
            seed=self.seed,
            seconds=found.seconds,
            notes=notes,
        )

    def _without_tests(self, student: str, notes: tuple[str, ...]) -> Marks:
        return Marks(student, (), seed=self.seed, notes=notes, verdict_without_tests="grader error")

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            setting = self._setting
            options = setting.tests.resolve(), setting.public_only, setting.sandbox_options()
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=worker.start,
                initargs=options,
            )
        return self._pool
