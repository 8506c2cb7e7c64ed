"""The grader's own faults are never a zero, and cost nobody else a mark."""

from tiny_assignment import honest_submission, tiny_setting

from dlip_reg.grading.grader import Grader


def test_a_fork_server_that_does_not_start_stops_nobody(tests):
    with Grader(tiny_setting(tests, preload=["no_such_module"]), "a seed") as grader:
        marks = grader.grade(honest_submission())
    assert (marks.score, marks.verdict) == (None, "grader error")
    assert "no_such_module" in marks.notes[0]
