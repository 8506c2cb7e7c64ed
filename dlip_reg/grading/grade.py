"""Grades a folder of submissions: what is new or changed is marked, the rest is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import (
    EmptySubmissionError,
    SubmissionError,
    definitions,
    find_submissions,
    read_submission,
    source,
)
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.results import Results, submission_key, tests_key
from dlip_reg.grading.roster import Roster, assign
from dlip_reg.grading.student import Submission

_NAMED = 5
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Graded:
    """All marks by student, how many of them were made anew, the submissions' sources, and one
    sentence for each thing that staff must settle."""

    marks: tuple[Marks, ...]
    anew: int
    sources: dict[str, bytes]
    problems: tuple[str, ...]
    max_score: float


def grade_folder(
    submissions: Path,
    results: Results,
    setting: Setting,
    *,
    roster: Roster | None = None,
    single: bool = False,
    starter: bytes = b"",
    zero_missing: bool = False,
    workers: int = 1,
    seed: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Graded:
    """Mark every submission in the folder (with `single` it is one submission itself), `workers` at
    a time.

    Each one's marks are in `results` as soon as they are there. A student on the roster who handed
    in nothing keeps the marks of an earlier run, else has no score, or 0 with `zero_missing`. Of
    several candidates for a main file the one most like the `starter` file is proposed to staff.

    Raises:
        GradingError: Nothing can be graded: there are no submissions, the tests cannot be
            collected, or the machine's isolation is too weak.
    """
    assigned = assign(find_submissions(submissions, single), roster)
    seed = results.seed(seed)
    key = tests_key(setting)
    everything = [
        _rejected(student, sentence, results) for student, sentence in assigned.unsettled.items()
    ]
    problems = list(assigned.problems)
    waiting: dict[str, Submission] = {}
    keys: dict[str, str] = {}
    sources: dict[str, bytes] = {}
    absent = list(assigned.absent)
    for student, paths in assigned.of_student.items():
        try:
            submission = read_submission(*paths, required=definitions(starter))
        except EmptySubmissionError:
            absent.append(student)
            continue
        except SubmissionError as error:
            problems.append(str(error))
            everything.append(_rejected(student, str(error), results))
            continue
        submission = replace(submission, name=student)
        sources[student] = source(submission.main, submission.files[submission.main])
        keys[student] = submission_key(submission, f"{key} {seed}")
        kept = results.kept(student, keys[student])
        if kept is None:
            waiting[student] = submission
        else:
            everything.append(kept)
    if waiting:
        total = len(everything) + len(waiting)
        progress(len(everything), total)
        with Grader(setting, seed, min(workers, len(waiting))) as grader:
            grader.collect()
            for marks in grader.grade_all(list(waiting.values())):
                everything.append(replace(marks, key=keys[marks.student]))
                results.save(everything[-1])
                progress(len(everything), total)
    max_score = _most(everything)
    everything += [_absent(student, results, zero_missing) for student in absent]
    max_score = max_score or _most(everything)
    for marks in everything:
        if not marks.tests:
            results.save(marks)
    everything.sort(key=lambda marks: marks.student)
    problems += _left_behind(everything, results)
    return Graded(tuple(everything), len(waiting), sources, tuple(problems), max_score)


def _rejected(student: str, sentence: str, results: Results) -> Marks:
    """No marks, for staff to settle; those of an earlier run stay in its file."""
    earlier = results.earlier(student)
    notes = (sentence,) if earlier is None else (sentence, f"Graded earlier: {_points(earlier)}.")
    return Marks(student, (), notes=notes, verdict_without_tests="rejected")


def _absent(student: str, results: Results, zero: bool) -> Marks:
    earlier = results.earlier(student)
    if earlier is None:
        return Marks(student, (), zero=zero)
    note = "Not among these submissions: the marks are those of an earlier run."
    return replace(earlier, notes=(*earlier.notes, note))


def _most(marks: Sequence[Marks]) -> float:
    return max((each.max_score for each in marks), default=0.0)


def _points(marks: Marks) -> str:
    return f"{marks.score:g} points" if marks.score is not None else marks.verdict


def _left_behind(marks: Sequence[Marks], results: Results) -> list[str]:
    """A sentence where an earlier run marked students that this one knows nothing of."""
    known = {each.student for each in marks}
    others = [student for student in results.students() if student not in known]
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


def mark_one(path: Path, setting: Setting, seed: str) -> Marks:
    """The marks of one submission; GradingError where it cannot be read or graded."""
    submission = read_submission(path)
    with Grader(setting, seed) as grader:
        grader.collect()
        return grader.grade(submission)
