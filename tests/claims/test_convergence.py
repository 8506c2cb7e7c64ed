"""Curves and timings read by hand: targets, distances, knees and slopes with known answers."""

import math

import pytest

from dlip_reg.claims.convergence import (
    curve_distance,
    epochs_to,
    fit_knee,
    log_log_slope,
    loss_at,
    lowest,
)

# Halves every epoch: between two epochs ln loss is linear.
HALVING = {"epoch": [0, 1, 2, 3], "loss": [8.0, 4.0, 2.0, 1.0]}
# Float64 rounding of a few logarithms.
EXACT = {"rel": 1e-12, "abs": 1e-12}


@pytest.mark.parametrize(
    ("target", "epochs"),
    [(8, 0), (9, 0), (4, 1), (1, 3), (math.sqrt(8), 1.5), (6, math.log2(8 / 6))],
)
def test_a_target_is_reached_where_the_log_linear_curve_meets_it(target, epochs):
    assert epochs_to(HALVING, "loss", target) == pytest.approx(epochs, **EXACT)
    if epochs:
        assert loss_at(HALVING, "loss", epochs) == pytest.approx(target, **EXACT)


def test_the_first_crossing_counts_and_none_is_told():
    bumpy = {"epoch": [0, 1, 2, 3], "loss": [8.0, 2.0, 4.0, 1.0]}
    assert epochs_to(bumpy, "loss", 2) == 1
    assert math.isnan(epochs_to(bumpy, "loss", 0.5))
    assert math.isnan(loss_at(bumpy, "loss", 3.1))
    assert lowest(bumpy, "loss") == 1
    gap = {"epoch": [0, 1, 2, 3], "loss": [8.0, None, 4.0, 2.0]}
    assert epochs_to(gap, "loss", 3) > 2
    assert math.isnan(loss_at(gap, "loss", 0.5))
    assert math.isnan(lowest({"epoch": [0], "loss": [None]}, "loss"))


def test_the_distance_of_curves_is_the_mean_log_ratio():
    slower = {"epoch": [0, 1, 2, 3], "loss": [8.0, 8.0, 4.0, 4.0]}
    expected = (math.log(2) + math.log(2) + math.log(4)) / 3
    for pair in ((slower, HALVING), (HALVING, slower)):
        assert curve_distance(*pair, "loss") == pytest.approx(expected, **EXACT)
    assert curve_distance(HALVING, HALVING, "loss") == 0


@pytest.mark.parametrize("lost", [[8.0, None], [8.0, 1e9, 1e9, None], [8.0, 8.0, 8.0, 8.0]])
def test_a_curve_that_diverged_is_as_far_as_one_that_never_learnt(lost):
    curve = {"epoch": list(range(len(lost))), "loss": lost}
    expected = (math.log(2) + math.log(4) + math.log(8)) / 3
    assert curve_distance(curve, HALVING, "loss") == pytest.approx(expected, **EXACT)


def test_the_knee_of_exact_timings_is_overhead_over_work():
    rates = {size: size / (3e-3 + 1e-4 * size) for size in (1, 8, 64, 512)}
    knee = fit_knee(rates)
    assert knee.size == pytest.approx(30)
    assert knee.peak == pytest.approx(1e4)
    assert knee.rate(knee.size) == pytest.approx(knee.peak / 2)
    assert knee.rate(64) == pytest.approx(rates[64])


def test_without_an_overhead_or_points_there_is_no_knee():
    assert math.isnan(fit_knee({1: 100.0, 10: 90.0, 100: 80.0}).size)  # slower the larger
    assert math.isnan(fit_knee({8: 100.0}).size)
    assert math.isnan(fit_knee({8: 100.0, 16: math.nan}).peak)


@pytest.mark.parametrize("power", [-1, 0, 0.5, 1])
def test_a_power_law_has_its_power_for_a_slope(power):
    points = {x: 3 * x**power for x in (8, 16, 100, 1280)}
    assert log_log_slope(points) == pytest.approx(power, abs=1e-12)
    assert math.isnan(log_log_slope({8: 1.0}))
