"""Keras models evaluated at any weights and in any precision, without changing them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from dlip_reg.chunks import replaced, undisturbed
from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics
from dlip_reg.curvature.differentiation import corrected


@contextlib.contextmanager
def evaluation(
    model: keras.Model, batch_norm: str, dtype: str, values: dict[int, tf.Tensor]
) -> Iterator[dict[int, tf.Tensor]]:
    """While open, the model evaluates at `values` in `dtype`, its second derivatives right.

    Args:
        model: A built Keras model.
        batch_norm: "inference" or "batch", as in `inference_in`.
        dtype: The precision to compute in, such as "float64".
        values: Tensors by the ids of the variables that they take the place of.

    Yields:
        The tensors in place of all variables, to be added to.
    """
    others = {id(v): _value(v, dtype) for v in model.variables if id(v) not in values}
    with corrected(), inference_in(model, batch_norm, dtype) as mapping:
        # Set here, and not through the scope, which would cast to the variables' own dtype.
        mapping.update(others | values)
        yield mapping


@contextlib.contextmanager
def inference_in(
    model: keras.Model, batch_norm: str, dtype: str | None
) -> Iterator[dict[int, tf.Tensor]]:
    """While open, the model computes in `dtype`, and `forward` normalises as `batch_norm` says.

    Args:
        model: A built Keras model.
        batch_norm: "inference" for moving statistics, "batch" for those of each batch.
        dtype: The precision to compute in; None for every layer's own.

    Yields:
        The tensors in place of variables, by the variables' ids: none as yet, to be added to.
    """
    with contextlib.ExitStack() as stack:
        scope = stack.enter_context(undisturbed(model))
        for layer in model._flatten_layers():
            if dtype and keras.backend.is_float_dtype(layer.compute_dtype):
                policy = _policy_in(layer, dtype)
                stack.enter_context(replaced(layer, "_dtype_policy", policy))
            if hasattr(layer, "use_cudnn"):  # which has no second derivative
                stack.enter_context(replaced(layer, "use_cudnn", False))
        if batch_norm == "batch":
            stack.enter_context(batch_statistics(batch_norm_layers(model)))
        yield scope.state_mapping


def _policy_in(layer: keras.Layer, dtype: str) -> keras.DTypePolicy:
    """The policy to compute in `dtype`, quantised as the layer's own."""
    policy = layer.dtype_policy
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        policy = policy[layer.path]
    quantised = "".join(policy.name.rpartition("_from_")[:2])
    return keras.dtype_policies.get(quantised + dtype)


def _value(variable: keras.Variable, dtype: str) -> tf.Tensor:
    floating = keras.backend.is_float_dtype(variable.dtype)
    return keras.ops.cast(variable.value, dtype if floating else variable.dtype)
