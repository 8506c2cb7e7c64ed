"""A quantity against the training loss, and how fast true and random labels are fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlip_reg.report.figures.series import over_seeds
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    as_percent,
    band_handles,
    draw_band,
    legend_above,
    log_ticks,
    method_styles,
    styled,
    summarize,
    wrapped,
)

_LINES = ("-", (0, (4, 1.6)))


@styled
def against_falling_loss(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], label: str
) -> Figure:
    """A quantity against the training loss, which falls from left to right as training goes on.

    Args:
        curves: Arm -> for each seed, (training loss, value) through training.
        label: What the values are.
    """
    styles = method_styles(curves)
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    for arm, seeds in curves.items():
        for run in seeds:
            axes.plot(
                [loss for loss, _ in run], [value for _, value in run],
                color=styles[arm].colour, linestyle=styles[arm].line, linewidth=1.2, alpha=0.75,
            )  # fmt: skip
    falling_loss_axis(axes, [loss for seeds in curves.values() for run in seeds for loss, _ in run])
    axes.set_title(wrapped(label, 80), loc="left")
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.line, linewidth=1.2, label=arm)
        for arm, look in styles.items()
    ]
    legend_above(figure, handles, columns=4)
    return figure


@styled
def labelled_curves(
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, Sequence[float | None]]]]],
    fitted: float,
) -> Figure:
    """Training error on true and on random labels, one panel a method.

    Args:
        curves: Method -> labels ("true", "random") -> one curve a seed with "epoch" and "error".
        fitted: The error that counts as fitted.
    """
    styles = method_styles(curves)
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharex=True, sharey=True, squeeze=False)[0]
    labels = list(next(iter(curves.values())))
    for axes, (method, by_labels) in zip(panels, curves.items(), strict=True):
        axes.set_title(wrapped(method), loc="left")
        axes.axhline(fitted, color=GREY, linewidth=1)
        for line, name in zip(_LINES, labels, strict=False):
            summaries = over_seeds(by_labels[name], "epoch", "error", summarize)
            draw_band(
                axes, list(summaries), list(summaries.values()), styles[method].colour,
                linestyle=line,
            )  # fmt: skip
        axes.set_ylim(0, 1)
        as_percent(axes.yaxis)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("training error (%)", fontsize=10)
    handles = [
        Line2D([], [], color="#333333", linestyle=line, label=f"{name} labels")
        for line, name in zip(_LINES, labels, strict=False)
    ]
    legend_above(figure, handles + band_handles(panels), columns=3)
    return figure


def falling_loss_axis(axes: Axes, losses: Sequence[float]) -> None:
    """A log axis of the training loss on which training goes from left to right."""
    axes.set_xlabel("clean training loss (nats), falling")
    losses = [loss for loss in losses if loss > 0 and math.isfinite(loss)]
    if losses:
        low, high = min(losses) / 1.1, max(losses) * 1.1
        axes.set_xscale("log")
        axes.set_xlim(high, low)
        log_ticks(axes.xaxis, low, high)
