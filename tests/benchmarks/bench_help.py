"""How long all labs take to answer without training: the target is under 0.4 seconds.

python tests/benchmarks/bench_help.py [--repetitions 20]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from machine import describe, spread

LAB = Path(__file__).parents[2] / "labs" / "lab_all.py"
TARGET = 0.4  # seconds
COMMANDS = {
    "a bare interpreter": ["-c", "pass"],
    "--help": [LAB, "--help"],
    "--list-claims": [LAB, "--list-claims"],
    "--seeds 0 (an error)": [LAB, "--seeds", "0"],
}


def seconds(command: list) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=20)
    repetitions = parser.parse_args().repetitions
    print(describe("numpy"))
    for command in COMMANDS.values():
        seconds(command)  # reads the files from disk, and compiles them
    times = {name: [] for name in COMMANDS}
    for _ in range(repetitions):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    print(f"\nseconds, median (min to max) of {repetitions}; target: under {TARGET}")
    for name, taken in times.items():
        print(f"{name:22} {spread(taken, 3)}")


if __name__ == "__main__":
    main()
