"""requirements.txt and pyproject.toml name the same libraries with the same bounds."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUNDED = re.compile(r"[a-z0-9-]+>=[\d.]+,<[\d.]+")


def test_the_bounds_are_the_same_in_both_files():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]["dependencies"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert set(project) < set(required)
    assert all(BOUNDED.fullmatch(line) for line in required if line != "-e .")
    assert required[-1] == "-e ."  # the project itself, editable
