"""Whether claims hold elsewhere: verdicts by claim and setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.report.figures.claims import VERDICT_STYLES
from dlip_reg.report.figures.style import WIDTH, Figure, styled, wrapped
from dlip_reg.report.wording import estimate_text, verdict_name

_ROW, _HEAD = 0.62, 0.9  # inches
_TINT = 0.22


@styled
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
    figure = Figure(figsize=(WIDTH, _HEAD + _ROW * len(matrix)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, len(settings)), ylim=(len(matrix), 0))
    for row, results in enumerate(matrix.values()):
        for column, setting in enumerate(settings):
            claim = results.get(setting)
            if claim is None:
                continue
            verdict = verdict_name(claim.verdict)
            colour, _ = VERDICT_STYLES[verdict]
            axes.add_patch(
                Rectangle((column, row), 1, 1, facecolor=colour, alpha=_TINT, edgecolor="none")
            )
            axes.text(
                column + 0.5, row + 0.28, verdict, ha="center", va="center", weight="bold",
                color=colour,
            )  # fmt: skip
            text = estimate_text(claim, claim.unit, claim.null)
            width = round(84 / len(settings))
            axes.text(
                column + 0.5, row + 0.68, wrapped(text, width), ha="center", va="center", size=7.5
            )
    axes.set_xticks(
        [i + 0.5 for i in range(len(settings))], [s.replace(" × ", "\n") for s in settings]
    )
    axes.xaxis.tick_top()
    axes.set_yticks([i + 0.5 for i in range(len(matrix))], list(matrix))
    axes.tick_params(length=0)
    for i in range(1, len(matrix)):
        axes.axhline(i, color="white", linewidth=2)
    for i in range(1, len(settings)):
        axes.axvline(i, color="white", linewidth=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(False)
    return figure
