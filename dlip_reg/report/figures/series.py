"""What the figures share: lines with bands through curves, rows with intervals, and their axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures import kit
from dlip_reg.report.figures.kit import Figure, MethodStyle, Value, summarize

# One run's curve: equally long lists under their names; None for a run with no record. Curves may
# have "seed", the place of their seed among those of the study: the interactive figure can then
# show each seed's own line.
Curve = Mapping[str, Any] | None
# A line before it is summarized: place along the horizontal axis -> one value per seed.
Points = Mapping[Any, Sequence[Value]]


def geometric(values: Iterable[Value]) -> kit.Summary:
    """`summarize` for a quantity on a log axis: the geometric mean and its 95 % t-interval.

    What is not above 0 is left out like what is not finite.
    """
    found = summarize(math.log(v) if kit.is_finite(v) and v > 0 else None for v in values)
    numbers = (found.mean, found.low, found.high)
    mean, low, high = (None if n is None else math.exp(min(n, 700)) for n in numbers)
    finite = tuple(map(math.exp, found.values))
    return replace(found, values=finite, mean=mean, low=low, high=high)


def curve_points(runs: Sequence[Curve], x: str, key: str) -> Points:
    """Place along `x` -> each run's value under `key` there (None: it has none), in order."""
    values: dict[float, list[Any]] = {}
    known = [run for run in runs if run is not None]
    for i, run in enumerate(known):
        for at, value in zip(run[x], run[key], strict=True):
            values.setdefault(at, [None] * len(known))[i] = value
    return dict(sorted(values.items()))


def seeds_of(curves: Mapping[str, Sequence[Curve]]) -> dict[str, list[int]]:
    """Method -> the "seed" of each of its runs, of the methods whose runs have one."""
    known = {method: [run for run in runs if run is not None] for method, runs in curves.items()}
    return {
        method: [run["seed"] for run in runs]
        for method, runs in known.items()
        if all("seed" in run for run in runs)
    }


def means(summaries: Iterable[kit.Summary]) -> list[float]:
    """The means that there are."""
    return [summary.mean for summary in summaries if summary.mean is not None]


def loss_limits(lines: Iterable[Points]) -> tuple[float, float] | None:
    """Of an axis of losses; None without a loss.

    It reaches up to twice the highest loss at the start, and no higher than 30 times what is usual,
    so that a run on its way to infinity does not stretch it.
    """
    curves = [means(map(geometric, points.values())) for points in lines]
    curves = [curve for curve in curves if curve]
    if not curves:
        return None
    tops = [max(curve) for curve in curves]
    top = min(max(tops), 2 * max(curve[0] for curve in curves), 30 * median(tops))
    return 0.8 * min(map(min, curves)), 1.25 * top


def not_finite_note(runs: Sequence[Curve], keys: Iterable[str]) -> str:
    """Counts, for a note, the runs that have no finite values under the keys at the end."""
    keys = list(keys)
    return summarize(
        0.0 if run and all(len(run[key]) and kit.is_finite(run[key][-1]) for key in keys) else None
        for run in runs
    ).note


def no_value_note(names: Iterable[str]) -> str:
    """Names, for a note, the series without a finite value."""
    lacking = list(names)
    text = ", ".join(filter(None, lacking))
    return "no finite value" * bool(lacking) + (f": {text}" if text else "")


@dataclass(frozen=True)
class Lines:
    """One panel of a figure: lines through the means over seeds, with bands.

    Attributes:
        title: Above the panel.
        lines: Series -> place -> one value per seed.
        y: The scale of the upright axis: "log" (geometric means), "linear", "percent" for shares
            in [0, 1], or "log percent".
        depth: "percent" cuts what lies more than this below the best.
        limits: Of the upright axis; default: of the means and seeds drawn.
        x: The label of the horizontal axis.
        x_axis: Its kind: "integer", "falling" (the training loss), "layers" (places are names),
            "values" or "linear values" (ticks at the places), "auto" (Matplotlib's ticks).
        ticks: At most so many of the places have a tick.
        summary: Makes a mean and an interval of the seeds; default: as the scale asks for.
        bands: Whether to draw the intervals; on a log axis those that reach 0 are left out.
        seeds: Series -> the seed of each value of a place, where the interactive figure can show
            the lines of single seeds.
        styles: Series -> how it is drawn, where it is not as in the rest of the figure.
        rules: Label -> a value to mark by a level line.
        note: A remark in the corner; default: the series without a finite value.
        y_label: The label of the upright axis.
        beside: Draws what else the panel has, when all panels of the figure have their scales.
    """

    title: str
    lines: Mapping[Any, Points]
    y: str = "linear"
    x: str = "epoch"
    x_axis: str = "integer"
    ticks: int = 10
    depth: float = 1.0
    limits: tuple[float, float] | None = None
    summary: Callable[[Iterable[Value]], kit.Summary] | None = None
    bands: bool = True
    seeds: Mapping[Any, Sequence[int]] = field(default_factory=dict)
    styles: Mapping[Any, MethodStyle] | None = None
    rules: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None
    y_label: str = ""
    beside: Callable[[Axes], None] | None = None


def curve_panel(
    title: str, curves: Mapping[str, Sequence[Curve]], along: str, key: str, **options: Any
) -> Lines:
    """The panel of what curves (series -> runs) have under a key, along another key."""
    lines = {name: curve_points(runs, along, key) for name, runs in curves.items()}
    return Lines(title, lines, seeds=seeds_of(curves), **options)


def draw_panels(
    grid: Iterable[Axes],
    panels: Sequence[Lines],
    styles: Mapping[Any, MethodStyle],
    markers: bool = False,
    seeds: bool = False,
    characters: int = 30,
) -> None:
    """Draw each panel in its axes; titles are broken after so many characters.

    Panels that share their upright axis are scaled to the values of all of them.
    """
    values: dict[Axes, list[float]] = {}
    pairs = list(zip(grid, panels, strict=True))
    for axes, panel in pairs:
        drawn = values.setdefault(min(axes.get_shared_y_axes().get_siblings(axes), key=id), [])
        drawn += _draw_lines(axes, panel, panel.styles or styles, markers, seeds)
        for label, value in panel.rules.items():
            kit.level(axes, value, label)
            drawn.append(value)
        axes.set_title(kit.wrapped(panel.title, characters), loc="left")
        axes.set_ylabel(panel.y_label)
        if panel.y == "percent":
            share_axis(axes, drawn, panel.depth)
        elif panel.y == "log":
            logarithmic(axes, drawn)
        if panel.limits and panel.y.startswith("log"):
            kit.log_axis(axes.yaxis, *panel.limits, percent="percent" in panel.y)
        elif panel.limits:
            axes.set_ylim(*panel.limits)
    for axes, panel in pairs:
        if panel.beside:
            panel.beside(axes)


def _draw_lines(
    axes: Axes, panel: Lines, styles: Mapping[Any, MethodStyle], markers: bool, seeds: bool
) -> list[float]:
    """Draw a panel's lines, horizontal axis and note; returns the means and the seeds drawn."""
    places = list(dict.fromkeys(x for line in panel.lines.values() for x in line))
    x_axis(axes, panel, places)
    drawn: list[float] = []
    lacking = []
    for name, points in panel.lines.items():
        look = styles[name]
        line = {"label": name, **look.as_line}
        marks = {"marker": look.marker, "markersize": 6} if markers else {}
        summaries = [_summarized(panel, values) for values in points.values()]
        x = [places.index(at) for at in points] if panel.x_axis == "layers" else list(points)
        kit.draw_band(axes, x, summaries, **line, **marks)
        for i, seed in enumerate(panel.seeds.get(name, ())):
            own = [of_runs[i] for of_runs in points.values()]
            kit.draw_seed(axes, x, own, seed, **line)
        found = means(summaries)
        drawn += found
        lacking += [] if found else [name]
        for at, summarized in zip(x, summaries, strict=True) if seeds else ():
            values = summarized.values
            drawn += values
            draw_seeds(axes, [at] * len(values), values, summarized.seeds, look.colour, name)
    kit.write_note(axes, no_value_note(lacking) if panel.note is None else panel.note)
    return drawn


def _summarized(panel: Lines, values: Sequence[Value]) -> kit.Summary:
    summary = panel.summary or (geometric if panel.y == "log" else summarize)
    found = summary(values)
    fills_panel = panel.y.startswith("log") and found.low is not None and found.low <= 0
    return found if panel.bands and not fills_panel else replace(found, low=None, high=None)


def draw_runs(
    axes: Axes,
    curves: Mapping[str, Sequence[Curve]],
    x: str,
    y: str,
    styles: Mapping[str, MethodStyle],
    ends: bool = False,
    **options: Any,
) -> None:
    """Each run's own line, under the keys `x` and `y` of its curve; `ends` marks where it ends."""
    for name, runs in curves.items():
        look = styles[name]
        for run in filter(None, runs):
            drawn = axes.plot(run[x], run[y], label=name, **look.as_line, **options)
            if ends:
                last = (run[x][-1:], run[y][-1:])
                drawn += axes.plot(*last, markersize=5, label=name, **look.as_marker)
            for line in drawn if "seed" in run else ():
                kit.attach(line, seeds=run["seed"])


def draw_seeds(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    seeds: Sequence[int],
    colour: str,
    label: str,
) -> None:
    """A dot for each seed of a series, behind the lines and marks of means."""
    dots = kit.extra(axes, x, y, kit.ONE_SEED, kit.SEED, zorder=1.9, markeredgecolor=colour)
    kit.attach(dots, tags=[label], seeds=seeds)


def power_law(
    axes: Axes, means: Mapping[Any, Value], power: float, label: str, look: kit.Look
) -> None:
    """A line from the first of the means, place -> mean, that grows like a power of the place."""
    known = {at: mean for at, mean in means.items() if mean is not None}
    if known:
        first, last = min(known), max(known)
        ends = [known[first], known[first] * (last / first) ** power]
        kit.extra(axes, [first, last], ends, label, look, zorder=1.5)


def line_figure(
    panels: Sequence[Lines],
    columns: int,
    height: float = 3.0,
    *,
    markers: bool = False,
    seeds: bool = False,
    y_label: str = "",
    styles: Mapping[Any, MethodStyle] | None = None,
    **sharing: Any,
) -> Figure:
    """A figure of panels in rows of up to `columns`, with one legend above.

    Args:
        panels: The panels.
        columns: How many stand side by side.
        height: Of a panel, in inches.
        markers: Whether to mark the places along a line.
        seeds: Whether to draw a dot for each seed.
        y_label: At the left edge of the figure.
        styles: The series in the legend and their styles (default: those of `method_styles`).
        **sharing: `sharex`, `sharey` and `width_ratios` of `Figure.subplots`.

    Raises:
        ValueError: There is no panel or no series.
    """
    styles = styles or kit.method_styles(name for panel in panels for name in panel.lines)
    kit.require(styles, "series")
    figure, grid = kit.panel_grid(len(panels), columns, height, **sharing)
    draw_panels(grid, panels, styles, markers, seeds, 84 // min(columns, len(panels)))
    figure.supylabel(y_label, fontsize=10)
    kit.legend_above(figure, kit.entries(styles, markers=markers))
    return figure


def x_axis(axes: Axes, panel: Lines, places: Sequence[Any]) -> None:
    """Label and scale the horizontal axis of a panel as its `x_axis` says."""
    axes.set_xlabel(panel.x)
    if panel.x_axis == "integer":
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    elif panel.x_axis == "falling":
        falling_loss_axis(axes, places)
    elif panel.x_axis == "layers":
        _name_layers(axes, places)
    elif places and panel.x_axis != "auto":
        value_axis(axes, places, panel.ticks, log=panel.x_axis == "values")


def falling_loss_axis(axes: Axes, losses: Iterable[float]) -> None:
    """A log axis of the training loss on which training goes from left to right."""
    axes.set_xlabel("clean training loss (nats), falling")
    losses = [loss for loss in losses if loss > 0 and math.isfinite(loss)]
    if losses:
        kit.log_axis(axes.xaxis, min(losses) / 1.1, max(losses) * 1.1)
        axes.invert_xaxis()


def _name_layers(axes: Axes, layers: Sequence[str]) -> None:
    """Upright names, of as many layers as there is room for, the first and the last among them."""
    if layers:
        named = list(range(0, len(layers), math.ceil(len(layers) / 12)))
        named[-1] = len(layers) - 1
        axes.set_xticks(named, [layers[i] for i in named], rotation=90)


def draw_rows(
    axes: Axes,
    rows: Mapping[str, Mapping[str, Sequence[Value]]],
    styles: Mapping[str, MethodStyle],
    summary: Callable[[Iterable[Value]], kit.Summary] = summarize,
    seeds: bool = True,
) -> dict[tuple[str, str], tuple[float, kit.Summary]]:
    """Rows of marks with intervals, the first row at the top.

    Args:
        axes: The panel.
        rows: Row -> series -> one value per seed.
        styles: Series -> how it is drawn.
        summary: Makes a mean and an interval of the seeds.
        seeds: Whether to draw a dot for each seed.

    Returns:
        (row, series) -> height and summary.
    """
    found = {}
    for i, (row, by_series) in enumerate(rows.items()):
        for j, (name, values) in enumerate(by_series.items()):
            at = i + 0.8 * ((j + 0.5) / len(by_series) - 0.5)
            seen, look = summary(values), styles[name]
            found[row, name] = at, seen
            if seen.low is not None and seen.high is not None:
                ends = [seen.low, seen.high]
                axes.plot(ends, [at, at], color=look.colour, linewidth=1.4, label=name)
            if seen.mean is not None:
                (mark,) = axes.plot(
                    seen.mean, at, markersize=7, zorder=3, label=name, **look.as_marker
                )
                kit.attach(mark, intervals=[(axes.xaxis, seen.low, seen.high)])
            if seeds:
                # Each at a height of its own below the mark, since seeds may have the same value.
                room = 1 / len(by_series)
                heights = np.linspace(at + 0.16 * room, at + 0.36 * room, len(seen.values))
                draw_seeds(axes, seen.values, heights.tolist(), seen.seeds, look.colour, name)
    axes.set_yticks(range(len(rows)), [kit.wrapped(row) for row in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    return found


def right_labels(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> Axes:
    """Texts at the right edge, as tick labels of the axes returned: the layout leaves them room."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(places, texts)
    right.tick_params(axis="y", length=0, pad=6)
    right.grid(False)
    return right


def value_axis(axes: Axes, values: Iterable[float], most: int = 10, log: bool = True) -> None:
    """A horizontal axis with ticks at the values, or at every second, third ... of many."""
    values = sorted(set(values))
    if log:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 1.5, values[-1] * 1.5)
    name = kit.plain if values[0] == 0 or values[0] >= 1e-3 else kit.power_of_ten
    if len(values) > 6 and most > 6:
        axes.tick_params(axis="x", labelsize=8)
    shown = values[:: math.ceil(len(values) / most)]
    axes.set_xticks(shown, list(map(name, shown)))
    axes.xaxis.minorticks_off()


def logarithmic(axes: Axes, values: Iterable[float]) -> None:
    """A log axis about the values and, up to a decade beyond them, the bands that stand drawn.

    Left linear if no value is above 0.
    """
    values = [value for value in values if value > 0]
    if not values:
        return
    low, high = min(values), max(values)
    for panel in axes.get_shared_y_axes().get_siblings(axes):
        low = min(low, max(panel.dataLim.minposy, min(values) / 10))
        high = max(high, min(panel.dataLim.ymax, max(values) * 10))
    kit.log_axis(axes.yaxis, low / 1.2, high * 1.2)


def share_axis(axes: Axes, values: Iterable[float], depth: float = 1.0) -> None:
    """Scale an axis in per cent to the values, means and seeds; wide intervals are cut.

    With few seeds an interval can cover 0 to 100 %, which would hide every difference. Whatever
    lies more than `depth` below the best is cut, too.
    """
    if values := [value for value in values if math.isfinite(value)]:
        high = max(values)
        low = min(value for value in values if value >= high - depth)
        margin = max(0.01, 0.15 * (high - low))
        axes.set_ylim(max(low - margin, 0), min(high + margin, 1))
    kit.as_percent(axes.yaxis)
