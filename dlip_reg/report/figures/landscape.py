"""The loss around the weights: along a line, over a plane, and along the gradient in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures import kit
from dlip_reg.report.figures.kit import COLOURS, GREY, LINES, Figure, styled, summarize
from dlip_reg.report.figures.series import (
    Curve,
    curve_points,
    draw_panels,
    geometric,
    lacking_note,
    logarithmic,
    means,
    over_seeds,
)
from dlip_reg.report.figures.training import curve_panel

_LOSS, _ACCURACY = COLOURS[2], COLOURS[1]
_LEVELS = 14
_DECADES = 8  # of the spectral density that are drawn below its highest value
_HATCH = "////"
_STAR = {"marker": "*", "color": "white", "markeredgecolor": "black", "linestyle": "",
         "label": "the weights themselves"}  # fmt: skip
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
    return _loss_and_accuracy(
        lines,
        "alpha",
        f"α: 0 is “{ends[0]}”, 1 is “{ends[1]}”",
        ("cross-entropy (nats)", "accuracy (%)"),
        (0, 1),
    )


@styled
def lines_around(ends: Mapping[str, Sequence[Curve]]) -> Figure:
    """Loss and accuracy on the filter-normalised line through each of two solutions, overlaid.

    `ends`: solution -> one curve per seed with "position" (0 at the solution, 1 a step as long as
    its weights), "loss" (nats) and "accuracy" in [0, 1], towards the other solution (Li et al.
    2018, section 4). The steeper of the two is the sharper.
    """
    return _loss_and_accuracy(
        {f"around {name}": runs for name, runs in ends.items()},
        "position",
        "step from the solution towards the other one, in norms of each filter",
        ("training loss (nats)", "training accuracy (%)"),
        (0,),
    )


def _loss_and_accuracy(
    lines: Mapping[str, Sequence[Curve]],
    x: str,
    x_label: str,
    y_labels: tuple[str, str],
    solutions_at: Sequence[float],
) -> Figure:
    """Both along `x` for each of `lines` (name -> one curve per seed), accuracy on a second axis.

    Upright lines mark where the solutions are.
    """
    figure, (left,) = kit.panel_grid(len(lines) and 1, 1, 3.5)
    right = left.twinx()
    right.grid(False)
    losses: list[float] = []
    for (name, runs), look in zip(lines.items(), LINES, strict=False):
        loss = over_seeds(runs, x, "loss", geometric)
        kit.draw_band(left, list(loss), list(loss.values()), _LOSS, linestyle=look, label=name)
        losses += means(loss.values())
        share = over_seeds(runs, x, "accuracy", summarize)
        kit.draw_band(
            right, list(share), list(share.values()), _ACCURACY, linestyle=look, label=name
        )
    logarithmic(left, losses)
    right.set_ylim(0, 1.02)
    kit.as_percent(right.yaxis)
    for axes, text, colour in zip((left, right), y_labels, (_LOSS, _ACCURACY), strict=True):
        axes.set_ylabel(text, color=colour)
        axes.tick_params(axis="y", colors=colour)
    for at in solutions_at:
        left.axvline(at, color=GREY, linewidth=1, zorder=1.5)
    left.set_xlabel(x_label)
    kit.write_note(right, lacking_note(lines, ["loss", "accuracy"]))
    handles = [
        kit.entry("loss (left axis)", color=_LOSS),
        kit.entry("accuracy (right axis)", color=_ACCURACY),
        *(
            kit.entry(name, color="#333333", linestyle=look)
            for name, look in zip(lines, LINES, strict=False)
        ),
    ]
    kit.legend_above(figure, handles + kit.band_handles([left, right]), columns=5)
    return figure


@styled
def surfaces_side_by_side(
    x: Sequence[float], y: Sequence[float], surfaces: Mapping[str, Any]
) -> Figure:
    """Loss surfaces of several solutions as contours, on one logarithmic scale of heights.

    `x` (X) and `y` (Y): steps along the two directions; the solutions lie at 0, 0. `surfaces`:
    solution -> X x Y losses in nats; NaN, None or infinity is left blank. ValueError for other
    shapes, or if no loss is finite and above 0.
    """
    figure, panels = kit.panel_grid(len(surfaces), len(surfaces), 3.7, sharex=True, sharey=True)
    _draw_contours(panels, x, y, surfaces, shrink=0.85)
    for axes in panels:
        axes.set_aspect("equal")
    panels[0].set_ylabel("second direction")
    return figure


@styled
def loss_surface(x: Sequence[float], y: Sequence[float], loss: Any) -> Figure:
    """The loss over a plane through the weights, as contours and in 3-D side by side, log scale.

    `x` (X) and `y` (Y): steps along the two directions, in rising order; the weights lie at 0, 0.
    `loss`: X x Y, nats; NaN or infinity is left blank. Raises ValueError for other shapes, or if
    no loss is finite and above 0.
    """
    figure = kit.new_figure(4.3)
    flat = figure.add_subplot(1, 2, 1)
    bar, (height,) = _draw_contours([flat], x, y, {"": loss}, location="left", shrink=0.9)
    flat.set_ylabel("second direction")
    solid = figure.add_subplot(1, 2, 2, projection="3d")
    solid.plot_surface(
        *np.meshgrid(x, y), height, cmap="cividis", vmin=bar.vmin, vmax=bar.vmax, rcount=80,
        ccount=80, linewidth=0, antialiased=True,
    )  # fmt: skip
    figure.grids[solid] = figure.grids[flat]
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


def _draw_contours(
    panels: Sequence[Axes],
    x: Sequence[float],
    y: Sequence[float],
    losses: Mapping[str, Any],
    **bar_place: Any,
) -> tuple[Colorbar, list[np.ndarray]]:
    """Contours of the losses (title -> X x Y, nats) in a panel each, on one log scale.

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
    figure = panels[0].get_figure()
    for axes, name, height in zip(panels, losses, heights, strict=True):
        axes.set_facecolor("#D0D0D0")
        axes.grid(False)
        image = axes.contourf(x, y, height, levels, cmap="cividis", extend="neither")
        figure.grids[axes] = (x, y, height, "nats")
        axes.contour(x, y, height, levels, colors="white", linewidths=0.5, linestyles="-")
        axes.plot(0, 0, markersize=12, **_STAR)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("first direction")
        axes.set_title(name, loc="left")
    bar = figure.colorbar(image, ax=list(panels), **bar_place)
    bar.set_label("cross-entropy (nats)")
    places = kit.log_places(10**low, 10**high)
    bar.set_ticks(np.log10(places), labels=kit.place_names(places))
    kit.legend_above(
        figure, [kit.entry("the weights themselves", markersize=11, **_STAR)], columns=1
    )
    return bar, heights


@styled
def spectral_density(densities: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The density of the Hessian's eigenvalues on a log axis, one panel per model below another.

    `densities`: name -> {"eigenvalue": places in rising order, "density": share of the
    eigenvalues per unit, which integrates to 1}. What lies 8 decades under the highest value is
    not drawn. Raises ValueError for lists of different lengths.
    """
    figure, panels = kit.panel_grid(len(densities), 1, 2.0, sharex=True, sharey=True)
    lines = {
        name: np.nan_to_num(np.array([line["eigenvalue"], line["density"]], float), posinf=0)
        for name, line in densities.items()
    }
    high = 2 * max(values.max(initial=0) for _, values in lines.values())
    for axes, (name, look) in zip(panels, kit.method_styles(lines).items(), strict=True):
        eigenvalue, values = lines[name]
        axes.plot(eigenvalue, values, color=look.colour, linewidth=1.4, label=name)
        axes.fill_between(eigenvalue, values, color=look.colour, alpha=0.2, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1, zorder=1.5)
        axes.set_title(name, loc="left")
        if high > 0:
            axes.set_yscale("log", nonpositive="clip")
            axes.set_ylim(high / 10**_DECADES, high)
            kit.log_ticks(axes.yaxis, high / 10**_DECADES, high)
        kit.write_note(axes, "" if values.any() else "no finite value")
    panels[-1].set_xlabel("eigenvalue of the Hessian")
    figure.supylabel("density of eigenvalues", fontsize=10)
    return figure


@styled
def landscape_bands(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    """Santurkar's three measures through training, methods overlaid (Santurkar 2018, figure 4).

    `curves`: method -> one curve per seed with "step", "loss_low", "loss_high", "loss_range"
    (nats), "gradient_distance_low", "gradient_distance_high", "gradient_distance_range" and
    "effective_beta". Above, the loss and the gradient's change along the gradient from lowest to
    highest, means over seeds on linear axes, for the width of a band is a difference; below, the
    widths themselves and effective beta, geometric means with intervals.
    """
    kit.require(curves, "method")
    styles = kit.method_styles(curves)
    figure = kit.new_figure(6.6)
    grid = figure.add_gridspec(2, 6)
    above = [figure.add_subplot(grid[0, 3 * i : 3 * i + 3]) for i in range(2)]
    below = [figure.add_subplot(grid[1, 2 * i : 2 * i + 2]) for i in range(3)]
    for axes, (key, title) in zip(above, _ALONG.items(), strict=True):
        for method, look in styles.items():
            low, high = (
                [summarize(values).mean for values in points.values()]
                for points in (curve_points(curves[method], "step", f"{key}_{end}")
                               for end in ("low", "high"))
            )  # fmt: skip
            steps = list(curve_points(curves[method], "step", f"{key}_low"))
            both = [i for i in range(len(steps)) if None not in (low[i], high[i])]
            steps, low, high = ([values[i] for i in both] for values in (steps, low, high))
            for bound in (low, high) if both else ():
                axes.plot(steps, bound, linewidth=1, label=method, **look.as_line)
            axes.fill_between(
                steps, low, high, facecolor="none", edgecolor=look.colour, hatch=_HATCH,
                linewidth=0, label=method,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_title(title, loc="left")
        axes.set_xlabel("training step")
        kit.write_note(axes, lacking_note(curves, [f"{key}_low", f"{key}_high"]))
    panels = [curve_panel(curves, key, title, "log", "step") for key, title in _MEASURES.items()]
    draw_panels(below, panels, styles)
    for axes in (*above, *below):
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ranges = Patch(facecolor="none", edgecolor=GREY, hatch=_HATCH, label="lowest to highest, mean")
    kit.legend_above(figure, [*kit.entries(styles), ranges, *kit.band_handles(below)], columns=4)
    return figure
