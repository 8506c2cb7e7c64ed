"""Figures of judged claims: all claims on one axis, and their intervals look by look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.evidence.rule import Estimate
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    is_finite,
    legend_above,
    styled,
    wrapped,
)
from dlip_reg.report.numbers import format_number
from dlip_reg.report.wording import estimate_text, level_text, seeds_text, verdict_name

VERDICT_STYLES = {  # colour, marker: told apart in grey by the marker
    "supported": ("#00795A", "o"),
    "contradicted": ("#B34700", "X"),
    "no effect": ("#0067A3", "s"),
    "undecided": ("#666666", "D"),
    "not measurable": ("#7A4A9E", "P"),
    "estimate": ("#666666", "|"),
}
_CONTROLS = {"negative": "v", "positive": "^"}
_CLIP = 8.0  # effects beyond this many smallest effects are written as numbers
_BAND = "#DDDDDD"
_LINE = 0.18  # inches of a line of text

Span = tuple[float, float, float]


@dataclass(frozen=True)
class _Mark:
    """An estimate on a line of its own.

    Attributes:
        span: (low, effect, high) in smallest effects, the asserted side positive; None if unknown.
        text: What stands at the right edge.
        small: Drawn small and hollow.
    """

    span: Span | None
    colour: str
    marker: str
    text: str
    small: bool = False


@styled
def claims_summary(claims: Sequence[ClaimResult]) -> Figure:
    """Draw all claims and their controls on one axis, in units of each claim's smallest effect.

    Effects are turned so that the asserted side is on the right. The band at ±1 holds the effects
    that are too small to matter. Estimates beyond the axis end in an arrow and a number.

    Args:
        claims: The claims in the order of the rows, top down.

    Raises:
        ValueError: If there is no claim.
    """
    rows = []
    for claim in claims:
        name = verdict_name(claim.verdict)
        text = f"{name}, {seeds_text(claim.look or claim.n_seeds)}\n{wrapped(_effect(claim), 36)}"
        marks = [_Mark(_span(claim, claim), *VERDICT_STYLES[name], text)]
        for control in claim.controls:
            text = f"{control.kind} control" + (f": {control.verdict}" if control.verdict else "")
            marks.append(_Mark(_span(claim, control), GREY, _CONTROLS[control.kind], text, True))
        rows.append((claim.sentence, marks))
    figure = _forest(rows)
    handles = _verdict_handles(verdict_name(claim.verdict) for claim in claims)
    kinds = {control.kind for claim in claims for control in claim.controls}
    handles += [
        Line2D([], [], color=GREY, marker=marker, markersize=6, markerfacecolor="white",
               linewidth=1.2, label=f"{kind} control")
        for kind, marker in _CONTROLS.items()
        if kind in kinds
    ]  # fmt: skip
    legend_above(figure, [*handles, _band_handle()], columns=5)
    return figure


@styled
def looks_figure(claims: Sequence[ClaimResult]) -> Figure:
    """Draw how each claim's interval changed from look to look, on the axis of `claims_summary`.

    The look at which the verdict fell has the verdict's marker; other looks are hollow.

    Args:
        claims: The claims in the order of the rows, top down.

    Raises:
        ValueError: If there is no claim.
    """
    rows = []
    for claim in claims:
        colour, marker = VERDICT_STYLES[verdict_name(claim.verdict)]
        marks = []
        estimates = [e for e in claim.estimates if is_finite(e.effect)]
        for estimate in estimates or claim.estimates[-1:]:
            last = estimate is claim.estimates[-1]
            text = f"{seeds_text(estimate.n_seeds)}, {level_text(estimate.level)}"
            if last:
                text += f": {verdict_name(claim.verdict)}"
            decided = last and claim.look is not None
            marks.append(
                _Mark(
                    _span(claim, estimate), colour if decided else GREY,
                    marker if decided else "o", text, not decided,
                )
            )  # fmt: skip
        rows.append((claim.sentence, marks))
    figure = _forest(rows)
    handles = _verdict_handles(verdict_name(c.verdict) for c in claims if c.look is not None)
    handles.append(
        Line2D([], [], color=GREY, marker="o", markersize=5, markerfacecolor="white",
               linewidth=1.2, label="look without a verdict")
    )  # fmt: skip
    legend_above(figure, [*handles, _band_handle()], columns=5)
    return figure


def _forest(rows: Sequence[tuple[str, Sequence[_Mark]]]) -> Figure:
    """Draw one block per claim: its sentence on the left and its marks below one another."""
    if not rows:
        raise ValueError("There is no claim to draw: give at least one.")
    labels = [wrapped(sentence, 36) for sentence, _ in rows]
    tops, places, anchors = [], [], []
    height = 0.0  # of the blocks so far, in lines of text
    for label, (_, marks) in zip(labels, rows, strict=True):
        top = height + 0.4
        tops.append(top)
        at = top
        # A short sentence stands beside the first mark, a long one begins at the block's top.
        first = (marks[0].text.count("\n") + 1) / 2 if marks else 0.5
        fits = label.count("\n") + 1 <= 2 * first
        anchors.append((top + first, "center") if fits else (top, "top"))
        for mark in marks:
            lines = mark.text.count("\n") + 1
            places.append((at + lines / 2, mark))
            at += lines + 0.1
        height = max(at, top + label.count("\n") + 1) + 0.4
    figure = Figure(figsize=(WIDTH, 1.35 + _LINE * height), layout="constrained")
    axes = figure.subplots()
    spans = [mark.span for _, mark in places if mark.span]
    reach = max([2.0, *(1.15 * abs(x) for span in spans for x in span)])
    limit = min(reach, _CLIP)
    axes.axvspan(-1, 1, color=_BAND, linewidth=0, zorder=0)
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    for top in tops[1:]:
        axes.axhline(top - 0.4, color="#BBBBBB", linewidth=0.8, zorder=1)
    for at, mark in places:
        _draw(axes, at, mark, limit)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(height, 0)
    axes.grid(False, axis="y")
    axes.set_yticks([at for at, _ in anchors], labels)
    for tick, (_, alignment) in zip(axes.yaxis.get_major_ticks(), anchors, strict=True):
        tick.label1.set_verticalalignment(alignment)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "effect ÷ smallest relevant effect\n← against the claim          as the claim says →"
    )
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks([at for at, _ in places], [mark.text for _, mark in places])
    for tick, (_, mark) in zip(right.yaxis.get_major_ticks(), places, strict=True):
        tick.label2.set_color(mark.colour)
    right.tick_params(axis="y", length=0, pad=6)
    right.grid(False)
    return figure


def _draw(axes: Axes, place: float, mark: _Mark, limit: float) -> None:
    if mark.span is None:
        axes.text(
            0.5 * limit, place, "not measured", ha="center", va="center", color=GREY, fontsize=9,
            fontstyle="italic",
        )  # fmt: skip
        return
    low, effect, high = mark.span
    edge = 0.97 * limit
    size, width = (5.5, 1.2) if mark.small else (8, 2)
    face = "white" if mark.small else mark.colour
    if low < edge and high > -edge:
        ends = [max(low, -edge), min(high, edge)]
        axes.plot(ends, [place, place], color=mark.colour, linewidth=width, solid_capstyle="butt")
    for cut, at, arrow in ((low < -edge, -edge, "<"), (high > edge, edge, ">")):
        if cut:
            axes.plot(at, place, marker=arrow, markersize=size, color=mark.colour)
    if abs(effect) <= edge:
        axes.plot(
            effect, place, marker=mark.marker, markersize=size, color=mark.colour,
            markerfacecolor=face, zorder=3,
        )  # fmt: skip
    else:
        side = 1 if effect > 0 else -1
        box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "linewidth": 0}
        axes.text(
            side * 0.9 * limit, place, f"{format_number(effect, 2)} ×", color=mark.colour,
            ha="right" if side > 0 else "left", va="center", fontsize=8 if mark.small else 9,
            bbox=box, zorder=3,
        )  # fmt: skip


def _span(claim: ClaimResult, estimate: ClaimResult | ControlResult | Estimate) -> Span | None:
    numbers = [estimate.ci_low, estimate.effect, estimate.ci_high]
    if not (is_finite(numbers[1]) and claim.smallest_effect):
        return None
    if not (is_finite(numbers[0]) and is_finite(numbers[2])):
        numbers = [numbers[1]] * 3
    scaled = [claim.direction * number / claim.smallest_effect for number in numbers]
    return min(scaled), scaled[1], max(scaled)


def _effect(claim: ClaimResult) -> str:
    return estimate_text(claim, claim.unit, claim.null)


def _verdict_handles(names: Iterable[str]) -> list[Line2D | Patch]:
    present = set(names)
    return [
        Line2D([], [], color=colour, marker=marker, markersize=7, label=name)
        for name, (colour, marker) in VERDICT_STYLES.items()
        if name in present
    ]


def _band_handle() -> Patch:
    return Patch(color=_BAND, linewidth=0, label="too small to matter")
