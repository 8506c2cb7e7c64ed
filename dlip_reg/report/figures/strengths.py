"""Accuracy against the strength of a regularizer, one at a time and conv against dense."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    as_percent,
    band_handles,
    draw_band,
    legend_above,
    method_styles,
    power_of_ten,
    styled,
    summarize,
    wrapped,
    write_note,
)

Points = Mapping[str, Mapping[str, Mapping[float, Sequence[Value]]]]

# Accuracy this far below the best is "collapsed": drawn at the edge, so that the rest has room.
_COLLAPSED = 0.15
_TIED_LINE = (0, (4, 3))


@styled
def strength_curves(points: Points, rates: Points | None = None) -> Figure:
    """Validation accuracy against strength, with intervals over seeds.

    `points`: panel title -> series label -> {strength: one accuracy in [0, 1] per seed}, on a log
    axis, where a strength of 0 stands apart on the left. `rates`: the same for dropout rates, on a
    linear axis.
    """
    panels = [(title, series, True) for title, series in points.items()]
    panels += [(title, series, False) for title, series in (rates or {}).items()]
    if not panels:
        raise ValueError("There is no panel to draw: give at least one.")
    styles = method_styles(dict.fromkeys(label for _, series, _ in panels for label in series))
    columns = min(2 if len(panels) in (2, 4) else 3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, 0.8 + 3.1 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    floor = _floor(panels)
    for axes, (title, series, logarithmic) in zip(grid, panels, strict=False):
        axes.set_title(wrapped(title), loc="left")
        axes.set_xlabel("strength" if logarithmic else "dropout rate")
        _draw_series(axes, series, logarithmic, floor, styles)
    means = _means(panels)
    if means:
        # Few seeds have wide intervals, which would hide every difference between the means.
        low = min(means) if floor is None else floor
        margin = max(0.01, 0.15 * (max(means) - low))
        grid[0].set_ylim(low - margin, min(max(means) + margin, 1))
    as_percent(grid[0].yaxis)
    figure.supylabel("validation accuracy (%)", fontsize=10)
    handles: list[Any] = [
        Line2D([], [], color=s.colour, marker=s.marker, linestyle=s.line, label=label)
        for label, s in styles.items()
    ]
    if floor is not None:
        handles.append(
            Line2D([], [], color=GREY, marker="v", linestyle="", label="collapsed: below the axis")
        )
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def strength_surface(
    conv: Sequence[float],
    dense: Sequence[float],
    accuracy: Any,
    optimum: tuple[float, float] | None = None,
) -> Figure:
    """Heat map of the mean validation accuracy over conv x dense strength.

    `conv` (C) and `dense` (D): strengths in rising order. `accuracy`: seeds x C x D, in [0, 1], NaN
    where there is no run. `optimum`: the (conv, dense) pair to mark, anywhere within the grid.
    Raises ValueError for other shapes.
    """
    accuracy = np.asarray(accuracy, float)
    if accuracy.ndim != 3 or accuracy.shape[1:] != (len(conv), len(dense)):
        raise ValueError(
            f"accuracy must have the shape (seeds, {len(conv)}, {len(dense)}), not "
            f"{accuracy.shape}."
        )
    mean = np.array(
        [[_mean(accuracy[:, i, j]) for j in range(len(dense))] for i in range(len(conv))]
    )
    finite = mean[np.isfinite(mean)]
    top, bottom = _colour_range(finite)

    size = max(3.6, 1.5 + 0.62 * len(conv))
    figure = Figure(figsize=(WIDTH, size + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    axes.set_facecolor("#D0D0D0")
    image = axes.imshow(
        mean,
        origin="lower",
        aspect="auto",
        cmap="cividis",
        vmin=bottom,
        vmax=top,
    )
    for i, j in np.ndindex(mean.shape):
        _write_cell(axes, image, i, j, mean[i, j])
        if conv[i] == dense[j]:
            _outline(axes, i, j)
    if optimum is not None:
        y, x = (_place(at, grid) for at, grid in zip(optimum, (conv, dense), strict=True))
        axes.plot(x, y, marker="*", markersize=16, color="white", markeredgecolor="black")
    axes.set_xticks(range(len(dense)), [power_of_ten(strength) for strength in dense])
    axes.set_yticks(range(len(conv)), [power_of_ten(strength) for strength in conv])
    axes.set_xlabel("dense strength")
    axes.set_ylabel("convolution strength")
    collapsed = bool(finite.size) and finite.min() < bottom
    bar = figure.colorbar(image, ax=axes, extend="min" if collapsed else "neither")
    bar.set_label("mean validation accuracy (%)")
    as_percent(bar.ax.yaxis)
    _surface_legend(figure, bool(set(conv) & set(dense)), optimum is not None)
    return figure


def _means(panels: Sequence[tuple[str, Any, bool]]) -> list[float]:
    """The mean at each strength that has one."""
    return [
        mean
        for _, series, _ in panels
        for by_strength in series.values()
        for seeds in by_strength.values()
        if (mean := summarize(seeds).mean) is not None
    ]


def _floor(panels: Sequence[tuple[str, Any, bool]]) -> float | None:
    """Where the accuracy axis begins, if some point lies far below the best; else None."""
    means = _means(panels)
    if not means or min(means) >= max(means) - _COLLAPSED:
        return None
    return min(mean for mean in means if mean >= max(means) - _COLLAPSED) - 0.02


def _draw_series(
    axes: Axes,
    series: Mapping[str, Mapping[float, Sequence[Value]]],
    logarithmic: bool,
    floor: float | None,
    styles: Mapping[str, MethodStyle],
) -> None:
    strengths = sorted({x for by_strength in series.values() for x in by_strength})
    place = _log_places(axes, strengths) if logarithmic else {x: x for x in strengths}
    empty = []
    for label, by_strength in series.items():
        look = styles[label]
        xs = sorted(by_strength)
        summaries = [summarize(by_strength[x]) for x in xs]
        if all(s.mean is None for s in summaries):
            empty.append(label)
            continue
        draw_band(
            axes, [place[x] for x in xs], summaries, look.colour, linestyle=look.line,
            marker=look.marker, markersize=6,
        )  # fmt: skip
        for x, summary in zip(xs, summaries, strict=True):
            if floor is not None and summary.mean is not None and summary.mean < floor:
                axes.plot(place[x], floor, marker="v", markersize=8, color=look.colour)
    write_note(axes, f"no finite value: {', '.join(empty)}" if empty else "")


def _log_places(axes: Axes, strengths: Sequence[float]) -> dict[float, float]:
    """Strength -> place on the log axis: 0 stands one step left of the smallest."""
    positive = [x for x in strengths if x > 0]
    axes.set_xscale("log")
    if not positive:
        return dict.fromkeys(strengths, 1.0)
    ratio = (positive[-1] / positive[0]) ** (1 / (len(positive) - 1)) if positive[1:] else 10.0
    zero = positive[0] / max(ratio, 3.0)
    place = {x: x if x > 0 else zero for x in strengths}
    first, last = math.ceil(math.log10(positive[0]) - 1e-9), math.log10(positive[-1]) + 1e-9
    ticks = [10.0**k for k in range(first, math.floor(last) + 1)]
    if len(ticks) < 2:
        ticks = positive
    if len(strengths) > len(positive):
        ticks = [zero, *ticks]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: "0" if x == place.get(0, place.get(0.0)) else power_of_ten(x))
    )
    return place


def _mean(values: Any) -> float:
    mean = summarize(values).mean
    return math.nan if mean is None else mean


def _colour_range(finite: np.ndarray) -> tuple[float, float]:
    """The best accuracy and where the colours end: collapsed cells do not use up the scale."""
    if not finite.size:
        return 1.0, 0.0
    top = finite.max()
    bottom = max(finite.min(), top - max(3 * (top - np.median(finite)), 0.01))
    return top, min(bottom, top - 1e-3)


def _outline(axes: Axes, i: int, j: int) -> None:
    """A dashed frame that shows on dark and bright cells."""
    for look in (
        {"edgecolor": "white", "linewidth": 3.5},
        {"edgecolor": "black", "linewidth": 1.5, "linestyle": _TIED_LINE},
    ):
        axes.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, **look))


def _place(strength: float, grid: Sequence[float]) -> float:
    """Where a strength lies among the cells of a grid, in log between two of them."""
    logs = [math.log(max(value, 1e-12)) for value in (strength, *grid)]
    return float(np.interp(logs[0], logs[1:], range(len(grid))))


def _write_cell(axes: Axes, image: Any, i: int, j: int, value: float) -> None:
    if math.isfinite(value):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        text, colour = f"{100 * value:.1f}", "white" if dark else "black"
    else:
        text, colour = "–", "black"
    axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=9.5)


def _surface_legend(figure: Figure, tied: bool, marked: bool) -> None:
    handles: list[Any] = []
    if tied:
        handles.append(
            Line2D([], [], color="black", linewidth=1.5, linestyle=_TIED_LINE,
                   label="tied: the same strength for both")
        )  # fmt: skip
    if marked:
        handles.append(
            Line2D([], [], color="white", markeredgecolor="black", marker="*", markersize=12,
                   linestyle="", label="optimum of the fitted surface")
        )  # fmt: skip
    if handles:
        legend_above(figure, handles, columns=2)
