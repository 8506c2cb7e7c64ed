"""The rule that turns measured differences into verdicts, the same for every claim of a lab.

Plain numbers in, verdicts out: nothing here knows what was measured. The rule is fixed before any
data is seen: t-intervals over seeds (Student 1908), adjusted by the step-down procedure of
Holm 1979 ("A simple sequentially rejective multiple test procedure", section 3) over the claims
of the lab, and held against zero and against the smallest effect worth calling one.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

MIN_SEEDS = 3  # below this every verdict is "undecided"
MAX_SEEDS = 10_000  # beyond this no number of seeds is named

Decision = Literal["supported", "contradicted", "no effect found", "undecided"]


@dataclass(frozen=True)
class Question:
    """What was measured for one claim, and what the claim asserts about it.

    `differences` holds one raw paired difference (or log-ratio) per seed; one that is not finite
    marks a seed that could not be measured and does not count. `direction` is the sign the claim
    asserts, +1 or -1. `smallest_effect` >= 0, in the unit of the differences, is the smallest
    effect worth calling an effect.

    Raises ValueError for any other direction or smallest effect.
    """

    differences: tuple[float, ...]
    direction: int
    smallest_effect: float

    def __post_init__(self) -> None:
        if self.direction not in (1, -1):
            raise ValueError(f"direction must be +1 or -1, not {self.direction!r}.")
        if not 0 <= self.smallest_effect < math.inf:
            raise ValueError(
                f"smallest_effect must be a finite number of 0 or more, "
                f"not {self.smallest_effect!r}."
            )
        object.__setattr__(self, "differences", tuple(float(d) for d in self.differences))


@dataclass(frozen=True)
class Verdict:
    """One claim's effect, its interval and what they decide.

    `effect` is the mean difference over the `n_seeds` seeds measured (None without any);
    `ci_low` and `ci_high` bound it at confidence `level`, the adjusted one; `p_value` is the
    two-sided one of the t-test against 0, not adjusted. With fewer than 2 seeds these four are
    None. `seeds_to_decide` is filled in where the verdict is "undecided": see `judge`.
    """

    effect: float | None
    ci_low: float | None
    ci_high: float | None
    n_seeds: int
    p_value: float | None
    level: float | None
    verdict: Decision
    seeds_to_decide: int | None


def judge(
    questions: Mapping[str, Question], family_size: int | None = None, level: float = 0.95
) -> dict[str, Verdict]:
    """The verdict on every question, with Holm's adjustment over a family of `family_size` claims.

    Holm's steps take the p-values from the smallest up: the k-th of m is held against
    (1 - level) / (m - k + 1), and its interval has that share outside. At the first p-value that
    fails, the steps end: it and all larger ones keep its share, so an interval excludes 0 exactly
    where Holm rejects, and the chance of "supported" or "contradicted" on any claim without an
    effect is at most 1 - level over the whole lab. Equal p-values share the step of the first of
    them. The t-intervals take differences near normal, or at least symmetric, as those of two
    alike arms are; few seeds of skewed differences decide too often, which is why quantities
    spread over decades enter as log-ratios.

    `family_size` counts all claims of the lab, measured or not (default: the questions given), so
    that measuring only some cannot narrow an interval. Claims without a p-value (not asked, or
    fewer than 2 seeds) rank after the others: had they ranked earlier, the others could only have
    come later, with narrower intervals.

    In this order: "supported", the interval lies strictly on the asserted side and the mean
    exceeds the smallest effect; "contradicted", it lies strictly on the other side;
    "no effect found", it lies within +- the smallest effect, ends included; else "undecided", as
    is anything with fewer than 3 seeds. Differences without spread have a point for an interval.

    `seeds_to_decide` of an undecided verdict is the smallest number of seeds, at least 3 and above
    the present one, that would decide if mean, standard deviation and level stayed as they are;
    None if that is above 10,000, never, or unknown because fewer than 2 seeds show no spread.

    Raises ValueError for a family smaller than the questions or a level outside (0, 1).
    """
    if family_size is None:
        family_size = len(questions)
    if family_size < len(questions):
        raise ValueError(
            f"family_size must be at least the number of questions, {len(questions)}, "
            f"not {family_size!r}."
        )
    _check_level(level)
    samples = {name: _Sample.of(question.differences) for name, question in questions.items()}
    p_values = {name: sample.p_value() for name, sample in samples.items() if sample.n >= 2}
    levels = _holm_levels(p_values, family_size, level)
    return {
        name: _verdict(question, samples[name], p_values.get(name), levels.get(name))
        for name, question in questions.items()
    }


def t_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` and the bounds of its two-sided t-interval, not adjusted, for figures.

    Values that are not finite are left out. What cannot be known is NaN (the bounds of one value,
    all three of none), which a figure leaves blank. ValueError for a level outside (0, 1).
    """
    _check_level(level)
    sample = _Sample.of(values)
    if sample.n < 2:
        return (sample.mean if sample.n else math.nan, math.nan, math.nan)
    return (sample.mean, *sample.interval(level))


class _Sample(NamedTuple):
    """The three numbers a t-interval needs; `mean` and `sd` are None where `n` is too small."""

    n: int
    mean: float | None
    sd: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> _Sample:
        # `statistics` computes exactly: equal values have a spread of exactly 0.
        finite = [float(value) for value in values if math.isfinite(value)]
        n = len(finite)
        return cls(
            n,
            statistics.mean(finite) if n else None,
            statistics.stdev(finite) if n >= 2 else None,
        )

    # scipy is slow to import, and scipy.special holds the t-distribution scipy.stats is made of.

    def interval(self, level: float) -> tuple[float, float]:
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.n - 1, (1 + level) / 2))
        half_width = quantile * self.sd / math.sqrt(self.n)
        return self.mean - half_width, self.mean + half_width

    def p_value(self) -> float:
        from scipy.special import stdtr

        standard_error = self.sd / math.sqrt(self.n)
        if standard_error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stdtr(self.n - 1, -abs(self.mean) / standard_error))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be a confidence between 0 and 1, not {level!r}.")


def _holm_levels(p_values: dict[str, float], family_size: int, level: float) -> dict[str, float]:
    """The confidence of each one's interval."""
    counts = Counter(p_values.values())
    shares = {}  # of p-value: what lies outside the interval
    rejected = 0
    for p_value in sorted(counts):
        shares[p_value] = (1 - level) / (family_size - rejected)
        # After the first failure the share stays, and every larger p-value fails it too.
        if p_value < shares[p_value]:
            rejected += counts[p_value]
    return {name: 1 - shares[p_value] for name, p_value in p_values.items()}


def _verdict(
    question: Question, sample: _Sample, p_value: float | None, level: float | None
) -> Verdict:
    low, high, decision, seeds = None, None, "undecided", None
    if level is not None:
        low, high = sample.interval(level)
        decision = _decision(question, sample, level)
        if decision == "undecided":
            seeds = _seeds_to_decide(question, sample, level)
    return Verdict(sample.mean, low, high, sample.n, p_value, level, decision, seeds)


def _decision(question: Question, sample: _Sample, level: float) -> Decision:
    if sample.n < MIN_SEEDS:
        return "undecided"
    low, high = sample.interval(level)
    asserted, other = (low > 0, high < 0) if question.direction > 0 else (high < 0, low > 0)
    if asserted and abs(sample.mean) > question.smallest_effect:
        return "supported"
    if other:
        return "contradicted"
    if -question.smallest_effect <= low and high <= question.smallest_effect:
        return "no effect found"
    return "undecided"


def _seeds_to_decide(question: Question, sample: _Sample, level: float) -> int | None:
    # Intervals only narrow with n and each rule keeps holding as they do, so bisection is right.
    numbers = range(sample.n + 1, MAX_SEEDS + 1)
    index = bisect_left(
        numbers,
        True,
        key=lambda n: _decision(question, sample._replace(n=n), level) != "undecided",
    )
    return numbers[index] if index < len(numbers) else None
