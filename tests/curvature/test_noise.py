"""The gradient noise scale against covariances that are known."""

import math

import keras
import numpy as np
import pytest
from analytic_functions import Given, softmax_gradients

from dlip_reg.curvature.loss_function import LossFunction
from dlip_reg.curvature.noise import gradient_noise_scale

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(60, 4))
TARGETS = RNG.integers(3, size=60)
KERNEL, BIAS = RNG.normal(size=(4, 3)), RNG.normal(size=3)
GRADIENTS = softmax_gradients(INPUTS, TARGETS, KERNEL, BIAS)


def chunks(gradients, size):
    """Functions with the mean gradients of successive chunks."""
    for start in range(0, len(gradients), size):
        mean = gradients[start : start + size].mean(0)
        yield Given(np.zeros_like(mean), lambda w: 1.0, lambda w, mean=mean: mean, size)


def test_single_examples_against_all_give_the_unbiased_covariance():
    result = gradient_noise_scale(chunks(GRADIENTS, 1))
    trace = np.trace(np.cov(GRADIENTS.T))
    mean = GRADIENTS.mean(0)
    assert result.trace == pytest.approx(trace, rel=1e-12)
    # |G|^2 of the population: that of the sample holds a share of the noise besides.
    assert result.squared_norm == pytest.approx(mean @ mean - trace / 60, rel=1e-12)
    assert result.scale == pytest.approx(result.trace / result.squared_norm)


def test_small_batches_against_the_big_one_that_they_make():
    result = gradient_noise_scale(chunks(GRADIENTS[:20], 5))
    small = GRADIENTS[:20].reshape(4, 5, -1).mean(1)
    small_norm, big_norm = (small**2).sum(1).mean(), (GRADIENTS[:20].mean(0) ** 2).sum()
    assert result.squared_norm == pytest.approx((20 * big_norm - 5 * small_norm) / 15, rel=1e-12)
    assert result.trace == pytest.approx((small_norm - big_norm) / (1 / 5 - 1 / 20), rel=1e-12)


def test_planted_noise_is_found():
    rng = np.random.default_rng(1)
    gradients = 0.5 + rng.normal(0, [1.0, 2.0, 3.0], size=(40_000, 3))
    results = [gradient_noise_scale(chunks(big, 10)) for big in gradients.reshape(200, 200, 3)]
    # tr(Sigma) = 14, |G|^2 = .75: within some 4 standard errors of 40,000 draws.
    assert np.mean([result.trace for result in results]) == pytest.approx(14, rel=0.05)
    squared_norm = np.mean([result.squared_norm for result in results])
    assert squared_norm == pytest.approx(0.75, rel=0.15)


def test_without_noise_any_batch_is_large_enough():
    result = gradient_noise_scale(chunks(np.ones((8, 3)), 2))
    assert result.trace == pytest.approx(0, abs=1e-12) and result.squared_norm == pytest.approx(3)


def test_noise_that_drowns_the_gradient_has_no_scale():
    result = gradient_noise_scale(chunks(np.array([[1.0], [-1.0]]), 1))
    assert result.squared_norm < 0 and math.isnan(result.scale)


def test_a_gradient_of_nan_gives_nan():
    result = gradient_noise_scale(chunks(np.array([[1.0], [math.nan]]), 1))
    assert math.isnan(result.scale) and math.isnan(result.trace)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([], "two chunks or more"),
        (list(chunks(GRADIENTS, 60)), "two chunks or more"),
        ([*chunks(GRADIENTS, 20), *chunks(GRADIENTS, 30)], "one size, not of 20 and 30"),
    ],
)
def test_chunks_that_make_no_two_batch_sizes_are_refused(functions, message):
    with pytest.raises(ValueError, match=message):
        gradient_noise_scale(functions)


def test_a_keras_model_has_the_noise_of_its_closed_form():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([KERNEL, BIAS])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    parts = (slice(start, start + 6) for start in range(0, 60, 6))
    functions = (LossFunction(model, INPUTS[p], TARGETS[p], loss=loss) for p in parts)
    result = gradient_noise_scale(functions)
    expected = gradient_noise_scale(chunks(GRADIENTS, 6))
    # Gradients in single precision.
    assert result.trace == pytest.approx(expected.trace, rel=1e-4)
    assert result.squared_norm == pytest.approx(expected.squared_norm, rel=1e-4)
