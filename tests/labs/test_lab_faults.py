"""Runs that fail, die or diverge, and workers elsewhere: one sentence, or a report that says so."""

import json
import re
from collections import Counter
from subprocess import CompletedProcess

import pytest
from lab_process import assert_one_sentence, contents, rows, write_mnist
from warm_processes import run_script

from dlip_reg.cli import main
from dlip_reg.experiments import executors


def run_altered(lab, fault, out):
    return lab.run(*lab.arguments, "--out", out, "--workers", 1, fault=fault)


@pytest.mark.parametrize(
    ("fault", "said"), [("in vain", "no room for the images"), ("dying", "could build")]
)
def test_where_nothing_can_be_measured_the_cause_is_told(lab, tmp_path, fault, said):
    out = tmp_path / "out"
    done = run_altered(lab, fault, out)
    assert done.returncode == 1
    *progress, line = done.stderr.splitlines()
    assert said in line and line.endswith(".") and "nobody reads" not in line
    assert all(" runs" in text for text in progress)
    assert set(contents(out)) <= {"folder.json", "timings.csv"}


@pytest.mark.thorough
def test_what_could_not_be_measured_is_reported_as_such(lab, tmp_path, open_report):
    out = tmp_path / "out"
    done = run_altered(lab, "no good end", out)
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads((out / "claims.json").read_text())
    assert (claim["effect"], claim["n_seeds"], claim["verdict"]) == (None, 0, None)
    ended = Counter(row["status"] for row in rows(out / "records.csv"))
    assert set(ended) == {"failed", "diverged"}
    notes = (
        rf"\b{ended['failed']} runs? failed: MemoryError: no room for the images\.",
        rf"\b{ended['diverged']} runs? diverged",
    )
    page = open_report(out)
    page.assert_whole_and_offline()
    for text in (done.stdout, page.text):
        assert all(re.search(note, text) for note in notes)
    assert "not measured" in page.text


def test_data_smaller_than_the_preset_needs_is_one_sentence(lab, tmp_path):
    write_mnist(tmp_path)
    # At its own size the quick preset wants more.
    data = ("--dataset", "mnist", "--data-dir", tmp_path)
    done = run_script(lab.script, *lab.arguments, *data, "--out", tmp_path / "out")
    line = assert_one_sentence(done, 2)
    assert "quick" in line and "mnist" in line and "30" in line  # 10 have to be left to train on
    assert set(contents(tmp_path)) == {"mnist.npz"}


def test_a_scheduler_that_is_not_there_is_one_sentence(lab, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(executors, "_TIMEOUT", 1)  # not ten seconds
    # Port 1 of the loopback: nobody listens there.
    place = ("--out", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:1")
    status = main(lab.lab, [*lab.arguments, *place])
    done = CompletedProcess(place, status, *capsys.readouterr())
    assert "tcp://127.0.0.1:1" in assert_one_sentence(done, 2)
    assert not contents(tmp_path)
