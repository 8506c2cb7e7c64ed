"""What flows through the layers: a unit's inputs forwards, gradients backwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import geometric, logarithmic
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
    styled,
    styles_for,
    wrapped,
    write_note,
)

_OUTER_LINE = (0, (4, 1.6))


@styled
def activation_percentiles(
    runs: Mapping[str, Mapping[str, Any]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """Percentiles of one unit's input through training, one panel per method, on common axes.

    `runs`: method -> one run, {"step": training steps, "percentiles": {15: one value per step,
    50: ..., 85: ...}}, the percentiles the same for all (Ioffe & Szegedy 2015, figure 1b, c).
    """
    if not runs:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(runs, styles)
    columns = min(3, len(runs))
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.5 * rows), layout="constrained")
    cells = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in range(len(runs), rows * columns):
        cells[unused].set_visible(False)
        cells[unused - columns].tick_params(labelbottom=True)
    levels: list[float] = []
    for axes, (method, run) in zip(cells, runs.items(), strict=False):
        levels = sorted(run["percentiles"])
        colour = styles[method].colour
        lines = [
            [value if is_finite(value) else math.nan for value in run["percentiles"][level]]
            for level in levels
        ]
        axes.fill_between(run["step"], lines[0], lines[-1], color=colour, alpha=0.13, linewidth=0)
        for level, line in zip(levels, lines, strict=True):
            axes.plot(run["step"], line, color=colour, linestyle=_line(level, levels))
        axes.set_title(wrapped(method), loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if not any(is_finite(value) for line in lines for value in line):
            write_note(axes, "no finite value")
    figure.supxlabel("training step", fontsize=10)
    figure.supylabel("input of the unit's activation", fontsize=10)
    between = f"{levels[0]:g}th and the {levels[-1]:g}th"
    handles = [
        *(
            Line2D([], [], color="#333333", linestyle=_line(level, levels), label=name)
            for level, name in (
                (levels[len(levels) // 2], f"{levels[len(levels) // 2]:g}th percentile"),
                (levels[0], ", ".join(f"{x:g}th" for x in levels if _line(x, levels) != "-")),
            )
        ),
        Patch(color=GREY, alpha=0.2, linewidth=0, label=f"between the {between}"),
    ]
    legend_above(figure, handles, columns=3)
    return figure


@styled
def gradient_flow(
    norms: Mapping[str, Mapping[str, Mapping[str, Sequence[Value]]]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """The gradient's norm by layer, first to last, methods overlaid, with intervals over seeds.

    `norms`: panel title ("at initialisation", "after training") -> method -> layer -> one norm per
    seed; means and bands are geometric. A line that falls towards the first layer is a vanishing
    gradient, one that rises there an exploding one.
    """
    methods = list(dict.fromkeys(method for panel in norms.values() for method in panel))
    if not methods:
        raise ValueError("There is no panel to draw: give at least one with a method.")
    styles = styles_for(methods, styles)
    columns = min(2, len(norms))
    rows = math.ceil(len(norms) / columns)
    figure = Figure(figsize=(WIDTH, 1.0 + 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in panels[len(norms) :]:
        unused.set_visible(False)
    drawn = []
    for axes, (title, by_method) in zip(panels, norms.items(), strict=False):
        layers = list(dict.fromkeys(layer for by in by_method.values() for layer in by))
        absent = []
        for method, by_layer in by_method.items():
            look = styles[method]
            summaries = [geometric(by_layer.get(layer, ())) for layer in layers]
            draw_band(
                axes, range(len(layers)), summaries, look.colour, linestyle=look.line,
                marker=look.marker, markersize=5,
            )  # fmt: skip
            finite = [s.mean for s in summaries if s.mean is not None]
            drawn += finite
            absent += [] if finite else [method]
        axes.set_title(wrapped(title), loc="left")
        axes.set_xlabel("layer, first to last")
        _name_layers(axes, layers)
        write_note(axes, f"no finite value: {', '.join(absent)}" if absent else "")
    logarithmic(panels[0], drawn)
    figure.supylabel("gradient norm of the layer's kernel", fontsize=10)
    handles = [
        Line2D([], [], color=styles[m].colour, marker=styles[m].marker, markersize=5,
               linestyle=styles[m].line, label=m)
        for m in methods
    ]  # fmt: skip
    legend_above(figure, handles + band_handles(panels), columns=4)
    return figure


def _line(level: float, levels: Sequence[float]) -> Any:
    return "-" if level == levels[len(levels) // 2] else _OUTER_LINE


def _name_layers(axes: Any, layers: Sequence[str]) -> None:
    """Upright names, of as many layers as there is room for, the first and the last among them."""
    if not layers:
        return
    step = math.ceil(len(layers) / 12)
    named = list(range(0, len(layers), step))
    if named[-1] != len(layers) - 1:
        named[-1] = len(layers) - 1
    axes.set_xticks(named, [layers[i] for i in named], rotation=90)
