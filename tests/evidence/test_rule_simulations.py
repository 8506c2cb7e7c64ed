"""How often the verdict rule errs, and how often two repetitions of a lab agree, by simulation.

Labs of seven claims with up to 20 seeds; differences have a standard deviation of 1, so that a
smallest effect is also delta / sd. Bounds allow three standard errors of a share seen in that many
trials: chance alone fails fewer than 3 in 1,000 of them, and the seeds are fixed.
"""

import math

import numpy as np
import pytest

from dlip_reg.evidence import (
    FAILED,
    LOOKS,
    Question,
    failures_as_zero,
    judge,
    judge_looks,
    mean_of,
    of_certain_side,
)

CLAIMS, SEEDS, LABS = 7, 20, 3000
DECIDED = {"supported", "contradicted", "no effect"}


def three_errors(share, trials):
    return 3 * math.sqrt(share * (1 - share) / trials)


def judged(differences, smallest_effect=0.0):
    """The judgement on each of many claims with one smallest effect, asserted direction +1."""
    question = Question(1, smallest_effect)
    return [judge(values, question, CLAIMS) for values in differences.tolist()]


def share_of(verdict, judgements):
    return sum(j.verdict == verdict for j in judgements) / len(judgements)


def normal(random, labs):
    return random.normal(size=(labs, CLAIMS, SEEDS))


def correlated(random, labs):
    # Seven comparisons with one shared baseline, as in a lab: correlation 1/2.
    return normal(random, labs) - random.normal(size=(labs, 1, SEEDS))


def skewed_arms(random, labs):
    # Each arm skewed and heavy-tailed; under no effect both arms are alike, so their difference
    # is symmetric, and on symmetric heavy tails the t-test errs on the careful side.
    arms = random.lognormal(sigma=1.5, size=(2, labs, CLAIMS, SEEDS))
    return arms[0] - arms[1]


def share_with_false_verdict(draw):
    """Share of labs with a verdict on any claim, at true effects and a smallest effect of 0.

    No other smallest effect makes "supported" and "contradicted" easier to reach.
    """
    differences = draw(np.random.default_rng(11), LABS)
    false = [j.verdict in DECIDED for j in judged(differences.reshape(-1, SEEDS))]
    return np.reshape(false, (LABS, CLAIMS)).any(axis=1).mean()


@pytest.mark.parametrize("draw", [correlated, skewed_arms])
def test_family_wise_false_verdicts_stay_within_5_percent(draw):
    assert share_with_false_verdict(draw) <= 0.05 + three_errors(0.05, LABS)


def test_family_wise_false_verdicts_are_about_4_percent():
    # 1 - (1 - 0.05 / 7)^7 = 4.9 %, less what the three looks have in common.
    share = share_with_false_verdict(normal)
    assert share == pytest.approx(0.044, abs=three_errors(0.044, LABS))
    assert share <= 0.05


def test_effect_just_beyond_delta_is_called_no_effect_within_the_error():
    trials = 5000
    differences = np.random.default_rng(3).normal(1.5, 1, (trials, SEEDS))
    share = share_of("no effect", judged(differences, 1.499))
    assert share <= 0.05 / CLAIMS + three_errors(0.05 / CLAIMS, trials)


@pytest.mark.parametrize("delta", [0.25, 0.55, 2.0])
def test_quarter_of_delta_on_the_other_side_is_hardly_ever_contradicted(delta):
    # About 1 %: the largest share, near delta / sd = 0.55, is 1.2 %.
    trials = 4000
    differences = np.random.default_rng(4).normal(-delta / 4, 1, (trials, SEEDS))
    share = share_of("contradicted", judged(differences, delta))
    assert share <= 0.012 + three_errors(0.012, trials)


@pytest.mark.parametrize(
    ("delta", "power", "seeds"), [(0.55, 0.93, 16.5), (0.7, 0.995, 13.7), (1.0, 1.0, 9.8)]
)
def test_power_and_seeds_used_at_twice_delta(delta, power, seeds):
    trials = 3000
    differences = np.random.default_rng(5).normal(2 * delta, 1, (trials, SEEDS))
    judgements = judged(differences, delta)
    # 0.002 is for the rounding of `power`; the seeds used have a standard deviation below 6.
    assert share_of("supported", judgements) == pytest.approx(
        power, abs=three_errors(power, trials) + 0.002
    )
    used = np.mean([j.look or SEEDS for j in judgements])
    assert used == pytest.approx(seeds, abs=3 * 6 / math.sqrt(trials) + 0.05)


@pytest.mark.parametrize(("truth", "wrong"), [(0.79, "supported"), (0.81, "contradicted")])
def test_wrong_verdicts_next_to_the_edge_of_a_band_are_as_rare_as_stated(truth, wrong):
    question = Question(0, 0.2, null=1.0)
    runs = np.random.default_rng(0).normal(truth, 0.1, (1500, SEEDS))
    share = share_of(wrong, [judge(values, question, 1) for values in runs.tolist()])
    # One side of the 5 % that the three looks spend together.
    assert share <= 0.025 + three_errors(0.025, len(runs))


def test_exactly_delta_is_decided_by_chance():
    # Far from 0 the mean alone decides. At one look half of the means are beyond delta; at one of
    # three, 1 less the chance that normal partial sums of 5, 10 and 20 terms are all below 0.
    trials, delta = 4000, 20.0
    differences = np.random.default_rng(6).normal(delta, 1, (trials, SEEDS))
    below = 1 / 8 + (2 * math.asin(math.sqrt(1 / 2)) + math.asin(1 / 2)) / (4 * math.pi)
    share = share_of("supported", judged(differences, delta))
    # The 0.7 % error may have called some "no effect" before.
    assert share == pytest.approx(1 - below, abs=three_errors(below, trials) + 0.007)


def three_looks(lab, deltas):
    return [
        judge(values, Question(1, delta), CLAIMS).verdict
        for values, delta in zip(lab.tolist(), deltas, strict=True)
    ]


def repetitions(labs):
    """Pairs of verdicts on each claim of many labs, each lab run twice on fresh seeds.

    Two of the seven claims have no effect, one a quarter of delta on the other side, the others
    2, 2, 3 and 4 delta; delta / sd is drawn log-uniformly from 0.5 to 4 for each claim of each
    lab. Where most claims without an effect have a delta / sd of about 1 repetitions disagree far
    more often, because 20 seeds then find half of them "no effect" and leave the others open.
    """
    random = np.random.default_rng(7)
    deltas = np.exp(random.uniform(math.log(0.5), math.log(4), (labs, CLAIMS)))
    means = np.array([0, 0, -0.25, 2, 2, 3, 4]) * deltas
    first, second = random.normal(size=(2, labs, CLAIMS, SEEDS)) + means[..., np.newaxis]
    for a, b, delta in zip(first, second, deltas, strict=True):
        yield list(zip(three_looks(a, delta), three_looks(b, delta), strict=True))


def test_two_repetitions_of_a_lab_mostly_agree():
    labs = 1000
    tables = list(repetitions(labs))
    disagree = np.mean([any(a != b for a, b in table) for table in tables])
    conflicts = [{a, b} for table in tables for a, b in table if a != b and {a, b} <= DECIDED]
    assert disagree < 0.34 + three_errors(0.34, labs)
    # Where they differ, one is "undecided": two unlike verdicts are rare, opposite ones not seen.
    assert len(conflicts) < 0.01 * labs
    assert {"supported", "contradicted"} not in conflicts


@pytest.mark.parametrize(
    ("delta", "effect"), [(0.0, 0.0), (0.1, 0.05), (0.55, -0.15), (0.55, 0.3), (1.0, -0.5)]
)
def test_repetitions_of_a_claim_hardly_ever_take_opposite_sides(delta, effect):
    differences = np.random.default_rng(8).normal(effect, 1, (5000, SEEDS))
    judgements = judged(differences, delta)
    # Independent repetitions do so with twice the product of the two shares.
    assert 2 * share_of("supported", judgements) * share_of("contradicted", judgements) < 1e-3


@pytest.mark.parametrize(
    ("effects", "false"),
    [
        ((0.0, 3.0), {"supported", "contradicted"}),  # not all hold, none is refuted
        ((0.0, 0.0), {"supported", "contradicted"}),
        ((3.0, 3.0), {"contradicted"}),
    ],
)
def test_several_series_keep_the_error_of_their_claim(effects, false):
    random, trials = np.random.default_rng(9), 4000
    noise = random.normal(size=(trials, 3, SEEDS))
    correlation = np.repeat([0.0, 0.9], trials // 2).reshape(trials, 1, 1)
    series = np.sqrt(1 - correlation) * noise[:, :2] + np.sqrt(correlation) * noise[:, 2:]
    series += np.reshape(effects, (2, 1))
    question = Question(1, 0.0)
    verdicts = [judge(tuple(pair), question, CLAIMS).verdict for pair in series.tolist()]
    share = sum(verdict in false for verdict in verdicts) / trials
    assert share <= 0.05 / CLAIMS + three_errors(0.05 / CLAIMS, trials)
    if effects == (3.0, 3.0):
        assert verdicts.count("supported") > 0.99 * trials


def test_several_series_refute_a_claim_within_its_error():
    # "No effect" refutes as well; the true effects lie just outside of +-delta.
    trials = 4000
    series = np.random.default_rng(10).normal(1.5, 1, (trials, 2, SEEDS)).tolist()
    question = Question(1, 1.499)
    verdicts = [judge(tuple(pair), question, CLAIMS).verdict for pair in series]
    bound = 0.05 / CLAIMS
    assert verdicts.count("no effect") / trials <= bound + three_errors(bound, trials)


@pytest.mark.parametrize(
    ("draw", "lowest", "highest"),
    [
        # Exponential, skewness 2: about 5 % of claims without an effect, 7 times the error stated.
        (lambda random, shape: random.exponential(size=shape) - 1, 0.03, 0.07),
        # Lognormal with sigma 1, skewness 6: about 11 %, 15 times. Its logarithm is normal.
        (lambda random, shape: random.lognormal(size=shape) - math.exp(0.5), 0.08, 0.14),
        (lambda random, shape: np.log(random.lognormal(size=shape)), 0.0, 0.012),
    ],
)
def test_skewed_differences_inflate_the_errors(draw, lowest, highest):
    differences = draw(np.random.default_rng(12), (3000, SEEDS))
    share = np.mean([j.verdict in DECIDED for j in judged(differences)])
    assert lowest <= share <= highest


@pytest.mark.parametrize("failing", [0.1, 0.3, 0.5, 0.9])
def test_failures_hide_no_effect_that_is_there(failing):
    # Where runs could be compared the effect is one and a half times delta.
    random, trials = np.random.default_rng(13), 1500
    differences = random.normal(1.5, 1, (trials, SEEDS))
    differences[random.random((trials, SEEDS)) < failing] = FAILED

    def no_effect(count):
        judgements = [
            judge_looks([count(row[:look]) for look in LOOKS], Question(1, 1.0), CLAIMS)
            for row in differences.tolist()
        ]
        return share_of("no effect", judgements)

    # The largest share, near half, is about 1 %.
    assert no_effect(failures_as_zero) <= 0.012 + three_errors(0.012, trials)
    all_as_zero = no_effect(lambda row: [0.0 if x == FAILED else x for x in row])
    assert all_as_zero > 0.9 or failing < 0.9


@pytest.mark.parametrize("length", [1.05, 1.2, 1.5, 2.0, 8.0])
@pytest.mark.parametrize("scatter", [0.03, 0.2])
def test_runs_that_end_too_early_hide_no_effect_that_is_there(length, scatter):
    """The treated network takes twice as long as the other, and runs of both end before."""
    random, trials, delta = np.random.default_rng(15), 500, math.log(1.25)
    plain, treated = np.exp(random.normal(0, scatter, (2, trials, SEEDS)))
    treated *= 2
    differences = np.log(np.minimum(treated, length) / np.minimum(plain, length))
    cases = zip(differences.tolist(), treated > length, plain > length, strict=True)

    def judged_at_looks(values, longer, shorter):
        series = [
            of_certain_side(values[:look], [longer[:look].tolist()], [shorter[:look].tolist()])
            for look in LOOKS
        ]
        # As claims do that average several methods.
        return judge_looks([mean_of(each, each) for each in series], Question(1, delta), CLAIMS)

    judgements = [judged_at_looks(*case) for case in cases]
    assert share_of("no effect", judgements) <= 0.05 / CLAIMS + three_errors(0.05 / CLAIMS, trials)
    if length >= 1.5:  # a bound beyond delta is enough to see the effect
        assert share_of("supported", judgements) > 0.9


@pytest.mark.parametrize(
    ("draw", "verdicts", "stated"),
    [
        # Heads or tails: with no effect, five of a kind have an interval without width.
        (lambda random, shape: random.choice([-1.0, 1.0], shape), {"supported", "contradicted"}, 0),
        # An effect of delta that one seed in five has: often none of the first five.
        (lambda random, shape: 5.0 * (random.random(shape) < 0.2), {"no effect"}, 0.999),
    ],
)
def test_values_that_are_often_the_same_are_not_taken_for_certain(draw, verdicts, stated):
    trials = 4000
    judgements = judged(draw(np.random.default_rng(14), (trials, SEEDS)), stated)
    share = np.mean([j.verdict in verdicts for j in judgements])
    # Few possible values make errors twice as frequent as stated, and not 6 and 33 %.
    bound = 2 * 0.05 / CLAIMS
    assert share <= bound + three_errors(bound, trials)


def test_failures_that_few_runs_have_are_missed_as_often_as_stated():
    # One run in twenty loses 70 points; the others are equal. The mean, -3.5, is 7 deltas.
    random, trials = np.random.default_rng(16), 2000
    differences = random.normal(0, 0.3, (trials, SEEDS))
    differences[random.random((trials, SEEDS)) < 0.05] = -70.0
    share = share_of("no effect", judged(differences, 0.5))
    assert share == pytest.approx(0.54, abs=0.08)


@pytest.mark.parametrize(("spread", "stated"), [(1.2, 0.15), (0.7, 0.41)])
def test_methods_that_are_alike_get_unlike_candidates_as_often_as_stated(spread, stated):
    """Each of two methods has the best of five candidates by the mean of two tuning seeds."""
    random, trials = np.random.default_rng(17), 2000
    accuracies = np.array([-1, -0.7, 0, -0.7, -1])
    # Of 500 validation images a difference of accuracies has a standard error of about 1.5 points.
    seen = accuracies + random.normal(0, 1.5 / math.sqrt(2), (2, trials, len(accuracies)))
    first, second = accuracies[seen.argmax(axis=-1)]
    differences = random.normal((first - second)[:, np.newaxis], spread, (trials, SEEDS))
    question = Question(1, 0.5)
    verdicts = [judge(values, question, 17).verdict for values in differences.tolist()]
    share = sum(verdict in {"supported", "contradicted"} for verdict in verdicts) / trials
    assert share == pytest.approx(stated, abs=0.05)
