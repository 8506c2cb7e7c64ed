"""The interactive figures: the data of the static ones, and what a browser makes of them."""

import base64
import functools
import gzip
import io
import json
import math
import re
import shutil

import numpy as np
import pytest
import report_samples as samples
from further_cases import thorough_after
from headless_chromium import open_page
from PIL import Image

from dlip_reg.report import FigureItem, Section, figures, write_report
from dlip_reg.report.figures.interactive import describe
from dlip_reg.report.wording import estimate_text

INTERVAL_IN_PERCENT = "95 % interval: −67.1 to 187"
_DRAWN = """(async () => {
  const wait = () => new Promise((next) => setTimeout(next, 50));
  for (let i = 0; i < 200 && !window.Plotly; i++) await wait();
  for (const frame of document.querySelectorAll(".frame")) {
    frame.scrollIntoView();
    for (let i = 0; i < 200 && !frame.querySelector(".main-svg"); i++) await wait();
  }
  const find = (name) => document.getElementById("figure-" + name);
  const button = (figure, label) =>
    [...figure.querySelectorAll(".legend button")].find((b) => b.dataset.label === label);
  const shown = (figure) => figure.querySelector(".plot").data.filter((t) => t.visible !== false);
  return await (async () => { %s })();
})()"""


@pytest.mark.thorough
def test_every_figure_is_a_valid_plotly_figure():
    plotly = pytest.importorskip("plotly.graph_objects")
    drawn = samples.all_figures(("none", "L1"), 2) | samples.surfaces()
    drawn["claims"] = figures.claims_summary(samples.claims())
    for name, figure in drawn.items():
        found = describe(figure)
        json.dumps(found, allow_nan=False)
        plotly.Figure(found["data"], found["layout"])  # raises for a property that there is not
        entries = {entry["label"] for entry in found["legend"]}
        assert found["data"], name
        assert entries or not figure.legends, name
        assert {label for trace in found["data"] for label in trace["meta"]["series"]} <= entries, (
            name
        )


def test_lines_have_their_values_their_intervals_and_their_series():
    curves = {"none": [{"epoch": [0, 1], "a": [0.5, 0.7]}, {"epoch": [0, 1], "a": [0.7, None]}]}
    figure = figures.through_training(curves, {"a": ("share (%)", "percent")})
    found = describe(figure)
    band, line = found["data"]
    # On an axis "(%)" the numbers are per cents.
    assert (line["x"], line["y"]) == ([0, 1], [60, 70])
    low, high = (100 * limit for limit in figure.axes[0].get_ylim())
    assert found["layout"]["yaxis"]["range"] == pytest.approx([low, high])
    assert line["meta"] == {"series": ["none"]} and "none" in band["meta"]["series"]
    # 0.6 ± 12.7062 · 0.1, and one seed has no interval.
    assert line["customdata"] == [INTERVAL_IN_PERCENT, ""]
    assert "share (%): %{y:" in line["hovertemplate"]
    assert any(entry["label"].startswith("95 % interval") for entry in found["legend"])
    _, mark, *_ = describe(figures.method_accuracy({"none": [0.5, 0.7]}))["data"]
    assert (mark["x"], mark["customdata"]) == ([60], [INTERVAL_IN_PERCENT])


def test_axes_keep_their_scale_their_limits_and_their_ticks():
    figure = figures.tried_values({"BN": {0.5: [1, 4], 2.0: [9, 9]}}, "rate", "loss", False, 3)
    layout, data = (describe(figure)[name] for name in ("layout", "data"))
    (axes,) = figure.axes
    (rule,) = (trace for trace in data if "accuracy to reach" in trace["meta"]["series"])
    assert rule["x"] == pytest.approx(axes.get_xlim(), rel=1e-4) and rule["y"] == [3, 3]
    assert layout["yaxis"]["type"] == "log"
    np.testing.assert_allclose(layout["yaxis"]["range"], np.log10(axes.get_ylim()))
    assert layout["xaxis"]["tickvals"] == [0.5, 2]
    assert layout["xaxis"]["title"]["text"] == "rate"
    # A second axis has round ticks of its own.
    lines = {"training": [{"position": [0, 1], "loss": [0.1, 1.0], "accuracy": [0.9, 0.5]}]}
    second = describe(figures.losses_along(lines, "α"))["layout"]["yaxis2"]
    assert (second["overlaying"], second["tickmode"]) == ("y", "auto")
    assert second["automargin"]  # whatever the font, its labels are not cut


def frames_of(page):
    """Figure -> its frames, as the page holds them."""
    (packed,) = re.findall(r'id="plots">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    plots = json.loads(gzip.decompress(base64.b64decode(packed)))
    return {name: plot["frames"] for name, plot in plots.items()}


def test_intervals_have_one_legend_entry_in_all_frames_of_a_slider(tmp_path):
    def plot(last):
        runs = [{"epoch": [0, 1], "a": [0.5, 0.5]}, {"epoch": [0, 1], "a": [0.5, last]}]
        return figures.through_training({"L2": runs}, {"a": ("share (%)", "percent")})

    frames = {"whole": plot(0.5), "cut": plot(0.9)}
    alone = [{entry["label"] for entry in describe(f)["legend"]} for f in frames.values()]
    assert alone[0] != alone[1]
    item = FigureItem("share", frames["cut"], "Alt.", "Caption.", frames, "Frame")
    page = write_report(
        tmp_path, title="Title", lead="Lead.", sections=[Section("Share", (), [item])]
    )
    first, second = frames_of(page)["share"]
    assert {e["label"] for e in first["legend"]} == {e["label"] for e in second["legend"]}
    assert [t["meta"]["series"] for t in first["data"]] == [
        t["meta"]["series"] for t in second["data"]
    ]


def test_seeds_and_bands_go_with_their_method_and_can_be_hidden_alone():
    figure = figures.against_size({"φ": {"a": {8: [1.0, 2.0], 64: [3.0, 4.0]}}})
    data = describe(figure)["data"]
    dots = [trace for trace in data if "one seed" in trace["meta"]["series"]]
    assert len(dots) == 2 and all("a" in trace["meta"]["series"] for trace in dots)
    assert all(trace["meta"]["seeds"] == (0, 1) for trace in dots)
    assert sorted(x for trace in dots for x in trace["y"]) == [1, 2, 3, 4]


def seed_traces(figure):
    return [trace for trace in describe(figure)["data"] if "seeds" in trace["meta"]]


def test_each_seed_has_a_line_of_its_own_that_the_static_figure_leaves_out():
    curves = {"L2": [{"seed": 4, "epoch": [0, 1], "a": [0.5, 0.7]},
                     {"seed": 2, "epoch": [0], "a": [0.1]}]}  # fmt: skip
    figure = figures.through_training(curves, {"a": ("share (%)", "percent")})
    lines = seed_traces(figure)
    assert [trace["meta"] for trace in lines] == [
        {"series": ["L2"], "seeds": seed, "hidden": True} for seed in (4, 2)
    ]
    assert [trace["y"] for trace in lines] == [[50, 70], [10, None]]
    assert lines[0]["hovertemplate"].startswith("<b>L2, seed 5</b>")
    assert len(figure.axes[0].lines) == 1
    # Without the places of the seeds nothing says which runs belong together.
    plain = {"L2": [{"epoch": [0], "a": [0.5]}, {"epoch": [0], "a": [0.7]}]}
    assert not seed_traces(figures.through_training(plain, {"a": ("share (%)", "percent")}))


def test_lines_that_the_static_figure_has_are_single_seeds_too():
    curves = {"none": [{"seed": 0, "level": [2.0, 1.0], "value": [0.1, 0.3]}]}
    (line,) = seed_traces(figures.against_falling_loss(curves, "gap"))
    assert line["meta"] == {"series": ["none"], "seeds": 0}


@pytest.mark.parametrize("width", [1.0, 2.5])
def test_dashes_are_those_that_matplotlib_draws(width):
    from matplotlib.figure import Figure

    figure = Figure(dpi=100)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle=(0, (6, 2)), linewidth=width)
    axes.plot([0, 1], [1, 0])
    dashed, solid = describe(figure)["data"]
    # A pattern is in units of the line's width, in points: 100 / 72 pixels each.
    expected = [share * width * 100 / 72 for share in (6, 2)]
    found = [float(dash.removesuffix("px")) for dash in dashed["line"]["dash"].split(",")]
    assert found == pytest.approx(expected, rel=1e-2)
    assert solid["line"]["dash"] == "solid"


def test_strengths_have_a_figure_each_on_the_same_axes():
    (run, *_) = samples.RESULTS["by_strength"][0]["L1"].values()
    weak, strong = figures.by_strength(
        {"L1": {1e-3: run, 1e-5: run}, "L2": {0.1: run}}, 0.05
    ).items()
    assert (weak[0], strong[0]) == ("L1 10⁻⁵, L2 0.1", "L1 0.001, L2 0.1")
    losses, _, weights, _ = weak[1].axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    np.testing.assert_allclose(losses.lines[0].get_ydata(), run["train_loss"])
    np.testing.assert_allclose(
        weights.lines[0].get_ydata(), np.array(run["counts"][0]) / sum(run["counts"][0])
    )
    for one, other in zip(weak[1].axes, strong[1].axes, strict=True):
        assert one.get_ylim() == other.get_ylim()


def test_a_surface_is_hovered_in_its_unit_and_leaves_holes():
    trials = [t for t in describe(samples.surfaces()["surface"])["data"] if "customdata" in t]
    assert all(text.endswith(" %") for trace in trials[:2] for text in trace["customdata"])
    assert len(trials[0]["customdata"]) == len(trials[0]["x"])
    at = np.linspace(-1, 1, 5).tolist()
    loss = 1 + np.add.outer(np.square(at), np.square(at))
    loss[0, 0] = math.nan
    (surface, *_) = describe(figures.surfaces_side_by_side(at, at, {"flat": loss}))["data"]
    assert surface["text"][2][2] == "1.00 nats" and surface["z"][2][2] == 0
    assert surface["text"][0][0] == "" and surface["z"][0][0] is None


@pytest.mark.thorough
@pytest.mark.parametrize("width", [400, 1000])
def test_pictures_are_upright_and_keep_their_shape(tmp_path, open_report, width):
    pictures = [np.zeros((28, 28, 3), np.uint8)] * 3
    figure = figures.shifted_inputs({"grey": pictures}, {"plain": {"grey": [0.5, 0.6]}}, 0.1)
    (image,) = describe(figure)["layout"]["images"]
    assert (image["y"], image["sizey"]) == (-0.5, 28)  # on an axis that points down
    sections = [Section("Pictures", (), [FigureItem("pictures", figure, "Alt.", "Caption.")])]
    write_report(tmp_path, title="Title", lead="Lead.", sections=sections)
    script = (
        _DRAWN
        % """
      const box = find("pictures").querySelector("image").getBoundingClientRect();
      return box.width / box.height;"""
    )
    shape = open_report(tmp_path, width=width, script=script).result
    assert shape == pytest.approx(image["sizex"] / image["sizey"], rel=0.05)


def test_names_with_markup_stay_text():
    hostile = "<b>bold</b> & <img src=x>"
    found = json.dumps(describe(figures.method_accuracy({hostile: [0.1, 0.2]}))["layout"])
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;" in found and "<img" not in found


def test_the_page_is_small_enough_to_be_sent(report):
    assert (report / "report.html").stat().st_size < 4.5e6


@pytest.mark.thorough
def test_the_page_is_painted_within_a_second(report, open_report):
    script = """new Promise((done) => new PerformanceObserver((list) => {
      for (const entry of list.getEntriesByName("first-contentful-paint")) done(entry.startTime);
    }).observe({ type: "paint", buffered: true }))"""
    # One of three: the machine may be busy.
    assert any(open_report(report, script=script).result < 1000 for _ in range(3))


_TOUCHED = """
  const plotOf = (name) => find(name).querySelector(".plot");
  const found = {};

  const flow = plotOf("flow");
  const curve = flow.data.findIndex(
    (t) => t.meta.series.includes("L2") && t.mode.includes("lines"));
  Plotly.Fx.hover(flow, [{ curveNumber: curve, pointNumber: 2 }], "xy");
  found.hovered = [flow.querySelector(".hovertext").textContent, flow.data[curve].y[2]];

  const intervals = [...find("flow").querySelectorAll(".legend button")]
    .map((b) => b.dataset.label).find((label) => label.startsWith("95 % interval over seeds"));
  const of = (label) => shown(find("flow")).filter((t) => t.meta.series.includes(label)).length;
  found.legend = [of("L2")];
  for (const label of ["L2", "L2", intervals]) {
    button(find("flow"), label).click();
    found.legend.push(of("L2"));
  }
  found.legend.push(button(find("flow"), intervals).getAttribute("aria-pressed"));

  const lines = () => shown(find("training")).filter((t) => "seeds" in t.meta).length;
  const marks = () => plotOf("accuracy").data.filter((t) => "seeds" in t.meta)
    .flatMap((t) => t.y).filter((y) => y !== null).length;
  found.seeds = [lines(), marks()];
  for (const label of ["2", "all"]) {
    button(find("training"), label).click();
    button(find("accuracy"), label).click();
    found.seeds.push(lines(), marks());
  }

  const surface = plotOf("surface");
  const kinds = () => [...new Set(surface.data.map((t) => t.type))].sort().join();
  const contour = surface.data.find((t) => t.type === "contour");
  Plotly.Fx.hover(surface, [{ xval: contour.x[40], yval: contour.y[40] }], "xy");
  found.surface = [surface.querySelector(".hovertext").textContent, kinds()];
  const raise = button(find("surface"), "Heights in 3-D (drag to turn)");
  raise.click();
  await wait();
  found.surface.push(kinds(), surface.layout.scene.xaxis.type);
  raise.click();
  await wait();
  found.surface.push(kinds());

  const range = find("training").querySelector("input[type=range]");
  const curves = () => shown(find("training")).filter((t) => t.mode === "lines");
  const points = () => Math.max(...curves().map((t) => t.x.length));
  found.slider = [points()];
  range.value = 0;
  range.dispatchEvent(new Event("input"));
  found.slider.push(points(), find("training").querySelector(".slider span").textContent);
  found.slider.push(range.getAttribute("aria-valuetext"));
  return found;
"""


_CUT = """[...document.querySelectorAll(".plot text")].filter((text) => {
      const box = text.getBoundingClientRect(), plot = text.ownerSVGElement.getBoundingClientRect();
      return box.width && (box.left < plot.left - 1 || box.right > plot.right + 1);
    }).map((text) => text.textContent)"""
_AXES = """(() => {
  const axes = (name, letter) => Object.entries(find(name).querySelector(".plot").layout)
    .filter(([key]) => key.startsWith(`${letter}axis`)).map(([, axis]) => axis);
  return [
    axes("training", "x").map((axis) => axis.title.text),
    axes("training", "y").map((axis) => axis.ticktext.length > 0 && axis.showticklabels),
    [...document.querySelectorAll(".frame")].map((f) => f.scrollWidth - f.clientWidth),
    CUT,
    [...find("claims").querySelectorAll(".annotation-text")].map((text) => text.textContent),
  ];
})()""".replace("CUT", _CUT)
_HEIGHTS = """[...document.querySelectorAll(".frame")].map(
  (f) => [f.querySelector("img").offsetHeight, f.querySelector(".plot").offsetHeight])"""
# Pairs of texts of the figure of all claims that lie on each other.
_OVERLAPS = """(() => {
  const texts = [...document.querySelector(".plot").querySelectorAll(".annotation text")];
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) =>
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2 &&
    Math.min(a.right, b.right) > Math.max(a.left, b.left)).map(([other]) => [one, other]));
})()"""
# width -> height, dark
WINDOWS = {320: (568, False), 400: (800, True), 1000: (900, False), 1280: (720, True)}


@pytest.fixture(scope="module")
def opened(report):
    """Window width -> the page in it: the heights of each figure's image and plot, its axes."""

    @functools.cache
    def open_at(width):
        script = _DRAWN % f"return [{_HEIGHTS}, {_AXES}, {_OVERLAPS}];"
        options = dict(zip(("height", "dark"), WINDOWS[width], strict=True))
        return open_page(report / "report.html", width=width, script=script, **options)

    return open_at


@pytest.mark.parametrize("width", thorough_after(1, WINDOWS))
def test_figures_are_drawn_at_any_width_without_an_error_or_the_network(opened, width):
    page = opened(width)
    page.assert_whole_and_offline()
    heights, (*_, cut, _), _ = page.result
    assert len(page.images) == len(heights) == 6
    assert all(image == 0 and plot > 200 for image, plot in heights)
    assert page.overflow == 0
    assert cut == []  # no text reaches beyond its figure
    assert "Regularization reduces overfitting" in page.text


@pytest.fixture(scope="module")
def touched(report):
    """What a reader finds who hovers, clicks and slides."""
    return open_page(report / "report.html", script=_DRAWN % _TOUCHED).result


def test_hovering_shows_the_value_and_the_interval(touched):
    text, value = touched["hovered"]
    assert text.startswith("L2") and "95 % interval:" in text
    (hovered,) = re.findall(": ([^:]+?)95 % interval", text)
    assert float(hovered.replace(",", "")) == pytest.approx(value, 2e-3)


def test_the_legend_hides_and_shows_a_method_and_the_intervals(touched):
    # A line and a band in each of the two panels.
    assert touched["legend"] == [4, 0, 4, 2, "false"]


def test_single_seeds_are_shown_and_hidden(touched):
    # Two panels with two losses each; six methods with three marks. The lines of seeds are drawn
    # when they are asked for, the marks from the start.
    assert touched["seeds"] == [0, 18, 4, 12, 12, 18]


def test_a_response_surface_can_be_raised_and_hovered(touched):
    text, flat, raised, scale, again = touched["surface"]
    assert "%" in text and "contour" in flat
    assert (raised, scale, again) == ("surface", "log", flat)


def test_the_slider_redraws_the_curves(touched):
    whole, short, label, read_out = touched["slider"]
    assert label == f"Trained for: {read_out}"
    assert whole > short == 3 and label == "Trained for: 2 epochs"


@pytest.mark.parametrize("width", [320, 400])
def test_on_a_phone_every_panel_has_its_axes_named_and_nothing_scrolls_sideways(opened, width):
    titles, has_labels, overflows, _, texts = opened(width).result[1]
    assert titles == ["epoch"] * len(titles) and len(titles) > 1
    assert all(has_labels)
    assert set(overflows) == {0}
    assert opened(width).result[2] == []
    shown = {"".join(text.split()) for text in texts}
    for claim in samples.claims():
        assert "".join(claim.sentence.split()) in shown
        effect = estimate_text(claim, claim.unit, claim.null)
        assert any("".join(effect.split()) in text for text in shown)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_sentence_in_korean_is_whole_on_a_phone(tmp_path, open_report):
    sentence = "\uac00\uc911\uce58 \uac10\uc1e0\ub294 \uacfc\uc801\ud569\uc744 " * 3
    figure = figures.claims_summary([samples.claim(sentence=sentence)])
    section = Section("Results", figures=[FigureItem("claims", figure, "Claims.", "Claims.")])
    write_report(tmp_path, title="Title", lead="Lead.", sections=[section])
    opened = open_report(tmp_path, script=_DRAWN % f"return {_CUT};", width=400)
    assert opened.result == [] and not opened.errors


def test_a_page_that_is_sent_alone_has_no_dead_link(report, tmp_path, open_report):
    shutil.copy(report / "report.html", tmp_path)
    script = """(() => {
      const links = [...document.querySelectorAll("figcaption a[href^=figures]")];
      for (const link of links) link.onclick();
      return links.map((link) => [link.download, link.href]);
    })()"""
    page = open_report(tmp_path, script=script)
    page.assert_whole_and_offline()
    pictures = page.result
    assert len(pictures) > 3
    for name, url in pictures:
        form, _, content = url.partition(",")
        assert form == "data:image/png;base64"
        sizes = [
            Image.open(file).size
            for file in (io.BytesIO(base64.b64decode(content)), report / "figures" / name)
        ]
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize("options", [{"scripting": False}, {"printed": True}], ids=str)
def test_the_static_figures_stay_without_scripts_and_in_print(report, open_report, options):
    script = "[...document.images].map((i) => i.offsetHeight)"
    opened = open_report(
        report, script=script if "scripting" in options else _DRAWN % f"return {script}", **options
    )
    assert len(opened.result) == 6 and all(height > 200 for height in opened.result)


def test_code_has_a_copy_button(tmp_path, open_report):
    from dlip_reg.report import Code

    section = Section("Best trial", ["To rebuild it:", Code("model = LeNet(l2=0.1)")])
    write_report(tmp_path, title="Title", lead="Lead.", sections=[section])
    script = """(async () => {
      const button = document.querySelector(".copy"), found = [button.offsetHeight > 0];
      for (const accepts of [true, false]) {
        let copied = "";
        const writeText = async (text) => { if (!accepts) throw new Error(); copied = text; };
        Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
        document.execCommand = () => { copied = getSelection().toString(); return true; };
        button.click();
        await new Promise((next) => setTimeout(next, 50));
        found.push(copied, button.textContent);
      }
      return found;
    })()"""
    opened = open_report(tmp_path, script=script, width=400)
    code = "model = LeNet(l2=0.1)"
    assert opened.result == [True, code, "Copied", code, "Copied"]
    assert opened.errors == []
