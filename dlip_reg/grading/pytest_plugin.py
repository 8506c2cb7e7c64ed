"""Marking tests: points, partial credit, verdicts, and the fixtures `student`, `rng` and `credit`.

A folder of marking tests takes all of it with one line in its `conftest.py`:

    from dlip_reg.grading.pytest_plugin import *
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dlip_reg.errors import DlipRegError
from dlip_reg.grading.errors import ProbeError
from dlip_reg.grading.sandbox import printable
from dlip_reg.grading.student import Student

__all__ = [
    "credit",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "rng",
    "student",
]
SESSION = "dlip-grading-session"
_MESSAGE = 4000


class PartialCreditError(DlipRegError, AssertionError):
    """Part of a test's points were earned; the text says what was missed."""


class InvalidTestError(DlipRegError):
    """A marking test that is wrong itself: its author has to act."""


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


class Session:
    """What the tests of one pytest run ask, the student and the seed, and the marks they gave."""

    def __init__(self, student: Student, seed: str) -> None:
        self.student, self.seed = student, seed
        self.marks: list[dict[str, Any]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "points(n, task=''): what a marking test is worth")
    config.addinivalue_line("markers", "public: a marking test that students may see and run")


def _session(config: pytest.Config) -> Session | None:
    """The session that the grader gave, None where nothing is graded."""
    return config.pluginmanager.get_plugin(SESSION)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """While a submission is graded only the marking tests run, group by group; else the others."""
    marking = [item for item in items if item.get_closest_marker("points")]
    others = [item for item in items if not item.get_closest_marker("points")]
    if _session(config) is not None:
        # A module's public tests come first: what its hidden tests pass in is still unknown then.
        marking.sort(key=lambda item: (str(item.path), not is_public(item)))
        items[:], dropped = marking, others
    else:
        items[:], dropped = others, marking
    if dropped:
        config.hook.pytest_deselected(items=dropped)


def is_public(item: pytest.Item) -> bool:
    return item.get_closest_marker("public") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    session = _session(item.config)
    if session is not None and item.get_closest_marker("points"):
        session.student.begin(is_public(item))


@pytest.fixture(scope="session")
def student(request: pytest.FixtureRequest) -> Student:
    """The submission that is marked (see `Student`)."""
    session = _session(request.config)
    if session is None:
        pytest.skip("no submission is graded")
    return session.student


@pytest.fixture(scope="module")
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers for this module's tests, from a seed that no submission can know."""
    session = _session(request.config)
    seed = session.seed if session else secrets.token_hex(16)
    digest = hashlib.sha256(f"{seed}/{request.node.path.stem}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


@pytest.fixture
def credit() -> Credit:
    """Partial credit (see `Credit`)."""
    return Credit()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    given = getattr(item, "funcargs", {}).get("credit")
    if given is not None and given.offered:
        if abs(given.offered - 1) > 1e-6:
            raise InvalidTestError(
                f"The shares of {item.name} add up to {given.offered:g}, not to 1."
            )
        if given.missed:
            raise PartialCreditError("\n".join(given.missed))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
    report = yield
    session = item.get_closest_marker("points") and _session(item.config)
    if session and (call.when == "call" or (call.when == "setup" and not report.passed)):
        session.marks.append(_result(item, call))
    return report


def _result(item: pytest.Item, call: pytest.CallInfo) -> dict[str, Any]:
    """The mark of one test, as plain data."""
    points = float(item.get_closest_marker("points").args[0])
    given = getattr(item, "funcargs", {}).get("credit")
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
        if share and verdict not in ("rejected", "grader error"):
            verdict = "partial"
    title = (item.function.__doc__ or "").strip().partition("\n")[0]
    return {
        "name": item.name,
        "module": item.path.stem,
        "task": item.get_closest_marker("points").kwargs.get("task", ""),
        "title": title or item.originalname.removeprefix("test_").replace("_", " "),
        "public": is_public(item),
        "max_score": points,
        "score": None if verdict == "grader error" else round(share * points, 6),
        "verdict": verdict,
        "message": printable(message[:_MESSAGE]),
        "output": output,
        "seconds": round(call.duration, 3),
    }
