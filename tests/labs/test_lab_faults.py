"""Runs that fail, die or diverge, and workers elsewhere: one sentence, or a report that says so."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from lab_process import TINY, assert_one_sentence, contents, run_lab

ALTERED_LAB = Path(__file__).with_name("altered_lab.py")


def run_altered(fault, out):
    return run_lab(fault, *TINY, "--out", out, "--workers", 1, script=ALTERED_LAB)


@pytest.mark.parametrize(
    ("fault", "said"), [("in vain", "no room for the images"), ("dying", "lenet5")]
)
def test_where_nothing_can_be_measured_the_cause_is_told(tmp_path, fault, said):
    out = tmp_path / "out"
    done = run_altered(fault, out)
    assert done.returncode == 1
    *progress, line = done.stderr.splitlines()
    assert said in line and line.endswith(".") and "nobody reads" not in line
    assert [text.split()[0] for text in progress] in ([], ["runs"])  # the progress display
    assert set(contents(out)) <= {"folder.json", "timings.csv"}


@pytest.mark.parametrize(
    ("fault", "note"),
    [("dropout only", "1 run failed: MemoryError: no room for the images."), ("diverging", None)],
)
def test_what_could_not_be_measured_is_reported_as_such(tmp_path, open_report, fault, note):
    out = tmp_path / "out"
    done = run_altered(fault, out)
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads((out / "claims.json").read_text())
    assert (claim["effect"], claim["n_seeds"], claim["verdict"]) == (None, 0, "undecided")
    with (out / "records.csv").open(newline="") as file:
        counts = {}
        for row in csv.DictReader(file):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
    if note is None:
        runs = counts["diverged"]
        assert runs > 1
        note = f"{runs} runs diverged"
    else:
        assert counts["failed"] == 1
    assert note in done.stdout
    page = open_report(out)
    page.assert_whole_and_offline()
    assert note in page.text and "not measured" in page.text


def test_data_smaller_than_the_preset_needs_is_one_sentence(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, size in (("train", 600), ("test", 200)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (size, 28, 28), np.uint8)
        arrays[f"y_{split}"] = np.arange(size) % 10
    np.savez(tmp_path / "mnist.npz", **arrays)
    done = run_lab(*TINY, "--dataset", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "out")
    line = assert_one_sentence(done, 2)
    assert "quick" in line and "mnist" in line and "590" in line  # 10 have to be left to train on
    assert set(contents(tmp_path)) == {"mnist.npz"}


def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path):
    # Port 1 of the loopback: nobody listens there.
    done = run_lab(*TINY, "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    assert "tcp://127.0.0.1:1" in assert_one_sentence(done, 2)
    assert not contents(tmp_path)
