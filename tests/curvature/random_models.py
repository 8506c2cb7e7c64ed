"""Keras models with random weights, data for them, on any backend."""

import keras
import numpy as np

layers = keras.layers
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6))
LABELS = RNG.integers(3, size=12)
IMAGES = RNG.normal(size=(12, 6, 6, 2))
TOKENS = np.array([[1, 4, 2, 0], [3, 0, 0, 0], [2, 2, 1, 4]] * 4)  # 0 is masked


def randomised(model, seed=1, spread=0.3):
    """Random weights and statistics, since new biases are zeros and new scales are ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.path:
            values = rng.normal(0, spread, size=variable.shape)
            positive = variable.name in ("gamma", "moving_variance")
            variable.assign(np.exp(values) if positive else values)
    return model


def sequential(*stack, shape=(6,), dtype="float64"):
    with_dtype = [type(layer).from_config(layer.get_config() | {"dtype": dtype}) for layer in stack]
    inputs = keras.Input(shape, dtype="float64" if dtype == "float64" else "float32")
    return randomised(keras.Sequential([inputs, *with_dtype]))


def matrix(product, size):
    return np.stack([product(unit) for unit in np.eye(size)])


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


class StoppedMean(layers.Layer):
    """Normalises with the gradient of the mean stopped: right to first order only."""

    def call(self, x):
        mean = keras.ops.mean(x, -1, keepdims=True)
        spread = keras.ops.square(x - keras.ops.stop_gradient(mean))
        return (x - mean) / keras.ops.sqrt(keras.ops.mean(spread, -1, keepdims=True) + 1e-3)
