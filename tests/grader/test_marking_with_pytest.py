"""The marks that a pytest run gives where the grader has given it a session."""

import pytest
from tiny_assignment import write_tests

from dlip_reg.grading.pytest_plugin import Session

pytest_plugins = "pytester"
MARKING = '''
import pytest


@pytest.mark.points(2, task="1. The beginning")
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


class Isolated:
    """A student in strong isolation."""

    tier = "strong"

    def begin(self, public, module):
        pass


@pytest.fixture
def marked(pytester):
    def run(tests):
        session = Session(Isolated(), "a seed")
        folder = write_tests(pytester.path / "marking", tests)
        pytester.runpytest_inprocess(folder, plugins=[session])
        return {mark.name: mark for mark in session.marks}

    return run


def test_a_test_that_fails_by_its_own_fault_is_a_grader_error(marked):
    marks = marked(BROKEN)
    assert (marks["test_broken"].score, marks["test_broken"].verdict) == (None, "grader error")
    assert (marks["test_right"].score, marks["test_right"].task) == (2, "1. The beginning")


def test_without_a_session_only_other_tests_run(pytester):
    folder = write_tests(pytester.path / "marking", MARKING + "\n\ndef test_plain(): pass\n")
    pytester.runpytest_inprocess(folder).assert_outcomes(passed=1, deselected=2)


def test_a_message_is_short_and_printable(marked):
    message = marked(MARKING)["test_long"].message
    assert len(message) <= 4000 and message.replace("\N{REPLACEMENT CHARACTER}", "").isprintable()
