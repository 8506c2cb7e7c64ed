"""Two by two: what a change does with and without another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlip_reg.report.figures.series import geometric, logarithmic, share_axis
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Summary,
    Value,
    interval_label,
    is_finite,
    legend_above,
    styled,
    styles_for,
    summarize,
    wrapped,
    write_note,
)

# Method -> level -> one value per seed; the levels are the same two for all.
Cells = Mapping[str, Mapping[str, Sequence[Value]]]


@styled
def two_by_two(
    shares: Mapping[str, Cells],
    amounts: Mapping[str, Cells] | None = None,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """One panel for each quantity: a line per method between two levels, faint ones for the seeds.

    `shares`: axis label -> cells in [0, 1], shown in per cent. `amounts`: the same for quantities
    above 0 on a log axis, whose means are geometric. Parallel lines mean no interaction.
    """
    panels = [(label, cells, False) for label, cells in shares.items()]
    panels += [(label, cells, True) for label, cells in (amounts or {}).items()]
    if not panels:
        raise ValueError("There is no panel to draw: give at least one.")
    methods = list(dict.fromkeys(method for _, cells, _ in panels for method in cells))
    styles = styles_for(methods, styles)
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, cells, is_amount) in zip(grid, panels, strict=True):
        _draw_cells(axes, cells, is_amount, styles)
        axes.set_ylabel(label)
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, marker=styles[m].marker,
               label=m)
        for m in methods
    ]  # fmt: skip
    handles += [
        Line2D([], [], color=GREY, linewidth=0.8, alpha=0.6, label="one seed"),
        Line2D([], [], color="black", marker="|", markersize=10, linestyle="",
               label=interval_label(grid)),
    ]  # fmt: skip
    legend_above(figure, handles, columns=4)
    return figure


def _draw_cells(
    axes: Axes, cells: Cells, is_amount: bool, styles: Mapping[str, MethodStyle]
) -> None:
    levels = list(dict.fromkeys(level for by_level in cells.values() for level in by_level))
    drawn, absent = [], []
    for i, (method, by_level) in enumerate(cells.items()):
        look, shift = styles[method], 0.04 * (i - (len(cells) - 1) / 2)
        places = [at + shift for at in range(len(levels))]
        for seed in zip(*(by_level[level] for level in levels), strict=True):
            drawn += [value for value in seed if is_finite(value)]
            if all(map(is_finite, seed)):
                axes.plot(places, seed, color=look.colour, linewidth=0.8, alpha=0.35)
        summaries: list[Summary] = [
            (geometric if is_amount else summarize)(by_level[level]) for level in levels
        ]
        known = [(x, s) for x, s in zip(places, summaries, strict=True) if s.mean is not None]
        axes.plot(
            [x for x, _ in known], [s.mean for _, s in known], color=look.colour,
            linestyle=look.line, marker=look.marker, markersize=8, linewidth=2.2, zorder=4,
        )  # fmt: skip
        for x, summary in known:
            if summary.low is not None:
                axes.errorbar(
                    x, summary.mean, capsize=4, color=look.colour, linewidth=1.4, zorder=3,
                    yerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
                )  # fmt: skip
        absent += [] if known else [method]
    axes.set_xlim(-0.35, len(levels) - 0.65)
    axes.set_xticks(range(len(levels)), [wrapped(level, 22) for level in levels])
    axes.tick_params(axis="x", labelsize=10)
    if is_amount:
        logarithmic(axes, drawn)
    else:
        share_axis(axes)
    write_note(axes, f"no finite value: {', '.join(absent)}" if absent else "")
