"""What the figures of curves share: one curve per seed summarised point by point, and log axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dlip_reg.report.figures.style import (
    Summary,
    Value,
    as_percent,
    is_finite,
    log_ticks,
    summarize,
)

# One run's curve: equally long lists under their names; None for a run with no record.
Curve = Mapping[str, Sequence[Any]] | None


def geometric(values: Iterable[Value]) -> Summary:
    """`summarize` for a quantity on a log axis: the geometric mean and its 95 % t-interval.

    What is not above 0 is left out like what is not finite.
    """
    logs = [math.log(v) if is_finite(v) and v > 0 else None for v in values]
    found = summarize(logs)
    numbers = (found.mean, found.low, found.high)
    mean, low, high = (None if n is None else math.exp(min(n, 700)) for n in numbers)
    return Summary(tuple(map(math.exp, found.values)), found.missing, mean, low, high)


def over_seeds(
    runs: Sequence[Curve],
    x: str,
    key: str,
    summary: Callable[[Iterable[Value]], Summary] = geometric,
) -> dict[float, Summary]:
    """Place along `x` -> summary over the runs of `key` there, places in order."""
    values: dict[float, list[Any]] = {}
    for run in runs:
        if run is not None:
            for at, value in zip(run[x], run[key], strict=True):
                values.setdefault(at, []).append(value)
    return {at: summary(values[at]) for at in sorted(values)}


def means(summaries: Iterable[Summary]) -> list[float]:
    """The means that there are."""
    return [summary.mean for summary in summaries if summary.mean is not None]


def lacking_note(runs: Mapping[str, Sequence[Curve]], keys: Sequence[str]) -> str:
    """Names, for a note, the methods that have no finite value under some of the keys."""
    lacking = [
        method
        for method, curves in runs.items()
        if any(not summarize(v for c in curves if c for v in c[key]).values for key in keys)
    ]
    return f"no finite value: {', '.join(lacking)}" if lacking else ""


def logarithmic(axes: Axes, values: Iterable[float]) -> None:
    """A log axis about the values and, up to a decade beyond them, the bands that stand drawn.

    Left linear if there is no value.
    """
    values = list(values)
    if not values:
        return
    low, high = min(values), max(values)
    for panel in axes.get_shared_y_axes().get_siblings(axes):
        low = min(low, max(panel.dataLim.minposy, min(values) / 10))
        high = max(high, min(panel.dataLim.ymax, max(values) * 10))
    low, high = low / 1.2, high * 1.2
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(low, high)
    log_ticks(axes.yaxis, low, high)


def share_axis(axes: Axes) -> None:
    """Scale an axis in per cent to the means and seeds drawn in it; wide intervals are cut.

    With few seeds an interval can cover 0 to 100 %, which would hide every difference.
    """
    drawn = [
        y
        for line in axes.lines
        if line.get_marker() != "_"  # the cap of an error bar
        and line.get_transform().contains_branch_seperately(axes.transData)[1]
        for y in np.asarray(line.get_ydata(), float)
        if math.isfinite(y)
    ]
    if drawn:
        margin = max(0.01, 0.15 * (max(drawn) - min(drawn)))
        axes.set_ylim(max(min(drawn) - margin, 0), min(max(drawn) + margin, 1))
    as_percent(axes.yaxis)
