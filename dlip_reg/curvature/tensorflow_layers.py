"""Which layers of a Keras model TensorFlow's second derivatives go wrong in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.curvature.tensorflow_backend import split
from dlip_reg.curvature.tensorflow_evaluation import evaluation, gradient_of, replaced, watch


def layers_at_fault(
    model: keras.Model, x: Any, batch_norm: str, dtype: str, step: float, tolerance: float
) -> tuple[str, ...]:
    """The innermost layers whose own second derivatives disagree with their gradients.

    Each layer is tried alone, on the inputs that it gets when the model sees `x`: the Hessian of a
    random combination of its outputs, in its floating inputs and its trainable weights, against a
    central difference of gradients with a relative `step`.
    """
    calls: dict[int, tuple] = {}

    def recorded(layer: keras.Layer) -> Callable:
        call = layer.call

        def recorded_call(*args, **kwargs):
            calls.setdefault(id(layer), (call, args, kwargs))
            return call(*args, **kwargs)

        return recorded_call

    layers = model._flatten_layers(include_self=False)
    with evaluation(model, batch_norm, dtype, {}), contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", recorded(layer)))
        model(x, training=False)
    at_fault: list[keras.Layer] = []
    for layer in reversed(layers):  # a layer's own sublayers stand behind it
        inner = layer._flatten_layers(include_self=False)
        if id(layer) not in calls or any(sublayer in at_fault for sublayer in inner):
            continue
        with evaluation(model, batch_norm, dtype, {}) as values:
            if not _layer_agrees(layer, *calls[id(layer)], values, step, tolerance):
                at_fault.append(layer)
    return tuple(layer.name for layer in reversed(at_fault))


def _layer_agrees(
    layer: keras.Layer,
    call: Callable,
    args: tuple,
    kwargs: dict,
    values: dict,
    step: float,
    tolerance: float,
) -> bool:
    inputs = tf.nest.flatten((args, kwargs))
    moving = [
        i for i, value in enumerate(inputs) if tf.is_tensor(value) and value.dtype.is_floating
    ]
    variables = layer.trainable_variables
    tensors = [*(inputs[i] for i in moving), *(values.get(id(v), v.value) for v in variables)]
    if not tensors:
        return True

    def gradient(point: tf.Tensor) -> tf.Tensor:
        with watch(point) as tape:
            pieces = split(point, tensors)
            given = dict(zip(moving, pieces, strict=False))
            values.update(zip(map(id, variables), pieces[len(moving) :], strict=True))
            new_args, new_kwargs = tf.nest.pack_sequence_as(
                (args, kwargs), [given.get(i, value) for i, value in enumerate(inputs)]
            )
            rng = np.random.default_rng(0)
            combination = sum(
                tf.reduce_sum(output * tf.cast(rng.normal(size=output.shape), output.dtype))
                for output in tf.nest.flatten(call(*new_args, **new_kwargs))
                if output.dtype.is_floating
            )
        return gradient_of(tape, combination, point)

    point = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
    noise = np.random.default_rng(1).normal(size=(2, point.shape[0])) * (np.std(point) or 1.0)
    point, direction = point + tf.cast(0.01 * noise[0], point.dtype), tf.cast(noise[1], point.dtype)
    with watch(point) as tape:
        slope = gradient(point)
    product = gradient_of(tape, slope, point, direction)
    differences = [
        (gradient(point + h * direction) - gradient(point - h * direction)) / (2 * h)
        for h in (step, 2 * step)
    ]
    norm = np.linalg.norm
    rounding = 10 * np.finfo(point.dtype.as_numpy_dtype).eps / step * norm(slope)
    allowed = tolerance * norm(differences[0]) + rounding
    # Differences that disagree among themselves have met a kink, and say nothing.
    kink = norm(differences[0] - differences[1]) > allowed
    return bool(kink or norm(product - differences[0]) <= allowed)
