"""Figures that put methods or claims below one another, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    MethodStyle,
    Summary,
    Value,
    as_percent,
    is_finite,
    legend_above,
    styled,
    styles_for,
    summarize,
    wrapped,
)
from dlip_reg.report.numbers import format_estimate, format_number

VERDICT_STYLES = {  # colour, marker: told apart in grey by the marker
    "supported": ("#00795A", "o"),
    "contradicted": ("#C24E00", "X"),
    "no effect found": ("#0067A3", "s"),
    "undecided": ("#6B6B6B", "D"),
}
_CLIP = 8.0  # claims' effects beyond this many smallest effects become arrows


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


@styled
def claims_summary(claims: Sequence[Mapping[str, Any]]) -> Figure:
    """Forest plot of the claims: one row each, in units of the smallest effect worth calling one.

    Effects are turned so that the right is the side the note asserts; the band is ±1, an effect not
    worth the name. What lies off the axis is cut and ends in an arrow. Keys used: sentence, effect,
    ci_low, ci_high, unit, smallest_effect, direction, verdict.
    """
    if not claims:
        raise ValueError("There is no claim to draw: give at least one.")
    labels = [wrapped(claim["sentence"], 36) for claim in claims]
    lines = [max(2, label.count("\n") + 1) for label in labels]
    # Row heights follow the sentences' lengths, so that long ones do not run into each other.
    places = [-(sum(lines[:i]) + lines[i] / 2) for i in range(len(lines))]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.23 * sum(lines)), layout="constrained")
    axes = figure.subplots()
    spans = [_in_smallest_effects(claim) for claim in claims]
    reach = max([2.0, *(1.15 * abs(x) for span in spans if span for x in span)])
    limit = min(reach, _CLIP)
    axes.axvspan(-1, 1, color="#E4E4E4", linewidth=0, zorder=0)
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    for place, span, claim in zip(places, spans, claims, strict=True):
        _draw_claim(axes, place, span, limit, str(claim["verdict"]))
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-sum(lines), 0)
    axes.grid(False, axis="y")
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "effect ÷ smallest effect worth calling one\n"
        "← against the note          in the note's favour →"
    )
    _right_labels(axes, places, [_verdict_text(claim) for claim in claims])
    legend_above(figure, _claims_handles(claims), columns=6)
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


def _in_smallest_effects(claim: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """(low, effect, high) in units of the smallest effect, the note's side positive."""
    numbers = [claim[key] for key in ("ci_low", "effect", "ci_high")]
    if not (is_finite(numbers[1]) and claim["smallest_effect"]):
        return None
    if not (is_finite(numbers[0]) and is_finite(numbers[2])):
        numbers = [numbers[1]] * 3
    scaled = [claim["direction"] * number / claim["smallest_effect"] for number in numbers]
    return min(scaled), scaled[1], max(scaled)


def _draw_claim(
    axes: Axes, place: float, span: tuple[float, float, float] | None, limit: float, verdict: str
) -> None:
    colour, marker = VERDICT_STYLES.get(verdict, VERDICT_STYLES["undecided"])
    if span is None:
        axes.text(
            0.5 * limit, place, "not measured", ha="center", va="center", color=GREY, fontsize=9,
            fontstyle="italic",
        )  # fmt: skip
        return
    low, effect, high = span
    edge = 0.97 * limit
    axes.plot([max(low, -edge), min(high, edge)], [place, place], color=colour, linewidth=2)
    for cut, at, arrow in ((low < -limit, -edge, "<"), (high > limit, edge, ">")):
        if cut:
            axes.plot(at, place, marker=arrow, markersize=8, color=colour)
    if abs(effect) <= edge:
        axes.plot(effect, place, marker=marker, markersize=8, color=colour, zorder=3)
    else:
        side = 1 if effect > 0 else -1
        axes.text(
            side * 0.92 * limit, place + 0.22, f"{format_number(effect, 2)} ×", color=colour,
            ha="right" if side > 0 else "left", va="bottom", fontsize=9,
        )  # fmt: skip


def _verdict_text(claim: Mapping[str, Any]) -> str:
    estimate = format_estimate(claim["effect"], claim["ci_low"], claim["ci_high"])
    measured = f"\n{estimate} {claim['unit']}" if is_finite(claim["effect"]) else ""
    return f"{claim['verdict']}{measured}"


def _claims_handles(claims: Sequence[Mapping[str, Any]]) -> list[Any]:
    present = {str(claim["verdict"]) for claim in claims}
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, markersize=7, label=verdict)
        for verdict, (colour, marker) in VERDICT_STYLES.items()
        if verdict in present
    ]
    return [*handles, Patch(color="#E4E4E4", linewidth=0, label="too small to count")]
