"""A function of the weights on a line, between two sets of weights, and on a plane.

Here a function needs only its `value` at given weights (and `parameters` and `layout` for the start
and for random directions): a loss, or an accuracy, which is a `LossFunction` with 1 for each
example that is right as its loss. With batch normalization it must either normalise by batch
statistics (`LossFunction(..., batch_norm="batch")`) or re-estimate them at every point
(`Reestimated`): ValueError for moving statistics, which are wrong at moved weights. A value that is
not finite stands in the results as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import LaidOut, Values


def random_direction(function: LaidOut, *, seed: int = 0) -> np.ndarray:
    """Return a direction (P,) with N(0, 1) entries, filter-normalised.

    Args:
        function: Whose weights and layout it is for.
        seed: Of the entries.
    """
    direction = np.random.default_rng(seed).standard_normal(function.parameters().size)
    return filter_normalised(function, direction)


def filter_normalised(function: LaidOut, direction: np.ndarray) -> np.ndarray:
    """Return the direction with every filter rescaled to the norm of the filter it moves.

    A filter is what leads to one output channel or unit, in most Keras kernels one index of the
    last axis (see `Parameter.output_axes`). Directions of all but kernels, biases and
    normalisation layers among it, are zero, as are those of filters whose weights are. Li et al.
    2018, "Visualizing the loss landscape of neural nets", section 4.

    Args:
        function: Whose weights and layout it is for.
        direction: (P,).

    Raises:
        ValueError: For a direction of another shape.
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


def along_line(function: Values, direction: np.ndarray, positions: Sequence[float]) -> np.ndarray:
    """Evaluate at w + t * direction, w being the present weights.

    Args:
        function: What is evaluated.
        direction: (P,).
        positions: The n positions t.

    Returns:
        The values (n,).

    Raises:
        ValueError: For a direction of another shape, no positions or ones that are not finite, and
            moving batch-norm statistics.
    """
    start = function.parameters()
    direction = _checked(direction, start, "The direction")
    return _values(function, (start + t * direction for t in _positions(positions)))


def interpolation(
    function: Values,
    start: np.ndarray,
    end: np.ndarray,
    positions: Sequence[float] = tuple(np.linspace(-1, 2, 25)),
) -> np.ndarray:
    """Evaluate at (1 - a) * start + a * end; 0 and 1 are the two ends.

    At 0 and 1 the weights are exactly the ends', so the values are theirs, under the function's
    rule for batch normalization. Keskar et al. 2017, section 2.2.1, who take `start` from small and
    `end` from large batches and a in [-1, 2].

    Args:
        function: What is evaluated.
        start: Weights (P,).
        end: Weights (P,).
        positions: The n positions a.

    Returns:
        The values (n,).

    Raises:
        ValueError: As `along_line`.
    """
    start = _checked(start, function.parameters(), "start")
    end = _checked(end, start, "end")
    # start + a (end - start) stays put between equal ends, yet may round beside `end` at 1.
    points = (end if a == 1 else start + a * (end - start) for a in _positions(positions))
    return _values(function, points)


def plane(
    function: Values,
    first_direction: np.ndarray,
    second_direction: np.ndarray,
    first: Sequence[float] = tuple(np.linspace(-1, 1, 21)),
    second: Sequence[float] = tuple(np.linspace(-1, 1, 21)),
) -> np.ndarray:
    """Evaluate at w + first[i] * first_direction + second[j] * second_direction.

    Args:
        function: What is evaluated.
        first_direction: (P,).
        second_direction: (P,).
        first: n positions along the first direction.
        second: m positions along the second direction.

    Returns:
        The values (n, m).

    Raises:
        ValueError: As `along_line`.
    """
    weights = function.parameters()
    one = _checked(first_direction, weights, "The first direction")
    other = _checked(second_direction, weights, "The second direction")
    rows, columns = _positions(first), _positions(second)
    points = (weights + a * one + b * other for a in rows for b in columns)
    return _values(function, points).reshape(len(rows), len(columns))


def _values(function: Values, points: Iterable[np.ndarray]) -> np.ndarray:
    require_following_statistics(function)
    return np.array([function.value(point) for point in points], dtype=np.float64)


def _positions(positions: Sequence[float]) -> np.ndarray:
    array = np.asarray(positions, dtype=np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError("The positions must be one finite number or more.")
    return array


def _checked(vector: np.ndarray, weights: np.ndarray, name: str) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float64)
    if vector.shape != weights.shape:
        raise ValueError(f"{name} must have shape {weights.shape}, not {vector.shape}.")
    return vector
