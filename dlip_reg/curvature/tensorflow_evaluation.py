"""Keras models evaluated so that TensorFlow's second derivatives of them are right, and quick.

Used with `tensorflow_backend` and `tensorflow_layers`: together they are all of this room that
knows TensorFlow.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_PATCHING = threading.RLock()


@contextlib.contextmanager
def evaluation(model: keras.Model, batch_norm: str, dtype: str, values: dict) -> Iterator[dict]:
    """Keras evaluates at `values` in `dtype`, and nothing of the model is changed.

    `values` are tensors by the ids of their variables; yields them, to be added to.
    """
    policy = keras.DTypePolicy(dtype)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_PATCHING)
        stack.enter_context(replaced(tf.nn, "moments", _moments))
        stack.enter_context(replaced(tf.nn, "max_pool", _max_pool(tf.nn.max_pool)))
        for layer in model._flatten_layers():
            if keras.backend.is_float_dtype(layer.compute_dtype):
                stack.enter_context(replaced(layer, "_dtype_policy", policy))
            if hasattr(layer, "use_cudnn"):  # which has no second derivative
                stack.enter_context(replaced(layer, "use_cudnn", False))
            if batch_norm == "batch" and isinstance(layer, keras.layers.BatchNormalization):
                stack.enter_context(replaced(layer, "call", _training_call(layer.call)))
        scope = stack.enter_context(keras.StatelessScope())
        # Set here, and not through the scope, which would cast to the variables' own dtype.
        scope.state_mapping.update(_others(model, dtype))
        scope.state_mapping.update(values)
        yield scope.state_mapping


def _others(model: keras.Model, dtype: str) -> dict:
    """What the model's floating variables hold, by their ids, where it is not in `dtype`."""
    return {
        id(variable): tf.cast(variable.value, dtype)
        for variable in model.variables
        if keras.backend.is_float_dtype(variable.dtype) and variable.dtype != dtype
    }


def _training_call(call: Callable) -> Callable:
    def training_call(inputs, training=None, mask=None):
        return call(inputs, training=True, mask=mask)

    return training_call


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    # Through vars(), for Keras layers watch their attributes being set.
    attributes = vars(owner)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before


def _moments(x, axes, shift=None, keepdims=False, name=None):
    """`tf.nn.moments` written out: its own stops a gradient that second derivatives need."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=keepdims)
    return (mean if keepdims else tf.squeeze(mean, axes)), variance


def _max_pool(pool: Callable) -> Callable:
    """`tf.nn.max_pool` with a quicker second derivative where windows do not overlap.

    The gradient spreads each output's to the place of its maximum. The transpose of that picks the
    maxima's places out of a tensor: TensorFlow's kernel for it costs half a gradient of a small
    network, while the gradient of ones marks the places and an average pool gathers them.
    """

    def max_pool(x, ksize, strides, padding, data_format=None, name=None):
        def pooled(tensor, operation=pool):
            return operation(tensor, ksize, strides, padding, data_format)

        sizes = (ksize,) * 2 if isinstance(ksize, int) else tuple(ksize)
        if (
            len(x.shape) != 4
            or data_format not in (None, "NHWC")
            or padding != "VALID"
            or len(sizes) != 2
            or sizes != ((strides,) * 2 if isinstance(strides, int) else tuple(strides))
        ):
            return pooled(x)

        @tf.custom_gradient
        def maxima(x):
            with watch(x, persistent=True) as tape:
                y = pooled(x)

            @tf.custom_gradient
            def spread(dy):
                def pick(tensor):
                    places = tape.gradient(y, x, tf.ones_like(y))
                    return pooled(places * tensor, tf.nn.avg_pool) * float(np.prod(sizes))

                return tape.gradient(y, x, dy), pick

            return y, spread

        return maxima(x)

    return max_pool


@contextlib.contextmanager
def watch(tensor: tf.Tensor, persistent: bool = False) -> Iterator[tf.GradientTape]:
    with tf.GradientTape(persistent=persistent, watch_accessed_variables=False) as tape:
        tape.watch(tensor)
        yield tape


def gradient_of(tape, target, source, output_gradients=None) -> tf.Tensor:
    return tape.gradient(
        target, source, output_gradients, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
