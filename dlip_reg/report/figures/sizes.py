"""What changes with the batch size: loss curves, rates, sharpness and accuracy against it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dlip_reg.report.figures.series import Curve, geometric, logarithmic, means, over_seeds
from dlip_reg.report.figures.style import (
    GREY,
    LINES,
    MARKERS,
    WIDTH,
    Figure,
    MethodStyle,
    Value,
    as_percent,
    band_handles,
    draw_band,
    is_finite,
    legend_above,
    log_ticks,
    method_styles,
    styled,
    summarize,
    wrapped,
    write_note,
)

_LOSSES = {"train_loss": "training loss (nats)", "validation_loss": "validation loss (nats)"}
_BRIGHTEST = 0.82  # of the colour map: what lies beyond is too pale on white


def size_styles(sizes: Iterable[int]) -> dict[int, MethodStyle]:
    """One style per batch size, from dark for the smallest to bright for the largest.

    The order shows in grey, too, and neighbours differ by line and marker.
    """
    sizes = sorted(sizes)
    shades = matplotlib.colormaps["plasma"]
    return {
        size: MethodStyle(
            to_hex(shades(_BRIGHTEST * i / max(1, len(sizes) - 1))),
            MARKERS[i % len(MARKERS)],
            LINES[i % len(LINES)],
        )
        for i, size in enumerate(sizes)
    }


@styled
def loss_by_size(
    rows: Mapping[str, Mapping[int, Sequence[Curve]]],
    styles: Mapping[int, MethodStyle] | None = None,
    x: str = "epoch",
) -> Figure:
    """Training and validation loss side by side, a line for each batch size, a row for each case.

    `rows`: case -> batch size -> one curve per seed with `x` ("epoch", "updates"), "train_loss" and
    "validation_loss" (nats; None from where the run diverged). Means and bands are geometric; the
    axis ends at the interval the runs begin in, so that what diverges leaves it.
    """
    sizes = sorted({size for row in rows.values() for size in row})
    if not sizes:
        raise ValueError("There is no batch size to draw: give at least one.")
    styles = styles or size_styles(sizes)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 2, sharey=True, squeeze=False)
    low, high, top = math.inf, 0.0, 0.0
    for panels, (case, by_size) in zip(grid, rows.items(), strict=True):
        for axes, (key, label) in zip(panels, _LOSSES.items(), strict=True):
            for size, runs in by_size.items():
                line = over_seeds(runs, x, key)
                look = styles[size]
                draw_band(axes, list(line), list(line.values()), look.colour, linestyle=look.line)
                found = [summary for summary in line.values() if summary.mean is not None]
                if found:
                    low, high = min(low, *means(found)), max(high, found[0].mean)
                    top = max(top, min(found[0].high or 0, 10 * found[0].mean))
            axes.set_title(wrapped(case, 40), loc="left")
            axes.set_ylabel(label)
            axes.set_xlabel(x)
            if x == "epoch":
                axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            write_note(axes, _diverged(by_size, key))
    if high > 0:
        logarithmic(grid[0, 0], [low, high])
        grid[0, 0].set_ylim(top=1.2 * max(high, top))
    handles = [size_handle(size, styles[size]) for size in sizes]
    legend_above(figure, handles + band_handles(grid.flat), columns=5)
    return figure


@styled
def best_rates(
    losses: Mapping[int, Mapping[float, Sequence[Value]]],
    best: Mapping[int, Sequence[Value]],
    slope: str = "",
    styles: Mapping[int, MethodStyle] | None = None,
) -> Figure:
    """Validation loss against the learning rate by batch size, and the best rate against the size.

    `losses`: batch size -> rate -> one loss per seed (None: diverged). `best`: batch size -> the
    best rate of each seed. `slope`: what to say of the line through them. Both axes on the right
    are logarithmic; two grey lines show a rate that grows like the size and like its square root.
    """
    if not losses:
        raise ValueError("There is no batch size to draw: give at least one.")
    styles = styles or size_styles({*losses, *best})
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn, finite_rates = [], []
    for size, by_rate in losses.items():
        look = styles[size]
        summaries = {rate: geometric(v) for rate, v in by_rate.items() if all(map(is_finite, v))}
        draw_band(
            left, list(summaries), list(summaries.values()), look.colour, linestyle=look.line,
            marker=look.marker, markersize=5,
        )  # fmt: skip
        drawn += means(summaries.values())
        finite_rates += by_rate
        if summaries:
            rate = min(summaries, key=lambda r: summaries[r].mean)
            left.plot(
                rate, summaries[rate].mean, marker="*", markersize=14, color=look.colour,
                markeredgecolor="white", zorder=5,
            )  # fmt: skip
    logarithmic(left, drawn)
    if finite_rates:
        low, high = min(finite_rates) / 1.3, max(finite_rates) * 1.3
        left.set_xscale("log")
        left.set_xlim(low, high)
        log_ticks(left.xaxis, low, high)
    left.set_xlabel("learning rate")
    left.set_ylabel("validation loss (nats)")
    left.set_title("where each batch size does best", loc="left")
    _draw_best(right, best, styles)
    right.set_title(wrapped(slope, 44) if slope else "best rate", loc="left")
    handles = [size_handle(size, styles[size]) for size in losses]
    handles += [
        Line2D([], [], linestyle="", marker="*", markersize=11, color=GREY, label="best of all"),
        Line2D([], [], color=GREY, linewidth=1.2, label="like the batch size (linear rule)"),
        Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (5, 3)),
               label="like its square root"),
    ]  # fmt: skip
    legend_above(figure, handles + band_handles([left]), columns=5)
    return figure


@styled
def against_size(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[Value]]]],
    y_label: str = "",
    percent: bool = False,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """Quantities against the batch size, one panel each, with intervals and a dot for each seed.

    `panels`: title -> series -> batch size -> one value per seed. Values on log axes have geometric
    means; with `percent` they are shares in [0, 1] on one common linear axis.
    """
    series = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    if not series:
        raise ValueError("There is no series to draw: give at least one.")
    styles = styles or method_styles(series)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.9 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, sharey=percent, squeeze=False).flat)
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    for axes, (title, panel) in zip(grid, panels.items(), strict=False):
        drawn, absent = [], []
        for name, by_size in panel.items():
            look = styles[name]
            summaries = [(summarize if percent else geometric)(v) for v in by_size.values()]
            draw_band(
                axes, list(by_size), summaries, look.colour, linestyle=look.line,
                marker=look.marker, markersize=6,
            )  # fmt: skip
            for size, summary in zip(by_size, summaries, strict=True):
                axes.plot(
                    [size] * len(summary.values), summary.values, linestyle="", marker="o",
                    markersize=3.5, markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
                )  # fmt: skip
                drawn += summary.values
            absent += [] if any(s.values for s in summaries) else [name]
        if percent:
            as_percent(axes.yaxis)
        else:
            logarithmic(axes, drawn)
        size_axis(axes, {size for by_size in panel.values() for size in by_size})
        axes.set_title(wrapped(title, 44), loc="left")
        write_note(axes, f"no finite value: {', '.join(absent)}" if absent else "")
    if y_label:
        figure.supylabel(y_label, fontsize=10)
    handles: list[Any] = [
        Line2D([], [], color=s.colour, marker=s.marker, linestyle=s.line, label=name)
        for name, s in ((name, styles[name]) for name in series)
        if name
    ]
    handles.append(
        Line2D([], [], linestyle="", marker="o", markersize=4, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed")
    )  # fmt: skip
    legend_above(figure, handles + band_handles(grid), columns=4)
    return figure


@styled
def convergence(curves: Mapping[int, Sequence[Curve]], target: float) -> Figure:
    """Training loss against the examples seen, in epochs, and against the time, by batch size.

    `curves`: batch size -> one curve per seed with "epoch", "seconds" and "train_loss" (nats), that
    ends where it has reached `target`. All axes are logarithmic; epoch 0 is left out.
    """
    if not curves:
        raise ValueError("There is no batch size to draw: give at least one.")
    styles = size_styles(curves)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    losses = [loss for runs in curves.values() for run in runs for loss in run["train_loss"][1:]]
    for axes, (key, label) in zip(
        panels,
        {"epoch": "examples seen (epochs)", "seconds": "seconds of training"}.items(),
        strict=True,
    ):
        places = []
        for size, runs in curves.items():
            look = styles[size]
            for run in runs:
                axes.plot(
                    run[key][1:], run["train_loss"][1:], color=look.colour, linestyle=look.line,
                    linewidth=1.2,
                )  # fmt: skip
                axes.plot(
                    run[key][-1], run["train_loss"][-1], marker=look.marker, color=look.colour,
                    markersize=5,
                )  # fmt: skip
                places += [place for place in run[key][1:] if is_finite(place) and place > 0]
        axes.axhline(target, color=GREY, linewidth=1.4, linestyle=":", zorder=1.5)
        axes.set_xlabel(label)
        if places:
            low, high = min(places) / 1.2, max(places) * 1.2
            axes.set_xscale("log")
            axes.set_xlim(low, high)
            log_ticks(axes.xaxis, low, high)
        else:
            write_note(axes, "no finite value")
    panels[0].set_title("for the same number of examples", loc="left")
    panels[1].set_title("for the same time on this machine", loc="left")
    panels[0].set_ylabel("training loss (nats)")
    logarithmic(panels[0], [loss for loss in losses if is_finite(loss)] + [target])
    handles = [size_handle(size, styles[size]) for size in curves]
    handles.append(Line2D([], [], color=GREY, linestyle=":", label="the preset loss"))
    legend_above(figure, handles, columns=5)
    return figure


def size_handle(size: int, look: MethodStyle) -> Line2D:
    """The legend's entry of one batch size."""
    return Line2D([], [], color=look.colour, linestyle=look.line, label=f"batch {size:,}")


def size_axis(axes: Axes, sizes: Iterable[int]) -> None:
    """A logarithmic axis of batch sizes, with a tick at each."""
    sizes = sorted(sizes)
    axes.set_xlabel("batch size")
    if not sizes:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    if len(sizes) > 6:
        axes.tick_params(axis="x", labelsize=8)


def _draw_best(
    axes: Axes, best: Mapping[int, Sequence[Value]], styles: Mapping[int, MethodStyle]
) -> None:
    summaries = {size: geometric(values) for size, values in best.items()}
    summaries = {size: s for size, s in summaries.items() if s.mean is not None}
    axes.set_ylabel("best learning rate")
    size_axis(axes, summaries)
    if not summaries:
        write_note(axes, "no finite value")
        return
    values = [value for s in summaries.values() for value in s.values]
    axes.plot(list(summaries), [s.mean for s in summaries.values()], color="black", zorder=2)
    for size, summary in summaries.items():
        look = styles[size]
        # Seeds that chose the same rate side by side.
        spread = [1.06 ** (i - (len(summary.values) - 1) / 2) for i in range(len(summary.values))]
        axes.plot(
            [size * s for s in spread], summary.values, linestyle="", marker="o", markersize=4.5,
            markerfacecolor="white", markeredgecolor=look.colour, zorder=4,
        )  # fmt: skip
        axes.plot(size, summary.mean, marker=look.marker, markersize=8, color=look.colour, zorder=3)
    logarithmic(axes, values)
    first, last = min(summaries), max(summaries)
    start = summaries[first].mean
    for power, line in ((1.0, "-"), (0.5, (0, (5, 3)))):
        axes.plot(
            [first, last], [start, start * (last / first) ** power], color=GREY, linewidth=1.2,
            linestyle=line, zorder=1.5,
        )  # fmt: skip


def _diverged(by_size: Mapping[int, Sequence[Curve]], key: str) -> str:
    """Counts, by size, the runs without a finite loss at the end."""
    parts = []
    for size, runs in by_size.items():
        lost = sum(run is None or not is_finite(run[key][-1]) for run in runs)
        if lost:
            parts.append(f"batch {size:,}: {lost} of {len(runs)} diverged")
    return "; ".join(parts)
