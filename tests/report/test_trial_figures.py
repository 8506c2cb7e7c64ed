"""The figures of trials, progress and statistics show what they were given."""

import math

import numpy as np
import pytest
from test_report_figures import assert_readable, legend_words, words

from dlip_reg.report import figures

# Layout that fails is a warning in Matplotlib.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

ACCURACY = {
    "plain": {0.1: [0.7, 0.8], 1.0: [0.6, None], 10.0: [None, None]},
    "BN": {0.1: [0.75, 0.85], 1.0: [0.9, 0.92], 10.0: [0.3, 0.5]},
}


def test_tried_values_draw_means_and_cross_out_what_diverged():
    figure = figures.tried_values(ACCURACY, "rate", "accuracy (%)", goal=0.6, goal_label="goal")
    assert_readable(figure)
    (upper,) = figure.axes
    plain, crosses = [line for line in upper.lines if line.get_color() == "#000000"]
    np.testing.assert_allclose(plain.get_xydata(), [[0.1, 0.75]])
    assert (crosses.get_marker(), list(crosses.get_xdata())) == ("x", [1, 10])
    bn = next(line for line in upper.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(bn.get_ydata(), [0.8, 0.91, 0.4])
    assert any(set(line.get_ydata()) == {0.6} for line in upper.lines)
    assert {"a seed diverged", "goal"} <= set(legend_words(figure))


def test_tried_values_without_anything_lost_say_nothing_of_it():
    figure = figures.tried_values({"BN": {0.1: [0.5, 0.6]}}, "strength", "accuracy (%)")
    assert_readable(figure)
    assert "a seed diverged" not in legend_words(figure)


def test_tried_values_of_losses_have_geometric_means_on_a_log_axis():
    figure = figures.tried_values(
        {"BN": {0.5: [1, 4], 2.0: [9, 9]}}, "scale", "loss", percent=False
    )
    assert_readable(figure)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2, 9])


def test_accuracies_stay_within_a_hundred_per_cent_whatever_the_interval():
    wild = {"BN": {0.1: [0.05, 0.99], 1.0: [0.9, 0.99]}}
    upper = figures.tried_values(wild, "rate", "accuracy (%)").axes[0]
    assert upper.get_ylim()[0] >= 0 and upper.get_ylim()[1] <= 1


def test_the_way_to_a_target_marks_it_and_tells_the_geometric_mean_of_the_steps():
    curve = {"step": [0, 50, 100], "accuracy": [0.1, 0.6, 0.8]}
    figure = figures.way_to_target(
        {"plain": [curve, curve], "BN": [curve, None]},
        0.7,
        {"plain": [75, 75], "BN": [10, 40]},
    )
    assert_readable(figure)
    left, right = figure.axes
    assert any(set(line.get_ydata()) == {0.7} for line in left.lines)
    assert "BN\n20.0" in words(figure) and "plain\n75.0" in words(figure)
    assert right.get_xscale() == "log"
    assert_readable(figures.way_to_target({"plain": []}, None, {}))
    assert_readable(figures.way_to_target({"plain": [curve]}, None, {"plain": [None]}))


def test_progress_has_a_panel_for_each_key_on_its_own_scale():
    run = {"epoch": [0, 1], "a": [1.0, 100.0], "b": [0.5, 0.7], "c": [None, -1.0]}
    other = {"epoch": [0, 1], "a": [4.0, 1.0], "b": [0.7, 0.9], "c": [None, 1.0]}
    panels = {"a": ("size", "log"), "b": ("share (%)", "percent"), "c": ("cosine", "linear")}
    figure = figures.through_training({"BN": [run, other]}, panels)
    assert_readable(figure)
    a, b, c = figure.axes
    np.testing.assert_allclose(a.lines[0].get_ydata(), [2, 10])
    np.testing.assert_allclose(b.lines[0].get_ydata(), [0.6, 0.8])
    np.testing.assert_allclose(c.lines[0].get_xydata(), [[1, 0]])
    assert (a.get_yscale(), b.get_yscale()) == ("log", "linear")


def test_shifted_inputs_show_the_pictures_above_their_accuracy():
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    samples = {"grey": [picture, picture], "tinted": [picture]}
    accuracy = {
        "plain": {"grey": [0.8, 0.9], "tinted": [0.5, 0.6]},
        "BN": {"grey": [0.8, None], "tinted": [None, None]},
    }
    figure = figures.shifted_inputs(samples, accuracy, 0.1)
    assert_readable(figure)
    *pictures, bars = figure.axes
    np.testing.assert_array_equal(pictures[0].images[0].get_array()[:, :4], picture)
    assert [bar.get_height() for bar in bars.patches] == pytest.approx([0.85, 0.55, 0.8])
    assert {"85", "55", "80"} <= set(words(figure))
    # Without pictures, too.
    assert_readable(figures.shifted_inputs({}, accuracy, 0.1))


def test_noise_falls_and_gaps_go_with_the_loss():
    gaps = {"plain": [{"level": [2.0, 0.5], "gap": [0.1, 0.3]}], "BN": []}
    figure = figures.batch_noise({4: [0.5, 0.5], 16: [0.125, None]}, gaps)
    assert_readable(figure)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[4, 0.5], [16, 0.125]])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.5, 0.125])  # like 1 / size
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.5, 0.3], [2, 0.1]])
    first, last = right.get_xlim()
    assert first > last  # falling
    assert_readable(figures.batch_noise({}, gaps))
    assert_readable(figures.batch_noise({4: [math.nan]}, {"BN": []}))
