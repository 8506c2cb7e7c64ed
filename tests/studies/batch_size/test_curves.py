"""Curves and timings read by hand: losses at a time, distances and knees with known answers."""

import math

import pytest

from dlip_reg.studies.batch_size.curves import curve_distance, fit_knee, loss_at, lowest

# Halves every epoch: between two epochs ln loss is linear.
HALVING = (8.0, 4.0, 2.0, 1.0)
# Float64 rounding of a few logarithms.
EXACT = {"rel": 1e-12, "abs": 1e-12}


@pytest.mark.parametrize(
    ("loss", "epochs"), [(8, 0), (4, 1), (1, 3), (math.sqrt(8), 1.5), (6, math.log2(8 / 6))]
)
def test_the_loss_between_two_epochs_is_log_linear(loss, epochs):
    assert loss_at(HALVING, epochs) == pytest.approx(loss, **EXACT)


def test_beyond_the_curve_and_in_a_gap_there_is_no_loss():
    assert math.isnan(loss_at(HALVING, 3.1))
    assert math.isnan(loss_at((), 0))
    assert math.isnan(loss_at((8.0, None, 4.0, 2.0), 0.5))
    assert math.isnan(loss_at(HALVING, math.nan))


def test_the_lowest_loss_is_the_lowest_finite_one():
    assert lowest((8.0, 2.0, None, 4.0)) == 2
    assert math.isnan(lowest((None,))) and math.isnan(lowest(()))


def test_the_distance_of_curves_is_the_mean_log_ratio():
    slower = (8.0, 8.0, 4.0, 4.0)
    expected = (math.log(2) + math.log(2) + math.log(4)) / 3
    for pair in ((slower, HALVING), (HALVING, slower)):
        assert curve_distance(*pair) == pytest.approx(expected, **EXACT)
    assert curve_distance(HALVING, HALVING) == 0


@pytest.mark.parametrize("lost", [(8.0, None), (8.0, 1e9, 1e9, None), (8.0, 8.0, 8.0, 8.0)])
def test_a_curve_that_diverged_is_as_far_as_one_that_never_learnt(lost):
    expected = (math.log(2) + math.log(4) + math.log(8)) / 3
    assert curve_distance(lost, HALVING) == pytest.approx(expected, **EXACT)


def test_the_knee_of_exact_timings_is_overhead_over_work():
    rates = {size: size / (3e-3 + 1e-4 * size) for size in (1, 8, 64, 512)}
    knee = fit_knee(rates)
    assert knee.size == pytest.approx(30)
    assert knee.peak == pytest.approx(1e4)
    for size in rates:
        step = knee.overhead + size * knee.per_example
        assert size / step == pytest.approx(rates[size])
    # At the knee the rate is half of the peak.
    assert knee.size / (knee.overhead + knee.size * knee.per_example) == pytest.approx(5e3)


def test_without_an_overhead_or_points_there_is_no_knee():
    assert math.isnan(fit_knee({1: 100.0, 10: 90.0, 100: 80.0}).size)  # slower the larger
    assert math.isnan(fit_knee({8: 100.0}).size)
    assert math.isnan(fit_knee({8: 100.0, 16: math.nan}).peak)
