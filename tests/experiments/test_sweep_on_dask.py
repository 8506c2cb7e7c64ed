"""The same sweep on a Dask cluster, whose workers and scheduler may die."""

import asyncio
import contextlib
import os
import pickle
import random
import socket
import sys
import threading
import time

import dask.sizeof
import pytest
from fake_runs import FakeRun, make_record, make_specs, make_sweep, record_files
from waiting import wait_for
from warm_processes import warm_cluster

from dlip_reg.experiments import SchedulerError, SweepStoppedError, dask_workers, executors, sweep
from dlip_reg.training.process import SettingError

SPECS = make_specs(8)

GONE = "No worker of the Dask cluster is left; waiting for one to join."
LOST = r"^The connection to the Dask scheduler was lost; .*\.$"


@pytest.fixture(scope="module")
def cluster():
    with warm_cluster(2) as cluster:
        yield cluster


@pytest.fixture
def address(cluster):
    return cluster.scheduler_address


@pytest.mark.thorough
def test_a_run_that_raises_or_kills_every_worker_is_reported_and_its_neighbours_are_not(
    address, tmp_path
):
    # Dask blames all that waits on a worker for its death, so a neighbour may be given up, too.
    run = FakeRun(tmp_path / "calls", {1: "raise", 2: "exit"}, seconds=0.2)
    with dask_workers(address) as workers:
        sweep = make_sweep(tmp_path, run, workers)
        records = sweep.run(SPECS[:4])
    assert list(records) == [SPECS[0], SPECS[3]]
    assert [failure.cause for failure in sweep.failures.values()] == [
        "Awkward: no luck in seed 1",
        "its process died twice (on a cluster)",
    ]


def test_leaving_by_ctrl_c_does_not_wait_for_the_cluster(address, tmp_path):
    run = FakeRun(tmp_path / "calls", {1: "sleep"})
    start = time.monotonic()

    def stop(spec, seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), dask_workers(address) as workers:
        sweep = make_sweep(tmp_path, run, workers)
        sweep.on_end = stop
        sweep.run(SPECS)
    assert time.monotonic() - start < 10  # and not the minute the run would sleep
    assert 1 <= len(record_files(tmp_path)) < len(SPECS)


@pytest.mark.thorough
def test_a_scheduler_that_goes_away_stops_the_sweep_and_keeps_its_records(tmp_path):
    run = FakeRun(tmp_path / "calls", {3: "sleep"})
    with warm_cluster(1) as cluster, pytest.raises(SweepStoppedError, match=LOST):  # noqa: SIM117
        with dask_workers(cluster.scheduler_address) as workers:
            sweep = make_sweep(tmp_path, run, workers)
            sweep.on_end = lambda spec, seconds: spec.seed == 2 and cluster.close()
            sweep.run(SPECS)
    ids = {make_record(spec).id for spec in SPECS[:3]}
    assert {name.removesuffix(".json") for name in record_files(tmp_path)} == ids


@pytest.mark.parametrize("kind", ["closed port", "silent port", "no port", "no scheme", "a worker"])
def test_an_address_without_a_scheduler_is_one_sentence(kind, cluster, monkeypatch, capfd):
    monkeypatch.setattr(executors, "_TIMEOUT", 1)  # not ten seconds
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "closed port":
            server.close()
        places = {
            "no port": "nowhere",
            "no scheme": "gopher://127.0.0.1:1",
            "a worker": next(iter(cluster.scheduler_info["workers"])),
        }
        place = places.get(kind, f"tcp://127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(SchedulerError, match=r"^No Dask scheduler answers at ") as caught:
            dask_workers(place)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert place in message and message.endswith(".") and "\n" not in message
    assert capfd.readouterr().err == ""


def test_workers_that_join_a_moment_later_are_waited_for():
    with warm_cluster(0) as cluster:
        cluster.scale(1)
        with dask_workers(cluster.scheduler_address) as workers:
            assert workers.submit(sum, (1, 2)).result() == 3


def test_a_worker_without_the_program_s_setting_of_onednn_runs_nothing(address, monkeypatch):
    monkeypatch.setenv("DLIP_REG_ONEDNN", "1")
    with dask_workers(address) as workers, pytest.raises(SettingError, match="be the same for"):
        workers.submit(sum, (1, 2)).result()


@pytest.mark.thorough
def test_dask_draws_no_number_from_the_generator_of_a_run(address):
    def drawn():  # by a run, while Dask looks at its next message
        random.seed(0)
        dask.sizeof.sizeof([*range(20)])
        return random.random()

    with dask_workers(address) as workers:
        assert workers.submit(drawn).result() == random.Random(0).random()


class _Setting:
    """Its place is taken by what the environment holds where it is unpickled."""

    def __reduce__(self):
        return os.getenv, ("TF_ENABLE_ONEDNN_OPTS",)


@pytest.mark.parametrize("setting", ["0", "1"])
def test_a_call_is_unpickled_with_the_program_s_setting_of_onednn(setting, monkeypatch):
    changed = {"TF_ENABLE_ONEDNN_OPTS": "0", "DLIP_REG_ONEDNN": setting}
    monkeypatch.setattr(os, "environ", os.environ | changed)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # as where a worker has joined
    call = pickle.dumps((str, (_Setting(),), {}))
    expected = {"0": "None", "1": "1"}[setting]
    assert executors._with_setting(executors.onednn_setting(), call) == expected


@pytest.mark.thorough
def test_a_cluster_is_reached_from_a_notebook(address):
    async def cell():  # runs in the kernel's event loop
        with dask_workers(address) as workers:
            return workers.submit(sum, (1, 2)).result()

    assert asyncio.run(cell()) == 3


@pytest.mark.thorough
def test_a_cluster_without_workers_left_is_named_and_waited_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sweep, "_CHECK_EVERY", 0.2)
    with warm_cluster(1) as cluster, dask_workers(cluster.scheduler_address) as workers:

        def join_later():
            with contextlib.suppress(AssertionError):  # the test fails below
                wait_for(lambda: GONE in caplog.text, seconds=60)
            cluster.scale(1)

        cluster.scale(0)
        wait_for(lambda: not cluster.scheduler_info["workers"])
        threading.Thread(target=join_later).start()
        records = make_sweep(tmp_path, FakeRun(tmp_path / "calls"), workers).run(SPECS[:2])
    assert GONE in caplog.text and list(records) == SPECS[:2]


def test_a_scheduler_without_workers_is_one_sentence(monkeypatch, capfd):
    monkeypatch.setattr(executors, "_TIMEOUT", 1)
    with (
        warm_cluster(0) as cluster,
        pytest.raises(SchedulerError, match=r"has no workers; start some first\.$"),
    ):
        dask_workers(cluster.scheduler_address)
    assert "Traceback" not in capfd.readouterr().err
