"""Quantities through training: losses by method, any measure, and the way to a target accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.matched import falling_loss_axis
from dlip_reg.report.figures.series import (
    Curve,
    curve_points,
    draw_lines,
    draw_row,
    geometric,
    means,
    over_seeds,
    row_axis,
)
from dlip_reg.report.figures.style import (
    GREY,
    SEED,
    TARGET,
    Figure,
    MethodStyle,
    Value,
    band_handles,
    draw_band,
    entry,
    is_finite,
    legend_above,
    log_axis,
    method_styles,
    panel_grid,
    require,
    styled,
    summarize,
    wrapped,
    write_note,
)
from dlip_reg.report.numbers import format_number

Curves = Mapping[str, Sequence[Curve]]

_DASHED = {"linestyle": (0, (4, 1.6))}
_DOTTED = {"linestyle": (0, (1.2, 1.2)), "marker": ".", "markersize": 6}
_BASELINE = {"color": GREY, "linewidth": 1.2, "alpha": 0.75}


@styled
def loss_curves(curves: Curves, baseline: str, held_out: str = "validation") -> Figure:
    """Training and held-out loss by method, the held-out loss of `baseline` faint in each.

    `curves`: method -> one curve per seed with "epoch", "train_loss", "validation_loss" (nats).
    `held_out` is what the legend calls the second loss: "validation" or "test".
    Raises ValueError if `baseline` is no method.
    """
    if baseline not in curves:
        raise ValueError(f"The baseline {baseline!r} is none of {', '.join(curves)}.")
    looks = {"train_loss": {}, "validation_loss": _DASHED}
    figure, panels = _loss_panels(curves, looks, "cross-entropy without penalty (nats)")
    base = over_seeds(curves[baseline], "epoch", "validation_loss", summarize)
    base = {epoch: summary for epoch, summary in base.items() if summary.mean is not None}
    for method, axes in panels.items():
        if method != baseline:
            axes.plot(list(base), means(base.values()), zorder=1.5, **_BASELINE)
    handles = [
        entry("training", color="#333333"),
        entry(held_out, color="#333333", **_DASHED),
        entry(f"{held_out} of “{baseline}”", **_BASELINE),
    ]
    legend_above(figure, handles + band_handles(panels.values()), columns=4)
    return figure


@styled
def training_loss_misleads(curves: Curves) -> Figure:
    """The training loss Keras prints beside the clean one of the same runs, by method.

    `curves`: method -> one curve per seed with "epoch", "train_loss" (cross-entropy in inference
    mode over the whole split, nats) and "keras_loss" (with penalty, averaged over moving weights,
    dropout on; None where Keras has none, as before the first epoch).
    """
    looks = {"train_loss": {}, "keras_loss": _DOTTED}
    figure, panels = _loss_panels(curves, looks, "training loss (nats)")
    handles = [
        entry("clean: cross-entropy, inference mode, whole split", color="#333333"),
        entry("what Keras prints", color="#333333", **_DOTTED),
    ]
    legend_above(figure, handles + band_handles(panels.values()), columns=3)
    return figure


def _loss_panels(
    curves: Curves, looks: Mapping[str, Mapping[str, Any]], label: str
) -> tuple[Figure, dict[str, Axes]]:
    """One panel a method with its losses (key -> options of the line), on common log axes.

    A run on its way to infinity does not stretch them. Notes count the runs without a finite loss
    at the end.
    """
    styles = method_styles(curves)
    figure, grid = panel_grid(len(curves), 3, 2.3, sharex=True, sharey=True)
    panels = dict(zip(curves, grid, strict=True))
    drawn = []
    for method, axes in panels.items():
        runs = curves[method]
        for key, look in looks.items():
            line = over_seeds(runs, "epoch", key, summarize)
            draw_band(axes, list(line), list(line.values()), styles[method].colour, **look)
            drawn.append([mean for mean in means(line.values()) if mean > 0])
        ends = [
            0.0 if run and all(len(run[key]) and is_finite(run[key][-1]) for key in looks) else None
            for run in runs
        ]
        write_note(axes, summarize(ends).note)
        axes.set_title(wrapped(method), loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel(label, fontsize=10)
    tops = [max(line) for line in drawn if line]
    if tops:
        low = min(min(line) for line in drawn if line)
        log_axis(grid[0].yaxis, 0.8 * low, 1.25 * min(max(tops), 30 * median(tops)))
    return figure, panels


@styled
def through_training(
    curves: Curves, panels: Mapping[str, tuple[str, str]], x: str = "epoch"
) -> Figure:
    """Quantities against `x` ("epoch", "step", "level"), one panel each, methods overlaid.

    `curves`: method -> one curve per seed with `x` and the keys of `panels`. `panels`: key ->
    (title, scale): "log" (geometric means), "linear", or "percent" for shares in [0, 1]. A level is
    one of the training loss, which falls from left to right.
    """
    require(curves, "method")
    styles = method_styles(curves)
    figure, grid = panel_grid(len(panels), len(panels), 3.0)
    by_level = x == "level"
    for axes, (key, (title, scale)) in zip(grid, panels.items(), strict=True):
        lines = {method: curve_points(runs, x, key) for method, runs in curves.items()}
        draw_lines(axes, lines, styles, scale, markers=by_level)
        axes.set_title(wrapped(title, 84 // len(panels)), loc="left")
        if by_level:
            falling_loss_axis(axes, [level for line in lines.values() for level in line])
        else:
            axes.set_xlabel("training step" if x == "step" else x)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles = [entry(method, **look.as_line) for method, look in styles.items()]
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def way_to_target(
    curves: Curves,
    target: Value,
    steps: Mapping[str, Sequence[Value]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Validation accuracy against training steps, and the steps each seed took to its target.

    `curves`: method -> one curve per seed with "step" and "accuracy" in [0, 1]. `target`: the
    accuracy to reach. `steps`: method -> steps to the target, one per seed.
    """
    require(curves, "method")
    styles = styles or method_styles([*curves, *steps])
    figure, (left, right) = panel_grid(2, 2, 3.3, width_ratios=(1.25, 1))
    if is_finite(target):
        left.axhline(target, zorder=1.5, **TARGET)
    lines = {method: curve_points(runs, "step", "accuracy") for method, runs in curves.items()}
    draw_lines(left, lines, styles, "percent")
    left.set_xlabel("training step")
    left.set_ylabel("validation accuracy (%)")
    left.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    summaries = {method: geometric(values) for method, values in steps.items()}
    for row, (method, summary) in enumerate(summaries.items()):
        draw_row(right, row, summary, styles[method])
    row_axis(right, [f"{wrapped(m, 14)}\n{format_number(s.mean)}" for m, s in summaries.items()])
    right.set_xlabel("training steps to the target")
    if drawn := [value for summary in summaries.values() for value in summary.values]:
        log_axis(right.xaxis, min(drawn) / 1.6, max(drawn) * 1.6)
    handles = [entry(method, **styles[method].as_line) for method in curves]
    handles += [
        entry("accuracy to reach", **TARGET),
        entry("one seed", markeredgecolor=GREY, **SEED),
    ]
    legend_above(figure, handles + band_handles([left]), columns=5)
    return figure
