"""How TensorFlow differentiates, corrected where its second derivatives are wrong or slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from dlip_reg.chunks import PATCHING, replaced
from dlip_reg.errors import DlipRegError

TensorFunction = Callable[[tf.Tensor], tuple[Any, ...]]
Operation = Callable[..., tf.Tensor]


class NoDerivativeError(DlipRegError, ValueError):
    """TensorFlow cannot differentiate an operation, or not twice."""


def gradient(function: TensorFunction, point: tf.Tensor) -> tuple[Any, ...]:
    """Return what `function(point) -> (value, ...)` returns, and behind it the value's gradient.

    Args:
        function: Returns a scalar, and behind it whatever else.
        point: A tensor (P,).

    Raises:
        NoDerivativeError: As `vjp`.
    """
    value, *others, pullback = vjp(function, point)
    return value, *others, pullback(tf.ones_like(value))


def hessian_product(
    function: TensorFunction, point: tf.Tensor, vector: tf.Tensor
) -> tuple[Any, ...]:
    """Return what `function(point) -> (value, ...)` returns, and the value's Hessian product.

    Args:
        function: Returns a scalar, and behind it whatever else.
        point: A tensor (P,).
        vector: A tensor (P,).

    Raises:
        NoDerivativeError: As `vjp`.
    """

    def slope(point: tf.Tensor) -> tuple[Any, ...]:
        *values, slope = gradient(function, point)
        return slope, *values

    _, *values, pullback = vjp(slope, point)
    return *values, pullback(vector)


def vjp(function: TensorFunction, point: tf.Tensor, *, persistent: bool = False) -> tuple[Any, ...]:
    """Return what `function(point) -> (target, ...)` returns, and behind it the target's pullback.

    The pullback takes a tensor u like the target to J^T u, like `point`, with J the target's
    Jacobian: zeros where the target does not depend on `point`. It may be differentiated again.

    Args:
        function: Returns a tensor of any shape, and behind it whatever else.
        point: A tensor.
        persistent: Whether the pullback may be called more than once, which takes memory.

    Raises:
        NoDerivativeError: By the pullback, where an operation has no derivative.
    """
    with tf.GradientTape(persistent=persistent, watch_accessed_variables=False) as tape:
        tape.watch(point)
        target, *others = function(point)

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

    return target, *others, pullback


@contextmanager
def corrected() -> Iterator[None]:
    """While open, what Keras and losses call has right second derivatives; for one thread."""
    graph = tf.compat.v1.get_default_graph()

    def outside_loops(correct: Callable[[Operation], Operation], own: Operation) -> Operation:
        """`correct(own)`, but in the graph of a loop or condition, as of a recurrent layer, `own`.

        What a custom gradient there holds cannot be used outside it.
        """
        better = correct(own)

        def chosen(*args: Any, **options: Any) -> tf.Tensor:
            is_outside = tf.compat.v1.get_default_graph() is graph
            return (better if is_outside else own)(*args, **options)

        return chosen

    with (
        PATCHING,
        replaced(tf.nn, "moments", _moments),
        replaced(tf.nn, "max_pool", outside_loops(_max_pool, tf.nn.max_pool)),
        replaced(tf.nn, "relu", outside_loops(_relu, tf.nn.relu)),
        replaced(tf.image, "resize", outside_loops(_resize, tf.image.resize)),
        replaced(tf.nn, "sigmoid_cross_entropy_with_logits", _sigmoid_cross_entropy),
        replaced(tf.nn, "softmax_cross_entropy_with_logits", _softmax_cross_entropy),
        replaced(
            tf.nn,
            "sparse_softmax_cross_entropy_with_logits",
            _sparse_cross_entropy(tf.nn.sparse_softmax_cross_entropy_with_logits),
        ),
    ):
        yield


def _moments(
    x: tf.Tensor, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.nn.moments` written out: its own stops a gradient that second derivatives need."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=keepdims)
    return (mean if keepdims else tf.squeeze(mean, axes)), variance


def _sigmoid_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, name: str | None = None
) -> tf.Tensor:
    """`tf.nn.sigmoid_cross_entropy_with_logits`, as `_softmax_cross_entropy`."""
    logits = tf.convert_to_tensor(logits)
    labels = tf.cast(labels, logits.dtype)
    return labels * tf.nn.softplus(-logits) + (1 - labels) * tf.nn.softplus(logits)


def _softmax_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, axis: int = -1, name: str | None = None
) -> tf.Tensor:
    """`tf.nn.softmax_cross_entropy_with_logits` with derivatives that are right near a loss of 0.

    TensorFlow's own takes the target from a probability of about 1, and what is left is rounding.
    """
    logits = tf.convert_to_tensor(logits)
    logs = _log_softmax(logits, axis)
    return -tf.reduce_sum(tf.cast(labels, logits.dtype) * logs, axis)


def _sparse_cross_entropy(cross_entropy: Operation) -> Operation:
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`, as `_softmax_cross_entropy`."""

    def corrected(labels: tf.Tensor, logits: tf.Tensor, name: str | None = None) -> tf.Tensor:
        logits = tf.convert_to_tensor(logits)
        logs = _log_softmax(logits, -1)
        is_label = tf.one_hot(labels, tf.shape(logits)[-1], True, False, -1, tf.bool)
        found = -tf.reduce_sum(tf.where(is_label, logs, tf.zeros_like(logs)), -1)
        # TensorFlow's own says which labels are not classes.
        own = cross_entropy(labels=labels, logits=tf.stop_gradient(logits))
        return found + tf.where(tf.math.is_finite(own), tf.zeros_like(own), own)

    return corrected


def _log_softmax(logits: tf.Tensor, axis: int) -> tf.Tensor:
    """log softmax by the distances to the largest logit, which has no part in any difference."""
    zeros = tf.zeros_like(logits)
    largest, size = tf.argmax(logits, axis), tf.shape(logits)[axis]
    is_largest = tf.one_hot(largest, size, True, False, axis, tf.bool)
    top = tf.reduce_sum(tf.where(is_largest, logits, zeros), axis, keepdims=True)
    below = logits - top
    below = tf.where(is_largest, tf.stop_gradient(below), below)  # 0, or NaN if it is infinite
    others = tf.where(is_largest, zeros, tf.exp(below))
    return below - tf.math.log1p(tf.reduce_sum(others, axis, keepdims=True))


def _relu(relu: Operation) -> Operation:
    """`tf.nn.relu` whose gradient has no derivative in x: TensorFlow's own makes and adds zeros."""

    def positive(x: tf.Tensor) -> tuple[tf.Tensor, Operation]:
        y = relu(x)

        def gate(dy: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=dy, features=y)

        return y, tf.custom_gradient(lambda dy: (gate(dy), gate))

    return lambda x, name=None: tf.custom_gradient(positive)(x)


def _resize(resize: Operation) -> Operation:
    """`tf.image.resize` with the second derivatives that TensorFlow does not have for all methods.

    Resizing is linear: the derivative of its transpose is resizing itself.
    """

    def resized(images: tf.Tensor, size: Any, *options: Any, **named: Any) -> tf.Tensor:
        if not images.dtype.is_floating:
            return resize(images, size, *options, **named)

        def linear(x: tf.Tensor) -> tuple[tf.Tensor, Operation]:
            y, transpose = vjp(lambda x: (resize(x, size, *options, **named),), x, persistent=True)
            return y, tf.custom_gradient(lambda dy: (transpose(dy), tf.custom_gradient(linear)))

        return tf.custom_gradient(linear)(images)

    return resized


def _max_pool(pool: Operation) -> Operation:
    """`tf.nn.max_pool` with a quicker second derivative where windows do not overlap.

    The gradient spreads each output's to the place of its maximum. The transpose of that picks the
    maxima's places out of a tensor: TensorFlow's kernel for it costs half a gradient of a small
    network, while the gradient of ones marks the places and an average pool gathers them.
    """

    def max_pool(
        x: tf.Tensor,
        ksize: Any,
        strides: Any,
        padding: str,
        data_format: str | None = None,
        name: str | None = None,
    ) -> tf.Tensor:
        def pooled(tensor: tf.Tensor, operation: Operation = pool) -> tf.Tensor:
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

        def maxima(x: tf.Tensor) -> tuple[tf.Tensor, Operation]:
            y, spread_back = vjp(lambda tensor: (pooled(tensor),), x, persistent=True)

            def spread(dy: tf.Tensor) -> tuple[tf.Tensor, Operation]:
                def pick(tensor: tf.Tensor) -> tf.Tensor:
                    places = spread_back(tf.ones_like(y))
                    return pooled(places * tensor, tf.nn.avg_pool) * float(np.prod(sizes))

                return spread_back(dy), pick

            return y, tf.custom_gradient(spread)

        return tf.custom_gradient(maxima)(x)

    return max_pool
