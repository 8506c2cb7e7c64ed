"""A lab's page: its claims on one axis, then its own sections, and no figure of an earlier page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlip_reg.report.figures import claims_summary
from dlip_reg.report.page import FIGURES, FigureItem, Section, write_report


def write_lab_report(
    folder: str | Path,
    *,
    title: str,
    lead: str,
    claims: Sequence[Mapping[str, Any]],
    sections: Sequence[Section],
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Path:
    """`write_report` with the claims' summary in front, if there are any, and no empty section.

    Figures in the folder that are not of this page are removed.
    """
    sections = [section for section in sections if section.figures or section.paragraphs]
    if claims:
        sections = [_summary(claims), *sections]
    page = write_report(
        folder,
        title=title,
        lead=lead,
        claims=claims,
        sections=sections,
        facts=facts,
        notes=notes,
    )
    shown = {item.name for section in sections for item in section.figures}
    for path in (page.parent / FIGURES).iterdir():
        if path.stem not in shown:  # of an earlier page about other claims
            path.unlink()
    return page


def _summary(claims: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        "All claims on one axis",
        (
            "Each effect is divided by the smallest one worth calling an effect, and turned so "
            "that the right is the side the note asserts.",
        ),
        (
            FigureItem(
                "claims",
                claims_summary(claims),
                "One row for each claim with its effect, interval and verdict: "
                + "; ".join(f"{claim['id']} {claim['verdict']}" for claim in claims)
                + ".",
                "Effects with Holm-adjusted 95 % intervals over seeds; shaded: too small to count.",
            ),
        ),
    )
