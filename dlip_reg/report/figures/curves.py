"""Loss against epochs: small multiples by method, with bands over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import over_seeds
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Summary,
    band_handles,
    draw_band,
    is_finite,
    legend_above,
    log_ticks,
    styled,
    styles_for,
    summarize,
    wrapped,
    write_note,
)

# One run's curve: "epoch" and one list per loss, all of one length; None for a run with no record.
Curve = Mapping[str, Sequence[Any]] | None
Curves = Mapping[str, Sequence[Curve]]

_COLUMNS = 3
_VALIDATION_LINE = (0, (4, 1.6))
_KERAS_LINE = (0, (1.2, 1.2))


@styled
def loss_curves(
    curves: Curves,
    baseline: str,
    styles: Mapping[str, MethodStyle] | None = None,
    held_out: str = "validation",
) -> Figure:
    """Training and held-out loss by method, the held-out loss of `baseline` faint in each.

    `curves`: method -> one curve per seed with "epoch", "train_loss", "validation_loss" (nats).
    `held_out` is what the legend calls the second loss: "validation" or "test".
    Raises ValueError if `baseline` is no method.
    """
    if baseline not in curves:
        raise ValueError(f"The baseline {baseline!r} is none of {', '.join(curves)}.")
    styles = styles_for(curves, styles)
    figure, panels = _panels(curves, "cross-entropy without penalty (nats)")
    base = over_seeds(curves[baseline], "epoch", "validation_loss", summarize)
    drawn = []
    for method, axes in panels.items():
        train = over_seeds(curves[method], "epoch", "train_loss", summarize)
        validation = over_seeds(curves[method], "epoch", "validation_loss", summarize)
        colour = styles[method].colour
        if method != baseline:
            axes.plot(*_means(base), color=GREY, linewidth=1.2, alpha=0.75, zorder=1.5)
        draw_band(axes, list(train), list(train.values()), colour)
        draw_band(
            axes, list(validation), list(validation.values()), colour, linestyle=_VALIDATION_LINE
        )
        write_note(axes, _curves_note(curves[method], ("train_loss", "validation_loss")))
        drawn += [train, validation]
    _log_losses(panels, drawn)
    handles = [
        Line2D([], [], color="#333333", label="training"),
        Line2D([], [], color="#333333", linestyle=_VALIDATION_LINE, label=held_out),
        Line2D([], [], color=GREY, linewidth=1.2, alpha=0.75, label=f"{held_out} of “{baseline}”"),
    ]
    legend_above(figure, handles + band_handles(panels.values()), columns=4)
    return figure


@styled
def training_loss_misleads(
    curves: Curves, styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """The training loss Keras prints beside the clean one of the same runs, by method.

    `curves`: method -> one curve per seed with "epoch", "train_loss" (cross-entropy in inference
    mode over the whole split, nats) and "keras_loss" (with penalty, averaged over moving weights,
    dropout on; None where Keras has none, as before the first epoch).
    """
    styles = styles_for(curves, styles)
    figure, panels = _panels(curves, "training loss (nats)")
    drawn = []
    for method, axes in panels.items():
        clean = over_seeds(curves[method], "epoch", "train_loss", summarize)
        reported = over_seeds(curves[method], "epoch", "keras_loss", summarize)
        colour = styles[method].colour
        draw_band(axes, list(clean), list(clean.values()), colour)
        draw_band(
            axes, list(reported), list(reported.values()), colour, linestyle=_KERAS_LINE,
            marker=".", markersize=6,
        )  # fmt: skip
        write_note(axes, _curves_note(curves[method], ("train_loss", "keras_loss")))
        drawn += [clean, reported]
    _log_losses(panels, drawn)
    handles = [
        Line2D([], [], color="#333333", label="clean: cross-entropy, inference mode, whole split"),
        Line2D(
            [], [], color="#333333", linestyle=_KERAS_LINE, marker=".", markersize=6,
            label="what Keras prints",
        ),
    ]  # fmt: skip
    legend_above(figure, handles + band_handles(panels.values()), columns=3)
    return figure


def _panels(methods: Curves, y_label: str) -> tuple[Figure, dict[str, Axes]]:
    """A grid of panels with common axes, one per method, titled with its name."""
    if not methods:
        raise ValueError("There is no method to draw: give at least one.")
    columns = min(_COLUMNS, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    cells = list(grid.flat)
    for unused in range(len(methods), rows * columns):
        cells[unused].set_visible(False)
        cells[unused - columns].tick_params(labelbottom=True)
    panels = dict(zip(methods, cells, strict=False))
    for method, axes in panels.items():
        axes.set_title(wrapped(method), loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel(y_label, fontsize=10)
    return figure, panels


def _means(summaries: Mapping[float, Summary]) -> tuple[list[float], list[float]]:
    drawn = [(epoch, s.mean) for epoch, s in summaries.items() if s.mean is not None]
    return [epoch for epoch, _ in drawn], [mean for _, mean in drawn]


def _curves_note(runs: Sequence[Curve], keys: Sequence[str]) -> str:
    """Counts the runs without a finite loss at the end."""
    ends = [
        0.0 if run and all(len(run[key]) and is_finite(run[key][-1]) for key in keys) else None
        for run in runs
    ]
    return summarize(ends).note


def _log_losses(panels: Mapping[str, Axes], drawn: Sequence[Mapping[float, Summary]]) -> None:
    """A common log axis over all means; a run on its way to infinity does not stretch it."""
    means = [[s.mean for s in line.values() if s.mean and s.mean > 0] for line in drawn]
    means = [line for line in means if line]
    if not means:
        return
    tops = [max(line) for line in means]
    low = min(min(line) for line in means) * 0.8
    high = min(max(tops), 30 * median(tops)) * 1.25
    for axes in panels.values():
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low, high)
        log_ticks(axes.yaxis, low, high)
