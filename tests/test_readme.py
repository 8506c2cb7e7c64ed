"""What the README tells a reader to do is done here as it stands."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from warm_processes import run_script

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.thorough
def test_the_python_example_runs_and_logs_what_its_comment_says(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "example.py").write_text(example, "utf-8")
    done = run_script(tmp_path / "example.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert {"clean_loss", "clean_val_accuracy", "conv_near_zero", "lambda_max"} <= set(rows[0])
    assert all(float(row["lambda_max"]) > 0 for row in rows)


def test_every_file_and_picture_named_is_there():
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    named += re.findall(r"^\| `([\w/.]+)` \|", README, flags=re.MULTILINE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def options_in_table(text):
    rows = re.findall(r"^\| `--.*", text, flags=re.MULTILINE)
    return set(re.findall(r"`(--[a-z-]+)", "\n".join(rows)))


def help_of(script):
    run = subprocess.run(
        [sys.executable, ROOT / "labs" / script, "--help"], check=True, capture_output=True,
        text=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    return run.stdout


def test_the_options_in_the_table_are_those_of_the_labs():
    shared, own = README.split("| option of `lab_tuning.py` |")
    help_text = help_of("lab_all.py")
    assert options_in_table(shared) == set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    papers = re.search(r"printed: ([\w\s,-]+)\n", help_text)[1].replace(",", " ").split()
    # The tuning lab has some of these, which a sentence names, and options of its own.
    sentence = re.search(r"It takes (.*) of these, and$", shared, flags=re.MULTILINE)[1]
    told = options_in_table(own) | set(re.findall(r"`(--[a-z-]+)", sentence))
    found = set(re.findall(r"(?<![\w-])--[a-z-]+", help_of("lab_tuning.py")))
    assert told == found - {"--help"}
    assert set(papers) == set(re.findall(r"`(\w+-\w+)`", README))


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^pip install -r requirements.txt && (python -m .*)$", README, re.M)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
