"""A lab that is stopped, killed or spread over a cluster ends with the same records."""

import os
import random
import signal

import pytest
from lab_process import PATIENCE, interrupt, kill_after, records, rows, wait_for
from warm_processes import start_cold, warm_cluster

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def uninterrupted(tiny):
    """The folder of a run that nothing disturbed."""
    return tiny[0]


def assert_the_same_results(out, uninterrupted):
    for name in ("records.csv", "claims.json", "report.html"):
        assert (out / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_killed_it_loses_only_the_runs_in_flight(lab, tmp_path, uninterrupted):
    out, draw = tmp_path / "out", random.Random(0)
    runs = len(records(uninterrupted))
    numbers = sorted(draw.randrange(runs) for _ in range(2))
    # With one worker and with two by turns: what was finished with either counts for both.
    for number, workers, parent_only in zip(numbers, (1, 2), (False, True), strict=True):
        process = lab.start_tiny(out, "--workers", workers)
        kill = os.kill if parent_only else os.killpg
        kill_after(process, lambda: records(out), number, draw.uniform(0, 1.5), kill)
    lab.run_tiny(out, "--workers", 1)
    assert_the_same_results(out, uninterrupted)
    ended = [row["id"] for row in rows(out / "timings.csv")]
    assert len(ended) == len(set(ended))  # nothing ran twice


@pytest.mark.parametrize("moment", ["a worker starts", "runs are under way"])
def test_ctrl_c_says_in_one_line_how_to_resume(lab, tmp_path, moment):
    out = tmp_path / "out"
    if moment == "a worker starts":
        process = lab.start_tiny(out, start=start_cold)
        process.stdout.readline()  # the second worker is started next
    else:
        process = lab.start_tiny(out)
        wait_for(lambda: records(out), process)
    interrupt(process, out)


def test_a_cluster_that_loses_a_worker_gives_the_same_records(lab, tmp_path, uninterrupted):
    out = tmp_path / "out"
    with warm_cluster(2) as cluster:
        process = lab.start_tiny(out, "--scheduler", cluster.scheduler_address)
        wait_for(lambda: len(records(out)) >= 2, process)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert_the_same_results(out, uninterrupted)
