"""A folder of submissions graded, interrupted, changed and graded again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import archives
import psutil
import pytest
from attack_checks import marked_processes
from tiny_assignment import FULL, HERE, HONEST, LIMITS, SOLVED, TESTS, tiny_setting, write_tests
from waiting import wait_for

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.grade import grade_folder
from dlip_reg.grading.marks import read_marks
from dlip_reg.grading.results import Results

WRONG = "\ndef attacked(numbers):\n    return 0\n"
SLOW = "\nimport time\ntime.sleep(0.4)\n"


@pytest.fixture
def place(tmp_path):
    """Submissions, tests, probes and a place for marks, all below one folder of this test's own."""
    (tmp_path / "submissions").mkdir()
    write_tests(tmp_path / "marking")
    shutil.copytree(HERE / "tiny_probes", tmp_path / "tiny_probes")
    return tmp_path


def hand_in(place, **sources):
    for student, source in sources.items():
        (place / "submissions" / f"{student}.py").write_text(source)


def grade(place, **options):
    given = {"packages": [place / "tiny_probes"]} | options.pop("setting", {})
    with Results(place / "out") as results:
        setting = tiny_setting(place / "marking", **given)
        return grade_folder(place / "submissions", results, setting, **options)


def scores(graded):
    return {marks.student: marks.score for marks in graded.marks}


def stored(place):
    return {path.stem: path.read_bytes() for path in (place / "out" / "marks").iterdir()}


def test_only_what_changed_is_graded_again(place):
    hand_in(place, ann=HONEST + SOLVED, bob=HONEST, cem=HONEST + WRONG)
    first = grade(place, workers=2)
    assert scores(first) == {"ann": FULL, "bob": 3, "cem": 3}
    assert first.anew == 3
    before = stored(place)
    again = grade(place, seed="")  # as a shell's empty variable gives it
    assert (again.anew, stored(place)) == (0, before)
    assert scores(again) == scores(first)
    hand_in(place, bob=HONEST + SOLVED, dan=HONEST + SOLVED)
    third = grade(place)
    assert third.anew == 2
    assert scores(third) == {"ann": FULL, "bob": FULL, "cem": 3, "dan": FULL}
    assert stored(place)["ann"] == before["ann"]
    seeds = {marks.student: marks.seed for marks in third.marks}
    # What bob's first page showed of the inputs is of no use to him and to others.
    assert seeds["ann"] == seeds["cem"] != seeds["bob"] == seeds["dan"]


@pytest.mark.thorough
def test_other_tests_limits_or_seed_grade_all_again(place):
    hand_in(place, ann=HONEST + SOLVED)
    grade(place)
    (place / "marking" / "test_tiny.py").write_text(TESTS.replace("points(5)", "points(7)"))
    changed = grade(place)
    assert (changed.anew, scores(changed), changed.max_score) == (1, {"ann": 10}, 10)
    assert grade(place, setting={"limits": replace(LIMITS, test_seconds=3)}).anew == 1
    for anew in (1, 0):
        again = grade(place, seed="another")
        assert (again.anew, again.marks[0].seed) == (anew, "another")


def test_a_grader_error_is_no_zero_and_is_graded_again(place):
    """Here a test that adds 1 to what the submission gives, which is a text."""
    broken = "student.run('ask.call', name='kind', arguments=[]) + 1\n    expected ="
    (place / "marking" / "test_tiny.py").write_text(TESTS.replace("expected =", broken))
    honest = HONEST + SOLVED
    hand_in(place, ann=honest + "\ndef kind(): return 1", bob=honest + "\ndef kind(): return 'x'")
    graded = grade(place)
    assert scores(graded) == {"ann": FULL, "bob": None}
    bob = graded.marks[1]
    assert (bob.verdict, [test.score for test in bob.tests]) == ("grader error", [1, None, 2])
    assert "TypeError" in bob.tests[1].message
    assert grade(place).anew == 1


def finished(place):
    folder = place / "out" / "marks"
    return sorted(folder.glob("[!.]*.json")) if folder.exists() else []


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_controller_loses_no_mark_and_leaves_nothing_running(place):
    students = [f"student{number}" for number in range(8)]
    hand_in(place, **dict.fromkeys(students, HONEST + SOLVED + SLOW))
    names = [place / name for name in ("submissions", "out", "marking", "tiny_probes")]
    controller = subprocess.Popen(
        [sys.executable, str(HERE / "grader_controller.py"), *map(str, names)],
        env=os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    wait_for(lambda: len(finished(place)) >= 2)
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    wait_for(lambda: not marked_processes(place), seconds=30)
    before = {name: data for name, data in stored(place).items() if not name.startswith(".")}
    assert 2 <= len(before) < len(students)
    graded = grade(place, workers=2)
    assert scores(graded) == dict.fromkeys(students, FULL)
    assert graded.anew == len(students) - len(before)
    assert stored(place).items() >= before.items()


@pytest.mark.parametrize("victim", ["--multiprocessing-fork", "dlip_reg.grading.server"])
@pytest.mark.thorough
def test_a_killed_worker_or_server_costs_nobody_a_mark(place, victim):
    students = [f"student{number}" for number in range(4)]
    hand_in(place, **dict.fromkeys(students, HONEST + SOLVED + SLOW))
    killed = []

    def kill_one():
        wait_for(lambda: finished(place))
        for process in psutil.Process().children(recursive=True):
            if victim in process.cmdline():
                killed.append(process.pid)
                process.kill()
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    graded = grade(place)
    killer.join()
    assert killed
    # Whom it hit is graded now, or marked as the grader's error and graded by the next run.
    assert set(scores(graded).values()) <= {FULL, None}
    assert scores(grade(place)) == dict.fromkeys(students, FULL)
    assert not marked_processes(place)


@pytest.mark.thorough
def test_late_work_is_graded_by_itself_and_takes_no_mark_from_others(place):
    hand_in(place, ann=HONEST + SOLVED, bob=HONEST, cem=HONEST)
    roster = dict.fromkeys(["ann", "bob", "cem", "dan"], ())
    grade(place, roster=roster)
    before = stored(place)
    shutil.rmtree(place / "submissions")
    (place / "submissions").mkdir()
    hand_in(place, dan=HONEST + SOLVED)
    (place / "submissions" / "bob.zip").write_bytes(b"no archive")
    for _ in range(2):  # a third run finds what the second one kept
        late = grade(place, roster=roster)
        assert scores(late) == {"ann": FULL, "bob": None, "cem": 3, "dan": FULL}
        said = "Not among these submissions: the marks are those of an earlier run."
        assert late.marks[0].notes == (said,)
        assert late.marks[1].notes[1] == "Graded earlier: 3 points (partial)."
        assert not any("by other tests" in problem for problem in late.problems)
        after = stored(place)
        assert all(after[name] == before[name] for name in ("ann", "bob", "cem"))
    other = grade(place, roster=roster, seed="another")
    assert "with another seed, and not among these submissions: ann, cem." in other.problems[-1]
    (place / "submissions" / "bob.zip").unlink()
    without = grade(place)
    assert scores(without) == {"dan": FULL}
    assert "left out of the tables: ann, bob, cem." in without.problems[0]
    hand_in(place, bob=HONEST)
    assert scores(grade(place, roster=roster)) == {"ann": FULL, "bob": 3, "cem": 3, "dan": FULL}


def test_one_students_folder_is_graded_as_one(place):
    hand_in(place, submission=f"from helper import *{SOLVED}", helper=HONEST)
    graded = grade(place, single=True)
    assert scores(graded) == {"submissions": FULL}
    (compared,) = graded.sources.values()
    assert SOLVED.encode() in compared and compared.endswith(HONEST.encode())
    assert graded.problems == ()


def test_a_notebook_runs_in_the_sandbox_as_in_jupyter(place):
    waiting = "import asyncio\n\nasync def wait():\n    await asyncio.sleep(0.01)\n\nawait wait()"
    sources = ["!pip install keras", f"%%writefile helper.py\n{HONEST}", waiting]
    sources += ["from helper import honest", SOLVED, "display(attacked([2]))\n_ + 1"]
    sources += ["from IPython.display import clear_output", "assert False, 'at the end'"]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    for name, these in (("ann", cells), ("bob", [*cells[:4], cells[-1]])):
        notebook = json.dumps({"nbformat": 4, "cells": these})
        (place / "submissions" / f"{name}.ipynb").write_text(notebook)
    graded = grade(place)
    assert scores(graded) == {"ann": FULL, "bob": 3}
    message = graded.marks[1].tests[1].message
    assert "Line 1 of code cell 5 raised AssertionError: at the end" in message


@pytest.mark.thorough
def test_marks_that_are_damaged_are_made_again(place):
    hand_in(place, ann=HONEST + SOLVED)
    grade(place)
    path = place / "out" / "marks" / "ann.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert read_marks(path) is None
    assert scores(grade(place)) == {"ann": FULL}
    path.rename(path.with_name("copy.json"))
    assert grade(place).anew == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"bob.zip": b"no archive"}, "bob.zip cannot be read: File is not a zip file."),
        (
            {"bob.py": HONEST.encode(), "bob/submission.py": b""},
            "bob has 2 submissions (bob, bob.py): keep one, for instance the newest, bob.py, and "
            "grade again.",
        ),
    ],
)
def test_what_cannot_be_graded_needs_staff_and_stops_nobody(place, files, said):
    hand_in(place, ann=HONEST + SOLVED)
    archives.hand_in(place / "submissions", files)
    if (place / "submissions" / "bob").exists():
        os.utime(place / "submissions" / "bob", (0, 0))
    graded = grade(place)
    assert scores(graded) == {"ann": FULL, "bob": None}
    assert graded.marks[1].verdict == "rejected"
    assert graded.problems == (said,)


def test_a_roster(place):
    hand_in(place, ann=HONEST + SOLVED, cem_123_lab=HONEST, stranger=HONEST)
    roster = dict.fromkeys(["ann", "bob", "cem"], ())
    said = "stranger.py belongs to nobody on the roster; it is graded as 'stranger'. While it is "
    said += "there, nobody gets 0 for a missing submission."
    for zero_missing in (False, True):
        graded = grade(place, roster=roster, zero_missing=zero_missing)
        assert scores(graded) == {"ann": FULL, "bob": None, "cem": 3, "stranger": 3}
        assert {marks.student: marks.verdict for marks in graded.marks}["bob"] == "missing"
        assert graded.problems == (said,)
    (place / "submissions" / "stranger.py").unlink()
    assert scores(grade(place, roster=roster, zero_missing=True))["bob"] == 0


IMPORTS = "import nothing_of_that_name\n"


@pytest.mark.parametrize(
    ("name", "tests", "said"),
    [
        ("broken", IMPORTS, "test_broken.py: ModuleNotFoundError: No module named"),
        ("tiny", IMPORTS, "No module named 'nothing_of_that_name'"),
        ("tiny", TESTS.replace("points(5)", "points()"), r"points takes one number above 0"),
        ("tiny", TESTS.replace("points(5)", "points(-1)"), r"points takes one number above 0"),
        ("tiny", "def test_x(): pass\n", "holds no test with a points mark"),
    ],
)
def test_tests_that_cannot_be_used_stop_before_anything_is_graded(place, name, tests, said):
    hand_in(place, ann=HONEST + SOLVED)
    (place / "marking" / f"test_{name}.py").write_text(tests)
    with pytest.raises(GradingError, match=f"^[^\n]*{said}[^\n]*$"):
        grade(place)
    assert finished(place) == []


def test_an_output_that_is_not_free(place):
    with Results(place / "out"), pytest.raises(GradingError, match="Another grader is at work"):
        Results(place / "out")
    (place / "file").write_text("")
    with pytest.raises(GradingError, match="is a file"):
        Results(place / "file")


def test_the_weak_tier_has_to_be_asked_for(place):
    hand_in(place, ann=HONEST + SOLVED)
    graded = grade(place, setting={"tier": "weak"})
    assert (graded.marks[0].tier, scores(graded)) == ("weak", {"ann": FULL})
