"""Santurkar's measures on quadratics, and against a step that Keras itself takes."""

import math

import numpy as np
import pytest
from analytic_functions import Given, Quadratic
from small_models import IMAGES, LABELS, conv_net, cross_entropy, same, state

from dlip_reg.curvature.landscape import gradient_landscape
from dlip_reg.curvature.loss_function import LossFunction

EIGENVALUES = np.array([4.0, 1.0, 0.5])
WEIGHTS = np.array([0.3, -2.0, 1.0])
BOWL = Quadratic(np.diag(EIGENVALUES), WEIGHTS)
STEPS = (0.05, 0.1, 0.2, 0.4)


def test_a_quadratic_along_its_gradient():
    gradient = EIGENVALUES * WEIGHTS
    points = [WEIGHTS - step * gradient for step in STEPS]
    losses = [EIGENVALUES @ point**2 / 2 for point in points]
    change = np.linalg.norm(EIGENVALUES * gradient)  # |H g|, by which the gradient turns
    result = gradient_landscape(BOWL, STEPS)
    assert result.loss == BOWL.value()
    assert result.losses == pytest.approx(losses)
    assert result.loss_extremes == pytest.approx((min(losses), max(losses)))
    assert result.gradient_distances == pytest.approx([step * change for step in STEPS])
    assert result.gradient_distance_extremes == pytest.approx((0.05 * change, 0.4 * change))
    assert result.effective_beta == pytest.approx(change / np.linalg.norm(gradient))


def test_effective_beta_is_the_eigenvalue_along_an_eigenvector():
    steep = Quadratic(np.diag(EIGENVALUES), [1.0, 0.0, 0.0])
    assert gradient_landscape(steep, STEPS).effective_beta == pytest.approx(4.0)


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
    [
        Quadratic(np.eye(2), np.zeros(2)),
        Given(WEIGHTS, lambda w: math.nan, BOWL.df),
        Given(WEIGHTS, lambda w: math.inf if w[1] > -2 else 1.0, BOWL.df),
    ],
    ids=["no gradient", "loss is NaN", "moved loss is infinite"],
)
def test_without_finite_losses_there_is_no_range(function):
    result = gradient_landscape(function, STEPS)
    assert np.isnan(result.loss_extremes).all()


@pytest.mark.parametrize("steps", [(), (0.0,), (0.1, -0.1), (math.inf,)])
def test_steps_are_lengths(steps):
    with pytest.raises(ValueError, match="step"):
        gradient_landscape(BOWL, steps)


def test_moved_losses_are_those_after_a_step_of_gradient_descent():
    model = conv_net(batch_norm=False)
    model.get_layer("dropout").rate = 0.0  # in Keras' own step below
    function = LossFunction(model, IMAGES, LABELS)
    before = state(model)
    result = gradient_landscape(function, (0.1,))
    assert same(state(model), before)
    model.train_on_batch(IMAGES, LABELS)  # SGD(0.1)
    after = cross_entropy(model.predict(IMAGES, verbose=0), LABELS)
    assert result.losses[0] == pytest.approx(after, abs=5e-6)  # single precision
    assert abs(result.losses[0] - result.loss) > 1e-3
