"""How many local workers there are by default, and how far each may grow."""

import logging
import sys
from types import SimpleNamespace

import psutil
import pytest

from dlip_reg.experiments import local_workers
from dlip_reg.experiments.executors import _Pool
from dlip_reg.grading.grader import Grader, Setting
from dlip_reg.training import process
from dlip_reg.training.process import default_workers, usable_memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that makes this a machine of so many cores and GiB, and of such a container."""

    def make(cores, gib, groups="", limits=()):
        monkeypatch.setattr("joblib.cpu_count", lambda: cores)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=int(gib * GIB)))
        files = {"proc/self/cgroup": groups} if groups else {}
        for name, content in (files | dict(limits)).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        monkeypatch.setattr(process, "SYSTEM", tmp_path)

    return make


@pytest.mark.parametrize(
    ("cores", "gib", "workers"),
    [(2, 24, 2), (2, 3.8, 1), (8, 8, 4), (8, 7.6, 4), (8, 16, 8), (64, 64, 42), (2, 0.5, 1)],
)
def test_one_worker_per_core_as_far_as_memory_allows(machine, cores, gib, workers):
    machine(cores, gib)
    assert default_workers() == workers
    assert default_workers(2**62) == 1


V2, V1 = "sys/fs/cgroup/{}memory.max", "sys/fs/cgroup/memory/{}memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("groups", "limits", "gib"),
    [
        ("0::/", {V2.format(""): "max"}, 256),
        ("0::/", {V2.format(""): 4 * GIB}, 4),
        ("0::/", {V2.format(""): 400 * GIB}, 256),
        ("0::/job/step", {V2.format("job/"): 4 * GIB, V2.format("job/step/"): "max"}, 4),
        ("0::/job/step", {V2.format("job/"): 4 * GIB, V2.format("other/"): 2 * GIB}, 4),
        ("0::/docker/1a2b", {V2.format(""): 4 * GIB}, 4),  # seen from within
        ("5:cpu:/a\n4:memory:/a\n0::/", {V1.format(""): 2**63 - 4096}, 256),
        ("5:cpu:/b\n4:memory:/a\n0::/", {V1.format("a/"): 4 * GIB, V1.format("b/"): GIB}, 4),
    ],
)
def test_the_limit_of_a_container_or_job_counts_and_no_limit_does_not(machine, groups, limits, gib):
    machine(64, 256, groups, limits)
    assert usable_memory() == gib * GIB
    assert default_workers() == (2 if gib == 4 else 64)


def test_the_quota_of_a_container_counts(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert default_workers() == process.usable_cores() == 1


def test_fewer_workers_than_cores_are_said_and_a_number_that_is_asked_for_is_kept(machine, caplog):
    machine(8, 8)
    with caplog.at_level(logging.WARNING), local_workers() as workers:
        assert workers.count == 4
    assert caplog.messages == ["4 worker processes for 8 cores: memory is scarce."]
    caplog.clear()
    with local_workers(8) as workers:
        assert workers.count == 8
    machine(2, 24)
    with local_workers() as workers:
        assert workers.count == 2
    assert not caplog.messages
    with pytest.raises(ValueError, match=r"^count must be a whole number of 1 or more, not 0"):
        local_workers(0)


def test_windows_waits_for_61_processes_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert _Pool(100, process.configure_process)._max_workers == 61
    with Grader(Setting(tmp_path, allow_weak=True), "a seed", 100) as grader:
        assert grader._started()._max_workers == 61


@pytest.mark.parametrize(
    ("count", "gib", "growth"), [(2, 24, 1), (4, 8, 0.5), (8, 8, 0.25), (32, 8, 0.25)]
)
def test_workers_that_share_little_memory_are_renewed_earlier(machine, count, gib, growth):
    machine(count, gib)
    with local_workers(count) as workers:
        assert workers.most_growth == growth * GIB
