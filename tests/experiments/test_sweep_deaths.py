"""A sweep whose worker processes die, by themselves or by a signal."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from fake_runs import (
    FINGERPRINT,
    FakeRun,
    make_record,
    make_specs,
    make_sweep,
    process_workers,
    record_files,
    start_without_tensorflow,
    timings,
)
from waiting import is_alive, wait_for

from dlip_reg.experiments import SweepStoppedError, Workers
from dlip_reg.experiments.sweep import _attempt

SPECS = make_specs(6)
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals like these")


def len_of_zeros(megabytes):
    return len(b"1" * (megabytes * 2**20))


def sweep_dying(tmp_path, acts, workers, specs=SPECS, **options):
    """Runs `specs` where those in `acts` die; returns the sweep, its records and its run."""
    run = FakeRun(tmp_path / "calls", acts, **options)
    with process_workers(workers) as pool:
        sweep = make_sweep(tmp_path, run, pool)
        return sweep, sweep.run(specs), run


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_whose_process_dies_once_is_retried(tmp_path, workers):
    sweep, records, run = sweep_dying(tmp_path, {1: "exit once"}, workers)
    assert records == {spec: make_record(spec) for spec in SPECS}
    assert sweep.failures == {}
    assert run.count(1) == 2
    assert timings(tmp_path)[SPECS[1].identity(FINGERPRINT)] == (2, "finished")


@pytest.mark.parametrize(
    ("act", "how"),
    [("exit", "exit code 7"), pytest.param("kill", "killed by SIGKILL", marks=posix)],
)
def test_a_run_that_always_kills_its_process_is_reported_and_its_neighbours_are_not(
    tmp_path, act, how
):
    # Neighbours are in flight at every death: they take long enough.
    sweep, records, run = sweep_dying(tmp_path, {2: act}, 2, seconds=0.2)
    assert list(records) == [spec for spec in SPECS if spec.seed != 2]
    (failure,) = sweep.failures.values()
    assert failure.spec == SPECS[2]
    assert failure.cause == f"its process died twice ({how})"
    assert run.count(2) == 2
    assert timings(tmp_path)[SPECS[2].identity(FINGERPRINT)] == (2, "failed")


def test_several_deadly_runs_in_flight_at_once_do_not_stop_the_sweep(tmp_path):
    sweep, records, _ = sweep_dying(tmp_path, dict.fromkeys((0, 1, 2), "exit"), 3)
    assert [spec.seed for spec in records] == [3, 4, 5]
    assert [failure.spec.seed for failure in sweep.failures.values()] == [0, 1, 2]


def test_where_every_process_dies_the_sweep_gives_up_and_keeps_what_it_had(tmp_path):
    specs = make_specs(30)
    sweep_dying(tmp_path, {}, 2, specs[:2])
    acts = dict.fromkeys(range(2, 30), "exit")
    with pytest.raises(SweepStoppedError, match=r"^4 runs .* \(exit code 7\); .*\.$"):
        sweep_dying(tmp_path, acts, 2, specs)
    assert len(record_files(tmp_path)) == 2
    run = FakeRun(tmp_path / "calls")
    assert sum(run.count(seed) for seed in range(2, 30)) <= 10  # not all 28 were tried


@posix
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_killed_between_runs_harms_no_run(tmp_path, workers):
    run = FakeRun(tmp_path / "calls", seconds=0.05)
    with process_workers(workers) as pool:
        sweep = make_sweep(tmp_path, run, pool)
        killed = set()

        def kill_one(spec, seconds):
            # In turn, for two processes that die while the same runs are in flight are two deaths.
            if spec.seed == 2:
                (first, *_) = run.pids()
                os.kill(first, signal.SIGKILL)
                killed.add(first)

        sweep.on_end = kill_one
        records = sweep.run(SPECS)
    assert killed
    assert list(records) == SPECS
    assert sweep.failures == {}


@pytest.mark.parametrize(("most_growth", "renewed"), [(-(2**40), True), (2**40, False)])
def test_processes_that_have_grown_are_replaced_between_runs(tmp_path, most_growth, renewed):
    run = FakeRun(tmp_path / "calls")
    with process_workers(2, most_growth=most_growth) as pool:
        sweep = make_sweep(tmp_path, run, pool)
        records = sweep.run(SPECS)
    assert records == {spec: make_record(spec) for spec in SPECS}
    assert [run.count(spec.seed) for spec in SPECS] == [1] * 6
    assert set(timings(tmp_path).values()) == {(1, "finished")}
    assert (len(run.pids()) > 2) == renewed


@pytest.mark.thorough
@posix
def test_growth_is_that_of_the_memory_after_the_first_run(tmp_path):
    def growth():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            for megabytes in (300, 100, 500):
                yield pool.submit(_attempt, len_of_zeros, megabytes).result()[-1] / 2**20

    first, less, more = growth()
    assert first == less == 0
    assert 150 < more < 250


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_by_an_exception_ends_runs_and_processes_at_once(tmp_path, error):
    run = FakeRun(tmp_path / "calls", {1: "sleep", 2: "sleep"})
    start = time.monotonic()

    def stop(spec, seconds):
        wait_for(lambda: run.count(1))
        raise error

    with pytest.raises(error), process_workers(2) as pool:
        sweep = make_sweep(tmp_path, run, pool)
        sweep.on_end = stop
        sweep.run(SPECS)
    wait_for(lambda: not any(map(is_alive, run.pids())), seconds=10)
    assert time.monotonic() - start < 30  # and not the minute the runs would sleep
    assert list(record_files(tmp_path)) == [f"{SPECS[0].identity(FINGERPRINT)}.json"]


@pytest.fixture
def interruptible():
    """Ctrl-C counts, also where a shell started the tests in the background."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def start_interrupted():
    """A worker that Ctrl-C reaches before it has started."""
    signal.raise_signal(signal.SIGINT)
    start_without_tensorflow()


@posix
def test_ctrl_c_reaches_no_worker_neither_while_it_starts_nor_later(interruptible):
    """It is sent to the whole process group: the parent alone answers it."""
    with process_workers(1, start_interrupted) as pool:
        assert pool.submit(abs, -1).result(60) == 1
    # A worker that another thread than the main one starts has to ignore the signal itself.
    with process_workers(1) as pool, ThreadPoolExecutor(1) as thread:
        pid = thread.submit(pool.submit, os.getpid).result().result(60)
        os.kill(pid, signal.SIGINT)
        assert pool.submit(os.getpid).result(60) == pid


class InterruptedExecutor(ThreadPoolExecutor):
    """Ctrl-C is pressed while it starts."""

    def submit(self, *call):
        signal.raise_signal(signal.SIGINT)
        return super().submit(*call)


def test_ctrl_c_during_the_start_of_a_worker_counts_once_that_has_started(interruptible):
    ran = []
    with pytest.raises(KeyboardInterrupt), Workers(lambda: InterruptedExecutor(1), 1) as workers:
        workers.submit(ran.append, "started")
    assert ran == ["started"]


def test_a_death_leaves_processes_that_are_not_the_sweeps_alone(tmp_path):
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    bystander.start()
    try:
        sweep_dying(tmp_path, {0: "exit once"}, 2)
        with pytest.raises(KeyboardInterrupt), process_workers(1) as pool:
            pool.submit(os.getpid).result()
            raise KeyboardInterrupt
        assert bystander.is_alive()
    finally:
        bystander.kill()
        bystander.join()
