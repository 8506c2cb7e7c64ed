"""The command line: its answers, its exit status, its files."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from archives import hand_in
from tiny_assignment import HONEST, SOLVED, write_tests

from dlip_reg.grading.__main__ import BAD_INPUT, DONE, FAILED, main
from dlip_reg.grading.grade import Graded
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import import_fault
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.student import Submission

CHECKOUT = Path(__file__).parents[2]


def run(*arguments, python=sys.executable, **options):
    return subprocess.run(
        [python, "-m", "dlip_reg.grading", *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.skipif(os.name == "nt", reason="its virtual environments are laid out differently")
def test_a_checkout_that_is_not_installed_is_enough(tmp_path):
    """As in the hand-out's two lines: requirements installed, called from the checkout's root."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # Files of paths are not read there, so what is installed is found and a checkout is not.
    site.joinpath("installed.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "ann.py").write_text(HONEST)
    tests = write_tests(tmp_path / "tests", "def test_one(): pass\n")
    python = tmp_path / "venv" / "bin" / "python"
    environment = {name: at for name, at in os.environ.items() if name != "PYTHONPATH"}
    here = {"python": python, "cwd": CHECKOUT, "env": environment}
    arguments = ["grade", tmp_path / "ann.py", "--single", "--out", tmp_path / "out"]
    assert "holds no test with a points mark" in run(*arguments, "--tests", tests, **here).stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["grade", "--help"], ["check", "--help"], ["assign", "--help"]]
)
def test_help_imports_nothing_heavy(arguments):
    code = "import sys; from dlip_reg.grading.__main__ import main\n"
    code += f"try: main({arguments!r})\nexcept SystemExit as end: assert end.code == 0\n"
    code += "assert not {'numpy', 'tensorflow', 'keras', 'pytest'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


GRADE = ["grade", "SUBMISSIONS", "--out", "OUT", "--tests", "TESTS"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*GRADE, "--workers", "0"], "is not a whole number"),
        ([*GRADE, "--tests", "NOWHERE"], "no folder of tests"),
        (["grade", "NOWHERE", *GRADE[2:]], "There is no "),
        (["grade", "EMPTY", *GRADE[2:]], "holds no submissions"),
        ([*GRADE, "--out", "SUBMISSIONS/OUT"], "lies in "),
        ([*GRADE, "--out", "TESTS"], "lies in "),
        (
            [*GRADE, "--roster", "BAD"],
            "names no student in a column such as 'student', 'SIS Login ID' or 'Full name'; its "
            "columns are 'colour'.",
        ),
        ([*GRADE, "--moodle", "BAD"], "is not a grading worksheet"),
        (
            [*GRADE, "--canvas", "CANVAS"],
            "has 2 assignment columns: --canvas-assignment names one of 'Old (1)', 'Lab (77)'.",
        ),
        ([*GRADE[:2], "--out="], "argument --out: takes a path, not ''"),
        (["check", "NOWHERE"], "There is no "),
        (["check", "EMPTY"], "EMPTY is empty."),
        (["check", "SUBMISSIONS"], "no submission.py that can be read. There are 2 candidates"),
        (["check", "BAD"], "is neither a folder nor one of .py, .ipynb, .zip"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, capsys, arguments, sentence):
    files = {"SUBMISSIONS/ann.py": HONEST + SOLVED, "SUBMISSIONS/bob.py": HONEST}
    files |= {"BAD": "colour\nred\n", "CANVAS": "ID,SIS Login ID,Section,Old (1),Lab (77)\n"}
    hand_in(tmp_path, {name: text.encode() for name, text in files.items()})
    (tmp_path / "EMPTY").mkdir()
    write_tests(tmp_path / "TESTS")
    places = [a if a.islower() or a.isdigit() else str(tmp_path / a) for a in arguments]
    try:
        status = main(places)
    except SystemExit as end:
        status = end.code
    assert status == BAD_INPUT
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1]
    assert "Traceback" not in "".join(said)
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize(("text", "name"), [(".", "ann"), ("..", "class"), ("~", "ann")])
def test_a_folder_is_called_by_its_name(tmp_path, monkeypatch, capsys, text, name):
    hand_in(tmp_path, {"class/ann/1.py": HONEST.encode(), "class/ann/2.py": HONEST.encode()})
    monkeypatch.chdir(tmp_path / "class" / "ann")
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(Path.cwd()))
    assert main(["check", text]) == BAD_INPUT
    assert f": {name} holds no submission.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("import numpy, no_such_module", "Line 3: there is no module named 'no_such_module'."),
        ("from no.such import module", "Line 3: there is no module named 'no'."),
        ("def f(:", "Line 3: invalid syntax."),
    ],
)
def test_check_says_at_once_that_a_file_cannot_be_imported(tmp_path, capsys, line, fault):
    (tmp_path / "submission.py").write_text(f"import keras\nfrom os import path\n{line}\n{HONEST}")
    assert main(["check", str(tmp_path / "submission.py")]) == FAILED
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Running the public tests on submission.py ..."
    assert second == f"Your file cannot be imported, so no test was run. {fault}"


def test_check_says_what_a_machine_without_isolation_does_not_refuse(tmp_path, capsys, monkeypatch):
    hand_in(tmp_path, {"submission.py": HONEST.encode(), "public_tests/test_it.py": b""})
    marks = Marks("ann", (), tier="weak", verdict_without_tests="failed")
    monkeypatch.setattr(Grader, "collect", lambda self: None)
    monkeypatch.setattr(Grader, "grade", lambda self, submission: marks)
    main(["check", str(tmp_path / "submission.py")])
    assert "It may use the network" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source",
    [
        *("import helper", "from . import x", "try:\n    import no\nexcept: ..."),
        # What comes before it is graded.
        *("from helper import *\nimport no", "def f(): ...\nimport no", "f = abs\nimport no"),
        "import sys\nsys.path.insert(0, 'src')\nimport mine",
    ],
)
def test_what_the_text_does_not_say_is_left_to_the_import(source):
    files = {"submission.py": source.encode(), "helper.py": b"", "src/mine.py": b""}
    assert import_fault(Submission("ann", files, "submission.py")) == ""


def test_an_installed_package_says_where_the_hidden_tests_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dlip_reg.grading.__main__._TESTS", tmp_path / "nowhere")
    assert main(["grade", str(tmp_path), "--out", str(tmp_path / "out")]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "not installed with the package but in the repository's tests/grading/assignment" in said


def test_options_reach_the_grader_and_what_it_writes(tmp_path, monkeypatch):
    given = {}

    def grade(submissions, results, setting, **options):
        given.update(options, setting=setting)
        return Graded((), 0, {}, (), 0.0)

    def write(out, graded, **options):
        given.update(options)
        return ()

    monkeypatch.setattr("dlip_reg.grading.grade.grade_folder", grade)
    monkeypatch.setattr("dlip_reg.grading.exports.write.write_all", write)
    hand_in(tmp_path, {"class/ann.py": b""})
    tests, submissions, out = [tmp_path / name for name in ("tests", "class", "out")]
    write_tests(tests)
    options = ["--zero-missing", "--allow-weak", "--seed", "7", "--workers", "3", "--hand-out", "x"]
    arguments = ["grade", submissions, "--out", out, "--tests", tests, *options]
    assert main([str(argument) for argument in arguments]) == DONE
    assert given.pop("setting") == Setting(tests, allow_weak=True, secret=(submissions, out))
    assert callable(given.pop("progress"))
    unset = dict.fromkeys(("roster", "canvas", "canvas_assignment", "moodle"), None)
    wanted = {"single": False, "zero_missing": True, "workers": 3, "seed": "7", "hand_out": "x"}
    assert given == unset | wanted


@pytest.mark.thorough
def test_one_submission_is_graded_by_the_command(tmp_path):
    """With the real probes and the tiny tests' own form: the submission is not asked."""
    test = "import pytest\n@pytest.mark.points(2)\ndef test_one(student):\n    assert student\n"
    tests = write_tests(tmp_path / "tests", test)
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "ann.py").write_text(HONEST)
    (tmp_path / "roster.csv").write_text("student,name\nann,Ann Ng\nbob,Bob Li\n")
    arguments = ["grade", tmp_path / "submissions", "--out", tmp_path / "out", "--tests", tests]
    (tmp_path / "export.csv").write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Old (1),Lab (77)\nNg,5,,ann,A,3,\n"
    )
    arguments += ["--canvas", tmp_path / "export.csv", "--canvas-assignment", "Lab"]
    done = run(*arguments, "--roster", tmp_path / "roster.csv", "--workers", "1")
    assert done.returncode == DONE, done.stderr
    assert "2 students, 1 graded now." in done.stdout
    assert "rror" not in done.stdout
    assert "no row" not in done.stdout
    assert "Ng,5,,ann,A,2" in (tmp_path / "out" / "canvas.csv").read_text()
    header, ann, bob = (tmp_path / "out" / "grades.csv").read_text().splitlines()
    assert header.startswith("student,score,max_score,verdict,")
    assert ann.startswith("ann,2,2,passed,") and bob.startswith("bob,,2,missing,")
    write_tests(tests, test.replace("assert student", "student + 1"))
    assert "Grader error: ann.\n1 student, 1 graded now." in run(*arguments).stdout
