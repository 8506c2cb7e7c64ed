"""What the command line does for any lab: papers, timed runs, several labs in one report."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from lab_process import (
    ALL,
    LABS,
    answers,
    assert_one_sentence,
    contents,
    records,
    rows,
    write_mnist,
)
from warm_processes import run_script

from dlip_reg.studies.run import default_out

TOY_LAB = Path(__file__).with_name("toy_lab.py")


def run_toy(name, *arguments, **options):
    # A second worker would take longer to start than it saves.
    return run_script(TOY_LAB, name, "--workers", "1", *arguments, **options)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The folder of the toy lab's quick preset, and what the terminal showed."""
    out = tmp_path_factory.mktemp("toy") / "out"
    done = run_toy("toy", "--preset", "quick", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.mark.thorough
def test_what_is_timed_is_measured_once_and_is_in_no_table_that_has_to_repeat(toy):
    out, done = toy
    assert "Preset quick: 6 runs to the first look at 2 seeds. " in done.stdout
    assert "whole preset takes about 1 second" in done.stdout
    assert "2/2 runs" in done.stderr  # of the last stage, the timed runs
    assert len(records(out)) == 6
    assert len(rows(out / "records.csv")) == 4
    rates, speed = json.loads((out / "claims.json").read_text())
    assert (rates["id"], speed["id"]) == ("toy-rates", "toy-speed")
    assert rates["n_seeds"] == speed["n_seeds"] == 2
    assert speed["effect"] > 0

    before = contents(out)
    assert run_toy("toy", "--preset", "quick", "--out", out).returncode == 0
    assert contents(out) == before


@pytest.mark.thorough
def test_another_configuration_needs_a_fresh_start(toy, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(toy[0], out)
    before = contents(out)
    asked = ("--preset", "quick", "--claims", "toy-rates", "--model", "lenet5")
    arguments = ("toy", *asked, "--out", out)
    line = assert_one_sentence(run_toy(*arguments), 2)
    assert "mlp" in line and "lenet5" in line and "--fresh" in line
    # What cannot be measured at all is not a reason to throw anything away.
    write_mnist(tmp_path)
    few_images = ("--dataset", "mnist", "--data-dir", tmp_path, "--fresh")
    line = assert_one_sentence(run_toy(*arguments, *few_images), 2)
    assert "lenet5" in line and "mnist" in line and "quick" in line
    assert contents(out) == before

    assert run_toy(*arguments, "--fresh").returncode == 0
    assert {row["model"] for row in rows(out / "records.csv")} == {"lenet5"}
    assert len(records(out)) == 4
    assert records(out).isdisjoint(records(toy[0]))


def write_to_a_reader_of_one_line():
    """The standard output is a pipe whose other end is closed after the first output."""
    reads, writes = os.pipe()
    os.dup2(writes, 1)
    threading.Thread(target=lambda: (os.read(reads, 1), os.close(reads)), daemon=True).start()


def write_to_no_reader():
    reads, writes = os.pipe()
    os.close(reads)
    for number in (1, 2):
        os.dup2(writes, number)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
@pytest.mark.parametrize("prepare", [write_to_a_reader_of_one_line, write_to_no_reader])
@pytest.mark.parametrize("listing", [["--list-claims"], []])
def test_it_ends_quietly_when_its_output_is_closed(toy, listing, prepare, tmp_path):
    """As in `lab | head -1` and `lab 2>&1 | true`: during the run and at its end."""
    out = toy[0] if prepare is write_to_a_reader_of_one_line else tmp_path / "out"
    done = run_toy("toy", "--preset", "quick", "--out", out, *listing, prepare=prepare)
    is_whole = listing and prepare is write_to_a_reader_of_one_line  # it fits into one write
    assert done.returncode == (0 if is_whole else 1)
    assert all(" runs" in line for line in done.stderr.splitlines()), done.stderr
    assert listing or out == toy[0] or not records(out)


@pytest.mark.thorough
def test_several_labs_share_their_runs_and_keep_their_families_of_claims(
    toy, tmp_path, open_report
):
    out = tmp_path / "out"
    done = run_toy("toys", "--claims", "toy-rates,other-rates", "--out", out)
    assert done.returncode == 0, done.stderr
    # The same runs, whichever lab asks for them.
    assert "Preset standard: 10 runs to the first look at 5 seeds. " in done.stdout
    assert "about 4 seconds on two cores" in done.stdout
    assert len(records(out)) == 10
    claims = json.loads((out / "claims.json").read_text())
    assert [claim.pop("id") for claim in claims] == ["toy-rates", "other-rates"]
    assert [claim.pop("figures") for claim in claims] == [["toy_losses"], ["other_losses"]]
    assert claims[0] == claims[1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'id="figure-(\w+)"', page) == ["claims", "toy_losses", "other_losses"]
    assert "Size (toy)" in page and "Size (other)" in page
    assert re.search("[0-9a-f]{12}, [0-9a-f]{12}", page)  # the hashes of both protocols
    opened = open_report(out)
    opened.assert_whole_and_offline()
    assert opened.text.count("The rates.") >= 2


def test_each_configuration_has_a_default_folder_of_its_own():
    presets = LABS["lab_regularization"].lab.presets
    asked = {
        (None,): "lab",
        ("quick",): "lab_quick",
        ("quick", "my_model:small"): "lab_quick_my_model-small",
        ("full", None, "folder:/data/my images/", 32): "lab_full_my-images_32",
    }
    found = {given: default_out("lab", presets, *given) for given in asked}
    assert found == {given: Path("runs", name) for given, name in asked.items()}
    assert default_out("lab", presets, "standard") == default_out("lab", presets, None)


@pytest.mark.thorough
def test_a_paper_check_is_a_lab_of_its_own(tmp_path):
    write_mnist(tmp_path, 80, 40)
    done = run_toy("toy", "--paper", "table1", "--data-dir", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "paper"
    assert f"Output folder: {out.relative_to(tmp_path)}\n" in done.stdout
    assert "3 runs to the first look" in done.stdout and "about 3 seconds" in done.stdout
    assert "claim" not in done.stdout
    assert json.loads((out / "claims.json").read_text()) == []
    held = json.loads((out / "folder.json").read_text())
    assert (held["lab"], held["dataset"]) == ("paper", "mnist")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="figure-losses"' in page


def test_paper_checks_are_listed_and_a_wrong_one_is_one_sentence(tmp_path):
    wrong = {
        ("--paper", "table2"): "table1",
        ("--paper", "table1", "--preset", "quick"): "preset must be one of paper",
        ("--paper", "table1", "--claims", "toy-rates"): "no claims to choose from",
        ("--paper", "table1", "--list-claims"): "no claims to list",
    }
    cases = [["toy", "--help"], ["toys", "--help"], *(["toy", *given] for given in wrong)]
    one, group, *found = answers(TOY_LAB, tmp_path, cases)
    assert re.search(r"--paper NAME .*table1", one.stdout.replace("\n", " "))
    assert "--paper" not in group.stdout
    for done, said in zip(found, wrong.values(), strict=True):
        assert said in assert_one_sentence(done, 2)
        assert not done.changed


def test_the_whole_note_is_the_claims_of_all_labs():
    parts = ALL.lab.studies
    assert {part.name for part in parts} == set(LABS)
    ids = [claim.id for claim in ALL.lab.claims]
    assert len(set(ids)) == len(ids) == sum(len(part.claims) for part in parts) == 32
    assert all(list(part.presets) == ["quick", "standard", "full"] for part in parts)
    assert len({part.default_dataset for part in parts}) == 1


@pytest.mark.slow
def test_the_whole_note_is_one_report(tmp_path, open_report):
    out = tmp_path / "out"
    ALL.run_tiny(out, "--workers", 1)
    claims = json.loads((out / "claims.json").read_text())
    assert [claim["id"] for claim in claims] == ALL.claims.split(",")
    assert all(isinstance(claim["effect"], float) for claim in claims)
    page = open_report(out)
    page.assert_whole_and_offline()
    assert all(claim["sentence"] in page.text for claim in claims)


VERDICTS = """
from pathlib import Path
from dlip_reg.cli.command import print_verdicts
from dlip_reg.evidence import ClaimResult
from dlip_reg.streams import guard_output
from dlip_reg.studies import StudyResult

numbers = dict(direction=1, null=-0.25, effect=-0.5, ci_low=-0.75, ci_high=-0.25, n_seeds=5)
rule = dict(smallest_effect=0.1, smallest_effect_source="", level=0.95, verdict="contradicted")
claim = ClaimResult("a-long-name-" * 9, "", "", "metres [m]", look=5, **numbers, **rule)
guard_output(print_verdicts)(StudyResult((claim,), {}, Path("report.html"), notes=["An arrow: →"]))
"""


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "\u2212"), ("cp1252", "-")])
@pytest.mark.parametrize("columns", [80, 60, 30])  # narrow, it is wrapped and not cut
def test_any_terminal_shows_effects_with_signs_intervals_and_units(encoding, sign, columns):
    terminal = {"COLUMNS": str(columns), "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", VERDICTS], env=os.environ | terminal, capture_output=True, check=True
    )
    shown = done.stdout.decode(encoding)
    assert max(map(len, shown.splitlines())) <= max(columns, 60)
    for text in ("[interval]", f"{sign}0.50", f"[{sign}0.75", "[m]", f"{sign}0.25", "contradicted"):
        assert text in shown
    folded = re.findall("^[ |](-?[a-z][a-z-]*)", shown, re.MULTILINE)
    assert "".join(folded) == "claim" + "a-long-name-" * 9
    assert f"An arrow: {'?' if sign == '-' else '→'}" in shown
