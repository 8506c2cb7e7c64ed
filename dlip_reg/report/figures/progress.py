"""Any measured quantity through training, and how a gradient grows with the net's depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import (
    Curve,
    geometric,
    lacking_note,
    logarithmic,
    means,
    over_seeds,
    share_axis,
)
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    band_handles,
    draw_band,
    legend_above,
    styled,
    styles_for,
    summarize,
    wrapped,
    write_note,
)


@styled
def through_training(
    curves: Mapping[str, Sequence[Curve]],
    panels: Mapping[str, tuple[str, str]],
    styles: Mapping[str, MethodStyle] | None = None,
    x: str = "epoch",
) -> Figure:
    """Quantities against `x` ("epoch", "step"), one panel each, methods overlaid.

    `curves`: method -> one curve per seed with `x` and the keys of `panels`. `panels`: key ->
    (title, scale): "log" (geometric means), "linear", or "percent" for shares in [0, 1].
    """
    if not curves or not panels:
        raise ValueError("There is no method or panel to draw: give at least one.")
    styles = styles_for(curves, styles)
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (key, (title, scale)) in zip(grid, panels.items(), strict=True):
        drawn = []
        for method, runs in curves.items():
            line = over_seeds(runs, x, key, geometric if scale == "log" else summarize)
            look = styles[method]
            draw_band(axes, list(line), list(line.values()), look.colour, linestyle=look.line)
            drawn += means(line.values())
        if scale == "log":
            logarithmic(axes, drawn)
        elif scale == "percent":
            share_axis(axes)
        axes.set_title(wrapped(title, 44), loc="left")
        axes.set_xlabel("training step" if x == "step" else x)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        write_note(axes, lacking_note(curves, [key]))
    handles = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, label=m) for m in curves
    ]
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def growth_with_depth(
    norms: Mapping[str, Mapping[int, Sequence[Value]]],
    factors: Mapping[str, str],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """The norm of the whole gradient against the number of layers, by method, on a log axis.

    `norms`: method -> depth -> one norm per seed. `factors`: method -> what to say of its growth
    per layer, in the legend.
    """
    if not norms:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(norms, styles)
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    drawn: list[float] = []
    for method, by_depth in norms.items():
        look = styles[method]
        summaries = [geometric(values) for values in by_depth.values()]
        draw_band(
            axes, list(by_depth), summaries, look.colour, linestyle=look.line, marker=look.marker,
            markersize=7,
        )  # fmt: skip
        for depth, summary in zip(by_depth, summaries, strict=True):
            axes.plot(
                [depth] * len(summary.values), summary.values, linestyle="", marker="o",
                markersize=3.5, markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
            )  # fmt: skip
            drawn += summary.values
    logarithmic(axes, drawn)
    axes.set_xticks(sorted({depth for by_depth in norms.values() for depth in by_depth}))
    axes.set_xlabel("layers")
    axes.set_ylabel("gradient norm before training")
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, marker=styles[m].marker,
               label=f"{m}: {factors[m]}" if factors.get(m) else m)
        for m in norms
    ]  # fmt: skip
    handles.append(
        Line2D([], [], linestyle="", marker="o", markersize=4, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed")
    )  # fmt: skip
    legend_above(figure, handles + band_handles([axes]), columns=3)
    return figure
