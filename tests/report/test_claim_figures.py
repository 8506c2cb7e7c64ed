"""The figures of judged claims: what stands where, and that it can be read."""

import math

import pytest
import report_samples as samples
from test_report_figures import assert_readable, drawn_texts, legend_words

from dlip_reg.evidence.claims import ControlResult
from dlip_reg.evidence.rule import Estimate
from dlip_reg.report import figures
from dlip_reg.report.wording import VERDICTS

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def points(figure):
    """(marker, place on the axis) of every estimate drawn, top down."""
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    drawn = [(line.get_ydata()[0], line.get_marker(), line.get_xdata()[0]) for line in lines]
    return [(marker, float(x)) for _, marker, x in sorted(drawn)]


def intervals(figure):
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    return [tuple(map(float, line.get_xdata())) for line in lines if len(line.get_xdata()) == 2]


def right_labels(figure):
    return [label.get_text() for label in figure.axes[1].get_yticklabels()]


@pytest.mark.parametrize("draw", [figures.claims_summary, figures.looks_figure])
@pytest.mark.parametrize("claims", [samples.claims() * 2, samples.estimates()])
def test_texts_neither_overlap_nor_leave_the_figure(draw, claims):
    figure = draw(claims)
    assert figure.get_figwidth() == 9
    assert_readable(figure)


def test_effects_are_in_smallest_effects_with_the_claim_s_side_on_the_right():
    claims = [
        samples.claim(effect=-0.06, ci_low=-0.1, ci_high=-0.04),  # as claimed, below 0
        samples.claim(effect=0.06, ci_low=0.04, ci_high=0.1, verdict="contradicted"),
        samples.claim(direction=1, effect=0.01, ci_low=-0.01, ci_high=0.02, verdict="no effect"),
    ]
    figure = figures.claims_summary(claims)
    markers = [VERDICTS[claim.verdict][2] for claim in claims]
    assert [marker for marker, _ in points(figure)] == markers
    assert [x for _, x in points(figure)] == pytest.approx([3, -3, 0.5])
    expected = [(2, 5), (-5, -2), (-0.5, 1)]
    assert [x for pair in intervals(figure) for x in pair] == pytest.approx(sum(expected, ()))
    (band,) = figure.axes[0].patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (-1, 1)
    assert "too small to matter" in legend_words(figure)


def test_effects_beyond_the_axis_are_numbers_and_arrows():
    far = samples.claim(effect=-0.9, ci_low=-1.0, ci_high=-0.8)
    wide = samples.claim(effect=0.0, ci_low=-0.5, ci_high=0.5, verdict="undecided", look=None)
    figure = figures.claims_summary([far, wide])
    assert "45 ×" in [text for text, _ in drawn_texts(figure)]
    assert sorted(marker for marker, _ in points(figure)) == ["<", ">", ">", "D"]


def test_what_was_not_measured_is_said():
    nothing = dict.fromkeys(("effect", "ci_low", "ci_high"))
    figure = figures.claims_summary([samples.claim(**nothing, verdict="undecided", look=None)])
    assert [text.get_text() for text in figure.axes[0].texts] == ["not measured"]
    figure = figures.claims_summary([samples.claim(smallest_effect=0.0)])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no smallest effect"]
    one_seed = {"effect": 0.01, "ci_low": None, "ci_high": math.nan}
    figure = figures.claims_summary([samples.claim(**one_seed, verdict=None, look=None)])
    assert_readable(figure)


def test_controls_stand_below_their_claim_small_and_hollow():
    controls = (
        ControlResult("negative", "itself", 0.0, -0.01, 0.01, 10, "no effect"),
        ControlResult("positive", "strong", -0.1, -0.12, -0.08, 10, "supported"),
    )
    claim = samples.claim(n_seeds=9, effect=-0.06, ci_low=-0.1, ci_high=-0.04, controls=controls)
    figure = figures.claims_summary([claim])
    assert points(figure) == [("o", pytest.approx(3)), ("v", 0), ("^", pytest.approx(5))]
    lines = {line.get_marker(): line for line in figure.axes[0].lines}
    assert lines["v"].get_markerfacecolor() == lines["^"].get_markerfacecolor() == "white"
    assert lines["v"].get_markersize() < lines["o"].get_markersize()
    assert right_labels(figure)[0].startswith("supported, 10 seeds\n")  # one of them was lost
    assert right_labels(figure)[1:] == [
        "negative control: no effect",
        "positive control: supported",
    ]
    assert {"negative control", "positive control"} < set(legend_words(figure))


def test_verdicts_are_told_apart_by_marker_and_colour():
    assert len({marker for *_, marker in VERDICTS.values()}) == len(VERDICTS)
    decided = [look for name, look in VERDICTS.items() if name != "estimate"]
    assert len({colour for _, colour, _ in decided}) == len(decided)


def test_looks_narrow_down_to_the_one_of_the_verdict():
    estimates = (Estimate(-0.05, -0.15, 0.05, 5, 0.99), Estimate(-0.06, -0.1, -0.04, 10, 0.985))
    claim = samples.claim(effect=-0.06, ci_low=-0.1, ci_high=-0.04, estimates=estimates)
    figure = figures.looks_figure([claim])
    assert points(figure) == [("o", pytest.approx(2.5)), ("o", pytest.approx(3))]
    first, second = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 1)
    assert first.get_markerfacecolor() == "white"
    assert second.get_markerfacecolor() == VERDICTS["supported"][1]
    assert right_labels(figure) == ["5 seeds, 99 %", "10 seeds, 98.5 %: supported"]


def test_an_open_claim_has_no_filled_mark():
    claim = samples.claim(verdict="undecided", look=None)
    figure = figures.looks_figure([claim])
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert {line.get_markerfacecolor() for line in marks if line.get_marker() == "o"} == {"white"}
    assert VERDICTS["undecided"][2] not in {line.get_marker() for line in marks}
    assert right_labels(figure)[-1].endswith("undecided")
