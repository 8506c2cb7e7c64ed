"""Marking tests: points, partial credit, verdicts, and the fixtures `student`, `rng` and `credit`.

A folder of marking tests takes all of it with one line in its `conftest.py`:

    from dlip_reg.grading.pytest_plugin import *
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator

import numpy as np
import pytest

from dlip_reg.grading.alarm import time_limit
from dlip_reg.grading.children import printable
from dlip_reg.grading.errors import GraderError, ProbeError
from dlip_reg.grading.marks import NEEDS_STAFF, TestMark
from dlip_reg.grading.student import Student

__all__ = ["credit", "pytest_collection_modifyitems", "pytest_configure", "rng", "student"]
_MESSAGE = 4000


class Credit:
    """Partial credit: each `check` earns its share of the test's points, or says why not."""

    def __init__(self) -> None:
        self.offered = self.earned = 0.0
        self.missed: list[str] = []

    def check(self, share: float, holds: bool, message: str) -> bool:
        """Earn `share` (of 1) if `holds`, else note `message`; gives `holds`."""
        self.offered += share
        if holds:
            self.earned += share
        else:
            self.missed.append(message)
        return bool(holds)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "points(n, task=''): what a marking test is worth")
    config.addinivalue_line("markers", "public: a marking test that students may see and run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """While a submission is graded only the marking tests run, group by group; else the others."""
    marking = [item for item in items if item.get_closest_marker("points")]
    others = [item for item in items if not item.get_closest_marker("points")]
    if _SESSION in config.stash:
        # A module's public tests come first: what its hidden tests pass in is still unknown then.
        marking.sort(key=lambda item: (str(item.path), not _is_public(item)))
        items[:], dropped = marking, others
    else:
        items[:], dropped = others, marking
    if dropped:
        config.hook.pytest_deselected(items=dropped)


@pytest.fixture(scope="session")
def student(request: pytest.FixtureRequest) -> Student | None:
    """The submission that is marked (see `Student`)."""
    return request.config.stash[_SESSION].student


@pytest.fixture(scope="module")
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers for this module's tests, from a seed that no submission can know."""
    session = request.config.stash.get(_SESSION, None)
    seed = session.seed if session else secrets.token_hex(16)
    digest = hashlib.sha256(f"{seed}/{request.node.path.stem}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


@pytest.fixture
def credit() -> Credit:
    """Partial credit (see `Credit`)."""
    return Credit()


class Session:
    """A plugin for one run of pytest: the student and the seed that its tests ask for, the marks
    they gave, and what is wrong with the tests.

    Args:
        seconds: How long a test may take, besides what the student's code takes.
    """

    def __init__(self, student: Student | None, seed: str, seconds: float = 60.0) -> None:
        self.student, self.seed, self._seconds = student, seed, seconds
        self.marks: list[TestMark] = []
        self.errors: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[_SESSION] = self
        config.option.tbstyle = "no"  # nobody reads tracebacks, and they take time

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.errors.append(_last_line(str(excrepr)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not session.items and not self.errors:
            self.errors.append("the folder holds no test with a points mark")
        for item in session.items:
            points = _points(item).args
            if len(points) != 1 or not isinstance(points[0], int | float) or points[0] <= 0:
                self.errors.append(f"{item.nodeid}: points takes one number above 0")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        if self.student is not None:
            self.student.begin(_is_public(item), item.path.stem, _task(item))
        with time_limit(self._seconds):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        with time_limit(self._seconds):
            result = yield
        given = _credit(item)
        if given is not None:
            if abs(given.offered - 1) > 1e-6:
                raise GraderError(f"The shares of {item.name} add up to {given.offered:g}, not 1.")
            if given.missed:
                raise AssertionError("\n".join(given.missed))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call" or (call.when == "setup" and not report.passed):
            self.marks.append(_mark(item, call))
        return report


_SESSION = pytest.StashKey[Session]()


def _points(item: pytest.Item) -> pytest.Mark:
    """The mark that makes it a marking test."""
    mark = item.get_closest_marker("points")
    assert mark is not None
    return mark


def _task(item: pytest.Item) -> str:
    return str(_points(item).kwargs.get("task", ""))


def _is_public(item: pytest.Item) -> bool:
    return item.get_closest_marker("public") is not None


def _credit(item: pytest.Item) -> Credit | None:
    return getattr(item, "funcargs", {}).get("credit")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    said = [line for line in lines if line.startswith("E ")] or lines or ["it cannot be collected"]
    return said[-1].removeprefix("E ").strip()


def _mark(item: pytest.Function, call: pytest.CallInfo[None]) -> TestMark:
    marker, given = _points(item), _credit(item)
    points = float(marker.args[0])
    share, verdict, message, output = 1.0, "passed", "", ""
    if call.excinfo is not None:
        error = call.excinfo.value
        share = min(given.earned, 1.0) if given is not None else 0.0
        message = str(error)
        if isinstance(error, ProbeError):
            verdict, output = error.verdict, error.output
        elif isinstance(error, AssertionError | pytest.fail.Exception):
            verdict = "failed"
            message = message.partition("\nassert ")[0]
        else:
            verdict, message = "grader error", f"{type(error).__name__}: {message}"
        if share and verdict not in NEEDS_STAFF:
            verdict = "partial"
    title = (item.function.__doc__ or "").strip().partition("\n")[0]
    return TestMark(
        name=item.name,
        module=item.path.stem,
        task=_task(item),
        title=title or item.originalname.removeprefix("test_").replace("_", " "),
        public=_is_public(item),
        max_score=points,
        score=None if verdict == "grader error" else round(share * points, 6),
        verdict=verdict,
        message=printable(message[:_MESSAGE]),
        output=output,
        seconds=round(call.duration, 3),
    )
