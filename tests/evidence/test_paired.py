"""Paired values of records, and what is computed from them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dlip_reg.evidence import log_ratio, mean_of, minus, per_seed, percent, slope

NAN = math.nan


def same(values, expected):
    assert isinstance(values, tuple)
    assert values == pytest.approx(expected, nan_ok=True)


def record(loss, status="finished"):
    return SimpleNamespace(status=status, loss=loss)


def test_diverged_runs_get_the_failure_value_and_lost_runs_nan():
    records = (record(0.5), record(None), record(9.9, "diverged"), record(None, "diverged"), None)
    same(per_seed(records, lambda r: r.loss), (0.5, NAN, NAN, NAN, NAN))
    same(per_seed(records, lambda r: r.loss, failure=2.3), (0.5, NAN, 2.3, 2.3, NAN))
    assert per_seed((), lambda r: r.loss) == ()
    assert per_seed((record(True), record(False)), lambda r: r.loss) == (1.0, 0.0)


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


def test_slope_is_exact_on_lines_and_least_squares_elsewhere():
    doses = (0.0, 0.1, 0.3, 0.5)
    same(slope(doses, [(1 + 2 * x, 5 - x, NAN) for x in doses]), (2.0, -1.0, NAN))
    responses = np.random.default_rng(0).normal(size=(4, 3))
    same(slope(doses, responses.tolist()), np.polyfit(doses, responses, 1)[0])


def test_slope_needs_different_doses_and_a_series_for_each():
    with pytest.raises(ValueError, match="at least two different doses"):
        slope((0.5, 0.5), [(1.0,), (2.0,)])
    with pytest.raises(ValueError, match="one series per dose, not 1 for 2"):
        slope((0.1, 0.5), [(1.0,)])
