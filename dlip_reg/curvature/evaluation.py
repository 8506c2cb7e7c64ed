"""Keras models evaluated at any weights and in any precision, with nothing of them changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src import backend as keras_backend

from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics
from dlip_reg.curvature.differentiation import PATCHING, corrected
from dlip_reg.curvature.replaced import replaced


@contextlib.contextmanager
def evaluation(model: keras.Model, batch_norm: str, dtype: str, values: dict) -> Iterator[dict]:
    """While open, the model evaluates at `values` in `dtype`, its second derivatives right.

    `values` are tensors by the ids of their variables; yields them, to be added to.
    """
    policy = keras.DTypePolicy(dtype)
    with contextlib.ExitStack() as stack:
        stack.enter_context(corrected())
        for layer in model._flatten_layers():
            if keras.backend.is_float_dtype(layer.compute_dtype):
                stack.enter_context(replaced(layer, "_dtype_policy", policy))
            if hasattr(layer, "use_cudnn"):  # which has no second derivative
                stack.enter_context(replaced(layer, "use_cudnn", False))
        if batch_norm == "batch":
            stack.enter_context(batch_statistics(batch_norm_layers(model)))
        others = {id(v): _value(v, dtype) for v in model.variables if id(v) not in values}
        scope = stack.enter_context(keras.StatelessScope())
        # Set here, and not through the scope, which would cast to the variables' own dtype.
        scope.state_mapping.update(others | values)
        yield scope.state_mapping


@contextlib.contextmanager
def activations(name: str | None) -> Iterator[Callable]:
    """While open, notes what Keras' activation of that name, "softmax" or "sigmoid", is given.

    Yields a function of an output: (the logits that it is the activation of, the activation), or
    the output and the identity where it is of none.
    """
    calls: list[tuple] = []

    def noted(activation: Callable) -> Callable:
        def call(x: Any, *options: Any, **named: Any) -> Any:
            output = activation(x, *options, **named)
            calls.append((output, x, lambda point: activation(point, *options, **named)))
            return output

        return call

    def origin(output: Any) -> tuple[Any, Callable]:
        for result, logits, activation in calls:
            if result is output:
                return logits, activation
        return output, lambda point: point

    with contextlib.ExitStack() as stack:
        if name is not None:
            stack.enter_context(PATCHING)
            own = getattr(keras_backend.nn, name)
            stack.enter_context(replaced(keras_backend.nn, name, noted(own)))
        yield origin


def _value(variable: keras.Variable, dtype: str) -> Any:
    floating = keras.backend.is_float_dtype(variable.dtype)
    return keras.ops.cast(variable.value, dtype if floating else variable.dtype)
