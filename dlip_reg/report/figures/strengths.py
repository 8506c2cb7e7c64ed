"""Validation accuracy against a grid of values that were tried, such as strengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlip_reg.report.figures.series import (
    Points,
    draw_lines,
    draw_row,
    geometric,
    row_axis,
    share_axis,
    value_axis,
)
from dlip_reg.report.figures.style import (
    GREY,
    SEED,
    Figure,
    Value,
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
def strength_curves(panels: Mapping[str, Mapping[str, Points]], linear: str = "") -> Figure:
    """Validation accuracy against strength, with intervals over seeds.

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
    figure.supylabel("validation accuracy (%)", fontsize=10)
    handles = [entry(label, **look.as_marker | look.as_line) for label, look in styles.items()]
    if below:
        handles.append(entry("collapsed: below the axis", color=GREY, **_BELOW))
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def tried_values(
    accuracy: Mapping[str, Points],
    marked: Mapping[str, Mapping[str, Sequence[Value]]],
    x_label: str,
) -> Figure:
    """Validation accuracy against the values tried, by method; below, values of each seed.

    `accuracy`: method -> value above 0 -> one accuracy in [0, 1] per seed, None where the run
    diverged; a value at which any seed did is left out of the line and marked by a cross. `marked`:
    what is marked ("best", "largest that trains") -> method -> one value per seed, or several.
    """
    require(accuracy, "method")
    styles = method_styles(accuracy)
    rows = [(title, method) for title, by_method in marked.items() for method in by_method]
    heights = (3.6, 0.25 * len(rows) + 0.15)
    figure, (upper, lower) = panel_grid(
        2, 1, (sum(heights) + 0.3) / 2, sharex=True, height_ratios=heights
    )
    whole = {
        method: {x: seeds for x, seeds in by_value.items() if all(map(is_finite, seeds))}
        for method, by_value in accuracy.items()
    }
    draw_lines(upper, whole, styles, "percent", markers=True)
    for row, (method, by_value) in enumerate(accuracy.items()):
        # At the foot of the panel, the methods above one another.
        crossed = [x for x in by_value if x not in whole[method]]
        upper.plot(crossed, [0.03 + 0.05 * row] * len(crossed), color=styles[method].colour,
                   transform=upper.get_xaxis_transform(), zorder=4, **_DIVERGED)  # fmt: skip
    upper.set_ylabel("validation accuracy (%)")
    for row, (title, method) in enumerate(rows):
        draw_row(lower, row, geometric(marked[title][method]), styles[method])
    titles = [title for title, _ in rows]
    row_axis(lower, titles)
    # One label for the rows of a title, in their middle.
    middles = {t: titles.index(t) + (titles.count(t) - 1) / 2 for t in titles}
    lower.set_yticks(list(middles.values()), [wrapped(title, 14) for title in middles])
    lower.set_xlabel(x_label)
    value_axis(lower, (x for by_value in accuracy.values() for x in by_value))
    handles = [entry(method, **look.as_marker | look.as_line) for method, look in styles.items()]
    if whole != accuracy:
        handles.append(entry("a seed diverged", color=GREY, **_DIVERGED))
    if rows:
        handles.append(entry("one seed", markeredgecolor=GREY, **SEED))
    legend_above(figure, handles + band_handles([upper]), columns=5)
    return figure
