"""A model's clean loss and accuracy over a whole split, and the penalty on its weights.

The forward pass is traced once per model and shared by everyone who asks, so a model that is
trained many times over (fresh weights, fresh callbacks) is traced once. It runs inside
`dlip_reg.chunks.undisturbed`: whatever a layer would update when called, batch-norm statistics,
seed generators, is thrown away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.chunks import (
    as_tensors,
    count_examples,
    example_weights,
    kept,
    summed,
    taken,
    traced,
    undisturbed,
    with_weight,
)
from dlip_reg.clean_loss import ModelLoss, accuracy_of
from dlip_reg.curvature.agreement import FEW, Found, require_agreement
from dlip_reg.curvature.batch_norm import forward


def clean_metrics(
    model: keras.Model,
    x: Any,
    y: Any,
    batch_size: int = 512,
    *,
    loss: Any = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    layer_losses: bool = False,
) -> dict[str, float]:
    """Measure a model's clean loss and accuracy over a whole split, in inference mode.

    Nothing of the model is changed: no weight, optimizer, metric, batch-norm statistic or random
    state. As in `evaluate`, the model computes in its own precision, so half precision rounds its
    outputs; they are cast to float32 before the loss.

    Args:
        model: A built model.
        x: All examples: an array or tensor, or a dict or list of them for several inputs.
        y: The targets, one for each example; of several outputs a list or dict of them.
        batch_size: How many examples go through the model at a time. It sets memory and speed only,
            but for losses of layers, and a model or loss that computes across the examples of a
            batch (a contrastive loss), which all are those of each `batch_size` examples.
        loss: The loss to measure: a Keras loss, its name or config, or a function; of several
            outputs a list or dict of them. By default the compiled one, with its `loss_weights`.
            `y` are the targets of this loss (class indices for a sparse one), whatever the model
            was compiled with.
        sample_weight: As in `fit`; the accuracy is a weighted mean.
        class_weight: As in `fit`.
        layer_losses: Whether what layers add to the loss (`add_loss`, `activity_regularizer`) is
            part of it: a mean over the chunks of `batch_size` examples, so a term that is a sum
            over the examples depends on that.

    Returns:
        {"loss", "accuracy"}: sums over the split, in float64, divided by the number of examples.
        What a Keras mask hides is left out. "accuracy" is there only for one output and a binary,
        categorical or sparse categorical cross-entropy.

    Raises:
        ValueError: For a model that is neither compiled with a loss nor given one; for an empty
            split and for arrays of different lengths.
    """
    resolved = ModelLoss(model, loss, layer_losses)
    sums = functools.partial(_sums, loss=resolved, accuracy=accuracy_of(resolved.single))
    weights = example_weights(count_examples(x, y), y, sample_weight, class_weight)
    resolved.require_divisible(y, weights)
    function = traced(model, ("clean", resolved.key), sums)
    (totals,) = summed(function, (x, y, weights), batch_size)
    means = (float(total / (count or np.inf)) for total, count in totals)  # 0 of none, as in Keras
    return dict(zip(("loss", "accuracy"), means, strict=False))


def verify_clean_loss(model: keras.Model, x: Any, y: Any, weights: Any, **options: Any) -> None:
    """Compare the clean loss with Keras' own on a few examples, once for a compiled model.

    `weights` are sample weights or None; `options` (`loss`, `layer_losses`), and ValueError, as in
    `clean_metrics` and `dlip_reg.curvature.agreement.require_agreement`.
    """
    resolved = ModelLoss(model, **options)
    if weights is None:
        weights = example_weights(count_examples(x, y), y, None, None)
    few = taken((x, y, weights), with_weight(weights, FEW))

    def own() -> list[Found]:
        x, y, weights = few
        loss = clean_metrics(model, x, y, sample_weight=weights, **options)["loss"]
        return [(loss, None, None)]

    def check() -> None:
        require_agreement(model, resolved, as_tensors(*few), own)

    kept(model, ("verified clean", resolved.key), check)


def _sums(
    model: keras.Model,
    chunk: tuple[Any, Any, Any],
    *,
    loss: ModelLoss,
    accuracy: Callable[..., tf.Tensor] | None,
) -> tuple[tf.Tensor]:
    """Rows (sum over the examples, number of them) for the loss and, if it has one, accuracy."""
    x, y, weights = chunk
    with undisturbed(model):
        parts = loss.of(forward(model, x), y, weights)
        rows = [loss.sums(model, parts, "float64")]
        if accuracy and len(parts) == 1:
            (part,) = parts
            dtype = part.losses.dtype
            right = accuracy(tf.cast(part.targets, dtype), tf.cast(part.outputs, dtype))
            weighted = tf.cast(part.weights, tf.float64)
            total = tf.reduce_sum(tf.cast(right, tf.float64) * weighted)
            rows.append((total, tf.reduce_sum(weighted)))
    return (tf.stack([tf.stack(row) for row in rows]),)
