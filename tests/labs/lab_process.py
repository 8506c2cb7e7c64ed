"""Runs the regularization lab as a student does, in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
LAB = ROOT / "labs" / "lab_regularization.py"
# The smallest real run: two methods, one seed.
TINY = ("--preset", "quick", "--seeds", "1", "--claims", "reg-dropout-weights")
TINY_RUNS = 7  # none and dropout at 4 rates, then each method's winner
PATIENCE = 300  # seconds; a busy machine is no failure


def run_lab(*arguments, script=LAB, **options):
    """The finished process, with its output as text."""
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False, **options,
    )  # fmt: skip


def run_tiny(out, *arguments, **options):
    """A tiny run into `out` that has to end well."""
    done = run_lab(*TINY, "--out", out, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


def start_tiny(out, *arguments):
    """A tiny run into `out`, started as the leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, LAB, *TINY, "--out", out, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True,
    )  # fmt: skip


def records(out):
    """The names of the records that are there."""
    return {path.stem for path in (out / "records").glob("*.json")}


def wait_for(condition, process=None):
    """Returns when `condition()` holds; fails where `process` ends first, or after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive_in_group(group):
    """The processes of a process group that are not merely waiting to be reaped."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except ProcessLookupError:
            pass
    return found


def assert_one_sentence(done, status):
    """It ended with that exit status and one sentence on stderr."""
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.endswith(".")
    return line


def contents(folder):
    """Every file below `folder`: its path there and its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
