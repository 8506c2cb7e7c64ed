"""What the README tells a reader to do is done here as it stands."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_logs_what_its_comment_says(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True, capture_output=True)
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


def test_the_options_in_the_table_are_those_of_the_labs():
    script = ROOT / "labs" / "lab_all.py"
    table = re.findall(r"^\| `--.*", README, flags=re.MULTILINE)
    told = set(re.findall(r"`(--[a-z-]+)", "\n".join(table)))
    run = subprocess.run(
        [sys.executable, script, "--help"], check=True, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert told == set(re.findall(r"--[a-z-]+", run.stdout)) - {"--help"}
    papers = re.search(r"printed: ([\w\s,-]+)\n", run.stdout)[1].replace(",", " ").split()
    assert set(papers) == set(re.findall(r"`(\w+-\w+)`", README))


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^pip install -r requirements.txt && (python -m .*)$", README, re.M)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
