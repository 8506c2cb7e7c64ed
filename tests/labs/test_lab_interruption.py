"""A lab that is stopped, killed or spread over a cluster ends with the same records."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from further_cases import thorough_after
from lab_process import PATIENCE, interrupt, kill_after, records, rows
from waiting import alive_in_group, wait_for
from warm_processes import run_script, start_cold, start_script, warm_cluster

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
TOY_LAB = Path(__file__).with_name("toy_lab.py")


@pytest.fixture(scope="module")
def whole(lab, tiny, tmp_path_factory):
    """The folder of a tiny run that nobody disturbed, with blank pictures as those here."""
    out = tmp_path_factory.mktemp("whole") / "out"
    shutil.copytree(tiny[0], out)
    lab.run_tiny(out, fault="blank pictures")
    return out


def assert_the_same_results(out, uninterrupted):
    """The records and what is computed from them."""
    kept = [*(uninterrupted / "records").glob("*.json"), uninterrupted / "records.csv"]
    kept += [uninterrupted / "claims.json", uninterrupted / "report.html"]
    for path in kept:
        assert (out / path.relative_to(uninterrupted)).read_bytes() == path.read_bytes(), path
    assert records(out) == records(uninterrupted)


@pytest.mark.thorough
def test_killed_it_loses_only_the_runs_in_flight(lab, tmp_path, whole):
    out, draw = tmp_path / "out", random.Random(0)
    runs = len(records(whole))
    numbers = sorted(draw.randrange(runs) for _ in range(2))
    # With one worker and with two by turns: what was finished with either counts for both.
    for number, workers, parent_only in zip(numbers, (1, 2), (False, True), strict=True):
        process = lab.start_tiny(out, "--workers", workers)
        kill = os.kill if parent_only else os.killpg
        kill_after(process, lambda: records(out), number, draw.uniform(0, 1.5), kill)
    lab.run_tiny(out, "--workers", 1, fault="blank pictures")
    assert_the_same_results(out, whole)
    ended = [row["id"] for row in rows(out / "timings.csv")]
    assert len(ended) == len(set(ended))  # nothing ran twice


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_before_at_and_between_its_looks_it_ends_the_same(tmp_path, workers):
    whole, out, draw = tmp_path / "whole", tmp_path / "out", random.Random(workers)

    def arguments(folder, workers):
        return TOY_LAB, "chance", "--out", folder, "--workers", workers

    assert run_script(*arguments(whole, 2)).returncode == 0
    claims = json.loads((whole / "claims.json").read_text())
    assert [(claim["look"], claim["n_seeds"]) for claim in claims] == [(5, 5), (None, 20)]
    # The undecided claim alone goes through all looks, and needs one of the two arms.
    runs = len(records(whole))
    assert runs == 5 + 20
    # Each look's last run and the report after it, and moments anywhere.
    last_of_looks = (9, 10, 14, 15, 24, 25)
    for number in sorted([*last_of_looks, *(draw.randrange(runs) for _ in range(6))]):
        process = start_script(*arguments(out, workers))
        kill_after(process, lambda: records(out), number, draw.uniform(0, 0.5))
    assert run_script(*arguments(out, workers)).returncode == 0
    assert_the_same_results(out, whole)


MOMENTS = ["runs are under way", "a worker starts", "a batch system's time is over"]


@pytest.mark.parametrize("moment", thorough_after(1, MOMENTS))
def test_ctrl_c_says_in_one_line_how_to_resume(lab, tmp_path, moment):
    out = tmp_path / "out"
    if moment == "a worker starts":
        process = lab.start_tiny(out, "--workers", 2, start=start_cold)
        process.stdout.readline()  # the second worker is started next
        # The lab, its two workers and their helper.
        wait_for(lambda: len(alive_in_group(process.pid)) >= 4, process)
        time.sleep(0.5)  # the worker is importing
    else:
        process = lab.start_tiny(out)
        wait_for(lambda: records(out), process)
    interrupt(process, out, signal.SIGTERM if moment == MOMENTS[-1] else signal.SIGINT)


@pytest.mark.thorough
def test_a_cluster_that_loses_a_worker_gives_the_same_records(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"

    def arguments(folder, option, value):
        return TOY_LAB, "toy", "--claims", "toy-rates", "--out", folder, option, value

    assert run_script(*arguments(whole, "--workers", 1)).returncode == 0
    assert len(records(whole)) == 10
    with warm_cluster(2) as cluster:
        process = start_script(*arguments(out, "--scheduler", cluster.scheduler_address))
        wait_for(lambda: len(records(out)) >= 2, process)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert_the_same_results(out, whole)
