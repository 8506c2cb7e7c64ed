"""Marks right solutions with many grading seeds, and reports the share of marks that they lose.

    python tests/benchmarks/bench_false_fails.py [--seeds 50] [--first 0] [--workers 2]

The solutions are those of tests/grading/solutions/right.py: every task in at least twelve styles,
all styles combined into a few submissions: modules, notebooks, and with helper modules. The target
is no lost mark in 4,000 solutions of a task times seeds, with the limits that students have, also
on a busy machine. What the hand-out announces (a model with code of its own cannot be loaded
elsewhere) counts as deserved.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from machine import begin

from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.grading.intake import read_submission

TESTS = Path(__file__).resolve().parents[1] / "grading"


def read(number, solution, hand_in):
    """The submission with that number."""
    with tempfile.TemporaryDirectory() as place:
        handed_in = hand_in(solution.text, solution.form, Path(place))
        return replace(read_submission(handed_in), name=str(number))


def main() -> None:
    options = begin(__doc__, seeds=50, first=0, workers=2)
    sys.path.insert(0, str(TESTS))
    from solutions.right import STYLES, combined
    from solutions.solution import POINTS, hand_in

    solutions = list(combined())
    submissions = [read(number, each, hand_in) for number, each in enumerate(solutions)]
    started, lost, marked = time.perf_counter(), 0.0, 0
    with Grader(Setting(TESTS / "assignment"), "", options.workers) as grader:
        for seed in range(options.first, options.first + options.seeds):
            grader.seed = f"seed {seed}"
            for marks in grader.grade_all(submissions):
                solution = solutions[int(marks.student)]
                marked += len(solution.parts)
                if marks.score is None:
                    raise SystemExit(f"seed {seed}: {marks.verdict} {marks.notes}")
                for test in marks.tests:
                    missing = test.max_score - test.score - solution.lost.get(test.name, 0)
                    if missing > 1e-6:
                        lost += missing
                        styles = ", ".join(part.name for part in solution.parts)
                        print(f"seed {seed}: {test.name} -{missing:g} ({styles}): {test.message}")
    possible = options.seeds * len(solutions) * sum(POINTS.values())
    styles = sum(map(len, STYLES))
    seconds = time.perf_counter() - started
    print(
        f"{styles} styles in {len(solutions)} submissions, {options.seeds} seeds: "
        f"{marked} solutions of a task marked in {seconds:.0f} s"
    )
    print(f"Marks lost: {lost:g} of {possible:g} ({lost / possible:.2%})")


if __name__ == "__main__":
    main()
