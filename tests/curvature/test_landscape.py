"""Santurkar's measures on functions that are known in closed form."""

import math

import numpy as np
import pytest
from analytic_functions import Given, Quadratic

from dlip_reg.curvature import gradient_landscape

EIGENVALUES = np.array([4.0, 1.0, 0.5])
WEIGHTS = np.array([0.3, -2.0, 1.0])
BOWL = Quadratic(np.diag(EIGENVALUES), WEIGHTS)
STEPS = (0.05, 0.1, 0.2, 0.4)


def test_a_quadratic_along_its_gradient():
    gradient = EIGENVALUES * WEIGHTS
    points = [WEIGHTS - step * gradient for step in STEPS]
    losses = [EIGENVALUES @ point**2 / 2 for point in points]
    change = np.linalg.norm(EIGENVALUES * gradient)  # |H g|, by which the gradient turns
    turned = [EIGENVALUES * point for point in points]
    lengths = np.linalg.norm(turned, axis=1) * np.linalg.norm(gradient)
    result = gradient_landscape(BOWL, STEPS)
    assert result.loss == BOWL.value()
    assert result.losses == pytest.approx(losses)
    assert result.loss_extremes == pytest.approx((min(losses), max(losses)))
    assert result.gradient_distances == pytest.approx([step * change for step in STEPS])
    assert result.gradient_distance_extremes == pytest.approx((0.05 * change, 0.4 * change))
    assert result.effective_beta == pytest.approx(change / np.linalg.norm(gradient))
    assert result.cosines == pytest.approx(turned @ gradient / lengths)


def test_effective_beta_is_the_largest_over_the_steps():
    # A gradient that bends at 1: |w| up to there, then 3 |w| - 2.
    bent = Given(
        [0.5],
        lambda w: float(np.where(np.abs(w) < 1, w**2 / 2, 1.5 * w**2 - 2 * np.abs(w) + 1)[0]),
        lambda w: np.where(np.abs(w) < 1, w, 3 * w - 2 * np.sign(w)),
    )
    result = gradient_landscape(bent, (1.0, 5.0))
    # At w = 0 the slope of the gradient is 1; at w = -2 it went from .5 to -4 over 2.5.
    assert result.effective_beta == pytest.approx(4.5 / 2.5)


@pytest.mark.parametrize(
    "function",
    [Quadratic(np.eye(2), np.zeros(2)), Given(WEIGHTS, lambda w: math.nan, BOWL.df)],
    ids=["no gradient", "loss is NaN"],
)
def test_without_a_finite_loss_and_a_gradient_there_is_no_range(function):
    assert np.isnan(gradient_landscape(function, STEPS).loss_extremes).all()


@pytest.mark.parametrize("steps", [(), (0.0,), (0.1, -0.1), (math.inf,)])
def test_steps_are_lengths(steps):
    with pytest.raises(ValueError, match="step"):
        gradient_landscape(BOWL, steps)
