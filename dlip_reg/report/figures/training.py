"""Quantities through training: losses by method, any measure, layers, and the way to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures import kit
from dlip_reg.report.figures.kit import (
    GREY,
    SEED,
    TARGET,
    Figure,
    MethodStyle,
    Summary,
    Value,
    styled,
    summarize,
)
from dlip_reg.report.figures.series import (
    Curve,
    Lines,
    Points,
    curve_points,
    draw_panels,
    draw_row,
    falling_loss_axis,
    geometric,
    line_figure,
    means,
    over_seeds,
    row_axis,
)
from dlip_reg.report.numbers import format_number

Curves = Mapping[str, Sequence[Curve]]

_DASHES = (0, (4, 1.6))
_INK = "#333333"
_BASELINE = {"color": GREY, "linewidth": 1.2, "alpha": 0.75}
_SHARPNESS = {
    "lambda_max": "top eigenvalue λ of the Hessian",
    "lambda_max_lr_half": "λ × learning rate ÷ 2",
    "adaptive_sharpness": "adaptive sharpness, nats",
    "sam_sharpness": "SAM sharpness, nats",
}
_STABLE = {"lambda_max_lr_half": {"1: full-batch gradient descent turns unstable": 1.0}}


@styled
def loss_curves(curves: Curves, baseline: str, held_out: str = "validation") -> Figure:
    """Training and held-out loss by method, the held-out loss of `baseline` faint in each.

    `curves`: method -> one curve per seed with "epoch", "train_loss", "validation_loss" (nats).
    `held_out` is what the legend calls the second loss: "validation" or "test".
    Raises ValueError if `baseline` is no method.
    """
    if baseline not in curves:
        raise ValueError(f"The baseline {baseline!r} is none of {', '.join(curves)}.")
    base = over_seeds(curves[baseline], "epoch", "validation_loss", summarize)
    base = {epoch: summary for epoch, summary in base.items() if summary.mean is not None}
    faint = kit.entry(f"{held_out} of “{baseline}”", **_BASELINE)
    figure, panels = _loss_panels(
        curves,
        {"train_loss": ("training", "-"), "validation_loss": (held_out, _DASHES)},
        "cross-entropy without penalty (nats)",
        [faint],
    )
    for method, axes in panels.items():
        if method != baseline:
            axes.plot(
                list(base), means(base.values()), zorder=1.5, label=faint.get_label(), **_BASELINE
            )
    return figure


@styled
def training_loss_misleads(curves: Curves) -> Figure:
    """The training loss Keras prints beside the clean one of the same runs, by method.

    `curves`: method -> one curve per seed with "epoch", "train_loss" (cross-entropy in inference
    mode over the whole split, nats) and "keras_loss" (with penalty, averaged over moving weights,
    dropout on; None where Keras has none, as before the first epoch).
    """
    losses = {
        "train_loss": ("clean: cross-entropy, inference mode, whole split", "-"),
        "keras_loss": ("what Keras prints", (0, (1.2, 1.2))),
    }
    return _loss_panels(curves, losses, "training loss (nats)")[0]


def _loss_panels(
    curves: Curves,
    losses: Mapping[str, tuple[str, Any]],
    y_label: str,
    extra: Sequence[Any] = (),
) -> tuple[Figure, dict[str, Axes]]:
    """One panel a method with its losses (key -> name, line), on common log axes.

    A run on its way to infinity does not stretch them. Notes count the runs without a finite loss
    at the end.
    """
    panels, low, tops = [], math.inf, []
    for method, look in kit.method_styles(curves).items():
        runs = curves[method]
        lines = {name: curve_points(runs, "epoch", key) for key, (name, _) in losses.items()}
        for points in lines.values():
            if found := [mean for mean in means(map(summarize, points.values())) if mean > 0]:
                low = min(low, *found)
                tops.append(max(found))
        ends = [
            0.0
            if run and all(len(run[key]) and kit.is_finite(run[key][-1]) for key in losses)
            else None
            for run in runs
        ]
        styles = {name: replace(look, line=line) for name, line in losses.values()}
        panels.append(
            Lines(
                method, lines, "log", x="", summary=summarize, styles=styles,
                note=summarize(ends).note,
            )
        )  # fmt: skip
    limits = (0.8 * low, 1.25 * min(max(tops), 30 * median(tops))) if tops else None
    panels = [replace(panel, limits=limits) for panel in panels]
    inks = {name: MethodStyle(_INK, "", line) for name, line in losses.values()}
    figure, grid = line_figure(
        panels, 3, 2.3, styles=inks, extra=extra, y_label=y_label, sharex=True, sharey=True
    )
    figure.supxlabel("epoch", fontsize=10)
    return figure, dict(zip(curves, grid, strict=True))


@styled
def through_training(
    curves: Curves, panels: Mapping[str, tuple[str, str]], x: str = "epoch"
) -> Figure:
    """Quantities against `x` ("epoch", "step", "level"), one panel each, methods overlaid.

    `curves`: method -> one curve per seed with `x` and the keys of `panels`. `panels`: key ->
    (title, scale): "log" (geometric means), "linear", or "percent" for shares in [0, 1]. A level is
    one of the training loss, which falls from left to right.
    """
    described = [curve_panel(curves, key, *panel, x) for key, panel in panels.items()]
    return line_figure(described, len(panels), markers=x == "level")[0]


def curve_panel(curves: Curves, key: str, title: str, scale: str, x: str, **options: Any) -> Lines:
    """The panel of one quantity of the curves against `x`, as in `through_training`."""
    return Lines(
        title,
        {method: curve_points(runs, x, key) for method, runs in curves.items()},
        scale,
        "training step" if x == "step" else x,
        "falling" if x == "level" else "integer",
        **options,
    )


@styled
def sharpness_curves(
    curves: Curves,
    measures: Sequence[str] = ("lambda_max", "lambda_max_lr_half"),
    x: str = "epoch",
) -> Figure:
    """Sharpness through training by method, one panel for each of `measures`, bands over seeds.

    `curves`: method -> one curve per seed with `x`, the name of the lower axis, and the measures,
    which are names that `callbacks.Sharpness` logs. Means and bands are geometric, for the axes are
    logarithmic. The line at 1 in the panel of "lambda_max_lr_half" is where plain gradient descent
    on a quadratic stops being stable: full-batch gradient descent hovers about it (Cohen et al.
    2021).
    """
    panels = [
        curve_panel(curves, key, _SHARPNESS[key], "log", x, rules=_STABLE.get(key, {}))
        for key in measures
    ]
    return line_figure(panels, len(measures), 3.3)[0]


@styled
def labelled_curves(curves: Mapping[str, Mapping[str, Sequence[Curve]]], fitted: float) -> Figure:
    """Training error on true and on random labels, one panel a method.

    Args:
        curves: Method -> labels ("true", "random") -> one curve a seed with "epoch" and "error".
        fitted: The error that counts as fitted.
    """
    kit.require(curves, "method")
    lines = dict(zip(next(iter(curves.values())), ("-", _DASHES), strict=True))
    panels = [
        Lines(
            method,
            {f"{name} labels": curve_points(curves[method][name], "epoch", "error")
             for name in lines},
            styles={f"{name} labels": replace(look, line=line) for name, line in lines.items()},
            rules={"fitted": fitted},
            y="percent",
            limits=(0, 1),
            x="",
        )
        for method, look in kit.method_styles(curves).items()
    ]  # fmt: skip
    inks = {f"{name} labels": MethodStyle(_INK, "", line) for name, line in lines.items()}
    figure, _ = line_figure(
        panels, len(panels), 2.3, styles=inks, y_label="training error (%)", sharex=True,
        sharey=True,
    )  # fmt: skip
    figure.supxlabel("epoch", fontsize=10)
    return figure


@styled
def against_falling_loss(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], label: str
) -> Figure:
    """A quantity against the training loss, which falls from left to right as training goes on.

    Args:
        curves: Arm -> for each seed, (training loss, value) through training.
        label: What the values are.
    """
    styles = kit.method_styles(curves)
    figure, (axes,) = kit.panel_grid(1, 1, 3.5)
    for arm, look in styles.items():
        for run in curves[arm]:
            losses, values = zip(*run, strict=True) if run else ((), ())
            axes.plot(losses, values, linewidth=1.2, alpha=0.75, label=arm, **look.as_line)
    falling_loss_axis(axes, (loss for runs in curves.values() for run in runs for loss, _ in run))
    axes.set_title(kit.wrapped(label, 80), loc="left")
    kit.legend_above(figure, kit.entries(styles), columns=4)
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
    kit.require(curves, "method")
    styles = styles or kit.method_styles([*curves, *steps])
    figure, (left, right) = kit.panel_grid(2, 2, 3.3, width_ratios=(1.25, 1))
    goal = {"accuracy to reach": target} if kit.is_finite(target) else {}
    panel = curve_panel(curves, "accuracy", "", "percent", "step", rules=goal)
    draw_panels([left], [panel], styles)
    left.set_ylabel("validation accuracy (%)")
    summaries = {method: geometric(values) for method, values in steps.items()}
    for row, (method, summary) in enumerate(summaries.items()):
        draw_row(right, row, summary, styles[method], method)
    row_axis(
        right, [f"{kit.wrapped(m, 14)}\n{format_number(s.mean)}" for m, s in summaries.items()]
    )
    right.set_xlabel("training steps to the target")
    if drawn := [value for summary in summaries.values() for value in summary.values]:
        kit.log_axis(right.xaxis, min(drawn) / 1.6, max(drawn) * 1.6)
    handles = kit.entries({method: styles[method] for method in curves})
    handles += [
        kit.entry("accuracy to reach", **TARGET),
        kit.entry("one seed", markeredgecolor=GREY, **SEED),
    ]
    kit.legend_above(figure, handles + kit.band_handles([left]), columns=5)
    return figure


@styled
def gradient_flow(norms: Mapping[str, Mapping[str, Mapping[str, Sequence[Value]]]]) -> Figure:
    """The gradient's norm by layer, first to last, methods overlaid, with intervals over seeds.

    `norms`: panel title ("at initialisation", "after training") -> method -> layer -> one norm per
    seed; means and bands are geometric. A line that falls towards the first layer is a vanishing
    gradient, one that rises there an exploding one.
    """
    panels = [
        Lines(title, by_method, "log", "layer, first to last", "layers")
        for title, by_method in norms.items()
    ]
    figure, _ = line_figure(
        panels, 2, 3.4, markers=True, y_label="gradient norm of the layer's kernel", sharey=True
    )
    return figure


@styled
def activation_percentiles(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Percentiles of one unit's input through training, one panel per method, on common axes.

    `runs`: method -> one run, {"step": training steps, "percentiles": {15: one value per step,
    50: ..., 85: ...}}, the percentiles the same for all (Ioffe & Szegedy 2015, figure 1b, c).
    """
    figure, grid = kit.panel_grid(len(runs), 3, 2.5, sharex=True, sharey=True)
    levels = sorted(next(iter(runs.values()))["percentiles"])
    middle = levels[len(levels) // 2]
    names = {level: f"{level:g}th percentile" for level in levels}
    lines = {level: "-" if level == middle else _DASHES for level in levels}
    for axes, (method, look) in zip(grid, kit.method_styles(runs).items(), strict=True):
        run = runs[method]
        values = np.array([run["percentiles"][level] for level in levels], float)
        values[~np.isfinite(values)] = math.nan
        axes.fill_between(
            run["step"], values[0], values[-1], color=look.colour, alpha=0.13, linewidth=0
        )
        for level, line in zip(levels, values, strict=True):
            axes.plot(
                run["step"], line, color=look.colour, linestyle=lines[level], label=names[level]
            )
        axes.set_title(kit.wrapped(method), loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        kit.write_note(axes, "" if np.isfinite(values).any() else "no finite value")
    figure.supxlabel("training step", fontsize=10)
    figure.supylabel("input of the unit's activation", fontsize=10)
    handles = [kit.entry(names[level], color=_INK, linestyle=lines[level]) for level in levels]
    between = f"between the {levels[0]:g}th and the {levels[-1]:g}th"
    handles.append(Patch(color=GREY, alpha=0.2, linewidth=0, label=between))
    kit.legend_above(figure, handles, columns=4)
    return figure


@styled
def weight_histograms(
    histograms: Mapping[str, Mapping[str, Mapping[str, Any]]], near_zero: float
) -> Figure:
    """Share of the weights per bin (log scale), one panel for each group, methods overlaid.

    `histograms`: method -> group, for example "Adam" -> {"edges": bin edges in units of the RMS of
    the layer's weights, evenly spaced, "counts": one list per seed}. Counts are one per bin and two
    more: first what lies below the first edge, last what lies above the last. `near_zero`: the
    threshold below which |w| counts as near zero, in the unit of the edges.
    """
    styles = kit.method_styles(histograms)
    groups = list(dict.fromkeys(group for groups in histograms.values() for group in groups))
    panels = []
    for group in groups:
        lines = {
            method: _shares(**by_group[group])
            for method, by_group in histograms.items()
            if group in by_group
        }
        absent = ", ".join(method for method in histograms if not lines.get(method))
        note = f"no weights of {absent}" if absent else ""
        shares = [summarize(at).mean for line in lines.values() for at in line.values()]
        positive = [share for share in shares if share]
        limits = (0.7 * min(positive), 1.6 * max(positive)) if positive else None
        panels.append(
            Lines(group, lines, "log percent", x="", limits=limits, summary=_above_zero, note=note)
        )
    threshold = kit.entry(f"near zero: |w| < {near_zero:g} RMS", color=GREY, linewidth=1)
    figure, grid = line_figure(
        panels, 1, 2.9, styles=styles, extra=[threshold], sharex=True,
        y_label="share of weights per bin (%)",
    )  # fmt: skip
    for axes in grid:
        for at in (-near_zero, near_zero):
            axes.axvline(at, zorder=1.5, color=GREY, linewidth=1, label=threshold.get_label())
    grid[-1].set_xlabel("weight ÷ RMS of its layer's weights")
    return figure


def _shares(edges: Sequence[float], counts: Sequence[Sequence[int]]) -> Points:
    """The middle of each bin -> the share of the weights in it, by seed."""
    half = (edges[1] - edges[0]) / 2
    middles = [*(edge - half for edge in edges), edges[-1] + half]
    shares = [np.asarray(seed) / sum(seed) for seed in counts]
    return dict(zip(middles, zip(*shares, strict=True), strict=True)) if shares else {}


def _above_zero(values: Sequence[Value]) -> Summary:
    """`summarize` without an interval that reaches 0: on a log axis it would fill the panel."""
    found = summarize(values)
    return found if found.low is None or found.low > 0 else replace(found, low=None, high=None)
