"""How many local workers there are by default, and how far each may grow."""

import logging
from types import SimpleNamespace

import psutil
import pytest

from dlip_reg.experiments import local_workers
from dlip_reg.training import process
from dlip_reg.training.process import default_workers, usable_memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that makes this a machine of so many cores and GiB, and of such a container."""

    def make(cores, gib, *limits):
        monkeypatch.setattr("joblib.cpu_count", lambda: cores)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=int(gib * GIB)))
        files = [tmp_path / str(number) for number in range(len(limits))]
        for file, limit in zip(files, limits, strict=True):
            file.write_text(f"{limit}\n")
        monkeypatch.setattr(process, "MEMORY_LIMITS", (*map(str, files), str(tmp_path / "none")))

    return make


@pytest.mark.parametrize(
    ("cores", "gib", "workers"),
    [(2, 24, 2), (2, 3.8, 1), (8, 8, 4), (8, 7.6, 4), (8, 16, 8), (64, 64, 42), (2, 0.5, 1)],
)
def test_one_worker_per_core_as_far_as_memory_allows(machine, cores, gib, workers):
    machine(cores, gib)
    assert default_workers() == workers
    assert default_workers(2**62) == 1


def test_the_limit_of_a_container_counts_and_no_limit_does_not(machine):
    machine(64, 256, "max", 2**63 - 4096)
    assert usable_memory() == 256 * GIB
    machine(64, 256, "max", 4 * GIB)
    assert (usable_memory(), default_workers()) == (4 * GIB, 2)
    machine(64, 2, 4 * GIB)
    assert usable_memory() == 2 * GIB


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


@pytest.mark.parametrize(
    ("count", "gib", "growth"), [(2, 24, 1), (4, 8, 0.5), (8, 8, 0.25), (32, 8, 0.25)]
)
def test_workers_that_share_little_memory_are_renewed_earlier(machine, count, gib, growth):
    machine(count, gib)
    with local_workers(count) as workers:
        assert workers.most_growth == growth * GIB
