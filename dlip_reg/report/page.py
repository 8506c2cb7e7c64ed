"""The report page: `report.html` and its figures, one folder that opens offline."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from dlip_reg.report.figures.style import style
from dlip_reg.report.files import Staged
from dlip_reg.report.numbers import format_constant, format_estimate, format_p_value

PAGE = "report.html"
FIGURES = "figures"
_DPI = 200  # twice the width of the page, for dense screens and paper
_VERDICTS = {  # class in the page's style sheet, sign before the word
    "supported": ("supported", "✓"),
    "contradicted": ("contradicted", "✗"),
    "no effect found": ("no-effect", "≈"),
    "undecided": ("undecided", "?"),
}


@dataclass(frozen=True)
class FigureItem:
    """A figure of the page: `name` names its files, `alt` says in words what it shows."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: plain-text paragraphs, then figures."""

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[FigureItem] = ()


def write_report(
    folder: str | Path,
    *,
    title: str,
    lead: str,
    claims: Sequence[Mapping[str, Any]],
    sections: Sequence[Section],
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html` and `figures/NAME.png` and `.svg` into `folder`; returns the page's path.

    All texts are plain and are escaped. `claims` are the objects of claims.json (a claim's
    "figures" that are not in `sections` get no link); `facts` says how the numbers came about,
    name -> value; `notes` are paragraphs at the end. Files are put in place only when all are
    written, the page last. The same input gives the same bytes.
    Raises ValueError for a figure name that is used twice or is no plain file name, OSError if the
    folder can't be written, which leaves what was there as it was.
    """
    folder = Path(folder)
    items = [item for section in sections for item in section.figures]
    _check_names([item.name for item in items])
    with Staged() as staged:
        for item in items:
            for kind in ("png", "svg"):
                staged.write(folder / FIGURES / f"{item.name}.{kind}", _rendered(item.figure, kind))
        page = _environment().get_template("report.html").render(
            title=title, lead=lead, facts=facts, notes=notes,
            tally=_tally(claims),
            claims=_claims_view(claims, [item.name for item in items]),
            sections=_sections_view(sections, claims),
        )  # fmt: skip
        staged.write(folder / PAGE, page.encode())
    return folder / PAGE


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
    environment.filters["estimate"] = lambda measured: format_estimate(
        measured["effect"], measured["ci_low"], measured["ci_high"]
    )
    environment.filters["constant"] = format_constant
    environment.filters["p_value"] = format_p_value
    return environment


def _tally(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    """(verdict, class, sign, how many claims) in the verdicts' own order, without the absent."""
    counts = Counter(claim["verdict"] for claim in claims)
    return [
        (verdict, *look, counts[verdict]) for verdict, look in _VERDICTS.items() if counts[verdict]
    ]


def _claims_view(
    claims: Sequence[Mapping[str, Any]], figure_names: Sequence[str]
) -> list[dict[str, Any]]:
    """The claims with what the page adds: the verdict's look and the numbers of their figures."""
    numbers = {name: number for number, name in enumerate(figure_names, start=1)}
    views = []
    for claim in claims:
        look, sign = _VERDICTS.get(claim["verdict"], _VERDICTS["undecided"])
        links = sorted((numbers[name], name) for name in claim["figures"] if name in numbers)
        views.append({**claim, "look": look, "sign": sign, "links": links})
    return views


def _sections_view(
    sections: Sequence[Section], claims: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The sections with figures numbered through the page, sized, and linked to their claims."""
    views, number = [], 0
    for section in sections:
        figures = []
        for item in section.figures:
            number += 1
            width, height = (round(100 * inches) for inches in item.figure.get_size_inches())
            figures.append(
                {
                    "number": number, "name": item.name, "alt": item.alt, "caption": item.caption,
                    "width": width, "height": height,
                    "claims": [claim["id"] for claim in claims if item.name in claim["figures"]],
                }
            )  # fmt: skip
        views.append({"title": section.title, "paragraphs": section.paragraphs, "figures": figures})
    return views
