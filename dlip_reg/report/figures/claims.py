"""Figures of judged claims: all claims on one axis, and their intervals look by look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.evidence.rule import Estimate
from dlip_reg.report.figures.series import right_labels
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    entry,
    is_finite,
    legend_above,
    require,
    styled,
    wrapped,
)
from dlip_reg.report.numbers import format_number
from dlip_reg.report.wording import estimate_text, level_text, seeds_text, verdict_name

VERDICT_STYLES = {  # colour, marker: distinguished in grey by the marker
    "supported": ("#00795A", "o"),
    "contradicted": ("#B34700", "X"),
    "no effect": ("#0067A3", "s"),
    "undecided": ("#666666", "D"),
    "not measurable": ("#7A4A9E", "P"),
    "estimate": ("#666666", "|"),
}
_CONTROLS = {"negative": "v", "positive": "^"}
_HOLLOW = {"color": GREY, "linewidth": 1.2, "markersize": 5.5, "markerfacecolor": "white"}
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
        effect = wrapped(estimate_text(claim, claim.unit, claim.null), 36)
        text = f"{name}, {seeds_text(claim.look or claim.n_seeds)}\n{effect}"
        marks = [_Mark(_span(claim, claim), *VERDICT_STYLES[name], text)]
        for control in claim.controls:
            text = f"{control.kind} control" + (f": {control.verdict}" if control.verdict else "")
            marks.append(_Mark(_span(claim, control), GREY, _CONTROLS[control.kind], text, True))
        rows.append((wrapped(claim.sentence, 36), marks))
    kinds = {control.kind for claim in claims for control in claim.controls}
    handles = [
        entry(f"{kind} control", marker=marker, **_HOLLOW)
        for kind, marker in _CONTROLS.items()
        if kind in kinds
    ]
    return _forest(
        rows, {verdict_name(claim.verdict) for claim in claims}, [*handles, _band(claims)]
    )


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
            look = (colour, marker) if decided else (GREY, "o")
            marks.append(_Mark(_span(claim, estimate), *look, text, not decided))
        rows.append((wrapped(claim.sentence, 36), marks))
    verdicts = {verdict_name(claim.verdict) for claim in claims if claim.look is not None}
    hollow = entry("look without a verdict", marker="o", **_HOLLOW)
    return _forest(rows, verdicts, [hollow, _band(claims)])


def _forest(
    rows: Sequence[tuple[str, Sequence[_Mark]]], verdicts: set[str], handles: Sequence[Any]
) -> Figure:
    """Draw one block per claim: its sentence on the left and its marks below one another.

    The legend has the marks of the verdicts and the handles.
    """
    require(rows, "claim")
    tops, places = [], []
    height = 0.0  # of the blocks so far, in lines of text
    for sentence, marks in rows:
        top = at = height + 0.4
        tops.append(top)
        for mark in marks:
            lines = mark.text.count("\n") + 1
            places.append((at + lines / 2, mark))
            at += lines + 0.1
        height = max(at, top + sentence.count("\n") + 1) + 0.4
    figure = Figure(figsize=(WIDTH, 1.35 + _LINE * height), layout="constrained")
    axes = figure.subplots()
    spans = [mark.span for _, mark in places if mark.span]
    limit = min(max([2.0, *(1.15 * abs(x) for span in spans for x in span)]), _CLIP)
    axes.axvspan(-1, 1, color=_BAND, linewidth=0, zorder=0)
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    for top in tops[1:]:
        axes.axhline(top - 0.4, color="#BBBBBB", linewidth=0.8, zorder=1)
    for at, mark in places:
        _draw(axes, at, mark, limit)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(height, 0)
    axes.grid(False, axis="y")
    axes.set_yticks(tops, [sentence for sentence, _ in rows], verticalalignment="top")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "effect ÷ smallest relevant effect\n← against the claim          as the claim says →"
    )
    right = right_labels(axes, [at for at, _ in places], [mark.text for _, mark in places])
    for label, (_, mark) in zip(right.get_yticklabels(), places, strict=True):
        label.set_color(mark.colour)
    shown = [
        entry(name, color=colour, marker=marker, markersize=7)
        for name, (colour, marker) in VERDICT_STYLES.items()
        if name in verdicts
    ]
    legend_above(figure, [*shown, *handles], columns=5)
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
    scaled = [(claim.direction or 1) * number / claim.smallest_effect for number in numbers]
    return min(scaled), scaled[1], max(scaled)


def _band(claims: Sequence[ClaimResult]) -> Patch:
    """The legend's entry of the band, which claims that assert a value want to be in."""
    named = any(not claim.direction for claim in claims)
    label = "too small to matter" + ", or the value claimed" * named
    return Patch(color=_BAND, linewidth=0, label=label)
