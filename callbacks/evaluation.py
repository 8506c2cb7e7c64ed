"""A model's clean loss and accuracy over a whole split, and the penalty on its weights.

The forward pass is traced once per model and shared by everyone who asks, so a model that is
trained many times over (fresh weights, fresh callbacks) is traced once. It runs inside a
`keras.StatelessScope`: whatever a layer would update when called, batch-norm statistics, seed
generators, is thrown away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask

from dlip_reg.chunks import count_examples, summed, traced
from dlip_reg.clean_loss import (
    accuracy_of,
    example_losses,
    loss_key,
    resolve_loss,
    without_reduction,
)


def clean_metrics(
    model: keras.Model, x: Any, y: Any, batch_size: int = 512, *, loss: Any = None
) -> dict[str, float]:
    """Measure a model's clean loss and accuracy over a whole split, in inference mode.

    Nothing of the model is changed: no weight, optimizer, metric, batch-norm statistic or random
    state. Outputs are cast to float32 before the loss, whatever the dtype policy.

    Args:
        model: A built model with one output.
        x: All examples: an array or tensor, or a dict or list of them for several inputs.
        y: The targets, one for each example.
        batch_size: How many examples go through the model at a time; this sets memory and speed,
            not the result.
        loss: The loss to measure: a Keras loss, its name or config, or a function. By default the
            compiled one. `y` are the targets of this loss (class indices for a sparse one),
            whatever the model was compiled with.

    Returns:
        {"loss", "accuracy"}: sums over the split, in float64, divided by the number of examples.
        What a Keras mask hides is left out; sample and class weights are not applied. "accuracy"
        is there only for a binary, categorical or sparse categorical cross-entropy.

    Raises:
        ValueError: For a model that is neither compiled with one loss nor given one, or that has
            several outputs; for an empty split and for arrays of different lengths.
    """
    loss = resolve_loss(model, loss)
    sums = functools.partial(_sums, loss=without_reduction(loss), accuracy=accuracy_of(loss))
    forward = traced(model, ("clean", loss_key(loss)), sums)
    (totals,) = summed(forward, (x, y), batch_size)
    means = (float(total / count) for total, count in totals)
    return dict(zip(("loss", "accuracy"), means, strict=False))


def penalty(model: keras.Model) -> float:
    """The sum of the model's weight regularizers, what training adds to the loss for the weights.

    This is the sum of `model.losses`, less what layers compute from their inputs
    (`activity_regularizer`, `add_loss`), which has no value without data.
    """
    weights = (weight for weight in model.trainable_weights if weight.regularizer is not None)
    return float(sum(weight.regularizer(weight) for weight in weights))


def check_split(name: str, split: Any) -> None:
    """ValueError unless `split` is a tuple (x, y) of equally many examples and targets."""
    if not isinstance(split, list | tuple) or len(split) != 2:
        raise ValueError(f"{name} must be a tuple (x, y) of arrays, not {type(split).__name__}.")
    count_examples(*split)


def inference(model: keras.Model, x: Any) -> Any:
    """The model's outputs for `x` in inference mode, with every update of its state dropped."""
    with keras.StatelessScope():
        return model(x, training=False)


def _sums(
    model: keras.Model, chunk: tuple, *, loss: Callable, accuracy: Callable | None
) -> tuple[tf.Tensor]:
    """Rows (sum over the examples, number of them) for the loss and, if it has one, accuracy."""
    x, y = chunk
    outputs = inference(model, x)
    if keras.tree.is_nested(outputs):
        raise ValueError("A clean loss needs a model with one output.")
    mask = get_keras_mask(outputs)
    # Keras' losses take both in floatx, too; half precision would round the loss itself.
    dtype = tf.float64 if outputs.dtype == tf.float64 else tf.float32
    outputs, targets = tf.cast(outputs, dtype), tf.cast(y, dtype)
    losses, counted = example_losses(loss, targets, outputs, mask)
    rows = [losses, accuracy(targets, outputs)] if accuracy else [losses]
    counted = tf.cast(counted, tf.float64)
    sums = [tf.reduce_sum(tf.cast(row, tf.float64) * counted) for row in rows]
    return (tf.stack([tf.stack([total, tf.reduce_sum(counted)]) for total in sums]),)
