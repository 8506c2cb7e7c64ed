"""What a GPU changes: workers leave it alone unless asked, and products are in full float32."""

import os
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import Sharpness
from dlip_reg.chunks import in_full_precision
from dlip_reg.curvature import LossFunction, top_eigenvalue
from dlip_reg.experiments import executors, local_workers
from dlip_reg.training import process

needs_gpu = pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="needs a GPU that TensorFlow can use"
)
precision = tf.config.experimental
layers = keras.layers


def convolutional():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(512, 12, 12, 1)).astype("float32"), rng.integers(10, size=512)
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D()]
    stack += [layers.BatchNormalization(), layers.Flatten()]
    stack += [layers.Dense(64, activation="relu"), layers.Dense(10)]
    model = keras.Sequential([keras.Input((12, 12, 1)), *stack])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss=loss)
    return model, data


def multiplied_on(number):
    """Where a worker multiplies, and the devices it sees."""
    devices = [device.device_type for device in tf.config.list_logical_devices()]
    return tf.matmul(tf.ones((number, number)), tf.ones((number, number))).device, devices


@pytest.mark.parametrize(("setting", "hidden"), [(None, True), ("0", True), ("1", False)])
def test_a_worker_hides_gpus_unless_it_may_use_them(monkeypatch, setting, hidden):
    calls = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0"])
    monkeypatch.setattr(precision, "set_memory_growth", lambda *given: calls.append(given))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *given: calls.append(given))
    monkeypatch.setattr(process.multiprocessing, "parent_process", object)
    monkeypatch.delenv(process.GPUS, raising=False)
    if setting is not None:
        monkeypatch.setenv(process.GPUS, setting)
    process.configure_at_full_speed.__wrapped__()
    assert calls == ([([], "GPU")] if hidden else [("GPU:0", True)])
    monkeypatch.setenv(process.GPUS, "yes")
    with pytest.raises(process.SettingError, match=r"GPUS must be 0 or 1 .* not 'yes'"):
        process.configure_at_full_speed.__wrapped__()


@pytest.mark.parametrize(("gpus", "given", "level"), [(False, None, "3"), (True, "1", "1")])
def test_local_workers_start_with_what_they_may_use_and_with_less_logging_unless_its_level_is_set(
    monkeypatch, gpus, given, level
):
    # They have it from the start, because a script may import TensorFlow as they import it.
    monkeypatch.setattr(executors, "configure_process", int)
    monkeypatch.delenv(process.QUIET[0], raising=False)
    if given:
        monkeypatch.setenv(process.QUIET[0], given)
    with local_workers(1, gpus=gpus) as workers:
        names = process.QUIET[0], process.GPUS
        found = [workers.submit(os.getenv, name).result() for name in names]
    assert found == [level, str(int(gpus))]


def test_precision_of_matrix_products_is_that_of_the_user_again_afterwards():
    before = precision.tensor_float_32_execution_enabled()
    try:
        for users in (True, False):
            precision.enable_tensor_float_32_execution(users)
            with pytest.raises(ZeroDivisionError), in_full_precision():
                assert not precision.tensor_float_32_execution_enabled()
                raise ZeroDivisionError
            assert precision.tensor_float_32_execution_enabled() == users
    finally:
        precision.enable_tensor_float_32_execution(before)


def test_threads_share_the_precision_of_matrix_products():
    before = precision.tensor_float_32_execution_enabled()
    first, second = in_full_precision(), in_full_precision()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not precision.tensor_float_32_execution_enabled()
    second.__exit__(None, None, None)
    assert precision.tensor_float_32_execution_enabled() == before


def test_curvature_is_computed_in_full_precision():
    note = mock.Mock()  # a list would be state of the layer's, and refused

    class Watching(layers.Layer):
        def call(self, x):
            note(precision.tensor_float_32_execution_enabled())
            return x

    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), Watching()])
    model.compile("sgd", loss="mse", run_eagerly=True)
    x, y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")
    note.reset_mock()
    model.fit(x, y, verbose=0, shuffle=False, callbacks=[Sharpness((x, y), subset=None)])
    assert precision.tensor_float_32_execution_enabled()
    seen = [call.args[0] for call in note.call_args_list]
    assert seen.count(False) > 5 and seen.count(True) >= 1  # measured, and trained


@needs_gpu
@pytest.mark.parametrize("count", [1, 2])
def test_gpu_is_shared_by_workers_that_may_use_it(count):
    with local_workers(count, gpus=True) as workers:
        futures = [workers.submit(multiplied_on, 4000) for _ in range(2 * count)]
        assert all("GPU:0" in future.result()[0] for future in futures)
    with local_workers(count) as workers:
        assert workers.submit(multiplied_on, 10).result()[1] == ["CPU"]


@needs_gpu
def test_sharpness_on_a_gpu_is_that_of_float64():
    model, data = convolutional()
    assert "GPU" in model.weights[0].value.device
    sharpness = Sharpness(data, subset=None)
    model.fit(*data, epochs=2, verbose=0, callbacks=[sharpness])
    function = LossFunction(model, *data)
    weights = function.parameters()

    def product(vector):
        return function.derivative("hessian_product", weights, vector, dtype="float64")

    right = top_eigenvalue(product, function.size, tol=1e-8).value
    last = sharpness.rows[-1]
    assert last["lambda_max"] == pytest.approx(right, rel=1e-3)
    assert last["lambda_max_bound"] < 1.1e-3 * right
    assert last["lambda_max_products"] < 40
