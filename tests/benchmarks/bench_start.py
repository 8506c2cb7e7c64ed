"""How fast the lab answers before it does anything: --help, --list-claims, a wrong argument.

    python tests/benchmarks/bench_start.py [REPETITIONS]

Whole processes, beside a bare interpreter's start. Target: under 0.4 s.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from timing import print_machine, spread

LAB = Path(__file__).parents[2] / "labs" / "lab_regularization.py"


def seconds(*command: str) -> float:
    """Wall time of one process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    return time.perf_counter() - begin


def main(repetitions: int) -> None:
    """All commands in turn, so that a change of the machine's speed meets all alike."""
    print_machine()
    commands = {
        "bare interpreter": ("-c", "pass"),
        "--help": (str(LAB), "--help"),
        "--list-claims": (str(LAB), "--list-claims"),
        "--preset wrong": (str(LAB), "--preset", "wrong"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            times[name].append(seconds(*command))
    for name, values in times.items():
        print(f"{name:18} {spread(values)} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
