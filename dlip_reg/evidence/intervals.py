"""The t-interval of a mean (Student 1908, "The probable error of a mean")."""

import math
from collections.abc import Iterable
from functools import cache


def t_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Compute the mean of a sample and its two-sided t-interval.

    Args:
        values: The sample. Values that are not finite are left out.
        level: Confidence of the interval, between 0 and 1.

    Returns:
        The mean and the interval's lower and upper bound. NaN stands for what is unknown: both
        bounds of a single value, and all three of an empty sample. Equal values give a point.

    Raises:
        ValueError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be a confidence between 0 and 1, not {level!r}.")
    finite = [float(value) for value in values if math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return math.nan, math.nan, math.nan
    # Relative to the first value, equal values have exactly this mean and a spread of exactly 0.
    shifts = [value - finite[0] for value in finite]
    shift = math.fsum(shifts) / n
    mean = finite[0] + shift
    if n == 1:
        return mean, math.nan, math.nan
    # A product, since a power that overflows is an error.
    squares = [(value - shift) * (value - shift) for value in shifts]
    variance = math.fsum(squares) / (n - 1)
    half_width = _t_quantile(n - 1, level) * math.sqrt(variance / n)
    return mean, mean - half_width, mean + half_width


@cache
def _t_quantile(degrees: int, level: float) -> float:
    from scipy.special import stdtrit  # scipy takes long to import

    return float(stdtrit(degrees, (1 + level) / 2))
