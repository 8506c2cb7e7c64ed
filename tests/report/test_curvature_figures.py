"""The figures of curvature, landscape and flow show what they were given, and can be read."""

import math

import curvature_samples as samples
import numpy as np
import pytest
from matplotlib.patches import Patch
from test_report_figures import DEEP, assert_readable, legend_words

from dlip_reg.report import figures
from dlip_reg.report.figures.kit import log_places, place_names
from dlip_reg.report.figures.series import geometric

# Layout that fails is a warning in Matplotlib.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def test_sharpness_is_the_geometric_mean_and_marks_the_edge_of_stability():
    runs = [
        {"epoch": [0, 1], "lambda_max": [1, 10], "lambda_max_lr_half": [0.1, 1]},
        {"epoch": [0, 1], "lambda_max": [4, 1000], "lambda_max_lr_half": [0.4, 100]},
        None,
    ]
    left, right = figures.sharpness_curves({"SGD": runs}).axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0, 2], [1, 100]])
    assert list(right.lines[-1].get_ydata()) == [1, 1]


def test_geometric_interval_is_the_t_interval_of_the_logarithms():
    summary = geometric([1, None, 4, 0, -3])
    # Student's t with 1 degree of freedom: 12.7062 (any table). ln 1 and ln 4 lie ln 2 from theirs.
    assert summary.mean == pytest.approx(2)
    assert math.log(summary.high / 2) == pytest.approx(12.7062 * math.log(2), rel=1e-5)
    assert math.log(2 / summary.low) == pytest.approx(12.7062 * math.log(2), rel=1e-5)
    assert summary.note == "3 of 5 seeds not finite"


def test_a_log_axis_reaches_its_intervals_or_says_that_it_cuts_them():
    def drawn(*factors):
        runs = [
            {"epoch": [0, 1], "lambda_max": [9 * f, 10 * f], "lambda_max_lr_half": [f, f]}
            for f in factors
        ]
        figure = figures.sharpness_curves({"SGD": runs})
        limits, interval = figure.axes[0].get_ylim(), geometric([10 * f for f in factors])
        return limits, interval, legend_words(figure)[-1]

    (low, high), interval, label = drawn(0.8, 1, 1.25)
    assert low < 0.9 * interval.low and interval.high < high
    assert label == "95 % interval over seeds"
    (low, high), interval, label = drawn(0.01, 1, 100)
    assert interval.low < low < 1 and 100 < high < interval.high
    assert label == "95 % interval over seeds, cut at the axis"


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (3.7, 16.3),
        (1, 2),
        (0.95, 1.04),
        (6.1, 6.9),
        (0.02, 3),
        (1e-12, 1),
        (4700, 2.1e5),
        (0.027, 4.4),
        (1, 3e6),
    ],
)
def test_a_log_axis_has_a_few_round_numbers_in_one_form(low, high):
    places = log_places(low, high)
    assert 3 <= len(places) <= 8
    assert all(low <= place <= high for place in places)
    names = place_names(places)
    assert len(set(names)) == len(names)
    assert not (any("10⁵" in name for name in names) and any(",000" in name for name in names))


def test_what_is_not_finite_or_not_positive_is_left_out_and_told():
    curves = samples.sharpness(("none", "L2"))
    for run in curves["L2"]:
        run["lambda_max"] = [math.nan] * 16
        run["lambda_max_lr_half"] = [None] * 16
    figure = figures.sharpness_curves(curves)
    assert_readable(figure)
    assert all(axes.texts[0].get_text() == "no finite value: L2" for axes in figure.axes)
    norms = {"at initialisation": {"deep": {"a": [0.0, 1.0], "b": [4.0, 1.0]}, "dead": {"a": []}}}
    figure = figures.gradient_flow(norms)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 2])
    assert figure.axes[0].texts[0].get_text() == "no finite value: dead"


def test_nothing_finite_at_all_still_draws():
    gone = {"epoch": [0], "lambda_max": [math.nan], "lambda_max_lr_half": [math.inf]}
    assert_readable(figures.sharpness_curves({"none": [gone, None]}))
    at = {"alpha": [0, 1], "loss": [math.nan] * 2, "accuracy": [None] * 2}
    assert_readable(figures.interpolation_curves({"training": [at]}))
    nothing = {"step": [0, 10], "percentiles": {15: [None] * 2, 85: [math.nan] * 2}}
    assert_readable(figures.activation_percentiles({"none": nothing, "BN": nothing}))


def test_interpolation_has_accuracy_on_an_axis_of_its_own():
    figure = figures.interpolation_curves(samples.lines(), ("batch 32", "batch 2,000"))
    left, right = figure.axes
    loss = np.mean(np.log([run["loss"] for run in samples.lines()["training"]]), axis=0)
    accuracy = np.mean([run["accuracy"] for run in samples.lines()["training"]], axis=0)
    np.testing.assert_allclose(np.log(left.lines[0].get_ydata()), loss)
    np.testing.assert_allclose(right.lines[0].get_ydata(), accuracy, atol=1e-12)
    assert [line.get_xdata()[0] for line in left.lines[2:]] == [0, 1]
    assert "batch 32" in left.get_xlabel() and "batch 2,000" in left.get_xlabel()
    assert {"training", "test"} < set(legend_words(figure))
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()


def test_surface_has_the_first_direction_across_and_leaves_holes():
    x, y = [-1, 0, 1, 2], [-1, 0, 1]
    loss = 10.0 ** np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]])
    figure = figures.surfaces_side_by_side(x, y, {"": loss})
    assert_readable(figure)
    flat = figure.axes[0]
    assert (flat.get_xlim(), flat.get_ylim()) == ((-1, 2), (-1, 1))
    # The loss is constant along the second direction, so every contour line is upright.
    lines = [path.vertices for path in flat.collections[-1].get_paths() if len(path.vertices)]
    assert lines and all(np.ptp(line[:, 0]) < 1e-9 for line in lines)
    loss[0, 0] = math.inf
    assert_readable(figures.surfaces_side_by_side(x, y, {"": loss}))


def test_landscape_bands_reach_from_lowest_to_highest_and_are_as_wide_as_they_look():
    run = {
        "step": [0, 10],
        "loss_low": [1, 0.5],
        "loss_high": [4, 2],
        "loss_range": [3, 1.5],
        "gradient_distance_low": [0.1, 0.1],
        "gradient_distance_high": [0.2, 0.3],
        "gradient_distance_range": [0.1, 0.2],
        "effective_beta": [5, 6],
    }
    twice = {name: [2 * v for v in values] for name, values in run.items()} | {"step": [0, 10]}
    figure = figures.landscape_bands({"plain": [run, twice], "BN": [None]})
    loss, distance, *measures = figure.axes
    for axes, expected in ((loss, [[1.5, 0.75], [6, 3]]), (distance, [[0.15] * 2, [0.3, 0.45]])):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines[:2]], expected)
        # Half the difference is half as high: the eye compares what the claims compare.
        assert axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0
    for axes, expected in zip(measures, ([3, 1.5], [0.1, 0.2], [5, 6]), strict=True):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), np.sqrt(2) * np.array(expected))
        assert axes.collections  # the interval over seeds
        assert axes.texts[0].get_text() == "no finite value: BN"
    patches = [p for p in figure.legends[0].legend_handles if isinstance(p, Patch)]
    assert len({(patch.get_hatch(), patch.get_facecolor()) for patch in patches}) == 2


def test_percentiles_are_lines_of_one_run():
    runs = {"plain": {"step": [0, 5], "percentiles": {85: [3, 4], 15: [-1, 0], 50: [1, None]}}}
    figure = figures.activation_percentiles(runs)
    assert_readable(figure)
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert lines[0] == [-1, 0] and lines[2] == [3, 4]
    assert lines[1] == [1]  # what is missing is left out
    assert {"50th percentile", "15th percentile", "85th percentile"} < set(legend_words(figure))


def test_deep_nets_name_their_first_and_last_layer():
    axes = figures.gradient_flow(samples.norms(("none",), 2, DEEP)).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert (names[0], names[-1]) == (DEEP[0], DEEP[-1]) and len(names) <= 12
    assert len(axes.lines[0].get_xdata()) == 20
