"""The verdict rule: from one paired difference per seed to a verdict, the same for every claim.

The rule: after 5, 10 and 20 seeds a claim gets a t-interval; the lab's 5 % error is divided over
these looks and over its claims. An interval within +-delta means "no effect"; one that excludes 0,
with a mean beyond delta, means "supported" or "contradicted". A claim that asserts a value (an
equivalence: direction 0) is "supported" by an interval within +-delta of it, and "contradicted" by
one that lies wholly outside. The first verdict stays. A claim
without one goes on to the next look and is "undecided" after the last. Several series that must
all hold share their claim's error; each has to be "supported", and one can refute the claim. The
t-interval of values that are the same with every seed has no width and would call five of them
certain: they decide at the last look alone. Where most values are bounds (`paired.Bound`), nothing
is within +-delta, and a mean between 0 and the value that means no effect decides nothing.

Limits: a true effect of exactly delta is decided by chance (far from 0, 71 % "supported" over the
three looks). Skewed differences make errors more frequent than stated, in simulations 7 times for
exponential and 15 times for lognormal ones: measure in logs and count failed runs apart. Failures
that few runs have are mostly missed.

Sources: Student 1908 (the interval); Bonferroni (division over claims and series); Lan & DeMets
1983 (spending the error over looks); Berger 1982 (intersection-union: all series must hold);
Schuirmann 1987 (equivalence: the interval within +-delta).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, cast

from dlip_reg.checks import require_number, require_whole
from dlip_reg.evidence.intervals import t_interval
from dlip_reg.evidence.paired import are_mostly_bounds

LOOKS = (5, 10, 20)
"""Numbers of seeds at which verdicts are given."""

ERROR_SPENT = (0.01, 0.015, 0.025)
"""The share of the lab's 5 % error that each look may spend."""

# Relative to a value: a smaller difference is rounding.
ROUNDING = 1e-9

# "not measurable" is what a study shows for a claim whose controls fail; `judge` never returns it.
Verdict = Literal["supported", "contradicted", "no effect", "undecided", "not measurable"]
PerSeed = Sequence[float] | Sequence[Sequence[float]]  # one series, or several that must all hold


@dataclass(frozen=True)
class Question:
    """What a claim asserts about a measurement; fixed before any data is seen.

    Attributes:
        direction: Sign of the effect that the claim asserts, +1 or -1; 0 for a claim that asserts
            a value, `null`, to within `smallest_effect`.
        smallest_effect: Smallest effect that counts (delta), in the unit of the values.
        null: Value that counts as no effect: 0 for a difference, -0.5 for "at most 0.5 worse", 1
            for "is 1".
        bound: Largest absolute value of an effect, for values such as shares of a few trials that
            may be the same with every seed. A t-interval of equal values has no width and would
            call five successes of five certain. With a bound, the interval takes in one more seed,
            at the bound on the other side, as pseudo-observations do for a proportion (Agresti &
            Coull 1998): in a lab of 17 claims 20 equal successes decide, and 10 do not, as in the
            exact binomial interval. Values may lie beyond it, as a jackknife's do; then the largest
            is the bound.

    Raises:
        ValueError: If `direction` is not +1, -1 or 0, or another number is out of range.
    """

    direction: int
    smallest_effect: float
    null: float = 0.0
    bound: float = math.inf

    def __post_init__(self) -> None:
        checks: tuple[tuple[str, str, Callable[[float], bool]], ...] = (
            ("direction", "+1, -1 or 0", (1, -1, 0).__contains__),
            ("smallest_effect", "a finite number of 0 or more", lambda size: 0 <= size < math.inf),
            ("null", "a finite number", math.isfinite),
            ("bound", "a number above 0", lambda size: size > 0),
        )
        for name, accepted, is_valid in checks:
            require_number(name, getattr(self, name), accepted, is_valid)


@dataclass(frozen=True)
class Estimate:
    """An effect (mean minus null) and its t-interval.

    Attributes:
        effect: None without a finite value.
        ci_low, ci_high: Bounds of the interval; None with fewer than two finite values.
        n_seeds: Seeds that are in the interval.
        level: Confidence of the interval.
    """

    effect: float | None
    ci_low: float | None
    ci_high: float | None
    n_seeds: int
    level: float

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        level: float = 0.95,
        null: float = 0.0,
        bound: float = math.inf,
    ) -> Estimate:
        """Estimate the effect from one value per seed.

        Args:
            values: One per seed; those that are not finite are left out.
            level: Confidence of the interval, between 0 and 1.
            null: Value that counts as no effect, in the unit of the values.
            bound: Largest absolute value of an effect; see `Question`.

        Returns:
            The mean minus `null` and its t-interval, in the unit of the values.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        finite = [value for value in values if math.isfinite(value)]
        mean, low, high = t_interval(finite, level)
        if math.isfinite(bound) and len(finite) > 1:
            bound = max(bound, *map(abs, finite))
            opposite = -bound if mean > null else bound
            _, low, high = t_interval([*finite, opposite], level)
            low, high = max(low, -bound), min(high, bound)
        numbers = [None if math.isnan(x) else x - null for x in (mean, low, high)]
        return cls(numbers[0], numbers[1], numbers[2], len(finite), level)


@dataclass(frozen=True)
class Judgement:
    """A verdict and the estimates that led to it.

    Attributes:
        verdict: None below the first look.
        look: Number of seeds at which the verdict fell; None if it is open or "undecided".
        estimate: The estimate at that look, or at the last one reached.
        estimates: One per look up to that one. Below the first look, one at 95 %.
    """

    verdict: Verdict | None
    look: int | None
    estimate: Estimate
    estimates: tuple[Estimate, ...]


def looks_up_to(seeds: int) -> tuple[int, ...]:
    """The looks that so many seeds reach; below the first one, that number, for an estimate."""
    return tuple(look for look in LOOKS if look <= seeds) or (seeds,)


def judge(values: PerSeed, question: Question, claims: int) -> Judgement:
    """Apply the verdict rule to one claim whose numbers each come from a seed of their own.

    Args:
        values: One value per seed in the order of the seeds, or several such series for a claim
            that asserts all of them. A seed that is not finite in any series is left out of the
            interval; with fewer than half of a look's seeds left, nothing is decided at that look.
        question: What the claim asserts.
        claims: Number of claims of the lab, judged or not.

    Returns:
        The first verdict reached at a look. Seeds after it, or between looks, play no part. Of
        several series the estimate is that of the least favourable mean, among those that decide
        where one refutes the claim.

    Raises:
        ValueError: If the series differ in length, or `claims` is not a whole number of 1 or more.
    """
    series = as_series(values)
    looks = looks_up_to(len(list(zip(*series, strict=True))))
    return judge_looks([[of[:look] for of in series] for look in looks], question, claims)


def judge_looks(measured: Sequence[PerSeed], question: Question, claims: int) -> Judgement:
    """Apply the verdict rule where each look has measured anew, with its own seeds alone.

    A number that is estimated from several seeds together changes as seeds are added. What an
    earlier look found must not, so its numbers are never taken from those of a later one.

    Args:
        measured: The `values` of `judge` as measured at each of the looks so far.
        question: As for `judge`.
        claims: As for `judge`.

    Returns:
        As `judge`.
    """
    require_whole("claims", claims)
    estimates: list[Estimate] = []
    for values in measured:
        series = as_series(values)
        rows = list(zip(*series, strict=True))  # seed by seed
        look = len(rows)
        if look not in LOOKS:
            estimate, _ = _look(rows, len(series), question, 0.95)
            return Judgement(None, None, estimate, (estimate,))
        level = 1 - ERROR_SPENT[LOOKS.index(look)] / (claims * len(series))
        estimate, verdict = _look(rows, len(series), question, level)
        estimates.append(estimate)
        if verdict is not None and 2 * estimate.n_seeds >= look:
            return Judgement(verdict, look, estimate, tuple(estimates))
    return Judgement("undecided", None, estimates[-1], tuple(estimates))


def as_series(values: PerSeed) -> Sequence[Sequence[float]]:
    """The series of a claim, also where it has one alone."""
    single = not len(values) or isinstance(values[0], Real)
    return cast("Sequence[Sequence[float]]", (values,) if single else values)


def expected_false_verdicts(claims_per_lab: Sequence[int]) -> float:
    """Bound the number of false verdicts to expect in a table of several labs.

    A verdict is false if the true effect is on the other side of 0 or 0 itself ("supported",
    "contradicted"), or beyond delta ("no effect"). Its interval then misses the true effect, which
    happens to the claims of one lab 0.05 times on average, however many they are.

    Args:
        claims_per_lab: Number of claims of each lab.

    Returns:
        An upper bound of the expected number, for differences near normal.
    """
    return math.fsum(math.fsum(ERROR_SPENT) for claims in claims_per_lab if claims)


def _look(
    rows: Sequence[Sequence[float]], width: int, question: Question, level: float
) -> tuple[Estimate, Verdict | None]:
    """Return the estimate to show and what the intervals of all series decide together."""
    usable = [row for row in rows if all(map(math.isfinite, row))]
    columns = list(zip(*usable, strict=True)) if usable else [()] * width
    estimates = [Estimate.of(column, level, question.null, question.bound) for column in columns]
    decisions = [
        _decide(estimate, question, are_mostly_bounds(column))
        for estimate, column in zip(estimates, columns, strict=True)
    ]
    refuted = (verdict for verdict in ("contradicted", "no effect") if verdict in decisions)
    verdict = "supported" if set(decisions) == {"supported"} else next(refuted, None)
    pairs = zip(estimates, decisions, strict=True)
    deciding = [estimate for estimate, decision in pairs if verdict in (None, decision)]
    return min(deciding, key=lambda e: _favour(e.effect or 0.0, question)), verdict


def _favour(effect: float, question: Question) -> float:
    return question.direction * effect if question.direction else -abs(effect)


def _decide(estimate: Estimate, question: Question, are_bounds: bool) -> Verdict | None:
    effect, low, high = estimate.effect, estimate.ci_low, estimate.ci_high
    if effect is None or low is None or high is None:
        return None
    delta = question.smallest_effect
    if high - low <= ROUNDING * max(abs(effect), delta) and estimate.n_seeds <= LOOKS[-2]:
        return None
    is_within = -delta <= low and high <= delta
    # What is beyond a bound may be as far from 0 as it likes, and so beyond the null as well.
    if are_bounds and (is_within or effect * (effect + question.null) <= 0):
        return None
    if is_within:
        return "no effect" if question.direction else "supported"
    if not question.direction:
        return "contradicted" if low > delta or high < -delta else None
    if (low > 0 or high < 0) and abs(effect) > delta:
        return "supported" if effect * question.direction > 0 else "contradicted"
    return None
