"""The loss on a line, between two sets of weights, and on a plane through weight space.

Here a function needs only its `value` at given weights (and `parameters` and `layout` for the start
and for random directions). With batch normalization it must either normalise by batch statistics
(`LossFunction(..., batch_norm="batch")`) or re-estimate them at every point (`Reestimated`):
ValueError for moving statistics, which are wrong at moved weights. A loss that is not finite stands
in the results as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from dlip_reg.chunks import chunks
from dlip_reg.curvature.batch_norm import (
    Reestimated,
    at_weights,
    batch_norm_layers,
    batch_statistics,
    forward,
    require_following_statistics,
)
from dlip_reg.curvature.function import Function


@dataclass(frozen=True, eq=False)
class Slice:
    """Losses (n,) at the positions (n,) on a line; accuracies (n,) if they were asked for."""

    positions: np.ndarray
    losses: np.ndarray
    accuracies: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Surface:
    """Losses (n, m) at w + first[i] * one direction + second[j] * the other; accuracies alike."""

    first: np.ndarray
    second: np.ndarray
    losses: np.ndarray
    accuracies: np.ndarray | None = None


class Accuracy:
    """The share of the examples that a classifier gets right, at any weights.

    `x` is an array, or a dict or list of them; `y` are class indices or one-hot rows. The class is
    the largest output; with one output it is 1 above .5, or above 0 where the compiled loss takes
    logits. Batch normalization as in `LossFunction`: `batch_norm="batch"` takes the statistics of
    each `batch_size` examples in the data's order, "inference" the moving ones. The model is not
    changed. ValueError for no examples, and for arrays of different lengths.
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        *,
        batch_norm: Literal["inference", "batch"] = "inference",
        batch_size: int = 256,
    ) -> None:
        if batch_norm not in ("inference", "batch"):
            raise ValueError(f'batch_norm must be "inference" or "batch", not {batch_norm!r}.')
        self.model, self.batch_norm = model, batch_norm
        self._data, self._batch_size = (x, np.asarray(y)), batch_size

    def value(self, parameters: np.ndarray | None = None) -> float:
        """The accuracy at `parameters` (None: the present weights); NaN for outputs that are."""
        layers = batch_norm_layers(self.model) if self.batch_norm == "batch" else []
        right = []
        for x, y in chunks(self._data, self._batch_size):
            with at_weights(self.model, parameters), batch_statistics(layers):
                outputs = keras.ops.convert_to_numpy(forward(self.model, x))
            if np.isnan(outputs).any():
                return math.nan
            right.append(self._right(outputs, y))
        return float(np.mean(np.concatenate(right)))

    def _right(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        if outputs.shape[-1] == 1:
            logits = getattr(getattr(self.model, "loss", None), "from_logits", False)
            predicted, y = outputs[..., 0] > (0 if logits else 0.5), y > 0.5
        else:
            predicted = outputs.argmax(-1)
            y = y.argmax(-1) if y.shape == outputs.shape else y
        return (predicted == y.reshape(predicted.shape)).ravel()


def random_direction(
    function: Function, *, seed: int = 0, normalise: Literal["filter"] | None = "filter"
) -> np.ndarray:
    """A seeded direction (P,) with N(0, 1) entries, filter-normalised unless `normalise=None`."""
    if normalise not in ("filter", None):
        raise ValueError(f'normalise must be "filter" or None, not {normalise!r}.')
    direction = np.random.default_rng(seed).standard_normal(function.parameters().size)
    return filter_normalised(function, direction) if normalise else direction


def filter_normalised(function: Function, direction: np.ndarray) -> np.ndarray:
    """The direction with every filter rescaled to the norm of the filter it moves.

    A filter is what leads to one output channel or unit, in most Keras kernels one index of the
    last axis (see `Parameter.output_axes`). Directions of what is no kernel, biases and
    normalisation layers among it, are zero, as are those of filters whose weights are. Li et al.
    2018, "Visualizing the loss landscape of neural nets", section 4.
    """
    weights = function.parameters()
    direction = _checked(direction, weights, "The direction")
    result = np.zeros_like(direction)
    for parameter in function.layout:
        if not parameter.output_axes:
            continue
        part = slice(parameter.offset, parameter.offset + parameter.size)
        within = tuple({*range(-len(parameter.shape), 0)} - {*parameter.output_axes})
        kernel, random = (vector[part].reshape(parameter.shape) for vector in (weights, direction))
        own, length = (
            np.sqrt(np.sum(np.square(array), axis=within, keepdims=True))
            for array in (kernel, random)
        )
        scale = np.divide(own, length, out=np.zeros_like(own), where=length > 0)
        result[part] = (random * scale).ravel()
    return result


def along_line(
    function: Function,
    direction: np.ndarray,
    positions: Sequence[float],
    *,
    accuracy: Accuracy | Reestimated | None = None,
) -> Slice:
    """The loss at w + t * direction for every t of `positions`, w being the present weights.

    `accuracy` may be an `Accuracy`, or one `Reestimated`, to be measured at the same points.
    """
    start = function.parameters()
    direction = _checked(direction, start, "The direction")
    return _slice(function, accuracy, positions, lambda t: start + t * direction)


def interpolation(
    function: Function,
    start: np.ndarray,
    end: np.ndarray,
    positions: Sequence[float] = tuple(np.linspace(-1, 2, 25)),
    *,
    accuracy: Accuracy | Reestimated | None = None,
) -> Slice:
    """The loss at (1 - a) * start + a * end for every a of `positions`; 0 and 1 are the two ends.

    At 0 and 1 the weights are exactly the ends', so the losses are theirs, under the function's
    rule for batch normalization. Keskar et al. 2017, section 2.2.1, who take `start` from small and
    `end` from large batches and a in [-1, 2].
    """
    start = _checked(start, function.parameters(), "start")
    end = _checked(end, start, "end")
    # start + a (end - start) stays put between equal ends, yet may round beside `end` at 1.
    return _slice(
        function, accuracy, positions, lambda a: end if a == 1 else start + a * (end - start)
    )


def plane(
    function: Function,
    first_direction: np.ndarray,
    second_direction: np.ndarray,
    first: Sequence[float] = tuple(np.linspace(-1, 1, 21)),
    second: Sequence[float] = tuple(np.linspace(-1, 1, 21)),
    *,
    accuracy: Accuracy | Reestimated | None = None,
) -> Surface:
    """The loss at w + first[i] * first_direction + second[j] * second_direction, shape (n, m).

    `accuracy` as in `along_line`.
    """
    weights = function.parameters()
    one = _checked(first_direction, weights, "The first direction")
    other = _checked(second_direction, weights, "The second direction")
    first, second = _positions(first), _positions(second)
    points = [(a, b) for a in first for b in second]
    found = _slice(function, accuracy, points, lambda p: weights + p[0] * one + p[1] * other)
    shape = (len(first), len(second))
    accuracies = None if found.accuracies is None else found.accuracies.reshape(shape)
    return Surface(first, second, found.losses.reshape(shape), accuracies)


def _slice(function, accuracy, positions, point) -> Slice:
    """`function`, and `accuracy` if there is one, at `point(position)` for every position."""
    functions = [function] if accuracy is None else [function, accuracy]
    for each in functions:
        require_following_statistics(each)
    positions = _positions(positions)
    rows = [[each.value(where) for each in functions] for where in map(point, positions)]
    return Slice(positions, *np.array(rows, dtype=np.float64).T)


def _positions(positions: Sequence[float]) -> np.ndarray:
    positions = np.asarray(positions, dtype=np.float64)
    if not positions.size or not np.isfinite(positions).all():
        raise ValueError("The positions must be one finite number or more.")
    return positions


def _checked(vector: np.ndarray, weights: np.ndarray, name: str) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float64)
    if vector.shape != weights.shape:
        raise ValueError(f"{name} must have shape {weights.shape}, not {vector.shape}.")
    return vector
