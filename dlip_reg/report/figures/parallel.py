"""All trials of a search at once: one line each through its strengths to its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.search import (
    COLOUR_MAP,
    Range,
    Trial,
    colour_scale,
    display_name,
    strength_names,
)
from dlip_reg.report.figures.style import (
    COLOURS,
    GREY,
    WIDTH,
    Figure,
    legend_above,
    power_of_ten,
    styled,
    summarize,
)


@styled
def parallel_coordinates(trials: Sequence[Trial], ranges: Mapping[str, Range]) -> Figure:
    """One line a trial through its strengths, log axes side by side, to its mean accuracy.

    The last axis is the key to the lines' colours. `ranges`: strength -> what was searched. A
    strength of 0 stands at the foot of its axis, as "none"; trials without a score are grey, those
    far below the best end at the accuracy's foot.
    """
    names = strength_names(trials)
    if not names:
        raise ValueError("There is no trial to draw: give at least one.")
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    means = [summarize(trial["scores"]).mean for trial in trials]
    norm = colour_scale([mean for mean in means if mean is not None])
    scales = [
        _Scale(name, ranges[name], any(trial["strengths"][name] <= 0 for trial in trials))
        for name in names
    ]
    scales.append(_Scale("validation accuracy (%)", (norm.vmin, norm.vmax), False))
    colours = ScalarMappable(norm, COLOUR_MAP)
    # The best on top; of equals it is the first one, as everywhere.
    order = sorted(range(len(trials)), key=lambda i: (-1.0 if means[i] is None else means[i], -i))
    for index in order:
        places = [s.place(trials[index]["strengths"][s.name]) for s in scales[:-1]]
        mean = means[index]
        best = index == order[-1]
        if mean is not None:
            places.append(scales[-1].place(mean))
        width = 3.2 if best else 1.8
        axes.plot(
            range(len(places)), places, color=GREY if mean is None else colours.to_rgba(mean),
            linewidth=width, alpha=0.5 if mean is None else 1.0, zorder=3 if best else 2,
            # The palest colours would be lost on white paper.
            path_effects=[] if mean is None else [_outline(width + 1.2, "#555555")],
        )  # fmt: skip
        if best:
            axes.plot(range(len(places)), places, linestyle="", marker="*", markersize=13,
                      color=COLOURS[1], markeredgecolor="white", zorder=4)  # fmt: skip
    end = len(scales) - 1
    for at, scale in enumerate(scales):
        axes.axvline(at, color="black", linewidth=1.0, zorder=1)
        for place, text in scale.ticks():
            axes.annotate(
                text, (at, place), xytext=(24 if at == end else -6, 0), textcoords="offset points",
                ha="left" if at == end else "right", va="center", fontsize=9, color="#333333",
                zorder=5, path_effects=[_outline(2.5, "white")],
            )  # fmt: skip
    axes.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=COLOUR_MAP, aspect="auto", origin="lower",
        extent=(end, end + 0.035 * end, 0, 1), zorder=1.5,
    )  # fmt: skip
    axes.set_xlim(-0.14 * end, 1.14 * end)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xticks(range(len(scales)), [display_name(scale.name) for scale in scales])
    axes.tick_params(axis="x", length=0, labelsize=10)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    handles: list[Any] = [
        Line2D(
            [], [], color=COLOURS[1], marker="*", markersize=12, linestyle="", label="best trial"
        )
    ]
    if None in means:
        handles.append(Line2D([], [], color=GREY, alpha=0.5, label="without a score"))
    legend_above(figure, handles, columns=2)
    return figure


class _Scale:
    """One axis: values to places from 0 to 1, and its tick labels."""

    def __init__(self, name: str, ends: Range, absent: bool) -> None:
        self.name = name
        self._linear = "accuracy" in name or name.endswith("dropout")
        self._foot = 0.14 if absent else 0.0
        self._low, self._high = ends

    def place(self, value: float) -> float:
        """Where a value stands; beyond the ends at them."""
        if self._foot and value <= 0:
            return 0.0
        read = float if self._linear else math.log
        value = min(max(value, self._low), self._high)
        share = (read(value) - read(self._low)) / (read(self._high) - read(self._low))
        return self._foot + (1 - self._foot) * share

    def ticks(self) -> list[tuple[float, str]]:
        """Places and what to write there."""
        if self._linear:
            factor = 100 if "accuracy" in self.name else 1
            low, high = factor * self._low, factor * self._high
            values = list(MaxNLocator(5).tick_values(low, high))
            decimals = max(1, 1 - math.floor(math.log10(values[1] - values[0])))
            # The ends, too, and nothing that would touch them.
            gap = 0.06 * (high - low)
            values = [low, *(v for v in values if low + gap < v < high - gap), high]
            names = [f"{value:.{decimals}f}" for value in values]
            values = [value / factor for value in values]
        else:
            first, last = math.floor(math.log10(self._low)), math.ceil(math.log10(self._high))
            values = [float(f"{m}e{k}") for k in range(first, last + 1) for m in (1, 3)]
            names = [power_of_ten(value) for value in values]
        found = [
            (self.place(value), name)
            for value, name in zip(values, names, strict=True)
            if self._low * 0.999 <= value <= self._high * 1.001
        ]
        return [(0.0, "none"), *found] if self._foot else found


def _outline(width: float, colour: str) -> AbstractPathEffect:
    return withStroke(linewidth=width, foreground=colour)
