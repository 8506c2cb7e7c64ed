"""Quantities through training: losses by method, any measure, layers, and the way to a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, TARGET, Figure, Value, styled, summarize
from dlip_reg.report.figures.series import Curve, Lines, Points
from dlip_reg.report.numbers import format_number

Curves = Mapping[str, Sequence[Curve]]

_DASHES: kit.Line = (0, (4, 1.6))
_LOSSES: dict[str, tuple[str, kit.Line]] = {
    "train_loss": ("training", "-"),
    "validation_loss": ("validation", _DASHES),
}
_INK = "#333333"
_BASELINE: kit.Look = {"color": GREY, "linewidth": 1.2, "alpha": 0.75}
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
    base = series.over_seeds(curves[baseline], "epoch", "validation_loss", summarize)
    base = {epoch: summary for epoch, summary in base.items() if summary.mean is not None}
    faint = kit.entry(f"{held_out} of “{baseline}”", **_BASELINE)
    figure, panels = _loss_panels(
        curves,
        _LOSSES | {"validation_loss": (held_out, _DASHES)},
        "cross-entropy without penalty (nats)",
        [faint],
    )
    for method, axes in panels.items():
        if method != baseline:
            y = series.means(base.values())
            axes.plot(list(base), y, zorder=1.5, label=faint.get_label(), **_BASELINE)
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
    for method, runs in curves.items():
        lines = {name: series.curve_points(runs, "epoch", key) for key, (name, _) in losses.items()}
        for points in lines.values():
            means = series.means(map(summarize, points.values()))
            if found := [mean for mean in means if mean > 0]:
                low = min(low, *found)
                tops.append(max(found))
        ends = [
            0.0
            if run and all(len(run[key]) and kit.is_finite(run[key][-1]) for key in losses)
            else None
            for run in runs
        ]
        seeds = dict.fromkeys(lines, series.seeds_of(curves).get(method, ()))
        note = summarize(ends).note
        panels.append(Lines(method, lines, "log", summary=summarize, seeds=seeds, note=note))
    limits = (0.8 * low, 1.25 * min(max(tops), 30 * median(tops))) if tops else None
    figure, grid = _method_figure(
        [replace(panel, limits=limits) for panel in panels], dict(losses.values()), 3, 2.3,
        extra=extra, y_label=y_label,
    )  # fmt: skip
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
    return series.line_figure(described, len(panels), markers=x == "level")[0]


def curve_panel(curves: Curves, key: str, title: str, scale: str, x: str, **options: Any) -> Lines:
    """The panel of one quantity of the curves against `x`, as in `through_training`."""
    return Lines(
        title,
        {method: series.curve_points(runs, x, key) for method, runs in curves.items()},
        scale,
        "training step" if x == "step" else x,
        "falling" if x == "level" else "integer",
        seeds=series.seeds_of(curves),
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
    return series.line_figure(panels, len(measures), 3.3)[0]


@styled
def labelled_curves(curves: Mapping[str, Mapping[str, Sequence[Curve]]], fitted: float) -> Figure:
    """Training error on true and on random labels, one panel a method.

    Args:
        curves: Method -> labels ("true", "random") -> one curve a seed with "epoch" and "error".
        fitted: The error that counts as fitted.
    """
    kit.require(curves, "method")
    lines = dict(zip(next(iter(curves.values())), ("-", _DASHES), strict=True))
    panels = []
    for method, by_labels in curves.items():
        named = {f"{name} labels": by_labels[name] for name in lines}
        points = {name: series.curve_points(runs, "epoch", "error") for name, runs in named.items()}
        panels.append(
            Lines(
                method, points, "percent", limits=(0, 1), seeds=series.seeds_of(named),
                rules={"fitted": fitted},
            )
        )  # fmt: skip
    return _method_figure(
        panels, {f"{name} labels": line for name, line in lines.items()}, len(panels), 2.3,
        y_label="training error (%)",
    )[0]  # fmt: skip


@styled
def against_falling_loss(curves: Curves, label: str) -> Figure:
    """A quantity against the training loss, which falls from left to right as training goes on.

    Args:
        curves: Arm -> one curve per seed with "level", the training loss, and "value".
        label: What the values are.
    """
    styles = kit.method_styles(curves)
    figure, (axes,) = kit.panel_grid(1, 1, 3.5)
    runs = [(arm, run) for arm, of_arm in curves.items() for run in of_arm if run]
    for arm, run in runs:
        look = {"linewidth": 1.2, "alpha": 0.75, "label": arm, **styles[arm].as_line}
        series.draw_run(axes, run["level"], run["value"], run.get("seed"), **look)
    series.falling_loss_axis(axes, (loss for _, run in runs for loss in run["level"]))
    axes.set_title(kit.wrapped(label, 80), loc="left")
    kit.legend_above(figure, kit.entries(styles), columns=4)
    return figure


@styled
def way_to_target(
    curves: Curves,
    target: Value,
    steps: Mapping[str, Sequence[Value]],
    styles: Mapping[str, kit.MethodStyle] | None = None,
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
    series.draw_panels([left], [panel], styles)
    left.set_ylabel("validation accuracy (%)")
    summaries = {method: series.geometric(values) for method, values in steps.items()}
    for row, (method, summary) in enumerate(summaries.items()):
        series.draw_row(right, row, summary, styles[method], method)
    series.row_axis(
        right, [f"{kit.wrapped(m, 14)}\n{format_number(s.mean)}" for m, s in summaries.items()]
    )
    right.set_xlabel("training steps to the target")
    if drawn := [value for summary in summaries.values() for value in summary.values]:
        kit.log_axis(right.xaxis, min(drawn) / 1.6, max(drawn) * 1.6)
    handles = kit.entries({method: styles[method] for method in curves})
    handles += [
        kit.entry("accuracy to reach", **TARGET),
        kit.seed_entry(),
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
    figure, _ = series.line_figure(
        panels, 2, 3.4, markers=True, y_label="gradient norm of the layer's kernel", sharey=True
    )
    return figure


@styled
def activation_percentiles(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Percentiles of one unit's input through training, one panel per method, on common axes.

    `runs`: method -> one run, {"step": training steps, "percentiles": {15: one value per step,
    50: ..., 85: ...}}, the percentiles the same for all (Ioffe & Szegedy 2015, figure 1b, c).
    """
    kit.require(runs, "method")
    levels = sorted(next(iter(runs.values()))["percentiles"])
    names = {level: f"{level:g}th percentile" for level in levels}
    panels = [
        Lines(
            method,
            {
                name: {at: [value] for at, value in
                       zip(run["step"], run["percentiles"][level], strict=True)}
                for level, name in names.items()
            },
        )
        for method, run in runs.items()
    ]  # fmt: skip
    lines = dict.fromkeys(names.values(), _DASHES) | {names[levels[len(levels) // 2]]: "-"}
    between = f"between the {levels[0]:g}th and the {levels[-1]:g}th"
    figure, grid = _method_figure(
        panels, lines, 3, 2.5, "training step", y_label="input of the unit's activation",
        extra=[Patch(color=GREY, alpha=0.2, linewidth=0, label=between)],
    )  # fmt: skip
    for axes, (method, look) in zip(grid, kit.method_styles(runs).items(), strict=True):
        run = runs[method]
        low, high = (np.array(run["percentiles"][levels[end]], float) for end in (0, -1))
        axes.fill_between(run["step"], low, high, color=look.colour, alpha=0.13, linewidth=0)
    return figure


def _method_figure(
    panels: Sequence[Lines],
    lines: Mapping[str, kit.Line],
    columns: int,
    height: float,
    x_label: str = "epoch",
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A panel a method, named and coloured after it, with the same lines in each."""
    looks = kit.method_styles(panel.title for panel in panels)
    coloured = []
    for panel in panels:
        look = looks[panel.title]
        styles = {name: replace(look, line=line) for name, line in lines.items()}
        coloured.append(replace(panel, x="", styles=styles))
    inks = {name: kit.MethodStyle(_INK, "", line) for name, line in lines.items()}
    figure, grid = series.line_figure(
        coloured, columns, height, styles=inks, sharex=True, sharey=True, **options
    )
    figure.supxlabel(x_label, fontsize=10)
    return figure, grid


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
    figure, grid = series.line_figure(
        panels, 1, 2.9, styles=styles, extra=[near_zero_entry(near_zero)], sharex=True,
        y_label="share of weights per bin (%)",
    )  # fmt: skip
    for axes in grid:
        draw_near_zero(axes, near_zero)
    grid[-1].set_xlabel("weight ÷ RMS of its layer's weights")
    return figure


@styled
def by_strength(
    tried: Mapping[str, Mapping[float, Mapping[str, Any]]], near_zero: float
) -> dict[str, Figure]:
    """Losses through training and the histogram of the trained weights, a figure for each strength.

    `tried`: method -> strength -> one run with "epoch", "train_loss", "validation_loss" (nats),
    and "edges" and "counts" as in `weight_histograms`. The first figure has each method's weakest
    strength, the last one the strongest; axes are the same in all. A method with fewer strengths
    stays at its strongest.
    """
    kit.require(tried, "method")
    styles = kit.method_styles(tried)
    every = [run for runs in tried.values() for run in runs.values()]
    starts = [loss for run in every for loss in (run["train_loss"][0], run["validation_loss"][0])]
    losses = [v for run in every for key in _LOSSES for v in run[key] if kit.is_finite(v) and v > 0]
    shares = [s for run in every for (s,) in _shares(run["edges"], run["counts"]).values() if s]
    loss_limits = (0.8 * min(losses), 1.25 * min(max(losses), 2 * max(starts)))
    share_limits = (0.7 * min(shares), 1.6 * max(shares))
    inks = {name: kit.MethodStyle(_INK, "", line) for name, line in _LOSSES.values()}
    found = {}
    for step in range(max(map(len, tried.values()))):
        above, below = [], []
        for method, runs in tried.items():
            strength, run = sorted(runs.items())[: step + 1][-1]
            lines = {
                name: series.curve_points([run], "epoch", key) for key, (name, _) in _LOSSES.items()
            }
            looks = {name: replace(styles[method], line=line) for name, line in _LOSSES.values()}
            title = f"{method} {kit.plain(strength)}"
            above.append(Lines(title, lines, "log", limits=loss_limits, styles=looks))
            below.append(
                Lines(
                    "", {"weights": _shares(run["edges"], run["counts"])}, "log percent",
                    x="weight ÷ RMS of its layer", limits=share_limits,
                    styles={"weights": replace(styles[method], line="-")},
                )
            )  # fmt: skip
        figure, grid = series.line_figure(
            [*above, *below], len(tried), 2.4, styles=inks, sharex="row", sharey="row",
            extra=[near_zero_entry(near_zero)],
        )  # fmt: skip
        for axes in grid[len(tried) :]:
            draw_near_zero(axes, near_zero)
        grid[0].set_ylabel("cross-entropy (nats)")
        grid[len(tried)].set_ylabel("share of weights per bin (%)")
        found[", ".join(panel.title for panel in above)] = figure
    return found


def near_zero_entry(near_zero: float) -> Line2D:
    """The legend's entry of the lines of `draw_near_zero`."""
    return kit.entry(f"near zero: |w| < {near_zero:g} RMS", color=GREY, linewidth=1)


def draw_near_zero(axes: Axes, near_zero: float) -> None:
    """Mark where weights count as near zero."""
    label = near_zero_entry(near_zero).get_label()
    for at in (-near_zero, near_zero):
        axes.axvline(at, zorder=1.5, color=GREY, linewidth=1, label=label)


def _shares(edges: Sequence[float], counts: Sequence[Sequence[int]]) -> Points:
    """The middle of each bin -> the share of the weights in it, by seed."""
    half = (edges[1] - edges[0]) / 2
    middles = [*(edge - half for edge in edges), edges[-1] + half]
    shares = [np.asarray(seed) / sum(seed) for seed in counts]
    return dict(zip(middles, zip(*shares, strict=True), strict=True)) if shares else {}


def _above_zero(values: Iterable[Value]) -> kit.Summary:
    """`summarize` without an interval that reaches 0: on a log axis it would fill the panel."""
    found = summarize(values)
    return found if found.low is None or found.low > 0 else replace(found, low=None, high=None)
