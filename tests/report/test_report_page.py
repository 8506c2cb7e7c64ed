"""The page: whole or not there, the same bytes each time, nothing asked for over the network."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
import report_samples as samples

from dlip_reg.report import FigureItem, Section, figures, write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    samples.write_sample_report(folder)
    return folder


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def small_report(folder, name="gaps", **changes):
    item = FigureItem(name, figures.gap_bars({"none": [0.1, 0.2, 0.3]}), "Bars.", "Gaps.")
    parts = {
        "title": "Title",
        "lead": "Lead.",
        "claims": samples.claims(),
        "sections": [Section("Gaps", ["Text."], [item])],
        "facts": {"seeds": "3"},
    }
    return write_report(folder, **parts | changes)


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text that is no markup."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, tag, attribute):
        return [attrs[attribute] for name, attrs in self.tags if name == tag and attribute in attrs]


def test_the_folder_holds_the_page_and_each_figure_twice(report):
    names = {
        f"figures/{name}.{kind}" for name in samples.ALT_AND_CAPTION for kind in ("png", "svg")
    }
    assert {path.as_posix() for path in contents(report)} == {"report.html"} | names


def test_figures_have_alternative_text_captions_and_150_dpi_or_more(report):
    page = Page(report / "report.html")
    assert page.values("img", "alt") == [alt for alt, _ in samples.ALT_AND_CAPTION.values()]
    assert all(caption in page.text for _, caption in samples.ALT_AND_CAPTION.values())
    for source in page.values("img", "src"):
        header = (report / source).read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        assert int.from_bytes(header[16:20], "big") >= 9 * 150  # figures are 9 inches wide


def test_every_link_leads_somewhere_and_nothing_outside(report):
    page = Page(report / "report.html")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in page.values("a", "href"):
        assert link[1:] in ids if link.startswith("#") else (report / link).is_file(), link
    assert {name for name, _ in page.tags}.isdisjoint({"script", "iframe", "object", "base"})


def test_claims_link_their_figures_and_figures_their_claims(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    row = text[text.index('id="claim-reg-overfit"') : text.index('id="claim-reg-dropout-best"')]
    assert 'href="#figure-gaps"' in row and 'href="#figure-loss_curves"' in row
    figure = text[text.index('id="figure-gaps"') :].partition("</figure>")[0]
    assert 'href="#claim-reg-overfit"' in figure


def test_the_table_says_what_was_measured_and_decided(report):
    text = re.sub(r"\s+", " ", Page(report / "report.html").text)
    for said in (
        "−0.134 [−0.157, −0.111] nats",
        "99 % interval; p < 0.001 before adjustment",
        "asserted: an effect below 0, worth the name from −0.02",
        "9 seeds would decide at this spread",
        "how many seeds would decide is not known",
        "dropout −0.151 [−0.170, −0.130] nats",
        "L2 not measured",
        "✓ 3 supported",
        "? 2 undecided",
    ):
        assert said in text
    assert "None" not in text and "nan" not in text.split()


def test_the_same_input_gives_the_same_bytes(report, tmp_path):
    samples.write_sample_report(tmp_path)
    assert contents(tmp_path) == contents(report)


@pytest.mark.parametrize("width", [1000, 400])
def test_a_browser_shows_it_whole_without_the_network(report, open_report, width):
    page = open_report(report, width=width)
    page.assert_whole_and_offline()
    assert len(page.images) == len(samples.ALT_AND_CAPTION)
    assert page.overflow == 0
    assert "regularization reduces overfitting" in page.text


@pytest.mark.parametrize(
    "fault",
    [
        '<img src="figures/absent.png">',
        '<script>console.error("broken")</script>',
        '<script>throw new Error("broken")</script>',
        '<link rel="stylesheet" href="http://example.invalid/style.css">',
        '<img src="https://example.invalid/picture.png">',
    ],
)
def test_the_browser_check_notices(tmp_path, open_report, fault):
    small_report(tmp_path)
    page = tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", fault + "</main>"), encoding="utf-8")
    with pytest.raises(AssertionError):
        open_report(tmp_path).assert_whole_and_offline()


def test_hostile_strings_stay_text(tmp_path):
    hostile = "\"'><script>alert(1)</script>&amp;<img src=x onerror=alert(2)>{{ 7 * 7 }}"
    names = ("id", "sentence", "experiment", "unit", "verdict")
    claim = samples.claims()[0] | dict.fromkeys(names, hostile)
    claim["parts"] = [claim["parts"][0] | {"label": hostile, "unit": hostile}]
    claim["figures"] = ["gaps", hostile]
    item = FigureItem("gaps", figures.gap_bars({hostile: [0.1, 0.2]}), hostile, hostile)
    small_report(
        tmp_path,
        title=hostile,
        lead=hostile,
        claims=[claim],
        sections=[Section(hostile, [hostile], [item])],
        facts={hostile: hostile},
        notes=[hostile],
    )
    page = Page(tmp_path / "report.html")
    assert not [tag for tag, attrs in page.tags if tag == "script" or "onerror" in attrs]
    assert page.values("img", "alt") == [hostile]
    assert page.text.count(hostile) >= 10


@pytest.mark.parametrize("name", ["../gaps", "a b", "", ".hidden", "a/b", 'x"y'])
def test_a_figure_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="can't be named"):
        small_report(tmp_path, name=name)
    assert not contents(tmp_path)


def test_two_figures_of_one_name_are_refused(tmp_path):
    item = FigureItem("gaps", figures.gap_bars({"none": [0.1]}), "Bars.", "Gaps.")
    with pytest.raises(ValueError, match="Two figures"):
        small_report(tmp_path, sections=[Section("Gaps", [], [item, item])])


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


def test_a_folder_that_is_a_file_is_an_oserror(tmp_path):
    target = tmp_path / "report"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(OSError):
        small_report(target)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert target.read_text(encoding="utf-8") == "mine"


def test_a_report_without_claims_facts_or_figures_is_a_page(tmp_path):
    page = small_report(tmp_path / "new", claims=[], sections=[Section("Only words")], facts={})
    assert page == tmp_path / "new" / "report.html"
    assert "Only words" in Page(page).text


def test_white_words_on_verdict_colours_have_wcag_contrast():
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    css = Path(str(files("dlip_reg.report") / "templates" / "report.css")).read_text("utf-8")
    for look in ("supported", "contradicted", "no-effect", "undecided"):
        (colour,) = re.findall(rf"^\.{look} \{{ background: (#[0-9a-f]{{6}}); }}", css, re.M)
        # WCAG 2.1, 1.4.3: at least 4.5 : 1 for text of this size.
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, look
