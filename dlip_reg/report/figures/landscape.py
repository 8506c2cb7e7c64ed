"""The loss around the weights: along a line, over a plane, and along the gradient in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, Figure, style, summarize
from dlip_reg.report.figures.series import Curve, Lines
from dlip_reg.report.numbers import format_number

_LOSS, _ACCURACY = kit.COLOURS[2], kit.COLOURS[1]
_LEVELS = 14
_HATCH = "////"
_STAR: kit.Look = {"marker": "*", "markersize": 12, "color": "white", "markeredgecolor": "black",
         "linestyle": ""}  # fmt: skip
_ALONG = {
    "loss": "loss along the gradient (nats)",
    "gradient_distance": "change of the gradient along it (L2)",
}
_MEASURES = {
    "loss_range": "range of the loss (nats)",
    "gradient_distance_range": "range of the change (L2)",
    "effective_beta": "effective β-smoothness",
}


@style()
def losses_along(
    lines: Mapping[str, Sequence[Curve]], x_label: str, solutions: Sequence[float] = (0,)
) -> Figure:
    """Loss and accuracy along lines through weights, accuracy on a second axis.

    Args:
        lines: Name -> one curve per seed with "position" on the line, "loss" (nats, of which the
            mean is geometric, on a log axis) and "accuracy" in [0, 1]: between two solutions
            (Keskar et al. 2017, figure 3), or around each of them (Li et al. 2018, section 4).
        x_label: What the position is.
        solutions: The positions of the solutions, which upright lines mark.
    """
    figure, (left,) = kit.panel_grid(len(lines) and 1, 1, 3.5)
    right = left.twinx()
    looks = dict(zip(lines, kit.LINES, strict=False))
    quantities = {
        "loss": (left, "log", _LOSS, "loss (nats)"),
        "accuracy": (right, "percent", _ACCURACY, "accuracy (%)"),
    }
    lacking = []
    for key, (axes, scale, colour, label) in quantities.items():
        points = {name: series.curve_points(runs, "position", key) for name, runs in lines.items()}
        panel = Lines(
            "", points, scale, x_label if axes is left else "", "auto", note="",
            styles={name: kit.MethodStyle(colour, "", look) for name, look in looks.items()},
        )  # fmt: skip
        series.draw_panels([axes], [panel], {})
        lacking += [
            name for name, of in points.items() if not series.means(map(summarize, of.values()))
        ]
        axes.set_ylabel(label, color=colour)
        axes.tick_params(axis="y", colors=colour)
    right.grid(False)
    right.set_ylim(0, 1.02)
    for at in solutions:
        left.axvline(at, color=GREY, linewidth=1, zorder=1.5)
    kit.write_note(right, series.no_value_note(dict.fromkeys(lacking)))
    handles = [
        kit.entry("loss (left axis)", color=_LOSS),
        kit.entry("accuracy (right axis)", color=_ACCURACY),
        *(kit.entry(name, color="#333333", linestyle=look) for name, look in looks.items()),
    ]
    kit.legend_above(figure, handles)
    return figure


@style()
def surfaces_side_by_side(
    x: Sequence[float], y: Sequence[float], surfaces: Mapping[str, Any]
) -> Figure:
    """Loss surfaces of one or several solutions as contours, on one logarithmic scale of heights.

    Args:
        x: X steps along the first direction; the solutions lie at 0.
        y: Y steps along the second direction.
        surfaces: Solution -> X x Y losses in nats; NaN, None or infinity is left blank.

    Raises:
        ValueError: A surface has another shape, or no loss is finite and above 0.
    """
    figure, panels = kit.panel_grid(len(surfaces), len(surfaces), 3.7, sharex=True, sharey=True)
    heights = []
    for name, losses in surfaces.items():
        loss = np.asarray(losses, float)
        if loss.shape != (len(x), len(y)):
            raise ValueError(
                f"The losses of {name} must have the shape ({len(x)}, {len(y)}), not {loss.shape}."
            )
        # Matplotlib's rows are y.
        heights.append(np.log10(np.where(np.isfinite(loss) & (loss > 0), loss, np.nan)).T)
    finite = np.concatenate([height[np.isfinite(height)] for height in heights])
    if not finite.size:
        raise ValueError("There is no loss to draw: give at least one that is finite and above 0.")
    low, high = finite.min(), finite.max()
    levels = np.linspace(low, max(high, low + 1e-6), _LEVELS)
    for axes, name, height in zip(panels, surfaces, heights, strict=True):
        axes.set_facecolor("#D0D0D0")
        axes.grid(False)
        image = axes.contourf(x, y, height, levels, cmap="cividis", extend="neither")
        kit.attach(axes, grid=kit.Grid(x, y, height, _in_nats, "log₁₀ of the loss"))
        axes.contour(x, y, height, levels, colors="white", linewidths=0.5, linestyles="-")
        kit.extra(axes, [0], [0], "the weights themselves", _STAR)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("first direction")
        axes.set_title(name, loc="left")
        axes.set_aspect("equal")
    panels[0].set_ylabel("second direction")
    bar = figure.colorbar(image, ax=list(panels), shrink=0.85)
    kit.attach(bar.ax, bar=True)
    bar.set_label("cross-entropy (nats)")
    places = kit.log_places(10**low, 10**high)
    bar.set_ticks(np.log10(places).tolist(), labels=kit.place_names(places))
    kit.legend_above(figure)
    return figure


@style()
def landscape_bands(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    """Santurkar's three measures through training, methods overlaid (Santurkar 2018, figure 4).

    Above, the loss and the gradient's change along the gradient from lowest to highest, means over
    seeds on linear axes, since the width of a band is a difference; below, the widths themselves
    and effective beta, geometric means with intervals.

    Args:
        curves: Method -> one curve per seed with "step", "loss_low", "loss_high", "loss_range"
            (nats), "gradient_distance_low", "gradient_distance_high", "gradient_distance_range" and
            "effective_beta".
    """
    kit.require(curves, "method")
    styles = kit.method_styles(curves)
    figure = kit.new_figure(6.6)
    grid = figure.add_gridspec(2, 6)
    above = [figure.add_subplot(grid[0, 3 * i : 3 * i + 3]) for i in range(2)]
    below = [figure.add_subplot(grid[1, 2 * i : 2 * i + 2]) for i in range(3)]
    for axes, (key, title) in zip(above, _ALONG.items(), strict=True):
        lacking = []
        for method, look in styles.items():
            runs = curves[method]
            by_end = [series.curve_points(runs, "step", f"{key}_{e}") for e in ("low", "high")]
            steps = list(by_end[0])
            low, high = (
                np.array([summarize(points[step]).mean for step in steps], float)
                for points in by_end
            )
            if not np.isfinite(low + high).any():
                lacking.append(method)
                continue
            for bound in (low, high):
                axes.plot(steps, bound, linewidth=1, label=method, **look.as_line)
            axes.fill_between(
                steps, low, high, facecolor="none", edgecolor=look.colour, hatch=_HATCH,
                linewidth=0, label=method,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_title(title, loc="left")
        axes.set_xlabel("training step")
        kit.write_note(axes, series.no_value_note(lacking))
    panels = [
        series.curve_panel(title, curves, "step", key, y="log", x="training step")
        for key, title in _MEASURES.items()
    ]
    series.draw_panels(below, panels, styles)
    for axes in (*above, *below):
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ranges = Patch(facecolor="none", edgecolor=GREY, hatch=_HATCH, label="lowest to highest, mean")
    kit.legend_above(figure, [*kit.entries(styles), ranges])
    return figure


def _in_nats(height: float) -> str:
    return f"{format_number(10**height)} nats"
