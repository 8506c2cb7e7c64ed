"""The loss around the weights: along a line, over a plane, and along the gradient in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import (
    Curve,
    geometric,
    lacking_note,
    logarithmic,
    means,
    over_seeds,
)
from dlip_reg.report.figures.style import (
    COLOURS,
    GREY,
    LINES,
    WIDTH,
    Figure,
    MethodStyle,
    as_percent,
    band_handles,
    draw_band,
    legend_above,
    log_places,
    place_names,
    styled,
    styles_for,
    summarize,
    write_note,
)

_LOSS, _ACCURACY = COLOURS[2], COLOURS[1]
_LEVELS = 14
_HATCH = "////"
_ALONG = {
    "loss": "loss along the gradient (nats)",
    "gradient_distance": "change of the gradient along it (L2)",
}
_MEASURES = {
    "loss_range": "range of the loss (nats)",
    "gradient_distance_range": "range of the change (L2)",
    "effective_beta": "effective β-smoothness",
}


@styled
def interpolation_curves(
    lines: Mapping[str, Sequence[Curve]], ends: tuple[str, str] = ("first", "second")
) -> Figure:
    """Loss and accuracy along the line through two weight sets, accuracy on a second axis.

    `lines`: split ("training", "test") -> one curve per seed with "alpha" (0 at the first set of
    weights, 1 at the second), "loss" (nats, of which the mean is geometric, on a log axis) and
    "accuracy" in [0, 1]. `ends` name the two sets (Keskar et al. 2017, figure 3).
    """
    if not lines:
        raise ValueError("There is no split to draw: give at least one.")
    return loss_and_accuracy(
        lines,
        "alpha",
        x_label=f"α: 0 is “{ends[0]}”, 1 is “{ends[1]}”",
        y_labels=("cross-entropy (nats)", "accuracy (%)"),
        solutions_at=(0, 1),
    )


def loss_and_accuracy(
    lines: Mapping[str, Sequence[Curve]],
    x: str,
    *,
    x_label: str,
    y_labels: tuple[str, str],
    solutions_at: Sequence[float],
    prefix: str = "",
) -> Figure:
    """Both along `x` for each of `lines` (name -> one curve per seed), accuracy on a second axis.

    Upright lines mark where the solutions are. The legend puts `prefix` before the names.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    right.grid(False)
    losses: list[float] = []
    for runs, look in zip(lines.values(), LINES, strict=False):
        loss = over_seeds(runs, x, "loss", geometric)
        draw_band(left, list(loss), list(loss.values()), _LOSS, linestyle=look)
        losses += means(loss.values())
        accuracy = over_seeds(runs, x, "accuracy", summarize)
        draw_band(right, list(accuracy), list(accuracy.values()), _ACCURACY, linestyle=look)
    logarithmic(left, losses)
    right.set_ylim(0, 1.02)
    as_percent(right.yaxis)
    for axes, text, colour in zip((left, right), y_labels, (_LOSS, _ACCURACY), strict=True):
        axes.set_ylabel(text, color=colour)
        axes.tick_params(axis="y", colors=colour)
    for at in solutions_at:
        left.axvline(at, color=GREY, linewidth=1, zorder=1.5)
    left.set_xlabel(x_label)
    write_note(right, lacking_note(lines, ["loss", "accuracy"]))
    handles: list[Any] = [
        Line2D([], [], color=_LOSS, label="loss (left axis)"),
        Line2D([], [], color=_ACCURACY, label="accuracy (right axis)"),
    ]
    handles += [
        Line2D([], [], color="#333333", linestyle=look, label=f"{prefix}{name}")
        for name, look in zip(lines, LINES, strict=False)
    ]
    legend_above(figure, handles + band_handles([left, right]), columns=5)
    return figure


@styled
def loss_surface(x: Sequence[float], y: Sequence[float], loss: Any) -> Figure:
    """The loss over a plane through the weights, as contours and in 3-D side by side, log scale.

    `x` (X) and `y` (Y): steps along the two directions, in rising order; the weights lie at 0, 0.
    `loss`: X x Y, nats; NaN or infinity is left blank. Raises ValueError for other shapes, or if
    no loss is finite and above 0.
    """
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    flat = figure.add_subplot(1, 2, 1)
    bar, (height,) = draw_contours([flat], x, y, {"": loss}, location="left", shrink=0.9)
    flat.set_ylabel("second direction")

    solid = figure.add_subplot(1, 2, 2, projection="3d")
    across, up = np.meshgrid(x, y)
    solid.plot_surface(
        across, up, height, cmap="cividis", vmin=bar.vmin, vmax=bar.vmax, rcount=80, ccount=80,
        linewidth=0, antialiased=True,
    )  # fmt: skip
    solid.set_xlabel("first", labelpad=4, rotation=0)
    solid.set_ylabel("second", labelpad=6, rotation=0)
    names = [label.get_text() for label in bar.ax.get_yticklabels()]
    solid.set_zticks(bar.get_ticks(), labels=names)
    for axis in (solid.xaxis, solid.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_rotate_label(False)
    solid.tick_params(labelsize=8, pad=0)
    solid.view_init(elev=32, azim=-55)
    solid.set_box_aspect((4, 4, 3), zoom=0.9)
    solid.set_title("height: cross-entropy (nats)")
    return figure


def draw_contours(
    panels: Sequence[Axes],
    x: Sequence[float],
    y: Sequence[float],
    losses: Mapping[str, Any],
    **bar_place: Any,
) -> tuple[Colorbar, list[np.ndarray]]:
    """Contours of the losses (name -> X x Y, nats) in a panel each, on one log scale.

    With the legend of the figure, and a colour bar where the keywords of `Figure.colorbar` put it.
    Returns the bar and the heights, log10 of the losses (Y x X). Raises ValueError as
    `loss_surface` does.
    """
    heights = []
    for name, loss in losses.items():
        loss = np.asarray(loss, float)
        if loss.shape != (len(x), len(y)):
            of = f" of {name}" if name else ""
            raise ValueError(
                f"The losses{of} must have the shape ({len(x)}, {len(y)}), not {loss.shape}."
            )
        # Matplotlib's rows are y.
        heights.append(np.log10(np.where(np.isfinite(loss) & (loss > 0), loss, np.nan)).T)
    finite = np.concatenate([height[np.isfinite(height)] for height in heights])
    if not finite.size:
        raise ValueError("There is no loss to draw: give at least one that is finite and above 0.")
    low, high = finite.min(), finite.max()
    levels = np.linspace(low, max(high, low + 1e-6), _LEVELS)
    across, up = np.meshgrid(x, y)
    star = {"marker": "*", "color": "white", "markeredgecolor": "black"}
    for axes, height in zip(panels, heights, strict=True):
        axes.set_facecolor("#D0D0D0")
        axes.grid(False)
        image = axes.contourf(across, up, height, levels, cmap="cividis", extend="neither")
        axes.contour(across, up, height, levels, colors="white", linewidths=0.5, linestyles="-")
        axes.plot(0, 0, markersize=12, **star)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("first direction")
    figure = panels[0].get_figure()
    bar = figure.colorbar(image, ax=list(panels), **bar_place)
    bar.set_label("cross-entropy (nats)")
    places = log_places(10**low, 10**high)
    bar.set_ticks(np.log10(places), labels=place_names(places))
    legend = Line2D([], [], linestyle="", markersize=11, label="the weights themselves", **star)
    legend_above(figure, [legend], columns=1)
    return bar, heights


@styled
def landscape_bands(
    curves: Mapping[str, Sequence[Curve]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """Santurkar's three measures through training, methods overlaid (Santurkar 2018, figure 4).

    `curves`: method -> one curve per seed with "step", "loss_low", "loss_high", "loss_range"
    (nats), "gradient_distance_low", "gradient_distance_high", "gradient_distance_range" and
    "effective_beta". Above, the loss and the gradient's change along the gradient from lowest to
    highest, means over seeds on linear axes, for the width of a band is a difference; below, the
    widths themselves and effective beta, geometric means with intervals.
    """
    if not curves:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(curves, styles)
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    above = [figure.add_subplot(grid[0, 3 * i : 3 * i + 3]) for i in range(2)]
    below = [figure.add_subplot(grid[1, 2 * i : 2 * i + 2]) for i in range(3)]
    for axes, (key, title) in zip(above, _ALONG.items(), strict=True):
        for method, runs in curves.items():
            _draw_range(axes, runs, key, styles[method])
        axes.set_ylim(bottom=0)
        axes.set_title(title, loc="left")
        write_note(axes, lacking_note(curves, [f"{key}_low", f"{key}_high"]))
    for axes, (key, title) in zip(below, _MEASURES.items(), strict=True):
        drawn = []
        for method, runs in curves.items():
            line, look = over_seeds(runs, "step", key), styles[method]
            draw_band(axes, list(line), list(line.values()), look.colour, linestyle=look.line)
            drawn += means(line.values())
        logarithmic(axes, drawn)
        axes.set_title(title, loc="left")
        write_note(axes, lacking_note(curves, [key]))
    for axes in (*above, *below):
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, label=m) for m in curves
    ]
    handles.append(
        Patch(facecolor="none", edgecolor=GREY, hatch=_HATCH, label="lowest to highest, mean")
    )
    legend_above(figure, handles + band_handles(below), columns=4)
    return figure


def _draw_range(axes: Axes, runs: Sequence[Curve], key: str, look: MethodStyle) -> None:
    low, high = (over_seeds(runs, "step", f"{key}_{end}", summarize) for end in ("low", "high"))
    spans = [
        (at, low[at].mean, high[at].mean)
        for at in low
        if low[at].mean is not None and high[at].mean is not None
    ]
    steps, *bounds = zip(*spans, strict=True) if spans else ([], [], [])
    for bound in bounds:
        axes.plot(steps, bound, color=look.colour, linestyle=look.line, linewidth=1)
    axes.fill_between(
        steps, *bounds, facecolor="none", edgecolor=look.colour, hatch=_HATCH, linewidth=0
    )
