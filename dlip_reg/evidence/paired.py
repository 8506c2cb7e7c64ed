"""Paired differences: one number per seed, in the order of the seeds, paired by position.

NaN marks a seed without a value, and every quantity computed from it is NaN as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Values = tuple[float, ...]

NATS = "nats"
POINTS = "percentage points"
LOG_RATIO = "log-ratio"


def per_seed(
    records: Sequence[Any | None],
    read: Callable[[Any], float | None],
    failure: float = math.nan,
) -> Values:
    """Read one number from the record of each seed.

    Args:
        records: Records of one arm in the order of the seeds; None where a run gave no record.
        read: Returns the number of a finished run's record, or None where it was not measured.
        failure: What a run that diverged is worth. `read` does not see its record.

    Returns:
        One number per seed. NaN where there is no record (a lost process is not a result) or
        `read` returns None.
    """

    def value(record: Any | None) -> float | None:
        if record is None:
            return None
        return failure if record.status == "diverged" else read(record)

    return tuple(math.nan if v is None else float(v) for v in map(value, records))


def minus(first: Sequence[float], second: Sequence[float]) -> Values:
    """Subtract `second` from `first`, seed by seed."""
    return tuple(a - b for a, b in zip(first, second, strict=True))


def mean_of(*values: Sequence[float]) -> Values:
    """Average several quantities, seed by seed."""
    return tuple(sum(row) / len(row) for row in zip(*values, strict=True))


def percent(shares: Sequence[float]) -> Values:
    """Convert shares to per cent, or differences of shares to percentage points."""
    return tuple(100 * share for share in shares)


def log_ratio(first: Sequence[float], second: Sequence[float]) -> Values:
    """Compute ln(first / second), seed by seed; NaN where either is not above 0."""
    # The ratio itself can overflow, or be 0.
    return tuple(
        math.log(a) - math.log(b) if a > 0 and b > 0 else math.nan
        for a, b in zip(first, second, strict=True)
    )


def slope(doses: Sequence[float], series: Sequence[Sequence[float]]) -> Values:
    """Fit a least-squares line through the responses to several doses, seed by seed.

    Args:
        doses: The doses, at least two of them different.
        series: For each dose, the response of every seed.

    Returns:
        The slope of each seed's line, in units of the response per unit of dose.

    Raises:
        ValueError: If the doses are all equal, or their number is not that of the series.
    """
    if len(doses) != len(series):
        raise ValueError(f"There must be one series per dose, not {len(series)} for {len(doses)}.")
    if len(set(doses)) < 2:
        raise ValueError(f"A slope needs at least two different doses, not {tuple(doses)!r}.")
    center = sum(doses) / len(doses)
    offsets = [dose - center for dose in doses]
    scale = sum(offset**2 for offset in offsets)
    return tuple(
        sum(offset * response for offset, response in zip(offsets, row, strict=True)) / scale
        for row in zip(*series, strict=True)
    )
