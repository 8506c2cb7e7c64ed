"""A model's clean loss and accuracy over a whole split, and the penalty on its weights.

The forward pass is traced once per model and shared by everyone who asks, so a model that is
trained many times over (fresh weights, fresh callbacks) is traced once. It runs inside a
`keras.StatelessScope`: whatever a layer would update when called, batch-norm statistics, seed
generators, is thrown away. TensorFlow backend.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_TRACED: weakref.WeakKeyDictionary[keras.Model, dict[str, tuple]] = weakref.WeakKeyDictionary()


def clean_metrics(model: keras.Model, x: Any, y: Any, batch_size: int = 512) -> dict[str, float]:
    """The model's compiled loss without penalties, and its accuracy, in inference mode.

    `x` (an array or tensor, or a dict or list of them) and `y` (an array or tensor) are the whole
    split; it is passed in chunks of `batch_size`, which changes memory and time, not the result.
    Returns {"loss", "accuracy"}, without "accuracy" unless the loss is a (binary, categorical or
    sparse categorical) cross-entropy. Both are sums over the split, in float64, divided by the
    number of examples, so the last, smaller chunk counts by its size; entries that a Keras mask
    hides count for nothing. The outputs are cast to float32 before the loss, whatever the dtype
    policy. Sample and class weights are not applied. A loss function that returns one number for
    a batch is taken to be the batch's mean.

    Neither weights, optimizer, metrics, batch-norm statistics nor random state are touched.
    ValueError for a model that is not compiled with one loss for one output, for an empty split,
    and for arrays of different lengths.
    """
    if not model.compiled or model.loss is None or isinstance(model.loss, list | tuple | dict):
        raise ValueError("A clean loss needs a model that is compiled with one loss.")
    x, y = as_tensors(x, y)
    forward = traced(model, "clean", _sums, model.loss)
    sums = [forward(*chunk).numpy() for chunk in _chunks((x, y), batch_size)]
    totals = np.sum(sums, axis=0)
    means = (float(total / count) for total, count in totals)
    return dict(zip(("loss", "accuracy"), means, strict=False))


def penalty(model: keras.Model) -> float:
    """The sum of the model's weight regularizers, what training adds to the loss for the weights.

    This is the sum of `model.losses`, less what layers compute from their inputs
    (`activity_regularizer`, `add_loss`), which has no value without data.
    """
    weights = (weight for weight in model.trainable_weights if weight.regularizer is not None)
    return float(sum(weight.regularizer(weight) for weight in weights))


def as_tensors(*arrays: Any) -> tuple:
    """The arrays (or dicts or lists of them) as tensors; float64 becomes Keras' floatx, as in fit.

    ValueError as `check_lengths`.
    """
    check_lengths(*arrays)
    return keras.tree.map_structure(_as_tensor, arrays)


def check_split(name: str, split: Any) -> None:
    """ValueError unless `split` is a tuple (x, y) of equally many examples and targets."""
    if not isinstance(split, list | tuple) or len(split) != 2:
        raise ValueError(f"{name} must be a tuple (x, y) of arrays, not {type(split).__name__}.")
    check_lengths(*split)


def check_lengths(*arrays: Any) -> None:
    """ValueError unless all the arrays hold the same number of examples, one at least."""
    lengths = {len(array) for array in keras.tree.flatten(arrays)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "A split needs one or more examples and as many targets, not arrays of lengths "
            f"{', '.join(map(str, sorted(lengths)))}."
        )


def traced(model: keras.Model, purpose: str, function: Callable, *settings: Any) -> Callable:
    """`function(model, *settings, *tensors)` as a graph, kept for as long as the model lives.

    The first axis of every tensor is left open, so that any number of examples is one trace. One
    graph is kept for each `purpose`: other `settings` than last time replace it. A model compiled
    with `run_eagerly` is called eagerly.
    """
    if model.run_eagerly:
        return lambda *tensors: function(model, *settings, *tensors)
    graphs = _TRACED.setdefault(model, {})
    known = graphs.get(purpose)
    if known is None or any(a is not b for a, b in zip(known[0], settings, strict=True)):
        # The graph must not hold its model, or neither would ever be freed.
        alive = weakref.ref(model)
        graph = tf.function(lambda *tensors: function(alive(), *settings, *tensors))
        known = graphs[purpose] = (settings, graph)

    def call(*tensors):
        specs = keras.tree.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), tensors
        )
        return known[1].get_concrete_function(*specs)(*tensors)

    return call


def inference(model: keras.Model, x: Any) -> Any:
    """The model's outputs for `x` in inference mode, with every update of its state dropped."""
    with keras.StatelessScope():
        return model(x, training=False)


def _sums(model: keras.Model, loss: Any, x: Any, y: tf.Tensor) -> tf.Tensor:
    """Rows (sum over the examples, number of them) for the loss and, if it has one, accuracy."""
    outputs = inference(model, x)
    if keras.tree.is_nested(outputs):
        raise ValueError("A clean loss needs a model with one output.")
    mask = _mask(outputs)
    # Keras' losses take both in floatx, too; half precision would round the loss itself.
    dtype = tf.float64 if outputs.dtype == tf.float64 else tf.float32
    outputs, targets = tf.cast(outputs, dtype), tf.cast(y, dtype)
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        losses = loss.call(targets, outputs)
    else:
        losses = loss(*_same_rank(targets, outputs))
    hidden = [m for m in (mask, _mask(losses)) if m is not None]
    rows = [losses]
    if accuracy := _accuracy(loss):
        rows.append(accuracy(targets, outputs))
    return tf.stack([_sum_and_count(row, tf.shape(y)[0], hidden) for row in rows])


def _sum_and_count(values: tf.Tensor, examples: tf.Tensor, masks: list[tf.Tensor]) -> tf.Tensor:
    values = tf.cast(values, tf.float64)
    if values.shape.rank == 0:
        values = tf.fill([examples], values)
    seen = tf.ones_like(values)
    for mask in masks:
        seen *= tf.cast(mask, tf.float64)
    return tf.stack([tf.reduce_sum(values * seen), tf.reduce_sum(seen)])


def _accuracy(loss: Any) -> Callable | None:
    """The accuracy that goes with a classification loss, one value per example; None if none."""
    losses, metrics = keras.losses, keras.metrics
    threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5

    def binary_accuracy(targets, outputs):
        matches = metrics.binary_accuracy(targets, outputs, threshold=threshold)
        return tf.reduce_mean(matches, axis=-1)

    return {
        losses.sparse_categorical_crossentropy: metrics.sparse_categorical_accuracy,
        losses.categorical_crossentropy: metrics.categorical_accuracy,
        losses.categorical_focal_crossentropy: metrics.categorical_accuracy,
        losses.binary_crossentropy: binary_accuracy,
        losses.binary_focal_crossentropy: binary_accuracy,
    }.get(getattr(loss, "fn", loss))


def _same_rank(targets: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # (n,) against (n, 1) would broadcast to (n, n); Keras lines them up for functions, too.
    if targets.shape.rank + 1 == outputs.shape.rank and outputs.shape[-1] == 1:
        return targets[..., None], outputs
    if outputs.shape.rank + 1 == targets.shape.rank and targets.shape[-1] == 1:
        return targets, outputs[..., None]
    return targets, outputs


def _mask(tensor: tf.Tensor) -> tf.Tensor | None:
    return getattr(tensor, "_keras_mask", None)


def _as_tensor(array: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype == tf.float64 else tensor


def _chunks(tensors: Any, size: int) -> Iterator[Any]:
    length = len(keras.tree.flatten(tensors)[0])
    if length <= size:
        yield tensors
        return
    for start in range(0, length, size):
        part = slice(start, start + size)
        yield keras.tree.map_structure(lambda tensor, part=part: tensor[part], tensors)
