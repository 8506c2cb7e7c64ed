"""Measures a submission's clean loss, its recorder of loss curves and its sharpness.

`unrecorded` is what there is without either: it runs in a child with no submission.
"""

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

# So small that nothing is ever dropped: a recorder that draws from it shows in the seed's state,
# and the weights that it sees stay those of a fit without it.
_NO_DROP = 1e-9


def clean_loss(
    submission: ModuleType,
    weights: Values,
    l1: float,
    l2: float,
    seed: int,
    x: np.ndarray,
    y: np.ndarray,
    batch_sizes: list[int],
) -> dict[str, Any]:
    """(cross-entropy, penalty) for each batch size, and the model's state after all of them."""
    model = _toy(weights, l1, l2, seed)
    results = []
    for batch_size in batch_sizes:
        result = the(submission, "clean_loss")(model, x, y, batch_size=batch_size)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(
                f"clean_loss must return the pair (loss, penalty), not {type(result).__name__}."
            )
        results.append([float(value) for value in result])
    return {"results": results, "after": _state(model)}


def recorded(
    submission: ModuleType,
    weights: Values,
    l1: float,
    l2: float,
    seed: int,
    train: tuple,
    validation: tuple,
    epochs: int,
) -> dict[str, Any]:
    """A fit with the recorder: the state after it, the recorder's history, the logs behind it."""
    model = _toy(weights, l1, l2, seed, rate=_NO_DROP)
    recorder = the(submission, "LossCurves")(train, validation)
    logs: list[dict] = []
    behind = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, seen: logs.append(copy.copy(seen))
    )
    _fit(model, train, epochs, seed, [recorder, behind])
    return {
        "state": _state(model),
        "logs": [{name: float(value) for name, value in row.items()} for row in logs],
        "history": {
            str(name): [float(value) for value in column]
            for name, column in recorder.history.items()
        },
    }


def unrecorded(
    submission: None,
    weights: Values,
    l1: float,
    l2: float,
    seed: int,
    train: tuple,
    epochs: int,
) -> dict[str, Any]:
    """The same fit without a recorder: the state before and after it, and the weights at each
    moment of a curve, before the first step and after each epoch."""
    model = _toy(weights, l1, l2, seed, rate=_NO_DROP)
    start = _state(model)
    moments = [_weights(model)]
    every = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: moments.append(_weights(model))
    )
    _fit(model, train, epochs, seed, [every])
    return {"start": start, "state": _state(model), "moments": moments}


def _fit(model: keras.Model, train: tuple, epochs: int, seed: int, callbacks: list) -> None:
    batches = tf.data.Dataset.from_tensor_slices(train).batch(len(train[0]))
    keras.utils.set_random_seed(seed)
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)


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
) -> float:
    """The sharpness of a softmax regression, a Keras model of one dense layer."""
    inputs = layers.Input(kernel.shape[:1])
    model = keras.Model(inputs, layers.Dense(kernel.shape[1])(inputs))
    model.set_weights([kernel, bias])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = tf.constant(x, tf.float32)
    value = the(submission, "sharpness")(
        lambda: cross_entropy(y, model(x)), model.trainable_variables, iterations=iterations
    )
    return float(value)


def _toy(weights: Values, l1: float, l2: float, seed: int, rate: float = 0.5) -> keras.Model:
    """Dense (L2) - BN - ReLU - dropout - logits (L1), compiled, at the given weights and seed."""
    features, units = weights["hidden/kernel"].shape
    classes = len(weights["logits/bias"])
    inputs = layers.Input((features,))
    x = layers.Dense(
        units, use_bias=False, kernel_regularizer=keras.regularizers.L2(l2), name="hidden"
    )(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="bn")(x)
    x = layers.Dropout(rate, seed=seed, name="drop")(layers.Activation("relu", name="relu")(x))
    x = layers.Dense(classes, kernel_regularizer=keras.regularizers.L1(l1), name="logits")(x)
    model = keras.Model(inputs, x)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, name="sgd"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # for a few steps that is faster than tracing
    )
    model.optimizer.build(model.trainable_variables)
    keras.utils.set_random_seed(seed)
    return model


def _weights(model: keras.Model) -> Values:
    return {weight.path: np.array(weight) for weight in model.weights}


def _state(model: keras.Model) -> Values:
    """Weights, moving statistics, optimizer and random state, all that a fit goes on from."""
    variables = model.weights + model.optimizer.variables
    _, numbers, position, *_ = np.random.get_state()
    return {variable.path: np.array(variable) for variable in variables} | {
        "seed of dropout": np.array(model.get_layer("drop").seed_generator.state),
        "random state of numpy": np.append(numbers, position),
        "random state of random": np.array(random.getstate()[1]),
    }
