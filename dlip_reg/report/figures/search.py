"""A search over strengths: its surface, each strength alone, its progress, and all trials at once.

A trial is a mapping with "strengths", by name, and "scores": one accuracy in [0, 1] per seed, empty
or not finite where it failed. It may have "cost", the share of a whole training that it took, and
"whole", False where it is not to be compared because it was ended early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy import stats
from scipy.interpolate import RBFInterpolator
from scipy.spatial import ConvexHull

from dlip_reg.report.figures.style import (
    COLOURS,
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    as_percent,
    is_finite,
    legend_above,
    log_ticks,
    power_of_ten,
    styled,
    styles_for,
    summarize,
    write_note,
)

Trial = Mapping[str, Any]
Range = tuple[float, float]

COLOUR_MAP = "cividis"
_TIED_LINE = (0, (4, 3))
_FEWEST = 5  # trials that a surface is drawn for
_SMOOTHING = 0.1  # as `RBFInterpolator` has it, with strengths in decades


@styled
def response_surface(
    separate: Sequence[Trial],
    tied: Sequence[Trial],
    names: tuple[str, str],
    ranges: tuple[Range, Range],
) -> Figure:
    """Accuracy over (conv, dense) strength: the trials, a smoothed surface, the tied diagonal.

    The best trial of each has a ring.

    `names` are the two strengths in `separate`; each of `tied` has one strength. `ranges` are the
    two that were searched, on log axes. ValueError where there is no trial at all.
    """
    points = _points(separate, names)
    diagonal = _points(tied, _tied_names(tied))
    everything = [*points, *diagonal]
    if not separate and not tied:
        raise ValueError("There is no trial to draw: give at least one.")
    figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    norm = colour_scale([score for *_, score in everything])
    _draw_surface(axes, everything, ranges, norm)
    (y_low, y_high), (x_low, x_high) = ranges
    low, high = max(x_low, y_low), min(x_high, y_high)
    if low < high:
        for look in (
            {"color": "white", "linewidth": 3},
            {"color": "black", "linewidth": 1.5, "linestyle": _TIED_LINE},
        ):
            axes.plot([low, high], [low, high], zorder=2, **look)
    for trials, marker, size in ((points, "o", 70), (diagonal, "s", 60)):
        if trials:
            conv, dense, scores = zip(*trials, strict=True)
            axes.scatter(
                dense, conv, c=scores, cmap=COLOUR_MAP, norm=norm, marker=marker, s=size,
                edgecolors="black", linewidths=1.0, zorder=3, clip_on=False,
            )  # fmt: skip
    for trials, marker in ((points, "o"), (diagonal, "s")):
        if trials:
            conv, dense, _ = max(trials, key=lambda trial: trial[2])
            axes.scatter(
                dense, conv, marker=marker, s=210, facecolors="none", edgecolors=COLOURS[1],
                linewidths=2.6, zorder=4, clip_on=False,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, (bottom, top) in ((axes.yaxis, ranges[0]), (axes.xaxis, ranges[1])):
        log_ticks(axis, bottom, top)
        axis.set_major_formatter(lambda number, _: power_of_ten(float(f"{number:.3g}")))
    axes.set_xlim(*ranges[1])
    axes.set_ylim(*ranges[0])
    axes.set_xlabel("dense strength")
    axes.set_ylabel("convolution strength")
    bar = figure.colorbar(
        ScalarMappable(norm, COLOUR_MAP), ax=axes, extend=_extension(everything, norm)
    )
    bar.set_label("mean validation accuracy (%)")
    as_percent(bar.ax.yaxis)
    legend_above(figure, _surface_handles(bool(points), bool(diagonal), low < high), columns=4)
    failed = len(separate) + len(tied) - len(everything)
    write_note(axes, f"{failed} without a score" if failed else "")
    return figure


@styled
def score_against_strength(
    trials: Mapping[str, Sequence[Trial]],
    ranges: Mapping[str, Range],
    baseline: Sequence[float] | None = None,
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """One panel for each strength that a search had: every trial's mean accuracy, with interval.

    `trials`: search -> its trials, all with the same seeds. `ranges`: strength -> what was
    searched. `baseline`: accuracies without any penalty, a line. The intervals leave out what all
    trials of a seed have in common, for trials are compared within seeds, and are as long for every
    trial of a search: the scatter is pooled (Loftus and Masson 1994).
    """
    panels = [(search, name) for search, found in trials.items() for name in strength_names(found)]
    if not panels:
        raise ValueError("There is no strength to draw: give at least one trial.")
    styles = styles_for(trials, styles)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 3.0 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    none = summarize(baseline or ()).mean
    within = {search: _within_seeds(found) for search, found in trials.items()}
    for axes, (search, name) in zip(grid, panels, strict=False):
        axes.set_title(f"{display_name(name)} ({search})", loc="left", fontsize=9.5)
        place = _strength_axis(axes, name, ranges[name], [t["strengths"] for t in trials[search]])
        if none is not None:
            axes.axhline(none, color=GREY, linestyle=_TIED_LINE, linewidth=1.4, zorder=1.5)
        look = styles[search]
        for trial in trials[search]:
            mean, half = summarize(trial["scores"]).mean, within[search]
            if mean is not None:
                at = place(trial["strengths"][name])
                if half is not None:
                    axes.plot([at] * 2, [mean - half, mean + half], color=look.colour, alpha=0.35,
                              linewidth=1.8)  # fmt: skip
                axes.plot(at, mean, marker=look.marker, color=look.colour, markersize=6)
    intervals = [half for half in within.values() if half is not None]
    _room(grid[0], trials, none, max(intervals, default=0.0))
    as_percent(grid[0].yaxis)
    figure.supylabel("validation accuracy (%)", fontsize=10)
    handles: list[Any] = [
        Line2D([], [], color=styles[s].colour, marker=styles[s].marker, linestyle="", label=s)
        for s in trials
    ]
    if intervals:
        handles.append(Line2D([], [], color=GREY, alpha=0.5, label="95 % interval within seeds"))
    if none is not None:
        handles.append(Line2D([], [], color=GREY, linestyle=_TIED_LINE, label="no penalty"))
    legend_above(figure, handles, columns=4)
    return figure


def _within_seeds(trials: Sequence[Trial]) -> float | None:
    """Half the length of the 95 % interval of a trial's mean within seeds, from all trials.

    None where fewer than two trials have a score for the same two seeds or more.
    """
    whole = [t["scores"] for t in trials if t["scores"] and all(map(is_finite, t["scores"]))]
    if len(whole) < 2 or len({len(scores) for scores in whole}) > 1 or len(whole[0]) < 2:
        return None
    scores = np.array(whole)
    left = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    error = math.sqrt((left**2).sum() / freedom / scores.shape[1])
    return float(stats.t.ppf(0.975, freedom)) * error


def _strength_axis(
    axes: Axes, name: str, searched: Range, strengths: Sequence[Mapping[str, float]]
) -> Callable[[float], float]:
    """The axis over the range that was searched; where a value stands on it, "none" at its left."""
    low, high = searched
    axes.set_xlabel("dropout rate" if name.endswith("dropout") else "strength")
    absent = any(values[name] <= 0 for values in strengths)
    if name.endswith("dropout"):
        axes.set_xlim(-0.03 if absent else low - 0.03, high + 0.03)
        return float
    left = low / 3 if absent else low / 1.35
    axes.set_xscale("log")
    axes.set_xlim(left / 1.3 if absent else left, high * 1.35)
    # The ends of what was searched, and the powers of ten that leave them room.
    powers = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    gap = (high / low) ** 0.2
    ticks = [low, *(power for power in powers if low * gap < power < high / gap), high]
    axes.set_xticks(ticks, [power_of_ten(float(f"{tick:.3g}")) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if absent:
        axes.annotate("none", (left, 0), xycoords=("data", "axes fraction"), ha="center",
                      va="top", xytext=(0, -6), textcoords="offset points", fontsize=9)  # fmt: skip
    return lambda value: value if value > 0 else left


@styled
def best_so_far(
    trials: Mapping[str, Sequence[Trial]], styles: Mapping[str, MethodStyle] | None = None
) -> Figure:
    """The best mean accuracy so far among the whole trials, for each search; trials in their order.

    Along the axis every trial counts by its cost, and so a whole one as 1.
    """
    if not any(trials.values()):
        raise ValueError("There is no trial to draw: give at least one.")
    styles = styles_for(trials, styles)
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    for search, found in trials.items():
        look, best, cost, places, steps = styles[search], -math.inf, 0.0, [], []
        for trial in found:
            cost += trial.get("cost", 1)
            mean = summarize(trial["scores"]).mean
            if mean is not None and trial.get("whole", True):
                axes.plot(cost, mean, marker=look.marker, markersize=4, color=look.colour,
                          alpha=0.35, linestyle="")  # fmt: skip
                best = max(best, mean)
            places.append(cost)
            steps.append(best if best > -math.inf else math.nan)
        axes.step(places, steps, where="post", color=look.colour, linestyle=look.line)
    _room(axes, trials, None)
    early = " (one that was ended early counts by its share of all epochs)"
    axes.set_xlabel("trials" + ("" if all_whole(trials) else early))
    axes.set_ylabel("validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    as_percent(axes.yaxis)
    handles: list[Any] = [
        Line2D([], [], color=styles[s].colour, linestyle=styles[s].line, label=f"{s}: best so far")
        for s in trials
    ]
    handles.append(Line2D([], [], color=GREY, alpha=0.6, marker="o", linestyle="", markersize=4,
                          label="one trial, mean over seeds"))  # fmt: skip
    legend_above(figure, handles, columns=3)
    return figure


def all_whole(trials: Mapping[str, Sequence[Trial]]) -> bool:
    """Whether no search has ended a trial early."""
    return all(trial.get("whole", True) for found in trials.values() for trial in found)


def _points(trials: Sequence[Trial], names: tuple[str, str]) -> list[tuple[float, float, float]]:
    """(conv, dense, mean score) of the trials that have a score."""
    found = []
    for trial in trials:
        mean = summarize(trial["scores"]).mean
        if mean is not None:
            conv, dense = (trial["strengths"][name] for name in names)
            found.append((conv, dense, mean))
    return found


def _tied_names(tied: Sequence[Trial]) -> tuple[str, str]:
    names = strength_names(tied)
    return (names[0], names[0]) if names else ("", "")


def strength_names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial["strengths"]))


def colour_scale(scores: Sequence[float]) -> Normalize:
    """From the best down; trials that collapsed do not use up the scale."""
    if not len(scores):
        return Normalize(0, 1)
    top, middle = max(scores), float(np.median(scores))
    bottom = max(min(scores), top - max(3 * (top - middle), 0.01))
    return Normalize(min(bottom, top - 1e-3), top)


def _extension(points: Sequence[tuple], norm: Normalize) -> str:
    return "min" if any(score < norm.vmin for *_, score in points) else "neither"


def _draw_surface(
    axes: Axes, points: Sequence[tuple], ranges: tuple[Range, Range], norm: Normalize
) -> None:
    """A smooth surface among the trials, in log strengths; none for too few or along a line.

    Not through them: trials of almost the same strengths differ by chance, and a surface that had
    to follow would rise and fall between them.
    """
    by_place: dict[tuple[float, float], list[float]] = {}
    for conv, dense, score in points:
        by_place.setdefault((math.log10(conv), math.log10(dense)), []).append(score)
    logs = np.array(list(by_place))
    if len(logs) < _FEWEST or np.linalg.matrix_rank(logs - logs.mean(axis=0)) < 2:
        return
    scores = np.maximum([np.mean(found) for found in by_place.values()], norm.vmin)
    surface = RBFInterpolator(logs, scores, kernel="thin_plate_spline", smoothing=_SMOOTHING)
    grid = [np.linspace(math.log10(low), math.log10(high), 80) for low, high in ranges]
    conv, dense = np.meshgrid(*grid, indexing="ij")
    places = np.column_stack([conv.ravel(), dense.ravel()])
    heights = surface(places).reshape(conv.shape).clip(norm.vmin, norm.vmax)
    drawn = axes.contourf(
        10**dense, 10**conv, heights, levels=np.linspace(norm.vmin, norm.vmax, 25),
        cmap=COLOUR_MAP, norm=norm, zorder=1,
    )  # fmt: skip
    # Beyond the outermost trials it would be a guess.
    outline = 10 ** logs[ConvexHull(logs).vertices][:, ::-1]
    drawn.set_clip_path(Polygon(outline, transform=axes.transData))
    axes.set_facecolor("#EFEFEF")


def _surface_handles(separate: bool, tied: bool, diagonal: bool) -> list[Any]:
    looks = {"color": "white", "markeredgecolor": "black", "linestyle": ""}
    handles: list[Any] = []
    if separate:
        handles.append(Line2D([], [], marker="o", markersize=8, label="separate: a trial", **looks))
    if tied:
        handles.append(Line2D([], [], marker="s", markersize=7, label="tied: a trial", **looks))
    if diagonal:
        handles.append(
            Line2D([], [], color="black", linewidth=1.5, linestyle=_TIED_LINE,
                   label="the same strength for both")
        )  # fmt: skip
    handles.append(
        Line2D([], [], marker="o" if separate else "s", markersize=13, markerfacecolor="none",
               markeredgecolor=COLOURS[1], markeredgewidth=2.4, linestyle="",
               label="the best of its search")
    )  # fmt: skip
    return handles


def _room(
    axes: Axes, trials: Mapping[str, Sequence[Trial]], floor: float | None, half: float = 0.0
) -> None:
    """An axis of accuracy about the better half: collapsed trials would flatten all others."""
    scores = (t["scores"] for found in trials.values() for t in found if t.get("whole", True))
    means = [mean for found in scores if (mean := summarize(found).mean) is not None]
    if not means:
        return
    top = max(means)
    bottom = max(min(means), top - 0.15)
    if floor is not None:
        bottom, top = min(bottom, floor), max(top, floor)
    margin = max(0.15 * (top - bottom) + 0.005, 1.1 * half)
    axes.set_ylim(bottom - margin, min(top + margin, 1.0))


def display_name(name: str) -> str:
    """A hyperparameter's name for people: "conv_l2" is "conv L2", "l2" is "L2"."""
    return name.replace("_l1", " L1").replace("_l2", " L2").replace("l1", "L1").replace(
        "l2", "L2"
    ).replace("_", " ")  # fmt: skip
