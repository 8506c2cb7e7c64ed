"""The interactive figures: the data of the static ones, and what a browser makes of them."""

import json
import math
import re
from pathlib import Path

import curvature_samples
import numpy as np
import pytest
import report_samples as samples

from dlip_reg.report import FigureItem, Section, figures, write_report
from dlip_reg.report.figures.interactive import describe

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


def test_every_figure_is_a_valid_plotly_figure():
    plotly = pytest.importorskip("plotly.graph_objects")
    drawn = samples.all_figures() | curvature_samples.all_figures()
    drawn["claims"] = figures.claims_summary(samples.claims())
    for name, figure in drawn.items():
        found = describe(figure)
        json.dumps(found, allow_nan=False)
        plotly.Figure(found["data"], found["layout"])  # raises for a property that there is not
        entries = {entry["label"] for entry in found["legend"]}
        assert found["data"], name
        assert entries or not figure.legends, name
        assert {label for trace in found["data"] for label in trace["meta"]} <= entries, name


def test_lines_have_their_values_their_intervals_and_their_series():
    curves = {"none": [{"epoch": [0, 1], "a": [0.5, 0.7]}, {"epoch": [0, 1], "a": [0.7, None]}]}
    figure = figures.through_training(curves, {"a": ("share (%)", "percent")})
    band, line = describe(figure)["data"]
    assert (line["x"], line["y"]) == ([0, 1], [0.6, 0.7])
    assert line["meta"] == ["none"] and "none" in band["meta"]
    # 0.6 ± 12.7062 · 0.1, and one seed has no interval.
    assert line["customdata"] == ["95 % interval: −67.1 to 187 %", ""]
    assert "%{y:.1%}" in line["hovertemplate"]
    assert any(entry["label"].startswith("95 % interval") for entry in describe(figure)["legend"])


def test_axes_keep_their_scale_their_limits_and_their_ticks():
    figure = figures.tried_values({"BN": {0.5: [1, 4], 2.0: [9, 9]}}, "rate", "loss", False)
    layout = describe(figure)["layout"]
    (axes,) = figure.axes
    assert layout["yaxis"]["type"] == "log"
    np.testing.assert_allclose(layout["yaxis"]["range"], np.log10(axes.get_ylim()))
    assert layout["xaxis"]["tickvals"] == [0.5, 2]
    assert layout["xaxis"]["title"]["text"] == "rate"


def test_seeds_and_bands_go_with_their_method_and_can_be_hidden_alone():
    figure = figures.against_size({"φ": {"a": {8: [1.0, 2.0], 64: [3.0, 4.0]}}})
    data = describe(figure)["data"]
    dots = [trace for trace in data if "one seed" in trace["meta"]]
    assert len(dots) == 2 and all("a" in trace["meta"] for trace in dots)
    assert sorted(x for trace in dots for x in trace["y"]) == [1, 2, 3, 4]


def test_a_surface_is_hovered_in_nats_and_leaves_holes():
    at = np.linspace(-1, 1, 5).tolist()
    loss = 1 + np.add.outer(np.square(at), np.square(at))
    loss[0, 0] = math.nan
    (surface, *_) = describe(figures.surfaces_side_by_side(at, at, {"flat": loss}))["data"]
    assert surface["text"][2][2] == "1.00" and surface["z"][2][2] == 0
    assert surface["text"][0][0] == "" and surface["z"][0][0] is None


def test_names_with_markup_stay_text():
    hostile = "<b>bold</b> & <img src=x>"
    found = json.dumps(describe(figures.method_accuracy({hostile: [0.1, 0.2]}))["layout"])
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;" in found and "<img" not in found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    frames = {
        f"{epoch} epochs": figures.loss_curves(samples.curves(epochs=epoch), "none")
        for epoch in (2, 15)
    }
    items = [
        FigureItem("training", frames["15 epochs"], "Alt.", "Caption.", frames, "Trained for"),
        FigureItem("flow", figures.gradient_flow(curvature_samples.norms()), "Alt.", "Caption."),
        FigureItem("surface", figures.response_surface(*samples.surface()), "Alt.", "Caption."),
    ]
    write_report(
        folder, title="Title", lead="Lead.", claims=samples.claims(),
        sections=[Section("Training", (), items)],
    )  # fmt: skip
    return folder


def test_the_page_is_small_enough_to_be_sent(page):
    assert (page / "report.html").stat().st_size < 6e6


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(400, 800), (1000, 900), (1280, 720)], ids=str)
def test_figures_are_drawn_at_any_width_without_an_error_or_the_network(
    page, open_report, size, dark
):
    script = _DRAWN % (
        "return [...document.querySelectorAll('.frame')].map((f) =>"
        " [f.querySelector('img').offsetHeight, f.querySelector('.plot').offsetHeight])"
    )
    opened = open_report(page, width=size[0], height=size[1], dark=dark, script=script)
    opened.assert_whole_and_offline()
    assert len(opened.result) == 5
    assert all(image == 0 and plot > 200 for image, plot in opened.result)
    assert opened.overflow == 0


def test_hovering_shows_the_value_and_the_interval(page, open_report):
    script = (
        _DRAWN
        % """
      const plot = find("flow").querySelector(".plot");
      const curve = plot.data.findIndex((t) => t.meta.includes("L2") && t.mode.includes("lines"));
      Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: 2 }], "xy");
      return [plot.querySelector(".hovertext").textContent, plot.data[curve].y[2]];
    """
    )
    text, value = open_report(page, script=script).result
    assert text.startswith("L2") and "95 % interval:" in text
    (hovered,) = re.findall(": ([^:]+?)95 % interval", text)
    assert float(hovered.replace(",", "")) == pytest.approx(value, 2e-3)


def test_the_legend_hides_and_shows_a_method_and_the_intervals(page, open_report):
    script = (
        _DRAWN
        % """
      const figure = find("flow"), counts = [];
      const of = (label) => shown(figure).filter((t) => t.meta.includes(label)).length;
      counts.push(of("L2"));
      for (const label of ["L2", "L2", "95 % interval over seeds"]) {
        button(figure, label).click();
        counts.push(of("L2"));
      }
      counts.push(button(figure, "95 % interval over seeds").getAttribute("aria-pressed"));
      return counts;
    """
    )
    # A line and a band in each of the two panels.
    assert open_report(page, script=script).result == [4, 0, 4, 2, "false"]


def test_the_slider_redraws_the_curves_and_the_claims(page, open_report):
    script = (
        _DRAWN
        % """
      const found = [];
      for (const name of ["training", "claims"]) {
        const figure = find(name), range = figure.querySelector("input[type=range]");
        const lines = () => shown(figure).filter((t) => t.mode === "lines");
        const points = () => Math.max(...lines().map((t) => t.x.length));
        const before = points();
        range.value = 0;
        range.dispatchEvent(new Event("input"));
        found.push([figure.querySelector(".slider span").textContent, before, points()]);
      }
      found.push(button(find("claims"), "supported") !== undefined);
      return found;
    """
    )
    training, claims, has_verdicts = open_report(page, script=script).result
    assert training == ["Trained for: 2 epochs", 16, 3]
    assert claims[0] == "Look: 5 seeds" and has_verdicts


@pytest.mark.parametrize("options", [{"scripting": False}, {"printed": True}], ids=str)
def test_the_static_figures_stay_without_scripts_and_in_print(page, open_report, options):
    script = "[...document.images].map((i) => i.offsetHeight)"
    opened = open_report(
        page, script=script if "scripting" in options else _DRAWN % f"return {script}", **options
    )
    assert len(opened.result) == 5 and all(height > 200 for height in opened.result)
    assert (Path(page) / "figures" / "training.svg").is_file()


def test_code_has_a_copy_button(tmp_path, open_report):
    from dlip_reg.report import Code

    section = Section("Best trial", ["To rebuild it:", Code("model = LeNet(l2=0.1)")])
    write_report(tmp_path, title="Title", lead="Lead.", sections=[section])
    script = """[document.querySelector("pre code").textContent,
                 document.querySelector(".copy").offsetHeight > 0]"""
    opened = open_report(tmp_path, script=script, width=400)
    assert opened.result == ["model = LeNet(l2=0.1)", True]
    assert opened.errors == []
