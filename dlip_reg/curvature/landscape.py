"""The loss landscape along the gradient: Santurkar's three measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlip_reg.checks import require_positive
from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import Function


@dataclass(frozen=True)
class GradientLandscape:
    """What was met at w - step * g, for every step, g being the gradient at w.

    `loss` is f(w), `losses` the moved points'; `gradient_norm` |g|, `gradient_distances`
    |g(moved) - g|, `cosines` those of the angles between the two gradients, and `moved` the
    distance step * |g|.
    """

    loss: float
    gradient_norm: float
    losses: tuple[float, ...]
    gradient_distances: tuple[float, ...]
    cosines: tuple[float, ...]
    moved: tuple[float, ...]

    @property
    def loss_extremes(self) -> tuple[float, float]:
        """The smallest and the largest loss of the moved points (figure 4a)."""
        return _extremes(self.losses)

    @property
    def gradient_distance_extremes(self) -> tuple[float, float]:
        """The smallest and the largest gradient distance (4b); a small range is predictive."""
        return _extremes(self.gradient_distances)

    @property
    def effective_beta(self) -> float:
        """The largest gradient distance per distance moved (4c)."""
        return _extremes(np.divide(self.gradient_distances, self.moved))[1]


def gradient_landscape(function: Function, steps: Sequence[float]) -> GradientLandscape:
    """Measure loss and gradient at w - step * g, where gradient descent goes, for every step.

    Santurkar et al. 2018, "How does batch normalization help optimization?", section 3.2 and
    figure 4.

    Args:
        function: The loss.
        steps: Learning rates, above 0: a range about the one trained with, the same for all nets
            that are compared.

    Returns:
        A measure is NaN where the gradient is zero or a number that it is made of is not finite.

    Raises:
        ValueError: For no steps or one of 0 or less, and for moving batch-norm statistics, which
            are wrong at moved weights.
    """
    require_following_statistics(function)
    steps = tuple(require_positive("Every step", step) for step in steps)
    if not steps:
        raise ValueError("steps must hold one step length or more.")
    weights = function.parameters()
    loss, gradient = function.gradient()
    length = float(np.linalg.norm(gradient))
    if not (math.isfinite(loss) and 0 < length < math.inf):
        unknown = (math.nan,) * len(steps)
        return GradientLandscape(float(loss), length, unknown, unknown, unknown, unknown)
    losses, distances, cosines = [], [], []
    for step in steps:
        there, moved_gradient = function.gradient(weights - step * gradient)
        losses.append(float(there))
        distances.append(float(np.linalg.norm(moved_gradient - gradient)))
        cosines.append(cosine(gradient, moved_gradient))
    moved = tuple(step * length for step in steps)
    return GradientLandscape(
        float(loss), length, tuple(losses), tuple(distances), tuple(cosines), moved
    )


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the angle between two vectors; NaN where one is zero or not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(first @ second, np.linalg.norm(first) * np.linalg.norm(second)))


def _extremes(values: np.ndarray | Sequence[float]) -> tuple[float, float]:
    if not np.isfinite(values).all():
        return math.nan, math.nan
    return float(np.min(values)), float(np.max(values))
