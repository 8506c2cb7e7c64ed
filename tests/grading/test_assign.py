"""Assignments made from their masters: what students get, what staff get, and what does not fit."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from dlip_reg.grading.__main__ import BAD_INPUT, DONE, main
from dlip_reg.grading.assign import assign, starter_of
from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import read_submission

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MASTER = '''import math
### BEGIN SOLUTION
TWO = 2
### END SOLUTION


class Circle:
    ### BEGIN SOLUTION
    unit = "m"

    ### END SOLUTION
    def area(self, radius):
        """The area."""

        ### BEGIN SOLUTION
        return math.pi * radius**TWO
        ### END SOLUTION


def area(radius):
    return Circle().area(radius)


### BEGIN TESTS
import pytest


@pytest.mark.public
@pytest.mark.points(1)
def test_area(student):
    assert abs(student.call("area", 2) - 12.566) < 0.01, "It is pi r squared."


### BEGIN HIDDEN TESTS
@pytest.mark.points(2.5)
def test_nothing(student):
    assert student.run("probes.doubled", radius=0) == 0


### END HIDDEN TESTS
### END TESTS
### BEGIN PROBES
def doubled(submission, radius):
    return 2 * submission.area(radius)


### END PROBES
'''
STARTER = '''import math


class Circle:
    def area(self, radius):
        """The area."""
        raise NotImplementedError


def area(radius):
    return Circle().area(radius)
'''


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def scores(folder, *files):
    """Each file's marks by the tests in a folder; none of them needs TensorFlow."""
    with Grader(Setting(folder, allow_weak=True, preload=["numpy"]), "a seed") as grader:
        marks = [grader.grade(read_submission(file)) for file in files]
    return [(each.score, each.max_score) for each in marks]


def test_the_shipped_assignment_is_made_from_its_master(tmp_path):
    """To renew it: `python -m dlip_reg.grading assign tests/grading/assignment --out FOLDER`, and
    copy FOLDER/student to labs/assignment."""
    assign(HERE / "assignment", tmp_path / "made")
    made = contents(tmp_path / "made" / "student")
    shipped = contents(ROOT / "labs" / "assignment")
    assert shipped.pop("README.md")
    assert made == shipped
    assert "HIDDEN" not in "".join(made.values())
    assert starter_of(HERE / "assignment").decode() == shipped["submission.py"]
    staff = contents(tmp_path / "made" / "staff")
    assert staff == contents(HERE / "assignment")


def test_regions_become_the_files_of_students_and_staff(tmp_path):
    said = assign(write(tmp_path / "circle.py", MASTER), tmp_path / "out")
    assert said == "2 tests, 3.5 points, 1 of them in the public tests."
    student, staff = (contents(tmp_path / "out" / name) for name in ("student", "staff"))
    assert student["submission.py"] == STARTER
    assert set(student) == {
        "submission.py",
        *(f"public_tests/{n}" for n in ("conftest.py", "test_submission.py")),
        *(f"public_tests/probes/{n}" for n in ("__init__.py", "probes.py")),
    }
    assert "test_nothing" not in student["public_tests/test_submission.py"]
    assert "test_nothing" in staff["test_submission.py"]
    assert staff["submission.py"] == MASTER.partition("### BEGIN TESTS")[0].rstrip() + "\n"
    with zipfile.ZipFile(tmp_path / "out" / "autograder.zip") as archive:
        names = set(archive.namelist())
        assert {f"tests/{name}" for name in staff} < names
        assert {"run_autograder", "setup.sh", "dlip_reg/grading/__main__.py"} < names
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o100
        assert "tensorflow==" in archive.read("requirements.txt").decode()


def test_a_notebook_is_split_cell_by_cell(tmp_path):
    head, _, rest = MASTER.partition("### BEGIN TESTS\n")
    tests, _, probes = rest.partition("### BEGIN PROBES\n")
    cells = ["# A title", head, f"### BEGIN TESTS\n{tests}", f"### BEGIN PROBES\n{probes}"]
    kinds = ["markdown", *["code"] * 3]
    notebook = {
        "nbformat": 4,
        "metadata": {},
        "cells": [
            {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
            for kind, source in zip(kinds, cells, strict=True)
        ],
    }
    assign(write(tmp_path / "circle.ipynb", json.dumps(notebook)), tmp_path / "out")
    student, staff = (tmp_path / "out" / name for name in ("student", "staff"))
    made = json.loads((student / "submission.ipynb").read_text(encoding="utf-8"))
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "code"]
    assert made["cells"][1]["source"] == STARTER
    assert starter_of(staff).decode().split() == STARTER.split()
    files = staff / "submission.ipynb", student / "submission.ipynb"
    assert scores(staff, *files) == [(3.5, 3.5), (0, 3.5)]
    assert scores(student / "public_tests", *files) == [(1, 1), (0, 1)]


def test_another_assignment_is_graded_by_its_own_tests(tmp_path):
    """From one file, with no probe of its own: the solution earns all points, the starter none."""
    assign(HERE / "batch_size.py", tmp_path / "out")
    staff, student = tmp_path / "out" / "staff", tmp_path / "out" / "student"
    wrong = (staff / "submission.py").read_text(encoding="utf-8")
    wrong = wrong.replace("epochs * -(-examples // batch_size)", "epochs * examples // batch_size")
    wrong = write(tmp_path / "wrong.py", wrong.replace(" * (n - batch_size) / (n - 1)", ""))
    files = staff / "submission.py", student / "submission.py", wrong
    assert scores(staff, *files) == [(10, 10), (0, 10), (4, 10)]


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
@pytest.mark.parametrize("tier", ["strong", "medium"])
def test_student_code_sees_of_the_tests_folder_only_its_probes(tmp_path, tier):
    assign(write(tmp_path / "circle.py", MASTER), tmp_path / "out")
    staff = tmp_path / "out" / "staff"
    spy = f"""
import os
def area(radius):
    found = []
    for look in (lambda: os.listdir({str(staff)!r}), lambda: open(
            {str(staff / "test_submission.py")!r}), lambda: open({str(staff / "submission.py")!r})):
        try:
            found.append(look())
        except OSError:
            pass
    names = os.listdir({str(staff / "probes")!r})
    return 12.566 * (radius / 2) ** 2 if "probes.py" in names and found in ([], [["probes"]]) else 7
"""
    with Grader(Setting(staff, tier=tier, preload=["numpy"]), "a seed") as grader:
        marks = grader.grade(read_submission(write(tmp_path / "submission.py", spy)))
    assert (marks.score, marks.tier) == (3.5, tier), marks.tests


def test_the_guides_example_is_an_assignment(tmp_path):
    guide = (ROOT / "dlip_reg" / "grading" / "ASSIGNMENTS.md").read_text(encoding="utf-8")
    example = guide.partition("## A whole assignment")[2].split("```")[1].removeprefix("python\n")
    assign(write(tmp_path / "mean.py", example), tmp_path / "out")
    staff, student = tmp_path / "out" / "staff", tmp_path / "out" / "student"
    assert scores(staff, staff / "submission.py", student / "submission.py") == [(3, 3), (0, 3)]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("### END SOLUTION\n\n\nclass", "\n\nclass", "submission.py, line 7: ### BEGIN SOLUTION"),
        ("### END PROBES\n", "", "submission.py: there is no END PROBES."),
        ("### END TESTS", "### END PROBES", "line 41: ### END PROBES does not fit here ("),
        ("@pytest.mark.public\n", "", "test_area is not public, but outside of the hidden tests"),
        (
            "@pytest.mark.points(2.5)",
            "@pytest.mark.public\n@pytest.mark.points(2.5)",
            "test_nothing is public, but among the hidden tests",
        ),
        ("def test_area(", "def test_area", "test_submission.py, line 6: "),
        ("class Circle:", "class Circle", "submission.py (solution), line 7: "),
        (
            "### BEGIN SOLUTION\nTWO",
            "if True:\n    ### BEGIN SOLUTION\n    TWO",
            "submission.py (student), line 5: expected an indented block",
        ),
        ("points(", "timeout(", "test_area has no mark such as @pytest.mark.points(2)"),
        ("points(1)", 'points("1")', "test_area has no mark such as @pytest.mark.points(2)"),
        ("points(2.5)", "points(0)", "test_nothing has no mark such as @pytest.mark.points(2)"),
        # What students must not see would be in their file.
        ("BEGIN SOLUTION\nTWO", "BEGIN SOLUTIONS\nTWO", "line 2: ### BEGIN SOLUTIONS does not fit"),
        ("BEGIN HIDDEN TESTS", "BEGIN HIDDEN", "line 34: ### BEGIN HIDDEN does not fit"),
    ],
)
def test_a_master_that_does_not_fit_is_one_sentence(tmp_path, old, new, sentence):
    assert old in MASTER
    master = write(tmp_path / "circle.py", MASTER.replace(old, new))
    with pytest.raises(GradingError) as raised:
        assign(master, tmp_path / "out")
    assert sentence in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_editors_copies_are_not_handed_out(tmp_path):
    copy = write(tmp_path / "submission.py", MASTER)
    for folder in (".ipynb_checkpoints", "probes/.backup"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder / "submission-checkpoint.py", copy.read_text().replace("#", ""))
    assign(tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*checkpoint*"))


@pytest.mark.parametrize("spelled", ["### begin solution", "#BEGIN  SOLUTION"])
def test_a_region_is_hidden_however_its_mark_is_spelled(tmp_path, spelled):
    text = "\ufeff" + MASTER.replace("### BEGIN SOLUTION", spelled)
    assign(write(tmp_path / "circle.py", text), tmp_path / "out")
    assert contents(tmp_path / "out" / "student")["submission.py"] == STARTER


def test_a_solution_in_no_region_is_refused(tmp_path):
    lines = [line for line in MASTER.splitlines(keepends=True) if "SOLUTION" not in line]
    with pytest.raises(GradingError, match="no region BEGIN SOLUTION"):
        assign(write(tmp_path / "circle.py", "".join(lines)), tmp_path / "out")


def test_what_is_at_the_output_is_kept(tmp_path):
    master, out = write(tmp_path / "circle.py", MASTER), tmp_path / "out"
    out.mkdir()
    for name in ("student", "staff", "autograder.zip"):
        write(out / name, "mine")
        with pytest.raises(GradingError, match=f"{name} is there already"):
            assign(master, out)
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_text() == "mine"
        (out / name).unlink()


def test_a_library_that_is_not_installed_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("dlip_reg.grading.assign._REQUIREMENTS", ("numpy", "no-such-library"))
    with pytest.raises(GradingError, match=r"^no-such-library is not installed.*\.$"):
        assign(write(tmp_path / "circle.py", MASTER), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys):
    master, out = write(tmp_path / "circle.py", MASTER), tmp_path / "out"
    assert main(["assign", str(master), "--out", str(out)]) == DONE
    assert "2 tests, 3.5 points" in capsys.readouterr().out
    assert main(["check", str(out / "student" / "submission.py")]) == DONE  # its own public tests
    assert "0 of 1 points in the public tests." in capsys.readouterr().out
    assert main(["assign", str(master), "--out", str(out)]) == BAD_INPUT
    assert "is there already: give a new folder." in capsys.readouterr().err
    assert main(["assign", str(tmp_path), "--out", str(tmp_path / "other")]) == BAD_INPUT
    assert "neither a file nor a folder with a submission.py" in capsys.readouterr().err
