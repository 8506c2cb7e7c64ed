"""The grader's own faults are never a zero, and cost nobody else a mark."""

import pytest
from tiny_assignment import FULL, honest_submission, tiny_setting, write_tests

from dlip_reg.grading.errors import GraderError
from dlip_reg.grading.grader import Grader


def test_a_fork_server_that_does_not_start_stops_nobody(tests):
    with Grader(tiny_setting(tests, preload=["no_such_module"]), "a seed") as grader:
        marks = grader.grade(honest_submission())
    assert (marks.score, marks.verdict) == (None, "grader error")
    assert "no_such_module" in marks.notes[0]


def test_other_projects_and_users_have_no_say_in_how_tests_are_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    project = "[pytest]\nrequired_plugins = no-such-plugin\npython_files = check_*.py\n"
    (tmp_path / "pytest.ini").write_text(project)
    with Grader(tiny_setting(write_tests(tmp_path / "tests")), "a seed") as grader:
        grader.collect()
        assert grader.grade(honest_submission()).score == FULL


def test_a_worker_that_dies_at_its_start_is_a_grader_error(tmp_path):
    tests = write_tests(tmp_path / "tests", "import os\nos._exit(1)\n")
    with Grader(tiny_setting(tests), "a seed") as grader, pytest.raises(GraderError, match="ended"):
        grader.collect()
