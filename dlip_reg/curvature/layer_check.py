"""Which layers of a Keras model second derivatives go wrong in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from dlip_reg.curvature.backends import backend
from dlip_reg.curvature.derivatives import as_tensors, split
from dlip_reg.curvature.differences import central_difference
from dlip_reg.curvature.evaluation import evaluation
from dlip_reg.curvature.replaced import replaced


def layers_at_fault(model: keras.Model, x: Any, batch_norm: str, dtype: str) -> tuple[str, ...]:
    """The innermost layers whose own second derivatives disagree with their gradients.

    Each layer is tried alone, on the inputs that it gets when the model sees `x`: the Hessian of a
    random combination of its outputs, in its floating inputs and its trainable weights, against a
    central difference of gradients, where that is decided.
    """
    calls: dict[int, tuple] = {}

    def recorded(layer: keras.Layer) -> Callable:
        call = layer.call

        def recorded_call(*args, **kwargs):
            calls.setdefault(id(layer), (call, args, kwargs))
            return call(*args, **kwargs)

        return recorded_call

    layers = model._flatten_layers(include_self=False)
    at_fault: list[keras.Layer] = []
    with backend().precision(dtype):
        x = as_tensors(x, dtype)
        with evaluation(model, batch_norm, dtype, {}), contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(replaced(layer, "call", recorded(layer)))
            model(x, training=False)
        for layer in reversed(layers):  # a layer's own sublayers stand behind it
            inner = layer._flatten_layers(include_self=False)
            if id(layer) not in calls or any(sublayer in at_fault for sublayer in inner):
                continue
            with evaluation(model, batch_norm, dtype, {}) as values:
                if not _layer_agrees(layer, *calls[id(layer)], values):
                    at_fault.append(layer)
    return tuple(layer.name for layer in reversed(at_fault))


def _layer_agrees(
    layer: keras.Layer, call: Callable, args: tuple, kwargs: dict, values: dict
) -> bool:
    inputs = keras.tree.flatten((args, kwargs))
    moving = [i for i, value in enumerate(inputs) if _is_floating(value)]
    variables = layer.trainable_variables
    tensors = [*(inputs[i] for i in moving), *(values[id(variable)] for variable in variables)]
    if not tensors:
        return True
    dtype = keras.backend.standardize_dtype(tensors[0].dtype)

    def combination(point: Any) -> tuple:
        pieces = split(point, tensors)
        given = dict(zip(moving, pieces, strict=False))
        values.update(zip(map(id, variables), pieces[len(moving) :], strict=True))
        new_args, new_kwargs = keras.tree.pack_sequence_as(
            (args, kwargs), [given.get(i, value) for i, value in enumerate(inputs)]
        )
        rng = np.random.default_rng(0)
        terms = [
            ops.sum(output * ops.convert_to_tensor(rng.normal(size=output.shape), output.dtype))
            for output in keras.tree.flatten(call(*new_args, **new_kwargs))
            if _is_floating(output)
        ]
        return ops.cast(sum(terms), dtype), ()

    def gradient(point: Any) -> tuple:
        total, _, pullback = backend().vjp(combination, point)
        return pullback(ops.ones_like(total)), ()

    def slope(point: np.ndarray) -> np.ndarray:
        return ops.convert_to_numpy(gradient(ops.convert_to_tensor(point, dtype))[0])

    point = np.concatenate([ops.convert_to_numpy(tensor).ravel() for tensor in tensors])
    noise = np.random.default_rng(1).normal(size=(2, point.size)) * (np.std(point) or 1.0)
    point, direction = point + 0.01 * noise[0], noise[1]
    product, _ = backend().symmetric_product(
        gradient, ops.convert_to_tensor(point, dtype), ops.convert_to_tensor(direction, dtype)
    )
    difference = central_difference(lambda t: slope(point + t * direction), dtype)
    return not difference.decided or difference.agrees_with(ops.convert_to_numpy(product))


def _is_floating(value: Any) -> bool:
    return ops.is_tensor(value) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(value.dtype)
    )
