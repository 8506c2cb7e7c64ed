"""Against values that were tried: strengths, learning rates and batch sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, TARGET, Figure, Value, styled, summarize
from dlip_reg.report.figures.series import Curve, Lines, Points

# A mean accuracy this far below the best is a mark at the foot, so that the rest has room.
COLLAPSED = 0.15
_DIVERGED: kit.Look = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "linestyle": "",
             "label": "a seed diverged"}  # fmt: skip
_BELOW: kit.Look = {
    "marker": "v",
    "markersize": 8,
    "linestyle": "",
    "label": "collapsed: below the axis",
}
_LOSSES = {"train_loss": "training loss (nats)", "validation_loss": "validation loss (nats)"}
_BRIGHTEST = 0.82  # of the colour map: what lies beyond is too pale on white
_POWER_LAWS = {
    "like the batch size (linear rule)": (1.0, {"color": GREY, "linewidth": 1.2}),
    "like its square root": (0.5, TARGET),
}
_STAR: kit.Look = {"marker": "*", "markersize": 14, "linestyle": "", "label": "best of all"}


def size_styles(sizes: Iterable[int]) -> dict[int, kit.MethodStyle]:
    """One style per batch size, from dark for the smallest to bright for the largest.

    The order shows in grey, too, and neighbours differ by line and marker.
    """
    sizes = sorted(sizes)
    shades = matplotlib.colormaps["plasma"]
    return {
        size: kit.MethodStyle(
            to_hex(shades(_BRIGHTEST * i / max(1, len(sizes) - 1))),
            kit.MARKERS[i % len(kit.MARKERS)],
            kit.LINES[i % len(kit.LINES)],
        )
        for i, size in enumerate(sizes)
    }


@styled
def strength_curves(
    panels: Mapping[str, Mapping[str, Points]],
    linear: str = "",
    y_label: str = "validation accuracy (%)",
) -> Figure:
    """Accuracy against strength, with intervals over seeds.

    `panels`: title -> series label -> {strength: one accuracy in [0, 1] per seed}, on a log axis.
    The panel titled `linear` has dropout rates on a linear one.
    """
    styles = kit.method_styles(label for lines in panels.values() for label in lines)
    described = [
        Lines(title, lines, "percent", "dropout rate", "linear values", 3)
        if title == linear
        else Lines(title, lines, "percent", "strength", "values", 3)
        for title, lines in panels.items()
    ]
    figure, grid = kit.panel_grid(len(panels), 3, 3.0, sharey=True)
    series.draw_panels(grid, described, styles, markers=True)
    series.share_axis(grid[0], COLLAPSED)
    foot = grid[0].get_ylim()[0]
    below = [
        (axes, label, at)
        for axes, lines in zip(grid, panels.values(), strict=True)
        for label, by_strength in lines.items()
        for at, seeds in by_strength.items()
        if (mean := summarize(seeds).mean) is not None and mean < foot
    ]
    for axes, label, at in below:
        transform = axes.get_xaxis_transform()
        axes.plot(at, 0.03, color=styles[label].colour, transform=transform, **_BELOW)
    figure.supylabel(y_label, fontsize=10)
    handles = kit.entries(styles, markers=True)
    if below:
        handles.append(kit.entry(_BELOW["label"], color=GREY, **_BELOW))
    kit.legend_above(figure, handles + kit.band_handles(grid), columns=4)
    return figure


@styled
def tried_values(
    values: Mapping[str, Points],
    x_label: str,
    y_label: str,
    percent: bool = True,
    goal: float | None = None,
    goal_label: str = "accuracy to reach",
) -> Figure:
    """A quantity against the values tried, by method, on a log axis.

    `values`: method -> value tried, above 0 -> one number per seed, None where the run diverged; a
    value at which any seed did is left out of the line and marked by a cross. The numbers are
    accuracies in [0, 1] or, without `percent`, above 0 on a log axis. `goal` is marked.
    """
    whole = {method: _without_diverged(by_value) for method, by_value in values.items()}
    panel = Lines(
        "", whole, "percent" if percent else "log", x_label, "values",
        rules={} if goal is None else {goal_label: goal},
    )  # fmt: skip
    lost = [kit.entry("a seed diverged", color=GREY, **_DIVERGED)] if whole != values else []
    figure, (axes,) = series.line_figure([panel], 1, 3.8, markers=True, extra=lost)
    for row, (method, look) in enumerate(kit.method_styles(values).items()):
        # At the foot of the panel, the methods above one another.
        crossed = [x for x in values[method] if x not in whole[method]]
        axes.plot(crossed, [0.03 + 0.05 * row] * len(crossed), color=look.colour,
                  transform=axes.get_xaxis_transform(), zorder=4, **_DIVERGED)  # fmt: skip
    axes.set_ylabel(y_label)
    series.value_axis(axes, (x for by_value in values.values() for x in by_value))
    return figure


@styled
def loss_by_size(rows: Mapping[str, Mapping[int, Sequence[Curve]]]) -> Figure:
    """Training and validation loss side by side, a line for each batch size, a row for each case.

    `rows`: case -> batch size -> one curve per seed with "epoch", "train_loss" and
    "validation_loss" (nats; None from where the run diverged). Means and bands are geometric; the
    axis ends at the interval the runs begin in, so that what diverges leaves it.
    """
    styles = size_styles({size for row in rows.values() for size in row})
    panels, low, top = [], math.inf, 0.0
    for case, by_size in rows.items():
        for key in _LOSSES:
            named = {_batch(size): runs for size, runs in by_size.items()}
            lines = {name: series.curve_points(runs, "epoch", key) for name, runs in named.items()}
            for points in lines.values():
                line = [s for s in map(series.geometric, points.values()) if s.mean is not None]
                if means := series.means(line):
                    low = min(low, *means)
                    top = max(top, means[0], min(line[0].high or 0, 10 * means[0]))
            note = _diverged(by_size, key)
            panels.append(
                Lines(case, lines, "log", "epoch", seeds=series.seeds_of(named), note=note)
            )
    limits = (low / 1.2, 1.2 * top) if top else None
    figure, grid = series.line_figure(
        [replace(panel, limits=limits) for panel in panels], 2, 2.7,
        styles={_batch(size): look for size, look in styles.items()}, legend_columns=5,
        sharey=True,
    )  # fmt: skip
    for axes, label in zip(grid, [*_LOSSES.values()] * len(rows), strict=True):
        axes.set_ylabel(label)
    return figure


@styled
def best_rates(
    losses: Mapping[int, Points], best: Mapping[int, Sequence[Value]], slope: str = ""
) -> Figure:
    """Validation loss against the learning rate by batch size, and the best rate against the size.

    `losses`: batch size -> rate -> one loss per seed (None: diverged). `best`: batch size -> the
    best rate of each seed. `slope`: what to say of the line through them. Both axes on the right
    are logarithmic; two grey lines show a rate that grows like the size and like its square root.
    """
    kit.require(losses, "batch size")
    sizes = size_styles({*losses, *best})
    styles = {_batch(size): look for size, look in sizes.items()}
    figure, (left, right) = kit.panel_grid(2, 2, 3.5)
    whole = {_batch(size): _without_diverged(by_rate) for size, by_rate in losses.items()}
    panel = Lines("where each batch size does best", whole, "log", "learning rate", "values", 6)
    series.draw_panels([left], [panel], styles, markers=True)
    for name, by_rate in whole.items():
        means = {rate: series.geometric(seeds).mean for rate, seeds in by_rate.items()}
        if found := [(mean, rate) for rate, mean in means.items() if mean is not None]:
            lowest, rate = min(found)
            left.plot(rate, lowest, color=styles[name].colour, markeredgecolor="white",
                      zorder=5, **_STAR)  # fmt: skip
    left.set_ylabel("validation loss (nats)")
    _draw_best(right, best, sizes)
    right.set_title(kit.wrapped(slope, 44) if slope else "best rate", loc="left")
    handles = [
        *kit.entries({_batch(size): sizes[size] for size in losses}),
        kit.entry("best of all", color=GREY, **_STAR | {"markersize": 11}),
        *(kit.entry(label, **look) for label, (_, look) in _POWER_LAWS.items()),
        kit.seed_entry(),
    ]
    kit.legend_above(figure, handles + kit.band_handles([left]), columns=5)
    return figure


def _draw_best(
    axes: Axes, best: Mapping[int, Sequence[Value]], styles: Mapping[int, kit.MethodStyle]
) -> None:
    every = {size: series.geometric(values) for size, values in best.items()}
    summaries = {size: s for size, s in every.items() if s.mean is not None}
    means = dict(zip(summaries, series.means(summaries.values()), strict=True))
    axes.set(xlabel="batch size", ylabel="best learning rate")
    if not summaries:
        kit.write_note(axes, "no finite value")
        return
    series.value_axis(axes, summaries)
    axes.plot(list(means), list(means.values()), color="black", zorder=2)
    for size, summary in summaries.items():
        look = styles[size]
        # Seeds that chose the same rate side by side.
        count = len(summary.values)
        places = [size * 1.06 ** (i - (count - 1) / 2) for i in range(count)]
        series.draw_seeds(axes, places, summary.values, summary.seeds, look.colour, _batch(size))
        axes.plot(size, means[size], markersize=8, zorder=3, label=_batch(size), **look.as_marker)
    series.logarithmic(axes, [value for s in summaries.values() for value in s.values])
    first, last = min(summaries), max(summaries)
    for label, (power, line) in _POWER_LAWS.items():
        ends = [means[first], means[first] * (last / first) ** power]
        axes.plot([first, last], ends, zorder=1.5, label=label, **line)


@styled
def against_size(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[Value]]]],
    y_label: str = "",
    percent: bool = False,
) -> Figure:
    """Quantities against the batch size, one panel each, with intervals and a dot for each seed.

    `panels`: title -> series -> batch size -> one value per seed. Values on log axes have geometric
    means; with `percent` they are shares in [0, 1] on one common linear axis.
    """
    described = [
        Lines(title, lines, "percent" if percent else "log", "batch size", "values")
        for title, lines in panels.items()
    ]
    return series.line_figure(
        described, 2, 2.9, markers=True, seeds=True, y_label=y_label, sharey=percent
    )[0]


@styled
def convergence(curves: Mapping[int, Sequence[Curve]], target: float) -> Figure:
    """Training loss against the examples seen, in epochs, and against the time, by batch size.

    `curves`: batch size -> one curve per seed with "epoch", "seconds" and "train_loss" (nats), that
    ends where it has reached `target`. All axes are logarithmic; epoch 0 is left out.
    """
    kit.require(curves, "batch size")
    styles = size_styles(curves)
    figure, panels = kit.panel_grid(2, 2, 3.3, sharey=True)
    titles = ("for the same number of examples", "for the same time on this machine")
    keys = {"epoch": "examples seen (epochs)", "seconds": "seconds of training"}
    for axes, (key, label), title in zip(panels, keys.items(), titles, strict=True):
        places = []
        for size, runs in curves.items():
            look = styles[size]
            for run in filter(None, runs):
                x, y, seed = run[key][1:], run["train_loss"][1:], run.get("seed")
                name = {"label": _batch(size)}
                series.draw_run(axes, x, y, seed, linewidth=1.2, **name, **look.as_line)
                series.draw_run(axes, x[-1:], y[-1:], seed, markersize=5, **name, **look.as_marker)
                places += [place for place in x if kit.is_finite(place) and place > 0]
        axes.axhline(target, zorder=1.5, label="the preset loss", **TARGET)
        axes.set_xlabel(label)
        axes.set_title(title, loc="left")
        if places:
            kit.log_axis(axes.xaxis, min(places) / 1.2, max(places) * 1.2)
        else:
            kit.write_note(axes, "no finite value")
    panels[0].set_ylabel("training loss (nats)")
    every = [run for runs in curves.values() for run in runs if run]
    losses = [loss for run in every for loss in run["train_loss"][1:]]
    series.logarithmic(panels[0], [loss for loss in losses if kit.is_finite(loss)] + [target])
    handles = kit.entries({_batch(size): styles[size] for size in curves})
    kit.legend_above(figure, [*handles, kit.entry("the preset loss", **TARGET)], columns=5)
    return figure


@styled
def batch_noise(
    variance: Mapping[int, Sequence[Value]], gaps: Mapping[str, Sequence[Curve]]
) -> Figure:
    """The noise of batch norm against the batch size, and the generalization gap as the loss falls.

    `variance`: batch size -> per seed, the variance of a fixed example's activations over random
    other examples in the batch, as a share of that between examples. `gaps`: method -> one curve
    per seed with "level", of the training loss, and "gap", test - training loss, in nats.
    """
    noise, like = "noise of batch norm", "like 1 ÷ batch size"
    styles = {noise: kit.MethodStyle(kit.COLOURS[2], "o", "-"), **kit.method_styles(gaps)}
    panels = [
        Lines(
            "variance over batches ÷ variance between examples",
            {noise: variance} if variance else {}, "log", "batch size", "values",
        ),
        Lines(
            "test − training loss (nats)",
            {method: series.curve_points(runs, "level", "gap") for method, runs in gaps.items()},
            seeds=series.seeds_of(gaps), x_axis="falling", x="clean training loss (nats), falling",
        ),
    ]  # fmt: skip
    figure, (left, _) = series.line_figure(
        panels, 2, 3.3, markers=True, styles=styles, extra=[kit.entry(like, **TARGET)],
        legend_columns=3,
    )  # fmt: skip
    means = {size: series.geometric(values).mean for size, values in variance.items()}
    if known := {size: mean for size, mean in means.items() if mean is not None}:
        first, last = min(known), max(known)
        ends = [known[first], known[first] * first / last]
        left.plot([first, last], ends, zorder=1.5, label=like, **TARGET)
    return figure


def _batch(size: int) -> str:
    return f"batch {size:,}"


def _without_diverged(by_value: Points) -> Points:
    """The values at which every seed has a finite number."""
    return {x: seeds for x, seeds in by_value.items() if seeds and all(map(kit.is_finite, seeds))}


def _diverged(by_size: Mapping[int, Sequence[Curve]], key: str) -> str:
    """Counts, by size, the runs without a finite loss at the end."""
    lost = {
        size: sum(run is None or not kit.is_finite(run[key][-1]) for run in runs)
        for size, runs in by_size.items()
    }
    return "; ".join(
        f"{_batch(size)}: {count} of {len(by_size[size])} diverged"
        for size, count in lost.items()
        if count
    )
