"""What training gave: test accuracy, weights, and how sparse the activations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dlip_reg.report.figures.series import draw_row, right_labels, row_axis
from dlip_reg.report.figures.style import (
    GREY,
    SEED,
    Figure,
    Summary,
    Value,
    as_percent,
    band_handles,
    draw_band,
    entry,
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

_INTERVAL = {"color": GREY, "linewidth": 1.4}
_THRESHOLD = {"color": GREY, "linewidth": 1}


@styled
def method_accuracy(accuracy: Mapping[str, Sequence[Value]]) -> Figure:
    """Test accuracy by method: the mean, its interval, a dot per seed.

    `accuracy`: method -> test accuracy in [0, 1] per seed.
    """
    require(accuracy, "method")
    figure, (axes,) = panel_grid(1, 1, 0.4 + 0.42 * len(accuracy))
    texts = []
    for row, (method, look) in enumerate(method_styles(accuracy).items()):
        summary = summarize(accuracy[method])
        draw_row(axes, row, summary, look)
        mean = "" if summary.mean is None else f"{100 * summary.mean:.2f} %"
        texts.append("\n".join(filter(None, (mean, summary.note))))
    row_axis(axes, [wrapped(method) for method in accuracy])
    right_labels(axes, range(len(texts)), texts)
    as_percent(axes.xaxis)
    axes.set_xlabel("test accuracy (%)")
    handles = [
        entry("one seed", markeredgecolor=GREY, **SEED),
        entry("95 % interval over seeds", **_INTERVAL),
    ]
    legend_above(figure, handles, columns=2)
    return figure


@styled
def activation_sparsity(
    sparseness: Mapping[str, Mapping[str, Sequence[Value]]],
    dead: Mapping[str, Mapping[str, Sequence[Value]]],
) -> Figure:
    """Hoyer sparseness and share of dead units, by layer and method, with intervals.

    Both: method -> layer -> one value in [0, 1] per seed.
    """
    styles = method_styles(sparseness)
    layers = list(dict.fromkeys(layer for by_layer in sparseness.values() for layer in by_layer))
    require(layers, "layer")
    height = 0.6 + len(layers) * (0.25 + 0.17 * len(sparseness))
    figure, (left, right) = panel_grid(2, 2, height, sharey=True)
    # A gap, so that "100" at the end of one axis does not touch "0.00" at the start of the next.
    figure.get_layout_engine().set(wspace=0.08)
    offsets = 0.8 * ((np.arange(len(styles)) + 0.5) / len(styles) - 0.5)
    for axes, values in ((left, sparseness), (right, dead)):
        lacking = []
        for offset, (method, look) in zip(offsets, styles.items(), strict=True):
            summaries = [summarize(values[method].get(layer, ())) for layer in layers]
            for row, summary in enumerate(summaries):
                draw_row(axes, row + offset, summary, look, seeds=False)
            lacking += [] if any(summary.values for summary in summaries) else [method]
        for row in range(1, len(layers)):
            axes.axhline(row - 0.5, color="#BBBBBB", linewidth=0.8)
        row_axis(axes, layers)
        write_note(axes, f"no finite value: {', '.join(lacking)}" if lacking else "")
    left.set_xlabel("Hoyer sparseness of alive units")
    left.set_xlim(0, 1)
    right.set_xlabel("dead units (%)")
    right.set_xlim(left=min(0, right.get_xlim()[0]))
    as_percent(right.xaxis)
    handles = [entry(method, **look.as_marker) for method, look in styles.items()]
    handles.append(entry("95 % interval over seeds", **_INTERVAL))
    legend_above(figure, handles, columns=4)
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
    styles = method_styles(histograms)
    groups = list(dict.fromkeys(group for groups in histograms.values() for group in groups))
    figure, panels = panel_grid(len(groups), 1, 2.9, sharex=True)
    for group, axes in zip(groups, panels, strict=True):
        absent = []
        positive: list[float] = []
        for method, by_group in histograms.items():
            bins = _shares(by_group[group]["counts"]) if group in by_group else []
            if not bins:
                absent.append(method)
                continue
            edges = np.asarray(by_group[group]["edges"], float)
            half = (edges[1] - edges[0]) / 2
            middles = np.append(edges - half, edges[-1] + half)
            look = styles[method]
            draw_band(axes, middles, bins, look.colour, linestyle=look.line, linewidth=1.6)
            positive += [summary.mean for summary in bins if summary.mean]
        if positive:
            log_axis(
                axes.yaxis, 0.7 * min(positive), 1.6 * max(positive),
                nonpositive="mask", percent=True,
            )  # fmt: skip
        for at in (-near_zero, near_zero):
            axes.axvline(at, zorder=1.5, **_THRESHOLD)
        axes.set_title(group, loc="left")
        write_note(axes, f"no weights of {', '.join(absent)}" if absent else "")
    panels[-1].set_xlabel("weight ÷ RMS of its layer's weights")
    figure.supylabel("share of weights per bin (%)", fontsize=10)
    handles = [entry(method, linewidth=1.6, **look.as_line) for method, look in styles.items()]
    handles.append(entry(f"near zero: |w| < {near_zero:g} RMS", **_THRESHOLD))
    legend_above(figure, handles + band_handles(panels), columns=4)
    return figure


def _shares(counts: Sequence[Sequence[int]]) -> list[Summary]:
    """Per bin, the summary over seeds of the share of weights in it."""
    shares = [np.asarray(seed) / sum(seed) for seed in counts]
    bins = [summarize(seeds) for seeds in zip(*shares, strict=True)]
    # On a log axis an interval that reaches 0 would fill the panel down to its edge.
    return [replace(s, low=None, high=None) if s.low is None or s.low <= 0 else s for s in bins]
