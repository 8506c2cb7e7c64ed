"""A lab that is stopped, killed or spread over a cluster ends with the same records."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from lab_process import PATIENCE, interrupt, kill_after, records, rows
from waiting import alive_in_group, wait_for
from warm_processes import run_script, start_cold, start_script, warm_cluster

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
TOY_LAB = Path(__file__).with_name("toy_lab.py")
RATES = ("--claims", "toy-rates")  # ten runs


def toy(name, out, *arguments):
    """The toy lab of that name into `out`, as arguments of what runs a script."""
    return TOY_LAB, name, "--out", out, *arguments


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of ten runs that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_script(*toy("toy", out, *RATES, "--workers", 1)).returncode == 0
    return out


def assert_the_same_results(out, uninterrupted):
    """The records and what is computed from them."""
    kept = [*(uninterrupted / "records").glob("*.json"), uninterrupted / "records.csv"]
    kept += [uninterrupted / "claims.json", uninterrupted / "report.html"]
    for path in kept:
        assert (out / path.relative_to(uninterrupted)).read_bytes() == path.read_bytes(), path
    assert records(out) == records(uninterrupted)


def test_killed_it_loses_only_the_runs_in_flight(tmp_path, whole):
    out, draw = tmp_path / "out", random.Random(0)
    # With one worker and with two by turns: what was finished with either counts for both.
    for number, workers, kill in ((2, 1, os.killpg), (5, 2, os.kill)):
        process = start_script(*toy("toy", out, *RATES, "--workers", workers))
        kill_after(process, lambda: records(out), number, draw.uniform(0, 0.3), kill)
    assert run_script(*toy("toy", out, *RATES, "--workers", 1)).returncode == 0
    assert_the_same_results(out, whole)
    ended = [row["id"] for row in rows(out / "timings.csv")]
    assert len(ended) == len(set(ended)) == 10  # nothing ran twice


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_before_at_and_between_its_looks_it_ends_the_same(tmp_path, workers):
    whole, out, draw = tmp_path / "whole", tmp_path / "out", random.Random(workers)
    assert run_script(*toy("chance", whole, "--workers", 2)).returncode == 0
    claims = json.loads((whole / "claims.json").read_text())
    assert [(claim["look"], claim["n_seeds"]) for claim in claims] == [(5, 5), (None, 20)]
    # The undecided claim alone goes through all looks, and needs one of the two arms.
    runs = len(records(whole))
    assert runs == 5 + 20
    # Each look's last run and the report after it, and moments anywhere.
    last_of_looks = (9, 10, 14, 15, 24, 25)
    for number in sorted([*last_of_looks, *(draw.randrange(runs) for _ in range(6))]):
        process = start_script(*toy("chance", out, "--workers", workers))
        kill_after(process, lambda: records(out), number, draw.uniform(0, 0.5))
    assert run_script(*toy("chance", out, "--workers", workers)).returncode == 0
    assert_the_same_results(out, whole)


@pytest.mark.parametrize("moment", ["a worker starts", "runs are under way"])
def test_ctrl_c_says_in_one_line_how_to_resume(tmp_path, moment):
    out = tmp_path / "out"
    if moment == "a worker starts":
        process = start_cold(*toy("chance", out, "--workers", 1))
        # The lab, its worker and their helper.
        wait_for(lambda: len(alive_in_group(process.pid)) >= 3, process)
        time.sleep(0.5)  # the worker is importing
    else:
        process = start_script(*toy("chance", out))
        wait_for(lambda: records(out), process)
    interrupt(process, out)


def test_a_cluster_that_loses_a_worker_gives_the_same_records(tmp_path, whole):
    out = tmp_path / "out"
    with warm_cluster(2) as cluster:
        process = start_script(*toy("toy", out, *RATES, "--scheduler", cluster.scheduler_address))
        wait_for(lambda: len(records(out)) >= 2, process)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert_the_same_results(out, whole)
