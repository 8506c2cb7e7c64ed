"""`pytest FOLDER --submission PATH`: what it refuses and what it says."""

import pytest
from tiny_assignment import HONEST, TESTS, write_tests

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.pytest_plugin import SESSION, Session
from dlip_reg.grading.sandbox import Sandbox

pytest_plugins = "pytester"
MARKING = '''
import pytest


@pytest.mark.points(2)
def test_right(student):
    """Holds."""


@pytest.mark.points(3)
def test_long(student):
    """Says too much."""
    raise AssertionError("\\x1b[2J" + "x" * 30_000_000)
'''
BROKEN = (
    MARKING
    + '''

@pytest.mark.points(1)
def test_broken(student):
    """Fails by its own fault."""
    raise KeyError
'''
)


class Walled:
    """A student behind strong walls."""

    tier = "strong"

    def begin(self, public):
        pass


class Given:
    """Gives pytest a session, as the grader's worker does, and keeps the marks."""

    def __init__(self):
        self.marks = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config):
        config.pluginmanager.register(Session(Walled(), "a seed"), SESSION)

    def pytest_runtest_logreport(self, report):
        found = [value for name, value in report.user_properties if name == "grading"]
        self.marks |= {mark["name"]: mark for mark in found}


@pytest.fixture
def marked(pytester):
    def run(tests):
        given = Given()
        folder = write_tests(pytester.path / "marking", tests)
        return pytester.runpytest_inprocess(folder, plugins=[given]), given.marks

    return run


def test_the_total_and_the_walls_are_told(marked):
    said, _ = marked(MARKING)
    said.stdout.fnmatch_lines(["2 of 5 points", "Walls around student code: strong."])


def test_a_total_with_a_grader_error_in_it_is_not_known(marked):
    said, marks = marked(BROKEN)
    said.stdout.fnmatch_lines(["[?] of 6 points"])
    assert (marks["test_broken"]["score"], marks["test_broken"]["verdict"]) == (
        None,
        "grader error",
    )


def test_a_message_is_short_and_printable(marked):
    _, marks = marked(MARKING)
    message = marks["test_long"]["message"]
    assert len(message) <= 4000 and message.replace("\N{REPLACEMENT CHARACTER}", "").isprintable()


@pytest.mark.parametrize("more", [[], ["-n", "2"]])
def test_a_submission_that_is_not_there_is_one_sentence(pytester, more):
    folder = write_tests(pytester.path / "marking")
    said = pytester.runpytest_subprocess(folder, "--submission", "nowhere.py", *more)
    assert said.ret == pytest.ExitCode.USAGE_ERROR
    said.stderr.fnmatch_lines(["ERROR: There is no nowhere.py."])
    assert "INTERNALERROR" not in said.stdout.str() + said.stderr.str()


def test_a_machine_without_walls_is_refused_unless_that_is_asked_for(pytester, monkeypatch):
    def no_walls(sandbox):
        sandbox._take_weak("no walls here")
        raise GradingError("weak was taken")

    monkeypatch.setattr(Sandbox, "start", no_walls)
    folder = write_tests(pytester.path / "marking", TESTS)
    submission = pytester.path / "submission.py"
    submission.write_text(HONEST)
    for more, told in (([], "*offers no sandbox*"), (["--allow-weak"], "*weak was taken*")):
        said = pytester.runpytest_inprocess(folder, "--submission", submission, *more)
        assert said.ret == pytest.ExitCode.USAGE_ERROR
        said.stdout.fnmatch_lines([told])
