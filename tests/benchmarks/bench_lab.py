"""How long a lab's preset takes from start to report, and how much memory all its processes use.

python tests/benchmarks/bench_lab.py lab_regularization --preset quick --repetitions 3

Each repetition runs the script as a student does, into a new folder and with other seeds. Printed
are each repetition's wall time, CPU time and peak memory (the sum over all processes of what each
has for itself and its share of what they have in common), then their median and range. Nothing else
should run on the machine.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from machine import begin, spread

EVERY = 15  # seconds: reading the memory of large processes slows them
LABS = Path(__file__).parents[2] / "labs"


def memory_of(process):
    """Proportional set size of the process and its children, in GB."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            info = one.memory_full_info()
            total += getattr(info, "pss", info.rss)
        except psutil.Error:
            continue
    return total / 1e9


def run(script, arguments, out):
    """Seconds, CPU seconds and peak GB of one run, and its claims."""
    command = [sys.executable, script, *arguments, "--out", str(out)]
    start = time.monotonic()
    before = psutil.cpu_times()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process, peak = psutil.Process(child.pid), 0.0
    while child.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(EVERY)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {child.returncode}.")
    after = psutil.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return time.monotonic() - start, cpu, peak, json.loads((out / "claims.json").read_text())


def main():
    options = begin(
        __doc__, lab=..., preset="quick", repetitions=3, first_seed=0, keep=Path
    )  # fmt: skip
    rows = []
    for repetition in range(options.repetitions):
        with tempfile.TemporaryDirectory() as folder:
            first = options.first_seed + 100 * repetition
            arguments = ["--preset", options.preset, "--first-seed", str(first)]
            out = (options.keep or Path(folder)) / f"seeds-{first}"
            *numbers, claims = run(LABS / f"{options.lab}.py", arguments, out)
        rows.append(numbers)
        seconds, cpu, peak = numbers
        verdicts = Counter(claim["verdict"] for claim in claims)
        print(f"{seconds:.0f} s, {cpu:.0f} s of CPU, {peak:.2f} GB; {dict(verdicts)}", flush=True)
    for name, values in zip(("seconds", "CPU seconds", "GB"), zip(*rows, strict=True), strict=True):
        print(f"{name}: {spread(values)}")


if __name__ == "__main__":
    main()
