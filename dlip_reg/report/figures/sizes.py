"""Against values that were tried: strengths, learning rates and batch sizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, TARGET, Figure, Value, style, summarize
from dlip_reg.report.figures.series import Curve, Lines, Points

# A mean accuracy this far below the best is a mark at the foot, so that the rest has room.
COLLAPSED = 0.15
_DIVERGED: kit.Look = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "linestyle": ""}
_BELOW: kit.Look = {"marker": "v", "markersize": 8, "linestyle": ""}
_LOSSES = {"train_loss": "training loss (nats)", "validation_loss": "validation loss (nats)"}
_STEPS = 13  # doublings from a batch of one example to the largest in the labs
_BRIGHTEST = 0.82  # of the colour map: what lies beyond is too pale on white
_POWER_LAWS = {
    "like the batch size (linear rule)": (1.0, {"color": GREY, "linewidth": 1.2}),
    "like its square root": (0.5, TARGET),
}
_STAR: kit.Look = {"marker": "*", "markersize": 14, "linestyle": ""}


def size_styles(sizes: Iterable[int]) -> dict[int, kit.MethodStyle]:
    """One style per batch size, from dark for the smallest to bright for the largest.

    The order shows in grey, too. A style depends on the size alone, so it is the same in all
    figures; sizes less than a factor of 1.4 apart may share one.
    """
    shades = matplotlib.colormaps["plasma"]
    styles = {}
    for size in sorted(sizes):
        step = round(math.log2(size))
        styles[size] = kit.MethodStyle(
            to_hex(shades(_BRIGHTEST * min(1, step / _STEPS))),
            kit.MARKERS[step % len(kit.MARKERS)],
            kit.LINES[step % len(kit.LINES)],
        )
    return styles


@style()
def strength_curves(
    panels: Mapping[str, Mapping[str, Points]],
    linear: str = "",
    y_label: str = "validation accuracy (%)",
) -> Figure:
    """Accuracy against strength, with intervals over seeds; with two seeds, a dot for each.

    An interval over two seeds is so wide that it shows nothing.

    Args:
        panels: Title -> series label -> {strength: one accuracy in [0, 1] per seed}, on a log axis.
        linear: The title of the panel with dropout rates, on a linear axis.
        y_label: What the accuracies are.
    """
    styles = kit.method_styles(label for lines in panels.values() for label in lines)

    def mark_collapsed(lines: Mapping[str, Points], axes: Axes) -> None:
        foot = axes.get_ylim()[0]
        for row, (label, by_strength) in enumerate(lines.items()):
            means = {at: summarize(values).mean for at, values in by_strength.items()}
            below = [at for at, mean in means.items() if mean is not None and mean < foot]
            height = 0.03 + 0.06 * row  # else one series would hide another
            _draw_at_foot(axes, below, height, "collapsed: below the axis", _BELOW, styles[label])

    every = [
        values for lines in panels.values() for line in lines.values() for values in line.values()
    ]
    is_pair = max(map(len, every), default=0) == 2
    described = [
        Lines(
            title, lines, "percent", depth=COLLAPSED, bands=not is_pair,
            ticks=12 // min(3, len(panels)),
            x="dropout rate" if title == linear else "strength",
            x_axis="linear values" if title == linear else "values",
            beside=functools.partial(mark_collapsed, lines),
        )
        for title, lines in panels.items()
    ]  # fmt: skip
    return series.line_figure(
        described, 3, 3.0, markers=True, seeds=is_pair, y_label=y_label, sharey=True
    )


def _draw_at_foot(
    axes: Axes, x: Sequence[float], y: float, label: str, look: kit.Look, style: kit.MethodStyle
) -> None:
    """Marks of a series at `y`, a share of the panel's height."""
    if x:
        foot = axes.get_xaxis_transform()
        kit.extra(axes, x, [y] * len(x), label, look, color=style.colour, transform=foot, zorder=4)


@style()
def tried_values(
    values: Mapping[str, Points],
    x_label: str,
    y_label: str,
    percent: bool = True,
    goal: float | None = None,
    goal_label: str = "accuracy to reach",
) -> Figure:
    """A quantity against the values tried, by method, on a log axis.

    Args:
        values: Method -> value tried, above 0 -> one number per seed, None where the run diverged;
            a value at which any seed did is left out of the line and marked by a cross.
        x_label: What was tried.
        y_label: What the numbers are.
        percent: Whether they are accuracies in [0, 1]; else they are above 0, on a log axis.
        goal: A number to mark by a line.
        goal_label: What the legend calls it.
    """
    whole = {method: _without_diverged(by_value) for method, by_value in values.items()}
    styles = kit.method_styles(values)

    def cross_out(axes: Axes) -> None:
        for row, (method, look) in enumerate(styles.items()):
            # The methods above one another.
            lost = [x for x in values[method] if x not in whole[method]]
            _draw_at_foot(axes, lost, 0.03 + 0.05 * row, "a seed diverged", _DIVERGED, look)
        series.value_axis(axes, (x for by_value in values.values() for x in by_value))

    panel = Lines(
        "", whole, "percent" if percent else "log", x_label, "values", y_label=y_label,
        rules={} if goal is None else {goal_label: goal}, beside=cross_out,
    )  # fmt: skip
    return series.line_figure([panel], 1, 3.8, markers=True)


@style()
def loss_by_size(rows: Mapping[str, Mapping[int, Sequence[Curve]]]) -> Figure:
    """Training and validation loss side by side, a line for each batch size, a row for each case.

    Means and bands are geometric.

    Args:
        rows: Case -> batch size -> one curve per seed with "epoch", "train_loss" and
            "validation_loss" (nats; None from where the run diverged).
    """
    styles = size_styles({size for row in rows.values() for size in row})
    panels = []
    for case, by_size in rows.items():
        named = {_batch(size): runs for size, runs in by_size.items()}
        for key, label in _LOSSES.items():
            notes = {name: series.not_finite_note(runs, [key]) for name, runs in named.items()}
            note = "; ".join(f"{name}: {note}" for name, note in notes.items() if note)
            options = {"y": "log", "y_label": label, "note": note}
            panels.append(series.curve_panel(case, named, "epoch", key, **options))
    limits = series.loss_limits(points for panel in panels for points in panel.lines.values())
    return series.line_figure(
        [replace(panel, limits=limits) for panel in panels], 2, 2.7,
        styles={_batch(size): look for size, look in styles.items()}, sharey=True,
    )  # fmt: skip


@style()
def best_rates(
    losses: Mapping[int, Points], best: Mapping[int, Sequence[Value]], slope: str = ""
) -> Figure:
    """Validation loss against the learning rate by batch size, and the best rate against the size.

    Both axes on the right are logarithmic; two grey lines show a rate that grows like the size and
    like its square root.

    Args:
        losses: Batch size -> rate -> one loss in nats per seed, None where the run diverged.
        best: Batch size -> the best rate of each seed.
        slope: What to say of the line through the best rates.
    """
    kit.require(losses, "batch size")
    sizes = size_styles({*losses, *best})
    styles = {_batch(size): look for size, look in sizes.items()}
    whole = {_batch(size): _without_diverged(by_rate) for size, by_rate in losses.items()}
    summaries = {size: series.geometric(values) for size, values in best.items()}

    def mark_best(axes: Axes) -> None:
        for name, by_rate in whole.items():
            means = {rate: series.geometric(seeds).mean for rate, seeds in by_rate.items()}
            if found := [(mean, rate) for rate, mean in means.items() if mean is not None]:
                lowest, rate = min(found)
                look = {"color": styles[name].colour, "markeredgecolor": "white", "zorder": 5}
                kit.extra(axes, [rate], [lowest], "best of all", _STAR, **look)

    def draw_best(axes: Axes) -> None:
        for size, summary in summaries.items():
            look, name, values = sizes[size], _batch(size), summary.values
            # Seeds that chose the same rate side by side.
            places = [size * 1.06 ** (i - (len(values) - 1) / 2) for i in range(len(values))]
            series.draw_seeds(axes, places, values, summary.seeds, look.colour, name)
            if summary.mean is not None:
                axes.plot(size, summary.mean, markersize=8, label=name, **look.as_marker)
        series.logarithmic(axes, [value for s in summaries.values() for value in s.values])
        means = {size: summary.mean for size, summary in summaries.items()}
        for label, (power, line) in _POWER_LAWS.items():
            series.power_law(axes, means, power, label, line)

    panels = [
        Lines(
            "where each batch size does best", whole, "log", "learning rate", "values", 6,
            y_label="validation loss (nats)", beside=mark_best,
        ),
        Lines(
            slope or "best rate", {"": best}, "log", "batch size", "values",
            y_label="best learning rate", beside=draw_best, bands=False,
            styles={"": kit.MethodStyle("black", "", "-")},
        ),
    ]  # fmt: skip
    shown = {_batch(size): sizes[size] for size in losses}
    return series.line_figure(panels, 2, 3.5, markers=True, styles=shown)


@style()
def against_size(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[Value]]]],
    y_label: str = "",
    percent: bool = False,
) -> Figure:
    """Quantities against the batch size, one panel each, with intervals and a dot for each seed.

    Args:
        panels: Title -> series -> batch size -> one value per seed. Values on log axes have
            geometric means.
        y_label: What the values are, for all panels.
        percent: Whether they are shares in [0, 1], on one common linear axis.
    """
    described = [
        Lines(title, lines, "percent" if percent else "log", "batch size", "values")
        for title, lines in panels.items()
    ]
    return series.line_figure(
        described, 2, 2.9, markers=True, seeds=True, y_label=y_label, sharey=percent
    )


def _without_start(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The curve behind epoch 0, which a logarithmic axis has no place for."""
    keys = ("epoch", "seconds", "train_loss")
    return {**run, **{key: run[key][1:] for key in keys}}


@style()
def convergence(curves: Mapping[int, Sequence[Curve]], target: float) -> Figure:
    """Training loss against the examples seen, in epochs, and against the time, by batch size.

    All axes are logarithmic; epoch 0 is left out.

    Args:
        curves: Batch size -> one curve per seed with "epoch", "seconds" and "train_loss" (nats),
            that ends where it has reached `target`.
        target: The training loss to reach, in nats.
    """
    kit.require(curves, "batch size")
    styles = {_batch(size): look for size, look in size_styles(curves).items()}
    figure, panels = kit.panel_grid(2, 2, 3.3, sharey=True)
    titles = ("for the same number of examples", "for the same time on this machine")
    keys = {"epoch": "examples seen (epochs)", "seconds": "seconds of training"}
    named = {
        _batch(size): [_without_start(run) for run in runs if run] for size, runs in curves.items()
    }
    every = [run for runs in named.values() for run in runs]
    for axes, (key, label), title in zip(panels, keys.items(), titles, strict=True):
        series.draw_runs(axes, named, key, "train_loss", styles, ends=True, linewidth=1.2)
        kit.level(axes, target, "the preset loss")
        axes.set_xlabel(label)
        axes.set_title(title, loc="left")
        if places := [at for run in every for at in run[key] if kit.is_finite(at) and at > 0]:
            kit.log_axis(axes.xaxis, min(places) / 1.2, max(places) * 1.2)
        else:
            kit.write_note(axes, "no finite value")
    panels[0].set_ylabel("training loss (nats)")
    losses = [loss for run in every for loss in run["train_loss"] if kit.is_finite(loss)]
    series.logarithmic(panels[0], [*losses, target])
    kit.legend_above(figure, kit.entries(styles))
    return figure


@style()
def batch_noise(
    variance: Mapping[int, Sequence[Value]], gaps: Mapping[str, Sequence[Curve]]
) -> Figure:
    """The noise of batch norm against the batch size, and the generalization gap as the loss falls.

    Args:
        variance: Batch size -> per seed, the variance of a fixed example's activations over random
            other examples in the batch, as a share of that between examples.
        gaps: Method -> one curve per seed with "level", of the training loss, and "gap", test -
            training loss, in nats.
    """
    kit.require([*variance, *gaps], "series")
    noise = "noise of batch norm"
    styles = {noise: kit.MethodStyle(kit.COLOURS[2], "o", "-"), **kit.method_styles(gaps)}

    means = {size: series.geometric(values).mean for size, values in variance.items()}
    draw_law = functools.partial(
        series.power_law, means=means, power=-1, label="like 1 ÷ batch size", look=TARGET
    )
    panels = [
        Lines(
            "variance over batches ÷ variance between examples",
            {noise: variance} if variance else {}, "log", "batch size", "values",
            beside=draw_law,
        ),
        series.curve_panel(
            "test − training loss (nats)", gaps, "level", "gap", x_axis="falling"
        ),
    ]  # fmt: skip
    return series.line_figure(panels, 2, 3.3, markers=True, styles=styles)


def _batch(size: int) -> str:
    return f"batch {size:,}"


def _without_diverged(by_value: Points) -> Points:
    """The values at which every seed has a finite number."""
    return {x: seeds for x, seeds in by_value.items() if seeds and all(map(kit.is_finite, seeds))}
