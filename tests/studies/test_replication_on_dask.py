"""A replication that really trains, on a Dask cluster one of whose workers is killed."""

import functools
import os
import signal
import threading
import time

import pytest
from distributed import LocalCluster
from fake_studies import DATA, files, make_claim, run_quietly

from dlip_reg.studies import Arm, Preset, Study
from dlip_reg.training import RunSpec

SETTINGS = (("mnist_subset", "mlp"), (DATA, "lenet5"))


def small_run(setting, rate):
    return RunSpec(
        setting.model, setting.data(64, 32, 32), learning_rate=rate, batch_size=16, epochs=2,
        measures=("curves",),
    )  # fmt: skip


def arms(setting):
    rates = {"none": 1e-4, "clear": 1e-2}
    return [Arm(name, small_run(setting, rate)) for name, rate in rates.items()]


STUDY = Study(
    name="small",
    claims=(make_claim("clear"),),
    arms=arms,
    presets={"quick": Preset(seeds=3)},
    default_model="mlp",
    default_dataset=DATA,
)


def kill_when(records, pid, number):
    """Kill the process as soon as so many runs have a record."""
    while len(list(records.glob("*.json"))) < number:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_killed_midway_costs_a_replication_no_record(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    run_quietly(STUDY, alone, replicate=SETTINGS, workers=2)
    cluster = functools.partial(
        LocalCluster, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster(n_workers=2) as two:
        pids = {worker.pid for worker in two.workers.values()}
        killer = threading.Thread(
            target=kill_when, args=(together / "records", min(pids), 4), daemon=True
        )
        killer.start()
        run_quietly(STUDY, together, replicate=SETTINGS, scheduler=two.scheduler_address)
        killer.join(timeout=10)
        assert not killer.is_alive()
        assert {worker.pid for worker in two.workers.values()} != pids  # another took its place
    records = files(alone)
    assert len([name for name in records if name.endswith(".json")]) == 3 * 2 * 3 + 1
    assert files(together) == records
    assert (together / "replication.json").read_bytes() == (alone / "replication.json").read_bytes()
