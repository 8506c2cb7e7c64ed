"""What training gave: accuracy, sparse activations, and our numbers beside a paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, TARGET, Figure, Value, styled, summarize

_PAPER: kit.Look = {"marker": "D", "markersize": 6, "linestyle": "", "markerfacecolor": "none",
          "label": "the paper, ± its standard deviation"}  # fmt: skip
_GAP = 2  # pixels between pictures

Rows = Mapping[str, Mapping[str, Sequence[Value]]]


@styled
def method_accuracy(accuracy: Mapping[str, Sequence[Value]]) -> Figure:
    """Test accuracy by method: the mean, its interval, a dot per seed.

    `accuracy`: method -> test accuracy in [0, 1] per seed.
    """
    kit.require(accuracy, "method")
    figure, (axes,) = kit.panel_grid(1, 1, 0.4 + 0.42 * len(accuracy))
    texts = []
    for row, (method, look) in enumerate(kit.method_styles(accuracy).items()):
        summary = summarize(accuracy[method])
        series.draw_row(axes, row, summary, look, method)
        mean = "" if summary.mean is None else f"{100 * summary.mean:.2f} %"
        texts.append("\n".join(filter(None, (mean, summary.note))))
    series.row_axis(axes, [kit.wrapped(method) for method in accuracy])
    series.right_labels(axes, range(len(texts)), texts)
    kit.as_percent(axes.xaxis)
    axes.set_xlabel("test accuracy (%)")
    kit.legend_above(figure, [kit.seed_entry(), kit.interval_entry()], columns=2)
    return figure


@styled
def activation_sparsity(sparseness: Rows, dead: Rows) -> Figure:
    """Hoyer sparseness and share of dead units, by layer and method, with intervals.

    Both: method -> layer -> one value in [0, 1] per seed.
    """
    styles = kit.method_styles(sparseness)
    layers = list(dict.fromkeys(layer for by_layer in sparseness.values() for layer in by_layer))
    kit.require(layers, "layer")
    height = 0.6 + len(layers) * (0.25 + 0.17 * len(sparseness))
    figure, (left, right) = kit.panel_grid(2, 2, height, sharey=True)
    # A gap, so that "100" at the end of one axis does not touch "0.00" at the start of the next.
    figure.set_layout_engine("constrained", wspace=0.08)
    offsets = 0.8 * ((np.arange(len(styles)) + 0.5) / len(styles) - 0.5)
    for axes, values in ((left, sparseness), (right, dead)):
        lacking = []
        for offset, (method, look) in zip(offsets, styles.items(), strict=True):
            summaries = [summarize(values[method].get(layer, ())) for layer in layers]
            for row, summary in enumerate(summaries):
                series.draw_row(axes, row + offset, summary, look, method, seeds=False)
            lacking += [] if any(summary.values for summary in summaries) else [method]
        for row in range(1, len(layers)):
            axes.axhline(row - 0.5, color="#BBBBBB", linewidth=0.8)
        series.row_axis(axes, layers)
        kit.write_note(axes, series.no_value_note(lacking))
    left.set_xlabel("Hoyer sparseness of alive units")
    left.set_xlim(0, 1)
    right.set_xlabel("dead units (%)")
    right.set_xlim(left=min(0, right.get_xlim()[0]))
    kit.as_percent(right.xaxis)
    handles = [kit.entry(method, **look.as_marker) for method, look in styles.items()]
    handles.append(kit.interval_entry())
    kit.legend_above(figure, handles, columns=4)
    return figure


@styled
def beside_paper(
    rows: Mapping[str, Mapping[str, tuple[Sequence[Value], tuple[float, float | None] | None]]],
    x_label: str,
) -> Figure:
    """Ours beside a paper's on a log axis: a row for each quantity, a colour for each arm.

    `rows`: quantity -> arm -> (one value per seed, the paper's (mean, standard deviation or None),
    or None if we have none). Ours are dots with their geometric mean and interval, the paper's a
    diamond with its standard deviation.
    """
    kit.require(rows, "quantity")
    styles = kit.method_styles(["", *dict.fromkeys(arm for row in rows.values() for arm in row)])
    styles.pop("")
    figure = kit.new_figure(1.4 + 0.9 * len(rows))
    axes = figure.subplots()
    names = {arm: f"{arm}, ours, with its 95 % interval" for arm in styles}
    drawn: list[float] = []
    for place, arms in enumerate(rows.values()):
        shifts = np.linspace(-0.22, 0.22, len(arms))
        for (arm, (values, theirs)), shift in zip(arms.items(), shifts, strict=True):
            look, at = styles[arm], place + shift
            ours = series.geometric(values)
            series.draw_row(axes, at, ours, look, names[arm])
            drawn += ours.values
            if ours.mean is not None and ours.low is not None and ours.high is not None:
                drawn += [max(ours.low, ours.mean / 10), min(ours.high, ours.mean * 10)]
            if theirs is not None:
                mean, deviation = theirs
                drawn.append(mean)
                axes.plot(mean, at + 0.1, color=look.colour, **_PAPER)
                if deviation:
                    spread = [mean - min(deviation, 0.9 * mean), mean + deviation]
                    axes.plot(spread, [at + 0.1] * 2, color=look.colour, label=_PAPER["label"])
    series.row_axis(axes, [kit.wrapped(name, 40) for name in rows])
    if drawn:
        kit.log_axis(axes.xaxis, min(drawn) / 2, max(drawn) * 2)
    axes.set_xlabel(x_label)
    handles = [
        *(kit.entry(names[a], **look.as_marker | {"linestyle": "-"}) for a, look in styles.items()),
        kit.seed_entry(),
        kit.entry(_PAPER["label"], color=GREY, **_PAPER),
    ]
    kit.legend_above(figure, handles, columns=4)
    return figure


@styled
def shifted_inputs(samples: Mapping[str, Sequence[Any]], accuracy: Rows, chance: float) -> Figure:
    """Sample images of each variant, and below them the accuracy on it, with intervals and seeds.

    `samples`: variant -> images of height x width x 3, 0 to 255, the same pictures for each.
    `accuracy`: method -> variant -> one accuracy in [0, 1] per seed; `chance` is marked.
    """
    variants = list(dict.fromkeys(v for by_variant in accuracy.values() for v in by_variant))
    kit.require(variants, "variant")
    styles = kit.method_styles(accuracy)
    figure = kit.new_figure(5.2)
    grid = figure.add_gridspec(2, len(variants), height_ratios=(1, 4))
    for place, variant in enumerate(variants):
        _draw_samples(figure.add_subplot(grid[0, place]), samples.get(variant, ()))
    axes = figure.add_subplot(grid[1, :])
    step = 0.72 / len(accuracy)
    for i, (method, look) in enumerate(styles.items()):
        shift = (i - (len(accuracy) - 1) / 2) * step
        for place, variant in enumerate(variants):
            summary, at = summarize(accuracy[method].get(variant, ())), place + shift
            if summary.mean is None:
                continue
            axes.bar(at, summary.mean, width=0.85 * step, color=look.colour, alpha=0.35)
            axes.plot(at, summary.mean, markersize=7, label=method, **look.as_marker)
            if summary.low is not None and summary.high is not None:
                axes.errorbar(
                    at, summary.mean, capsize=3, color=look.colour, linewidth=1.4,
                    yerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
                )  # fmt: skip
            beside = [at + 0.28 * step] * len(summary.values)
            series.draw_seeds(axes, beside, summary.values, summary.seeds, look.colour, method)
            axes.annotate(
                f"{100 * summary.mean:.0f}", (at, 0), xytext=(0, -4), textcoords="offset points",
                ha="center", va="top", fontsize=9, color=look.colour,
            )  # fmt: skip
    axes.axhline(chance, label="chance", **TARGET)
    axes.set_xticks(range(len(variants)), variants)
    axes.tick_params(axis="x", length=0, labelsize=10, pad=18)
    axes.grid(False, axis="x")
    axes.set(xlim=(-0.5, len(variants) - 0.5), ylim=(0, 1), ylabel="test accuracy (%)")
    kit.as_percent(axes.yaxis)
    handles = [
        *(kit.entry(method, **look.as_marker) for method, look in styles.items()),
        kit.entry("chance", **TARGET),
        kit.seed_entry(),
        kit.interval_entry([axes]),
    ]
    kit.legend_above(figure, handles, columns=3)
    return figure


def _draw_samples(axes: Axes, pictures: Sequence[Any]) -> None:
    """A strip of framed pictures, above a variant's bars."""
    axes.axis("off")
    if not len(pictures):
        return
    height, width, _ = np.shape(pictures[0])
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    strip = [part for picture in pictures for part in (np.asarray(picture, np.uint8), gap)]
    axes.imshow(np.concatenate(strip[:-1], axis=1), interpolation="nearest")
    axes.set_xlim(-2 * _GAP, len(pictures) * (width + _GAP) + _GAP)  # apart from the next strip
    for i in range(len(pictures)):
        corner = (i * (width + _GAP) - 0.5, -0.5)
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=GREY, clip_on=False))
