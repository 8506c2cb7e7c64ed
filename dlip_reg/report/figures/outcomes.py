"""What training gave: accuracy, sparse activations, and our numbers beside a paper's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, TARGET, Figure, Value, style

_PAPER = "the paper, ± its standard deviation"
_DIAMOND: kit.Look = {"marker": "D", "markersize": 6, "linestyle": "", "markerfacecolor": "none"}
_GAP = 2  # pixels between pictures

Rows = Mapping[str, Mapping[str, Sequence[Value]]]


@style()
def method_accuracy(accuracy: Mapping[str, Sequence[Value]]) -> Figure:
    """Test accuracy by method: the mean, its interval, a dot per seed.

    Args:
        accuracy: Method -> test accuracy in [0, 1] per seed.
    """
    kit.require(accuracy, "method")
    figure, (axes,) = kit.panel_grid(1, 1, 0.4 + 0.42 * len(accuracy))
    rows = {method: {method: values} for method, values in accuracy.items()}
    found = series.draw_rows(axes, rows, kit.method_styles(accuracy))
    _label_means(axes, found.values(), 2, note=True)
    kit.as_percent(axes.xaxis)
    axes.set_xlabel("test accuracy (%)")
    kit.legend_above(figure)
    return figure


@style()
def activation_sparsity(sparseness: Rows, dead: Rows) -> Figure:
    """Hoyer sparseness and share of dead units, by layer and method, with intervals.

    Args:
        sparseness: Method -> layer -> one value in [0, 1] per seed.
        dead: The same for the share of units that are zero on all examples.
    """
    styles = kit.method_styles(sparseness)
    layers = list(dict.fromkeys(layer for by_layer in sparseness.values() for layer in by_layer))
    kit.require(layers, "layer")
    height = 0.6 + len(layers) * (0.25 + 0.17 * len(sparseness))
    figure, (left, right) = kit.panel_grid(2, 2, height, sharey=True)
    # A gap, so that "100" at the end of one axis does not touch "0.00" at the start of the next.
    figure.set_layout_engine("constrained", wspace=0.08)
    for axes, values in ((left, sparseness), (right, dead)):
        rows = {layer: {m: values[m].get(layer, ()) for m in sparseness} for layer in layers}
        found = series.draw_rows(axes, rows, styles, seeds=False)
        for row in range(1, len(layers)):
            axes.axhline(row - 0.5, color="#BBBBBB", linewidth=0.8)
        known = {method for (_, method), (_, summary) in found.items() if summary.values}
        kit.write_note(axes, series.no_value_note(m for m in sparseness if m not in known))
    left.set_xlabel("Hoyer sparseness of alive units")
    left.set_xlim(0, 1)
    right.set_xlabel("dead units (%)")
    high = min(right.get_xlim()[1], 1.03)
    right.set_xlim(-0.03 * high, high)  # no unit is dead less than never
    kit.as_percent(right.xaxis)
    kit.legend_above(figure, kit.entries(styles, lines=False, markers=True))
    return figure


@style()
def beside_paper(
    rows: Mapping[str, Mapping[str, tuple[Sequence[Value], tuple[float, float | None] | None]]],
    x_label: str,
) -> Figure:
    """Ours beside a paper's on a log axis: a row for each quantity, a colour for each arm.

    Ours are dots with their geometric mean and interval, the paper's a diamond with its standard
    deviation.

    Args:
        rows: Quantity -> arm -> (one value per seed, the paper's (mean, standard deviation or
            None), or None if it has none).
        x_label: The label of the axis.
    """
    kit.require(rows, "quantity")
    styles = kit.method_styles(["", *dict.fromkeys(arm for row in rows.values() for arm in row)])
    styles.pop("")
    figure, (axes,) = kit.panel_grid(1, 1, 0.5 + 0.9 * len(rows))
    ours = {
        row: {f"{arm}, ours": values for arm, (values, _) in arms.items()}
        for row, arms in rows.items()
    }
    named = {f"{arm}, ours": look for arm, look in styles.items()}
    found = series.draw_rows(axes, ours, named, series.geometric)
    papers = [(styles[arm].colour, paper) for of in rows.values() for arm, (_, paper) in of.items()]
    drawn: list[float] = []
    for (at, summary), (colour, paper) in zip(found.values(), papers, strict=True):
        drawn += summary.values
        if summary.mean is not None and summary.low is not None and summary.high is not None:
            drawn += [max(summary.low, summary.mean / 10), min(summary.high, summary.mean * 10)]
        if paper is not None:
            mean, deviation = paper
            drawn.append(mean)
            kit.extra(axes, [mean], [at - 0.1], _PAPER, _DIAMOND, color=colour)
            if deviation:
                spread = [mean - min(deviation, 0.9 * mean), mean + deviation]
                axes.plot(spread, [at - 0.1] * 2, color=colour, label=_PAPER)
    if drawn:
        kit.log_axis(axes.xaxis, min(drawn) / 2, max(drawn) * 2)
    axes.set_xlabel(x_label)
    kit.legend_above(figure, kit.entries(named, lines=False, markers=True))
    return figure


@style()
def shifted_inputs(samples: Mapping[str, Sequence[Any]], accuracy: Rows, chance: float) -> Figure:
    """Sample images of each variant, and beside them the accuracy on it, with intervals and seeds.

    Args:
        samples: Variant -> images of height x width x 3, 0 to 255, the same pictures for each.
        accuracy: Method -> variant -> one accuracy in [0, 1] per seed.
        chance: The accuracy of guessing, which a line marks.
    """
    variants = list(dict.fromkeys(v for by_variant in accuracy.values() for v in by_variant))
    kit.require(variants, "variant")
    styles = kit.method_styles(accuracy)
    figure = kit.new_figure(0.9 + len(variants) * (0.3 + 0.3 * len(accuracy)))
    grid = figure.add_gridspec(len(variants), 2, width_ratios=(2, 3))
    for place, variant in enumerate(variants):
        _draw_samples(figure.add_subplot(grid[place, 0]), samples.get(variant, ()))
    axes = figure.add_subplot(grid[:, 1])
    rows = {v: {method: accuracy[method].get(v, ()) for method in accuracy} for v in variants}
    _label_means(axes, series.draw_rows(axes, rows, styles).values(), 0)
    kit.upright(axes, chance, "chance", TARGET)
    axes.set(xlim=(0, 1), xlabel="test accuracy (%)")
    kit.as_percent(axes.xaxis)
    kit.legend_above(figure, kit.entries(styles, lines=False, markers=True))
    return figure


def _label_means(
    axes: Axes, found: Iterable[tuple[float, kit.Summary]], decimals: int, note: bool = False
) -> None:
    """Write the means of rows, shares, at the right edge, and the notes on their seeds below."""
    texts = {}
    for at, summary in found:
        mean = "" if summary.mean is None else f"{100 * summary.mean:.{decimals}f} %"
        texts[at] = "\n".join(filter(None, (mean, summary.note if note else "")))
    series.right_labels(axes, list(texts), list(texts.values()))


def _draw_samples(axes: Axes, pictures: Sequence[Any]) -> None:
    """A strip of framed pictures, beside a variant's row."""
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
