"""Everything that `grade` hands out, written below one folder."""

from __future__ import annotations

from pathlib import Path

from dlip_reg.files import write_atomically
from dlip_reg.grading.exports.documents import gradescope, prairielearn
from dlip_reg.grading.exports.pages import comparison, feedback, overview
from dlip_reg.grading.exports.similarity import similar
from dlip_reg.grading.exports.tables import Filled, canvas_csv, grades_csv, moodle_csv
from dlip_reg.grading.grade import Graded, named
from dlip_reg.grading.results import file_name


def write_all(
    folder: Path,
    graded: Graded,
    *,
    starter: bytes = b"",
    canvas: Path | None = None,
    canvas_assignment: str | None = None,
    moodle: Path | None = None,
    hand_out: str = "",
) -> tuple[str, ...]:
    """Write the table of grades, the pages, and what course systems read, each file whole or not at
    all; gives one sentence for each thing that staff must settle."""
    problems = list(graded.problems)
    if canvas is not None:
        filled = canvas_csv(canvas, graded.marks, canvas_assignment)
        write_atomically(folder / "canvas.csv", filled.text)
        problems += _unplaced(canvas, filled)
    if moodle is not None:
        filled = moodle_csv(moodle, graded.marks)
        write_atomically(folder / "moodle.csv", filled.text)
        problems += _unplaced(moodle, filled)
    most = graded.max_score
    links = {}
    for marks in graded.marks:
        name = file_name(marks.student)
        links[marks.student] = f"feedback/{name}.html"
        write_atomically(folder / "feedback" / f"{name}.html", feedback(marks, most, hand_out))
        write_atomically(folder / "gradescope" / f"{name}.json", gradescope(marks))
        write_atomically(folder / "prairielearn" / f"{name}.json", prairielearn(marks))
    write_atomically(folder / "grades.csv", grades_csv(graded.marks, most))
    pairs = {}
    for pair in similar(graded.sources, starter):
        pairs[pair] = f"similar/{file_name(pair.first)}--{file_name(pair.second)}.html"
        write_atomically(folder / pairs[pair], comparison(pair, graded.sources, starter))
    page = overview(graded.marks, most, pairs, problems, links)
    write_atomically(folder / "overview.html", page)
    return tuple(problems)


def _unplaced(table: Path, filled: Filled) -> list[str]:
    if not filled.unplaced:
        return []
    return [f"{table.name} has no row, or more than one, for {named(filled.unplaced)}."]
