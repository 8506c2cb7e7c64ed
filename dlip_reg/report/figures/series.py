"""What the figures share: lines with bands through curves, rows with intervals, and their axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dlip_reg.report.figures.style import (
    SEED,
    MethodStyle,
    Summary,
    Value,
    as_percent,
    draw_band,
    is_finite,
    log_axis,
    plain,
    power_of_ten,
    summarize,
    write_note,
)

# One run's curve: equally long lists under their names; None for a run with no record.
Curve = Mapping[str, Sequence[Any]] | None
# A line before it is summarized: place along the horizontal axis -> one value per seed.
Points = Mapping[float, Sequence[Value]]


def geometric(values: Iterable[Value]) -> Summary:
    """`summarize` for a quantity on a log axis: the geometric mean and its 95 % t-interval.

    What is not above 0 is left out like what is not finite.
    """
    logs = [math.log(v) if is_finite(v) and v > 0 else None for v in values]
    found = summarize(logs)
    numbers = (found.mean, found.low, found.high)
    mean, low, high = (None if n is None else math.exp(min(n, 700)) for n in numbers)
    return Summary(tuple(map(math.exp, found.values)), found.missing, mean, low, high)


def curve_points(runs: Sequence[Curve], x: str, key: str) -> Points:
    """Place along `x` -> the values that the runs have under `key` there, places in order."""
    values: dict[float, list[Any]] = {}
    for run in runs:
        if run is not None:
            for at, value in zip(run[x], run[key], strict=True):
                values.setdefault(at, []).append(value)
    return dict(sorted(values.items()))


def over_seeds(
    runs: Sequence[Curve],
    x: str,
    key: str,
    summary: Callable[[Iterable[Value]], Summary] = geometric,
) -> dict[float, Summary]:
    """`curve_points`, summarized."""
    return {at: summary(values) for at, values in curve_points(runs, x, key).items()}


def means(summaries: Iterable[Summary]) -> list[float]:
    """The means that there are."""
    return [summary.mean for summary in summaries if summary.mean is not None]


def lacking_note(runs: Mapping[str, Sequence[Curve]], keys: Sequence[str]) -> str:
    """Names, for a note, the methods that have no finite value under some of the keys."""
    return _lacking(
        method
        for method, curves in runs.items()
        if any(not summarize(v for c in curves if c for v in c[key]).values for key in keys)
    )


def _lacking(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return f"no finite value: {text}" if text else ""


def draw_lines(
    axes: Axes,
    lines: Mapping[str, Points],
    styles: Mapping[str, MethodStyle],
    scale: str = "linear",
    markers: bool = False,
    seeds: bool = False,
) -> None:
    """A line through the means of each name, with its band; a note lists names without a value.

    Args:
        axes: The panel.
        lines: Name -> place -> one value per seed.
        styles: Name -> how it is drawn.
        scale: Of the upright axis: "log" (geometric means), "linear", or "percent" for shares.
        markers: Whether to mark the places.
        seeds: Whether to draw a dot for each seed.
    """
    summary = geometric if scale == "log" else summarize
    drawn: list[float] = []
    lacking = []
    for name, points in lines.items():
        look = styles[name]
        marks = {"marker": look.marker, "markersize": 6} if markers else {}
        summaries = [summary(values) for values in points.values()]
        draw_band(axes, list(points), summaries, look.colour, linestyle=look.line, **marks)
        found = means(summaries)
        drawn += found
        lacking += [] if found else [name]
        for at, summarized in zip(points, summaries, strict=True) if seeds else ():
            values = summarized.values
            drawn += values
            axes.plot([at] * len(values), values, markeredgecolor=look.colour, zorder=4, **SEED)
    if scale == "log":
        logarithmic(axes, drawn)
    elif scale == "percent":
        share_axis(axes)
    write_note(axes, _lacking(lacking))


def draw_row(
    axes: Axes, at: float, summary: Summary, look: MethodStyle, seeds: bool = True
) -> None:
    """The mean over seeds as a mark at the height `at`, its interval, and below it the seeds."""
    if summary.low is not None:
        axes.plot([summary.low, summary.high], [at, at], color=look.colour, linewidth=1.4)
    if summary.mean is not None:
        axes.plot(summary.mean, at, markersize=7, zorder=3, **look.as_marker)
    if seeds:
        # Each seed at a height of its own, for seeds may have the same value.
        heights = np.linspace(at + 0.16, at + 0.36, len(summary.values))
        axes.plot(summary.values, heights, markeredgecolor=look.colour, zorder=4, **SEED)


def row_axis(axes: Axes, names: Sequence[str]) -> None:
    """An upright axis of rows, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def right_labels(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> Axes:
    """Texts at the right edge, as tick labels of the axes returned: the layout leaves them room."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(places, texts)
    right.tick_params(axis="y", length=0, pad=6)
    right.grid(False)
    return right


def value_axis(axes: Axes, values: Iterable[float], most: int = 10, log: bool = True) -> None:
    """A horizontal axis with ticks at the values, or at every second, third ... of many."""
    values = sorted(set(values))
    if log:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 1.5, values[-1] * 1.5)
    name = plain if values[0] >= 1e-3 else power_of_ten
    axes.xaxis.set_major_locator(FixedLocator(values[:: math.ceil(len(values) / most)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: name(x)))


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
    log_axis(axes.yaxis, low / 1.2, high * 1.2)


def share_axis(axes: Axes, depth: float = 1.0) -> None:
    """Scale an axis in per cent to the means and seeds drawn in it; wide intervals are cut.

    With few seeds an interval can cover 0 to 100 %, which would hide every difference. Whatever
    lies more than `depth` below the best is cut, too. Axes that share it count as one.
    """
    drawn = [
        y
        for panel in axes.get_shared_y_axes().get_siblings(axes)
        for line in panel.lines
        if line.get_marker() != "_"  # the cap of an error bar
        and line.get_transform().contains_branch_seperately(panel.transData)[1]
        for y in np.asarray(line.get_ydata(), float)
        if math.isfinite(y)
    ]
    if drawn:
        high = max(drawn)
        low = min(y for y in drawn if y >= high - depth)
        margin = max(0.01, 0.15 * (high - low))
        axes.set_ylim(max(low - margin, 0), min(high + margin, 1))
    as_percent(axes.yaxis)
