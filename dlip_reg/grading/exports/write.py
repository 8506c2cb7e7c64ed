"""Everything that `grade` hands out, written below one folder."""

from __future__ import annotations

from pathlib import Path

from dlip_reg.files import write_atomically
from dlip_reg.grading.exports import formats
from dlip_reg.grading.exports.pages import comparison, feedback, overview
from dlip_reg.grading.exports.similarity import similar
from dlip_reg.grading.grade import Graded, named
from dlip_reg.grading.results import file_name


def write_all(
    folder: Path,
    graded: Graded,
    *,
    canvas: Path | None = None,
    canvas_assignment: str | None = None,
    moodle: Path | None = None,
    hand_out: str = "",
) -> tuple[str, ...]:
    """Write the table of grades, the pages, and what course systems read, each file whole or not at
    all; gives one sentence for each thing that staff must settle.

    Pages of students, and of pairs, that an earlier run knew and this one does not are removed.
    """
    problems, most = list(graded.problems), graded.max_score
    tables = formats.filled_tables(canvas, canvas_assignment, moodle, graded.marks, graded.roster)
    for name, filled in tables.items():
        write_atomically(folder / name, filled.text)
        if filled.unplaced:
            whom = named(filled.unplaced)
            problems.append(f"{name} has no row, or more than one, for {whom}.")
        if most and filled.max_score not in (None, most):
            problems.append(
                f"{name} is for {filled.max_score:g} points, but the tests have {most:g}: "
                "change the assignment's points in the course system before you import it."
            )
    for name in ("canvas.csv", "moodle.csv"):
        if name not in tables and (folder / name).exists():
            option = f"--{name.removesuffix('.csv')}"
            problems.append(f"{name} is of an earlier run: do not import it; give {option} again.")
    links = {}
    for marks in graded.marks:
        name = file_name(marks.student)
        links[marks.student] = f"feedback/{name}.html"
        write_atomically(folder / "feedback" / f"{name}.html", feedback(marks, most, hand_out))
        write_atomically(folder / "gradescope" / f"{name}.json", formats.gradescope(marks))
        write_atomically(folder / "prairielearn" / f"{name}.json", formats.prairielearn(marks))
    write_atomically(folder / "grades.csv", formats.grades_csv(graded.marks, most))
    pairs = {}
    for pair in similar(graded.sources, graded.starter):
        pairs[pair] = f"similar/{file_name(pair.first)}--{file_name(pair.second)}.html"
        write_atomically(folder / pairs[pair], comparison(pair, graded.sources, graded.starter))
    names = {file_name(marks.student) for marks in graded.marks}
    for pages in ("feedback/*.html", "gradescope/*.json", "prairielearn/*.json"):
        for path in folder.glob(pages):
            if path.stem not in names:
                path.unlink()
    for path in folder.glob("similar/*.html"):
        if f"similar/{path.name}" not in pairs.values():
            path.unlink()
    page = overview(graded.marks, most, pairs, problems, links)
    write_atomically(folder / "overview.html", page)
    return tuple(problems)
