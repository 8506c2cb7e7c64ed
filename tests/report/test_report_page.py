"""The page: whole or not there, the same bytes each time, nothing asked for over the network."""

import base64
import io
import math
import re
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import report_samples as samples
from blank_pictures import blank_pictures
from matplotlib.figure import Figure
from PIL import Image

from dlip_reg.evidence.claims import ControlResult, PartResult
from dlip_reg.report import FigureItem, Section, figures, write_report
from dlip_reg.report.page import FigureNameError
from dlip_reg.report.wording import VERDICTS, control_status

FIGURES = ["claims", "looks", *samples.ON_PAGE]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


EMPTY = {"data": [], "layout": {}, "legend": []}


def small_report(folder, name="gaps", **changes):
    """A report of one figure; its pictures are blank, since drawing takes most time."""
    item = FigureItem(name, figures.method_accuracy({"none": [0.1, 0.2, 0.3]}), "Bars.", "Gaps.")
    parts = {
        "title": "Title",
        "lead": "Lead.",
        "claims": [samples.claim(estimates=())],
        "sections": [Section("Gaps", ["Text."], [item])],
        "facts": {"seeds": "3"},
    }
    with blank_pictures(describe=lambda figure: EMPTY, _plotly=lambda: ""):
        return write_report(folder, **parts | changes)


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text that is not markup."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source if isinstance(source, str) else source.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, tag, attribute):
        return [attrs[attribute] for name, attrs in self.tags if name == tag and attribute in attrs]


def test_each_figure_is_there_twice_and_on_the_page_with_its_texts_at_150_dpi_or_more(report):
    names = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert {path.as_posix() for path in contents(report)} == {"report.html"} | names
    page = Page(report / "report.html")
    own, others = page.values("img", "alt")[:2], page.values("img", "alt")[2:]
    assert all(claim.id in alt for claim in samples.claims() for alt in own)
    assert others == [f"Alt of {name}." for name in samples.ON_PAGE]
    assert all(f"Caption of {name}." in page.text for name in samples.ON_PAGE)
    for source in page.values("img", "src"):
        image = base64.b64decode(source.removeprefix("data:image/webp;base64,"))
        width, _ = Image.open(io.BytesIO(image)).size
        assert width >= 9 * 150  # figures are 9 inches wide


def test_every_link_leads_somewhere_and_nothing_outside(report):
    page = Page(report / "report.html")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in page.values("a", "href"):
        assert link[1:] in ids if link.startswith("#") else (report / link).is_file(), link
    assert {name for name, _ in page.tags}.isdisjoint({"iframe", "object", "base"})
    assert page.values("script", "src") == [] and page.values("link", "href") == ["data:,"]


def test_claims_link_their_figures_and_figures_their_claims(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    card = text[text.index('id="claim-reg-overfit"') :].partition("</article>")[0]
    assert 'href="#figure-training"' in card
    figure = text[text.index('id="figure-training"') :].partition("</figure>")[0]
    assert 'href="#claim-reg-overfit"' in figure


def said(path):
    return re.sub(r"\s+", " ", Page(path).text)


def of_claim(path, claim_id):
    """The words of one claim's card."""
    text = path.read_text(encoding="utf-8")
    card = text[text.index(f'<article class="claim" id="claim-{claim_id}"') :]
    return re.sub(r"\s+", " ", Page(card.partition("</article>")[0]).text)


def test_every_control_has_a_status(tmp_path):
    controls = tuple(
        ControlResult(kind, f"{kind} {verdict}", 0.0, -0.1, 0.1, 5, verdict)
        for kind, verdict in STATUS
    )
    words = of_claim(
        small_report(tmp_path, claims=[samples.claim(controls=controls)]), "reg-overfit"
    )
    for (kind, verdict), status in STATUS.items():
        assert f"{kind.capitalize()} control {status}: {kind} {verdict}: " in words
        assert f"{verdict or 'nats'} (5 seeds)" in words


@pytest.mark.parametrize(
    ("kind", "verdict", "n_seeds", "status"),
    [
        ("negative", "contradicted", 10, "fails"),  # the measurement is biased
        ("negative", "undecided", 4, "fails"),  # it has fewer than half of the seeds
        ("negative", "undecided", 5, "does not fail"),
        ("positive", "undecided", 10, "fails"),
        ("positive", "supported", 10, "passes"),
    ],
)
def test_the_control_that_makes_a_claim_not_measurable_fails(kind, verdict, n_seeds, status):
    control = ControlResult(kind, "itself", 0.0, -0.1, 0.1, n_seeds, verdict)
    claim = samples.claim(verdict="not measurable", look=10, effect=0.1342)
    assert control_status(control, claim) == status


def test_a_control_on_the_other_side_fails_only_where_the_claim_was_contradicted():
    control = ControlResult("negative", "itself", 0.1, 0.05, 0.15, 10, "contradicted")
    for changes in ({"effect": -0.1342}, {"effect": 0.01}, {"effect": 0.1342, "look": None}):
        claim = samples.claim(**{"verdict": "not measurable", "look": 10} | changes)
        assert control_status(control, claim) == "passes"


def test_a_control_decided_at_an_earlier_look_than_its_claim_does_not_fail():
    early = ControlResult("negative", "itself", 0.0, -0.1, 0.1, 5, "no effect")
    other = ControlResult("positive", "more images", 0.3, -1.0, 2.0, 20, "undecided")
    claim = samples.claim(verdict="not measurable", look=20, n_seeds=20, controls=(early, other))
    assert [control_status(control, claim) for control in claim.controls] == ["passes", "fails"]


def test_a_control_without_seeds_fails_also_beside_a_claim_without_seeds():
    control = ControlResult("negative", "itself", None, None, None, 0, "undecided")
    claim = samples.claim(verdict="not measurable", look=None, n_seeds=0, controls=(control,))
    assert control_status(control, claim) == "fails"


def test_a_claim_is_followed_by_its_figures(tmp_path):
    def item(name):
        return FigureItem(name, figures.method_accuracy({"none": [0.1, 0.2]}), "Bars.", "Gaps.")

    claims = [samples.claim(name, estimates=()) for name in ("first", "second")]
    claims = [replace(claim, figures=(f"of_{claim.id}",)) for claim in claims]
    sections = [
        Section("Others", ["Text."], [item("of_all")]),
        Section("Words", ["Without a figure."]),
        Section("Second", figures=[item("of_second")], claim="second"),
        Section("First", figures=[item("of_first")], claim="first"),
    ]
    text = small_report(tmp_path, claims=claims, sections=sections).read_text("utf-8")
    shown = re.findall(r'id="(claim-\w+|figure-of_\w+|section-\d)"', text)
    assert shown == [
        "claim-first", "figure-of_first", "claim-second", "figure-of_second", "section-1",
        "figure-of_all", "section-2",
    ]  # fmt: skip
    numbers = re.findall(r"<strong>Figure (\d)\.</strong>", text)
    assert numbers == ["1", "2", "3", "4"]
    assert "<h3>Second</h3>" not in text and "<h3>Others</h3>" in text


def test_an_effect_that_is_the_same_with_every_seed_has_no_interval(tmp_path):
    rate = PartResult("learning rate", "log-ratio", math.log(6), math.log(6), math.log(6))
    words = of_claim(small_report(tmp_path, claims=[samples.claim(parts=(rate,))]), "reg-overfit")
    assert "1.79 log-ratio (the same with every seed): 6.0 times as large" in words
    assert "[1.79, 1.79]" not in words and "from 6.0 times" not in words


def test_the_headings_are_those_of_a_paper(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", text) == ["Summary", "Results", "Methods", "Limitations"]
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


STATUS = {
    ("negative", "supported"): "fails",
    ("negative", "contradicted"): "passes",
    ("negative", "no effect"): "passes",
    ("negative", "undecided"): "does not fail",  # which shows little
    ("positive", "supported"): "passes",
    ("positive", "contradicted"): "fails",
    ("positive", "no effect"): "fails",
    ("positive", "undecided"): "is not decided",
    ("negative", None): "is estimated",  # fewer seeds than a verdict needs
}


def test_every_claim_has_its_verdict_and_its_look(report):
    for claim in samples.claims():
        words = of_claim(report / "report.html", claim.id)
        assert claim.sentence in words and claim.experiment in words
        assert claim.verdict in words and claim.smallest_effect_source in words
        if claim.verdict == "not measurable":
            # Without its seeds: a positive control may fail at a later look than the claim's.
            assert f"a control fails {claim.experiment}" in words
        else:
            when = f"decided at the look at {claim.look} seeds" if claim.look else "after 20 seeds"
            assert when in words
        assert all(note in words for note in claim.notes)
        assert all(part.label in words for part in claim.parts)


def test_effects_have_units_intervals_and_the_smallest_relevant_effect(tmp_path):
    log_ratio = samples.claim(
        "ratio", unit="log-ratio", effect=math.log(0.55), ci_low=math.log(0.47),
        ci_high=math.log(0.64), smallest_effect=math.log(2),
        parts=(PartResult("dropout", "nats", -0.151, -0.17, -0.13),
               PartResult("L2", "nats", None, None, None),
               PartResult("noise", "%", 90.0, -10.0, 190.0)),
    )  # fmt: skip
    points = samples.claim(
        "points", unit="percentage points", direction=1, null=-20.0, effect=17.0, ci_low=-113.0,
        ci_high=147.0, n_seeds=2, level=0.95, verdict=None, look=None,
        parts=(PartResult("accuracy", "%", 40.0, -60.0, 140.0),),
    )  # fmt: skip
    # One run was lost.
    page = small_report(tmp_path, claims=[samples.claim(n_seeds=9), log_ratio, points])
    words = of_claim(page, "reg-overfit")
    assert "−0.134 [−0.157, −0.111] nats" in words
    assert "98.5 % interval over 9 seeds" in words
    assert "decided at the look at 10 seeds" in words
    assert "−0.02 nats" in words and "Source: the resolution of the measurement" in words
    words = of_claim(page, "ratio")
    assert "45 % smaller (from 53 % smaller to 36 % smaller)" in words
    assert "−0.693 log-ratio (50 % smaller)" in words
    assert "dropout: −0.151 [−0.170, −0.130] nats" in words and "L2: not measured" in words
    assert "noise: 90 [−10, 190] %" in words
    words = of_claim(page, "points")
    # No accuracy differs by 147 points.
    assert "20 [−80, 120] percentage points relative to −20" in words
    assert "accuracy: 40 [0, 100] %" in words
    assert "estimate 2 seeds: no verdict with fewer than 5 seeds" in words
    assert "None" not in said(page) and "nan" not in said(page).split()


def test_the_methods_explain_the_rule_the_looks_and_the_controls(report):
    words = said(report / "report.html")
    for sentence in (
        "If the interval lies within ±δ, the verdict is no effect",
        "beyond δ on the claimed side, the claim is supported",
        "beyond δ on the other side, the claim is contradicted",
        "Verdicts are given at 5, 10 and 20 seeds only",
        "A verdict stays, and later seeds do not change it",
        # 1 - 0.01 / 8, 1 - 0.015 / 8 and 1 - 0.025 / 8
        "1 % at 5 seeds (intervals of 99.88 %), 1.5 % at 10 seeds (intervals of 99.81 %) "
        "and 2.5 % at 20 seeds (intervals of 99.69 %)",
        "divided by the 8 claims of the lab",
        "the claim is not measurable here and gets no verdict",
        "If the true effect is exactly δ, the verdict is a coin toss",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ):
        assert sentence in words
    assert "✓ 2 supported" in words and "⊘ 1 not measurable" in words


def test_the_error_is_divided_by_all_claims_of_the_lab(tmp_path):
    words = said(small_report(tmp_path, families=[17]))
    assert "divided by the 17 claims of the lab" in words
    assert "99.94 %" in words  # 1 - 0.01 / 17
    both = said(small_report(tmp_path, families=[17, 8]))
    assert "number of claims of the lab (17, 8)" in both and "99.94 %, 99.88 %" in both
    alone = said(small_report(tmp_path, families=[1]))
    assert "The error of each look is divided" not in alone
    assert "97.5 %" in alone  # 1 - 0.025


ITSELF = ControlResult("negative", "itself", 0.0, -0.01, 0.01, 5, "no effect")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"controls": (ITSELF,)}, "A control repeats the measurement where the answer is known"),
        ({"controls": (ITSELF,)}, "unless a control that was undecided fails with them"),
        ({"controls": (ITSELF,), "direction": 0},
         "gets more seeds, except where a claim that asserts a value is contradicted"),
        ({"effect": 1.0, "ci_low": 0.55, "ci_high": 1.0, "unit": "share of seeds"},
         "the interval takes in one more seed"),
    ],
    ids=["controls", "a control that fails later", "a value with controls", "bounded effect"],
)  # fmt: skip
def test_what_not_every_page_has_is_explained_where_there_is_one(tmp_path, changes, sentence):
    assert sentence in said(small_report(tmp_path, claims=[samples.claim(**changes)]))
    assert sentence not in said(small_report(tmp_path))


def test_the_glossary_has_the_units_of_the_page_only(report, tmp_path):
    def terms(path):
        _, _, glossary = path.read_text("utf-8").partition("<h3>Units and terms</h3>\n<dl>\n")
        return re.findall("<dt>(.*)</dt>", glossary.partition("</dl>")[0])

    assert terms(report / "report.html") == [
        "nat", "log-ratio", "percentage points", "decade", "clean loss", "matched loss",
        "Hoyer sparseness",
    ]  # fmt: skip
    assert terms(small_report(tmp_path)) == ["nat", "matched loss"]
    decades = samples.claim(unit="decades", experiment="Best rates.")
    assert terms(small_report(tmp_path, claims=[decades])) == ["decade"]


def test_open_claims_are_named_at_the_top(tmp_path):
    claims = samples.claims()[:4]
    five = claims[2].estimates[:1]
    waiting = [claim.id for claim in claims[2:4]]
    claims[2:4] = [
        replace(claim, verdict="undecided", look=None, n_seeds=4, estimates=five)
        for claim in claims[2:4]
    ]
    # The one was decided at 5 seeds and waits for its control, which they do not decide.
    control = ControlResult("positive", "Strong.", 0.1, -1.0, 1.2, 10, "undecided")
    claims[3] = replace(claims[3], verdict="not measurable", look=5, controls=(control,))
    page = small_report(tmp_path, claims=claims, open_claims=waiting, seeds=10)
    text = page.read_text(encoding="utf-8")
    assert "waits for its positive control: continues" in of_claim(page, waiting[1])
    assert f"{waiting[1]} waits for its positive control: continues" in text  # of the figure
    assert "Positive control is not decided: Strong: " in of_claim(page, waiting[1])
    notice = f"Look at 10 seeds: 2 of 4 claims are still open: {', '.join(waiting)}."
    assert notice in text.partition("<main>")[0]
    assert "still open at 5 seeds: continues" in of_claim(page, waiting[0])
    # An effect waits for its negative control, and the page says so where it stays undecided.
    claims[3] = replace(
        claims[3], verdict="supported", controls=(replace(control, kind="negative"),)
    )
    page = small_report(tmp_path, claims=claims, open_claims=waiting, seeds=10)
    note = "decided at the look at 5 seeds, waits for its negative control: continues"
    assert note in of_claim(page, waiting[1])
    page = small_report(tmp_path, claims=claims)
    note = "decided at the look at 5 seeds, with a negative control that is undecided"
    assert note in of_claim(page, waiting[1])
    assert "still open" not in small_report(tmp_path, claims=claims).read_text(encoding="utf-8")


def test_images_are_not_inverted_in_dark_mode(tmp_path):
    picture = figures.method_accuracy({"none": [0.1, 0.2]})
    picture.axes[0].imshow([[0.0, 1.0]])
    bars = figures.method_accuracy({"none": [0.1, 0.2]})
    items = [
        FigureItem(n, f, "Alt.", "Caption.") for n, f in (("picture", picture), ("bars", bars))
    ]
    page = small_report(tmp_path, sections=[Section("Figures", [], items)])
    text = page.read_text(encoding="utf-8")
    frames = dict(re.findall(r'<figure id="figure-(\w+)">\s*<div class="(.*?)"', text))
    assert frames["picture"] == "frame light"
    assert frames["bars"] == frames["claims"] == "frame"


DOT = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs=">'


@pytest.mark.parametrize(
    "fault",
    [
        "",
        '<img src="figures/absent.png">',
        '<script>console.error("broken")</script>',
        '<script>throw new Error("broken")</script>',
        '<link rel="stylesheet" href="http://example.invalid/style.css">',
        '<img src="https://example.invalid/picture.png">',
    ],
)
def test_the_browser_check_notices(tmp_path, open_report, fault):
    page = tmp_path / "report.html"
    page.write_text(f'<link rel="icon" href="data:,">{DOT}{fault}', encoding="utf-8")
    opened = open_report(tmp_path)
    with pytest.raises(AssertionError) if fault else nullcontext():
        opened.assert_whole_and_offline()


def test_hostile_strings_stay_text(tmp_path):
    hostile = "\"'><script>alert(1)</script>&amp;<img src=x onerror=alert(2)>{{ 7 * 7 }}"
    names = ("name", "sentence", "experiment", "unit", "smallest_effect_source")
    control = ControlResult("negative", hostile, 0.0, -0.1, 0.1, 5, "no effect")
    claim = samples.claim(
        **dict.fromkeys(names, hostile),
        controls=(control,),
        parts=(PartResult(hostile, hostile, 1.0, 0.0, 2.0),),
        figures=("gaps", hostile),
        notes=(hostile,),
    )
    item = FigureItem("gaps", figures.method_accuracy({hostile: [0.1, 0.2]}), hostile, hostile)
    small_report(
        tmp_path,
        title=hostile,
        lead=hostile,
        claims=[claim],
        sections=[Section(hostile, [hostile], [item])],
        facts={hostile: hostile},
        notes=[hostile],
        protocol=hostile,
        open_claims=[hostile],
    )
    page = Page(tmp_path / "report.html")
    assert not [tag for tag, attrs in page.tags if "onerror" in attrs]
    # plotly.js, the data of the figures, and what draws them.
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert page.values("img", "alt")[-1] == hostile
    assert page.text.count(hostile) >= 10


def test_a_figure_of_matplotlib_alone_is_shown_as_it_is(tmp_path):
    """What plotly.js would show of it has no intervals, and no angles."""
    figure = Figure()
    figure.add_subplot(121).errorbar([1, 2], [3, 4], yerr=1, label="losses")
    figure.add_subplot(122, projection="polar")
    figure.legend()
    item = FigureItem("own", figure, "Losses.", "Losses.")
    text = write_report(tmp_path, title="", lead="", sections=[Section("Own", (), [item])])
    text = text.read_text("utf-8")
    assert 'id="figure-own"' in text and 'class="plot"' not in text


@pytest.mark.parametrize("name", ["../gaps", "a b", "", ".hidden", "a/b", 'x"y', "claims"])
def test_a_figure_name_that_is_no_file_name_or_is_taken_is_refused(tmp_path, name):
    with pytest.raises(
        FigureNameError, match="Two figures" if name == "claims" else "can't be named"
    ):
        small_report(tmp_path, name=name)
    assert not contents(tmp_path)


def test_a_new_page_replaces_the_figures_of_the_old_one_and_no_other_files(tmp_path):
    small_report(tmp_path, name="earlier")
    (tmp_path / "figures" / "slides").mkdir()
    (tmp_path / "figures" / "slides" / "talk.txt").write_text("mine")
    (tmp_path / "figures" / "talk.odp").write_text("mine")
    small_report(tmp_path, name="gaps")
    names = {path.name for path in contents(tmp_path)}
    assert {"gaps.svg", "talk.odp", "talk.txt"} <= names
    assert not {"earlier.png", "earlier.svg"} & names


def test_a_full_disk_leaves_the_old_report_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource", reason="file size limits are POSIX")
    small_report(tmp_path)
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The first files fit, a later one does not: the system really refuses to write on.
    limit = max(len(content) for content in before.values()) - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError):
            small_report(tmp_path, title="Another title")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before


def test_white_words_on_verdict_colours_have_wcag_contrast(report):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    badges = (report / "report.html").read_text("utf-8").count('class="verdict" style="background')
    assert badges >= len(samples.claims())
    for name, (_, colour, _) in VERDICTS.items():
        # WCAG 2.1, 1.4.3: at least 4.5 : 1 for text of this size.
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, name
