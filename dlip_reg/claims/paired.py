"""What measurements are made of: one number for each seed, in the seeds' order, paired by position.

A seed without a usable record has NaN, and so has every difference it takes part in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Records = Mapping[int, Record | None]  # by seed; None where the run gave no record
Values = tuple[float, ...]

NATS, POINTS, LOG_RATIO = "nats", "percentage points", "log-ratio"


def per_seed(records: Records, read: Callable[[Record], float | None]) -> Values:
    """`read` of each seed's record; NaN where there is none, it diverged, or `read` gives None."""
    values = []
    for record in records.values():
        usable = record is not None and record["status"] == "finished"
        value = read(record) if usable else None
        values.append(math.nan if value is None else value)
    return tuple(values)


def measure(name: str) -> Callable[[Record], float | None]:
    """Reads the final measure of that name."""
    return lambda record: record["measures"][name]


def minus(first: Sequence[float], second: Sequence[float]) -> Values:
    """first - second, seed by seed."""
    return tuple(a - b for a, b in zip(first, second, strict=True))


def mean_of(*values: Sequence[float]) -> Values:
    """The mean of several quantities, seed by seed."""
    return tuple(sum(row) / len(row) for row in zip(*values, strict=True))


def percent(shares: Sequence[float]) -> Values:
    """Shares in [0, 1] as per cent; of differences of shares, as percentage points."""
    return tuple(100 * share for share in shares)


def log_ratio(first: Sequence[float], second: Sequence[float]) -> Values:
    """ln(first / second), seed by seed; NaN where either is not above 0."""
    return tuple(
        math.log(a / b) if a > 0 and b > 0 else math.nan for a, b in zip(first, second, strict=True)
    )
