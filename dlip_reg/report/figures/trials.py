"""What was tried, and what did best: accuracy against a grid of values, and the way to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dlip_reg.report.figures.series import Curve, geometric, over_seeds, share_axis
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    band_handles,
    draw_band,
    is_finite,
    legend_above,
    log_ticks,
    plain,
    power_of_ten,
    styled,
    styles_for,
    summarize,
    wrapped,
)
from dlip_reg.report.numbers import format_number

_TARGET_LINE = (0, (5, 3))


@styled
def tried_values(
    accuracy: Mapping[str, Mapping[float, Sequence[Value]]],
    marked: Mapping[str, Mapping[str, Sequence[Value]]],
    x_label: str,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Validation accuracy against the values tried, by method; below, values of each seed.

    `accuracy`: method -> value above 0 -> one accuracy in [0, 1] per seed, None where the run
    diverged; a value at which any seed did is left out of the line and marked by a cross. `marked`:
    what is marked ("best", "largest that trains") -> method -> one value per seed, or several.
    """
    if not accuracy:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(accuracy, styles)
    rows = [(title, method) for title, by_method in marked.items() for method in by_method]
    heights = (3.6, 0.25 * len(rows) + 0.15)
    figure = Figure(figsize=(WIDTH, 1.2 + sum(heights)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    crossed = False
    for method, by_value in accuracy.items():
        look = styles[method]
        whole = {x: summarize(v) for x, v in by_value.items() if all(map(is_finite, v))}
        draw_band(
            upper, list(whole), list(whole.values()), look.colour, linestyle=look.line,
            marker=look.marker, markersize=6,
        )  # fmt: skip
        for i, x in enumerate(x for x in by_value if x not in whole):
            crossed = True
            # In the axes' own height: at the foot of the panel, the methods above one another.
            row = 0.03 + 0.05 * list(accuracy).index(method)
            upper.plot(
                x, row, marker="x", markersize=7, markeredgewidth=2, color=look.colour,
                transform=upper.get_xaxis_transform(), linestyle="", zorder=4 + i,
            )  # fmt: skip
    upper.set_ylabel("validation accuracy (%)")
    share_axis(upper)
    _draw_marked(lower, rows, marked, styles)
    lower.set_xlabel(x_label)
    _value_axis(lower, [x for by_value in accuracy.values() for x in by_value])
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, marker=styles[m].marker,
               label=m)
        for m in accuracy
    ]  # fmt: skip
    if crossed:
        handles.append(
            Line2D([], [], linestyle="", marker="x", markersize=7, markeredgewidth=2, color=GREY,
                   label="a seed diverged")
        )  # fmt: skip
    if rows:
        handles.append(
            Line2D([], [], linestyle="", marker="o", markersize=4.5, markerfacecolor="white",
                   markeredgecolor=GREY, label="one seed")
        )  # fmt: skip
    legend_above(figure, handles + band_handles([upper]), columns=5)
    return figure


@styled
def way_to_target(
    curves: Mapping[str, Sequence[Curve]],
    target: Value,
    steps: Mapping[str, Sequence[Value]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Validation accuracy against training steps, and the steps each seed took to its target.

    `curves`: method -> one curve per seed with "step" and "accuracy" in [0, 1]. `target`: the mean
    of the seeds' targets. `steps`: method -> steps to the target, one per seed.
    """
    if not curves:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for([*curves, *steps], styles)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for method, runs in curves.items():
        line = over_seeds(runs, "step", "accuracy", summarize)
        look = styles[method]
        draw_band(left, list(line), list(line.values()), look.colour, linestyle=look.line)
    if is_finite(target):
        left.axhline(target, color=GREY, linewidth=1.4, linestyle=_TARGET_LINE, zorder=1.5)
    left.set_xlabel("training step")
    left.set_ylabel("validation accuracy (%)")
    left.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    share_axis(left)
    _draw_steps(right, steps, styles)
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, label=m) for m in curves
    ]
    handles += [
        Line2D([], [], color=GREY, linewidth=1.4, linestyle=_TARGET_LINE,
               label="target, mean over seeds"),
        Line2D([], [], linestyle="", marker="o", markersize=4.5, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed"),
    ]  # fmt: skip
    legend_above(figure, handles + band_handles([left]), columns=5)
    return figure


def _draw_steps(
    axes: Axes, steps: Mapping[str, Sequence[Value]], styles: Mapping[str, MethodStyle]
) -> None:
    drawn: list[float] = []
    texts = []
    for row, (method, values) in enumerate(steps.items()):
        summary, look = geometric(values), styles[method]
        drawn += summary.values
        texts.append("–" if summary.mean is None else format_number(summary.mean))
        if summary.low is not None:
            axes.plot([summary.low, summary.high], [row, row], color=look.colour)
        if summary.mean is not None:
            axes.plot(summary.mean, row, marker=look.marker, markersize=9, color=look.colour)
        axes.plot(
            summary.values, [row + 0.18] * len(summary.values), linestyle="", marker="o",
            markersize=4.5, markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
        )  # fmt: skip
    axes.set_ylim(max(len(steps), 1) - 0.5, -0.5)
    names = [f"{wrapped(m, 14)}\n{text}" for m, text in zip(steps, texts, strict=True)]
    axes.set_yticks(range(len(steps)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("training steps to the target")
    if drawn:
        low, high = min(drawn) / 1.6, max(drawn) * 1.6
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        log_ticks(axes.xaxis, low, high)


def _draw_marked(
    axes: Axes,
    rows: Sequence[tuple[str, str]],
    marked: Mapping[str, Mapping[str, Sequence[Value]]],
    styles: Mapping[str, MethodStyle],
) -> None:
    for row, (title, method) in enumerate(rows):
        summary, look = geometric(marked[title][method]), styles[method]
        if summary.low is not None:
            axes.plot([summary.low, summary.high], [row, row], color=look.colour, linewidth=1.4)
        if summary.mean is not None:
            axes.plot(summary.mean, row, marker=look.marker, markersize=7, color=look.colour)
        # Seeds that share a value stand below one another.
        seen: dict[float, int] = {}
        for value in summary.values:
            key = round(math.log(value), 6)
            seen[key] = seen.get(key, -1) + 1
            axes.plot(
                value, row - 0.3 + 0.15 * seen[key], linestyle="", marker="o", markersize=3.5,
                markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
            )  # fmt: skip
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    titles = [title for title, _ in rows]
    middles = {t: titles.index(t) + (titles.count(t) - 1) / 2 for t in titles}
    axes.set_yticks(list(middles.values()), [wrapped(title, 14) for title in middles])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _value_axis(axes: Axes, values: Sequence[float]) -> None:
    """A log axis with a tick at every value, or at every second if they stand close."""
    values = sorted(set(values))
    axes.set_xscale("log")
    ticks = values[:: -(-len(values) // 10)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    name = plain if values[0] >= 1e-3 else power_of_ten
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: name(x)))
    axes.set_xlim(values[0] / 1.5, values[-1] * 1.5)
