"""A search over strengths: its surface, each strength alone, its progress, and all trials at once.

A trial is a mapping with "strengths", by name, and "scores": one accuracy in [0, 1] per seed, empty
or not finite where it failed. It may have "cost", the share of a whole training that it took, and
"whole", False where it is not to be compared because it was ended early.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy import stats
from scipy.interpolate import RBFInterpolator
from scipy.spatial import ConvexHull, Delaunay

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, Figure, style, summarize
from dlip_reg.report.figures.series import Lines
from dlip_reg.report.figures.sizes import COLLAPSED

Trial = Mapping[str, Any]
Range = tuple[float, float]
Point = tuple[float, float, float]

COLOUR_MAP = "cividis"
_DASHES = (0, (4, 3))
_TIED_LINE: kit.Look = {"color": "black", "linewidth": 1.5, "linestyle": _DASHES}
_NO_PENALTY: kit.Look = {"color": GREY, "linewidth": 1.4, "linestyle": _DASHES}
_TRIAL: kit.Look = {"color": "white", "markeredgecolor": "black", "linestyle": ""}
_RING: kit.Look = {"markerfacecolor": "none", "markeredgecolor": kit.COLOURS[1],
                   "markeredgewidth": 2.4, "markersize": 14, "linestyle": ""}  # fmt: skip
_DOT: kit.Look = {"marker": "o", "markersize": 4, "alpha": 0.5, "linestyle": ""}
_FEWEST = 5  # trials that a surface is drawn for
_SMOOTHING = 0.1  # as `RBFInterpolator` has it, with strengths in decades


@style()
def response_surface(
    separate: Sequence[Trial],
    tied: Sequence[Trial],
    ranges: tuple[Range, Range],
    optimum: tuple[float, float] | None = None,
) -> Figure:
    """Accuracy over (conv, dense) strength: the trials, a smoothed surface, the tied diagonal.

    The best trial of each has a ring.

    Args:
        separate: Trials with a convolution and a dense strength, in this order: mappings with
            "strengths", name -> strength, and "scores", one accuracy in [0, 1] per seed.
        tied: Trials with one strength for both.
        ranges: The two ranges that were searched, on log axes.
        optimum: The (conv, dense) pair to mark with a star.

    Raises:
        ValueError: If there is no trial at all.
    """
    kit.require([*separate, *tied], "trial")
    figure, (axes,) = kit.panel_grid(1, 1, 5.3)
    axes.grid(False)
    axes.set_facecolor("#EFEFEF")
    searches = {
        "separate: a trial": (_points(separate), "o"),
        "tied: a trial": (_points(tied), "s"),
    }
    everything = [point for points, _ in searches.values() for point in points]
    scale = colour_range([score for *_, score in everything])
    norm = Normalize(*scale)
    _draw_surface(axes, everything, ranges, scale)
    low = max(first for first, _ in ranges)
    high = min(last for _, last in ranges)
    axes.plot([low, high], [low, high], color="white", linewidth=3, zorder=2)
    kit.extra(axes, [low, high], [low, high], "the same strength for both", _TIED_LINE, zorder=2)
    marks: kit.Look = {"zorder": 3, "clip_on": False}
    for label, (points, marker) in searches.items():
        if points:
            conv, dense, scores = zip(*points, strict=True)
            drawn = axes.scatter(
                dense, conv, c=scores, cmap=COLOUR_MAP, norm=norm, marker=marker, s=65,
                edgecolors="black", label=label, **marks,
            )  # fmt: skip
            kit.attach(drawn, notes=list(map(_in_percent, scores)))
            figure.entries[label] = kit.entry(label, marker=marker, markersize=8, **_TRIAL)
    for points, marker in reversed(searches.values()):  # the last one drawn is in the legend
        if points:
            best = max(points, key=lambda point: point[2])
            ring = _RING | {"marker": marker}
            kit.extra(axes, [best[1]], [best[0]], "the best of its search", ring, **marks)
    if optimum is not None:
        at = ([optimum[1]], [optimum[0]])
        star = {"marker": "*", "markersize": 16, **_TRIAL}
        kit.extra(axes, *at, "optimum of the fitted surface", star, **marks)
    for axis, ends in zip((axes.yaxis, axes.xaxis), ranges, strict=True):
        kit.log_axis(axis, *ends)
        axis.set_major_formatter(lambda number, _: kit.power_of_ten(number))
    axes.set_xlabel("dense strength")
    axes.set_ylabel("convolution strength")
    collapsed = any(score < scale[0] for *_, score in everything)
    bar = figure.colorbar(
        ScalarMappable(norm, COLOUR_MAP), ax=axes, extend="min" if collapsed else "neither"
    )
    kit.attach(bar.ax, bar=True)
    bar.set_label("mean validation accuracy (%)")
    kit.legend_above(figure)
    failed = len(separate) + len(tied) - len(everything)
    kit.write_note(axes, f"{failed} without a score" if failed else "")
    return figure


@style()
def score_against_strength(
    trials: Mapping[str, Sequence[Trial]],
    ranges: Mapping[str, Range],
    baseline: Sequence[float] = (),
) -> Figure:
    """One panel for each strength that a search had: every trial's mean accuracy, with interval.

    The intervals leave out what all trials of a seed have in common, since trials are compared
    within seeds, and are as long for every trial of a search: the scatter is pooled (Loftus and
    Masson 1994).

    Args:
        trials: Search -> its trials as in `response_surface`, all with the same seeds.
        ranges: Strength -> the range that was searched.
        baseline: Accuracies in [0, 1] without any penalty, drawn as a line.
    """
    panels = [(search, name) for search, found in trials.items() for name in strength_names(found)]
    kit.require(panels, "strength")
    styles = kit.method_styles(trials)
    figure, grid = kit.panel_grid(len(panels), 3, 3.0, sharey=True)
    none = summarize(baseline).mean
    within = {search: _within_seeds(found) for search, found in trials.items()}
    drawn = [] if none is None else [none]
    for axes, (search, name) in zip(grid, panels, strict=True):
        axes.set_title(f"{display_name(name)} ({search})", loc="left", fontsize=9.5)
        _strength_axis(axes, ranges[name])
        if none is not None:
            kit.level(axes, none, "no penalty", _NO_PENALTY)
        for trial in trials[search]:
            mean, half = summarize(trial["scores"]).mean, within[search]
            if mean is not None:
                at, look = trial["strengths"][name], styles[search]
                ends = [mean - half, mean + half]
                drawn += ends
                axes.plot([at, at], ends, color=look.colour, alpha=0.35, label=search)
                axes.plot(at, mean, markersize=6, label=search, **look.as_marker)
    widest = max(within.values())
    series.share_axis(grid[0], drawn, COLLAPSED + 2 * widest)
    figure.supylabel("validation accuracy (%)", fontsize=10)
    if widest:
        label = "95 % interval within seeds"
        figure.entries[label] = kit.entry(label, color=GREY, alpha=0.5)
    kit.legend_above(figure, kit.entries(styles, lines=False, markers=True))
    return figure


def _within_seeds(trials: Sequence[Trial]) -> float:
    """Half the length of the 95 % interval of a trial's mean within seeds, from all trials.

    0 where fewer than two trials have a score for the same two seeds or more.
    """
    whole = [t["scores"] for t in trials if t["scores"] and all(map(kit.is_finite, t["scores"]))]
    if len(whole) < 2 or len({len(scores) for scores in whole}) > 1 or len(whole[0]) < 2:
        return 0.0
    scores = np.array(whole)
    left = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    error = math.sqrt((left**2).sum() / freedom / scores.shape[1])
    return float(stats.t.ppf(0.975, freedom)) * error


def _strength_axis(axes: Axes, searched: Range) -> None:
    """A log axis about the range that was searched, with ticks at its ends."""
    low, high = searched
    axes.set_xlabel("strength")
    axes.set_xscale("log")
    axes.set_xlim(low / 1.35, high * 1.35)
    # The ends of what was searched, and the powers of ten that leave them room.
    powers = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    gap = (high / low) ** 0.2
    ticks = [low, *(power for power in powers if low * gap < power < high / gap), high]
    axes.set_xticks(ticks, list(map(kit.power_of_ten, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())


@style()
def best_so_far(trials: Mapping[str, Sequence[Trial]]) -> Figure:
    """The best mean accuracy so far among the whole trials, for each search.

    Along the axis every trial counts by its cost, and so a whole one as 1.

    Args:
        trials: Search -> its trials as in `response_surface`, in the order of their start. One
            that was ended early has "whole", False, and "cost", the share of a training it took.
    """
    kit.require([trial for found in trials.values() for trial in found], "trial")
    styles = {f"{search}: best so far": look for search, look in kit.method_styles(trials).items()}

    def draw(axes: Axes) -> None:
        drawn: list[float] = []
        for (label, look), found in zip(styles.items(), trials.values(), strict=True):
            whole = [trial["scores"] if trial.get("whole", True) else () for trial in found]
            means = [summarize(scores).mean for scores in whole]
            scores = np.array([math.nan if mean is None else mean for mean in means])
            drawn += scores.tolist()
            places = np.cumsum([trial.get("cost", 1) for trial in found]).tolist()
            dots = {"color": look.colour, "marker": look.marker}
            kit.extra(axes, places, means, "one trial, mean over seeds", _DOT, **dots)
            best = np.fmax.accumulate(scores)
            axes.step(places, best, where="post", label=label, **look.as_line)
        series.share_axis(axes, drawn, COLLAPSED)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))

    early = " (one that was ended early counts by its share of all epochs)"
    panel = Lines(
        "", {}, x="trials" + ("" if all_whole(trials) else early), beside=draw,
        y_label="validation accuracy (%)",
    )  # fmt: skip
    return series.line_figure([panel], 1, styles=styles)


def all_whole(trials: Mapping[str, Sequence[Trial]]) -> bool:
    """Whether no search has ended a trial early."""
    return all(trial.get("whole", True) for found in trials.values() for trial in found)


def _points(trials: Sequence[Trial]) -> list[Point]:
    """(conv, dense, mean score in %) of the trials that have one; a tied one has one strength."""
    found = []
    for trial in trials:
        mean = summarize(trial["scores"]).mean
        if mean is not None:
            strengths = list(trial["strengths"].values())
            found.append((strengths[0], strengths[-1], 100 * mean))
    return found


def strength_names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial["strengths"]))


def colour_range(scores: Sequence[float]) -> Range:
    """From the best down, in %; trials that collapsed do not use up the scale."""
    if not len(scores):
        return 0, 100
    top, middle = max(scores), float(np.median(scores))
    bottom = max(min(scores), top - max(3 * (top - middle), 1))
    return min(bottom, top - 0.1), top


def _in_percent(score: float) -> str:
    return f"{score:.2f} %"


def _draw_surface(
    axes: Axes, points: Sequence[Point], ranges: tuple[Range, Range], scale: Range
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
    scores = np.maximum([np.mean(found) for found in by_place.values()], scale[0])
    surface = RBFInterpolator(logs, scores, kernel="thin_plate_spline", smoothing=_SMOOTHING)
    grid = [np.linspace(math.log10(low), math.log10(high), 80) for low, high in ranges]
    conv_at, dense_at = np.meshgrid(*grid, indexing="ij")
    places = np.column_stack([conv_at.ravel(), dense_at.ravel()])
    heights = surface(places).reshape(conv_at.shape).clip(*scale)
    # Beyond the outermost trials it would be a guess.
    inside = Delaunay(logs).find_simplex(places).reshape(conv_at.shape) >= 0
    shown = np.where(inside, heights, np.nan)
    axis_places = 10 ** grid[1], 10 ** grid[0]
    kit.attach(axes, grid=kit.Grid(*axis_places, shown, _in_percent, "accuracy (%)"))
    drawn = axes.contourf(
        10**dense_at, 10**conv_at, heights, levels=np.linspace(*scale, 25),
        cmap=COLOUR_MAP, norm=Normalize(*scale), zorder=1,
    )  # fmt: skip
    outline = 10 ** logs[ConvexHull(logs).vertices][:, ::-1]
    drawn.set_clip_path(Polygon(outline, transform=axes.transData))


def display_name(name: str) -> str:
    """A hyperparameter's name for people: "conv_l2" is "conv L2", "l2" is "L2"."""
    return " ".join(part.upper() if part == "l2" else part for part in name.split("_"))
