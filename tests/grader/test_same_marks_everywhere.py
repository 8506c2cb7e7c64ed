"""Root or not, with user namespaces or without: the isolation differs, the marks do not."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny_assignment import HERE, honest_submission, tiny_setting, write_tests

from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.grader import Grader
from dlip_reg.grading.isolation import landlock, seccomp, tiers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
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


@functools.cache
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


@pytest.mark.thorough
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_marks_are_the_same(condition, open_place):
    tier, as_root = CONDITIONS[condition]
    if not as_root and os.getuid():
        pytest.skip("only root can become another user")
    found = marks_where(condition, open_place)
    assert found["tier"] == tier
    assert as_root or found["uid"]
    assert found["marks"] == marks_where("as it is", open_place)["marks"]
    assert found["marks"][0] == HONEST
    assert all(marks[::2] == HONEST[::2] for marks in found["marks"][1:])
    assert not any(marks[1][0] for marks in found["marks"][1:])


def test_isolation_with_an_escape_is_no_tier(monkeypatch):
    """Where everything may be read, the trial finds its own secret and says so."""
    monkeypatch.setattr(tiers, "_outside", lambda visible: tempfile.gettempdir())
    found = tiers.trial(tiers.MEDIUM, tiers.visible_paths([Path(tempfile.gettempdir())]))
    assert found == "the isolated process reads a file"


def test_landlock_of_old_kernels_lets_no_file_be_cut(monkeypatch):
    """Its first two versions do not know truncation, so the filter has to stop it."""
    monkeypatch.setattr(landlock, "abi", lambda: 2)
    assert tiers.trial(tiers.MEDIUM, tiers.visible_paths([])) == ""
    monkeypatch.delitem(seccomp._REFUSED, "truncate")
    found = tiers.trial(tiers.MEDIUM, tiers.visible_paths([]))
    assert found == "the isolated process truncates a file"


def test_without_landlock_no_device_gives_memory_that_no_limit_counts(monkeypatch):
    """A shared mapping of /dev/zero, which namespaces alone would let be opened for writing."""

    def without_landlock(*_):
        raise OSError

    def opened(secret, scratch):
        with pytest.raises(FileNotFoundError):
            os.open("/dev/zero", os.O_RDWR)
        return ""

    monkeypatch.setattr(landlock, "restrict", without_landlock)
    monkeypatch.setattr(tiers, "_escape", opened)
    assert tiers.trial(tiers.STRONG, tiers.visible_paths([])) == ""


class TestWhatLiesAmongPythonsLibraries:
    @pytest.fixture
    def prefix(self, tmp_path, monkeypatch):
        """An environment in which this project is installed, with a second way into it."""
        prefix = tmp_path / "environment"
        for name in ("dlip_reg/grading/child.py", "dlip_reg/solution.py", "other/part.py"):
            file = prefix / "lib" / "site-packages" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("text")
        (prefix / "lib64").symlink_to("lib")
        (prefix / "lib" / "round").symlink_to("..")
        monkeypatch.setattr(sys, "prefix", str(prefix))
        return prefix

    @pytest.mark.parametrize("tier", [tiers.STRONG, tiers.MEDIUM])
    def test_of_an_installed_project_a_child_sees_what_runs_it(self, prefix, tier, monkeypatch):
        packages = prefix / "lib" / "site-packages"
        project = packages / "dlip_reg"

        def looked(secret, scratch):
            seen = [project / "grading" / "child.py", packages / "other" / "part.py"]
            assert {path.read_text() for path in seen} == {"text"}
            assert {"dlip_reg", "other"} <= {path.name for path in packages.iterdir()}
            for way in (project, prefix / "lib64" / "site-packages" / "dlip_reg"):
                with pytest.raises(OSError):
                    (way / "solution.py").read_text()
            return ""

        monkeypatch.setattr(tiers, "_escape", looked)
        visible = tiers.visible_paths([project / "grading" / "child.py"], [project])
        assert tiers.trial(tier, visible) == ""
        assert visible.shows(packages / "other") and not visible.shows(project / "solution.py")

    def test_tests_there_are_refused(self):
        tests = Path(pytest.__file__).parent
        refused = pytest.raises(GradingError, match="pytest lies where student code reads its")
        with Grader(tiny_setting(tests), "a seed") as grader, refused:
            grader.grade(honest_submission())
