"""Paired values, and what is computed from them."""

import math

import numpy as np
import pytest

from dlip_reg.evidence import (
    FAILED,
    Bound,
    by_seed,
    failures_as_zero,
    log_ratio,
    mean_of,
    minus,
    nearer_to_zero,
    of_certain_side,
    percent,
    slope,
)

NAN = math.nan


def same(values, expected):
    assert isinstance(values, tuple)
    assert values == pytest.approx(expected, nan_ok=True)


def test_arithmetic_goes_seed_by_seed_and_keeps_gaps():
    same(minus((3.0, NAN, 1.0), (1.0, 1.0, NAN)), (2.0, NAN, NAN))
    same(mean_of((1.0, 2.0), (3.0, NAN)), (2.0, NAN))
    same(percent((0.25, NAN, -0.5)), (25.0, NAN, -50.0))
    with pytest.raises(ValueError):
        minus((1.0, 2.0), (1.0,))


def test_log_ratio():
    same(log_ratio((math.e, 1.0), (1.0, math.e)), (1.0, -1.0))
    same(log_ratio((0.0, 1.0, -1.0, NAN), (1.0, 0.0, -1.0, 1.0)), (NAN,) * 4)
    # Neither the ratio's overflow nor its underflow to 0 matters.
    same(log_ratio((1e300, 1e-300), (1e-300, 1e300)), (600 * math.log(10), -600 * math.log(10)))


def test_failed_seeds_are_no_difference_unless_they_are_most():
    failed = FAILED
    same(failures_as_zero((1.0, failed, NAN)), (1.0, 0.0, NAN))
    same(failures_as_zero((1.0, failed, failed, NAN)), (1.0, NAN, NAN, NAN))
    same(failures_as_zero(()), ())


def test_bounds_count_where_they_tell_the_side():
    no, yes = (False,) * 3, (True,) * 3
    values = (2.0, -2.0, 1.0)
    same(of_certain_side(values, [no], [no]), values)
    same(of_certain_side(values, [no, yes], [no]), (2.0, 0.0, 1.0))
    same(of_certain_side(values, [no], [yes]), (NAN, -2.0, NAN))
    same(of_certain_side((*values, NAN), [(*yes, True)], [(*yes, True)]), (NAN,) * 4)


def test_bounds_and_failures_stay_known_as_such():
    no, yes = (False,) * 3, (True,) * 3

    def bounds(values):
        return [isinstance(value, Bound) for value in values]

    assert bounds(of_certain_side((2.0, -2.0, 1.0), [(True, True, False)], [no])) == [True, True, 0]
    assert bounds(failures_as_zero((1.0, FAILED, 2.0))) == [False, True, False]
    assert bounds(mean_of((Bound(1.0), 1.0), (2.0, 2.0))) == [True, False]
    assert bounds(percent((Bound(1.0), 1.0))) == [True, False]
    assert bounds(of_certain_side((-1.0, NAN, -2.0), [no], [yes])) == [True, True, True]


def test_of_two_measurements_the_one_nearer_to_0_counts():
    first, second = (1.0, -3.0, 2.0, NAN, 2.0, FAILED), (2.0, -1.0, -0.5, 1.0, NAN, 1.0)
    same(nearer_to_zero(first, (2.0, -3.0, -0.5, *second[3:])), (*first[:4], 0.0, FAILED))
    same(nearer_to_zero(second[:3], first[:3]), first[:3])
    same(nearer_to_zero((1.0, 2.0), (-1.0, -3.0)), (-0.5, 0.5))
    (kept,), (unknown,) = nearer_to_zero((Bound(0.0),), (1.0,)), nearer_to_zero((1.0,), (NAN,))
    assert isinstance(kept, Bound) and isinstance(unknown, Bound)


def test_a_bound_that_may_outweigh_the_others_leaves_the_side_of_their_mean_open():
    slower = tuple(map(Bound, (1.0, 1.0, 1.0)))
    same(mean_of(slower, (-4.0, 2.0, 0.0)), (0.0, 1.5, 0.5))
    same(mean_of(slower, (-4.0, -4.0, 0.0)), (NAN, NAN, 0.5))
    same(mean_of((-1.0,), (Bound(0.0),)), (-0.5,))
    same(mean_of((FAILED, 1.0, -FAILED), (1.0, 1.0, 1.0)), (NAN, 1.0, NAN))


def test_a_slope_needs_two_doses():
    with pytest.raises(ValueError, match="at least two different doses"):
        slope({0.5: (1.0, 2.0)})


def test_slope_is_exact_on_lines_and_least_squares_elsewhere():
    doses = (0.0, 0.1, 0.3, 0.5)
    same(slope({x: (1 + 2 * x, 5 - x, NAN) for x in doses}), (2.0, -1.0, NAN))
    responses = np.random.default_rng(0).normal(size=(4, 3))
    fitted = slope(dict(zip(doses, responses.tolist(), strict=True)))
    same(fitted, np.polyfit(doses, responses, 1)[0])


def test_the_curve_of_each_seed():
    assert by_seed({0.1: (1.0, 2.0), 0.3: (3.0, 4.0)}) == [
        {0.1: 1.0, 0.3: 3.0},
        {0.1: 2.0, 0.3: 4.0},
    ]
