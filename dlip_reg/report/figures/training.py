"""Quantities through training: losses by method, any measure, layers, and the way to a target."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, Figure, Value, style, summarize
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


@style()
def loss_curves(curves: Curves, baseline: str, held_out: str = "validation") -> Figure:
    """Training and held-out loss by method, the held-out loss of `baseline` faint in each.

    Args:
        curves: Method -> one curve per seed with "epoch", "train_loss", "validation_loss" (nats).
        baseline: The method that stands in every panel.
        held_out: What the legend calls the second loss: "validation" or "test".

    Raises:
        ValueError: `baseline` is not a method.
    """
    if baseline not in curves:
        raise ValueError(f"The baseline {baseline!r} is none of {', '.join(curves)}.")
    base = series.curve_points(curves[baseline], "epoch", "validation_loss")
    means = [summarize(values).mean for values in base.values()]

    def draw_baseline(axes: Axes) -> None:
        label = f"{held_out} of “{baseline}”"
        kit.extra(axes, list(base), means, label, _BASELINE, zorder=1.5)

    return _loss_panels(
        curves,
        _LOSSES | {"validation_loss": (held_out, _DASHES)},
        "cross-entropy without penalty (nats)",
        {method: draw_baseline for method in curves if method != baseline},
    )


@style()
def training_loss_misleads(curves: Curves) -> Figure:
    """The training loss Keras prints beside the clean one of the same runs, by method.

    Args:
        curves: Method -> one curve per seed with "epoch", "train_loss" (cross-entropy in inference
            mode over the whole split, nats) and "keras_loss" (with penalty, averaged over moving
            weights, dropout on; None where Keras has none, as before the first epoch).
    """
    losses = {
        "train_loss": ("clean: cross-entropy, inference mode, whole split", "-"),
        "keras_loss": ("what Keras prints", (0, (1.2, 1.2))),
    }
    return _loss_panels(curves, losses, "training loss (nats)", {})


def _loss_panels(
    curves: Curves,
    losses: Mapping[str, tuple[str, Any]],
    y_label: str,
    beside: Mapping[str, Callable[[Axes], None]],
) -> Figure:
    """One panel a method with its losses (key -> name, line), on common log axes.

    `beside`: method -> what draws more in its panel.
    """
    names = {key: name for key, (name, _) in losses.items()}
    lines = {
        method: {name: series.curve_points(runs, "epoch", key) for key, name in names.items()}
        for method, runs in curves.items()
    }
    limits = series.loss_limits(points for found in lines.values() for points in found.values())
    panels = [
        Lines(
            method, lines[method], "log", summary=summarize, limits=limits,
            seeds=dict.fromkeys(lines[method], series.seeds_of(curves).get(method, ())),
            note=series.not_finite_note(runs, losses), beside=beside.get(method),
        )
        for method, runs in curves.items()
    ]  # fmt: skip
    return _method_figure(panels, dict(losses.values()), 3, 2.3, y_label=y_label)


@style()
def through_training(
    curves: Curves, panels: Mapping[str, tuple[str, str]], x: str = "epoch"
) -> Figure:
    """Quantities through training, one panel each, methods overlaid.

    Args:
        curves: Method -> one curve per seed with `x` and the keys of `panels`.
        panels: Key -> (title, scale): "log" (geometric means), "linear", or "percent" for shares in
            [0, 1].
        x: What stands along the axis: "epoch", "step", or "level", of the training loss, which
            falls from left to right.
    """
    options = {
        "x": "training step" if x == "step" else x,
        "x_axis": "falling" if x == "level" else "integer",
    }
    described = [
        series.curve_panel(title, curves, x, key, y=scale, **options)
        for key, (title, scale) in panels.items()
    ]
    return series.line_figure(described, len(panels), markers=x == "level")


@style()
def labelled_curves(curves: Mapping[str, Mapping[str, Sequence[Curve]]], fitted: float) -> Figure:
    """Training error on true and on random labels, one panel for each method.

    Args:
        curves: Method -> labels ("true", "random") -> one curve per seed with "epoch" and "error".
        fitted: The error that counts as fitted.
    """
    panels = [
        series.curve_panel(
            method, {f"{name} labels": runs for name, runs in by_labels.items()}, "epoch", "error",
            y="percent", limits=(0, 1), rules={"fitted": fitted},
        )
        for method, by_labels in curves.items()
    ]  # fmt: skip
    lines = {"true labels": "-", "random labels": _DASHES}
    return _method_figure(panels, lines, len(panels), 2.3, y_label="training error (%)")


@style()
def against_falling_loss(curves: Curves, label: str) -> Figure:
    """A quantity against the training loss, which falls from left to right as training goes on.

    Args:
        curves: Arm -> one curve per seed with "level", the training loss, and "value".
        label: What the values are.
    """
    styles = kit.method_styles(curves)

    def draw(axes: Axes) -> None:
        series.draw_runs(axes, curves, "level", "value", styles, linewidth=1.2, alpha=0.75)
        every = [run for runs in curves.values() for run in runs if run]
        series.falling_loss_axis(axes, (loss for run in every for loss in run["level"]))

    return series.line_figure([Lines(label, {}, beside=draw)], 1, 3.5, styles=styles)


@style()
def way_to_target(
    curves: Curves,
    target: Value,
    steps: Mapping[str, Sequence[Value]],
    styles: Mapping[str, kit.MethodStyle] | None = None,
) -> Figure:
    """Validation accuracy against training steps, and the steps each seed took to its target.

    Args:
        curves: Method -> one curve per seed with "step" and "accuracy" in [0, 1].
        target: The accuracy to reach.
        steps: Method -> steps to the target, one per seed.
        styles: Method -> its style; default: `method_styles`.
    """
    kit.require(curves, "method")
    styles = styles or kit.method_styles([*curves, *steps])

    def draw_steps(axes: Axes) -> None:
        rows = {method: {method: values} for method, values in steps.items()}
        found = [s for _, s in series.draw_rows(axes, rows, styles, series.geometric).values()]
        means = [format_number(summary.mean) for summary in found]
        names = [f"{kit.wrapped(m, 14)}\n{n} steps" for m, n in zip(steps, means, strict=True)]
        axes.set_yticks(range(len(steps)), names)
        if drawn := [value for summary in found for value in summary.values]:
            kit.log_axis(axes.xaxis, min(drawn) / 1.6, max(drawn) * 1.6)

    panels = [
        series.curve_panel(
            "", curves, "step", "accuracy", y="percent", x="training step",
            y_label="validation accuracy (%)",
            rules={"accuracy to reach": target} if kit.is_finite(target) else {},
        ),
        Lines("", {}, x="training steps to the target", x_axis="auto", beside=draw_steps),
    ]  # fmt: skip
    shown = {method: styles[method] for method in curves}
    return series.line_figure(panels, 2, 3.3, styles=shown, width_ratios=(1.25, 1))


@style()
def gradient_flow(norms: Mapping[str, Mapping[str, Mapping[str, Sequence[Value]]]]) -> Figure:
    """The gradient's norm by layer, first to last, methods overlaid, with intervals over seeds.

    Means and bands are geometric. A line that falls towards the first layer is a vanishing
    gradient, one that rises there an exploding one.

    Args:
        norms: Panel title ("at initialization", "after training") -> method -> layer -> one norm
            per seed.
    """
    panels = [
        Lines(title, by_method, "log", "layer, first to last", "layers")
        for title, by_method in norms.items()
    ]
    return series.line_figure(
        panels, 2, 3.4, markers=True, y_label="gradient norm of the layer's kernel", sharey=True
    )


@style()
def activation_percentiles(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Percentiles of one unit's input through training, one panel per method, on common axes.

    Args:
        runs: Method -> one run, {"step": training steps, "percentiles": {15: one value per step,
            50: ..., 85: ...}}, the percentiles the same for all (Ioffe & Szegedy 2015, figure 1b,
            c).
    """
    kit.require(runs, "method")
    levels = sorted(next(iter(runs.values()))["percentiles"])
    names = {level: f"{level:g}th percentile" for level in levels}
    panels = [
        series.curve_panel(
            method,
            {n: [{"step": run["step"], "value": run["percentiles"][q]}] for q, n in names.items()},
            "step",
            "value",
        )
        for method, run in runs.items()
    ]
    dashes = dict.fromkeys(names.values(), _DASHES) | {names[levels[len(levels) // 2]]: "-"}
    label = "input of the unit's activation"
    return _method_figure(panels, dashes, 3, 2.5, "training step", y_label=label)


def _method_figure(
    panels: Sequence[Lines],
    lines: Mapping[str, kit.Line],
    columns: int,
    height: float,
    x_label: str = "epoch",
    **options: Any,
) -> Figure:
    """A panel a method, named and coloured after it, with the same lines in each."""
    looks = kit.method_styles(panel.title for panel in panels)
    coloured = []
    for panel in panels:
        look = looks[panel.title]
        styles = {name: replace(look, line=line) for name, line in lines.items()}
        coloured.append(replace(panel, x="", styles=styles))
    inks = {name: kit.MethodStyle(_INK, "", line) for name, line in lines.items()}
    figure = series.line_figure(
        coloured, columns, height, styles=inks, sharex=True, sharey=True, **options
    )
    figure.supxlabel(x_label, fontsize=10)
    return figure


@style()
def weight_histograms(
    histograms: Mapping[str, Mapping[str, Mapping[str, Any]]], near_zero: float
) -> Figure:
    """Share of the weights per bin (log scale), one panel for each group, methods overlaid.

    Args:
        histograms: Method -> group, for example "Adam" -> {"edges": bin edges in units of the RMS
            of the layer's weights, evenly spaced, "counts": one list per seed}. Counts are one per
            bin and two more: first what lies below the first edge, last what lies above the last.
        near_zero: The threshold below which |w| counts as near zero, in the unit of the edges.
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
            Lines(
                group, lines, "log percent", limits=limits, note=note,
                x="weight ÷ RMS of its layer's weights" if group == groups[-1] else "",
                beside=functools.partial(_mark_near_zero, near_zero),
            )
        )  # fmt: skip
    label = "share of weights per bin (%)"
    return series.line_figure(panels, 1, 2.9, styles=styles, sharex=True, y_label=label)


@style()
def by_strength(
    tried: Mapping[str, Mapping[float, Mapping[str, Any]]], near_zero: float
) -> dict[str, Figure]:
    """Losses through training and the histogram of the trained weights, a figure for each strength.

    Args:
        tried: Method -> strength -> one run with "epoch", "train_loss", "validation_loss" (nats),
            and "edges" and "counts" as in `weight_histograms`.
        near_zero: As in `weight_histograms`.

    Returns:
        Name -> figure. The first one has each method's weakest strength, the last one the
        strongest; axes are the same in all. A method with fewer strengths stays at its strongest.
    """
    kit.require(tried, "method")
    styles = kit.method_styles(tried)
    every = [run for runs in tried.values() for run in runs.values()]
    limits = series.loss_limits(
        series.curve_points([run], "epoch", key) for run in every for key in _LOSSES
    )
    shares = [s for run in every for (s,) in _shares(run["edges"], run["counts"]).values() if s]
    share_limits = (0.7 * min(shares), 1.6 * max(shares))
    inks = {name: kit.MethodStyle(_INK, "", line) for name, line in _LOSSES.values()}
    found = {}
    for step in range(max(map(len, tried.values()))):
        above: list[Lines] = []
        below: list[Lines] = []
        for method, runs in tried.items():
            strength, run = sorted(runs.items())[: step + 1][-1]
            lines = {
                name: series.curve_points([run], "epoch", key) for key, (name, _) in _LOSSES.items()
            }
            looks = {name: replace(styles[method], line=line) for name, line in _LOSSES.values()}
            title = f"{method} {kit.plain(strength)}"
            above.append(
                Lines(
                    title, lines, "log", limits=limits, styles=looks,
                    y_label="" if above else "cross-entropy (nats)",
                )
            )  # fmt: skip
            below.append(
                Lines(
                    "", {"weights": _shares(run["edges"], run["counts"])}, "log percent",
                    x="weight ÷ RMS of its layer", limits=share_limits,
                    styles={"weights": replace(styles[method], line="-")},
                    y_label="" if below else "share of weights per bin (%)",
                    beside=functools.partial(_mark_near_zero, near_zero),
                )
            )  # fmt: skip
        found[", ".join(panel.title for panel in above)] = series.line_figure(
            [*above, *below], len(tried), 2.4, styles=inks, sharex="row", sharey="row"
        )
    return found


def _mark_near_zero(near_zero: float, axes: Axes) -> None:
    for at in (-near_zero, near_zero):
        label = f"near zero: |w| < {near_zero:g} RMS"
        kit.upright(axes, at, label, {"color": GREY, "linewidth": 1})


def _shares(edges: Sequence[float], counts: Sequence[Sequence[int]]) -> Points:
    """The middle of each bin -> the share of the weights in it, by seed."""
    half = (edges[1] - edges[0]) / 2
    middles = [*(edge - half for edge in edges), edges[-1] + half]
    shares = [np.asarray(seed) / sum(seed) for seed in counts]
    return dict(zip(middles, zip(*shares, strict=True), strict=True)) if shares else {}
