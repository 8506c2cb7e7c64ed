"""Claims that assert a value: the verdict rule with direction 0."""

import numpy as np
import pytest

from dlip_reg.evidence import Question, judge

IS_ONE = Question(0, 0.2, null=1.0)


def sample(mean, sd, n=20, seed=0):
    values = np.random.default_rng(seed).normal(size=n)
    first = values[:5]
    # The first look sees exactly this mean and standard deviation.
    return mean + sd * (values - first.mean()) / first.std(ddof=1)


# With 5 seeds the 99 % half-width is 2.059 standard deviations.
@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (1.0, 0.05, "supported"),  # 0.90 ... 1.10
        (0.9, 0.04, "supported"),  # 0.82 ... 0.98: 1 is excluded, the band is not left
        (0.5, 0.05, "contradicted"),  # 0.40 ... 0.60
        (1.5, 0.05, "contradicted"),
        (0.75, 0.05, None),  # 0.65 ... 0.85: the mean is outside, the interval is not
    ],
)
def test_the_interval_lies_within_the_band_or_outside(mean, sd, expected):
    result = judge(sample(mean, sd, 5), IS_ONE, 1)
    assert result.verdict == (expected or "undecided")
    assert result.estimate.effect == pytest.approx(mean - 1)


def test_of_two_series_both_must_lie_within_and_the_farther_one_is_shown():
    near, far = sample(1.0, 0.02, 5), sample(0.5, 0.02, 5)
    assert judge((near, near), IS_ONE, 1).verdict == "supported"
    both = judge((near, far), IS_ONE, 1)
    assert both.verdict == "contradicted" and both.estimate.effect == pytest.approx(-0.5)


@pytest.mark.parametrize(("truth", "wrong"), [(0.79, "supported"), (0.81, "contradicted")])
def test_wrong_verdicts_next_to_the_edge_of_the_band_are_as_rare_as_stated(truth, wrong):
    rng = np.random.default_rng(0)
    runs = rng.normal(truth, 0.1, (1500, 20))
    share = np.mean([judge(values.tolist(), IS_ONE, 1).verdict == wrong for values in runs])
    # One side of the 5 % that the three looks spend together, and three standard errors.
    assert share <= 0.025 + 3 * np.sqrt(0.025 / len(runs))
