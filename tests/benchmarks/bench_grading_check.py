"""Times `check`, which students run again and again: its first words, and all of it.

    python tests/benchmarks/bench_grading_check.py [--repeats 3]

The targets, on two cores: first words after 1 s, all after 8 s for the reference solution, and
after 3 s for a submission that imports a module that is not there.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import begin, spread

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "tests" / "grading" / "assignment" / "submission.py").read_text("utf-8")
SUBMISSIONS = {"reference": REFERENCE, "import error": f"import no_such_module\n{REFERENCE}"}
TESTS = ROOT / "labs" / "assignment" / "public_tests"


def seconds_of_check(text: str) -> tuple[float, float, str]:
    """Seconds until `check` says something, until it has ended, and its last line."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "submission.py")
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "dlip_reg.grading", "check", file, "--tests", TESTS]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            process.stdout.readline()
            first = time.perf_counter() - started
            lines = process.stdout.read().splitlines()
        return first, time.perf_counter() - started, lines[-1]


def main() -> None:
    options = begin(__doc__, repeats=3)
    for name, text in SUBMISSIONS.items():
        found = [seconds_of_check(text) for _ in range(options.repeats)]
        firsts, wholes, lines = zip(*found, strict=True)
        print(f"{name:14} first words {spread(firsts)} s, all {spread(wholes)} s: {lines[0]}")


if __name__ == "__main__":
    main()
