"""Judged claims: all on one axis, their intervals look by look, and where else they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.evidence.rule import Estimate
from dlip_reg.report import wording
from dlip_reg.report.figures import kit, series
from dlip_reg.report.figures.kit import GREY, Figure, style
from dlip_reg.report.numbers import format_number

_OTHERS = {"negative control": "v", "positive control": "^", "look without a verdict": "o"}
_CLIP = 8.0  # effects beyond this many smallest effects are written as numbers
_BAND = "#DDDDDD"
_LINE = 0.18  # inches of a line of text

Span = tuple[float, float, float]

# How marks are drawn: those of claims, then the small, hollow ones.
_LOOKS: dict[str, kit.Look] = {
    name: {"color": colour, "marker": marker, "markersize": 8, "linewidth": 2}
    for name, (_, colour, marker) in wording.VERDICTS.items()
} | {
    name: {"color": GREY, "marker": marker, "markersize": 5.5, "linewidth": 1.2,
           "markerfacecolor": "white"}
    for name, marker in _OTHERS.items()
}  # fmt: skip


class _Mark(NamedTuple):
    """An estimate on a line of its own.

    Attributes:
        span: (low, effect, high) in smallest effects, the asserted side positive; or why there is
            none.
        text: What stands at the right edge.
        label: The legend's entry it goes with, of `_LOOKS`.
    """

    span: Span | str
    text: str
    label: str


@style()
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
        name = wording.verdict_name(claim.verdict)
        effect = wording.estimate_text(claim, claim.unit, claim.null)
        if ratio := wording.ratio_text(claim, claim.unit, claim.null, with_interval=False):
            effect += f": {ratio}"
        seeds = wording.seeds_text(claim.look or claim.n_seeds)
        text = f"{name}, {seeds}\n{kit.wrapped(effect, 36)}"
        marks = [_Mark(_span(claim, claim), text, name)]
        for control in claim.controls:
            text = f"{control.kind} control" + (f": {control.verdict}" if control.verdict else "")
            marks.append(_Mark(_span(claim, control), text, f"{control.kind} control"))
        rows.append((claim, marks))
    return _forest(rows)


@style()
def looks_figure(claims: Sequence[ClaimResult]) -> Figure:
    """Draw how each claim's interval changed from look to look, on the axis of `claims_summary`.

    The look at which the claim was decided has the verdict's marker; other looks are hollow.

    Args:
        claims: The claims in the order of the rows, top down.

    Raises:
        ValueError: If there is no claim.
    """
    rows = []
    for claim in claims:
        verdict, marks = wording.verdict_name(claim.verdict), []
        estimates = [e for e in claim.estimates if kit.is_finite(e.effect)]
        for estimate in estimates or claim.estimates[-1:]:
            text = f"{wording.seeds_text(estimate.n_seeds)}, {wording.level_text(estimate.level)}"
            label = "look without a verdict"
            if estimate is claim.estimates[-1]:
                text += f": {verdict}"
                label = label if claim.look is None else verdict
            marks.append(_Mark(_span(claim, estimate), text, label))
        rows.append((claim, marks))
    return _forest(rows)


def _forest(rows: Sequence[tuple[ClaimResult, Sequence[_Mark]]]) -> Figure:
    """Draw one block per claim: its sentence on the left and its marks below one another."""
    kit.require(rows, "claim")
    tops, places = [], []
    height = 0.0  # of the blocks so far, in lines of text
    sentences = [kit.wrapped(claim.sentence, 36) for claim, _ in rows]
    for sentence, (_, marks) in zip(sentences, rows, strict=True):
        top = at = height + 0.4
        tops.append(top)
        for mark in marks:
            lines = mark.text.count("\n") + 1
            places.append((at + lines / 2, mark))
            at += lines + 0.1
        height = max(at, top + sentence.count("\n") + 1) + 0.4
    figure, (axes,) = kit.panel_grid(1, 1, 0.45 + _LINE * height)
    spans = [mark.span for _, mark in places if not isinstance(mark.span, str)]
    limit = min(max([2.0, *(1.15 * abs(x) for span in spans for x in span)]), _CLIP)
    axes.axvspan(-1, 1, color=_BAND, linewidth=0, zorder=0)
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    for top in tops[1:]:
        axes.axhline(top - 0.4, color="#BBBBBB", linewidth=0.8, zorder=1)
    for at, mark in places:
        before = len(axes.lines)
        _draw(axes, at, mark, limit)
        for line in axes.lines[before:]:
            kit.attach(line, text=mark.text)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(height, 0)
    axes.grid(False, axis="y")
    axes.set_yticks(tops, sentences, verticalalignment="top")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "effect ÷ smallest relevant effect\n← against the claim          as the claim says →"
    )
    right = series.right_labels(axes, [at for at, _ in places], [mark.text for _, mark in places])
    for text, (_, mark) in zip(right.get_yticklabels(), places, strict=True):
        text.set_color(_LOOKS[mark.label]["color"])
    drawn = {mark.label for _, mark in places}
    handles = [kit.entry(name, **look) for name, look in _LOOKS.items() if name in drawn]
    # Claims that assert a value want to be in the band.
    named = any(not claim.direction for claim, _ in rows)
    label = "too small to matter" + ", or the value claimed" * named
    kit.legend_above(figure, [*handles, Patch(color=_BAND, linewidth=0, label=label)])
    return figure


def _draw(axes: Axes, place: float, mark: _Mark, limit: float) -> None:
    if isinstance(mark.span, str):
        axes.text(
            0.5 * limit, place, mark.span, ha="center", va="center", color=GREY, fontsize=9,
            fontstyle="italic",
        )  # fmt: skip
        return
    low, effect, high = mark.span
    edge = 0.97 * limit
    look = _LOOKS[mark.label] | {"label": mark.label}
    if low < edge and high > -edge:
        ends = [max(low, -edge), min(high, edge)]
        axes.plot(ends, [place] * 2, **look | {"marker": "", "solid_capstyle": "butt"})
    for cut, at, arrow in ((low < -edge, -edge, "<"), (high > edge, edge, ">")):
        if cut:
            axes.plot(at, place, **look | {"marker": arrow, "markerfacecolor": look["color"]})
    if abs(effect) <= edge:
        axes.plot(effect, place, zorder=3, **look)
    else:
        side = 1 if effect > 0 else -1
        box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "linewidth": 0}
        axes.text(
            side * 0.9 * limit, place, f"{format_number(effect, 2)} ×", color=look["color"],
            ha="right" if side > 0 else "left", va="center", fontsize=9, bbox=box, zorder=3,
        )  # fmt: skip


def _span(claim: ClaimResult, estimate: ClaimResult | ControlResult | Estimate) -> Span | str:
    low, effect, high = estimate.ci_low, estimate.effect, estimate.ci_high
    if not kit.is_finite(effect):
        return "not measured"
    if not claim.smallest_effect:
        return "no smallest effect"
    numbers = (low, effect, high) if kit.is_finite(low) and kit.is_finite(high) else (effect,) * 3
    scaled = [(claim.direction or 1) * number / claim.smallest_effect for number in numbers]
    return min(scaled), scaled[1], max(scaled)


@style()
def replication_matrix(
    matrix: Mapping[str, Mapping[str, ClaimResult]], settings: Sequence[str]
) -> Figure:
    """Draw a table of verdicts and effects, a row for each claim and a column for each setting.

    Args:
        matrix: Claim -> setting -> result; an absent result leaves its cell empty.
        settings: The columns.

    Raises:
        ValueError: If there is no claim or no setting.
    """
    if not matrix or not settings:
        raise ValueError("A replication matrix needs a claim and a setting.")
    figure, (axes,) = kit.panel_grid(1, 1, 0.62 * len(matrix))
    axes.set(xlim=(0, len(settings)), ylim=(len(matrix), 0))
    centred: kit.Look = {"ha": "center", "va": "center"}
    for row, results in enumerate(matrix.values()):
        for column, claim in enumerate(map(results.get, settings)):
            if claim is None:
                continue
            verdict = wording.verdict_name(claim.verdict)
            _, colour, _ = wording.VERDICTS[verdict]
            look: kit.Look = {"facecolor": (colour, 0.22), "edgecolor": "white", "linewidth": 2}
            axes.add_patch(Rectangle((column, row), 1, 1, **look))
            axes.text(column + 0.5, row + 0.28, verdict, weight="bold", color=colour, **centred)
            text = wording.estimate_text(claim, claim.unit, claim.null)
            text = kit.wrapped(text, round(84 / len(settings)))
            axes.text(column + 0.5, row + 0.68, text, size=7.5, **centred)
    names = [setting.replace(" × ", "\n") for setting in settings]
    axes.set_xticks([i + 0.5 for i in range(len(settings))], names)
    axes.xaxis.tick_top()
    axes.set_yticks([i + 0.5 for i in range(len(matrix))], list(matrix))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure
