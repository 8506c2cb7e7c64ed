"""Marking tests: points, partial credit, verdicts, and the fixtures `student`, `rng` and `credit`.

A folder of marking tests takes all of it with one line in its `conftest.py`:

    from dlip_reg.grading.pytest_plugin import *
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlip_reg.grading.errors import GraderError, GradingError, ProbeError
from dlip_reg.grading.sandbox import printable
from dlip_reg.grading.student import Student, Submission

__all__ = [
    "credit",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "pytest_unconfigure",
    "rng",
    "student",
]
SESSION = "dlip-grading-session"
PROPERTY, TIER = "grading", "grading tier"
_MESSAGE = 4000


class Partial(AssertionError):
    """Part of a test's points were earned; the text says what was missed."""


class BadTest(Exception):
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
    """What the tests of one pytest run ask: the student, the seed."""

    def __init__(self, student: Student, seed: str) -> None:
        self.student, self.seed = student, seed

    def close(self) -> None:
        self.student.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grading")
    with contextlib.suppress(ValueError):  # two folders of marking tests both bring them
        group.addoption("--submission", metavar="PATH", help="the submission to mark")
        group.addoption("--grading-seed", metavar="TEXT", help="repeats a run's random inputs")
        group.addoption(
            "--allow-weak",
            action="store_true",
            help="mark where this machine has no walls around student code",
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "points(n): what a marking test is worth")
    config.addinivalue_line("markers", "public: a marking test that students may see and run")
    if not _path(config):
        return
    if not config.getoption("--grading-seed", default=None):
        config.option.grading_seed = secrets.token_hex(16)
    from dlip_reg.grading.intake import read_submission

    try:
        config.stash[_SUBMISSION] = read_submission(Path(_path(config)))
    except GradingError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    own = config.stash.get(_OWN, None)
    if own is not None:
        session, sandbox = own
        session.close()
        sandbox.close()


_OWN, _SUBMISSION = pytest.StashKey[Any](), pytest.StashKey[Submission]()


def _path(config: pytest.Config) -> str | None:
    return config.getoption("--submission", default=None)


def _session(config: pytest.Config) -> Session | None:
    """The session that the grader gave, or else one for `--submission`, or None."""
    given = config.pluginmanager.get_plugin(SESSION)
    if given is not None:
        return given
    if _path(config) and _OWN not in config.stash:
        from dlip_reg.grading.sandbox import Sandbox

        tests = [argument.partition("::")[0] for argument in config.args]
        weak = config.getoption("--allow-weak", default=False)
        sandbox = Sandbox(allow_weak=weak, secret=tests)
        try:
            sandbox.start()
        except (GradingError, GraderError) as error:
            if not hasattr(config, "workerinput"):  # there xdist would see a crash: each test tells
                pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)
        student = Student(sandbox, config.stash[_SUBMISSION])
        config.stash[_OWN] = Session(student, config.getoption("--grading-seed")), sandbox
    return config.stash[_OWN][0] if _OWN in config.stash else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a submission only the marking tests run, group by group; without, only the others."""
    marking = [item for item in items if item.get_closest_marker("points")]
    others = [item for item in items if not item.get_closest_marker("points")]
    if _path(config) or config.pluginmanager.has_plugin(SESSION):
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
        pytest.skip("no submission to mark: give --submission PATH")
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
            raise BadTest(f"The shares of {item.name} add up to {given.offered:g}, not to 1.")
        if given.missed:
            raise Partial("\n".join(given.missed))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
    report = yield
    session = item.get_closest_marker("points") and _session(item.config)
    if session and (call.when == "call" or (call.when == "setup" and not report.passed)):
        report.user_properties.append((PROPERTY, _result(item, call)))
        report.user_properties.append((TIER, session.student.tier))
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
        "title": title or item.originalname.removeprefix("test_").replace("_", " "),
        "public": is_public(item),
        "max_score": points,
        "score": None if verdict == "grader error" else round(share * points, 6),
        "verdict": verdict,
        "message": printable(message[:_MESSAGE]),
        "output": output,
        "seconds": round(call.duration, 3),
    }


def results_in(reports: list[Any]) -> list[dict[str, Any]]:
    """The marks that pytest's reports carry."""
    return _carried(reports, PROPERTY)


def _carried(reports: list[Any], wanted: str) -> list[Any]:
    return [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == wanted
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [r for reports in terminalreporter.stats.values() for r in reports]
    results = results_in(reports)
    if not results:
        return
    terminalreporter.section("marks")
    for result in sorted(results, key=lambda result: (result["module"], result["name"])):
        score = "?" if result["score"] is None else f"{result['score']:g}"
        terminalreporter.write_line(
            f"{score:>5} / {result['max_score']:g}  {result['verdict']:12} {result['title']}"
        )
    scores = [result["score"] for result in results]
    earned = "?" if None in scores else f"{sum(scores):g}"
    terminalreporter.write_line(f"{earned} of {sum(r['max_score'] for r in results):g} points")
    for tier in sorted(set(filter(None, _carried(reports, TIER)))):
        terminalreporter.write_line(f"Walls around student code: {tier}.")
