"""The report page: `report.html` and its figures, one folder that opens offline."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure as MatplotlibFigure
from PIL import Image

from dlip_reg.errors import DlipRegError
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.files import Staged
from dlip_reg.report import wording
from dlip_reg.report.figures.claims import claims_summary, looks_figure
from dlip_reg.report.figures.interactive import describe
from dlip_reg.report.figures.kit import CUT_INTERVAL, INTERVAL, Figure, rendered

PAGE = "report.html"
FIGURES = "figures"
_DPI = 160  # 1,440 pixels: for dense screens, slides and paper


@dataclass(frozen=True)
class FigureItem:
    """A figure of the page.

    Attributes:
        name: Names its files and is the anchor on the page.
        figure: The figure.
        alt: What it shows, in words, for readers who cannot see it.
        caption: What is plotted and what to see.
        frames: Name -> figure of a slider in the interactive figure, which begins with the last
            one.
        slider: What the slider changes.

    Raises:
        ValueError: `figure` is not a Matplotlib figure.
    """

    name: str
    figure: MatplotlibFigure
    alt: str
    caption: str
    frames: Mapping[str, MatplotlibFigure] = field(default_factory=dict)
    slider: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.figure, MatplotlibFigure):
            raise ValueError(
                f"figure must be a Matplotlib figure, not {type(self.figure).__name__}."
            )

    @property
    def is_interactive(self) -> bool:
        """Whether it was made by `report.figures`: any other may hold what plotly would not show.

        Such a figure is shown as Matplotlib draws it.
        """
        return isinstance(self.figure, Figure)

    @property
    def has_images(self) -> bool:
        """Whether it holds pictures or heat maps, of which dark mode would show the negative."""
        drawn = any(axes.images for axes in self.figure.axes)
        details: Any = getattr(self.figure, "details", {})
        return drawn or any("grid" in known for known in details.values())


class FigureNameError(DlipRegError, ValueError):
    """A name that figures share, or that cannot be that of a file."""


class Code(str):
    """A paragraph that is code: it is set as such, with a button that copies it."""

    is_code = True


@dataclass(frozen=True)
class Section:
    """A part of the results: plain-text paragraphs or `Code`, then figures.

    Attributes:
        title: Its heading.
        paragraphs: Its text.
        figures: Its figures.
        claim: The id of the claim whose figures these are: they follow the claim's own text, and
            title and paragraphs are left out.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[FigureItem] = ()
    claim: str = ""


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
    seeds: int | None = None,
    families: Sequence[int] = (),
    summary: Sequence[FigureItem] | None = None,
) -> Path:
    """Write `report.html` and `figures/NAME.png` and `.svg` into `folder`.

    The page adds the figures "claims" and, once a claim had more than one look, "looks". Each claim
    is followed by its figures, then come the other sections; those without text and figures are
    left out. Files are put in place only when all are written, the page last; figures in the folder
    that are not on this page are removed. The same input gives the same bytes. All texts are plain
    and are escaped. The page holds its images, and plotly.js with the data of interactive figures,
    so that it can be sent alone and opens offline.

    Args:
        folder: Where to write; made if absent.
        title: The page's title.
        lead: The first paragraph of the summary.
        claims: The judged claims in the order of the page.
        sections: The figures of the claims, and the parts of the results after them.
        facts: Name -> value of what was run: data, model, seeds, versions.
        notes: Remarks on these results, listed under Limitations.
        protocol: SHA-256 hash of the protocol that was fixed before the runs.
        open_claims: Ids of claims that the study continues with; the page says so at the top.
        seeds: Number of seeds of the look that the page shows, for this sentence.
        families: Number of claims by which the error of each lab was divided; default: one lab
            with those given.
        summary: The figures of the summary; default: `summary_figures` of the claims.

    Returns:
        The path of the page.

    Raises:
        FigureNameError: A figure name is used twice or is not a plain file name.
        OSError: The folder cannot be written; what was there stays as it was.
    """
    folder = Path(folder)
    summary = summary_figures(claims, open_claims) if summary is None else summary
    figures_of: dict[str, list[FigureItem]] = {claim.id: [] for claim in claims}
    others = []
    for section in sections:
        if section.claim in figures_of:
            figures_of[section.claim] += section.figures
        elif section.figures or section.paragraphs:
            others.append(section)
    groups = [summary, *figures_of.values(), *(section.figures for section in others)]
    items = list(chain.from_iterable(groups))
    numbers = {item.name: number for number, item in enumerate(items, start=1)}
    _check_names([item.name for item in items])
    verdicts = Counter(wording.verdict_name(claim.verdict) for claim in claims)
    images, plots = {}, {}
    # Pillow compresses a figure while Matplotlib draws the next one.
    with Staged() as staged, ThreadPoolExecutor(1) as compressing:
        for item in items:
            png = rendered(item.figure, "png", _DPI)
            images[item.name] = compressing.submit(_inline, png)
            # Laying it out takes as long as drawing it, and holds for a later drawing, too.
            item.figure.set_layout_engine("none")
            staged.write(folder / FIGURES / f"{item.name}.png", png)
            staged.write(folder / FIGURES / f"{item.name}.svg", rendered(item.figure, "svg", _DPI))
            if item.is_interactive:
                plots[item.name] = _plot(item)
        page = _template().render(
            title=title, lead=lead, facts=facts or {}, notes=notes, protocol=protocol,
            claims=claims, open_claims=open_claims, seeds=seeds,
            families=list(families) or [len(claims)], summary=summary, sections=others,
            items=items, numbers=numbers, wording=wording, figures_of=figures_of,
            bounded=any(map(wording.is_bounded, claims)),
            images=images, plots=_packed(json.dumps(plots, allow_nan=False)), plotly=_plotly(),
            tally={name: verdicts[name] for name in wording.VERDICTS if verdicts[name]},
            # In which the glossary looks for its terms: a dataclass as text holds all its texts.
            text=f"{claims} {sections}".lower(),
        )  # fmt: skip
        staged.write(folder / PAGE, page)
    for path in (folder / FIGURES).glob("*"):
        # Of an earlier page about other claims.
        if path.suffix in (".png", ".svg") and path.stem not in numbers:
            path.unlink()
    return folder / PAGE


def summary_figures(
    claims: Sequence[ClaimResult], open_claims: Sequence[str] = ()
) -> list[FigureItem]:
    """The figures "claims" and, once a claim had more than one look, "looks"."""
    if not claims:
        return []
    verdicts = "; ".join(f"{c.id} {wording.verdict_name(c.verdict)}" for c in claims)
    more = ""
    if not all(claim.direction for claim in claims):
        more += " A claim that names a value holds inside the band and fails on either side of it."
    if any(claim.controls for claim in claims):
        more += (
            " Small hollow marks below a claim are its controls: the effect must be absent in a "
            "negative control and present in a positive one."
        )
    all_claims = FigureItem(
        "claims",
        claims_summary(claims),
        f"One row for each claim with its effect, interval and verdict: {verdicts}.",
        "All claims on one axis. Each effect and its interval over seeds is divided by the "
        "smallest relevant effect, and turned so that the right is the side the claim asserts. "
        f"The grey band holds effects too small to matter.{more}",
    )
    if not any(len(claim.estimates) > 1 for claim in claims):
        return [all_claims]
    looks = "; ".join(
        f"{claim.id} {wording.verdict_note(claim, claim.id in open_claims)}" for claim in claims
    )
    by_look = FigureItem(
        "looks",
        looks_figure(claims),
        f"For each claim, its interval at each look: {looks}.",
        "The interval of each claim at each look, with its number of seeds and confidence level. "
        "The filled mark is the look at which the claim was decided; claims decided earlier "
        "needed fewer seeds.",
    )
    return [all_claims, by_look]


def _inline(png: bytes) -> str:
    """A PNG file as a WebP URL without loss in up to 256 colours: a quarter of the space."""
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(dither=Image.Dither.NONE)
    content = io.BytesIO()
    image.convert("RGB").save(content, "WEBP", lossless=True, quality=60, method=3)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def _plot(item: FigureItem) -> dict[str, Any]:
    """The data of the interactive figure."""
    drawn = item.frames if len(item.frames) > 1 else {"": item.figure}
    legends = [legend for figure in drawn.values() for legend in figure.legends]
    handles = [handle for legend in legends for handle in legend.legend_handles if handle]
    # One entry for the intervals, also where the axis cuts them in some frames only.
    intervals = [handle for handle in handles if handle.get_label() in (INTERVAL, CUT_INTERVAL)]
    if any(handle.get_label() == CUT_INTERVAL for handle in intervals):
        for handle in intervals:
            handle.set_label(CUT_INTERVAL)
    frames = [{"name": name, **describe(figure)} for name, figure in drawn.items()]
    return {"slider": item.slider, "frames": frames}


def _packed(text: str) -> str:
    """The text compressed, as letters that can stand in a script element: the page unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _check_names(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise FigureNameError(f"Two figures are named {name!r}: each needs one of its own.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise FigureNameError(
                f"A figure can't be named {name!r}: use letters, digits, hyphens and underscores."
            )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("dlip_reg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html")
