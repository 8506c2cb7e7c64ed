"""The gradient noise scale against the two norms that it is made of."""

import math

import numpy as np
import pytest
from analytic_functions import Given

from dlip_reg.curvature import gradient_noise_scale

GRADIENTS = np.random.default_rng(0).normal(0.5, 1, size=(20, 15))


def chunks(gradients, size):
    """Functions with the mean gradients of successive chunks."""
    for start in range(0, len(gradients), size):
        mean = gradients[start : start + size].mean(0)
        yield Given(np.zeros_like(mean), lambda w: 1.0, lambda w, mean=mean: mean, size)


def test_small_batches_against_the_big_one_that_they_make():
    result = gradient_noise_scale(chunks(GRADIENTS, 5))
    small = GRADIENTS.reshape(4, 5, -1).mean(1)
    small_norm, big_norm = (small**2).sum(1).mean(), (GRADIENTS.mean(0) ** 2).sum()
    assert result.squared_norm == pytest.approx((20 * big_norm - 5 * small_norm) / 15, rel=1e-12)
    assert result.trace == pytest.approx((small_norm - big_norm) / (1 / 5 - 1 / 20), rel=1e-12)
    assert result.scale == pytest.approx(result.trace / result.squared_norm)


def test_noise_that_drowns_the_gradient_has_no_scale_and_a_gradient_of_nan_gives_nan():
    result = gradient_noise_scale(chunks(np.array([[1.0], [-1.0]]), 1))
    assert result.squared_norm < 0 and math.isnan(result.scale)
    result = gradient_noise_scale(chunks(np.array([[1.0], [math.nan]]), 1))
    assert math.isnan(result.scale) and math.isnan(result.trace)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([], "two chunks or more"),
        (list(chunks(GRADIENTS, 20)), "two chunks or more"),
        ([*chunks(GRADIENTS, 10), *chunks(GRADIENTS, 4)], "one size, not of 10 and 4"),
    ],
)
def test_chunks_that_make_no_two_batch_sizes_are_refused(functions, message):
    with pytest.raises(ValueError, match=message):
        gradient_noise_scale(functions)
