"""Figures that put methods below one another, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    Summary,
    Value,
    as_percent,
    legend_above,
    styled,
    styles_for,
    summarize,
    wrapped,
)


@styled
def gap_bars(
    gaps: Mapping[str, Sequence[Value]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """Generalization gap by method: a bar for the mean, its interval, a dot per seed.

    `gaps`: method -> validation minus training loss per seed, in nats.
    """

    def draw(axes: Axes, row: int, summary: Summary, look: MethodStyle) -> None:
        axes.barh(row, summary.mean, height=0.62, color=look.colour, alpha=0.45)

    figure, axes = _rows(gaps, styles, draw, lambda mean: f"{mean:.3f}")
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("generalization gap: validation − training loss (nats)")
    return figure


@styled
def method_accuracy(
    accuracy: Mapping[str, Sequence[Value]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """Test accuracy by method: the mean, its interval, a dot per seed.

    `accuracy`: method -> test accuracy in [0, 1] per seed.
    """

    def draw(axes: Axes, row: int, summary: Summary, look: MethodStyle) -> None:
        axes.plot(summary.mean, row, marker=look.marker, markersize=9, color=look.colour, zorder=3)

    figure, axes = _rows(accuracy, styles, draw, lambda mean: f"{100 * mean:.2f} %")
    as_percent(axes.xaxis)
    axes.set_xlabel("test accuracy (%)")
    return figure


def _rows(
    values: Mapping[str, Sequence[Value]],
    styles: Mapping[str, MethodStyle] | None,
    draw: Callable[[Axes, int, Summary, MethodStyle], None],
    mean_text: Callable[[float], str],
) -> tuple[Figure, Axes]:
    """One row per method, top down; the means in words on the right."""
    if not values:
        raise ValueError("There is no method to draw: give at least one.")
    styles = styles_for(values, styles)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.42 * len(values)), layout="constrained")
    axes = figure.subplots()
    texts = []
    banded = False
    for row, (method, seeds) in enumerate(values.items()):
        summary = summarize(seeds)
        texts.append(_mean_and_note(summary, mean_text))
        if summary.mean is None:
            continue
        look = styles[method]
        draw(axes, row, summary, look)
        if summary.low is not None:
            banded = True
            axes.errorbar(
                summary.mean, row, capsize=4, color="black", linewidth=1.4, zorder=4,
                xerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
            )  # fmt: skip
        axes.plot(
            summary.values, [row + 0.2] * len(summary.values), linestyle="", marker="o",
            markersize=4.5, markerfacecolor="white", markeredgecolor=look.colour, zorder=5,
        )  # fmt: skip
    axes.set_yticks(range(len(values)), [wrapped(method) for method in values])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    _right_labels(axes, list(range(len(values))), texts)
    handles: list[Any] = [
        Line2D([], [], linestyle="", marker="o", markersize=4.5, markerfacecolor="white",
               markeredgecolor=GREY, label="one seed")
    ]  # fmt: skip
    if banded:
        handles.append(
            Line2D([], [], color="black", linewidth=1.4, label="mean and 95 % interval over seeds")
        )
    legend_above(figure, handles, columns=2)
    return figure, axes


def _mean_and_note(summary: Summary, mean_text: Callable[[float], str]) -> str:
    text = "" if summary.mean is None else mean_text(summary.mean).replace("-", "−")
    return "\n".join(part for part in (text, summary.note) if part)


def _right_labels(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """Texts at the right edge, one per row; as tick labels, so that the layout leaves them room."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(places, texts)
    right.tick_params(axis="y", length=0, pad=6)
    right.grid(False)
