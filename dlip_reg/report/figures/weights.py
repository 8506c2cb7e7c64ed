"""What the weights and activations look like: histograms and shares near zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    as_percent,
    band_handles,
    draw_band,
    legend_above,
    log_ticks,
    styled,
    styles_for,
    summarize,
    write_note,
)

_KIND_TITLES = {"conv": "convolution kernels", "dense": "dense kernels"}


@styled
def weight_histograms(
    histograms: Mapping[str, Mapping[str, Mapping[str, Any]]],
    near_zero: float,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Share of the weights per bin (log scale), one panel for each group, methods overlaid.

    `histograms`: method -> group, for example "conv" -> {"edges": bin edges in units of the RMS of
    the layer's weights, evenly spaced, "counts": one list per seed, None for a seed without}.
    Counts are one per bin, or two more: what lies below the first edge before and what lies above
    the last after. `near_zero`: the threshold below which |w| counts as near zero, in the unit of
    the edges. Raises ValueError for counts of another length.
    """
    styles = styles_for(histograms, styles)
    kinds = list(dict.fromkeys(kind for kinds in histograms.values() for kind in kinds))
    if not kinds:
        raise ValueError("There is no histogram to draw: give at least one method and kind.")
    figure = Figure(figsize=(WIDTH, 0.8 + 2.9 * len(kinds)), layout="constrained")
    panels = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for kind, axes in zip(kinds, panels, strict=True):
        absent = []
        for method, by_kind in histograms.items():
            lines = _shares(by_kind.get(kind))
            if lines is None:
                absent.append(method)
                continue
            places, summaries = lines
            draw_band(
                axes, places, summaries, styles[method].colour,
                linestyle=styles[method].line, linewidth=1.6,
            )  # fmt: skip
        _finish_histogram(axes, near_zero)
        axes.set_title(_KIND_TITLES.get(kind, kind), loc="left")
        write_note(axes, f"no weights of {', '.join(absent)}" if absent else "")
    panels[-1].set_xlabel("weight ÷ RMS of its layer's weights")
    figure.supylabel("share of weights per bin (%)", fontsize=10)
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.line, linewidth=1.6, label=method)
        for method, look in styles.items()
        if method in histograms
    ]
    handles.append(
        Line2D([], [], color=GREY, linewidth=1, label=f"near zero: |w| < {near_zero:g} RMS")
    )
    legend_above(figure, handles + band_handles(panels), columns=4)
    return figure


@styled
def activation_sparsity(
    sparseness: Mapping[str, Mapping[str, Sequence[Value]]],
    dead: Mapping[str, Mapping[str, Sequence[Value]]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Hoyer sparseness and share of dead units, by layer and method, with intervals.

    Both: method -> layer -> one value in [0, 1] per seed.
    """
    styles = styles_for(sparseness, styles)
    layers = list(dict.fromkeys(layer for by_layer in sparseness.values() for layer in by_layer))
    if not layers:
        raise ValueError("There is no layer to draw: give at least one method and layer.")
    height = 1.5 + len(layers) * (0.25 + 0.17 * len(sparseness))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    # A gap, so that "100" at the end of one axis does not touch "0.00" at the start of the next.
    figure.get_layout_engine().set(wspace=0.08)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, label in (
        (left, sparseness, "Hoyer sparseness of alive units"),
        (right, dead, "dead units (%)"),
    ):
        _layer_dots(axes, values, layers, styles)
        axes.set_xlabel(label)
    left.set_xlim(0, 1)
    right.set_xlim(left=min(0, right.get_xlim()[0]))
    as_percent(right.xaxis)
    left.set_yticks(range(len(layers)), layers)
    left.set_ylim(len(layers) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=styles[m].colour, marker=styles[m].marker, linestyle="", label=m)
        for m in sparseness
    ]
    handles.append(Line2D([], [], color=GREY, label="95 % interval over seeds"))
    legend_above(figure, handles, columns=4)
    return figure


def _shares(histogram: Mapping[str, Any] | None) -> tuple[np.ndarray, list[Any]] | None:
    """The middles of the bins and, per bin, the summary over seeds of the share of weights."""
    if not histogram:
        return None
    edges = np.asarray(histogram["edges"], float)
    counts = [np.asarray(seed, float) for seed in histogram["counts"] if seed is not None]
    if any(seed.size not in (len(edges) - 1, len(edges) + 1) for seed in counts):
        raise ValueError(
            f"A histogram of {len(edges)} edges needs {len(edges) - 1} counts, or {len(edges) + 1} "
            f"with those beyond the edges."
        )
    shares = [seed / seed.sum() for seed in counts if seed.sum() > 0]
    if not shares:
        return None
    bins = [summarize(seeds) for seeds in zip(*shares, strict=True)]
    # On a log axis an interval that reaches 0 would fill the panel down to its edge.
    bins = [replace(s, low=None, high=None) if s.low is None or s.low <= 0 else s for s in bins]
    width = edges[1] - edges[0]
    middles = np.append(edges - width / 2, edges[-1] + width / 2)
    return middles if len(bins) == len(middles) else middles[1:-1], bins


def _finish_histogram(axes: Axes, near_zero: float) -> None:
    means = np.concatenate([line.get_ydata() for line in axes.lines] or [np.ones(1)])
    low, high = means[means > 0].min() * 0.7, means.max() * 1.6
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(low, high)
    log_ticks(axes.yaxis, low, high, percent=True)
    left, _ = axes.get_xlim()
    for at in (-near_zero, near_zero) if left < 0 else (near_zero,):
        axes.axvline(at, color=GREY, linewidth=1, zorder=1.5)


def _layer_dots(
    axes: Axes,
    values: Mapping[str, Mapping[str, Sequence[Value]]],
    layers: Sequence[str],
    styles: Mapping[str, MethodStyle],
) -> None:
    """One row per layer; within it the methods below one another, in order."""
    step = 0.8 / max(len(values), 1)
    notes = []
    for i, (method, by_layer) in enumerate(values.items()):
        look = styles[method]
        for row, layer in enumerate(layers):
            at = row + (i - (len(values) - 1) / 2) * step
            summary = summarize(by_layer.get(layer, ()))
            if summary.low is not None:
                axes.plot([summary.low, summary.high], [at, at], color=look.colour, linewidth=1.4)
            if summary.mean is not None:
                axes.plot(summary.mean, at, color=look.colour, marker=look.marker, markersize=6)
        note = summarize(value for seeds in by_layer.values() for value in seeds)
        if not note.values:
            notes.append(method)
    for row in range(1, len(layers)):
        axes.axhline(row - 0.5, color="#BBBBBB", linewidth=0.8)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    write_note(axes, f"no finite value: {', '.join(notes)}" if notes else "")
