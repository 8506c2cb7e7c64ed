"""Numbers as people read them."""

import math

import pytest

from dlip_reg.evidence.claims import PartResult
from dlip_reg.report.numbers import format_constant, format_estimate, format_number, format_ratio
from dlip_reg.report.wording import ratio_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (-0.0, "0"),
        (0.012345, "0.0123"),
        (-4.5, "−4.50"),
        (61_706, "61,700"),
        (0.9999, "1.00"),
        (1.234e-6, "1.23 × 10⁻⁶"),
        (-2.5e12, "−2.50 × 10¹²"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_numbers_have_three_significant_digits(number, text):
    assert format_number(number) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((-0.13421, -0.15712, -0.1113), "−0.134 [−0.157, −0.111]"),
        ((0.62, -0.21, 1.45), "0.62 [−0.21, 1.45]"),
        ((-0.001, -0.3, 0.3), "0.00 [−0.30, 0.30]"),
        ((18.2, -97.4, 133.8), "20 [−100, 130]"),
        ((2.02, 0.03, 4.01), "2.02 [0.03, 4.01]"),  # the bound is above 0
        ((17, -12.6, 46.6), "17 [−13, 47]"),
        ((138_473, 68_555, 208_390), "138,000 [69,000, 208,000]"),
        ((0.5, 0.5, 0.5), "0.500"),  # every seed gave it, so nothing says how sure it is
        ((3e-9, 1e-9, 5e-9), "3.00 × 10⁻⁹ [1.00 × 10⁻⁹, 5.00 × 10⁻⁹]"),
        ((0.25, None, None), "0.250"),
        ((None, None, None), "–"),
    ],
)
def test_an_estimate_shows_the_digits_its_interval_warrants(estimate, text):
    assert format_estimate(*estimate) == text


def test_constants_have_no_trailing_zeros():
    assert [format_constant(x) for x in (0.05, -0.2, -0.0, 95.0)] == ["0.05", "−0.2", "0", "95"]
    assert format_constant(-9.28e-5) == "−9.28 × 10⁻⁵"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.55, "45 % smaller"),
        (1.03, "3.0 % larger"),
        (2, "2.0 times as large"),
        (1 / 250, "1/250 as large"),
        (1.5e-11, "1.5 × 10⁻¹¹ times as large"),
        (1, "about equally large"),
        (1.00063, "0.1 % larger"),
        (1.0004, "about equally large"),
    ],
)
def test_a_log_ratio_is_said_as_a_percentage_or_a_factor(ratio, text):
    assert format_ratio(math.log(ratio)) == text
    assert format_ratio(None) == format_ratio(math.nan) == "–"


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.015, 0.026, 0.037), "2.6 % larger (from 1.5 % larger to 3.8 % larger)"),
        ((0.093, 0.12, 0.146), "13 % larger (from 10 % larger to 16 % larger)"),
        ((-0.1534, -0.1513, -0.1493), "14.0 % smaller (from 14.2 % smaller to 13.9 % smaller)"),
        ((-0.1794, 0.0006, 0.1806), "about equally large (from 16 % smaller to 20 % larger)"),
        ((None, 0.026, None), "2.6 % larger"),
        ((-25, 3.5, 32), "may be over 100 times smaller or larger"),
        ((0.1, 3, 6), "20 times as large (from 11 % larger to 400 times as large)"),
    ],
)
def test_a_percentage_has_the_digits_that_its_interval_warrants(interval, text):
    low, effect, high = interval
    assert ratio_text(PartResult("", "", effect, low, high), "log-ratio") == text
    # Effects are measured from the value that counts as none.
    low, effect, high = (number and number - 2 for number in interval)
    assert ratio_text(PartResult("", "", effect, low, high), "log-ratio", 2) == text
