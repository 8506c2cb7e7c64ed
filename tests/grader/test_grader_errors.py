"""The grader's own faults, and a machine's oddities, are never a zero and cost nobody a mark."""

import os
import shutil
import site
import sys

import pytest
from tiny_assignment import (
    FULL,
    HERE,
    attack,
    honest_submission,
    tiny_sandbox,
    tiny_setting,
    write_tests,
)

from dlip_reg.grading.errors import GraderError
from dlip_reg.grading.grader import Grader
from dlip_reg.grading.isolation.tiers import WEAK
from dlip_reg.grading.sandbox import clean_environment


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


def test_folders_may_have_any_name(tmp_path):
    name = "[1] a::b: $HOME 100% \N{HANGUL SYLLABLE GA}"
    name += os.fsdecode(b" \xb0\xa1") if sys.platform == "linux" else ""  # no UTF-8
    tests = write_tests(tmp_path / name / "tests")
    shutil.copytree(HERE / "tiny_probes", tests / "probes")
    with Grader(tiny_setting(tests, probes="", packages=()), "a seed") as grader:
        grader.collect()
        assert grader.grade(honest_submission()).score == FULL


def test_libraries_may_be_installed_beside_python(tmp_path, monkeypatch):
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine.py").touch()
    (tmp_path / "dlip_reg").mkdir()
    (tmp_path / "dlip_reg" / "solution.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "USER_BASE", str(tmp_path / "user"))
    assert clean_environment([])["PYTHONUSERBASE"] == str(tmp_path / "user")
    with tiny_sandbox(preload=["mine"]) as sandbox:
        assert attack(sandbox, "import mine; return 1", 5) == 1
        copied = f"import os; return os.path.exists({str(tmp_path / 'dlip_reg/solution.py')!r})"
        assert attack(sandbox, copied, 5) is (sandbox.tier == WEAK)
