"""A limit in seconds is for the submission's own seconds: not others', and not more for threads."""

import os
import textwrap
import time
from dataclasses import replace

import pytest
from attacks_on_the_machine import ATTACKS
from tiny_assignment import (
    HONEST,
    LIMITS,
    ask,
    loaded,
    submission_of,
    tiny_sandbox,
    tiny_setting,
    write_tests,
)

from dlip_reg.grading.errors import StudentTimeoutError
from dlip_reg.grading.grader import Grader
from dlip_reg.grading.limits import counted
from dlip_reg.grading.student import Student, Submission


def test_threads_that_take_turns_have_no_more_time():
    source = "def turns():\n" + textwrap.indent(ATTACKS["threads that take turns"], "    ")
    with tiny_sandbox() as sandbox:
        child = loaded(sandbox, source)
        used = []
        end = child.reap

        def reap():
            used.append(child.used())
            return end()

        child.reap = reap
        with pytest.raises(StudentTimeoutError):
            ask(child, "turns", seconds=1.0)
    assert 0.5 < used[0] < 1.5 * os.cpu_count() + 0.5


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (10.0, 10.0),  # one thread alone
        (7.0, 7.0),  # beside others
        (2.0, 5.0),  # beside many
        (0.0, 5.0),  # asleep
        (20.0, 10.0),  # many threads on two processors
    ],
)
def test_the_seconds_that_count_are_those_of_work_and_at_least_half(used, expected):
    assert counted(10.0, used) == expected


def test_time_that_others_had_counts_for_no_limit():
    class Child:
        """Has a processor for a tenth of the time that a request takes."""

        def run(self, probe, arguments, seconds):
            allowed.append(seconds)
            time.sleep(0.2)
            self.seconds = 0.02

    class Machine:
        limits = LIMITS

    allowed = []
    student = Student(Machine(), Submission("s", {}, ""))
    for _ in range(4):
        student.begin(public=True, module="")
        student._timed(Child(), "ask.call", {})
        student._timed(Child(), "ask.call", {})
    assert allowed == pytest.approx([LIMITS.test_seconds, LIMITS.test_seconds - 0.02] * 4)
    assert student._left == pytest.approx(LIMITS.total_seconds - 8 * 0.02)


HANGING = """
import time

import pytest
@pytest.mark.points(1)
def test_hangs(student):
    {hang}

@pytest.mark.points(2)
def test_after(student, rng):
    assert student.run("ask.call", name="honest", arguments=[3]) == -3

@pytest.fixture(scope="module")
def slow():
    while True:
        time.sleep(0.1)

@pytest.mark.points(4)
def test_fixture_hangs(slow):
    pass

@pytest.mark.points(8)
def test_waits_for_the_student(student):
    assert student.run("ask.call", name="sleep", arguments=[0.9]) == 0
    assert student.run("ask.call", name="honest", arguments=[4]) == -4
"""
STUDENT = f"{HONEST}\n\nimport time\n\n\ndef sleep(seconds):\n    return time.sleep(seconds) or 0\n"


def test_a_marking_test_that_hangs_is_no_students_fault_and_the_next_runs(tmp_path):
    tests = write_tests(tmp_path / "marking", HANGING.format(hang="while True: pass"))
    limits = replace(LIMITS, own_seconds=0.5, test_seconds=5)
    with Grader(tiny_setting(tests, limits=limits), "a seed") as grader:
        marks = grader.grade(submission_of(STUDENT))
    found = {test.name: (test.score, test.verdict) for test in marks.tests}
    assert found == {
        "test_hangs": (None, "grader error"),
        "test_after": (2, "passed"),
        "test_fixture_hangs": (None, "grader error"),
        "test_waits_for_the_student": (8, "passed"),
    }
    assert marks.tests[0].message == "The test did not end within 0.5 s of its own."
    assert (marks.score, marks.verdict) == (None, "grader error")


@pytest.mark.thorough
def test_a_marking_test_that_hangs_outside_of_python_ends_its_worker(tmp_path):
    """Which is replaced; the submission needs staff."""
    loop = "sum(range(1 << 62))"  # one call of a function in C
    tests = write_tests(tmp_path / "marking", HANGING.format(hang=loop))
    with Grader(tiny_setting(tests, limits=replace(LIMITS, own_seconds=0.5)), "a seed") as grader:
        marks = grader.grade(submission_of(STUDENT))
    assert (marks.score, marks.verdict) == (None, "grader error")
    assert marks.notes == ("The worker process ended.",)


TASKS = """
import pytest

@pytest.mark.parametrize("number", range(6))
@pytest.mark.points(1, task="one")
def test_hangs(student, number):
    student.run("ask.call", name="hangs", arguments=[])

@pytest.mark.points(2, task="two")
def test_other_task(student):
    assert student.run("ask.call", name="honest", arguments=[3]) == -3
"""


@pytest.mark.thorough
def test_what_hangs_in_one_task_leaves_time_for_the_others(tmp_path):
    limits = replace(LIMITS, test_seconds=1, total_seconds=4)
    setting = tiny_setting(write_tests(tmp_path / "marking", TASKS), limits=limits)
    with Grader(setting, "a seed") as grader:
        marks = grader.grade(submission_of(f"{HONEST}\n\ndef hangs():\n    while True: pass\n"))
    verdicts = [test.verdict for test in marks.tests]
    assert (marks.score, verdicts) == (2, ["timeout"] * 6 + ["passed"])
    assert "student: 6 of 7 tests took too long, the first 'hangs'" in marks.for_staff
