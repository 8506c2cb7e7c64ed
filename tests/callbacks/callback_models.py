"""The small models and data that the tests of the callbacks share."""

import functools
from unittest import mock

import keras
import numpy as np

IMAGES = np.random.default_rng(0).normal(size=(100, 6, 6, 1)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, size=100)
TRAIN = (IMAGES[:70], LABELS[:70])
VALIDATION = (IMAGES[70:], LABELS[70:])
BATCH = 16  # 5 batches an epoch, the last of 6


@functools.cache
def _compiled(policy, dropout, **compile_options):
    layers, l2 = keras.layers, keras.regularizers.L2
    keras.utils.set_random_seed(7)
    stack = [
        layers.Conv2D(
            4, 3, use_bias=False, kernel_regularizer=l2(0.01), name="conv1", dtype=policy
        ),
        layers.BatchNormalization(momentum=0.9, name="conv1_bn", dtype=policy),
        layers.Activation("relu", name="conv1_relu", dtype=policy),
        layers.Dropout(dropout / 2, dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(8, "relu", kernel_regularizer="l1", name="dense1", dtype=policy),
        layers.Dropout(dropout, dtype=policy),
        layers.Dense(3, name="logits", dtype=policy),
    ]
    model = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**{"optimizer": "adam", "loss": loss, "metrics": ["accuracy"]} | compile_options)
    model.optimizer.build(model.trainable_variables)
    return model, state(model)


def conv_net(policy="float32", dropout=0.5, **compile_options):
    """Conv, batch norm, dropout, dense: logits of 3 classes, always from the same state.

    One model for each set of options, put back where it began: tracing takes the time here.
    """
    model, initial = _compiled(policy, dropout, **compile_options)
    for variable, value in zip(model.variables + model.optimizer.variables, initial, strict=True):
        variable.assign(value)
    model._initial_epoch = None  # where BackupAndRestore leaves the epoch it resumed from
    return model


def least_squares(weights, learning_rate=0.1):
    """f = mean of (x . w - y)^2, whose gradient and Hessian, 2 X^T X / n, are known."""
    model = keras.Sequential([keras.Input((len(weights),)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.reshape(weights, (-1, 1))])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


def fit(model, callbacks=(), epochs=2, **options):
    """A fit whose order of examples and dropout masks are the same each time."""
    keras.utils.set_random_seed(11)
    options = {"batch_size": BATCH, "verbose": 0} | options
    return model.fit(*TRAIN, epochs=epochs, callbacks=list(callbacks), **options).history


def state(model):
    """Every variable a fit leaves behind: weights, statistics, seed generators, optimizer."""
    return [keras.ops.convert_to_numpy(v) for v in model.variables + model.optimizer.variables]


def same(states, others):
    return all(np.array_equal(a, b) for a, b in zip(states, others, strict=True))


def measured(model, recorder):
    """What the recorder measures of a model outside any fit: (numbers, details)."""
    recorder.set_model(model)
    recorder.prepare()
    return recorder.measure()


def driven(model, recorder, changes=()):
    """The logs that a fit of one-batch epochs gives it, each of which is a change to the model."""
    logs = [{} for _ in changes]
    recorder.set_model(model)
    recorder.set_params({"epochs": len(logs), "steps": 1})
    recorder.on_train_begin()
    recorder.on_epoch_begin(0)
    for epoch, change in enumerate(changes):
        change()
        recorder.on_train_batch_end(0)
        recorder.on_epoch_end(epoch, logs[epoch])
        recorder.on_epoch_begin(epoch + 1)
    recorder.on_train_end()
    return logs


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def cross_entropy(model, x, labels):
    """The definition, in float64, from what the model predicts."""
    logits = model.predict(x, verbose=0)
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean()


def top_of(loss, weights):
    """The largest eigenvalue of the Hessian of `loss(*arrays)`, by differences in float64."""
    flat = np.concatenate([w.ravel() for w in weights])
    ends = np.cumsum([w.size for w in weights])[:-1]

    def at(point):
        parts = np.split(point, ends)
        return loss(*(p.reshape(w.shape) for p, w in zip(parts, weights, strict=True)))

    step = 1e-4
    unit = step * np.eye(flat.size)
    hessian = np.zeros((flat.size, flat.size))
    for i, a in enumerate(unit):
        for j, b in enumerate(unit[: i + 1]):
            around = at(flat + a + b) - at(flat + a - b) - at(flat - a + b) + at(flat - a - b)
            hessian[i, j] = hessian[j, i] = around / (4 * step**2)
    return np.linalg.eigvalsh(hessian)[-1]


def resumable_fit(callbacks):
    """A fit whose rest, from restored weights, is the same each time.

    Keras' backup holds weights and optimizer, not where the shuffle and the dropout masks stood.
    """
    return fit(conv_net(dropout=0.0), callbacks, epochs=4, shuffle=False)


class Counting(keras.layers.Layer):
    """Counts how often Python runs it: once a trace."""

    runs = mock.Mock()

    def call(self, x):
        Counting.runs()
        return x


class Interrupt(keras.callbacks.Callback):
    """Raises KeyboardInterrupt at the end of one batch of one epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt
