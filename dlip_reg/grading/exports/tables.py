"""Marks as CSV: for staff, for Canvas, for Moodle."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.roster import read_table

GRADES = ("student", "score", "max_score", "verdict", "tests_passed", "tests", "seconds", "notes")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Grade", "Last modified (grade)")
_MOODLE_IDENTIFIER = re.compile(r"\D*(\d+)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula, on one line."""
    line = " ".join(text.split())
    return f"'{line}" if line.startswith(_FORMULA) or text.startswith(_FORMULA) else line


def number(score: float | None) -> str:
    return "" if score is None else f"{score:g}"


def check_exports(canvas: Path | None, moodle: Path | None) -> None:
    """GradingError where a course system's file cannot be filled in: asked before anything runs."""
    if canvas is not None:
        canvas_csv(canvas, [])
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


def canvas_csv(export: Path, marks: Sequence[Marks]) -> str:
    """A file for Canvas' gradebook import, made from its export (GradingError where it is none).

    The assignment's column is the export's one "Title (id)" column, or else the last of them; a
    student is found by login, SIS ID or ID, and a row whose score is not known is left out.
    """
    columns, rows = read_table(export, CANVAS)
    titles = [name for name in columns if re.fullmatch(r".+ \(\d+\)", name)]
    if not titles:
        raise GradingError(f"{export} has no assignment column, whose header is like 'Lab (1234)'.")
    scores = _scores(marks)
    filled = []
    for row in rows:
        found = [
            scores[row[key]] for key in ("SIS Login ID", "SIS User ID", "ID") if row[key] in scores
        ]
        if found and found[0]:
            filled.append([*(row[name] for name in CANVAS), found[0]])
    return _csv((*CANVAS, titles[-1]), filled)


def moodle_csv(worksheet: Path, marks: Sequence[Marks]) -> str:
    """The grading worksheet that Moodle gave, with the grades filled in and all else as it was.

    Its columns are taken by place where the headers are in another language: the identifier is the
    first, the grade the fifth. GradingError where it is no worksheet.
    """
    columns, rows = read_table(worksheet, [])
    identifier, grade = _moodle_columns(worksheet, columns)
    scores = _scores(marks)
    for row in rows:
        digits = _MOODLE_IDENTIFIER.fullmatch(row[identifier].strip())
        keys = [row[identifier], digits.group(1) if digits else "", *row.values()]
        found = [scores[key] for key in keys if key and key in scores]
        if found and found[0]:
            row[grade] = found[0]
    return _csv(columns, [[row[name] for name in columns] for row in rows])


def _moodle_columns(worksheet: Path, columns: Sequence[str]) -> tuple[str, str]:
    if MOODLE[0] in columns and MOODLE[1] in columns:
        return MOODLE[0], MOODLE[1]
    if len(columns) >= 8:  # Identifier, Full name, Email address, Status, Grade, ...
        return columns[0], columns[4]
    raise GradingError(
        f"{worksheet} is no grading worksheet of Moodle's: it has neither the columns "
        f"{MOODLE[0]!r} and {MOODLE[1]!r} nor as many as one in another language."
    )


def _scores(marks: Iterable[Marks]) -> dict[str, str]:
    return {each.student: number(each.score) for each in marks}


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
