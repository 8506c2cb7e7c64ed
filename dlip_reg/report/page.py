"""The report page: `report.html` and its figures, one folder that opens offline."""

from __future__ import annotations

import base64
import html
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.files import Staged
from dlip_reg.report import wording
from dlip_reg.report.figures.claims import claims_summary, looks_figure
from dlip_reg.report.figures.style import style
from dlip_reg.report.numbers import format_constant

PAGE = "report.html"
FIGURES = "figures"
_DPI = 200  # twice the width of the page, for dense screens and paper
_VERDICTS = {  # class in the page's style sheet, sign before the word
    "supported": ("supported", "✓"),
    "contradicted": ("contradicted", "✗"),
    "no effect": ("no-effect", "≈"),
    "undecided": ("undecided", "?"),
    "not measurable": ("not-measurable", "⊘"),
    "estimate": ("estimate", "~"),
}


@dataclass(frozen=True)
class FigureItem:
    """A figure of the page. A notebook displays it with its caption.

    Attributes:
        name: Names its files and is the anchor on the page.
        figure: The figure.
        alt: What it shows, in words, for readers who cannot see it.
        caption: What is plotted and what to see.
    """

    name: str
    figure: Figure
    alt: str
    caption: str

    def _repr_html_(self) -> str:
        png = base64.b64encode(_rendered(self.figure, "png")).decode()
        width = round(100 * self.figure.get_figwidth())
        return (
            f'<figure><img width="{width}" alt="{html.escape(self.alt)}" '
            f'src="data:image/png;base64,{png}">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


@dataclass(frozen=True)
class Section:
    """A part of the results: plain-text paragraphs, then figures."""

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[FigureItem] = ()


def write_report(
    folder: str | Path,
    *,
    title: str,
    lead: str,
    claims: Sequence[ClaimResult] = (),
    sections: Sequence[Section] = (),
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    protocol: str | None = None,
    open_claims: Sequence[str] = (),
    claims_in_lab: int | None = None,
) -> Path:
    """Write `report.html` and `figures/NAME.png` and `.svg` into `folder`.

    The page adds the figures "claims" and, once a claim had more than one look, "looks". Sections
    without text and figures are left out. Files are put in place only when all are written, the
    page last; figures in the folder that are not on this page are removed. The same input gives
    the same bytes. All texts are plain and are escaped.

    Args:
        folder: Where to write; made if absent.
        title: The page's title.
        lead: The first paragraph of the summary.
        claims: The judged claims in the order of the page.
        sections: The parts of the results after the claims.
        facts: Name -> value of what was run: data, model, seeds, versions.
        notes: Remarks on these results, listed under Limitations.
        protocol: SHA-256 hash of the protocol that was fixed before the runs.
        open_claims: Ids of claims that the study continues with; the page says so at the top.
        claims_in_lab: Number of claims the error was divided by; default: those given.

    Returns:
        The path of the page.

    Raises:
        ValueError: A figure name is used twice or is no plain file name.
        OSError: The folder cannot be written; what was there stays as it was.
    """
    folder = Path(folder)
    summary = summary_figures(claims)
    sections = [section for section in sections if section.figures or section.paragraphs]
    items = [*summary, *(item for section in sections for item in section.figures)]
    names = [item.name for item in items]
    _check_names(names)
    views = dict(zip(names, _figure_views(items, claims), strict=True))
    with Staged() as staged:
        for item in items:
            for kind in ("png", "svg"):
                staged.write(folder / FIGURES / f"{item.name}.{kind}", _rendered(item.figure, kind))
        page = _environment().get_template("report.html").render(
            title=title, lead=lead, facts=facts or {}, notes=notes, protocol=protocol,
            open_text=wording.open_text(claims, open_claims),
            tally=_tally(claims),
            claims=[_claim_view(claim, names, claim.id in open_claims) for claim in claims],
            summary=[views[item.name] for item in summary],
            sections=[
                {
                    "title": section.title, "paragraphs": section.paragraphs,
                    "figures": [views[item.name] for item in section.figures],
                }
                for section in sections
            ],
            claims_in_lab=claims_in_lab or len(claims),
            looks=wording.looks_text(claims_in_lab or len(claims)) if claims else "",
            terms=wording.terms_used(_texts(claims, sections)),
        )  # fmt: skip
        staged.write(folder / PAGE, page.encode())
    if (folder / FIGURES).is_dir():
        for path in (folder / FIGURES).iterdir():
            if path.stem not in names:  # of an earlier page about other claims
                path.unlink()
    return folder / PAGE


def summary_figures(claims: Sequence[ClaimResult]) -> list[FigureItem]:
    if not claims:
        return []
    verdicts = "; ".join(f"{c.id} {wording.verdict_name(c.verdict)}" for c in claims)
    controls = (
        " Small hollow marks below a claim are its controls: the effect must be absent in a "
        "negative control and present in a positive one."
        if any(claim.controls for claim in claims)
        else ""
    )
    items = [
        FigureItem(
            "claims",
            claims_summary(claims),
            f"One row for each claim with its effect, interval and verdict: {verdicts}.",
            "All claims on one axis. Each effect and its interval over seeds is divided by the "
            "smallest relevant effect, and turned so that the right is the side the claim "
            f"asserts. The grey band holds effects too small to matter.{controls}",
        )
    ]
    if any(len(claim.estimates) > 1 for claim in claims):
        items.append(
            FigureItem(
                "looks",
                looks_figure(claims),
                "For each claim, its interval at each look: "
                + "; ".join(
                    f"{claim.id} {wording.verdict_note(claim, False)}" for claim in claims
                )
                + ".",
                "The interval of each claim at each look, with its number of seeds and confidence "
                "level. The filled mark is the look at which the verdict fell; claims decided "
                "earlier needed fewer seeds.",
            )
        )  # fmt: skip
    return items


def _check_names(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"Two figures are named {name!r}: each needs a name of its own.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ValueError(
                f"A figure can't be named {name!r}: use letters, digits, hyphens and underscores."
            )


def _rendered(figure: Figure, kind: str) -> bytes:
    # Without dates and versions, so that the same figure has the same bytes.
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    content = io.BytesIO()
    with style():
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    # Laying it out takes as long as drawing it, and holds for the other format, too.
    figure.set_layout_engine("none")
    return content.getvalue()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dlip_reg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["estimate"] = wording.estimate_text
    return environment


def _badge(verdict: str | None) -> dict[str, str]:
    name = wording.verdict_name(verdict)
    css, sign = _VERDICTS[name]
    return {"css": css, "sign": sign, "name": name}


def _tally(claims: Sequence[ClaimResult]) -> list[tuple[dict[str, str], int]]:
    """(badge, how many claims) in the verdicts' own order, without the absent."""
    counts = Counter(wording.verdict_name(claim.verdict) for claim in claims)
    return [(_badge(verdict), counts[verdict]) for verdict in _VERDICTS if counts[verdict]]


def _claim_view(claim: ClaimResult, names: Sequence[str], is_open: bool) -> dict[str, Any]:
    """A claim with what the page says about it, and the numbers of its figures."""
    links = sorted((names.index(name) + 1, name) for name in claim.figures if name in names)
    return {
        "claim": claim,
        "badge": _badge(claim.verdict),
        "links": links,
        "estimate": wording.estimate_text(claim, claim.unit, claim.null),
        "ratio": wording.ratio_text(claim),
        "level": wording.level_text(claim.level),
        "seeds": wording.seeds_text(claim.n_seeds),
        "null": format_constant(claim.null),
        "threshold": wording.threshold_text(claim),
        "verdict_note": wording.verdict_note(claim, is_open),
        "controls": [
            {
                "control": control,
                "estimate": wording.estimate_text(control, claim.unit, claim.null),
                "status": wording.control_status(control, claim),
                "seeds": wording.seeds_text(control.n_seeds),
            }
            for control in claim.controls
        ],
    }


def _figure_views(
    items: Sequence[FigureItem], claims: Sequence[ClaimResult]
) -> list[dict[str, Any]]:
    """The figures numbered through the page, sized, and linked to their claims."""
    views = []
    for number, item in enumerate(items, start=1):
        width, height = (round(100 * inches) for inches in item.figure.get_size_inches())
        views.append(
            {
                "number": number, "name": item.name, "alt": item.alt, "caption": item.caption,
                "width": width, "height": height,
                # Images must not be inverted in dark mode: a photograph would be its negative.
                "dark": not any(axes.images for axes in item.figure.axes),
                "claims": [claim.id for claim in claims if item.name in claim.figures],
            }
        )  # fmt: skip
    return views


def _texts(claims: Sequence[ClaimResult], sections: Sequence[Section]) -> list[str]:
    """The texts of the page in which terms of the glossary can occur."""
    texts = [text for claim in claims for text in (claim.unit, claim.experiment)]
    texts += [part.unit for claim in claims for part in claim.parts]
    for section in sections:
        texts += section.paragraphs
        texts += [item.caption for item in section.figures]
    return texts
