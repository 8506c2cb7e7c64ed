"""How TensorFlow differentiates.

Nothing is compiled by XLA: its second derivative of max-pooling is wrong on the CPU, where it is
slower as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from dlip_reg.curvature.replaced import replaced

METHOD = "reverse-over-reverse"


def vjp(function: Callable, point: tf.Tensor) -> tuple[tf.Tensor, Any, Callable]:
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(point)
        target, aux = function(point)

    def pullback(u: tf.Tensor) -> tf.Tensor:
        try:
            return tape.gradient(
                target, point, u, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
        except LookupError as error:
            raise NotImplementedError(str(error)) from error

    return target, aux, pullback


def symmetric_product(function: Callable, point: tf.Tensor, vector: tf.Tensor) -> tuple:
    _, aux, pullback = vjp(function, point)
    return pullback(vector), aux


def compiled(function: Callable, variables: list, few: bool) -> Callable:
    graphs: dict[tuple, Callable] = {}

    def call(chunk: Any, *tensors: tf.Tensor) -> Any:
        key = tuple((tensor.dtype, tensor.shape[1:]) for tensor in tf.nest.flatten(chunk))
        if key not in graphs:
            # The number of examples is left open, so that chunks of all lengths share a trace.
            specs = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), chunk
            )
            rest = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
            graph = tf.function(function, autograph=False, jit_compile=False)
            graphs[key] = graph.get_concrete_function(specs, *rest)
        # A graph reads variables as it runs.
        return graphs[key](chunk, *tensors)

    return function if few else call


@contextlib.contextmanager
def corrected() -> Iterator[None]:
    with (
        replaced(tf.nn, "moments", _moments),
        replaced(tf.nn, "max_pool", _max_pool(tf.nn.max_pool)),
        replaced(tf.nn, "relu", _relu(tf.nn.relu)),
    ):
        yield


def precision(dtype: str) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext()


def _moments(x, axes, shift=None, keepdims=False, name=None):
    """`tf.nn.moments` written out: its own stops a gradient that second derivatives need."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=keepdims)
    return (mean if keepdims else tf.squeeze(mean, axes)), variance


def _relu(relu: Callable) -> Callable:
    """`tf.nn.relu` whose gradient has no derivative in x: TensorFlow's own makes and adds zeros."""

    def rectified(x, name=None):
        @tf.custom_gradient
        def positive(x):
            y = relu(x)

            def gate(dy):
                return tf.raw_ops.ReluGrad(gradients=dy, features=y)

            return y, tf.custom_gradient(lambda dy: (gate(dy), gate))

        return positive(x)

    return rectified


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
            y, _, spread_back = vjp(lambda tensor: (pooled(tensor), ()), x)

            @tf.custom_gradient
            def spread(dy):
                def pick(tensor):
                    places = spread_back(tf.ones_like(y))
                    return pooled(places * tensor, tf.nn.avg_pool) * float(np.prod(sizes))

                return spread_back(dy), pick

            return y, spread

        return maxima(x)

    return max_pool
