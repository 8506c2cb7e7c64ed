"""Real training through the sweep: the same files, byte for byte, however it was spread."""

import os
from dataclasses import replace

import numpy as np
import pytest
from fake_runs import record_files
from warm_processes import warm_cluster, warm_workers

from dlip_reg.datasets import dataset_info
from dlip_reg.experiments import RunFolder, Sweep, dask_workers, local_workers, timing_worker
from dlip_reg.regularization import Regularization
from dlip_reg.training import DataSpec, RunSpec, worker
from dlip_reg.training.specification import MEASURES, InterpolationSpec, ThroughputSpec
from dlip_reg.training.worker import kernel_kinds, run_spec, run_timed

NAME = "fashion_mnist_subset"
DROPPED = RunSpec(
    "lenet5",
    DataSpec(NAME, n_train=40, n_validation=30, n_test=20),
    Regularization(dense_dropout=0.5),
    batch_size=8,
    epochs=1,
    measures=MEASURES,
)
SPECS = [
    DROPPED,
    replace(DROPPED, seed=1, measures=()),
    replace(DROPPED, regularization=Regularization(conv_l2=0.01, dense_l2=0.01)),
    replace(DROPPED, regularization=Regularization(conv_l2=0.001, dense_l2=0.1)),
    InterpolationSpec(DROPPED, replace(DROPPED, batch_size=16)),
]


def sweep(path, workers, specs=SPECS):
    folder = RunFolder(path / "out", {"lab": "tiny"})
    folder.open()
    sweep = Sweep(folder, dataset_info(NAME).fingerprint, run_spec, workers)
    records = sweep.run(specs)
    assert sweep.failures == {}
    assert list(records) == list(specs)
    return record_files(path)


@pytest.fixture(scope="module")
def one_worker():
    with local_workers(1) as workers:
        yield workers


@pytest.fixture(scope="module")
def by_one_worker(one_worker, tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("one"), one_worker)


@pytest.mark.thorough
def test_two_workers_in_another_order_leave_the_same_files(by_one_worker, tmp_path):
    assert len(by_one_worker) == len(SPECS)
    with warm_workers(2) as workers:
        assert sweep(tmp_path, workers, SPECS[::-1]) == by_one_worker


@pytest.mark.thorough
def test_no_record_depends_on_the_users_configuration(by_one_worker, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first"}'
    )
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "no_such_backend")
    monkeypatch.setenv("KERAS_MAX_STEPS_PER_EPOCH", "1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit")
    with local_workers(1) as workers:
        assert sweep(tmp_path, workers, SPECS[:1]).items() <= by_one_worker.items()
        assert workers.submit(os.getenv, "TF_ENABLE_ONEDNN_OPTS").result() is None


@pytest.mark.thorough
def test_workers_use_onednn_where_that_is_asked_for(by_one_worker, tmp_path, monkeypatch):
    monkeypatch.setenv("DLIP_REG_ONEDNN", "1")
    with local_workers(1) as workers:
        assert sweep(tmp_path, workers, SPECS[:1]).keys() <= by_one_worker.keys()
        assert workers.submit(os.getenv, "TF_ENABLE_ONEDNN_OPTS").result() == "1"


@pytest.mark.thorough
def test_a_dask_cluster_leaves_the_same_files(by_one_worker, tmp_path):
    # Two threads on purpose: Keras' state is the process's, so they must take turns.
    with (
        warm_cluster(n_workers=1, threads=2) as cluster,
        dask_workers(cluster.scheduler_address) as workers,
    ):
        assert sweep(tmp_path, workers) == by_one_worker


@pytest.mark.parametrize(("model", "kinds"), [("lenet5", {"conv", "dense"}), ("mlp", {"dense"})])
def test_the_kinds_of_kernels_are_those_of_the_model(one_worker, model, kinds):
    assert one_worker.submit(kernel_kinds, replace(DROPPED, model=model)).result() == kinds


def test_data_that_cannot_be_had_is_said_so_by_the_worker(one_worker):
    too_many = replace(DROPPED, data=DataSpec(NAME, n_train=10**6))
    with pytest.raises(ValueError, match="n_train"):
        one_worker.submit(kernel_kinds, too_many).result()


def test_each_seed_has_a_split_of_its_own(monkeypatch):
    for name in ("configure_process", "configure_at_full_speed"):
        monkeypatch.setattr(worker, name, lambda: None)
    monkeypatch.setattr(worker, "_runner", lambda spec: lambda spec, data: data)
    for run in (run_spec, run_timed):
        first, second = (run(replace(DROPPED, seed=seed)).x_validation for seed in (0, 1))
        assert not np.array_equal(first, second)


def threads():
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads()


@pytest.mark.thorough
def test_speed_is_measured_with_all_threads_of_the_machine(one_worker):
    spec = ThroughputSpec(DROPPED, seconds=0.01)
    with timing_worker() as worker:
        record = worker.submit(run_timed, spec).result()
        assert worker.submit(threads).result() == 0  # as many as there are
    assert record.measures.examples_per_second > 0
    assert record.id == spec.identity(dataset_info(NAME).fingerprint)
    one_worker.submit(kernel_kinds, DROPPED).result()
    assert one_worker.submit(threads).result() == 1
