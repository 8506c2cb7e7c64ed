"""Grades a folder of submissions: what is new or changed is marked, the rest is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import BadSubmission, find_submissions, read_submission
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.results import Results, submission_key, tests_key
from dlip_reg.grading.roster import assign
from dlip_reg.grading.student import Submission

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
    roster: Sequence[str] | None = None,
    workers: int = 1,
    seed: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Graded:
    """Mark every submission in the folder, `workers` at a time.

    Each one's marks are in `results` as soon as they are there. GradingError where nothing can be
    graded: no submissions, tests that cannot be collected, walls too weak.
    """
    assigned = assign(find_submissions(submissions), roster)
    seed = results.seed(seed)
    key = tests_key(setting)
    done: list[Marks] = [
        Marks(student, (), notes=(sentence,), verdict_without_tests="rejected")
        for student, sentence in assigned.unsettled.items()
    ]
    problems = list(assigned.problems)
    waiting: list[tuple[Submission, str]] = []
    sources: dict[str, bytes] = {}
    for student, path in assigned.of_student.items():
        try:
            submission = replace(read_submission(path), name=student)
        except BadSubmission as error:
            problems.append(str(error))
            done.append(Marks(student, (), notes=(str(error),), verdict_without_tests="rejected"))
            continue
        sources[student] = submission.files.get(submission.main, b"")
        own = submission_key(submission, f"{key} {seed}")
        kept = results.kept(student, own)
        if kept is None:
            waiting.append((submission, own))
        else:
            done.append(kept)
    fresh = _marked(waiting, results, setting, seed, workers, progress, len(done))
    everything = [*done, *fresh]
    max_score = max((marks.max_score for marks in everything), default=0.0)
    everything += [Marks(student, ()) for student in assigned.absent]
    for marks in everything:
        results.save(marks)
    everything.sort(key=lambda marks: marks.student)
    return Graded(tuple(everything), len(fresh), sources, tuple(problems), max_score)


def _marked(
    waiting: Sequence[tuple[Submission, str]],
    results: Results,
    setting: Setting,
    seed: str,
    workers: int,
    progress: Progress,
    before: int,
) -> list[Marks]:
    """The marks of all that wait, each saved when it is there; every thread has its own worker."""
    if not waiting:
        return []
    graders = [Grader(setting, seed) for _ in range(min(workers, len(waiting)))]
    free = list(graders)
    own = threading.local()

    def start() -> None:
        own.grader = free.pop()

    def mark(submission: Submission, key: str) -> Marks:
        marks = replace(own.grader.grade(submission), key=key)
        results.save(marks)
        return marks

    total = before + len(waiting)
    progress(before, total)
    pool = ThreadPoolExecutor(len(graders), initializer=start)
    try:
        graders[0].collect()
        futures = [pool.submit(mark, *item) for item in waiting]
        for number, future in enumerate(as_completed(futures), before + 1):
            future.result()
            progress(number, total)
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for grader in graders:
            grader.stop()
        raise
    finally:
        pool.shutdown()
        for grader in graders:
            grader.close()


def mark_one(path: Path, setting: Setting, seed: str) -> Marks:
    """The marks of one submission; GradingError where it cannot be read or graded."""
    submission = read_submission(path)
    with Grader(setting, seed) as grader:
        grader.collect()
        return grader.grade(submission)


__all__ = ["Graded", "GradingError", "grade_folder", "mark_one"]
