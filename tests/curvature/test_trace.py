import numpy as np
import pytest

from dlip_reg.curvature import estimate_trace


def symmetric(eigenvalues, seed=0):
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    return (vectors * eigenvalues) @ vectors.T


def test_few_large_eigenvalues_are_taken_exactly():
    matrix = symmetric(np.concatenate([[100.0, -40.0, 7.0], np.zeros(197)]))
    estimate = estimate_trace(lambda v: matrix @ v, 200)
    assert estimate.value == pytest.approx(67, abs=1e-9)
    assert estimate.standard_error < 1e-9 and estimate.products == 48


def test_small_matrices_are_exact():
    matrix = np.diag(np.arange(1.0, 11.0))
    estimate = estimate_trace(lambda v: matrix @ v, 10)
    assert estimate.value == pytest.approx(55, rel=1e-14)
    assert estimate.standard_error == 0 and estimate.products == 10


def test_the_standard_error_is_the_spread_over_seeds_about_the_true_trace():
    values = np.random.default_rng(1).exponential(size=150)
    matrix = symmetric(values)
    estimates = [estimate_trace(lambda v: matrix @ v, 150, seed=seed) for seed in range(200)]
    errors = np.array([estimate.value for estimate in estimates]) - values.sum()
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates]))
    # The spread of 200 estimates is itself known to 5 %, so 20 % is four of its standard errors.
    assert errors.std() == pytest.approx(claimed, rel=0.2)
    assert abs(errors.mean()) < 4 * claimed / np.sqrt(200)


def test_large_eigenvalues_cost_no_accuracy():
    # What Hutchinson's estimate alone would be off by: sqrt(2 * sum of squares off the diagonal).
    values = np.concatenate([[1000.0], np.full(199, 0.1)])
    matrix = symmetric(values)
    estimate = estimate_trace(lambda v: matrix @ v, 200)
    assert abs(estimate.value - values.sum()) < 0.01


@pytest.mark.parametrize(
    "matvec, products, message",
    [(lambda v: v * np.nan, 48, "finite"), (lambda v: v, 5, "products")],
)
def test_one_clear_error(matvec, products, message):
    with pytest.raises(ValueError, match=message):
        estimate_trace(matvec, 100, products=products)
