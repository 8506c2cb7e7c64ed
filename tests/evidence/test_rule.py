"""The verdict rule on samples whose verdict is known in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from dlip_reg.evidence import (
    ERROR_SPENT,
    LOOKS,
    Bound,
    Estimate,
    Question,
    expected_false_verdicts,
    judge,
    t_interval,
)


def sample(n, mean, sd, seed=0):
    """`n` numbers whose mean and standard deviation are the given ones, up to rounding."""
    values = np.random.default_rng(seed).normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def judge_one(values, direction=1, smallest_effect=0.0, null=0.0, claims=1, **options):
    return judge(values, Question(direction, smallest_effect, null), claims, **options)


# With 5 seeds the 99 % half-width is 4.604 / sqrt(5) = 2.059 standard deviations.
@pytest.mark.parametrize(
    ("mean", "smallest_effect", "expected"),
    [
        (3.0, 1.0, "supported"),  # 0.94 ... 5.06
        (3.0, 2.9, "supported"),
        (3.0, 3.1, "undecided"),  # above 0, the mean too small, the upper end not
        (-3.0, 1.0, "contradicted"),
        (-3.0, 4.0, "undecided"),  # -5.06 ... -0.94: below 0, and perhaps too small to matter
        (0.5, 3.0, "no effect"),  # -1.56 ... 2.56
        (-0.5, 3.0, "no effect"),
        (3.0, 6.0, "no effect"),  # above 0, and too small to matter
        (0.5, 2.0, "undecided"),  # -1.56 ... 2.56
        (0.0, 0.0, "undecided"),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_each_branch(mean, smallest_effect, expected, direction):
    # A claim of the other direction on mirrored data is the same claim.
    result = judge_one(direction * sample(5, mean, 1.0), direction, smallest_effect)
    assert result.verdict == expected
    assert result.look == (None if expected == "undecided" else 5)
    assert result.estimate.effect == pytest.approx(direction * mean)
    assert result.estimate.n_seeds == 5


@pytest.mark.parametrize("claims", [1, 7, 29])
def test_intervals_are_those_of_the_paired_t_test_at_each_look(claims):
    values = np.random.default_rng(1).normal(0.1, 2.0, 20)
    result = judge_one(values, claims=claims)
    assert result.verdict == "undecided"
    for look, spent, estimate in zip(LOOKS, ERROR_SPENT, result.estimates, strict=True):
        test = stats.ttest_1samp(values[:look], 0)
        low, high = test.confidence_interval(1 - spent / claims)
        # Both are the same closed form in float64; 1e-9 leaves room for the quantile's last digits.
        assert (estimate.ci_low, estimate.ci_high) == pytest.approx((low, high), rel=1e-9)
        assert estimate.level == pytest.approx(1 - spent / claims)
    assert result.estimate == result.estimates[-1]


def test_an_interval_needs_two_values_and_a_level_between_0_and_1():
    assert t_interval([2.5])[0] == 2.5
    assert all(math.isnan(v) for v in (*t_interval([2.5])[1:], *t_interval([math.nan])))
    assert t_interval([1e200, -1e200]) == (0.0, -math.inf, math.inf)  # the squares overflow
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="between 0 and 1"):
            t_interval([1.0, 2.0], level)


def test_the_looks_spend_5_percent_of_each_lab():
    assert LOOKS == (5, 10, 20)
    assert math.fsum(ERROR_SPENT) == pytest.approx(0.05)
    assert expected_false_verdicts([17, 8, 7, 0]) == pytest.approx(0.15)
    assert expected_false_verdicts([]) == 0


def test_below_the_first_look_there_are_estimates_and_no_verdict():
    values = [100.0, 100.1, 100.2, 100.3]
    for n in range(5):
        result = judge_one(values[:n], smallest_effect=0.5, claims=7)
        assert (result.verdict, result.look, result.estimate.n_seeds) == (None, None, n)
        assert result.estimates == (result.estimate,)
        assert result.estimate.level == 0.95  # not adjusted
    nothing, one, two = (judge_one(values[:n]).estimate for n in range(3))
    assert (nothing.effect, one.effect) == (None, 100.0)
    assert (nothing.ci_low, nothing.ci_high, one.ci_low, one.ci_high) == (None,) * 4
    # Half-width 12.706 * 0.0707 / sqrt(2) = 0.635.
    assert (two.effect, two.ci_low, two.ci_high) == pytest.approx(
        (100.05, 100.05 - 0.6353, 100.05 + 0.6353), abs=1e-4
    )


@pytest.mark.parametrize("later", [2, 4])
def test_between_looks_only_the_seeds_of_the_last_look_count(later):
    first = sample(5, 0.5, 1.0)
    result = judge_one([*first, *[1e6] * later])
    assert result == judge_one(first)
    assert (result.verdict, result.look, result.estimate.n_seeds) == ("undecided", None, 5)


def test_a_verdict_stays_whatever_later_seeds_say():
    first = sample(5, 3.0, 1.0)
    decided = judge_one(first, smallest_effect=1.0)
    assert (decided.verdict, decided.look) == ("supported", 5)
    for later in ([-1e3] * 5, [-1e3] * 15, [math.nan] * 15):
        assert judge_one([*first, *later], smallest_effect=1.0) == decided


def test_an_open_claim_is_decided_at_a_later_look():
    first = sample(5, 1.0, 1.0)
    more = sample(5, 1.0, 1.0, seed=1)  # of all ten: mean 1, half-width about 0.9
    result = judge_one([*first, *more], smallest_effect=0.5)
    assert (result.verdict, result.look, len(result.estimates)) == ("supported", 10, 2)
    assert result.estimate == result.estimates[1]
    assert result.estimates[0] == judge_one(first, smallest_effect=0.5).estimate


@pytest.mark.parametrize("direction", [1, -1])
def test_null_value_turns_a_difference_into_non_inferiority(direction):
    # The note: "no worse than 0.5 points". A difference of -0.1 is 0.4 on the asserted side.
    values = direction * sample(5, -0.1, 0.05)  # half-width 0.103
    shifted = judge_one(values, direction, 0.1, null=-0.5 * direction)
    assert shifted.verdict == "supported"
    assert shifted.estimate.effect == pytest.approx(0.4 * direction)
    assert judge_one(values, direction, 0.1).verdict == "undecided"
    worse = judge_one(direction * sample(5, -0.9, 0.05), direction, 0.1, null=-0.5 * direction)
    assert worse.verdict == "contradicted"
    # The same as judging the shifted values.
    moved = judge_one(values + 0.5 * direction, direction, 0.1).estimate
    assert shifted.estimate.ci_low == pytest.approx(moved.ci_low)


@pytest.mark.parametrize(
    ("mean", "expected"), [(-0.1, "undecided"), (0.1, "supported"), (-0.9, "contradicted")]
)
def test_a_bound_on_the_other_side_of_the_null_shows_nothing(mean, expected):
    """At most -0.1 may be worse than -0.5; at least 0.1, and at most -0.9, cannot turn."""
    for direction in (1, -1):
        values = list(map(Bound, direction * sample(5, mean, 0.02)))
        assert judge_one(values, direction, 0.1, null=-0.5 * direction).verdict == expected


IS_ONE = Question(0, 0.2, null=1.0)


# A claim that asserts a value; with 5 seeds the 99 % half-width is 2.059 standard deviations.
@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (1.0, 0.05, "supported"),  # 0.90 ... 1.10
        (0.9, 0.04, "supported"),  # 0.82 ... 0.98: 1 is excluded, the band is not left
        (0.5, 0.05, "contradicted"),  # 0.40 ... 0.60
        (1.5, 0.05, "contradicted"),
        (0.75, 0.05, "undecided"),  # 0.65 ... 0.85: the mean is outside, the interval is not
    ],
)
def test_direction_0_asserts_that_the_interval_lies_within_the_band(mean, sd, expected):
    result = judge(sample(5, mean, sd), IS_ONE, 1)
    assert result.verdict == expected
    assert result.estimate.effect == pytest.approx(mean - 1)


def test_of_two_series_both_must_lie_within_and_the_farther_one_is_shown():
    near, far = sample(5, 1.0, 0.02), sample(5, 0.5, 0.02)
    assert judge((near, near), IS_ONE, 1).verdict == "supported"
    both = judge((near, far), IS_ONE, 1)
    assert both.verdict == "contradicted" and both.estimate.effect == pytest.approx(-0.5)


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_seeds_without_a_finite_value_are_left_out(gap):
    kept = sample(3, 40.0, 1.0)
    result = judge_one([gap, *kept[:2], gap, kept[2]])
    assert result.verdict == "supported"
    assert result.estimate.n_seeds == 3
    low, high = stats.ttest_1samp(kept, 0).confidence_interval(0.99)
    assert (result.estimate.ci_low, result.estimate.ci_high) == pytest.approx((low, high))
    assert t_interval([gap, *kept]) == t_interval(kept)


def test_with_fewer_than_half_of_the_seeds_nothing_is_decided():
    values = [7.0, 7.01, *[math.nan] * 3]  # so little spread that any two would decide
    assert judge_one(values).verdict == "undecided"
    ten = judge_one([*values, 7.0, 7.01, math.nan, math.nan, 7.0])
    assert (ten.verdict, ten.look, ten.estimate.n_seeds) == ("supported", 10, 5)
    none = judge_one([math.nan] * 20)
    assert (none.verdict, none.estimate.effect, none.estimate.n_seeds) == ("undecided", None, 0)


@pytest.mark.parametrize(
    ("value", "smallest_effect", "expected"),
    [
        (0.1, 0.05, "supported"),
        (-0.1, 0.05, "contradicted"),
        (0.1, 0.2, "no effect"),
        (0.1, 0.1, "no effect"),  # the ends of +-delta belong to it
        (0.0, 0.0, "no effect"),
    ],
)
def test_without_spread_the_interval_is_the_point_and_decides_last(
    value, smallest_effect, expected
):
    result = judge_one([value] * 20, 1, smallest_effect)  # 0.1 + 0.1 + 0.1 is not 0.3 in floats
    assert result.estimate.effect == result.estimate.ci_low == result.estimate.ci_high == value
    assert (result.verdict, result.look) == (expected, 20)
    for n in (5, 10):
        rounded = [value * (1 + 1e-15 * i) for i in range(n)]
        assert judge_one(rounded, 1, smallest_effect).verdict == "undecided"


YES, NO, NOTHING, OPEN = (sample(5, mean, 0.1) for mean in (3.0, -3.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ((YES, YES + 1), "supported"),
        ((YES, NO), "contradicted"),
        ((NOTHING, NO), "contradicted"),
        ((YES, NOTHING), "no effect"),
        ((OPEN, NOTHING), "no effect"),
        ((YES, OPEN), "undecided"),
        ((YES, YES, NO), "contradicted"),
    ],
)
def test_several_series_must_all_hold(series, expected):
    # Smallest effect 1: OPEN lies at it, and the 99.8 % half-width is 0.35 or less.
    for ordered in (series, series[::-1]):
        assert judge_one(ordered, smallest_effect=1.0).verdict == expected
    mirrored = tuple(-values for values in series)
    assert judge_one(mirrored, -1, smallest_effect=1.0).verdict == expected


def test_several_series_share_the_error_and_show_the_least_favourable():
    result = judge_one((YES, YES - 1), smallest_effect=1.0, claims=7)
    low, high = stats.ttest_1samp(YES - 1, 0).confidence_interval(1 - 0.01 / 14)
    assert (result.estimate.ci_low, result.estimate.ci_high) == pytest.approx((low, high))
    against = judge_one((-YES, 1 - YES), -1, smallest_effect=1.0, claims=7).estimate
    assert against.effect == pytest.approx(-2.0)
    assert judge_one((YES,), smallest_effect=1.0) == judge_one(YES, smallest_effect=1.0)
    # A seed that one series lacks is left out of all.
    holed = np.where(np.arange(5) == 2, math.nan, YES)
    assert judge_one((YES - 1, holed)).estimate.n_seeds == 4
    assert judge_one(((), ())).estimate.n_seeds == 0


@pytest.mark.parametrize(("refuting", "verdict"), [(0, "no effect"), (-2, "contradicted")])
def test_the_series_that_refutes_a_claim_is_shown_and_not_one_that_is_undecided(refuting, verdict):
    certain = refuting + np.array([0.01, -0.01, 0.02, 0.0, 0.01])
    wide = [-9.0, 4.0, -7.0, 3.0, -8.0]
    for series in ((certain, wide), (wide, certain)):
        result = judge_one(series, smallest_effect=0.5)
        assert (result.verdict, result.estimate.effect) == (verdict, pytest.approx(certain.mean()))


def test_invalid_input_is_refused():
    for direction in (0.5, 2, None, "+"):
        with pytest.raises(ValueError, match=r"direction must be \+1, -1 or 0"):
            Question(direction, 0.0)
    for smallest_effect in (-0.1, math.nan, math.inf, "0.1", None):
        with pytest.raises(ValueError, match="smallest_effect must be a finite number of 0 or mor"):
            Question(1, smallest_effect)
    for null in (math.nan, math.inf, "0"):
        with pytest.raises(ValueError, match="null must be a finite number"):
            Question(1, 0.0, null)
    for claims in (0, True, "8"):
        with pytest.raises(ValueError, match="claims must be a whole number of 1 or more"):
            judge([0.1] * 5, Question(1, 0.05), claims)
    with pytest.raises(ValueError):
        judge_one(([1.0, 2.0], [1.0]))


def test_values_that_are_all_the_same_are_not_certain_with_a_bound():
    """As the exact binomial interval says of 5, 10 and 20 successes in as many seeds."""
    question = Question(1, 0.5, bound=1.0)
    for looks, verdict in ((5, "undecided"), (10, "undecided"), (20, "supported")):
        assert judge([1.0] * looks, question, claims=17).verdict == verdict
        assert judge([-1.0] * looks, question, claims=17).verdict == verdict.replace(
            "supported", "contradicted"
        )
        # A share of p successes and else failures has a mean above 0 if p is above a half.
        spent = ERROR_SPENT[LOOKS.index(looks)] / 17
        smallest = stats.beta.ppf(spent / 2, looks, 1)
        assert (smallest > 0.5) == (verdict == "supported")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5])
def test_shares_of_equal_networks_are_hardly_ever_called_different(share):
    """Exactly, over all counts of seeds in which either network alone succeeds, at 20 seeds."""
    wrong = 0.0
    for wins in range(21):
        for losses in range(21 - wins):
            values = [1.0] * wins + [-1.0] * losses + [0.0] * (20 - wins - losses)
            estimate = Estimate.of(values, 1 - 0.025 / 17, bound=1.0)
            if estimate.ci_low > 0 or estimate.ci_high < 0:
                wrong += stats.multinomial.pmf(
                    [wins, losses, 20 - wins - losses], 20, [share, share, 1 - 2 * share]
                )
    assert wrong <= 0.025 / 17


@pytest.mark.parametrize(
    ("values", "null", "opposite"),
    [([0.75] * 20, 0.0, -1), ([1.0] * 5, 0.0, -1), ([-1.0] * 5, 0.0, 1), ([0.25] * 20, 0.5, 1)],
)
def test_an_interval_takes_in_the_opposite_bound_and_the_effect_is_the_mean(values, null, opposite):
    estimate = Estimate.of(values, 0.99, null, bound=1.0)
    low, high = stats.ttest_1samp([*values, opposite], 0).confidence_interval(0.99)
    assert estimate.effect == values[0] - null
    assert (estimate.ci_low + null, estimate.ci_high + null) == pytest.approx(
        (max(low, -1), min(high, 1))
    )
    with pytest.raises(ValueError, match="bound must be"):
        Question(1, 0.5, bound=0.0)


def test_a_value_beyond_the_bound_is_the_bound():
    """A jackknife of 5 seeds may give one, though its mean is within the bound."""
    values = [0.1, 0.0, 0.1, 0.0, 0.6]
    low, high = stats.ttest_1samp([*values, -0.6], 0).confidence_interval(0.99)
    estimate = Estimate.of(values, 0.99, bound=0.5)
    assert estimate.effect == pytest.approx(0.16)
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((max(low, -0.6), min(high, 0.6)))
