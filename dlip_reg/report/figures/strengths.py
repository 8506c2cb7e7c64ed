"""Validation accuracy against a grid of values that were tried, such as strengths."""

from __future__ import annotations

from collections.abc import Mapping

from dlip_reg.report.figures.series import (
    Points,
    draw_lines,
    share_axis,
    value_axis,
)
from dlip_reg.report.figures.style import (
    GREY,
    TARGET,
    Figure,
    band_handles,
    entry,
    is_finite,
    legend_above,
    method_styles,
    panel_grid,
    require,
    styled,
    summarize,
    wrapped,
)

# A mean accuracy this far below the best is a mark at the foot, so that the rest has room.
COLLAPSED = 0.15
_DIVERGED = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "linestyle": ""}
_BELOW = {"marker": "v", "markersize": 8, "linestyle": ""}


@styled
def strength_curves(
    panels: Mapping[str, Mapping[str, Points]],
    linear: str = "",
    y_label: str = "validation accuracy (%)",
) -> Figure:
    """Accuracy against strength, with intervals over seeds.

    `panels`: title -> series label -> {strength: one accuracy in [0, 1] per seed}, on a log axis.
    The panel titled `linear` has dropout rates on a linear one.
    """
    styles = method_styles(label for series in panels.values() for label in series)
    figure, grid = panel_grid(len(panels), 3, 3.0, sharey=True)
    found = [
        (axes, label, at, mean)
        for axes, series in zip(grid, panels.values(), strict=True)
        for label, by_strength in series.items()
        for at, seeds in by_strength.items()
        if (mean := summarize(seeds).mean) is not None
    ]
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        draw_lines(axes, series, styles, markers=True)
        value_axis(axes, (x for by in series.values() for x in by), 3, log=title != linear)
        axes.set_title(wrapped(title), loc="left")
        axes.set_xlabel("dropout rate" if title == linear else "strength")
    share_axis(grid[0], COLLAPSED)
    below = [place for place in found if place[-1] < grid[0].get_ylim()[0]]
    for axes, label, at, _ in below:
        foot = axes.get_xaxis_transform()
        axes.plot(at, 0.03, color=styles[label].colour, transform=foot, **_BELOW)
    figure.supylabel(y_label, fontsize=10)
    handles = [entry(label, **look.as_marker | look.as_line) for label, look in styles.items()]
    if below:
        handles.append(entry("collapsed: below the axis", color=GREY, **_BELOW))
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def tried_values(
    values: Mapping[str, Points],
    x_label: str,
    y_label: str,
    percent: bool = True,
    goal: float | None = None,
    goal_label: str = "accuracy to reach",
) -> Figure:
    """A quantity against the values tried, by method, on a log axis.

    `values`: method -> value tried, above 0 -> one number per seed, None where the run diverged; a
    value at which any seed did is left out of the line and marked by a cross. The numbers are
    accuracies in [0, 1] or, without `percent`, above 0 on a log axis. `goal` is marked.
    """
    require(values, "method")
    styles = method_styles(values)
    figure, (axes,) = panel_grid(1, 1, 3.8)
    whole = {
        method: {x: seeds for x, seeds in by_value.items() if seeds and all(map(is_finite, seeds))}
        for method, by_value in values.items()
    }
    draw_lines(axes, whole, styles, "percent" if percent else "log", markers=True)
    for row, (method, by_value) in enumerate(values.items()):
        # At the foot of the panel, the methods above one another.
        crossed = [x for x in by_value if x not in whole[method]]
        axes.plot(crossed, [0.03 + 0.05 * row] * len(crossed), color=styles[method].colour,
                  transform=axes.get_xaxis_transform(), zorder=4, **_DIVERGED)  # fmt: skip
    if goal is not None:
        axes.axhline(goal, zorder=1.5, **TARGET)
    axes.set_ylabel(y_label)
    axes.set_xlabel(x_label)
    value_axis(axes, (x for by_value in values.values() for x in by_value))
    handles = [entry(method, **look.as_marker | look.as_line) for method, look in styles.items()]
    if whole != values:
        handles.append(entry("a seed diverged", color=GREY, **_DIVERGED))
    if goal is not None:
        handles.append(entry(goal_label, **TARGET))
    legend_above(figure, handles + band_handles([axes]), columns=4)
    return figure
