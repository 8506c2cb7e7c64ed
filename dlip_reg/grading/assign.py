"""Makes an assignment from its master: the student's file, the public tests, the staff's tests and
an autograder for Gradescope.

A master is the solution, `submission.py` or a notebook, with regions that comments mark:

    ### BEGIN SOLUTION        left out of the student's file, which raises NotImplementedError there
    ### BEGIN TESTS           a module of marking tests
    ### BEGIN HIDDEN TESTS    the part of the tests that only staff have
    ### BEGIN PROBES          functions that run beside the submission

Each ends with the same words after END. Tests may also stand in modules of their own beside the
master (`test_*.py` and what they import), and probes in a folder `probes`.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import dlip_reg
from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.folders import require_outside
from dlip_reg.grading.grader import PROBES
from dlip_reg.grading.names import MAIN, NOTEBOOK
from dlip_reg.grading.notebooks import parsed, source_of

PUBLIC_TESTS = "public_tests"
AUTOGRADER = "autograder.zip"
_SOLUTION, _TESTS, _HIDDEN, _PROBES = "SOLUTION", "TESTS", "HIDDEN TESTS", "PROBES"
# A mark, or a line so like one that what it was to hide would reach students.
_MARK = re.compile(
    r"\s*#+\s*(BEGIN|END)\s+(SOLUTION|TESTS|HIDDEN TESTS|PROBES)\s*$|\s*###+\s*(?:BEGIN|END)\b",
    re.IGNORECASE,
)
_DEFINITION = re.compile(r"(\s*)(?:async def|def|class) ")
_STUB = "raise NotImplementedError\n"
_CLEARED: dict[str, Any] = {"outputs": [], "execution_count": None}
_CONFTEST = '''"""The fixtures and options of marking tests."""

from dlip_reg.grading.pytest_plugin import *  # noqa: F403
'''
# What the autograder installs, in the versions that are installed here.
_REQUIREMENTS = (
    *("tensorflow", "keras", "keras-tuner", "tensorboard", "numpy", "scipy", "scikit-learn"),
    *("matplotlib", "filelock", "jinja2", "msgpack", "psutil", "pytest", "pyyaml", "rich"),
)


# What becomes of one source: the student's code, the solution (with its marks), the probes, all
# tests, and the public ones.
_PARTS = ("student", "solution", "probes", "tests", "public_tests")
Parts = dict[str, str]


def assign(master: Path, out: Path) -> str:
    """Write the assignment below `out`; gives a sentence on what it is, and one on files of the
    master that are not in it.

    OUT/student            the file to complete, and the folder `public_tests`
    OUT/staff              the folder of tests for `grade --tests`, with the solution
    OUT/autograder.zip     the autograder for Gradescope

    Raises:
        GradingError: The master cannot be read, its regions do not fit, or it has no tests;
            `out` holds an assignment or lies in the master's folder; or a library of the autograder
            is not installed here.
    """
    for name in ("student", "staff", AUTOGRADER):
        if (out / name).exists():
            raise GradingError(f"{out / name} is there already: give a new folder.")
    requirements = _requirements()
    try:
        files, others = _files_of(master)
        require_outside(out, master)  # else the next assignment would be made of this one
        student, staff = _student_and_staff(files)
        points = _points(staff, student)
    except SyntaxError as error:
        raise GradingError(f"{error.filename}, line {error.lineno}: {error.msg}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
        raise GradingError(f"{master} is neither a module nor a notebook: {error}.") from None
    for folder, contents in (("student", student), ("staff", staff)):
        for name, text in contents.items():
            path = out / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    _write_autograder(out / AUTOGRADER, staff, requirements)
    public = sum(number for number, is_public in points.values() if is_public)
    total = sum(number for number, _ in points.values())
    said = f"{len(points)} tests, {total:g} points, {public:g} of them in the public tests."
    if any(".parametrize(" in text for text in staff.values()):
        said += " Parametrized tests are counted once: each of their cases gives the points."
    if others:
        count = f"{len(others)} file{'s' * (len(others) > 1)}"
        said += f" Left out, as neither modules nor notebooks: {count} ({', '.join(others[:3])})."
    return said


def starter_of(tests: Path) -> bytes:
    """The code of the student's file of the master in a folder of tests; empty without a master."""
    for path in map(tests.joinpath, (MAIN, NOTEBOOK)):
        if path.is_file():
            made = _split_file(path.name, path.read_text(encoding="utf-8-sig"))["student"].encode()
            return source_of(made) if path.suffix == ".ipynb" else made
    return b""


def _files_of(master: Path) -> tuple[dict[str, str], list[str]]:
    """The master's files by name, with the solution as submission.py or submission.ipynb, and the
    names of those that are neither modules nor notebooks."""
    if master.is_file():
        return {f"submission{master.suffix}": master.read_text(encoding="utf-8-sig")}, []
    paths = {path.relative_to(master).as_posix(): path for path in sorted(master.rglob("*.*"))}
    # A hidden folder may hold an editor's copies, with the solution in them.
    shown = [name for name in paths if "/." not in f"/{name}" and "__pycache__" not in name]
    names = [name for name in shown if name.endswith((".py", ".ipynb"))]
    if not {MAIN, NOTEBOOK} & set(names):
        raise GradingError(f"{master} is neither a file nor a folder with a {MAIN}.")
    others = [name for name in shown if name not in names and paths[name].is_file()]
    return {name: paths[name].read_text(encoding="utf-8-sig") for name in names}, others


def _student_and_staff(files: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The files for students and for staff, by name."""
    student: dict[str, str] = {}
    staff = {"conftest.py": _CONFTEST, **files}
    for name, text in files.items():
        parts = _split_file(name, text)
        if name not in (MAIN, NOTEBOOK):
            student[f"{PUBLIC_TESTS}/{name}"] = parts["student"]
            continue
        student[name], staff[name] = parts["student"], parts["solution"]
        if student[name] == staff[name]:
            raise GradingError(f"{name} has no region BEGIN SOLUTION: students would get it all.")
        if parts["tests"]:
            staff["test_submission.py"] = parts["tests"]
            student[f"{PUBLIC_TESTS}/test_submission.py"] = parts["public_tests"]
        if parts["probes"]:
            for file, source in (("__init__.py", ""), ("probes.py", parts["probes"])):
                staff[f"{PROBES}/{file}"] = source
                student[f"{PUBLIC_TESTS}/{PROBES}/{file}"] = source
    student[f"{PUBLIC_TESTS}/conftest.py"] = staff["conftest.py"]
    return student, staff


def _split_file(name: str, text: str) -> Parts:
    """Split a module, or a notebook cell by cell."""
    if not name.endswith(".ipynb"):
        return _split(text, name)
    notebook, whole = json.loads(text), dict.fromkeys(_PARTS, "")
    made: dict[str, list[dict[str, Any]]] = {"student": [], "solution": []}
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] != "code":
            marks = map(_MARK.match, "".join(cell["source"]).splitlines())
            if any(mark and mark[1] for mark in marks):  # as nbgrader allows
                raise GradingError(f"{name}, cell {number}: only code cells may have regions.")
            made["student"].append(cell)
            made["solution"].append(cell)
            continue
        parts = _split("".join(cell["source"]), f"{name}, cell {number}")
        for which, cells in made.items():
            if parts["solution"]:  # else all of it is tests or probes
                cells.append(cell | _CLEARED | {"source": parts[which]})
        for which, part in parts.items():
            whole[which] += f"\n\n{part}" if part else ""
    return _tidy(whole) | {
        which: json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"
        for which, cells in made.items()
    }


def _split(text: str, where: str) -> Parts:
    parts = dict.fromkeys(_PARTS, "")
    open_regions: list[str] = []
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if mark := _MARK.match(line):
            verb, region = (str(word).upper() for word in mark.groups())
            # Students get the probes, so nothing is hidden there.
            is_misplaced = region == _HIDDEN and open_regions not in ([], [_TESTS])
            if verb == "BEGIN" and region not in open_regions and not is_misplaced:
                open_regions.append(region)
                if region == _SOLUTION and _is_in_function(lines[:number]):
                    stub = line[: len(line) - len(line.lstrip())] + _STUB
                    parts["student"] = re.sub(r"\n\n$", "\n", parts["student"]) + stub
            elif verb == "END" and open_regions[-1:] == [region]:
                open_regions.pop()
            else:
                raise GradingError(
                    f"{where}, line {number}: {line.strip()} does not fit here "
                    "(regions: SOLUTION, TESTS, HIDDEN TESTS, PROBES)."
                )
            goes_to = ["solution"] if region == _SOLUTION else []
        elif _HIDDEN in open_regions:
            goes_to = ["tests"]
        elif _TESTS in open_regions:
            goes_to = ["tests", "public_tests"]
        elif _PROBES in open_regions:
            goes_to = ["probes"]
        else:
            goes_to = ["solution"] if open_regions else ["solution", "student"]
        for part in goes_to:
            parts[part] += line
    if open_regions:
        raise GradingError(f"{where}: there is no END {open_regions[-1]}.")
    if not text.lstrip().startswith("%%"):
        parsed(text, where)
        parsed(parts["student"], f"{where} (student)")
    return _tidy(parts)


def _is_in_function(before: list[str]) -> bool:
    """Whether the last of the lines, a mark, stands in a function's body, not a class's or a
    module's."""
    indent = len(before[-1]) - len(before[-1].lstrip())
    for line in reversed(before):
        definition = _DEFINITION.match(line)
        if definition and len(definition[1]) < indent:
            return "class" not in definition[0]
    return False


def _tidy(parts: Parts) -> Parts:
    """Without the blank lines that regions leave: two at most, none at either end."""
    return {
        name: re.sub(r"\n{4,}", "\n\n\n", text).strip("\n") + "\n" if text.strip() else ""
        for name, text in parts.items()
    }


def _points(
    staff: dict[str, str], student: dict[str, str]
) -> dict[tuple[str, str], tuple[float, bool]]:
    """Each marking test's points and whether it is public: then students must see it."""
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for name, text in staff.items():
        if "/" in name or name in (MAIN, NOTEBOOK):
            continue
        seen = {test for test, *_ in _marked(student.get(f"{PUBLIC_TESTS}/{name}", ""), name)}
        for test, number, is_public in _marked(text, name):
            if (name, test) in found:  # Python would keep the last only
                raise GradingError(f"{name}: there are two tests called {test}.")
            found[name, test] = number, is_public
            if is_public != (test in seen):
                fault = "public, but among" if is_public else "not public, but outside of"
                raise GradingError(f"{name}: {test} is {fault} the hidden tests.")
    if not found:
        raise GradingError("The master has no test with a mark such as @pytest.mark.points(2).")
    return found


def _marked(text: str, name: str) -> Iterator[tuple[str, float, bool]]:
    """The marking tests of a module, with their points and whether they are public."""
    module = ast.parse(text, name)
    names = (ast.unparse(node) for node in ast.walk(module) if isinstance(node, ast.Attribute))
    unread = sum(re.fullmatch(r"(.+\.)?mark\.points", each) is not None for each in names)
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            texts = map(ast.unparse, node.decorator_list)
            marks = [re.sub(r"^(pytest\.)?mark\.", "", text) for text in texts]
            worth = "".join(mark for mark in marks if mark.startswith("points"))
            points = re.match(r"points\((\d*\.?\d+)[,)]", worth)
            if points and float(points[1]) and node.name.startswith("test"):
                unread -= 1
                yield node.name, float(points[1]), "public" in marks
            elif worth or "public" in marks:
                raise GradingError(
                    f"{name}: {node.name} has no mark such as @pytest.mark.points(2)."
                )
    if unread:
        raise GradingError(
            f"{name}: a mark for points is in a class, a condition or pytestmark: it has to stand "
            "before a function test_... of the module."
        )


def _requirements() -> str:
    """What the autograder installs, as a requirements.txt."""
    try:
        return "".join(f"{name}=={metadata.version(name)}\n" for name in _REQUIREMENTS)
    except metadata.PackageNotFoundError as error:
        raise GradingError(
            f"{error.name} is not installed, and the autograder gets the versions installed here."
        ) from None


def _write_autograder(path: Path, staff: dict[str, str], requirements: str) -> None:
    """The zip: the scripts, the grader without the rest of the package, and the tests."""
    package = Path(dlip_reg.__file__).parent
    graders = [*package.glob("*.py"), *(package / "grading").rglob("*")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for script in (package / "grading" / "autograder").iterdir():
            # Executable by their owner, which Gradescope asks for.
            entry = zipfile.ZipInfo(script.name)
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, script.read_text(encoding="utf-8"))
        archive.writestr("requirements.txt", requirements)
        for file in graders:
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(package.parent).as_posix())
        for name, text in staff.items():
            archive.writestr(f"tests/{name}", text)
