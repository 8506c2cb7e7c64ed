"""A lab that is killed before, at and between its looks ends with the same records and verdicts."""

import json
import os
import random
from pathlib import Path

import pytest
from lab_process import kill_after, records
from warm_processes import run_script, start_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals"),
]
TOY_LAB = Path(__file__).with_name("toy_lab.py")


def arguments(out, workers):
    return "chance", "--out", out, "--workers", workers


def contents(out):
    """Everything that has to be the same: the records and what is computed from them."""
    files = [*(out / "records").glob("*.json"), out / "claims.json", out / "records.csv"]
    return {path.name: path.read_bytes() for path in [*files, out / "report.html"]}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What a run that nothing disturbed leaves."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    done = run_script(TOY_LAB, *arguments(out, 2))
    assert done.returncode == 0, done.stderr
    return contents(out)


def test_the_lab_goes_through_all_looks_for_the_undecided_claim_alone(uninterrupted):
    claims = {claim["id"]: claim for claim in json.loads(uninterrupted["claims.json"])}
    rates, noise = claims["chance-rates"], claims["chance-noise"]
    assert (rates["look"], rates["n_seeds"]) == (5, 5)
    assert (noise["verdict"], noise["look"], noise["n_seeds"]) == ("undecided", None, 20)
    assert sum(name.endswith(".json") for name in uninterrupted) == 1 + 5 + 20


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twelve_moments_it_ends_the_same(tmp_path, workers, uninterrupted):
    out, draw = tmp_path / "out", random.Random(workers)
    runs = len(uninterrupted) - 3
    # Each look's last run and the report after it, and moments anywhere.
    last_of_looks = (9, 10, 14, 15, 24, 25)
    moments = sorted([*last_of_looks, *(draw.randrange(runs) for _ in range(6))])
    for number in moments:
        process = start_script(TOY_LAB, *arguments(out, workers))
        kill_after(process, lambda: records(out), number, draw.uniform(0, 0.5))
    done = run_script(TOY_LAB, *arguments(out, workers))
    assert done.returncode == 0, done.stderr
    assert contents(out) == uninterrupted
