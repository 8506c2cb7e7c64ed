"""The same search on a Dask cluster of two workers, one of which is killed."""

import os
import signal

import pytest
from fake_executions import FakeExecutions
from tuning_samples import fake_search
from warm_processes import warm_cluster

from dlip_reg.experiments import dask_workers
from dlip_reg.tuning.results import execution_rows, trial_rows


@pytest.mark.parametrize("kind", ["random", pytest.param("hyperband", marks=pytest.mark.slow)])
def test_a_worker_killed_midway_costs_no_execution(tmp_path, kind):
    options = {"oracle": {"max_trials": 8, "max_epochs": 4}, "executions_per_trial": 2}
    fake, killed = FakeExecutions(tmp_path / "calls", seconds=0.1), []

    def kill_one():
        if not killed:
            killed.append(min(fake.pids()))
            os.kill(killed[0], getattr(signal, "SIGKILL", signal.SIGTERM))

    with warm_cluster(n_workers=2) as cluster:
        workers = dask_workers(cluster.scheduler_address)
        tuner = fake_search(tmp_path, workers, kind, fake=fake, on_progress=kill_one, **options)
    assert killed and killed[0] != os.getpid()
    assert len(fake.pids()) >= 2
    rows = trial_rows(tuner)
    trials = 10 if kind == "hyperband" else 8  # a whole run
    assert [row["status"] for row in rows] == ["completed"] * trials
    assert len(execution_rows(tuner)) == 2 * trials
    if kind == "random":
        local = fake_search(tmp_path / "local", 1, kind, **options)
        assert rows == trial_rows(local)
        assert execution_rows(tuner) == execution_rows(local)
