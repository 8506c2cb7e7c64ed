"""Paired differences: one number per seed, in the order of the seeds, paired by position.

NaN marks a seed without a value, and every quantity computed from it is NaN as well.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Values = tuple[float, ...]
# The value of a seed with which nothing could be compared, until `failures_as_zero`.
FAILED = math.inf


class Bound(float):
    """A difference that may be farther from 0 than this.

    For example because a run ended before what was timed, or nothing could be compared. The verdict
    rule calls no effect too small to matter where most seeds have only bounds. Of what is computed
    from it, only `mean_of`, `percent` and `nearer_to_zero` give a bound again.
    """


NATS = "nats"
POINTS = "percentage points"
LOG_RATIO = "log-ratio"


def minus(first: Sequence[float], second: Sequence[float]) -> Values:
    """Subtract `second` from `first`, seed by seed.

    Args:
        first: One number per seed.
        second: As many, in the same unit and order of seeds.

    Returns:
        One difference per seed, in that unit.

    Raises:
        ValueError: The two differ in length.
    """
    return tuple(a - b for a, b in zip(first, second, strict=True))


def mean_of(*values: Sequence[float]) -> Values:
    """Average several quantities, seed by seed.

    Args:
        *values: Quantities in one unit, each with one number per seed.

    Returns:
        One mean per seed, in that unit; a `Bound` if one of the quantities is. Where that lies on
        the other side of 0, it may outweigh the others: the seed counts as in `failures_as_zero`.
        NaN where a quantity is not finite.

    Raises:
        ValueError: The quantities differ in length.
    """

    def mean(row: Sequence[float]) -> float:
        value = sum(row) / len(row)
        if not math.isfinite(value):
            return math.nan
        bounds = [x for x in row if isinstance(x, Bound)]
        if any(x * value < 0 for x in bounds):
            return FAILED
        return Bound(value) if bounds else value

    return failures_as_zero(tuple(map(mean, zip(*values, strict=True))))


def percent(shares: Sequence[float]) -> Values:
    """Convert shares to per cent, or differences of shares to percentage points.

    Args:
        shares: One share per seed: 1 is the whole.

    Returns:
        100 times each share; a `Bound` if it is one.
    """
    return tuple((Bound if isinstance(x, Bound) else float)(100 * x) for x in shares)


def by_seed(series: Mapping[Any, Sequence[float]]) -> list[dict[Any, float]]:
    """Regroup responses to several doses by seed.

    Args:
        series: Dose -> the response of every seed.

    Returns:
        One curve per seed, dose -> response.

    Raises:
        ValueError: The doses have different numbers of seeds.
    """
    return [dict(zip(series, row, strict=True)) for row in zip(*series.values(), strict=True)]


def log_ratio(first: Sequence[float], second: Sequence[float]) -> Values:
    """Compute ln(first / second), seed by seed.

    Args:
        first: One number per seed.
        second: As many, in the same unit and order of seeds.

    Returns:
        One log-ratio per seed; NaN where either number is not above 0.

    Raises:
        ValueError: The two differ in length.
    """
    # The ratio itself can overflow, or be 0.
    return tuple(
        math.log(a) - math.log(b) if a > 0 and b > 0 else math.nan
        for a, b in zip(first, second, strict=True)
    )


def are_mostly_bounds(values: Sequence[float]) -> bool:
    """Whether more than half of the values that there are say only what a difference is at least.

    Args:
        values: One value per seed; NaN for a seed that has none.

    Returns:
        True if most are a `Bound`.
    """
    known = [value for value in values if not math.isnan(value)]
    return 2 * sum(isinstance(value, Bound) for value in known) > len(known)


def failures_as_zero(values: Sequence[float]) -> Values:
    """Count seeds that are `FAILED` as no difference; as NaN where they are more than half.

    A few zeros only make a difference harder to show, and by spreading the values they keep the
    interval wide. Many would make it narrow about 0, and what was not compared would read as an
    effect too small to matter.

    Args:
        values: One value per seed; NaN for a seed that has none.

    Returns:
        The values with 0, as a `Bound`, or NaN in place of `FAILED`.
    """
    known = [value for value in values if not math.isnan(value)]
    failed = known.count(FAILED)
    worth = Bound(0.0) if 2 * failed <= len(known) else math.nan
    return tuple(worth if value == FAILED else value for value in values)


def of_certain_side(
    values: Sequence[float],
    at_least: Sequence[Sequence[bool]],
    at_most: Sequence[Sequence[bool]],
) -> Values:
    """Differences of which some are bounds, as where a run ended before what was timed.

    Where it says on which side of 0 the difference is, it is taken as it stands, as a `Bound`;
    otherwise the seed has failed, and counts as in `failures_as_zero`.

    Args:
        values: One difference per seed.
        at_least: Reasons why a difference may be larger, each with one truth value per seed.
        at_most: The same for smaller.

    Returns:
        The differences with 0, or NaN, in place of those whose side is unknown.
    """

    def marked(value: float, larger: Sequence[bool], smaller: Sequence[bool]) -> float:
        if (any(larger) and value <= 0) or (any(smaller) and value >= 0):
            return FAILED
        return Bound(value) if any((*larger, *smaller)) else value

    reasons = zip(*at_least, strict=True), zip(*at_most, strict=True)
    rows = zip(values, *reasons, strict=True)
    return failures_as_zero(tuple(marked(*row) for row in rows))


def nearer_to_zero(first: Sequence[float], second: Sequence[float]) -> Values:
    """Of two measurements of one effect the one nearer to 0, for an effect that both must show.

    That is the one whose mean is; of each seed the number nearer to 0 would be too near to it.

    Args:
        first: One number per seed.
        second: The other measurement; not finite where there is none.

    Returns:
        The numbers of that measurement, less their mean where the means lie on different sides of
        0. Where `first` is not finite it stands as it is; where `second` alone is not, 0 as a
        `Bound`.
    """
    pairs = list(zip(first, second, strict=True))
    both = [pair for pair in pairs if all(map(math.isfinite, pair))]
    means = [sum(numbers) / len(both) for numbers in zip(*both, strict=True)] or [0.0, 0.0]
    nearer = means.index(min(means, key=abs))
    are_apart = means[0] * means[1] < 0

    def value(pair: tuple[float, float]) -> float:
        if not math.isfinite(pair[0]):
            return pair[0]
        if not math.isfinite(pair[1]):
            return Bound(0.0)
        return pair[nearer] - means[nearer] if are_apart else pair[nearer]

    return tuple(map(value, pairs))


def slope(responses: Mapping[float, Sequence[float]]) -> Values:
    """Fit a least-squares line through the responses to several doses, seed by seed.

    Args:
        responses: Dose -> the response of every seed, for at least two doses.

    Returns:
        The slope of each seed's line, in units of the response per unit of dose.

    Raises:
        ValueError: Fewer than two doses.
    """
    if len(responses) < 2:
        raise ValueError("A slope needs at least two different doses.")
    center = sum(responses) / len(responses)
    offsets = [dose - center for dose in responses]
    scale = sum(offset**2 for offset in offsets)
    return tuple(
        sum(offset * response for offset, response in zip(offsets, row, strict=True)) / scale
        for row in zip(*responses.values(), strict=True)
    )
