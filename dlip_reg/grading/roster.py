"""Who is in the course, by a CSV file with a column `student`, and which submission is whose."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.intake import student_of


def read_table(path: Path, needed: Iterable[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV file; GradingError where a needed column is not there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise GradingError(f"There is no {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GradingError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    columns = list(reader.fieldnames or [])
    for column in needed:
        if column not in columns:
            raise GradingError(
                f"{path} has no column {column!r}; it has "
                f"{', '.join(map(repr, columns)) or 'none'}."
            )
    try:
        rows = [{name: row[name] or "" for name in columns} for row in reader]
    except csv.Error as error:
        raise GradingError(f"{path} cannot be read as CSV: {error}.") from None
    return columns, rows


def read_roster(path: Path) -> list[str]:
    """The students named in the roster's column `student`, in its order."""
    _, rows = read_table(path, ["student"])
    students = [row["student"].strip() for row in rows if row["student"].strip()]
    twice = {student for student in students if students.count(student) > 1}
    if twice:
        raise GradingError(f"{path} names {sorted(twice)[0]!r} twice.")
    if not students:
        raise GradingError(f"{path} names no student.")
    return students


@dataclass(frozen=True)
class Assigned:
    """Which submission is whose; `problems` says, one sentence each, what staff must settle."""

    of_student: dict[str, Path]
    unsettled: dict[str, str]
    absent: tuple[str, ...]
    problems: tuple[str, ...]


def assign(paths: Sequence[Path], roster: Sequence[str] | None) -> Assigned:
    """Each submission to its student: by the whole name, or by one of the parts that a course
    system puts between underscores. Two for one student are both left to staff."""
    found: dict[str, list[Path]] = {}
    problems = []
    for path in paths:
        name = student_of(path)
        student = _on_roster(name, roster) if roster is not None else name
        if student is None:
            problems.append(
                f"{path.name} belongs to nobody on the roster; it is graded as {name!r}."
            )
            student = name
        found.setdefault(student, []).append(path)
    unsettled = {
        student: f"{student} has {len(several)} submissions "
        f"({', '.join(path.name for path in several)}): keep one and grade again."
        for student, several in found.items()
        if len(several) > 1
    }
    return Assigned(
        {student: several[0] for student, several in found.items() if student not in unsettled},
        unsettled,
        tuple(student for student in roster or () if student not in found),
        (*problems, *unsettled.values()),
    )


def _on_roster(name: str, roster: Sequence[str]) -> str | None:
    if name in roster:
        return name
    parts = set(name.split("_"))
    matching = [student for student in roster if student in parts or name.startswith(student + "_")]
    return matching[0] if len(matching) == 1 else None
