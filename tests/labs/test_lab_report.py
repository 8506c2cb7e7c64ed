"""What a finished lab leaves behind, and what running it again does."""

import functools
import html
import json
import os
import re
import shutil
import subprocess

import pytest
from further_cases import thorough_after
from lab_process import LABS, MORE, assert_one_sentence, contents, records, rows

from dlip_reg.report.numbers import format_estimate
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM

FILES = {"report.html", "claims.json", "records.csv", "folder.json", "timings.csv"}


@pytest.fixture(scope="module", params=thorough_after(1, [*LABS, "two seeds"]))
def finished(request, lab, tiny_of, tmp_path_factory):
    """A lab, the folder of its run, its claims, and what the terminal showed.

    "two seeds": the other one after one more seed and one more claim.
    """
    if request.param in LABS:
        lab = LABS[request.param]
        out, done = tiny_of(lab)
    else:
        out = tmp_path_factory.mktemp("two_seeds") / "out"
        shutil.copytree(tiny_of(lab)[0], out)
        (out / "figures" / "of_another_claim.png").write_bytes(b"left over")
        wide = {**os.environ, "COLUMNS": "160"}  # a row of the claims in one line
        done = lab.run(*lab.asking(MORE, seeds=2), "--workers", 1, "--out", out, env=wide)
        assert done.returncode == 0, done.stderr
    return lab, out, json.loads((out / "claims.json").read_text(encoding="utf-8")), done


def test_the_folder_holds_what_was_promised(finished):
    _, out, claims, _ = finished
    figures = {path.name for path in (out / "figures").iterdir()}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert {path.name for path in out.iterdir()} == FILES | {"figures", "records"}
    shown = set(re.findall(r'id="figure-(\w+)"', page))
    assert figures == {f"{name}.{kind}" for name in shown for kind in ("png", "svg")}
    for claim in claims:
        assert set(claim["figures"]) <= shown
    table = rows(out / "records.csv")
    assert {row["id"] for row in table} <= records(out)
    assert {row["status"] for row in table} == {"finished"}
    assert {row["id"] for row in rows(out / "timings.csv")} == records(out)


def test_nothing_is_left_in_the_folder_of_temporary_files(lab, tiny_of):
    work = tiny_of(lab)[0].parents[1]
    assert list((work / "temporary").iterdir()) == []


def test_claims_json_says_what_was_asked_and_what_came_out(finished):
    lab, out, claims, _ = finished
    asked = {claim.id: claim for claim in lab.lab.claims}
    seeds = {int(row["seed"]) for row in rows(out / "records.csv")}
    seeds = {seed for seed in seeds if seed < TUNING_SEEDS_FROM}
    for claim in claims:
        assert {"ci_low", "ci_high"} <= set(claim)
        for name in ("sentence", "experiment", "unit", "smallest_effect", "direction"):
            assert claim[name] == getattr(asked[claim["id"]], name)
        assert claim["smallest_effect_source"]
        assert claim["n_seeds"] == len(seeds)
        assert isinstance(claim["effect"], float)
        assert (claim["verdict"], claim["look"]) == (None, None)  # as below 5 seeds it has to be
        controls = asked[claim["id"]].controls
        assert [control["kind"] for control in claim["controls"]] == [c.kind for c in controls]


def test_every_claim_s_estimate_is_on_the_page_and_on_the_terminal(finished):
    _, out, claims, done = finished
    page = (out / "report.html").read_text(encoding="utf-8")
    text = html.unescape(" ".join(re.sub(r"<[^>]*>", " ", page).split()))
    for claim in claims:
        estimate = format_estimate(claim["effect"], claim["ci_low"], claim["ci_high"])
        assert f"{claim['id']} {estimate} {claim['unit']}" in " ".join(done.stdout.split())
        assert f"{estimate} {claim['unit']}" in text
        for control in claim["controls"]:
            assert control["description"].rstrip(".") in text


def test_the_report_opens_whole_and_offline(finished, open_report):
    _, out, claims, _ = finished
    page = open_report(out)
    page.assert_whole_and_offline()
    assert page.overflow == 0
    assert (out / "report.html").stat().st_size < 6e6
    assert len(page.images) == len(list((out / "figures").glob("*.png")))
    for claim in claims:
        assert claim["sentence"] in page.text


@pytest.mark.parametrize("name", thorough_after(1, LABS))
def test_the_terminal_says_what_happens_within_80_columns(name, tiny_of):
    out, done = tiny_of(LABS[name])
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert re.match(r"Preset quick: (about \d+ runs for tuning, about )?\d+ runs? to", lines[0])
    announced = sum(map(int, re.findall(r"(\d+) runs?", lines[0])))
    assert len(records(out)) == pytest.approx(announced, rel=0.1)
    assert max(map(len, lines[1:])) <= 80
    assert lines[-1].startswith("Report: ") and lines[-1].endswith("report.html")
    # Progress without a terminal: the last stage is whole, and no library logs anything.
    done_of_all = re.search(r"Look at 1 seed[^:]*: (\d+)/(\d+) runs", done.stderr.splitlines()[-1])
    assert done_of_all[1] == done_of_all[2]
    assert all(" runs" in line for line in done.stderr.splitlines())


@pytest.mark.thorough
def test_running_again_runs_nothing_and_changes_nothing(lab, tiny, tmp_path):
    done, before = tiny[1], contents(tiny[0])
    out = tmp_path / "out"
    shutil.copytree(tiny[0], out)
    # On a terminal that cannot encode the signs for minus and tables.
    again = lab.run_tiny(out, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert contents(out) == before
    assert re.findall(r"\d+", again.stdout.partition("claim")[2].partition("Report")[0]) == (
        re.findall(r"\d+", done.stdout.partition("claim")[2].partition("Report")[0])
    )


def test_separate_strengths_need_both_kinds_of_layers(tmp_path):
    lab = LABS["lab_regularization"]
    arguments = ("--preset", "quick", "--claims", "reg-separate", "--model", "mlp")
    line = assert_one_sentence(lab.run(*arguments, "--out", tmp_path / "out"), 2)
    assert "mlp" in line and "reg-separate" in line
    assert contents(tmp_path) == {}


def test_a_full_disk_is_found_before_the_first_run(lab, tmp_path):
    # No file may grow beyond that many bytes, as on a disk that fills up.
    resource = pytest.importorskip("resource", reason="file size limits are POSIX")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (50_000, 50_000))
    done = lab.run(*lab.arguments, "--out", tmp_path / "out", prepare=limit)
    assert str(tmp_path / "out") in assert_one_sentence(done, 2)
    assert contents(tmp_path) == {}


@pytest.mark.thorough
def test_a_disk_that_is_full_at_the_report_keeps_the_runs(lab, tiny, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    blocks = sum(-(-path.stat().st_size // 4096) for path in (tiny[0] / "records").iterdir())
    # Room for the runs and for another record, but not for the figures.
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * blocks + 300}k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        out = disk / "out"
        out.mkdir()
        for name in ("folder.json", "timings.csv"):
            shutil.copy(tiny[0] / name, out)
        shutil.copytree(tiny[0] / "records", out / "records")
        before = contents(out)

        done = lab.run(*lab.arguments, "--out", out)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert set(contents(out)) <= {*before, "records.csv", "claims.json"}
        assert contents(out).items() >= before.items()

        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        lab.run_tiny(out)
        assert contents(out) == contents(tiny[0])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be_made_is_one_sentence(lab, tmp_path):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "below"
    line = assert_one_sentence(lab.run(*lab.arguments, "--out", out), 2)
    assert str(out) in line and "--out" in line
    assert set(contents(tmp_path)) == {"file"}
