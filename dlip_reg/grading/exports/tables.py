"""Marks as CSV: for staff, for Canvas, for Moodle."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.roster import WORKSHEET_COLUMNS, identified, read_table

GRADES = ("student", "score", "max_score", "verdict", "tests_passed", "tests", "seconds", "notes")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_MOODLE_GRADE = "Grade"
_CANVAS_ASSIGNMENT = re.compile(r".+ \((\d+)\)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula, on one line."""
    line = " ".join(text.split())
    return f"'{line}" if line.startswith(_FORMULA) or text.startswith(_FORMULA) else line


def number(score: float | None) -> str:
    return "" if score is None else f"{score:g}"


@dataclass(frozen=True)
class Filled:
    """A course system's table, and the students who have a score but no one row in it."""

    text: str
    unplaced: tuple[str, ...]


def check_exports(canvas: Path | None, moodle: Path | None, assignment: str | None = None) -> None:
    """GradingError where a course system's file cannot be filled in: asked before anything runs."""
    if canvas is not None:
        canvas_csv(canvas, [], assignment)
    if moodle is not None:
        moodle_csv(moodle, [])


def grades_csv(marks: Iterable[Marks], max_score: float) -> str:
    """One row a student; an empty score is not known, which is not zero."""
    rows = [
        [
            cell(each.student),
            number(each.score),
            number(max_score),
            each.verdict,
            str(sum(test.verdict == "passed" for test in each.tests)),
            str(len(each.tests)),
            f"{each.seconds:g}",
            cell("; ".join(each.notes)),
        ]
        for each in marks
    ]
    return _csv(GRADES, rows)


def canvas_csv(export: Path, marks: Sequence[Marks], assignment: str | None = None) -> Filled:
    """A file for Canvas' gradebook import, made from its export (GradingError where it is none).

    `assignment` is the title or number of the "Title (number)" column to fill in, None where there
    is one only. A student is found by login, SIS ID, ID or name; rows without a score are left out.
    """
    columns, rows = read_table(export, CANVAS)
    title = _canvas_title(export, columns, assignment)
    scores, unplaced = _placed(columns, rows, marks)
    filled = [
        [*(row[name] for name in CANVAS), score]
        for row, score in zip(rows, scores, strict=True)
        if score
    ]
    return Filled(_csv((*CANVAS, title), filled), unplaced)


def _canvas_title(export: Path, columns: Sequence[str], assignment: str | None) -> str:
    found = {name: match[1] for name in columns if (match := _CANVAS_ASSIGNMENT.fullmatch(name))}
    if not found:
        raise GradingError(f"{export} has no assignment column, whose header is like 'Lab (1234)'.")
    chosen = [
        name
        for name, digits in found.items()
        if assignment in (None, name, name.removesuffix(f" ({digits})"), digits)
    ]
    if len(chosen) != 1:
        which = f"{len(chosen) or 'no'} assignment columns"
        raise GradingError(
            f"{export} has {which}{f' called {assignment!r}' if assignment else ''}: "
            f"--canvas-assignment names one of {', '.join(map(repr, found))}."
        )
    return chosen[0]


def moodle_csv(worksheet: Path, marks: Sequence[Marks]) -> Filled:
    """The grading worksheet that Moodle gave, with the grades filled in and all else as it was.

    A student is found by identifier (or its number), name or email address. The columns are taken
    by place where the headers are in another language: those three come first, the grade is the
    fifth. GradingError where it is no worksheet.
    """
    columns, rows = read_table(worksheet, [])
    if _MOODLE_GRADE in columns:
        grade = _MOODLE_GRADE
    elif len(columns) >= WORKSHEET_COLUMNS:
        grade = columns[4]
    else:
        raise GradingError(
            f"{worksheet} is no grading worksheet of Moodle's: it has neither a column "
            f"{_MOODLE_GRADE!r} nor as many as one in another language."
        )
    scores, unplaced = _placed(columns, rows, marks)
    for row, score in zip(rows, scores, strict=True):
        row[grade] = score or row[grade]
    return Filled(_csv(columns, [[row[name] for name in columns] for row in rows]), unplaced)


def _placed(
    columns: Sequence[str], rows: Sequence[dict[str, str]], marks: Iterable[Marks]
) -> tuple[list[str], tuple[str, ...]]:
    """Each row's score, "" for none, by what identifies its person; and the students with a score
    who are in no row, or in several, of which none gets it."""
    scores = {each.student: number(each.score) for each in marks if each.score is not None}
    _, people = identified(columns, rows)
    owners = [keys & scores.keys() for _, keys in people]
    count = Counter(owner for several in owners for owner in several)
    placed = [
        "".join(scores[owner] for owner in several if len(several) == count[owner] == 1)
        for several in owners
    ]
    return placed, tuple(student for student in scores if count[student] != 1)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
