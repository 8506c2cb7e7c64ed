"""Standard streams that are closed, as under a service, or lead to a full disk or from a script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
LISTING = ("-m", "dlip_reg", "lab", "regularization", "--list-claims")
# What a script has printed is written only when the command begins.
PRINTED = ("-c", "print(1); from dlip_reg.cli.entry import main; exit(main(['--help']))")
WORK = """
import os, sys
from dlip_reg.experiments.executors import _Pool

if __name__ == "__main__":
    with open(sys.argv[1], "w") as result, _Pool(1, int) as pool:
        result.write(str(pool.submit(sum, [1, 2]).result()))
"""


def run(streams, *arguments):
    """Python with these arguments, started by a shell with these redirections."""
    command = f'exec "$@" {streams}'
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_processes_work_without_standard_streams(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    done = run("<&- >&- 2>&-", tmp_path / "work.py", tmp_path / "result")
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "3"


def test_a_script_may_be_read_from_the_standard_input(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    done = run(f"< '{tmp_path / 'work.py'}'", "-", tmp_path / "result")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result").read_text() == "3"


def test_commands_work_without_standard_streams():
    done = run(">&-", *LISTING)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [("lab", "all", "--model", "a:b"), ("check", "a.py")])
def test_a_removed_working_directory_is_one_sentence(arguments, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = subprocess.run(
        [sys.executable, "-m", "dlip_reg", *arguments], capture_output=True, text=True, check=False
    )
    sentence = "The working directory was removed: change to another.\n"
    assert (done.returncode, done.stderr) == (2, sentence)


@pytest.mark.parametrize(
    ("encoding", "line"), [("utf-8", "−0.5 → é"), ("cp1252", "-0.5 ? é"), ("ascii", "-0.5 ? ?")]
)
def test_a_line_can_be_written_in_any_encoding(encoding, line):
    code = "from dlip_reg.streams import write_line; write_line('−0.5 → é')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.decode(encoding).splitlines() == [line]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [LISTING, PRINTED])
def test_output_that_cannot_be_written_is_one_sentence(arguments, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    done = run("> /dev/full", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left" in line and line.endswith(".")


def test_the_grader_ends_quietly_when_its_output_is_closed(tmp_path):
    (tmp_path / "submission.py").write_text("import no_such_module\n")
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "dlip_reg.grading", "check", tmp_path / "submission.py"],
        stdout=writes, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")
