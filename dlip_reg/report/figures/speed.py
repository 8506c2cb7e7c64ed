"""What the batch size costs in time: examples per second, updates and seconds to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import Curve, geometric, logarithmic, means, over_seeds
from dlip_reg.report.figures.sizes import size_axis, size_handle, size_styles
from dlip_reg.report.figures.style import (
    COLOURS,
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Summary,
    Value,
    band_handles,
    draw_band,
    interval_label,
    is_finite,
    legend_above,
    plain,
    styled,
    write_note,
)

_MEASURED, _KNEE = COLOURS[2], COLOURS[1]
_DASHES = (0, (5, 3))


@styled
def training_speed(
    rates: Mapping[int, Sequence[Value]],
    knee: tuple[float, float, float] | None,
    to_target: Mapping[str, Mapping[int, Sequence[Value]]] | None = None,
) -> Figure:
    """Examples per second against the batch size, and what a target takes, side by side.

    `rates`: batch size -> examples per second of each repetition. `knee`: (batch size, overhead of
    a step in seconds, seconds per example) of the line that was fitted to the time of a step; None
    if there is none. `to_target`: quantity ("updates to the target", ...) -> mini-batch size -> one
    value per seed. All axes are logarithmic, means and bands geometric.
    """
    if not rates:
        raise ValueError("There is no batch size to draw: give at least one.")
    panels = {"examples per second": rates, **(to_target or {})}
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, by_size) in zip(grid, panels.items(), strict=True):
        summaries = [geometric(values) for values in by_size.values()]
        for size, summary in zip(by_size, summaries, strict=True):
            _draw_point(axes, size, summary)
        if title != "examples per second":  # there it is the fit that joins the points
            found = [(n, s.mean) for n, s in zip(by_size, summaries, strict=True) if s.values]
            axes.plot(*zip(*found, strict=True), color=_MEASURED, linewidth=1.2)
        logarithmic(axes, [value for summary in summaries for value in summary.values])
        size_axis(axes, list(by_size))
        axes.tick_params(axis="x", labelrotation=90 if len(by_size) > 5 else 0)
        axes.set_title(title, loc="left")
        if not means(summaries):
            write_note(axes, "no finite value")
    if knee is not None and all(map(is_finite, knee)):
        _draw_knee(grid[0], rates, knee)
    handles: list[Any] = [
        Line2D([], [], color=_MEASURED, marker="o", markersize=6,
               label=f"mean and {interval_label(grid)}"),
        Line2D([], [], color=GREY, linewidth=1.4,
               label="a step = overhead + work per example × batch size"),
        Line2D([], [], color=_KNEE, linewidth=1.4, linestyle=_DASHES,
               label="the knee: half of the peak"),
    ]  # fmt: skip
    legend_above(figure, handles, columns=3)
    return figure


@styled
def convergence(
    curves: Mapping[int, Sequence[Curve]], styles: Mapping[int, MethodStyle] | None = None
) -> Figure:
    """Training loss against the examples seen, in epochs, and against the time, by batch size.

    `curves`: batch size -> one curve per seed with "epoch", "seconds" (the same in all seeds) and
    "train_loss" (nats). Means and bands are geometric.
    """
    if not curves:
        raise ValueError("There is no batch size to draw: give at least one.")
    styles = styles or size_styles(curves)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    drawn = []
    for axes, (key, label) in zip(
        panels,
        {"epoch": "examples seen (epochs)", "seconds": "seconds of training"}.items(),
        strict=True,
    ):
        for size, runs in curves.items():
            line = over_seeds(runs, key, "train_loss")
            line = {at: summary for at, summary in line.items() if math.isfinite(at)}
            look = styles[size]
            draw_band(axes, list(line), list(line.values()), look.colour, linestyle=look.line)
            drawn += means(line.values())
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    panels[0].set_title("for the same number of examples", loc="left")
    panels[1].set_title("for the same time on this machine", loc="left")
    panels[0].set_ylabel("training loss (nats)")
    logarithmic(panels[0], drawn)
    handles = [size_handle(size, styles[size]) for size in curves]
    legend_above(figure, handles + band_handles(panels), columns=5)
    return figure


def _draw_point(axes: Axes, size: int, summary: Summary) -> None:
    if summary.mean is None:
        return
    spread = None
    if summary.low is not None:
        spread = [[summary.mean - summary.low], [summary.high - summary.mean]]
    axes.errorbar(
        size, summary.mean, yerr=spread, color=_MEASURED, marker="o", markersize=6, capsize=3,
        linewidth=1.4, zorder=3,
    )  # fmt: skip


def _draw_knee(
    axes: Axes, rates: Mapping[int, Sequence[Value]], knee: tuple[float, float, float]
) -> None:
    size, overhead, per_example = knee
    at = np.geomspace(min(rates), max(rates), 100)
    axes.plot(at, at / (overhead + at * per_example), color=GREY, linewidth=1.4, zorder=1.5)
    low, high = axes.get_xlim()
    if low < size < high:
        axes.axvline(size, color=_KNEE, linewidth=1.4, linestyle=_DASHES, zorder=1.5)
        axes.text(
            size * 1.12, 0.04, f"batch {plain(round(size))}", color=_KNEE, fontsize=9,
            transform=axes.get_xaxis_transform(), ha="left", va="bottom",
        )  # fmt: skip
