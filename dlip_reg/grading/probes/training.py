"""Measures a submission's clean loss, its recorder of loss curves and its sharpness."""

from __future__ import annotations

import copy
import random
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from dlip_reg.grading.child import the

Values = dict[str, np.ndarray]


def clean_loss(
    submission: ModuleType,
    weights: Values,
    l1: float,
    l2: float,
    x: np.ndarray,
    y: np.ndarray,
    batch_sizes: list[int],
) -> dict[str, Any]:
    """(cross-entropy, penalty) for each batch size, and the model's state before and after."""
    model = _toy(weights, l1, l2)
    before = _state(model)
    results = []
    for batch_size in batch_sizes:
        result = the(submission, "clean_loss")(model, x, y, batch_size=batch_size)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(
                f"clean_loss must return the pair (loss, penalty), not {type(result).__name__}."
            )
        results.append([float(value) for value in result])
    return {"results": results, "before": before, "after": _state(model)}


def curves(
    submission: ModuleType,
    weights: Values,
    l1: float,
    l2: float,
    train: tuple,
    validation: tuple,
    epochs: int,
) -> dict[str, Any]:
    """One fit without and one with the recorder, from the same start.

    Returns the state after each, the weights that the recorder saw at each of its moments, the
    logs behind it and its history.
    """
    model = _toy(weights, l1, l2)
    start = _state(model)
    batches = tf.data.Dataset.from_tensor_slices(train).batch(len(train[0]))
    moments, logs = [], []
    before = keras.callbacks.LambdaCallback(
        on_train_begin=lambda _: moments.append(_weights(model)),
        on_epoch_end=lambda epoch, _: moments.append(_weights(model)),
    )
    behind = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, seen: logs.append(copy.copy(seen))
    )

    def fit(callbacks: list) -> Values:
        for variable in model.variables + model.optimizer.variables:
            variable.assign(start[variable.path])
        keras.utils.set_random_seed(0)
        model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
        return _state(model)

    without = fit([])
    recorder = the(submission, "LossCurves")(train, validation)
    with_recorder = fit([before, recorder, behind])
    return {
        "without": without,
        "with": with_recorder,
        "moments": moments,
        "logs": [{name: float(value) for name, value in row.items()} for row in logs],
        "history": {
            str(name): [float(value) for value in column]
            for name, column in recorder.history.items()
        },
    }


def quadratics(submission: ModuleType, cases: list[dict]) -> list[dict[str, Any]]:
    """The sharpness of 1/2 w'Hw + slope . u, w and u spread over variables; their values after.

    A case has `hessian` (P, P), `shapes` of the variables that w is made of, their `values`,
    `slope` (for one more variable u, on which the loss depends linearly; None for no such
    variable), `iterations` and `seed`.
    """
    return [_quadratic(submission, **case) for case in cases]


def _quadratic(
    submission: ModuleType,
    hessian: np.ndarray,
    shapes: list,
    values: np.ndarray,
    slope: np.ndarray | None,
    iterations: int,
    seed: int,
) -> dict[str, Any]:
    hessian = tf.constant(hessian, tf.float32)
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1].astype(int))
    variables = [
        tf.Variable(part.reshape(shape), dtype=tf.float32)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    quadratic = list(variables)
    if slope is not None:
        variables.append(tf.Variable(tf.zeros(slope.shape)))

    def loss() -> tf.Tensor:
        w = tf.concat([tf.reshape(variable, [-1]) for variable in quadratic], 0)
        value = tf.reduce_sum(w * tf.linalg.matvec(hessian, w)) / 2
        return value if slope is None else value + tf.reduce_sum(slope * variables[-1])

    value = float(the(submission, "sharpness")(loss, variables, iterations=iterations, seed=seed))
    return {"sharpness": value, "values": [variable.numpy() for variable in variables]}


def regression(
    submission: ModuleType,
    kernel: np.ndarray,
    bias: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    iterations: int,
) -> dict[str, Any]:
    """The sharpness of a softmax regression, a Keras model of one dense layer."""
    inputs = layers.Input(kernel.shape[:1])
    model = keras.Model(inputs, layers.Dense(kernel.shape[1])(inputs))
    model.set_weights([kernel, bias])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = tf.constant(x, tf.float32)
    value = the(submission, "sharpness")(
        lambda: cross_entropy(y, model(x)), model.trainable_variables, iterations=iterations
    )
    return {"sharpness": float(value), "values": [np.array(w) for w in model.weights]}


def _toy(weights: Values, l1: float, l2: float) -> keras.Model:
    """Dense (L2) - BN - ReLU - dropout - logits (L1), compiled, at the given weights."""
    features, units = weights["hidden/kernel"].shape
    classes = len(weights["logits/bias"])
    inputs = layers.Input((features,))
    x = layers.Dense(
        units, use_bias=False, kernel_regularizer=keras.regularizers.L2(l2), name="hidden"
    )(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="bn")(x)
    x = layers.Dropout(0.5, name="drop")(layers.Activation("relu", name="relu")(x))
    x = layers.Dense(classes, kernel_regularizer=keras.regularizers.L1(l1), name="logits")(x)
    model = keras.Model(inputs, x)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # for a few steps that is faster than tracing
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _weights(model: keras.Model) -> Values:
    return {weight.path: np.array(weight) for weight in model.weights}


def _state(model: keras.Model) -> Values:
    """Weights, moving statistics, optimizer and random state, all that a fit goes on from."""
    variables = model.variables + model.optimizer.variables
    return {variable.path: np.array(variable) for variable in variables} | {
        "random state of numpy": np.random.get_state()[1],
        "random state of random": np.array(random.getstate()[1]),
    }
