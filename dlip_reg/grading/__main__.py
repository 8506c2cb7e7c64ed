"""`python -m dlip_reg.grading check FILE`, `grade SUBMISSIONS` and `assign MASTER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dlip_reg.files import path_argument as path
from dlip_reg.streams import guard_output

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_WORKER_MEMORY = 2**31  # bytes, with a worker's children
_ROOT = Path(__file__).resolve().parents[2]
_HAND_OUT = _ROOT / "labs" / "assignment"
_TESTS = _ROOT / "tests" / "grading" / "assignment"


@guard_output
def main(arguments: Sequence[str] | None = None, prog: str = "python -m dlip_reg.grading") -> int:
    """0: done. 1: it could not be done. 2: the input has to change. 130: interrupted."""
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    from dlip_reg.extras import MissingExtraError, require_extra
    from dlip_reg.grading.errors import GraderError, GradingError

    try:
        require_extra("grading", "The grader")
        return int(options.command(options))
    except KeyboardInterrupt:
        print("\nStopped. The marks made so far are kept.", file=sys.stderr)
        return INTERRUPTED
    except (GradingError, MissingExtraError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # see `guard_output`
        raise
    except (GraderError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Marks submissions of the assignment.")
    commands = parser.add_subparsers(required=True, metavar="check | grade | assign")
    check = commands.add_parser("check", help="run the public tests on your own submission")
    add = check.add_argument
    add("file", type=path, help="submission.py, a notebook, a folder or an archive")
    add("--tests", type=path, help="the public tests (default: public_tests in or beside FILE)")
    check.set_defaults(command=_check)
    grade = commands.add_parser("grade", help="mark a folder of submissions")
    add = grade.add_argument
    add("submissions", type=path, help="a folder with one entry a student, named after the student")
    add("--single", action="store_true", help="SUBMISSIONS is one student's: a folder or a file")
    add("--out", type=path, required=True, help="where the marks go")
    add("--roster", type=path, help="the course system's, or a CSV file with a column student")
    add("--workers", type=_count, help="submissions at a time (default: as cores and memory allow)")
    add("--zero-missing", action="store_true", help="0 for who handed in nothing, not empty")
    add("--tests", type=path, default=_TESTS, help="another folder of tests")
    add("--canvas", type=path, help="a gradebook that Canvas exported")
    add("--canvas-assignment", metavar="TITLE", help="its column to fill in, if it has several")
    add("--moodle", type=path, help="a grading worksheet that Moodle exported")
    add("--hand-out", metavar="URL", default="", help="where a student's page leads: URL#task-1")
    add("--seed", default="", help="of the random inputs (default: a new one for each run)")
    add("--allow-weak", action="store_true", help="grade where student code cannot be isolated")
    grade.set_defaults(command=_grade)
    assign = commands.add_parser("assign", help="make all of an assignment from one master")
    assign.add_argument("master", type=path, help="a .py file, a notebook, or a folder with one")
    assign.add_argument("--out", type=path, required=True, help="where the assignment goes")
    assign.set_defaults(command=_assign)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _check(options: argparse.Namespace) -> int:
    print(f"Running the public tests on {options.file.resolve().name} ...", flush=True)
    import secrets
    import textwrap

    from dlip_reg.grading.assign import PUBLIC_TESTS
    from dlip_reg.grading.errors import GradingError
    from dlip_reg.grading.grader import Grader, Setting
    from dlip_reg.grading.intake import import_fault, read_submission
    from dlip_reg.grading.isolation.tiers import WEAK
    from dlip_reg.grading.marks import messages_once, number

    # In a folder to be checked, else beside the file.
    folders = (options.file, options.file.resolve().parent, _HAND_OUT)
    places = [folder / PUBLIC_TESTS for folder in folders]
    tests = options.tests or next(filter(Path.is_dir, places), places[-1])
    if not tests.is_dir():
        raise GradingError(
            f"There is no folder of tests at {tests}: the hand-out has one, called {PUBLIC_TESTS}; "
            "put it beside your file, or name it with --tests."
        )
    submission = read_submission(options.file)
    if fault := import_fault(submission):  # said at once: to start the sandbox takes seconds
        print(f"Your file cannot be imported, so no test was run. {fault}")
        return FAILED
    setting = Setting(tests, allow_weak=True, public_only=True)
    with Grader(setting, secrets.token_hex(8)) as grader:
        grader.collect()
        marks = grader.grade(submission)
    if marks.tier:
        print(f"Isolation of your code: {marks.tier}.")
    if marks.tier == WEAK:
        print("It may use the network, programs and other files here, which grading may refuse.")
    for note in marks.notes:
        print(note)
    for test, message in zip(marks.tests, messages_once(marks.tests), strict=True):
        print(f"{number(test.score):>5} / {test.max_score:g}  {test.verdict:8}  {test.title}")
        if message and test.verdict != "passed":
            print(textwrap.indent(message, " " * 11))
    print(f"{number(marks.score)} of {marks.max_score:g} points in the public tests.")
    return DONE if marks.score is not None else FAILED


def _grade(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from dlip_reg.grading.errors import GradingError
    from dlip_reg.grading.exports.formats import filled_tables
    from dlip_reg.grading.exports.write import write_all
    from dlip_reg.grading.folders import require_outside
    from dlip_reg.grading.grade import grade_folder, named
    from dlip_reg.grading.grader import Setting
    from dlip_reg.grading.intake import find_submissions
    from dlip_reg.grading.marks import NEEDS_STAFF
    from dlip_reg.grading.results import Results
    from dlip_reg.grading.roster import read_roster

    if not options.tests.is_dir():
        raise GradingError(
            f"There is no folder of tests at {options.tests}: --tests names one. The hidden tests "
            "of labs/assignment are not installed with the package but in the repository's "
            "tests/grading/assignment."
        )
    if options.workers is None:
        from dlip_reg.training.process import default_workers  # which no autograder has

        options.workers = default_workers(_WORKER_MEMORY)
    roster = read_roster(options.roster) if options.roster else None
    filled_tables(options.canvas, options.canvas_assignment, options.moodle)
    find_submissions(options.submissions, options.single)  # before there is an OUT
    require_outside(options.out, options.submissions, options.tests)
    secret = options.submissions, options.out
    setting = Setting(options.tests, allow_weak=options.allow_weak, secret=secret)
    with Results(options.out) as results, Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("Grading", total=None)
        graded = grade_folder(
            options.submissions,
            results,
            setting,
            roster=roster,
            single=options.single,
            zero_missing=options.zero_missing,
            workers=options.workers,
            seed=options.seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        problems = write_all(
            options.out,
            graded,
            canvas=options.canvas,
            canvas_assignment=options.canvas_assignment,
            moodle=options.moodle,
            hand_out=options.hand_out,
        )
    students = "1 student" if len(graded.marks) == 1 else f"{len(graded.marks)} students"
    for verdict in NEEDS_STAFF:
        if found := [each.student for each in graded.marks if each.verdict == verdict]:
            problems = (*problems, f"{verdict.capitalize()}: {named(found)}.")
    print(*problems, f"{students}, {graded.anew} graded now.", sep="\n")
    for tier in sorted({each.tier for each in graded.marks if each.tier}):
        print(f"Isolation of student code: {tier}.")
    print(f"{options.out / 'overview.html'} shows what needs staff.")
    return DONE


def _assign(options: argparse.Namespace) -> int:
    from dlip_reg.grading.assign import assign

    print(assign(options.master, options.out))
    print(f"{options.out / 'student'} is for students, {options.out / 'staff'} for grade --tests.")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
