"""The weak tier keeps the limits of the others, by looking from outside, and leaves nothing."""

import contextlib
import dataclasses
import os
import sys
import tempfile
import time

import psutil
import pytest
from attacks_on_the_machine import ATTACKS
from tiny_assignment import SANDBOX, ask, attack, loaded, tiny_sandbox

from dlip_reg.grading.errors import StudentError, StudentMemoryError, StudentTimeoutError


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A sandbox of the weak tier, whose temporary files are gone at its end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tiny_sandbox(tier="weak") as sandbox:
        yield sandbox
    assert list(tmp_path.iterdir()) == []


ENDS_WITH = {
    "memory bomb": (StudentMemoryError, "More than 300 MB of memory|MemoryError"),
    "disk bomb": (StudentError, "More than 8 MB or too many files|File too large"),
    "many files": (StudentError, "More than 8 MB or too many files"),
    "files without a name": (StudentError, "More than 8 MB or too many files"),
    "writes to stderr for ever": (StudentError, "More than 1 MB were printed|File too large"),
    "thread bomb": (StudentError, "More than 64 threads were started"),
    "endless loop": (StudentTimeoutError, "The time is up"),
    "os._exit with failure": (StudentError, "ended itself with status 3"),
}


@pytest.mark.parametrize("name", ENDS_WITH)
def test_a_limit_ends_the_child(sandbox, name):
    if name == "files without a name" and sys.platform != "linux":
        pytest.skip("they are seen on Linux only")
    error, message = ENDS_WITH[name]
    with pytest.raises(error, match=message):
        attack(sandbox, ATTACKS[name], seconds=3)


def test_output_that_comes_between_two_looks_counts_too(sandbox, monkeypatch):
    monkeypatch.setattr("dlip_reg.grading.children._TICK", 60)
    with pytest.raises(StudentError, match="More than 1 MB were printed"):
        attack(sandbox, "print('x' * (2 << 20)); return 1", seconds=3)


def test_output_does_not_count_as_files_too(monkeypatch):
    monkeypatch.setattr("dlip_reg.grading.children._DISK_TICK", 0)
    limits = dataclasses.replace(SANDBOX["limits"], output_mb=7, disk_mb=8)
    source = """
        import os, pathlib, time
        pathlib.Path("own").write_bytes(bytes(5 << 20))
        for _ in range(5):
            os.write(2, bytes(1 << 20))
        time.sleep(0.5)
        return 1
    """
    with tiny_sandbox(tier="weak", limits=limits) as sandbox:
        assert attack(sandbox, source, seconds=5) == 1


def test_the_home_folder_is_the_child_s_own_on_windows_too(sandbox):
    child = loaded(sandbox, "import os\n\ndef homes():\n    return dict(os.environ)\n")
    found = ask(child, "homes")
    assert found["USERPROFILE"] == found["HOME"]
    child.end()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_a_process_that_a_submission_started_ends_with_it(sandbox):
    source = """
import subprocess, sys

def start():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid
"""
    child = loaded(sandbox, source)
    started = psutil.Process(ask(child, "start"))
    child.end()
    with contextlib.suppress(psutil.NoSuchProcess):
        for _ in range(50):
            if started.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.1)
        pytest.fail("It is still there.")
