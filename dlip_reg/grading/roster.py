"""Who is in the course, by a CSV file with a column `student`, and which submission is whose."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.intake import bears_no_name, shown, student_of


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
    students = [shown(row["student"].strip()) for row in rows if row["student"].strip()]
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
    """Each submission to its student: by the file's whole name or, on a roster, by its beginning or
    the number behind that (what course systems write there). Two for one student are both left to
    staff."""
    found: dict[str, list[Path]] = {}
    problems = []
    for path in paths:
        name = student_of(path)
        student = name
        if roster is not None:
            matching = _on_roster(name, roster)
            student = matching[0] if len(matching) == 1 else name
            if len(matching) != 1:
                whose = " or ".join(matching) or "nobody on the roster"
                problems.append(f"{shown(path.name)} belongs to {whose}; it is graded as {name!r}.")
        elif bears_no_name(path):
            problems.append(
                f"{path.name} does not say whose it is; it is graded as {name!r}. A folder that is "
                "one student's submission is graded with --single."
            )
        found.setdefault(student, []).append(path)
    unsettled = {
        student: f"{student} has {len(several)} submissions "
        f"({', '.join(shown(path.name) for path in several)}): keep one and grade again."
        for student, several in found.items()
        if len(several) > 1
    }
    return Assigned(
        {student: several[0] for student, several in found.items() if student not in unsettled},
        unsettled,
        tuple(student for student in roster or () if student not in found),
        (*problems, *unsettled.values()),
    )


def _on_roster(name: str, roster: Sequence[str]) -> list[str]:
    """The students that `name` may stand for. What follows is the student's own choice, and could
    be another's name: Canvas writes NAME[_LATE]_NUMBER_NUMBER_CHOICE, Moodle NAME_NUMBER_KIND."""
    if name in roster:
        return [name]
    number = re.match(r".+?_(\d+)_", name)
    return [
        student
        for student in roster
        if name.startswith(f"{student}_") or (number and student == number[1])
    ]
