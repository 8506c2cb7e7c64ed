"""A search that is killed at any moment ends as one that nobody disturbed."""

import os
import random
import signal
from pathlib import Path

import pytest
from fake_executions import FakeExecutions
from further_cases import thorough_after
from tuning_samples import fake_search, l2_only, state_files
from waiting import wait_for
from warm_processes import HAS_SERVERS, warm_cluster, warm_context

from dlip_reg.experiments import dask_workers
from dlip_reg.tuning.folder import ExecutionStore
from dlip_reg.tuning.results import execution_rows, trial_rows

TRIALS, SEEDS = 12, 2
# Long enough for executions to end one after the other, as real ones do: what Bayesian optimization
# proposes depends on it.
SECONDS = 0.02


def search(path, workers, kind, seconds, options):
    """A whole session; in a process of its own, so that it can be killed."""
    return fake_search(
        Path(path), workers, kind, fake=FakeExecutions(Path(path) / "calls", seconds),
        oracle={"max_trials": TRIALS, "max_epochs": 4}, executions_per_trial=SEEDS, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def session():
    """Starts a session in a process that has TensorFlow imported, since that takes seconds."""
    if not HAS_SERVERS:
        pytest.skip("needs a fork server")
    context = warm_context()

    def start(*arguments):
        process = context.Process(target=search, args=arguments)
        process.start()
        return process

    return start


def finished(path):
    """Trial and number of every execution that is kept."""
    store = ExecutionStore(path / "search")
    store.reread()
    return {(int(trial), number) for trial, number in store.records}


def results(path, workers, kind, options):
    """What the tables show, and the states of every trial, of a search that goes on to its end."""
    tuner = search(path, workers, kind, SECONDS if kind == "bayesian" else 0.0, options)
    files = state_files(path / "search", ordered=False)
    return trial_rows(tuner), execution_rows(tuner), files


ADAPTIVE = ("hyperband", "bayesian")


FOLDS, RACE = {"folds": 2}, {"folds": 2, "racing": True}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("random", {}), ("grid", {}), ("hyperband", {}), ("random", RACE),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("bayesian", {}), ("random", FOLDS), ("grid", FOLDS), ("hyperband", FOLDS),
                ("bayesian", FOLDS), ("grid", RACE), ("bayesian", RACE),
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("workers", thorough_after(1, [2, 1]))
def test_killed_at_ten_moments_it_loses_nothing_and_ends_the_same(
    session, tmp_path, kind, options, workers
):
    # Random search and grid do not depend on the workers, which the last session changes.
    repeats = kind not in ADAPTIVE and not options.get("racing")
    whole = results(tmp_path / "whole", 3 if repeats else 1, kind, options)
    path, draw = tmp_path / "killed", random.Random(f"{kind} {workers}")
    path.mkdir()
    kept = set()
    for _ in range(10):
        process = session(path, workers, kind, SECONDS, options)
        # Before it does anything, within a step, between two: wherever it is by then.
        marker = path / "search" / "folder.json"
        wait_for(lambda p=process, m=marker: m.exists() or not p.is_alive())
        assert process.exitcode in (None, 0)
        process.join(draw.uniform(0, 0.25))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert kept <= finished(path)
        kept = finished(path)
    ended = results(path, workers, kind, options)
    if not repeats and workers > 1:
        # What is tried next or stopped depends on what has ended first: valid, and not the same.
        assert {row["status"] for row in ended[0]} == {"completed"}
        assert len(ended[0]) == len(whole[0])
    else:
        assert ended == whole
    # An execution may have been begun again where it was cut short, ten times and more at most;
    # one that was kept was not. Every call beyond the first is one that a kill had interrupted.
    calls = FakeExecutions(path / "calls").count()
    assert sum(calls.values()) - len(calls) <= 10 * workers


@pytest.mark.thorough
def test_an_adaptive_search_goes_on_where_it_was(tmp_path):
    options = {"oracle": {"max_trials": 7}, "hypermodel": l2_only(tied=True)}
    fake, ended = FakeExecutions(tmp_path / "calls", SECONDS), []

    def stop():
        ended.append(1)
        if len(ended) == 5:  # past the 3 random trials that a Gaussian process begins with
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake_search(tmp_path, 1, "bayesian", fake=fake, on_progress=stop, **options)
    kept = finished(tmp_path)
    assert len(kept) == 5
    tuner = fake_search(tmp_path, 1, "bayesian", fake=fake, **options)
    assert [row["status"] for row in trial_rows(tuner)] == ["completed"] * 7
    calls = fake.count()
    assert all(calls[key] == 1 for key in kept)
    own = FakeExecutions(tmp_path / "whole" / "calls", SECONDS)
    whole = fake_search(tmp_path / "whole", 1, "bayesian", fake=own, **options)
    assert trial_rows(tuner) == trial_rows(whole)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("random", marks=pytest.mark.thorough),
        pytest.param("hyperband", marks=pytest.mark.slow),
    ],
)
def test_a_worker_of_a_dask_cluster_killed_midway_costs_no_execution(tmp_path, kind):
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
