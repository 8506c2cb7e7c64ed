"""A lab that is stopped, killed or spread over a cluster ends with the same records."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_process import alive_in_group, contents, records, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def uninterrupted(lab, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    lab.run_tiny(out)
    return out


def assert_the_same_results(out, uninterrupted):
    for name in ("records.csv", "claims.json", "report.html"):
        assert (out / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def kill_after(lab, out, number, delay, *arguments, parent_only=False):
    """Start the lab and kill -9 it, `delay` seconds after it has `number` records in all."""
    process = lab.start_tiny(out, *arguments)
    wait_for(lambda: len(records(out)) >= number or process.poll() is not None)
    time.sleep(delay)
    kept = records(out)
    kill, target = (os.kill if parent_only else os.killpg), process.pid
    kill(target, signal.SIGKILL)
    process.communicate(timeout=60)
    # Where only the parent was killed its workers have to notice.
    wait_for(lambda: not alive_in_group(process.pid))
    assert kept <= records(out)


@pytest.mark.costly
def test_killed_it_loses_only_the_runs_in_flight(lab, tmp_path, uninterrupted):
    out, draw = tmp_path / "out", random.Random(0)
    runs = len(records(uninterrupted))
    numbers = sorted(draw.randrange(runs) for _ in range(2))
    # With one worker and with two by turns: what was finished with either counts for both.
    for number, workers, parent_only in zip(numbers, (1, 2), (False, True), strict=True):
        delay = draw.uniform(0, 1.5)
        kill_after(lab, out, number, delay, "--workers", workers, parent_only=parent_only)
    lab.run_tiny(out, "--workers", 1)
    assert_the_same_results(out, uninterrupted)
    with (out / "timings.csv").open(newline="") as file:
        ended = [row["id"] for row in csv.DictReader(file)]
    assert len(ended) == len(set(ended))  # no run that was finished ran again


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twenty_moments_it_ends_the_same(lab, tmp_path, uninterrupted, workers):
    out, draw = tmp_path / "out", random.Random(workers)
    runs = len(records(uninterrupted))
    for number in sorted(draw.randrange(runs + 1) for _ in range(20)):
        kill_after(lab, out, number, draw.uniform(0, 8), "--workers", workers)
    lab.run_tiny(out, "--workers", workers)
    assert_the_same_results(out, uninterrupted)


@pytest.mark.parametrize("moment", ["a worker starts", "runs are under way"])
@pytest.mark.costly
def test_ctrl_c_says_in_one_line_how_to_resume(lab, tmp_path, moment):
    out = tmp_path / "out"
    process = lab.start_tiny(out)
    if moment == "a worker starts":
        process.stdout.readline()  # the second worker is started next
    else:
        wait_for(lambda: records(out), process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    *progress, line = [line for line in errors.splitlines() if line.strip()]
    assert str(out) in line and "same command" in line
    assert all(" runs" in text for text in progress)
    wait_for(lambda: not alive_in_group(process.pid))
    assert not [name for name in contents(out) if name.endswith((".part", ".tmp"))]


@pytest.mark.costly
def test_a_cluster_that_loses_a_worker_gives_the_same_records(lab, tmp_path, uninterrupted):
    out = tmp_path / "out"
    script = Path(__file__).with_name("local_cluster.py")
    with subprocess.Popen(
        [sys.executable, script], encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as cluster:  # fmt: skip
        address, *workers = cluster.stdout.readline().split()
        process = lab.start_tiny(out, "--scheduler", address)
        wait_for(lambda: len(records(out)) >= 2, process)
        os.kill(int(workers[0]), signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        cluster.stdin.close()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert_the_same_results(out, uninterrupted)
