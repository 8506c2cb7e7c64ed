"""The definition of the clean loss: the loss of each example alone.

It is without weight penalties, sample weights and reduction, and with what a Keras mask hides left
out. Everything that measures a loss uses it: `callbacks.evaluation.clean_metrics` over whole
splits, and `dlip_reg.curvature.LossFunction` at any weights.
"""

from __future__ import annotations

import inspect
import json
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops
from keras.src.backend import get_keras_mask


def resolve_loss(model: keras.Model, loss: Any = None) -> Any:
    """Return the one loss that `loss`, or without it the compiled loss of `model`, stands for.

    Args:
        model: A model with one output.
        loss: A Keras loss, its name or config, or a function of (targets, outputs). Like `compile`,
            a list or dict of a single loss is accepted.

    Returns:
        A `keras.losses.Loss` or a function.

    Raises:
        ValueError: For no loss, several, one that Keras does not know, or a metric.
    """
    if loss is None:
        loss = model.loss if getattr(model, "compiled", False) else None
    if isinstance(loss, list | tuple | dict) and "class_name" not in loss:
        losses = keras.tree.flatten(loss)
        loss = losses[0] if len(losses) == 1 else None
    if loss is None:
        raise ValueError("The model must be compiled with one loss, or one loss must be given.")
    if isinstance(loss, keras.metrics.Metric):
        raise ValueError(
            f"The metric {loss.name!r} keeps state and cannot be a loss; pass a keras.losses.Loss."
        )
    return keras.losses.get(loss)


def loss_key(loss: Any) -> Any:
    """Return a hashable key that two losses share if they compute the same."""
    # Keras' own losses are what their configuration says; any other loss is only itself.
    if isinstance(loss, keras.losses.Loss) and type(loss).__module__.startswith("keras."):
        return type(loss), json.dumps(loss.get_config(), default=repr, sort_keys=True)
    # A model's own method would keep the model alive.
    return weakref.WeakMethod(loss) if inspect.ismethod(loss) else loss


def without_reduction(loss: Any) -> Callable[[Any, Any], Any]:
    """Return the function (targets, outputs) -> losses of a resolved loss, before its reduction."""
    if isinstance(loss, keras.losses.Loss):
        return loss.call
    held = loss_key(loss)

    def call(targets: Any, outputs: Any) -> Any:
        function = held() if isinstance(held, weakref.WeakMethod) else held
        # (n,) against (n, 1) would broadcast to (n, n); Keras lines them up for functions, too.
        if len(targets.shape) + 1 == len(outputs.shape) and outputs.shape[-1] == 1:
            targets = ops.expand_dims(targets, -1)
        elif len(outputs.shape) + 1 == len(targets.shape) and targets.shape[-1] == 1:
            targets = ops.squeeze(targets, -1)
        return ops.convert_to_tensor(function(targets, outputs))

    return call


def example_losses(loss: Callable, targets: Any, outputs: Any, mask: Any) -> tuple[Any, Any]:
    """Return the losses of the examples, and for each of them whether it counts.

    Args:
        loss: What `without_reduction` returns. A function that returns one number for a batch is
            taken to return the batch's mean.
        targets: Shape (n, ...).
        outputs: Shape (n, ...), as the model returns them.
        mask: The Keras mask of the outputs, or None.

    Returns:
        The losses, (n,) or (n, ...) for several per example, and a tensor of the same shape and
        dtype: 1 where a loss counts and 0 where a mask hides it.
    """
    losses = loss(targets, outputs)
    masks = mask, get_keras_mask(losses)
    if len(losses.shape) == 0:
        one_per_example = targets[(slice(None), *[0] * (len(targets.shape) - 1))]
        losses = losses * ops.ones_like(one_per_example, losses.dtype)
    counted = ops.ones_like(losses)
    for mask in masks:
        if mask is not None:
            counted = counted * ops.cast(mask, counted.dtype)
    return losses, counted


def accuracy_of(loss: Any) -> Callable[[Any, Any], Any] | None:
    """Return the accuracy that goes with a resolved loss, as a function of (targets, outputs).

    It gives one value for each loss. None for a loss that is not a binary, categorical or sparse
    categorical cross-entropy.
    """
    losses, metrics = keras.losses, keras.metrics
    threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5

    def binary_accuracy(targets: Any, outputs: Any) -> Any:
        return ops.mean(metrics.binary_accuracy(targets, outputs, threshold=threshold), axis=-1)

    return {
        losses.sparse_categorical_crossentropy: metrics.sparse_categorical_accuracy,
        losses.categorical_crossentropy: metrics.categorical_accuracy,
        losses.categorical_focal_crossentropy: metrics.categorical_accuracy,
        losses.binary_crossentropy: binary_accuracy,
        losses.binary_focal_crossentropy: binary_accuracy,
    }.get(getattr(loss, "fn", loss))
