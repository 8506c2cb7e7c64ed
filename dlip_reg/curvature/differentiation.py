"""How TensorFlow differentiates, corrected where its second derivatives are wrong or slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from dlip_reg.chunks import PATCHING
from dlip_reg.curvature.replaced import replaced
from dlip_reg.errors import DlipRegError


class NoDerivativeError(DlipRegError, ValueError):
    """TensorFlow cannot differentiate an operation, or not twice."""


def vjp(function: Callable, point: tf.Tensor) -> tuple[tf.Tensor, Any, Callable]:
    """The target and aux of `function(point) -> (target, aux)`, and the target's pullback.

    The pullback takes a tensor u like the target to J^T u, like `point`, with J the target's
    Jacobian: zeros where the target does not depend on `point`. It may be differentiated again.
    `NoDerivativeError` where an operation has no derivative.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(point)
        target, aux = function(point)

    def pullback(u: tf.Tensor) -> tf.Tensor:
        try:
            return tape.gradient(
                target, point, u, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
        except LookupError as error:
            raise NoDerivativeError(
                "A product needs second derivatives, and TensorFlow has none for an operation of "
                f"this model ({error})."
            ) from error

    return target, aux, pullback


def symmetric_product(function: Callable, point: tf.Tensor, vector: tf.Tensor) -> tuple:
    """The Jacobian of `function(point) -> (target, aux)` times `vector`, and aux.

    Only for a Jacobian that is symmetric, such as a gradient's.
    """
    _, aux, pullback = vjp(function, point)
    return pullback(vector), aux


@contextmanager
def corrected() -> Iterator[None]:
    """While open, what Keras and losses call has right second derivatives; for one thread."""
    with (
        PATCHING,
        replaced(tf.nn, "moments", _moments),
        replaced(tf.nn, "max_pool", _max_pool(tf.nn.max_pool)),
        replaced(tf.nn, "relu", _relu(tf.nn.relu)),
        replaced(tf.image, "resize", _resize(tf.image.resize)),
    ):
        yield


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


def _resize(resize: Callable) -> Callable:
    """`tf.image.resize` with the second derivatives that TensorFlow does not have for all methods.

    Resizing is linear: the derivative of its transpose is resizing itself.
    """

    def resized(images, size, *options, **named):
        if not images.dtype.is_floating:
            return resize(images, size, *options, **named)

        @tf.custom_gradient
        def linear(x):
            y, _, transpose = vjp(lambda x: (resize(x, size, *options, **named), ()), x)
            return y, tf.custom_gradient(lambda dy: (transpose(dy), linear))

        return linear(images)

    return resized


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
