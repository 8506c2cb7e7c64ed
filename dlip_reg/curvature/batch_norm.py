"""Batch normalization at moved weights: whose statistics it uses there, and their re-estimation.

Moving statistics belong to the weights that were trained; at any others they are wrong. What moves
the weights therefore either normalises by batch statistics, or re-estimates the statistics at every
point. Layers that are frozen (`trainable=False`) use their moving statistics in training, too, so
in both they keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np

from dlip_reg.chunks import chunks, replaced, undisturbed
from dlip_reg.curvature.layout import Parameter, split


def recalibrate_batch_norm(model: Any, x: Any, batch_size: int = 256) -> None:
    """Set every batch-norm layer's moving statistics to the mean of its batch statistics over x.

    One pass over `x` in batches, in its order, so shuffled data are meant. Each batch is normalised
    by its own mean and variance (of n, not n - 1, as in Keras), in every batch-norm layer; the
    layers' moving mean and variance become the means of these over the batches, weighted by size:
    what moving averages settle at, without momentum or memory of the past (Ioffe & Szegedy 2015,
    algorithm 2). With `batch_size` of len(x) or more they are the population's statistics, layer
    after layer. A layer that is called several times gets the mean over its calls.

    Nested and frozen layers are included, but none that the model itself calls with
    `training=False`; everything else of the model, dropout and its seeds among it, is in inference
    mode (`training=0`, so layers should ask for `not training`) and is not touched. A model without
    batch normalization is left as it is.

    Args:
        model: A built Keras model.
        x: The examples, (n, ...): an array, or a dict or list of them for several inputs.
        batch_size: How many examples are normalised together.

    Raises:
        ValueError: For no examples, and, with nothing changed, for statistics that are not finite.
    """
    layers = batch_norm_layers(model, frozen=True)
    statistics = _mean_batch_statistics(model, layers, x, batch_size)
    for layer, values in zip(layers, statistics, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(
                f"The batch statistics of {layer.name} are not finite: the weights or x hold NaN "
                "or values that are too large."
            )
    _assign(layers, statistics)


class Reestimated:
    """A function whose batch-norm statistics are re-estimated at every point it is evaluated at.

    The statistics are those of `recalibrate_batch_norm`, except that frozen layers keep theirs. It
    has values only. The model is left as it was.

    Args:
        function: A `LossFunction` with `batch_norm="inference"`.
        x: The training examples, (n, ...), whatever data the function itself is of.
        batch_size: How many examples are normalised together.
    """

    batch_norm = "re-estimated"

    def __init__(self, function: Any, x: Any, batch_size: int = 256) -> None:
        self._function, self._x, self._batch_size = function, x, batch_size

    @property
    def layout(self) -> tuple[Parameter, ...]:
        """The function's."""
        return self._function.layout

    def parameters(self) -> np.ndarray:
        """The present weights, float64 of shape (P,)."""
        return self._function.parameters()

    def value(self, parameters: np.ndarray | None = None) -> float:
        """The function's value under the statistics that belong to the weights.

        Args:
            parameters: The weights (P,); None for the present ones.

        Raises:
            ValueError: As `LossFunction.value`, and as `recalibrate_batch_norm` for no examples.
        """
        model = self._function.model
        layers = batch_norm_layers(model)
        before = [_statistics(layer) for layer in layers]
        _assign(
            layers, _mean_batch_statistics(model, layers, self._x, self._batch_size, parameters)
        )
        try:
            return self._function.value(parameters)
        finally:
            _assign(layers, before)


def require_following_statistics(function: Any) -> None:
    """ValueError for a function whose batch normalization does not follow when weights move."""
    if getattr(function, "batch_norm", None) == "inference" and batch_norm_layers(function.model):
        raise ValueError(
            "At moved weights the moving statistics of batch normalization are wrong: use "
            'batch_norm="batch", or, for slices, Reestimated(function, x).'
        )


def batch_norm_layers(model: Any, *, frozen: bool = False) -> list[Any]:
    """The model's BatchNormalization layers, nested ones too; the frozen ones only if asked for."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and (frozen or layer.trainable)
    ]


def forward(model: Any, x: Any, batch_norm: str = "inference") -> Any:
    """Return the outputs of the model in inference mode.

    Args:
        model: A built Keras model.
        x: Tensors of examples, (n, ...).
        batch_norm: "batch" for batch-norm layers that follow `batch_statistics`, where that is
            open; "inference" for moving statistics.
    """
    # 0 is as false as False, but not the False that a model passes to a part it keeps in inference.
    # Only where it is needed, since a layer may ask whether `training is False`.
    follows = batch_norm == "batch" and batch_norm_layers(model)
    return model(x, training=0 if follows else False)


@contextmanager
def batch_statistics(layers: list[Any], note: Callable[..., None] | None = None) -> Iterator[None]:
    """While open, `forward(..., "batch")` has the layers take batch statistics, as in training.

    A layer that the model itself calls with `training=False` keeps its moving statistics. Only for
    calls while `undisturbed` is open, which drops the updates of moving statistics.

    Args:
        layers: BatchNormalization layers of the model.
        note: Called at every use of batch statistics as `note(layer, mean, variance)`, with tensors
            of one number for each channel. Frozen layers then take batch statistics, too.
    """
    # On the instances, so that a layer's several calls are seen apart.
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", partial(_training_call, layer)))
            if note is not None:
                moments = partial(_noted_moments, layer, layer._moments, note)
                stack.enter_context(replaced(layer, "_moments", moments))
                stack.enter_context(replaced(layer, "_trainable", True))  # frozen ones, too
        yield


def _training_call(layer: Any, inputs: Any, training: Any = None, **options: Any) -> Any:
    # Keras' own, which takes the statistics of the whole batch, also for a ghost batch norm. A
    # user's layer may compute something else in its call.
    owner = type(layer)
    if owner.__module__.startswith("dlip_reg."):
        owner = keras.layers.BatchNormalization
    return owner.call(layer, inputs, training=training is not False, **options)


def _noted_moments(
    layer: Any, moments: Callable[..., Any], note: Callable[..., None], inputs: Any, mask: Any
) -> Any:
    mean, variance = moments(inputs, mask)
    note(layer, mean, variance)
    return mean, variance


def _mean_batch_statistics(
    model: Any, layers: list[Any], x: Any, batch_size: int, parameters: np.ndarray | None = None
) -> list[np.ndarray]:
    """(mean, variance) (2, channels) of every layer: the means over the batches of their own."""
    sums: dict[int, Any] = dict.fromkeys(map(id, layers), 0.0)
    counts = dict.fromkeys(sums, 0)
    moved = {}
    if parameters is not None:
        variables = model.trainable_variables
        pieces = split(parameters, variables)
        moved = {
            id(variable): keras.ops.convert_to_tensor(piece, variable.dtype)
            for variable, piece in zip(variables, pieces, strict=True)
        }
    for chunk in chunks(x, batch_size):
        examples = len(keras.tree.flatten(chunk)[0])

        def add(layer: Any, *moments: Any, examples: int = examples) -> None:
            rows = np.stack([np.ravel(value) for value in moments]).astype(np.float64)
            sums[id(layer)] = sums[id(layer)] + examples * rows
            counts[id(layer)] += examples

        if layers:
            with undisturbed(model) as scope, batch_statistics(layers, add):
                scope.state_mapping.update(moved)
                forward(model, chunk, "batch")
    # A layer that the model never calls keeps what it has.
    return [
        sums[id(layer)] / counts[id(layer)] if counts[id(layer)] else _statistics(layer)
        for layer in layers
    ]


def _statistics(layer: Any) -> np.ndarray:
    moments = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    return np.stack(moments).astype(np.float64)


def _assign(layers: list[Any], statistics: list[np.ndarray]) -> None:
    for layer, (mean, variance) in zip(layers, statistics, strict=True):
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
