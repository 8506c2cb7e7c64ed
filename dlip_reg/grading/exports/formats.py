"""Marks for staff, Canvas and Moodle as CSV, for Gradescope and PrairieLearn as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.marks import Marks, TestMark, number, tidy
from dlip_reg.grading.roster import (
    WORKSHEET_COLUMNS,
    Roster,
    identified,
    in_file_name,
    one_word,
    read_table,
)

GRADES = ("student", "score", "max_score", "verdict", "tests_passed", "tests", "seconds", "notes")
_MOODLE_GRADES = ("grade", "성적", "점수", "bewertung")  # headers in English, Korean and German
_NOT_GRADED = "This submission could not be graded. Staff will look at it."
_CANVAS_ASSIGNMENT = re.compile(r"(.+) \((\d+)\)")
_NUMBER = re.compile(r"[\d.,\s-]+")
_POINTS = re.compile(r"\d+([.,]\d+)?")
_Key = TypeVar("_Key", int, str)
_FORMULA = re.compile(r"[ \"]*[=+\-@]")


def cell(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula, on one line."""
    # In East Asia spreadsheets take a wide sign for the plain one. In much of Europe they separate
    # by semicolons, also within a cell that is quoted, unless that is the first of its row.
    return ";".join(
        f"'{part}" if _FORMULA.match(unicodedata.normalize("NFKC", part)) else part
        for part in " ".join(text.split()).split(";")
    )


@dataclass(frozen=True)
class Filled:
    """A course system's table, the students who have a score but no one row in it, and how many
    points the table's assignment has (None where it does not say)."""

    text: str
    unplaced: tuple[str, ...]
    max_score: float | None


def filled_tables(
    canvas: Path | None,
    assignment: str | None,
    moodle: Path | None,
    marks: Sequence[Marks] = (),
    roster: Roster | None = None,
) -> dict[str, Filled]:
    """The course systems' tables by the name they get; GradingError where one cannot be filled in:
    asked before anything runs."""
    filled = {"canvas.csv": canvas_csv(canvas, marks, assignment, roster)} if canvas else {}
    return filled | ({"moodle.csv": moodle_csv(moodle, marks, roster)} if moodle else {})


def grades_csv(marks: Iterable[Marks], max_score: float) -> str:
    """One row a student; an empty score is not known, which is not zero.

    It begins with a byte order mark where not all is ASCII: without one, Excel takes the letters of
    a name for those of the system's own encoding.
    """
    rows = [
        {
            "student": cell(each.student),
            "score": number(each.score, unknown=""),
            "max_score": number(max_score),
            "verdict": each.verdict,
            "tests_passed": sum(test.verdict == "passed" for test in each.tests),
            "tests": len(each.tests),
            "seconds": f"{each.seconds:g}",
            "notes": cell("; ".join(each.notes)),
        }
        for each in marks
    ]
    table = _csv(GRADES, rows)
    return table if table.isascii() else f"\ufeff{table}"


def canvas_csv(
    export: Path,
    marks: Sequence[Marks],
    assignment: str | None = None,
    roster: Roster | None = None,
) -> Filled:
    """A file for Canvas' gradebook import, made from its export (GradingError where it is none).

    `assignment` is the title or number of the "Title (number)" column to fill in, None where there
    is one only. A student is found by login, SIS ID, ID or name; rows without a score are left out.
    """
    columns, rows = read_table(export, ("ID", "SIS Login ID", "Section"))
    title = _canvas_title(export, columns, assignment)
    most = _points(row[title] for row in rows if "Points Possible" in row[columns[0]])
    rows = [row | {title: ""} for row in rows]
    unplaced = _place(columns, rows, title, marks, roster)
    # Canvas asks for all columns up to this one; which they are depends on the site.
    people = columns[: columns.index("Section") + 1]
    return Filled(_csv((*people, title), [row for row in rows if row[title]]), unplaced, most)


def _canvas_title(export: Path, columns: Sequence[str], assignment: str | None) -> str:
    found = {name: match for name in columns if (match := _CANVAS_ASSIGNMENT.fullmatch(name))}
    if not found:
        raise GradingError(f"{export} has no assignment column, whose header is like 'Lab (1234)'.")
    chosen = [n for n, match in found.items() if assignment in (None, n, *match.groups())]
    if len(chosen) != 1:
        which = f"{len(chosen) or 'no'} assignment columns"
        which += f" called {assignment!r}" if assignment else ""
        names = ", ".join(map(repr, found))
        raise GradingError(f"{export} has {which}: --canvas-assignment names one of {names}.")
    return chosen[0]


def moodle_csv(worksheet: Path, marks: Sequence[Marks], roster: Roster | None = None) -> Filled:
    """The grading worksheet that Moodle gave, with the grades filled in and all else as it was.

    A student is found by identifier (or its number), name or email address. The columns are taken
    by place where the headers are in another language: those three come first, the grade is the
    fifth. GradingError where it is no worksheet, or where what stands there is no grade.
    """
    columns, rows = read_table(worksheet, [])
    grade = next((name for name in columns if name.strip().casefold() in _MOODLE_GRADES), "")
    if not grade and len(columns) < WORKSHEET_COLUMNS:
        raise GradingError(
            f"{worksheet} is not a grading worksheet of Moodle: it has neither a column 'Grade' "
            "nor as many as one in another language."
        )
    if not grade:
        grade = columns[4]
        if any(_NUMBER.sub("", row[grade]) for row in rows):
            raise GradingError(
                f"{worksheet} has no column 'Grade', and the fifth, {grade!r}, holds something "
                "else: download it with English headers."
            )
    unplaced = _place(columns, rows, grade, marks, roster)
    most = _points(row[name] for name in columns[columns.index(grade) + 1 :][:1] for row in rows)
    return Filled(_csv(columns, rows), unplaced, most)


def _points(cells: Iterable[str]) -> float | None:
    """The first of the cells that is a number."""
    return next((float(c.replace(",", ".")) for c in cells if _POINTS.fullmatch(c)), None)


def _place(
    columns: Sequence[str],
    rows: Sequence[dict[str, str]],
    column: str,
    marks: Iterable[Marks],
    roster: Roster | None,
) -> tuple[str, ...]:
    """Write the scores into that column; gives the students with a score whose row is not certain.

    A student's row shares with what the roster knows of the student all that any other row does,
    and more. Without a roster, the name may be a number of the course system's, or an identifier
    of Moodle's, whose spaces and signs differ from those in the names of files.
    """
    scores = {each.student: number(each.score) for each in marks if each.score is not None}
    people = [keys for _, keys in identified(columns, rows)[1]]
    claims: list[dict[str, set[str]]] = [{} for _ in rows]
    for student in scores:
        known = {
            student,
            *(roster.get(student, ()) if roster else [in_file_name(one_word(student))]),
        }
        # A number that is in a row twice, as an ID and as what stands in names of files, is one.
        shared = {at: {key.strip("_") for key in known & keys} for at, keys in enumerate(people)}
        for at in _largest(shared):
            claims[at][student] = shared[at]
    placed = {
        student: row for row, claim in zip(rows, claims, strict=True) for student in _largest(claim)
    }
    for student, row in placed.items():
        row[column] = scores[student]
    return tuple(student for student in scores if student not in placed)


def _largest(sets: Mapping[_Key, set[str]]) -> list[_Key]:
    """The key of the set that holds all that any other does, and more; empty without one."""
    most = max(sets, key=lambda key: len(sets[key]), default=None)
    if most is None or not sets[most]:
        return []
    return [most] if all(sets[key] < sets[most] for key in sets if key != most) else []


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def gradescope(marks: Marks) -> str:
    """results.json for one student: a hidden test shows its name and points only, and nothing shows
    how long it took, by which a submission could tell what it was asked.

    Where the score is not known there is none at all: Gradescope adds up the tests' scores where
    the whole has none, and what a broken test would have given is not zero.
    """
    document: dict[str, Any] = {
        "stdout_visibility": "hidden",
        "output_format": "text",
        "tests": [],
        "extra_data": {"verdict": marks.verdict, "tier": marks.tier},
    }
    for test in marks.tests:
        shown = {"name": test.title, "max_score": test.max_score, "visibility": "visible"}
        shown |= {"output_format": "text", "output": _said(test)}
        if marks.score is not None:
            status = "passed" if test.verdict == "passed" else "failed"
            shown |= {"score": test.score, "status": status}
        document["tests"].append({key: value for key, value in shown.items() if value != ""})
    said = "\n".join(marks.stopped)
    document |= (
        {"output": _NOT_GRADED} if marks.score is None else {"score": marks.score, "output": said}
    )
    return json.dumps(document, indent=1, allow_nan=False)


def _said(test: TestMark) -> str:
    return f"{test.verdict}: {test.message}" if test.public and test.message else ""


def prairielearn(marks: Marks) -> str:
    """results.json for one student: a hidden test shows its name and points only.

    Where the score is not known the submission is not gradable, which costs no attempt.
    """
    if marks.score is None:
        return json.dumps({"gradable": False, "message": _NOT_GRADED}, indent=1)
    tests = [
        {"name": test.title, "points": test.score, "max_points": test.max_score}
        | {"output": _said(test)}
        for test in marks.tests
    ]
    score = tidy(marks.score / marks.max_score) if marks.max_score else 0.0
    document = {"gradable": True, "score": score, "output": "\n".join(marks.stopped)}
    return json.dumps(document | {"tests": tests}, indent=1)
