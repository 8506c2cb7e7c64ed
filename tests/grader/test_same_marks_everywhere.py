"""Root or unprivileged, with user namespaces or without: the walls differ, the marks do not."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny_assignment import HERE, write_tests

from dlip_reg.grading.walls import tiers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
CONDITIONS = {
    "as it is": ("strong", True),
    "without namespaces": ("medium", True),
    "unprivileged": ("strong", False),
    "unprivileged,without namespaces": ("medium", False),
}
HONEST = [[1.0, "passed"], [5.0, "passed"], [2.0, "passed"]]


@pytest.fixture(scope="module")
def open_place():
    """Tests and probes in a folder that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="tiny-") as place:
        Path(place).chmod(0o755)
        write_tests(Path(place, "marking"))
        shutil.copytree(HERE / "tiny_probes", f"{place}/tiny_probes")
        for name in ("tiny_assignment.py", "marks_here.py", "other_machines.py"):
            shutil.copy(HERE / name, place)
        yield place


def marks_where(condition, place):
    programs = [f"{place}/other_machines.py", condition, sys.executable, f"{place}/marks_here.py"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((place, *filter(None, sys.path)))}
    done = subprocess.run(
        [sys.executable, *programs, f"{place}/marking", f"{place}/tiny_probes"],
        env=environment | {"TMPDIR": "/tmp"},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def marks_here(open_place):
    return marks_where("as it is", open_place)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_marks_are_the_same(condition, open_place, marks_here):
    tier, as_root = CONDITIONS[condition]
    if not as_root and os.getuid():
        pytest.skip("only root can become another user")
    found = marks_where(condition, open_place)
    assert found["tier"] == tier
    assert as_root or found["uid"]
    assert found["marks"] == marks_here["marks"]
    assert found["marks"][0] == HONEST
    assert all(marks[::2] == HONEST[::2] for marks in found["marks"][1:])
    assert not any(marks[1][0] for marks in found["marks"][1:])


def test_the_tier_is_found_by_trying():
    visible = tiers.visible_paths([])
    assert tiers._tried(tiers.STRONG, visible) == ""
    assert tiers._tried(tiers.MEDIUM, visible) == ""


def test_a_wall_with_a_hole_is_no_tier(monkeypatch):
    """Where everything may be read, the trial finds its own secret and says so."""
    monkeypatch.setattr(tiers, "_outside", lambda visible: tempfile.gettempdir())
    found = tiers._tried(tiers.MEDIUM, [*tiers.visible_paths([]), tempfile.gettempdir()])
    assert found == "the walled process reads a file"
