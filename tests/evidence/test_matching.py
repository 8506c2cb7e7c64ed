"""Matched loss: curves whose crossings are known in closed form."""

import math

import numpy as np
import pytest

from dlip_reg.evidence import at_levels, common_levels, crossing, value_at

NAN = math.nan


def exponential(rate, probes=11, start=2.3):
    return [start * math.exp(-rate * i) for i in range(probes)]


def test_crossings_of_an_exponential_curve_are_exact():
    # loss = a exp(-r i), so that i = ln(a / loss) / r, and log-linear interpolation adds no error.
    curve = exponential(0.3)
    for level in (1.5, 1.0, 0.37, curve[10]):
        assert crossing(curve, level) == pytest.approx(math.log(2.3 / level) / 0.3)
    assert crossing(curve, curve[4]) == 4
    assert math.isnan(crossing(curve, 0.99 * curve[10]))


def test_values_along_a_quadratic_curve_are_exact_at_the_probes():
    curve = [(10 - i) ** 2 + 1 for i in range(11)]
    squares = [i**2 for i in range(11)]
    assert at_levels(curve, squares, (82, 26, 1)) == (1, 25, 100)
    # Between probes 4 and 5 the loss 37 -> 26 passes sqrt(37 * 26) half-way.
    assert at_levels(curve, squares, (math.sqrt(37 * 26),)) == pytest.approx((20.5,))


def test_levels_are_spaced_evenly_in_log_between_the_two_losses():
    slow, fast = exponential(0.2), exponential(0.7)
    levels = common_levels([slow, fast], 4)
    # Both have left behind what the fast one has at probe 1; the slow one's last loss is shared.
    assert (levels[0], levels[-1]) == (fast[1], slow[-1])
    assert np.diff(np.log(levels)) == pytest.approx(np.full(3, math.log(slow[-1] / fast[1]) / 3))
    assert common_levels([slow, fast], 1) == pytest.approx((math.sqrt(fast[1] * slow[-1]),))
    assert common_levels([slow, fast], 2) == (fast[1], slow[-1])
    assert common_levels([slow, fast], 3) == common_levels([fast, slow], 3)


@pytest.mark.parametrize(
    ("curves", "levels"),
    [
        ([], ()),
        ([[2.3]], ()),
        ([[2.3], [2.3, 1.0]], ()),
        ([[2.3, NAN, NAN], [2.3, 1.0, 0.5]], ()),
        ([[2.3, None], [2.3, 1.0]], ()),
        ([[2.3, 2.2, 2.1], [2.3, 1.0, 0.5]], ()),  # one is past 2.1 at its first probe
        ([[2.3, 1.0, 1.5], [2.3, 1.2, 1.0]], (1.0,)),
        # The untrained network sets no level: the second run starts low, and gets worse first.
        ([[2.0, 1.0, 0.5], [0.1, 3.0, 0.4]], (1.0, 0.5)),
    ],
)
def test_the_ends_of_common_levels(curves, levels):
    assert common_levels(curves, 2) == levels


def test_losses_that_are_not_finite_are_passed_over():
    curve = [2.3, 2.0, None, 0.5, math.inf, 0.1]
    assert crossing(curve, 1.0) == 3  # the probe before is unknown
    assert crossing(curve, 0.2) == 5
    assert crossing([2.3, 1.0, NAN, NAN], 1.0) == 1
    assert math.isnan(crossing([2.3, NAN, NAN], 1.0))
    assert common_levels([curve, curve], 2) == (2.0, 0.1)


def test_loss_of_zero_is_reached_and_sets_no_level():
    curve = [2.0, 1.0, 0.5, 0.0]
    assert common_levels([curve], 2) == (1.0, 0.5)
    assert crossing(curve, 0.25) == 2.5  # linear in the loss, as 0 has no logarithm


def test_only_the_first_crossing_counts():
    assert crossing([2.0, 1.0, 3.0, 0.5], 1.5) == pytest.approx(math.log(2.0 / 1.5) / math.log(2.0))
    assert crossing([1.0, 0.9, 0.5], 1.5) == 1  # below the level from the start


def test_value_at_interpolates_linearly_and_keeps_gaps():
    values = [1.0, 3.0, None, 5.0]
    assert value_at(values, 0.25) == 1.5
    assert value_at(values, 1) == 3.0  # does not need its missing neighbour
    assert value_at(values, 3.0) == 5.0
    for position in (1.5, 2, 2.5, 3.1, -0.1, NAN):
        assert math.isnan(value_at(values, position))


def test_lengths_must_match():
    with pytest.raises(ValueError, match="2 losses do not match 3 values"):
        at_levels([2.0, 1.0], [1.0, 2.0, 3.0], (1.5,))


def test_every_run_reaches_every_common_level_between_its_probes():
    random = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        curves = [
            np.exp(np.cumsum(random.normal(-0.3, 0.5, random.integers(2, 12)))).tolist()
            for _ in range(3)
        ]
        levels = common_levels(curves, 5)
        found += len(levels) == 5
        assert list(levels) == sorted(levels, reverse=True)
        for curve in curves:
            positions = [crossing(curve, level) for level in levels]
            assert positions == sorted(positions)  # lower levels are reached later
            for level, position in zip(levels, positions, strict=True):
                assert position <= len(curve) - 1
                logs = [math.log(loss) for loss in curve]
                if position != 1:
                    assert value_at(logs, position) == pytest.approx(math.log(level))
    assert found > 100
