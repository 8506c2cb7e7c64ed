"""Measures a submission's clean loss, its recorder of loss curves and its sharpness.

What a measurement has changed is not reported but shows in a later request, whose inputs are drawn
after it.

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
from probes.draws import CLASSES, FEATURES, TOY_SHAPES, UNITS, random_weights
from probes.model import Values, assign, in_float32, values_of

# So small that nothing is ever dropped: the weights that a recorder sees are those of a fit without
# it even where it draws from dropout's seed, which shows when training goes on.
_NO_DROP = 1e-9


# What the last request has left behind for the next.
_left: dict[str, Any] = {}


@in_float32()
def clean_loss(
    submission: ModuleType | None, toy: dict, x: np.ndarray, y: np.ndarray, batch_sizes: list[int]
) -> list[list[float]]:
    """(cross-entropy, penalty) for each batch size; with no submission nothing is measured."""
    model = _left["model"] = _toy(**toy)
    results = []
    for batch_size in batch_sizes if submission else ():
        result = the(submission, "clean_loss")(model, x, y, batch_size=batch_size)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(
                f"clean_loss must return the pair (loss, penalty), not {type(result).__name__}."
            )
        results.append([float(value) for value in result])
    return results


@in_float32()
def fit(
    submission: ModuleType | None, toy: dict, train: tuple, validation: tuple, epochs: int
) -> dict[str, Any]:
    """A fit with the submission's recorder; in a child with no submission, one without.

    `moments` are the weights at each point of a curve, before the first step and after each epoch,
    `logs` what reached a callback behind the recorder, and `history` is the recorder's own.
    """
    model = _left["model"] = _toy(**toy, rate=_NO_DROP)
    moments, logs = [values_of(model)], []
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
    return {"moments": moments, "logs": logs, "history": history}


### BEGIN HIDDEN TESTS
@in_float32()
def go_on(submission: ModuleType | None, x: np.ndarray, y: np.ndarray) -> Values:
    """The weights and moving averages after further training of the model that `clean_loss` or
    `fit` has left, on examples that were not known then.

    They depend on all that the model had been left with: weights, optimizer and the state of
    dropout, and on the random states of NumPy and Python, which draw the examples.
    """
    model = _left.pop("model")
    model.get_layer("drop").rate = 0.5
    chosen = np.random.permutation(len(x))[: len(x) // 2]
    random.shuffle(chosen)
    for batch in np.split(chosen, 2):
        model.train_on_batch(x[batch], y[batch])  # `fit` would make a pipeline of data first
    return values_of(model)


### END HIDDEN TESTS
@in_float32()
def quadratic(
    submission: ModuleType,
    hessian: np.ndarray,
    shapes: list,
    values: np.ndarray,
    slope: np.ndarray | None,
    iterations: int,
    seed: int,
) -> float:
    """The sharpness of 1/2 w'Hw + slope . u.

    w has the given `values`, in variables of the given `shapes`; u is one more variable, and there
    is none where `slope` is None.
    """
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1].astype(int))
    w = [
        tf.Variable(part.reshape(shape), dtype=tf.float32)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    u = [] if slope is None else [tf.Variable(tf.zeros(slope.shape))]
    _left["w"] = w

    def loss() -> tf.Tensor:
        value = _quadratic_form(hessian, w)
        return value + tf.reduce_sum(slope * u[0]) if u else value

    return float(the(submission, "sharpness")(loss, [*w, *u], iterations=iterations, seed=seed))


### BEGIN HIDDEN TESTS
def descend(submission: ModuleType, hessian: np.ndarray, rate: float) -> np.ndarray:
    """The weights that `quadratic` has left, after a step of gradient descent on 1/2 w'Hw, a
    surface that was not known then."""
    w = _left.pop("w")
    with tf.GradientTape() as tape:
        value = _quadratic_form(hessian, w)
    for variable, gradient in zip(w, tape.gradient(value, w), strict=True):
        variable.assign_sub(rate * gradient)
    return _joined(w).numpy()


### END HIDDEN TESTS
def _joined(variables: list[tf.Variable]) -> tf.Tensor:
    return tf.concat([tf.reshape(variable, [-1]) for variable in variables], 0)


def _quadratic_form(hessian: np.ndarray, variables: list[tf.Variable]) -> tf.Tensor:
    w = _joined(variables)
    return tf.reduce_sum(w * tf.linalg.matvec(tf.constant(hessian, tf.float32), w)) / 2


### BEGIN HIDDEN TESTS
@in_float32()
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
    # As in the public tests these are TensorFlow's variables, those that Keras' have within.
    variables = [variable.value for variable in model.trainable_variables]
    value = the(submission, "sharpness")(
        lambda: cross_entropy(y, model(x)), variables, iterations=iterations
    )
    return float(value)


### END HIDDEN TESTS
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
