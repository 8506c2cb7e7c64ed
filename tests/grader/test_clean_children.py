"""What children without a submission answer is asked once for all submissions that ask the same."""

from contextlib import closing, contextmanager

import numpy as np
import pytest
from tiny_assignment import honest_submission, tiny_sandbox

from dlip_reg.grading.children import Child
from dlip_reg.grading.errors import GraderError, StudentError, UnusableAnswerError
from dlip_reg.grading.student import Student
from dlip_reg.grading.wire import encode

PROBES = '''
import os

seen, process = [], []
def add(submission, number):
    """The sum of all numbers so far, and what is different in each process."""
    assert submission is None
    seen.append(number)
    process[:] = process or [os.urandom(8)]
    return [sum(seen), *process]
def total(submission, numbers):
    seen.append(float(numbers.sum()))
    return sum(seen)
def large(submission):
    return [0.5] * 200_000
def fail(submission):
    raise ValueError("no")
def end(submission):
    os._exit(0)
'''


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    probes = tmp_path_factory.mktemp("clean") / "adding"
    probes.mkdir()
    (probes / "__init__.py").touch()
    (probes / "state.py").write_text(PROBES)
    with tiny_sandbox(probes="adding", packages=[probes]) as sandbox:
        yield sandbox


@contextmanager
def one_more(sandbox, module="a"):
    """A submission that is graded in the same sandbox."""
    with closing(Student(sandbox, honest_submission())) as student:
        student.begin(public=True, module=module)
        yield student


@pytest.fixture
def student(sandbox):
    with one_more(sandbox) as student:
        yield student


def added(student, *numbers):
    answers = [student.rebuild("state.add", number=number) for number in numbers]
    return [total for total, _ in answers], {process for _, process in answers}


def test_the_same_questions_are_asked_once(sandbox, student):
    sums, processes = added(student, 1, 2)
    assert (sums, len(processes)) == ([1, 3], 1)
    with one_more(sandbox, module="b") as other:
        assert added(other, 1, 2) == (sums, processes)
        (total,), (process,) = added(other, 4)  # of a new child, which is asked all of them
        assert total == 7 and process not in processes
        assert added(other, 5) == ([12], {process})


def test_another_history_is_another_question(student):
    assert added(student, 2, 1)[0] == [2, 3]
    student.begin(public=True, module="b")
    assert added(student, 1)[0] == [1]


def test_a_failure_is_not_kept_and_only_a_child_that_ended_begins_anew(student):
    assert added(student, 10)[0] == [10]
    for _ in range(2):
        with pytest.raises(UnusableAnswerError, match="no"):
            student.rebuild("state.fail")
    assert added(student, 11)[0] == [21]
    with pytest.raises(StudentError, match="ended itself with status 0"):
        student.rebuild("state.end")
    assert added(student, 12)[0] == [12]


def test_arguments_that_a_test_changes_later_stay_as_they_were_asked(sandbox, student):
    numbers = np.ones(3)
    assert student.rebuild("state.total", numbers=numbers) == 3
    with one_more(sandbox) as other:
        numbers = np.ones(3)
        assert other.rebuild("state.total", numbers=numbers) == 3  # kept
        numbers *= 100
        assert other.rebuild("state.total", numbers=np.full(5, 1.0)) == 8


def test_a_clean_child_has_its_own_time(sandbox, student, monkeypatch):
    """Else marks would depend on whether an earlier submission has asked the same."""
    added(student, 21)
    allowed, run = [], Child.run

    def noted(child, probe, arguments, seconds):
        allowed.append(seconds)
        return run(child, probe, arguments, seconds)

    monkeypatch.setattr(Child, "run", noted)
    with one_more(sandbox) as other:
        added(other, 21)
        assert allowed == []
        left = other._left
        monkeypatch.setattr(other, "_left_for_test", 0.0)
        assert added(other, 22)[0] == [43]
        assert (other._left, other._left_for_test) == (left, 0.0)
    assert allowed == [sandbox.limits.test_seconds] * 2


def test_a_clean_child_that_ends_when_it_is_asked_again_is_the_graders_fault(sandbox, student):
    added(student, 31)
    with one_more(sandbox) as other:
        assert added(other, 31)[0] == [31]  # kept
        other._asked[0] = encode(["state.end", {}])
        with pytest.raises(GraderError, match="answered before"):
            added(other, 32)
        assert added(other, 33)[0] == [33]  # of a new child


def test_large_answers_are_not_kept(sandbox, student):
    before = len(sandbox.clean_answers)
    student.rebuild("state.large")
    assert len(sandbox.clean_answers) == before
