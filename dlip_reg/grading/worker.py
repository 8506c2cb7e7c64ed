"""A worker of the controller: runs the marking tests, one submission after the other.

It holds the tests, the references and the seed; student code is a fork server away.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any

import pytest

from dlip_reg.grading.errors import GraderError, GradingError
from dlip_reg.grading.limits import Limits
from dlip_reg.grading.processes import connected
from dlip_reg.grading.pytest_plugin import SESSION, Session, is_public, results_in
from dlip_reg.grading.sandbox import Sandbox
from dlip_reg.grading.student import Student, Submission
from dlip_reg.grading.wire import Channel, WireError


def main() -> None:
    """Grade what the other end sends until it closes."""
    channel = connected(sys.argv[1])
    setting = channel.receive()
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(channel, requests), daemon=True).start()
    sandbox = Sandbox(Limits(**setting["limits"]), **setting["sandbox"])
    while (request := requests.get())["do"] != "stop":
        if request["do"] == "collect":
            channel.send(_collected(setting))
        else:
            channel.send(_graded(request, setting, sandbox))
    sandbox.close()


def _listen(channel: Channel, requests: queue.Queue) -> None:
    try:
        while True:
            requests.put(channel.receive())
    except (OSError, WireError):
        os._exit(0)  # the fork server sees its own channel close, and ends every job


def _pytest(setting: dict[str, Any], plugin: _Plugin, *more: str) -> None:
    tests = setting["tests"]
    arguments = ["-o", "addopts=", "--rootdir", tests, "--confcutdir", tests, *more]
    # The last would collect garbage after every submission.
    unused = ("cacheprovider", "terminal", "unraisableexception")
    arguments += [word for name in unused for word in ("-p", f"no:{name}")] + [tests]
    arguments += ["-m", "public"] if setting["public_only"] else []
    status = pytest.main(arguments, plugins=[plugin])
    if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
        raise RuntimeError(f"pytest could not run the tests in {tests}")


class _Plugin:
    """Gives a pytest run its session, under the name that `pytest_plugin` looks for, and keeps what
    the run found."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.errors: list[str] = []
        self.tests: list[dict[str, Any]] = []
        self.reports: list[pytest.TestReport] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._session, SESSION)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.errors.append(_last_line(str(excrepr)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            points = item.get_closest_marker("points").args
            if len(points) != 1 or not isinstance(points[0], int | float) or points[0] <= 0:
                self.errors.append(f"{item.nodeid}: points takes one number above 0")
            self.tests.append({"name": item.nodeid, "public": is_public(item)})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.startswith("E")]
    return (lines or text.strip().splitlines() or ["it cannot be collected"])[-1].lstrip("E ")


def _collected(setting: dict[str, Any]) -> dict[str, Any]:
    found = _Plugin(Session(None, ""))
    _pytest(setting, found, "--collect-only")
    return {"errors": found.errors, "tests": found.tests}


def _graded(request: dict[str, Any], setting: dict[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    started = time.monotonic()
    submission = Submission(request["student"], request["files"], request["main"])
    try:
        sandbox.start()
    except GradingError as error:
        return {"error": str(error)}
    except GraderError as error:
        return {"failure": str(error)}
    session = Session(Student(sandbox, submission), request["seed"])
    found = _Plugin(session)
    try:
        _pytest(setting, found)
    finally:
        session.close()
    return {
        "tests": results_in(found.reports),
        "errors": found.errors,
        "tier": sandbox.tier,
        "seconds": round(time.monotonic() - started, 3),
    }


if __name__ == "__main__":
    main()
