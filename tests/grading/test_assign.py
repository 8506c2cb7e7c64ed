"""Assignments made from their masters: what students get, what staff get, and what does not fit."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dlip_reg.extras import installed_folders
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


def made(folder, master=MASTER, name="circle.py"):
    """What students and staff get of a master."""
    assign(write(folder / name, master), folder / "out")
    return folder / "out" / "student", folder / "out" / "staff"


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
    assign(HERE / "assignment", tmp_path)
    student = contents(tmp_path / "student")
    assert student | {"README.md": ""} == contents(ROOT / "labs" / "assignment") | {"README.md": ""}
    assert "HIDDEN" not in "".join(student.values())
    assert starter_of(HERE / "assignment").decode() == student["submission.py"]
    assert contents(tmp_path / "staff") == contents(HERE / "assignment")


def test_regions_become_the_files_of_students_and_staff(tmp_path):
    said = assign(write(tmp_path / "circle.py", MASTER), tmp_path / "out")
    assert said == "2 tests, 3.5 points, 1 of them in the public tests."
    student, staff = (contents(tmp_path / "out" / name) for name in ("student", "staff"))
    assert student["submission.py"] == STARTER
    names = {"conftest.py", "test_submission.py", "probes/__init__.py", "probes/probes.py"}
    assert set(student) == {"submission.py", *(f"public_tests/{name}" for name in names)}
    assert "test_nothing" not in student["public_tests/test_submission.py"]
    assert "test_nothing" in staff["test_submission.py"]
    assert staff["submission.py"] == MASTER.partition("### BEGIN TESTS")[0].rstrip() + "\n"
    with zipfile.ZipFile(tmp_path / "out" / "autograder.zip") as archive:
        names = set(archive.namelist())
        assert {f"tests/{name}" for name in staff} < names
        assert {"run_autograder", "setup.sh", "dlip_reg/grading/__main__.py"} < names
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o100
        assert "tensorflow==" in archive.read("requirements.txt").decode()


def test_the_autograder_has_all_that_grading_imports(tmp_path):
    """Nothing of the package is installed where it runs: -S leaves out what pip made editable."""
    assign(write(tmp_path / "circle.py", MASTER), tmp_path / "out")
    source = tmp_path / "source"
    zipfile.ZipFile(tmp_path / "out" / "autograder.zip").extractall(source)
    command = ["grade", "nowhere", "--tests", "tests", "--out", "out", "--workers", "1"]
    code = (
        f"import runpy, sys; sys.path += {installed_folders()!r}; sys.argv[1:] = {command!r}; "
        "runpy.run_module('dlip_reg.grading', run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=source, env=environment, capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert "There is no nowhere" in done.stderr
    assert done.returncode == BAD_INPUT


def test_a_notebook_is_split_cell_by_cell(tmp_path):
    head, _, rest = MASTER.partition("### BEGIN TESTS\n")
    tests, _, probes = rest.partition("### BEGIN PROBES\n")
    imports, begin, head = head.partition("### BEGIN SOLUTION\n")
    two, end, head = head.partition("### END SOLUTION\n")
    sources = [imports, begin + two + end, head.strip()]  # of the second, students get nothing
    sources += [f"### BEGIN TESTS\n{tests}", f"### BEGIN PROBES\n{probes}"]
    ran = {"cell_type": "code", "execution_count": 3, "outputs": [{"output_type": "stream"}]}
    cells = [ran | {"source": source.splitlines(True)} for source in sources]
    cells.insert(0, {"cell_type": "markdown", "source": ["# A title"]})
    notebook = json.dumps({"nbformat": 4, "metadata": {}, "cells": cells})
    student, staff = made(tmp_path, notebook, "circle.ipynb")
    files = staff / "submission.ipynb", student / "submission.ipynb"
    shown = json.loads(files[1].read_text(encoding="utf-8"))["cells"]
    assert [cell["cell_type"] for cell in shown] == ["markdown", "code", "code", "code"]
    rest = STARTER.removeprefix("import math\n\n\n")
    assert [cell["source"] for cell in shown[1:]] == ["import math\n", "", rest]
    assert (shown[1]["outputs"], shown[1]["execution_count"]) == ([], None)
    assert starter_of(staff).decode().split() == STARTER.split()
    assert scores(staff, *files) == [(3.5, 3.5), (0, 3.5)]
    assert scores(student / "public_tests", *files) == [(1, 1), (0, 1)]
    answer = notebook.replace("# A title", "### Begin here\\n### BEGIN SOLUTION\\n42")
    with pytest.raises(GradingError, match=r"submission.ipynb, cell 1: only code cells"):
        made(tmp_path / "out", answer, "answer.ipynb")


def test_another_assignment_is_graded_by_its_own_tests(tmp_path):
    """From one file, with no probe of its own: the solution earns all points, the starter none."""
    student, staff = made(tmp_path, (HERE / "batch_size.py").read_text(encoding="utf-8"))
    wrong = (staff / "submission.py").read_text(encoding="utf-8")
    wrong = wrong.replace("epochs * -(-examples // batch_size)", "epochs * examples // batch_size")
    wrong = write(tmp_path / "wrong.py", wrong.replace(" * (n - batch_size) / (n - 1)", ""))
    files = staff / "submission.py", student / "submission.py", wrong
    assert scores(staff, *files) == [(10, 10), (0, 10), (4, 10)]


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
@pytest.mark.parametrize("tier", ["strong", "medium"])
def test_student_code_sees_of_the_tests_folder_only_its_probes(tmp_path, tier):
    _, staff = made(tmp_path)
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
    student, staff = made(tmp_path, example)
    assert scores(staff, staff / "submission.py", student / "submission.py") == [(3, 3), (0, 3)]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("### END SOLUTION\n\n\nclass", "\n\nclass", "submission.py, line 7: ### BEGIN SOLUTION"),
        ("### END PROBES\n", "", "submission.py: there is no END PROBES."),
        ("### END TESTS", "### END PROBES", "line 35: ### END PROBES does not fit here ("),
        ("@pytest.mark.public\n", "", "test_area is not public, but outside of the hidden tests"),
        ("points(2.5)", "points(2.5)\n@pytest.mark.public", "test_nothing is public, but among"),
        ("def test_area(", "def test_area", "submission.py, line 28: "),
        ("def test_nothing(", "def test_area(", "there are two tests called test_area."),
        ("class Circle:", "class Circle", "submission.py, line 7: "),
        ("### BEGIN SOLUTION\nT", "if True:\n    ### BEGIN SOLUTION\n    T", "(student), line 5"),
        ("points(", "timeout(", "test_area has no mark such as @pytest.mark.points(2)"),
        ("points(1)", 'points("1")', "test_area has no mark such as @pytest.mark.points(2)"),
        ("points(2.5)", "points(0)", "test_nothing has no mark such as @pytest.mark.points(2)"),
        ("points(2.5)", "points(2 + 1)", "test_nothing has no mark such as @pytest.mark.points(2)"),
        ("def test_nothing", "def check", "check has no mark such as @pytest.mark.points(2)"),
        # Students would get these tests.
        ("@pytest.mark.public\n", "class A:\n    test = pytest.mark.points(1)(id)\n", "in a class"),
        ("import pytest", "import pytest\n@mark.points(1)\ndef test_x(): ...", "not public, but"),
        # What students must not see would be in their file.
        ("BEGIN SOLUTION\nTWO", "BEGIN SOLUTIONS\nTWO", "line 2: ### BEGIN SOLUTIONS does not fit"),
        ("BEGIN HIDDEN TESTS", "BEGIN HIDDEN", "line 30: ### BEGIN HIDDEN does not fit"),
        ("BEGIN PROBES", "BEGIN PROBES\n### BEGIN HIDDEN TESTS", "HIDDEN TESTS does not fit here"),
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
    hidden = (".ipynb_checkpoints/submission.py", "probes/.backup/a.py", "__pycache__/a.pyc")
    master = tmp_path / "master"
    for name in ("submission.py", "data/a.csv", *hidden):
        (master / name).parent.mkdir(parents=True, exist_ok=True)
        write(master / name, MASTER)
    said = assign(master, tmp_path / "out")
    assert said.endswith(" Left out, as neither modules nor notebooks: 1 file (data/a.csv).")
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.is_dir()]


@pytest.mark.parametrize("where", ["", "out"])
def test_an_output_folder_in_the_masters_is_refused(tmp_path, where):
    """Of a master with it students would get the hidden tests."""
    write(tmp_path / "submission.py", MASTER)
    with pytest.raises(GradingError, match="lies in"):
        assign(tmp_path, tmp_path / where)


def test_hidden_tests_may_stand_by_themselves(tmp_path):
    (tmp_path / "within").mkdir()
    within = made(tmp_path / "within")
    hidden, end = "### BEGIN HIDDEN TESTS\n", "### END TESTS\n"
    apart = made(tmp_path, MASTER.replace(end, "").replace(hidden, end + hidden))
    assert [*map(contents, apart)] == [*map(contents, within)]


@pytest.mark.parametrize("spelled", ["### begin solution", "#BEGIN  SOLUTION"])
def test_a_region_is_hidden_however_its_mark_is_spelled(tmp_path, spelled):
    student, _ = made(tmp_path, "\ufeff" + MASTER.replace("### BEGIN SOLUTION", spelled))
    assert contents(student)["submission.py"] == STARTER


def test_a_solution_in_no_region_is_refused(tmp_path):
    lines = [line for line in MASTER.splitlines(keepends=True) if "SOLUTION" not in line]
    with pytest.raises(GradingError, match="no region BEGIN SOLUTION"):
        made(tmp_path, "".join(lines))


@pytest.mark.parametrize("name", ["student", "staff", "autograder.zip"])
def test_what_is_at_the_output_is_kept(tmp_path, name):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out" / name, "mine")
    with pytest.raises(GradingError, match=f"{name} is there already"):
        made(tmp_path)
    assert contents(tmp_path / "out") == {name: "mine"}


def test_a_library_that_is_not_installed_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("dlip_reg.grading.assign._REQUIREMENTS", ("numpy", "no-such-library"))
    with pytest.raises(GradingError, match=r"^no-such-library is not installed.*\.$"):
        made(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_the_command(tmp_path, capsys):
    master, out = write(tmp_path / "circle.py", MASTER), tmp_path / "out"
    for status, arguments, *said in [
        (DONE, ["assign", master, "--out", out], "2 tests, 3.5 points"),
        (DONE, ["check", out / "student"], "0 of 1 points in the public tests."),
        (
            DONE,
            ["check", out / "student" / "submission.py"],
            "0 of 1 points in the public tests.",
            "NotImplementedError",
        ),
        (BAD_INPUT, ["assign", master, "--out", out], "is there already: give a new folder."),
        (BAD_INPUT, ["assign", tmp_path, "--out", out / "new"], "folder with a submission.py"),
    ]:
        assert main([str(argument) for argument in arguments]) == status
        shown = "".join(capsys.readouterr())
        assert all(text in shown for text in said)
