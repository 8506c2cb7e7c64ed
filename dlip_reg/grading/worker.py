"""What runs in a worker process of the grader: the marking tests, one submission after the other.

It holds the tests, the references and the seed; student code is a fork server away.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dlip_reg.grading.pytest_plugin import SESSION, Session
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Student, Submission


class Graded(NamedTuple):
    """What the tests of one submission gave: marks as plain data, and errors of the tests."""

    tests: list[dict[str, Any]]
    errors: list[str]
    tier: str
    seconds: float


class _Worker:
    """What a process keeps from one submission to the next."""

    tests: Path
    public_only: bool
    sandbox: Sandbox


def start(tests: Path, public_only: bool, sandbox: dict[str, Any]) -> None:
    """Prepare this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller ends it
    threading.Thread(target=_end_with_the_controller, daemon=True).start()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    _Worker.tests, _Worker.public_only = tests, public_only
    _Worker.sandbox = Sandbox(**sandbox)
    atexit.register(_Worker.sandbox.close)


def _end_with_the_controller() -> None:
    multiprocessing.parent_process().join()
    os._exit(0)  # the fork server sees its own channel close, and ends every job


def collect() -> tuple[list[str], int]:
    """What is wrong with the tests, and how many there are."""
    found = _Plugin(Session(None, ""))
    _pytest(found, "--collect-only")
    return found.errors, found.tests


def grade(submission: Submission, seed: str) -> Graded:
    """Run the tests on one submission; GradingError or GraderError where there is no sandbox."""
    started = time.monotonic()
    sandbox = _Worker.sandbox
    sandbox.start()
    with contextlib.closing(Student(sandbox, submission)) as student:
        session = Session(student, seed)
        found = _Plugin(session)
        _pytest(found)
    seconds = round(time.monotonic() - started, 3)
    return Graded(session.marks, found.errors, sandbox.tier, seconds)


def _pytest(plugin: _Plugin, *more: str) -> None:
    tests = str(_Worker.tests)
    arguments = ["-o", "addopts=", "--rootdir", tests, "--confcutdir", tests, *more]
    # The last would collect garbage after every submission.
    unused = ("cacheprovider", "terminal", "unraisableexception")
    arguments += [word for name in unused for word in ("-p", f"no:{name}")] + [tests]
    arguments += ["-m", "public"] if _Worker.public_only else []
    status = pytest.main(arguments, plugins=[plugin])
    if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
        raise RuntimeError(f"pytest could not run the tests in {tests}")


class _Plugin:
    """Gives a pytest run its session, under the name that `pytest_plugin` looks for, and keeps what
    the run found."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.errors: list[str] = []
        self.tests = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._session, SESSION)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.errors.append(_last_line(str(excrepr)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tests = len(session.items)
        for item in session.items:
            points = item.get_closest_marker("points").args
            if len(points) != 1 or not isinstance(points[0], int | float) or points[0] <= 0:
                self.errors.append(f"{item.nodeid}: points takes one number above 0")


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.startswith("E")]
    return (lines or text.strip().splitlines() or ["it cannot be collected"])[-1].lstrip("E ")
