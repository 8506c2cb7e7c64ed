"""A sweep where no process dies: what is run, how often, in which order, and what fails."""

from dataclasses import replace

import pytest
from fake_runs import (
    FINGERPRINT,
    FakeRun,
    make_record,
    make_specs,
    make_sweep,
    process_workers,
    record_files,
    thread_workers,
    timings,
)

SPECS = make_specs(6)


@pytest.fixture
def sweep_of(tmp_path):
    """A function: the acts of a run -> (sweep with two workers, run), always in the same folder."""
    opened = []

    def make(acts=None, start_workers=thread_workers):
        run, workers = FakeRun(tmp_path / "calls", acts or {}), start_workers(2)
        opened.append(workers)
        return make_sweep(tmp_path, run, workers), run

    yield make
    for workers in opened:
        workers.close()


def test_each_run_once_and_the_records_in_the_order_asked_for(sweep_of, tmp_path):
    sweep, run = sweep_of()
    asked = [*reversed(SPECS), *SPECS]
    records = sweep.run(asked)
    assert list(records) == list(reversed(SPECS))
    assert all(record == make_record(spec) for spec, record in records.items())
    assert [run.count(spec.seed) for spec in SPECS] == [1] * 6
    assert len(record_files(tmp_path)) == 6
    assert timings(tmp_path) == {make_record(spec).id: (1, "finished") for spec in SPECS}


def test_only_missing_runs_are_run(sweep_of, tmp_path):
    first, run = sweep_of()
    first.run(SPECS[:3])
    kept = make_record(SPECS[1]).id
    (tmp_path / "out" / "records" / f"{make_record(SPECS[0]).id}.json").write_text('{"id": ')
    second, _ = sweep_of()
    ended = []
    second.on_end = lambda spec, seconds: ended.append((spec.seed, seconds is None))
    records = second.run(SPECS)
    assert list(records) == SPECS
    assert [run.count(spec.seed) for spec in SPECS] == [2, 1, 1, 1, 1, 1]
    assert sorted(ended) == [(0, False), (1, True), (2, True), (3, False), (4, False), (5, False)]
    assert kept in timings(tmp_path)
    assert second.run(SPECS) == records  # from the files now, and the same
    second.run([replace(SPECS[0], epochs=3)])  # other specifications have other records
    assert run.count(0) == 3


@pytest.mark.parametrize("in_order", [False, True])
def test_runs_of_one_network_follow_one_another_unless_the_order_matters(tmp_path, in_order):
    """So that a process needs to keep few compiled networks."""
    wide, conv = ([replace(spec, **changes) for spec in SPECS]
                  for changes in ({"builder": {"hidden": [9]}}, {"model": "lenet5"}))  # fmt: skip
    asked = [spec for specs in zip(SPECS, wide, conv, strict=True) for spec in specs]
    with thread_workers(1) as workers:
        sweep = make_sweep(tmp_path, FakeRun(tmp_path / "calls"), workers)
        assert list(sweep.run(asked, in_order=in_order)) == asked
    ran = list(timings(tmp_path))
    if in_order:
        assert ran == [spec.identity(FINGERPRINT) for spec in asked]
        return
    for specs in (SPECS, wide, conv):
        places = [ran.index(spec.identity(FINGERPRINT)) for spec in specs]
        assert places == list(range(min(places), min(places) + len(specs)))


def test_nothing_to_run_needs_no_workers(tmp_path):
    assert make_sweep(tmp_path, FakeRun(tmp_path / "calls"), workers=None).run([]) == {}


def test_a_run_that_raises_is_reported_and_tried_again_next_time(sweep_of, tmp_path):
    # The exception cannot be unpickled, which must not break a pool of processes.
    sweep, run = sweep_of({4: "raise", 1: "raise"}, process_workers)
    ended = []
    sweep.on_end = lambda spec, seconds: ended.append(spec)
    records = sweep.run(SPECS)
    assert list(records) == [SPECS[i] for i in (0, 2, 3, 5)]
    # In the order of the specifications, whichever ended first: tables must not depend on it.
    assert [failure.spec.seed for failure in sweep.failures.values()] == [1, 4]
    identity = SPECS[1].identity(FINGERPRINT)
    assert sweep.failures[identity].cause == "Awkward: no luck in seed 1"
    assert timings(tmp_path)[identity] == (1, "failed")
    assert sorted(spec.seed for spec in ended) == list(range(6))
    assert [run.count(seed) for seed in (1, 4)] == [1, 1]
    again, run = sweep_of()
    assert list(again.run(SPECS)) == SPECS
    assert again.failures == {}
    assert [run.count(spec.seed) for spec in SPECS] == [1, 2, 1, 1, 2, 1]


def test_a_worker_with_other_data_fails_instead_of_mixing_its_records_in(sweep_of, tmp_path):
    sweep, _ = sweep_of({2: "other data"})
    assert SPECS[2] not in sweep.run(SPECS)
    (failure,) = sweep.failures.values()
    assert "other data" in failure.cause
    assert len(record_files(tmp_path)) == 5


def test_a_record_that_cannot_be_written_stops_the_sweep_and_keeps_the_others(
    sweep_of, tmp_path, monkeypatch
):
    sweep, _ = sweep_of()
    sweep.run(SPECS[:2])
    before = record_files(tmp_path)

    def no_space(*paths):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", no_space)
        with pytest.raises(OSError, match="No space"):
            sweep.run(SPECS)
    assert record_files(tmp_path) == before
    assert list(sweep.run(SPECS)) == SPECS
