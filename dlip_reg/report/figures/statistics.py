"""Batch norm's statistics: inputs that shift under them, and the noise of other examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dlip_reg.report.figures.matched import falling_loss_axis
from dlip_reg.report.figures.series import Curve, geometric, logarithmic, means, over_seeds
from dlip_reg.report.figures.sizes import size_axis
from dlip_reg.report.figures.style import (
    COLOURS,
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    as_percent,
    band_handles,
    draw_band,
    interval_label,
    legend_above,
    styled,
    styles_for,
    summarize,
    wrapped,
)

_NOISE = COLOURS[2]
_CHANCE_LINE = (0, (5, 3))
_GAP = 2  # pixels between pictures


@styled
def shifted_inputs(
    samples: Mapping[str, Sequence[Any]],
    accuracy: Mapping[str, Mapping[str, Sequence[Value]]],
    chance: float,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Sample images of each variant, and below them the accuracy on it, with intervals and seeds.

    `samples`: variant -> images of height x width x 3, 0 to 255, the same pictures for each.
    `accuracy`: method -> variant -> one accuracy in [0, 1] per seed; `chance` is marked.
    """
    variants = list(dict.fromkeys(v for by_variant in accuracy.values() for v in by_variant))
    if not variants:
        raise ValueError("There is no variant to draw: give at least one.")
    styles = styles_for(accuracy, styles)
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, len(variants), height_ratios=(1, 4))
    for place, variant in enumerate(variants):
        _draw_samples(figure.add_subplot(grid[0, place]), samples.get(variant, ()))
    axes = figure.add_subplot(grid[1, :])
    step = 0.72 / len(accuracy)
    for i, (method, by_variant) in enumerate(accuracy.items()):
        look, shift = styles[method], (i - (len(accuracy) - 1) / 2) * step
        for place, variant in enumerate(variants):
            summary, at = summarize(by_variant.get(variant, ())), place + shift
            if summary.mean is None:
                continue
            axes.bar(at, summary.mean, width=0.85 * step, color=look.colour, alpha=0.35)
            axes.plot(at, summary.mean, marker=look.marker, markersize=7, color=look.colour)
            if summary.low is not None:
                axes.errorbar(
                    at, summary.mean, capsize=3, color=look.colour, linewidth=1.4,
                    yerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
                )  # fmt: skip
            axes.plot(
                [at + 0.28 * step] * len(summary.values), summary.values, linestyle="", marker="o",
                markersize=3.5, markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
            )  # fmt: skip
            axes.annotate(
                f"{100 * summary.mean:.0f}", (at, 0), xytext=(0, -4), textcoords="offset points",
                ha="center", va="top", fontsize=9, color=look.colour,
            )  # fmt: skip
    axes.axhline(chance, color=GREY, linewidth=1.2, linestyle=_CHANCE_LINE)
    axes.set_xticks(range(len(variants)), variants)
    axes.tick_params(axis="x", length=0, labelsize=10, pad=18)
    axes.grid(False, axis="x")
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.5, len(variants) - 0.5)
    axes.set_ylabel("test accuracy (%)")
    as_percent(axes.yaxis)
    handles: list[Any] = [
        Line2D([], [], color=styles[m].colour, marker=styles[m].marker, linestyle="", label=m)
        for m in accuracy
    ]
    handles += [
        Line2D([], [], color=GREY, linewidth=1.2, linestyle=_CHANCE_LINE, label="chance"),
        Line2D([], [], linestyle="", marker="o", markersize=4, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed"),
        Line2D([], [], color=GREY, linewidth=1.4, label=interval_label([axes])),
    ]  # fmt: skip
    legend_above(figure, handles, columns=3)
    return figure


@styled
def batch_noise(
    variance: Mapping[int, Sequence[Value]],
    gaps: Mapping[str, Sequence[Curve]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """The noise of batch norm against the batch size, and the generalization gap as the loss falls.

    `variance`: batch size -> per seed, the variance of a fixed example's activations over random
    other examples in the batch, as a share of that between examples. `gaps`: method -> one curve
    per seed with "level", of the training loss, and "gap", test - training loss, in nats.
    """
    if not variance and not gaps:
        raise ValueError("There is nothing to draw: give at least one batch size or method.")
    styles = styles_for(gaps, styles)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    summaries = {size: geometric(values) for size, values in variance.items()}
    draw_band(
        left, list(summaries), list(summaries.values()), _NOISE, marker="o", markersize=6
    )  # fmt: skip
    _draw_reference(left, {size: s.mean for size, s in summaries.items() if s.mean is not None})
    logarithmic(left, means(summaries.values()))
    size_axis(left, variance)
    left.set_title(wrapped("variance over batches ÷ variance between examples", 40), loc="left")
    for method, seeds in gaps.items():
        line, look = over_seeds(seeds, "level", "gap", summarize), styles[method]
        draw_band(
            right, list(line), list(line.values()), look.colour, linestyle=look.line,
            marker=look.marker, markersize=5,
        )  # fmt: skip
    falling_loss_axis(
        right, [level for seeds in gaps.values() for run in seeds for level in run["level"]]
    )
    right.set_title("test − training loss (nats)", loc="left")
    handles: list[Any] = [
        Line2D([], [], color=_NOISE, marker="o", markersize=6, label="noise of batch norm"),
        Line2D([], [], color=GREY, linewidth=1.2, linestyle=_CHANCE_LINE,
               label="like 1 ÷ batch size"),
        *(
            Line2D([], [], color=styles[m].colour, linestyle=styles[m].line,
                   marker=styles[m].marker, label=m)
            for m in gaps
        ),
    ]  # fmt: skip
    legend_above(figure, handles + band_handles([left, right]), columns=3)
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
        left = i * (width + _GAP) - 0.5
        axes.add_patch(
            Rectangle((left, -0.5), width, height, fill=False, edgecolor=GREY, clip_on=False)
        )


def _draw_reference(axes: Axes, known: Mapping[int, float]) -> None:
    if known:
        first, last = min(known), max(known)
        axes.plot(
            [first, last], [known[first], known[first] * first / last], color=GREY, linewidth=1.2,
            linestyle=_CHANCE_LINE, zorder=1.5,
        )  # fmt: skip
