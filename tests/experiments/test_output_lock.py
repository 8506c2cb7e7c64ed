"""One process at a time uses an output folder, and a killed one leaves no stale lock."""

import errno
import multiprocessing
import os
import signal
import time

import pytest

from dlip_reg.errors import DlipRegError
from dlip_reg.experiments import OutputDirConflictError, RunFolder
from dlip_reg.grading.marks import Marks
from dlip_reg.grading.results import Results
from dlip_reg.studies.workspace import Resources, Workspace

CONFIGURATION = {"lab": "one"}
IN_USE = r"^{} is in use by another run; wait for it, or choose another --out\.$"


def use(path, ready):
    """Use the folder in another process until that one is killed."""
    folder = RunFolder(path, CONFIGURATION)
    folder.open()
    ready.set()
    time.sleep(600)


@pytest.fixture
def other_run(tmp_path):
    """A process that uses tmp_path/"out"."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=use, args=(tmp_path / "out", ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_second_run_is_refused_until_the_first_has_ended_however_it_ends(tmp_path, other_run):
    out = tmp_path / "out"
    (out / "records").mkdir()
    before = sorted(out.rglob("*"))
    for fresh in (False, True):
        with pytest.raises(OutputDirConflictError, match=IN_USE.format(out)) as caught:
            RunFolder(out, CONFIGURATION, fresh=fresh)
        assert isinstance(caught.value, DlipRegError)
    assert sorted(out.rglob("*")) == before
    assert other_run.is_alive()
    os.kill(other_run.pid, signal.SIGKILL)  # which leaves no stale lock
    other_run.join()
    folder = RunFolder(out, CONFIGURATION)
    folder.open()
    folder.release()
    assert {path.name for path in out.iterdir()} == {"folder.json", "records"}


@pytest.mark.skipif(os.name != "posix", reason="Windows has another kind of lock")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_without_locks_can_be_used(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    folder = RunFolder(tmp_path / "out", CONFIGURATION)
    folder.open()
    folder.log_timing("a", 1.0, 1, "finished")
    folder.release()
    with Results(tmp_path / "grades") as results:
        results.save(Marks("ann", ()))


def test_whoever_opens_a_new_folder_first_has_it(tmp_path):
    out = tmp_path / "out"
    first, second = (RunFolder(out, CONFIGURATION) for _ in range(2))
    first.open()
    with pytest.raises(OutputDirConflictError, match="in use"):
        second.open()
    first.release()
    first.release()  # without effect
    second.open()
    second.release()
    assert [path.name for path in out.iterdir()] == ["folder.json"]
    fresh = RunFolder(out, CONFIGURATION, fresh=True)
    fresh.open()  # deletes all but its own lock
    with pytest.raises(OutputDirConflictError, match="in use"):
        RunFolder(out, CONFIGURATION)


def test_records_of_other_kernels_are_not_mixed_with_those_of_a_folder(tmp_path, monkeypatch):
    def study():
        with Workspace(Resources(tmp_path / "out"), "fashion_mnist_subset", {}) as workspace:
            workspace.open()

    study()
    study()
    monkeypatch.setenv("DLIP_REG_ONEDNN", "1")
    with pytest.raises(OutputDirConflictError, match="ONEDNN"):
        study()
    monkeypatch.setenv("DLIP_REG_ONEDNN", "yes")
    with pytest.raises(DlipRegError, match="must be 0 or 1 in the environment, not 'yes'"):
        study()


def test_a_folder_that_another_configuration_has_used_meanwhile_is_refused(tmp_path):
    out = tmp_path / "out"
    first, other = RunFolder(out, CONFIGURATION), RunFolder(out, {"lab": "other"})
    first.open()
    first.release()
    with pytest.raises(OutputDirConflictError, match="of another configuration"):
        other.open()
    first.open()  # it is not locked


def test_a_left_over_lock_file_is_no_foreign_file(tmp_path):
    (tmp_path / ".lock").touch()
    RunFolder(tmp_path, CONFIGURATION).open()
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]
