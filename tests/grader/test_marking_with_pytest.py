"""The marks that a pytest run gives where the grader has given it a session."""

from tiny_assignment import write_tests

from dlip_reg.grading.grader import _OPTIONS
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


class Isolated:
    """A student in strong isolation."""

    tier = "strong"

    def begin(self, public, module, task):
        pass


def test_without_a_session_only_other_tests_run(pytester):
    folder = write_tests(pytester.path / "marking", MARKING + "\n\ndef test_plain(): pass\n")
    pytester.runpytest_inprocess(folder).assert_outcomes(passed=1, deselected=2)


def test_a_mark_has_its_task_and_a_short_printable_message(pytester):
    session = Session(Isolated(), "a seed")
    pytester.runpytest_inprocess(write_tests(pytester.path, MARKING), plugins=[session])
    right, long = session.marks
    assert (right.score, right.task) == (2, "1. The beginning")
    message = long.message.replace("\N{REPLACEMENT CHARACTER}", "")
    assert len(long.message) <= 4000 and message.isprintable()


def test_a_test_that_judges_nothing_is_a_grader_error(pytester):
    returns = "import pytest\n\n@pytest.mark.points(1)\ndef test_returns(): return False\n\n"
    for_nothing = "@pytest.mark.points(1)\ndef test_no_check(credit): pass\n"
    folder, session = write_tests(pytester.path, returns + for_nothing), Session(Isolated(), "")
    pytester.runpytest_inprocess("-c", _OPTIONS, "--rootdir", ".", folder, plugins=[session])
    assert [mark.verdict for mark in session.marks] == ["grader error"] * 2
