"""Curvature along the steps that training takes: batch sharpness and critical sharpness."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from dlip_reg.checks import require_positive
from dlip_reg.curvature.batch_norm import require_following_statistics
from dlip_reg.curvature.function import Function


@dataclass(frozen=True)
class BatchSharpness:
    """The mean over `batches` of g' H g / |g|^2, and the standard error of that mean."""

    value: float
    standard_error: float
    batches: int


@dataclass(frozen=True)
class CriticalSharpness:
    """2 / `step`, `step` being the largest one that does not raise the loss.

    `evaluations` counts those of the loss, one gradient aside.
    """

    value: float
    step: float
    evaluations: int


def batch_sharpness(batches: Iterable[Function]) -> BatchSharpness:
    """Average the curvature of each batch's loss along that batch's own gradient.

    This is E[g' H g / |g|^2], g the gradient and H the Hessian of the loss of one batch. Under SGD
    it settles at 2 / learning rate, while the largest eigenvalue of the whole loss stays below
    (Andreyev & Beneventano 2024, "Edge of stochastic stability", arXiv 2412.20553). With one batch
    of all the data it is the curvature along the gradient.

        functions = [LossFunction(model, x[i : i + 32], y[i : i + 32]) for i in range(0, 320, 32)]
        batch_sharpness(functions).value

    Args:
        batches: A function of the same weights for each batch of examples, in random order, of the
            size that is trained on.

    Returns:
        NaN where a gradient is zero or not finite. The standard error is NaN for one batch.

    Raises:
        ValueError: For no batches.
    """
    quotients = []
    for batch in batches:
        _, gradient = batch.gradient()
        length = float(np.linalg.norm(gradient))
        if not 0 < length < math.inf:
            quotients.append(math.nan)
            continue
        direction = gradient / length
        quotients.append(float(direction @ batch.hessian_product(direction)))
    if not quotients:
        raise ValueError("Batch sharpness needs one batch or more.")
    count = len(quotients)
    error = float(np.std(quotients, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return BatchSharpness(float(np.mean(quotients)), error, count)


def critical_sharpness(
    function: Function,
    direction: np.ndarray | Callable[[np.ndarray], np.ndarray],
    *,
    step: float,
    tol: float = 0.01,
    max_evaluations: int = 60,
) -> CriticalSharpness:
    """Find the step along an update at which the loss is back where it started, by evaluations.

    The critical step is the first c > 0 found with f(w - c d) >= f(w), and 2 / c the critical
    sharpness: for a quadratic d' H d / (g' d), which for d = g is the curvature along the gradient.
    A training whose learning rate is above c raises the loss. Kalra et al. 2026, "A scalable
    measure of loss landscape curvature", arXiv 2601.16979. No second derivative is taken. The
    search doubles or halves the step until the loss has risen between two of them, and then
    interpolates; what the loss does elsewhere it does not see.

    Args:
        function: The loss.
        direction: d (P,), such as the gradient; or what makes it of the gradient, such as
            `functools.partial(update_direction, optimizer, variables)`.
        step: Where the search begins, such as twice the learning rate.
        tol: The relative accuracy of the critical step.
        max_evaluations: The most evaluations of the loss before it interpolates.

    Returns:
        NaN where d does not lower the loss to first order, or something is not finite; a sharpness
        of 0 for a loss that no step raised.

    Raises:
        ValueError: For options out of range, and for moving batch-norm statistics, which are wrong
            at moved weights.
    """
    require_following_statistics(function)
    step, tol = require_positive("step", step), require_positive("tol", tol)
    weights = function.parameters()
    loss, gradient = function.gradient()
    along = direction(gradient) if callable(direction) else direction
    slope = -float(gradient @ along)
    if not (math.isfinite(loss) and -math.inf < slope < 0):
        return CriticalSharpness(math.nan, math.nan, 0)

    @functools.cache
    def rise(step: float) -> float:
        """The rise of the loss per step, which for a quadratic is linear in the step."""
        there = function.value(weights - step * along)
        return (there - loss) / step if math.isfinite(there) else math.inf

    def evaluations() -> int:
        return rise.cache_info().misses

    # Steps a factor of 2 apart, of which the longer raises the loss and the shorter does not.
    factor = 2.0 if rise(step) < 0 else 0.5
    while (rise(step) < 0) == (factor > 1) and evaluations() < max_evaluations:
        step *= factor
    low, high = (step / 2, step) if factor > 1 else (step, 2 * step)
    if rise(low) >= 0 or rise(high) < 0:  # out of evaluations
        found = high if rise(low) >= 0 else math.inf
    else:
        found = optimize.brentq(rise, low, high, xtol=tol * low, rtol=tol, disp=False)
    return CriticalSharpness(2 / found, found, evaluations())
