"""Grades honest submissions with the fork server and, for comparison, in a fresh process each.

    python tests/benchmarks/bench_grading.py [--submissions 200] [--fresh 6] [--workers 2]
                                             [--attacks 20]

Both ways run the same marking tests on the reference solution, as many at a time as there are
workers. The targets: 200 submissions within 150 s on two cores, and at least 6 times as many per
minute as with a fresh process (one that imports TensorFlow) for every child.

Then hostile submissions are graded by the grader's own tiny assignment, each before two honest
ones. The target: the first of them takes at most 10 % longer than the second.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from machine import begin, spread

from dlip_reg.grading.grade import grade_folder
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.results import Results

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "grading" / "assignment"
REFERENCE = TESTS / "submission.py"


def seconds_for(count: int, workers: int, tier: str | None) -> tuple[float, list[float], str]:
    """Seconds for `count` honest submissions, those of each, and the tier."""
    with tempfile.TemporaryDirectory() as place:
        submissions = Path(place, "submissions")
        submissions.mkdir()
        source = REFERENCE.read_text(encoding="utf-8")
        for number in range(count):
            # Each is another text, as students' are.
            (submissions / f"student{number:03}.py").write_text(f"{source}\n# {number}\n")
        with Results(Path(place, "out")) as results:
            started = time.perf_counter()
            setting = Setting(TESTS, tier=tier, allow_weak=tier == "weak")
            graded = grade_folder(submissions, results, setting, workers=workers)
            seconds = time.perf_counter() - started
    wrong = [marks for marks in graded.marks if marks.score != marks.max_score]
    if wrong:
        bad = [test for test in wrong[0].tests if test.verdict != "passed"]
        raise SystemExit(f"{len(wrong)} honest submissions lost points: {bad or wrong[0]}")
    return seconds, [marks.seconds for marks in graded.marks], graded.marks[0].tier


def seconds_after(count: int, place: Path) -> tuple[list[float], list[float]]:
    """Seconds of the first and of the second honest submission after each of `count` attacks."""
    sys.path.insert(0, str(ROOT / "tests" / "grader"))
    import attacks_on_the_machine
    import attacks_on_the_marks
    from tiny_assignment import attacking, honest_submission, tiny_setting, write_tests

    bodies = [*(attacks_on_the_machine.ATTACKS | attacks_on_the_marks.ATTACKS).values()]
    firsts, seconds = [], []
    top = f"CANARY, TESTS = {str(place / 'canary' / 'written')!r}, {str(place)!r}\n"
    (place / "canary").mkdir()
    with Grader(tiny_setting(write_tests(place / "tests")), "a seed") as grader:
        grader.grade(honest_submission())
        for body in bodies[:: max(1, len(bodies) // count)]:
            grader.grade(attacking(body, top))
            firsts.append(grader.grade(honest_submission()).seconds)
            seconds.append(grader.grade(honest_submission()).seconds)
    return firsts, seconds


def main() -> None:
    options = begin(__doc__, submissions=200, fresh=6, workers=2, attacks=20)
    rates = {}
    for name, count, tier in (
        ("fork server", options.submissions, None),
        ("fresh process", options.fresh, "weak"),
    ):
        if not count:
            continue
        seconds, each, found = seconds_for(count, options.workers, tier)
        rates[name] = seconds / count
        print(
            f"{name:14} {count:4} submissions ({found}) in {seconds:7.1f} s:"
            f" {rates[name]:.2f} s each, one alone {spread(each)} s"
        )
    if len(rates) == 2:
        print(f"fresh / fork: {rates['fresh process'] / rates['fork server']:.1f}")
    if options.attacks:
        with tempfile.TemporaryDirectory() as place:
            firsts, seconds = seconds_after(options.attacks, Path(place))
        ratio = statistics.median(a / b for a, b in zip(firsts, seconds, strict=True))
        print(f"after an attack {spread(firsts)} s, later {spread(seconds)} s: {ratio:.2f} times")


if __name__ == "__main__":
    main()
