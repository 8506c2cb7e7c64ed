"""Grades a folder of submissions: what is new or changed is marked, the rest is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dlip_reg.grading import intake
from dlip_reg.grading.assign import starter_of
from dlip_reg.grading.errors import EmptySubmissionError, SubmissionError
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.marks import Marks, number
from dlip_reg.grading.results import Results, submission_key, tests_key
from dlip_reg.grading.roster import Roster, assign
from dlip_reg.grading.student import Submission

_NAMED = 5


@dataclass(frozen=True)
class Graded:
    """All marks by student, how many of them were made anew, the submissions' sources, one sentence
    for each thing that staff must settle, the starter file, and who is in the course."""

    marks: tuple[Marks, ...]
    anew: int
    sources: dict[str, bytes]
    problems: tuple[str, ...]
    max_score: float
    starter: bytes = b""
    roster: Roster | None = None


def grade_folder(
    submissions: Path,
    results: Results,
    setting: Setting,
    *,
    roster: Roster | None = None,
    single: bool = False,
    zero_missing: bool = False,
    workers: int = 1,
    seed: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Graded:
    """Mark every submission in the folder (with `single` it is one submission itself), `workers` at
    a time.

    Each one's marks are in `results` as soon as they are there. A student on the roster who handed
    in nothing keeps the marks of an earlier run, else has no score, or 0 with `zero_missing` unless
    a submission is of nobody on the roster: it may be theirs. Of several candidates for a main file
    the one most like the starter file is proposed to staff.

    Raises:
        GradingError: Nothing can be graded: there are no submissions, the tests cannot be
            collected, or the machine's isolation is too weak.
    """
    assigned = assign(intake.find_submissions(submissions, single), roster, single)
    starter, tests = starter_of(setting.tests), tests_key(setting)
    absent, refused = list(assigned.absent), {}
    marked: list[Marks] = []
    waiting: list[Submission] = []
    sources: dict[str, bytes] = {}
    for student, paths in assigned.of_student.items():
        try:
            read = intake.read_submission(*paths, starter=starter)
        except EmptySubmissionError:
            absent.append(student)
            continue
        except SubmissionError as error:
            refused[student] = str(error)
            continue
        sources[student] = intake.all_source(read)
        submission = replace(read, name=student, key=submission_key(read, tests))
        kept = results.kept(student, submission.key, seed)
        if kept is None:
            waiting.append(submission)
        else:
            marked.append(kept)
    if waiting:
        total = len(marked) + len(waiting)
        progress(len(marked), total)
        # The pages of an earlier run show inputs and expected values of its seed to students.
        seed_now = seed or secrets.token_hex(16)
        with Grader(setting, seed_now, min(workers, len(waiting))) as grader:
            grader.collect()
            for marks in grader.grade_all(waiting):
                marked.append(marks)
                results.save(marks)
                progress(len(marked), total)
    others = [_rejected(*each, results) for each in (assigned.unsettled | refused).items()]
    everybody = assigned.of_student.keys() | assigned.unsettled.keys()
    zero = zero_missing and (roster is None or everybody <= roster.keys())
    others += [_absent(student, results, zero) for student in absent]
    for marks in others:
        if not marks.tests:
            results.save(marks)
    everything = sorted([*marked, *others], key=lambda marks: marks.student)
    problems = (
        *assigned.problems,
        *refused.values(),
        *filter(None, (marks.for_staff for marks in marked)),
        *_by_other_tests(absent, results, tests, seed),
        *_left_behind(everything, results),
    )
    max_score = max((marks.max_score for marks in marked or others), default=0.0)
    return Graded(tuple(everything), len(waiting), sources, problems, max_score, starter, roster)


def _rejected(student: str, sentence: str, results: Results) -> Marks:
    """No marks, for staff to settle; those of an earlier run stay in its file."""
    earlier = results.earlier.get(student)
    notes = [sentence]
    if earlier is not None:
        notes.append(f"Graded earlier: {number(earlier.score)} points ({earlier.verdict}).")
    return Marks(student, (), notes=tuple(notes), verdict_without_tests="rejected")


def _absent(student: str, results: Results, zero: bool) -> Marks:
    earlier = results.earlier.get(student)
    if earlier is None:
        return Marks(student, (), zero=zero)
    note = "Not among these submissions: the marks are those of an earlier run."
    return replace(earlier, notes=(*earlier.notes, note))


def _by_other_tests(absent: Sequence[str], results: Results, tests: str, seed: str) -> list[str]:
    """A sentence where marks of an earlier run are kept that the tests of today have not given."""
    kept = [results.earlier[student] for student in absent if student in results.earlier]
    others = [
        marks.student
        for marks in kept
        if not marks.key.startswith(tests) or seed not in ("", marks.seed)
    ]
    if not others:
        return []
    return [
        f"Graded in an earlier run by other tests, another grader or with another seed, and not "
        f"among these submissions: {named(others)}. To grade them alike, add their submissions."
    ]


def _left_behind(marks: Sequence[Marks], results: Results) -> list[str]:
    """A sentence where an earlier run marked students whom this one does not know."""
    others = sorted(results.earlier.keys() - {each.student for each in marks})
    if not others:
        return []
    return [
        f"Graded in an earlier run, but not among these submissions and left out of the tables: "
        f"{named(others)}. A roster that names them keeps them in."
    ]


def named(students: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(students) - _NAMED} more" if len(students) > _NAMED else ""
    return ", ".join(students[:_NAMED]) + more
