"""The loss around the weights: along a line, over a plane, and along the gradient in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
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
    MethodStyle,
    as_percent,
    band_handles,
    draw_band,
    legend_above,
    plain,
    styled,
    styles_for,
    summarize,
    write_note,
)

_LOSS, _ACCURACY = COLOURS[2], COLOURS[1]
_LEVELS = 14
_RANGES = {
    "loss": "loss along the gradient (nats)",
    "gradient_distance": "change of the gradient (L2)",
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
    loss = np.asarray(loss, float)
    if loss.shape != (len(x), len(y)):
        raise ValueError(f"loss must have the shape ({len(x)}, {len(y)}), not {loss.shape}.")
    shown = np.where(np.isfinite(loss) & (loss > 0), loss, np.nan)
    if not np.isfinite(shown).any():
        raise ValueError("There is no loss to draw: give at least one that is finite and above 0.")
    height = np.log10(shown).T  # Matplotlib's rows are y
    low, high = np.nanmin(height), np.nanmax(height)
    levels = np.linspace(low, max(high, low + 1e-6), _LEVELS)
    across, up = np.meshgrid(x, y)

    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    flat = figure.add_subplot(1, 2, 1)
    flat.set_facecolor("#D0D0D0")
    flat.grid(False)
    image = flat.contourf(across, up, height, levels, cmap="cividis", extend="neither")
    flat.contour(across, up, height, levels, colors="white", linewidths=0.5, linestyles="-")
    flat.plot(0, 0, marker="*", markersize=12, color="white", markeredgecolor="black")
    flat.xaxis.set_major_locator(MaxNLocator(5))
    flat.set_xlabel("first direction")
    flat.set_ylabel("second direction")
    bar = figure.colorbar(image, ax=flat, location="left", shrink=0.9)
    bar.set_label("cross-entropy (nats)")
    ticks, names = _ticks(low, high)
    bar.set_ticks(ticks, labels=names)

    solid = figure.add_subplot(1, 2, 2, projection="3d")
    solid.plot_surface(
        across, up, height, cmap="cividis", vmin=low, vmax=high, rcount=80, ccount=80, linewidth=0,
        antialiased=True,
    )  # fmt: skip
    solid.set_xlabel("first", labelpad=4, rotation=0)
    solid.set_ylabel("second", labelpad=6, rotation=0)
    solid.set_zticks(ticks, labels=names)
    for axis in (solid.xaxis, solid.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_rotate_label(False)
    solid.tick_params(labelsize=8, pad=0)
    solid.view_init(elev=32, azim=-55)
    solid.set_box_aspect((4, 4, 3), zoom=0.9)
    solid.set_title("height: cross-entropy (nats)")
    handles = [
        Line2D([], [], linestyle="", marker="*", markersize=11, color="white",
               markeredgecolor="black", label="the weights themselves")
    ]  # fmt: skip
    legend_above(figure, handles, columns=1)
    return figure


@styled
def landscape_bands(
    curves: Mapping[str, Sequence[Curve]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """Santurkar's three measures through training, methods overlaid (Santurkar 2018, figure 4).

    `curves`: method -> one curve per seed with "step", "loss_low", "loss_high" (nats),
    "gradient_distance_low", "gradient_distance_high" and "effective_beta". The first two panels
    fill from lowest to highest over the moved points; all are geometric means over seeds.
    """
    if not curves:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(curves, styles)
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (key, title) in zip(panels, _RANGES.items(), strict=False):
        drawn = []
        for method, runs in curves.items():
            low = over_seeds(runs, "step", f"{key}_low")
            high = over_seeds(runs, "step", f"{key}_high")
            look = styles[method]
            spans = [
                (at, low[at].mean, high[at].mean)
                for at in low
                if low[at].mean is not None and high[at].mean is not None
            ]
            for bound in (1, 2):
                axes.plot(
                    [span[0] for span in spans], [span[bound] for span in spans],
                    color=look.colour, linestyle=look.line, linewidth=1,
                )  # fmt: skip
            if spans:
                axes.fill_between(
                    *zip(*spans, strict=True), color=look.colour, alpha=0.2, linewidth=0
                )
                drawn += [bound for span in spans for bound in span[1:]]
        logarithmic(axes, drawn)
        axes.set_title(title, loc="left")
        write_note(axes, lacking_note(curves, [f"{key}_low", f"{key}_high"]))
    drawn = []
    for method, runs in curves.items():
        line = over_seeds(runs, "step", "effective_beta")
        look = styles[method]
        draw_band(panels[2], list(line), list(line.values()), look.colour, linestyle=look.line)
        drawn += means(line.values())
    logarithmic(panels[2], drawn)
    panels[2].set_title("effective β-smoothness", loc="left")
    write_note(panels[2], lacking_note(curves, ["effective_beta"]))
    for axes in panels:
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, linestyle=styles[m].line, label=m) for m in curves
    ]
    handles.append(
        Patch(color=GREY, alpha=0.2, linewidth=0, label="lowest to highest along the gradient")
    )
    handles += band_handles([panels[2]])
    legend_above(figure, handles, columns=4)
    return figure


def _ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Places on a scale of powers of ten from `low` to `high`, and what they are called."""
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [value for value in values if low <= np.log10(value) <= high]
        if len(ticks) <= 6:
            break
    if len(ticks) < 2:  # less than an octave: evenly, with the digits it takes
        ticks = [float(f"{value:.3g}") for value in 10 ** np.linspace(low, high, 4)]
    every = -(-len(ticks) // 6)
    ticks = sorted(set(ticks))[::every]
    return [float(np.log10(tick)) for tick in ticks], [plain(tick) for tick in ticks]
