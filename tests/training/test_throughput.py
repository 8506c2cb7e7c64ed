"""Examples per second: what is counted, and what is not."""

import time
from dataclasses import replace

import pytest
from training_samples import load, measured
from warm_processes import warm_workers

from dlip_reg.training import DataSpec, RunSpec, fitting, throughput
from dlip_reg.training.records import dumps, loads
from dlip_reg.training.specification import ThroughputSpec
from dlip_reg.training.throughput import measure_throughput

RUN = RunSpec(
    "mlp",
    DataSpec("fashion_mnist_subset", n_train=60, n_validation=20, n_test=10),
    builder={"hidden": [8]},
    optimizer="sgd",
    batch_size=16,
)
SPEC = ThroughputSpec(RUN, seconds=3.0)


def fake_training(monkeypatch, ends):
    """Epochs end at these seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Model:
        stop_training = False

    def fit(model, run, dataset, callbacks):
        (clock,) = callbacks
        clock.set_model(model)
        for epoch, end in enumerate(ends):
            now[0] = end
            clock.on_epoch_end(epoch)
            if model.stop_training:
                return
        raise AssertionError("The training was not stopped.")

    monkeypatch.setattr(throughput, "compiled", lambda run, dataset: Model())
    monkeypatch.setattr(throughput, "fit", fit)


def test_the_first_epoch_and_hiccups_do_not_count(monkeypatch):
    # 50 s of tracing; epochs of 0.5 s and one hiccup. An epoch is 3 batches of 16.
    fake_training(monkeypatch, [50, 50.5, 51, 52.7, 53.2, 53.7, 99])
    measures = measure_throughput(SPEC, load(SPEC)).measures
    assert measures.examples_per_second == pytest.approx(48 / 0.5)


def test_slow_epochs_are_at_least_three(monkeypatch):
    fake_training(monkeypatch, [1, 11, 21, 31, 41])
    record = measure_throughput(replace(SPEC, run=replace(RUN, batch_size=600)), load(SPEC))
    # The batch is all there is.
    assert record.measures.examples_per_second == pytest.approx(60 / 10)


def test_a_real_measurement_is_told_in_plain_numbers(monkeypatch):
    """Of training alone: a loss to stop at is not looked at."""
    monkeypatch.setattr(fitting, "LossCurve", None)
    run = replace(RUN, stop_loss=99.0, measures=("curves", "minimizer"))
    quick = replace(SPEC, seconds=0.01, run=run)
    record = measure_throughput(quick, load(quick))
    assert loads(dumps(record)) == record
    assert record.status == "finished"
    assert min(measured(record.measures).values()) > 0
    assert record.id == quick.identity(load(quick).fingerprint)
    assert record.id != replace(quick, run=replace(run, seed=1)).identity(load(quick).fingerprint)
    monkeypatch.setattr(throughput, "usable_cores", lambda: 1)
    assert measured(measure_throughput(replace(quick, threads=2), load(quick)).measures) == {}


@pytest.mark.timeout(120)
def test_a_worker_that_measured_with_one_thread_can_end():
    quick = replace(SPEC, seconds=0.01, threads=1)
    with warm_workers(1) as worker:
        record = worker.submit(measure_throughput, quick, load(quick)).result()
    assert min(measured(record.measures).values()) > 0
