"""The verdict rule, on samples whose verdict is known and by simulation."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from dlip_reg.claims.verdict import Question, judge, t_interval


def sample(n, mean, sd, seed=0):
    """`n` numbers whose mean and standard deviation are the given ones, up to rounding."""
    values = np.random.default_rng(seed).normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def sample_of_p(p_value, n=6, sd=1.0, sign=1):
    """A sample whose two-sided t-test against 0 gives `p_value`."""
    return sample(n, sign * stats.t.isf(p_value / 2, n - 1) * sd / math.sqrt(n), sd)


def judge_one(differences, direction=1, smallest_effect=0.0, **options):
    return judge({"it": Question(differences, direction, smallest_effect)}, **options)["it"]


# With 5 seeds the 95 % half-width is 2.776 / sqrt(5) = 1.24 standard deviations.
@pytest.mark.parametrize(
    ("mean", "smallest_effect", "expected"),
    [
        (2.0, 1.0, "supported"),  # 0.76 ... 3.24
        (-2.0, 1.0, "contradicted"),
        (-2.0, 3.0, "contradicted"),  # -3.24 ... -0.76: below 0, though not out of +-3
        (0.5, 2.0, "no effect found"),  # -0.74 ... 1.74
        (-0.5, 2.0, "no effect found"),
        (2.0, 4.0, "no effect found"),  # above 0, and too small to matter
        (2.0, 3.0, "undecided"),  # above 0, the mean too small, the upper end not
        (0.5, 1.0, "undecided"),  # -0.74 ... 1.74
        (0.0, 0.0, "undecided"),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_each_branch(mean, smallest_effect, expected, direction):
    # A claim of the other direction on mirrored data is the same claim.
    result = judge_one(direction * sample(5, mean, 1.0), direction, smallest_effect)
    assert result.verdict == expected
    assert result.effect == pytest.approx(direction * mean)
    assert result.n_seeds == 5
    if expected != "undecided":
        assert result.seeds_to_decide is None


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_interval_and_p_value_are_those_of_the_paired_t_test(n, level):
    differences = np.random.default_rng(n).normal(0.3, 2.0, n)
    expected = stats.ttest_1samp(differences, 0)
    low, high = expected.confidence_interval(level)
    result = judge_one(differences, level=level)
    # Both are the same closed form in float64; 1e-9 leaves room for the quantile's last digits.
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high), rel=1e-9)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.level == pytest.approx(level)
    assert t_interval(differences, level) == pytest.approx(
        (differences.mean(), low, high), rel=1e-9
    )


@pytest.mark.parametrize(
    ("p_values", "family_size", "shares"),
    [
        # All steps pass: 0.001 < 0.05 / 3, 0.02 < 0.05 / 2, and the last is held against 0.05.
        ((0.001, 0.02, 0.04), None, (0.05 / 3, 0.05 / 2, 0.05)),
        ((0.04, 0.001, 0.02), None, (0.05, 0.05 / 3, 0.05 / 2)),
        # 0.03 fails 0.05 / 2 and ends the steps: 0.04 is not held against 0.05.
        ((0.001, 0.03, 0.04), None, (0.05 / 3, 0.05 / 2, 0.05 / 2)),
        ((0.02, 0.03, 0.04), None, (0.05 / 3, 0.05 / 3, 0.05 / 3)),
        # Four of seven claims were not measured.
        ((0.001, 0.02, 0.04), 7, (0.05 / 7, 0.05 / 6, 0.05 / 6)),
    ],
)
def test_holm_levels_by_hand(p_values, family_size, shares):
    questions = {str(p): Question(sample_of_p(p), 1, 0.0) for p in p_values}
    results = judge(questions, family_size)
    assert list(results) == [str(p) for p in p_values]  # in the order asked
    for result, p_value, share in zip(results.values(), p_values, shares, strict=True):
        assert result.p_value == pytest.approx(p_value)
        assert result.level == pytest.approx(1 - share)


def holm_rejects(p_values, m, alpha=0.05):
    """Holm 1979, step by step; ties in any order."""
    rejected = set()
    for k, name in enumerate(sorted(p_values, key=p_values.get), start=1):
        if p_values[name] > alpha / (m - k + 1):
            break
        rejected.add(name)
    return rejected


def test_interval_excludes_zero_exactly_where_holm_rejects():
    random = np.random.default_rng(7)
    rejections = []
    for _ in range(500):
        m = int(random.integers(1, 9))
        differences = {
            str(i): random.normal(random.choice([0, 1.2, 2.5]), 1, random.integers(3, 9))
            for i in range(m)
        }
        if m > 3:
            differences["3"] = differences["0"]  # a tie
        family_size = m + int(random.choice([0, 3]))
        results = judge({k: Question(v, 1, 0.0) for k, v in differences.items()}, family_size)
        p_values = {k: stats.ttest_1samp(v, 0).pvalue for k, v in differences.items()}
        excluding = {k for k, r in results.items() if r.ci_low > 0 or r.ci_high < 0}
        assert excluding == holm_rejects(p_values, family_size)
        rejections.append(len(excluding) / m)
    assert 0.2 < np.mean(rejections) < 0.8  # the families do cover both outcomes


def test_equal_p_values_are_treated_alike_in_any_order():
    questions = {name: Question(sample_of_p(0.02), 1, 0.0) for name in "abc"}
    questions["d"] = Question(sample_of_p(0.001), 1, 0.0)
    results = judge(questions)
    assert results["a"] == results["b"] == results["c"]
    assert judge(dict(reversed(questions.items()))) == results


def test_unmeasured_claims_never_narrow_an_interval():
    random = np.random.default_rng(3)
    for _ in range(50):
        questions = {
            str(i): Question(random.normal(random.choice([0, 2, 4]), 1, 5), 1, 0.5)
            for i in range(7)
        }
        some = {name: questions[name] for name in "024"}
        asked_all, asked_some = judge(questions), judge(some, family_size=7)
        family_of_three = judge(some)
        for name, result in asked_some.items():
            assert result.ci_low <= asked_all[name].ci_low
            assert result.ci_high >= asked_all[name].ci_high
            assert result.ci_low < family_of_three[name].ci_low
            assert result.ci_high > family_of_three[name].ci_high


def test_claim_without_p_value_ranks_last():
    questions = {
        name: Question(sample_of_p(p), 1, 0.0) for name, p in {"a": 0.001, "b": 0.04}.items()
    }
    questions["one seed"] = Question((1.0,), 1, 0.0)
    results = judge(questions)
    assert results["a"].level == pytest.approx(1 - 0.05 / 3)
    assert results["b"].level == pytest.approx(1 - 0.05 / 2)


def test_too_few_seeds_are_undecided():
    nothing, one, two = (judge_one([100.0, 100.1][:n], 1, 0.5) for n in range(3))
    assert [r.verdict for r in (nothing, one, two)] == ["undecided"] * 3
    assert [r.n_seeds for r in (nothing, one, two)] == [0, 1, 2]
    assert [r.effect for r in (nothing, one)] == [None, 100.0]
    for result in (nothing, one):
        assert (result.ci_low, result.ci_high, result.p_value, result.level) == (None,) * 4
        assert result.seeds_to_decide is None
    # Two seeds show a spread: half-width 12.706 * 0.0707 / sqrt(2) = 0.635.
    assert (two.effect, two.ci_low, two.ci_high) == pytest.approx(
        (100.05, 100.05 - 0.6353, 100.05 + 0.6353), abs=1e-4
    )
    assert two.seeds_to_decide == 3


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_seeds_that_could_not_be_measured_do_not_count(gap):
    differences = sample(4, 2.0, 1.0)
    assert judge_one([gap, *differences[:2], gap, *differences[2:]]) == judge_one(differences)
    assert judge_one([gap, *differences[:2]]).verdict == "undecided"
    assert t_interval([gap, *differences]) == t_interval(differences)


@pytest.mark.parametrize(
    ("value", "smallest_effect", "p_value", "expected"),
    [
        (0.1, 0.05, 0.0, "supported"),
        (-0.1, 0.05, 0.0, "contradicted"),
        (0.1, 0.2, 0.0, "no effect found"),
        (0.0, 0.0, 1.0, "no effect found"),
    ],
)
def test_without_spread_the_interval_is_the_point(value, smallest_effect, p_value, expected):
    result = judge_one([value] * 3, 1, smallest_effect)  # 0.1 + 0.1 + 0.1 is not 0.3 in floats
    assert result.effect == result.ci_low == result.ci_high == value
    assert (result.p_value, result.verdict) == (p_value, expected)


@pytest.mark.parametrize(
    ("n", "mean", "smallest_effect", "direction", "expected"),
    [
        (5, 0.4, 0.1, 1, "supported"),
        (5, -0.4, 0.1, 1, "contradicted"),
        (5, 0.4, 0.1, -1, "contradicted"),
        (4, 0.02, 0.1, 1, "no effect found"),
        (2, 0.5, 0.1, 1, "supported"),
    ],
)
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 7])
def test_seeds_to_decide_is_the_first_number_that_decides(
    n, mean, smallest_effect, direction, expected, level
):
    def verdict(count):
        return judge_one(sample(count, mean, 1.0), direction, smallest_effect, level=level)

    now = verdict(n)
    assert now.verdict == "undecided"
    assert now.seeds_to_decide > n
    assert verdict(now.seeds_to_decide - 1).verdict == "undecided"
    assert verdict(now.seeds_to_decide).verdict == expected


@pytest.mark.parametrize(
    ("differences", "smallest_effect"),
    [
        ((-1.0, 0.0, 1.0), 0.0),  # a mean of 0 is on neither side at any number of seeds
        ((-1.0, 1.0, 3.0), 1.0),  # a mean of just the smallest effect neither
        ((-1.0, 0.0, 1.03), 0.0),  # mean 0.01, spread 1.01: about (1.96 * 101)^2 = 39,000 seeds
    ],
)
def test_no_number_of_seeds_is_named_beyond_reach(differences, smallest_effect):
    result = judge_one(differences, 1, smallest_effect)
    assert (result.verdict, result.seeds_to_decide) == ("undecided", None)


def test_t_interval_of_too_few_values_is_blank():
    assert t_interval([2.5])[0] == 2.5
    assert all(math.isnan(v) for v in (*t_interval([2.5])[1:], *t_interval([math.nan])))


def test_impossible_input_is_refused():
    for direction in (0, 2, None, "+"):
        with pytest.raises(ValueError, match=r"direction must be \+1 or -1"):
            Question((), direction, 0.0)
    for smallest_effect in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="smallest_effect must be a finite number of 0 or mor"):
            Question((), 1, smallest_effect)
    question = Question((1.0, 2.0, 3.0), 1, 0.0)
    with pytest.raises(ValueError, match="at least the number of questions, 2, not 1"):
        judge({"a": question, "b": question}, family_size=1)
    for level in (0, 1, 95, math.nan):
        with pytest.raises(ValueError, match="level must be a confidence between 0 and 1"):
            judge({"a": question}, level=level)
        with pytest.raises(ValueError, match="level must be a confidence between 0 and 1"):
            t_interval([1.0, 2.0], level)


# Simulations. Bounds are three standard errors of a share seen in that many trials: chance alone
# passes them with fewer than 3 seeds in 1,000, and the seeds are fixed.
FAMILIES = 2000


def three_errors(share, trials):
    return 3 * math.sqrt(share * (1 - share) / trials)


def normal(random):
    return random.normal(size=(7, 5))


def correlated(random):
    # Seven comparisons with one shared baseline, as in a lab: correlation 1/2.
    return random.normal(size=(7, 5)) - random.normal(size=5)


def skewed_arms(random):
    # Each arm skewed and heavy-tailed; under no effect both arms are alike, so their difference
    # is symmetric, and on symmetric heavy tails the t-test errs on the careful side.
    arms = random.lognormal(sigma=1.5, size=(2, 7, 5))
    return arms[0] - arms[1]


def share_with_a_side(draw, effects):
    """Share of families of seven with a side taken on any claim whose true effect is zero.

    The smallest effect is 0, where "supported" is easiest to reach.
    """
    random = np.random.default_rng(11)
    wrong = 0
    for _ in range(FAMILIES):
        differences = draw(random) + np.reshape(effects, (7, 1))
        results = judge({str(i): Question(d, 1, 0.0) for i, d in enumerate(differences)})
        wrong += any(results[str(i)].verdict != "undecided" for i in range(7) if effects[i] == 0)
    return wrong / FAMILIES


@pytest.mark.parametrize("draw", [normal, correlated, skewed_arms])
@pytest.mark.parametrize("n_true", [0, 4])
def test_family_wise_false_positives_stay_within_5_percent(draw, n_true):
    share = share_with_a_side(draw, [50.0] * n_true + [0.0] * (7 - n_true))
    assert share <= 0.05 + three_errors(0.05, FAMILIES)


def test_adjustment_is_no_more_careful_than_it_must_be():
    # Seven independent tests at 0.05 / 7 each, and no effect anywhere: 1 - (1 - 0.05 / 7)^7.
    exact = 1 - (1 - 0.05 / 7) ** 7
    assert share_with_a_side(normal, [0.0] * 7) == pytest.approx(
        exact, abs=three_errors(exact, FAMILIES)
    )


def test_interval_of_a_single_claim_covers_the_truth_in_95_percent():
    samples = np.random.default_rng(5).normal(3.0, 2.0, (4000, 5))
    results = [judge_one(s, smallest_effect=1.0) for s in samples]
    covered = np.mean([r.ci_low <= 3.0 <= r.ci_high for r in results])
    assert covered == pytest.approx(0.95, abs=three_errors(0.95, len(samples)))


@pytest.mark.parametrize("effect", [2.0, 4.0, 10.0])
def test_power_is_that_of_the_t_test(effect):
    # One claim of a lab of seven: supported with the noncentral t's chance, 0.99999 at 10 sd.
    power = stats.nct.sf(stats.t.isf(0.05 / 7 / 2, 4), 4, effect * math.sqrt(5))
    samples = np.random.default_rng(9).normal(effect, 1.0, (1000, 5))
    supported = np.mean(
        [judge_one(s, smallest_effect=0.1, family_size=7).verdict == "supported" for s in samples]
    )
    assert supported == pytest.approx(power, abs=three_errors(power, len(samples)) + 1e-3)


def test_import_waits_for_no_slow_library():
    code = (
        "import sys, dlip_reg.claims.verdict;"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
