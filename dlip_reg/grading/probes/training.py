"""Measures a submission's clean loss, its recorder of loss curves and its sharpness.

The losses are those of a small network, given by its penalties' strengths and its seed (`toy`).
"""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from dlip_reg.grading.child import the
from dlip_reg.grading.probes.draws import CLASSES, FEATURES, TOY_SHAPES, UNITS, random_weights
from dlip_reg.grading.probes.model import Values, assign, values_of

# So small that nothing is ever dropped: a recorder that draws from it shows in the seed's state,
# and the weights that it sees stay those of a fit without it.
_NO_DROP = 1e-9


def clean_loss(
    submission: ModuleType, toy: dict, x: np.ndarray, y: np.ndarray, batch_sizes: list[int]
) -> dict[str, Any]:
    """(cross-entropy, penalty) for each batch size, and the model's state after all of them."""
    model = _toy(**toy)
    results = []
    for batch_size in batch_sizes:
        result = the(submission, "clean_loss")(model, x, y, batch_size=batch_size)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(
                f"clean_loss must return the pair (loss, penalty), not {type(result).__name__}."
            )
        results.append([float(value) for value in result])
    return {"results": results, "after": _state(model)}


def fit(
    submission: ModuleType | None, toy: dict, train: tuple, validation: tuple, epochs: int
) -> dict[str, Any]:
    """A fit with the submission's recorder; in a child with no submission, one without.

    `start` and `state` are the state before and after the fit, `moments` the weights at each point
    of a curve, before the first step and after each epoch, `logs` what reached a callback behind
    the recorder, and `history` is the recorder's own.
    """
    model = _toy(**toy, rate=_NO_DROP)
    start, moments, logs = _state(model), [values_of(model)], []
    recorders = [the(submission, "LossCurves")(train, validation)] if submission else []

    def note(epoch: int, seen: dict) -> None:
        moments.append(values_of(model))
        logs.append({name: float(value) for name, value in seen.items()})

    batches = tf.data.Dataset.from_tensor_slices(train).batch(len(train[0]))
    callbacks = [*recorders, keras.callbacks.LambdaCallback(on_epoch_end=note)]
    keras.utils.set_random_seed(toy["seed"])
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
    history = {
        str(name): [float(value) for value in column]
        for recorder in recorders
        for name, column in recorder.history.items()
    }
    state = _state(model)
    return {"start": start, "state": state, "moments": moments, "logs": logs, "history": history}


def quadratic(
    submission: ModuleType,
    hessian: np.ndarray,
    shapes: list,
    values: np.ndarray,
    slope: np.ndarray | None,
    iterations: int,
    seed: int,
) -> dict[str, Any]:
    """The sharpness of 1/2 w'Hw + slope . u, and the variables' values after.

    w has the given `values`, in variables of the given `shapes`; u is one more variable, and there
    is none where `slope` is None.
    """
    hessian = tf.constant(hessian, tf.float32)
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1].astype(int))
    variables = [
        tf.Variable(part.reshape(shape), dtype=tf.float32)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    w_variables = list(variables)
    if slope is not None:
        variables.append(tf.Variable(tf.zeros(slope.shape)))

    def loss() -> tf.Tensor:
        w = tf.concat([tf.reshape(variable, [-1]) for variable in w_variables], 0)
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


def _toy(l1: float, l2: float, seed: int, rate: float = 0.5) -> keras.Model:
    """Dense (L2) - BN - ReLU - dropout - logits (L1), compiled, at the seed's weights."""
    inputs = layers.Input((FEATURES,))
    x = layers.Dense(
        UNITS, use_bias=False, kernel_regularizer=keras.regularizers.L2(l2), name="hidden"
    )(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="bn")(x)
    x = layers.Dropout(rate, seed=seed, name="drop")(layers.Activation("relu", name="relu")(x))
    x = layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L1(l1), name="logits")(x)
    model = keras.Model(inputs, x)
    assign(model, random_weights(TOY_SHAPES, seed))
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, name="sgd"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # for a few steps that is faster than tracing
    )
    model.optimizer.build(model.trainable_variables)
    keras.utils.set_random_seed(seed)
    return model


def _state(model: keras.Model) -> Values:
    """Weights, moving statistics, optimizer and random state, all that a fit goes on from."""
    variables = model.weights + model.optimizer.variables
    _, numbers, position, *_ = np.random.get_state()
    return {variable.path: np.array(variable) for variable in variables} | {
        "seed of dropout": np.array(model.get_layer("drop").seed_generator.state),
        "random state of numpy": np.append(numbers, position),
        "random state of random": np.array(random.getstate()[1]),
    }
