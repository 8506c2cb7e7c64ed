"""Two solutions beside each other: the loss around either, and ours beside a paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from dlip_reg.report.figures.landscape import draw_contours, loss_and_accuracy
from dlip_reg.report.figures.series import (
    Curve,
    geometric,
)
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    Value,
    legend_above,
    log_ticks,
    method_styles,
    styled,
    wrapped,
)


@styled
def lines_around(ends: Mapping[str, Sequence[Curve]]) -> Figure:
    """Loss and accuracy on the filter-normalised line through each of two solutions, overlaid.

    `ends`: solution -> one curve per seed with "position" (0 at the solution, 1 a step as long as
    its weights), "loss" (nats) and "accuracy" in [0, 1], towards the other solution (Li et al.
    2018, section 4). The steeper of the two is the sharper.
    """
    if not ends:
        raise ValueError("There is no solution to draw: give at least one.")
    return loss_and_accuracy(
        ends,
        "position",
        x_label="step from the solution towards the other one, in norms of each filter",
        y_labels=("training loss (nats)", "training accuracy (%)"),
        solutions_at=(0,),
        prefix="around ",
    )


@styled
def surfaces_side_by_side(
    x: Sequence[float], y: Sequence[float], surfaces: Mapping[str, Any]
) -> Figure:
    """Loss surfaces of several solutions as contours, on one scale of heights.

    `x` (X) and `y` (Y): steps along the two directions; the solutions lie at 0, 0. `surfaces`:
    solution -> X x Y losses in nats; NaN, None or infinity is left blank. ValueError for other
    shapes, or if no loss is finite and above 0.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(1, len(surfaces), sharex=True, sharey=True, squeeze=False)[0]
    draw_contours(list(panels), x, y, surfaces, shrink=0.85)
    for axes, name in zip(panels, surfaces, strict=True):
        axes.set_title(name, loc="left")
        axes.set_aspect("equal")
    panels[0].set_ylabel("second direction")
    return figure


@styled
def beside_paper(
    rows: Mapping[str, Mapping[str, tuple[Sequence[Value], tuple[float, float | None] | None]]],
    x_label: str,
) -> Figure:
    """Ours beside a paper's on a log axis: a row for each quantity, a colour for each arm.

    `rows`: quantity -> arm -> (one value per seed, the paper's (mean, standard deviation or None),
    or None if we have none). Ours are dots with their geometric mean and interval, the paper's a
    diamond with its standard deviation.
    """
    if not rows:
        raise ValueError("There is no quantity to draw: give at least one.")
    styles = method_styles(["", *dict.fromkeys(arm for row in rows.values() for arm in row)])
    styles.pop("")
    figure = Figure(figsize=(WIDTH, 1.4 + 0.9 * len(rows)), layout="constrained")
    axes = figure.subplots()
    drawn = []
    for place, arms in enumerate(rows.values()):
        for (arm, (values, theirs)), shift in zip(
            arms.items(), np.linspace(-0.22, 0.22, len(arms)), strict=True
        ):
            look, at = styles[arm], place + shift
            ours = geometric(values)
            drawn += ours.values
            if ours.mean is not None:
                axes.plot(ours.mean, at, marker=look.marker, markersize=8, color=look.colour)
            if ours.low is not None:
                axes.plot([ours.low, ours.high], [at, at], color=look.colour)
                drawn += [max(ours.low, ours.mean / 10), min(ours.high, ours.mean * 10)]
            axes.plot(
                ours.values, [at] * len(ours.values), linestyle="", marker="o", markersize=4,
                markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
            )  # fmt: skip
            if theirs is None:
                continue
            mean, deviation = theirs
            drawn.append(mean)
            spread = [[min(deviation, 0.9 * mean)], [deviation]] if deviation else None
            axes.errorbar(
                mean, at + 0.14, xerr=spread, marker="D", markersize=6, capsize=3, linestyle="",
                color=look.colour, markerfacecolor="none",
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [wrapped(name, 40) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    if drawn:
        low, high = min(drawn) / 2, max(drawn) * 2
        axes.set_xlim(low, high)
        log_ticks(axes.xaxis, low, high)
    axes.set_xlabel(x_label)
    handles: list[Any] = [
        Line2D([], [], color=s.colour, marker=s.marker, linestyle="-",
               label=f"{arm}, ours, with its 95 % interval")
        for arm, s in styles.items()
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="", marker="o", markersize=4, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed"),
        Line2D([], [], color=GREY, linestyle="", marker="D", markersize=6, markerfacecolor="none",
               label="the paper, ± its standard deviation"),
    ]  # fmt: skip
    legend_above(figure, handles, columns=4)
    return figure
