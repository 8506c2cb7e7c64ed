"""Grades submissions in worker processes, which run the marking tests.

A worker holds the tests, the references and the seed; student code is a fork server away.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dlip_reg.grading.errors import GraderError, GradingError
from dlip_reg.grading.limits import SandboxSetting
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.pytest_plugin import Session
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Student, Submission
from dlip_reg.pools import pool_size

_LONGEST_WAIT = 1.0  # seconds: on Windows Ctrl-C does not end a wait
PROBES = "probes"  # the folder of an assignment's probes, in that of its tests
_OPTIONS = Path(__file__).parent / "templates" / "pytest.ini"


@dataclass(frozen=True)
class Setting(SandboxSetting):
    """What all submissions are graded with; student code may read neither `tests` nor `secret`.

    By default the probes are the package `probes` in the folder of tests, where there is one.
    """

    tests: Path
    public_only: bool = False


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
        try:
            errors = self._started().submit(_collect).result()
        except BrokenProcessPool:
            raise GraderError("The worker process ended before the tests were collected.") from None
        if errors:
            raise GradingError(f"{self._setting.tests} cannot be used: {errors[0]}.")

    def grade(self, submission: Submission) -> Marks:
        """The submission's marks; GradingError where this machine cannot grade."""
        return next(self.grade_all([submission]))

    def grade_all(self, submissions: Sequence[Submission]) -> Iterator[Marks]:
        """The marks of each submission, as soon as they are there.

        Raises:
            GradingError: The machine's isolation is too weak.
        """
        again: list[Submission] = []
        pool = self._started()
        futures = {pool.submit(_grade, each, self.seed): each for each in submissions}
        left = set(futures)
        while left:
            done, left = wait(left, _LONGEST_WAIT, FIRST_COMPLETED)
            for future in done:
                try:
                    yield future.result()
                except GradingError:
                    raise
                except Exception:  # of any kind: it is one submission's
                    again.append(futures[future])
        if again:
            self.close()
        for submission in again:  # one at a time, so that none can harm another
            try:
                yield self._started().submit(_grade, submission, self.seed).result()
            except GradingError:
                raise
            except Exception as error:
                self.close()
                has_ended = isinstance(error, BrokenProcessPool)
                said = "The worker process ended." if has_ended else str(error)
                notes = (*submission.notes, said)
                yield Marks(submission.name, (), notes=notes, verdict_without_tests="grader error")

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                pool_size(self._workers),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=(self._setting,),
            )
        return self._pool


class _Worker:
    """What a worker process keeps from one submission to the next."""

    setting: Setting
    sandbox: Sandbox


def _start(setting: Setting) -> None:
    """Prepare this process, a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller ends it
    threading.Thread(target=_end_with_the_controller, daemon=True).start()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    probes, packages = setting.probes, [path.absolute() for path in setting.packages]
    if not probes and (setting.tests / PROBES).is_dir():
        probes, packages = PROBES, [*packages, setting.tests.resolve() / PROBES]
    # Students have the public tests.
    secret = setting.secret if setting.public_only else (*setting.secret, setting.tests)
    secret = [path.resolve() for path in secret]
    _Worker.setting = replace(setting, probes=probes, packages=packages, secret=secret)
    _Worker.sandbox = Sandbox(_Worker.setting)
    atexit.register(_Worker.sandbox.close)


def _end_with_the_controller() -> None:
    controller = multiprocessing.parent_process()
    if controller is not None:
        controller.join()
    os._exit(0)  # the fork server sees its own channel close, and ends every job


def _collect() -> list[str]:
    """What is wrong with the tests."""
    session = Session(None, "")
    _pytest(session, "--collect-only")
    return session.errors


def _grade(submission: Submission, seed: str) -> Marks:
    """Run the tests on one submission; GradingError or `GraderError` where there is no sandbox."""
    started = time.monotonic()
    sandbox = _Worker.sandbox
    sandbox.start()
    with contextlib.closing(Student(sandbox, submission)) as student:
        session = Session(student, seed, sandbox.limits.own_seconds)
        _pytest(session)
    return Marks(
        submission.name,
        tuple(session.marks),
        tier=sandbox.tier,
        seed=seed,
        key=submission.key,
        seconds=round(time.monotonic() - started, 3),
        notes=(*submission.notes, *student.stopped, *session.errors),
        stopped=student.stopped,
        verdict_without_tests="grader error",
    )


def _pytest(session: Session, *more: str) -> None:
    tests = _Worker.setting.tests.resolve()
    # No options of the folder's owner: a pytest.ini above the tests is of another project. No path
    # of theirs, because pytest reads "[", "::" and "$" in one as notation.
    arguments = ["-c", str(_OPTIONS), "--rootdir", ".", "--confcutdir", ".", *more, "."]
    arguments += ["-m", "public"] if _Worker.setting.public_only else []
    with contextlib.chdir(tests):
        status = pytest.main(arguments, plugins=[session])
    if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
        raise GraderError(f"pytest could not run the tests in {tests}.")
