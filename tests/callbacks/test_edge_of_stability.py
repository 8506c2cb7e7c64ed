"""What settles at its threshold under which optimizer, on a small network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import Sharpness

layers, optimizers = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype("float32")
Y = RNG.normal(size=(64, 2)).astype("float32")


def watched_fit(optimizer, measure, *, batch_size=64, epochs=15, **options):
    """The measure in units of its threshold, before training and after each 200 steps."""
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(20, "tanh") for _ in range(2)]
    model = keras.Sequential([keras.Input((5,)), *hidden, layers.Dense(2)])
    model.compile(optimizer, "mse", steps_per_execution=50)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64, seed=1)
    batches = batches.batch(batch_size).repeat()
    recorder = Sharpness((X, Y), measures=measure, subset=None, batch_size=batch_size, **options)
    model.fit(batches, steps_per_epoch=200, epochs=epochs, verbose=0, callbacks=[recorder])
    suffix = "_lr_half" if measure == "lambda_max" else "_over_threshold"
    return np.array([row[f"{measure}{suffix}"] for row in recorder.rows])


@pytest.mark.thorough
def test_the_largest_eigenvalue_settles_at_2_over_the_learning_rate_of_gradient_descent():
    course = watched_fit(optimizers.SGD(0.2), "lambda_max")
    assert course[0] < 0.6  # it rose to the threshold
    np.testing.assert_allclose(course[-10:], 1, atol=0.1)


@pytest.mark.thorough
def test_the_preconditioned_one_settles_at_adams_threshold():
    course = watched_fit(optimizers.Adam(0.01), "preconditioned")
    np.testing.assert_allclose(course[-10:], 1, atol=0.1)


@pytest.mark.thorough
def test_batch_sharpness_settles_at_2_over_the_learning_rate_of_sgd():
    course = watched_fit(optimizers.SGD(0.2), "batch_sharpness", batch_size=8, epochs=30)
    assert course[0] < 0.7
    # It fluctuates from batch to batch more than the largest eigenvalue.
    assert np.mean(course[-10:]) == pytest.approx(1, abs=0.1)
