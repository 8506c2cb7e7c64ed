"""Each kind of figure shows what it was given, and says what is missing."""

import math

import numpy as np
import pytest
import report_samples as samples
from matplotlib.patches import Patch
from test_report_figures import assert_readable, legend_words, words

from dlip_reg.report import figures
from dlip_reg.report.figures.kit import log_places, place_names, rendered
from dlip_reg.report.figures.series import geometric
from dlip_reg.report.figures.sizes import size_styles

# Layout that fails is a warning in Matplotlib.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

MANY = (8, 16, 32, 64, 128, 256, 512, 1024, 5120)
NAN = math.nan


def assert_shows(figure, lines, notes=(), legend=()):
    """It can be read, and has these lines ((number of the axes, of the line) -> points)."""
    assert_readable(figure)
    for (axes, line), points in lines.items():
        np.testing.assert_allclose(figure.axes[axes].lines[line].get_xydata(), points)
    found = [t.get_text().replace("\n", " ") for axes in figure.axes for t in axes.texts]
    assert set(notes) <= set(found)
    assert set(legend) <= set(legend_words(figure))


def curve(*losses, **more):
    return {
        "epoch": list(range(len(losses))),
        "train_loss": list(losses),
        "validation_loss": [loss and 2 * loss for loss in losses],
        **more,
    }


@pytest.mark.parametrize(
    ("sizes", "seeds"), [(MANY, 5), ((8, 128), 1)], ids=["many sizes", "two sizes, one seed"]
)
def test_texts_neither_overlap_nor_leave_the_figure(sizes, seeds):
    rng = np.random.default_rng(0)
    curves = {
        size: [curve(2.5, *(rng.uniform(0.1, 2, 15)), seconds=np.arange(16) * 0.01 * size)
               for _ in range(seeds)]
        for size in sizes
    }  # fmt: skip
    values, shares = (
        {size: rng.uniform(*ends, seeds).tolist() for size in sizes}
        for ends in ((1, 100), (0.7, 0.8))
    )
    grid = (0.005, 0.02, 0.08, 0.32)
    losses = {size: {r: rng.uniform(1, 2, seeds).tolist() for r in grid} for size in sizes}
    best = {size: rng.choice(grid, seeds).tolist() for size in sizes}
    titles = ("one", "another of which there is more to say than of one")
    for figure in (
        figures.loss_by_size(dict.fromkeys(titles, curves)),
        figures.best_rates(losses, best, "slope 0.49 [0.23, 0.75]"),
        figures.against_size({title: {"a": values, "b": values} for title in titles}),
        figures.against_size({t: {"series": shares} for t in titles}, "share (%)", percent=True),
        figures.convergence(curves, 0.3),
    ):
        assert_readable(figure)
        assert figure.get_figwidth() == 9


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_has_the_same_bytes_whenever_it_is_written(kind):
    drawn = (figures.method_accuracy({"none": [0.1, 0.2]}) for _ in range(2))
    first, again = (rendered(figure, kind, dpi=50) for figure in drawn)
    assert first == again


def test_sizes_go_from_dark_to_bright_and_differ_in_grey():
    styles = size_styles(reversed(MANY))
    assert list(styles) == list(MANY)
    rgb = [[int(s.colour[i : i + 2], 16) for i in (1, 3, 5)] for s in styles.values()]
    luminance = np.array(rgb) @ (0.299, 0.587, 0.114)
    assert (np.diff(luminance) > 5).all() and luminance[-1] < 200  # white paper is 255
    for first, second in zip(styles.values(), list(styles.values())[1:], strict=False):
        assert first.line != second.line and first.marker != second.marker


def test_a_size_keeps_its_style_in_all_figures_of_a_page():
    with figures.shared_styles(["none"]):
        first = size_styles([8, 32, 128, 2560])
        assert size_styles([8, 128]) == {size: first[size] for size in (8, 128)}
        methods = figures.method_styles(["none", "L2"])  # sizes take no style from methods
    assert methods == figures.method_styles(["none", "L2"])
    sizes = size_styles([16, 64, 256]) | size_styles([32, 256, 1024])
    assert len({(s.colour, s.marker, str(s.line)) for s in sizes.values()}) == 5


def test_losses_are_geometric_means_and_what_diverges_is_told():
    runs = {
        8: [curve(4.0, 1.0), curve(4.0, 4.0)],
        16: [curve(4.0, 3.0), curve(4.0, 1e9, None), None],
    }
    figure = figures.loss_by_size({"case": runs})
    notes = ["batch 16: 2 of 3 seeds not finite"]
    lines = {(0, 0): [[0, 4], [1, 2]], (1, 0): [[0, 8], [1, 4]]}
    assert_shows(figure, lines, notes, legend=["batch 8", "batch 16"])
    assert figure.axes[0].get_ylim()[1] < 20  # the run on its way to infinity leaves the axis


def test_best_rates_mark_the_best_of_all_and_leave_out_what_diverged():
    losses = {8: {0.01: [1.0, 4.0], 0.02: [1.0, 1.0], 0.04: [0.1, None]}}
    figure = figures.best_rates(losses, {8: [0.01, 0.04], 32: [0.08, 0.32]}, "slope 1")
    linear, root = [[8, 0.02], [32, 0.08]], [[8, 0.02], [32, 0.04]]
    found = {(1, 0): [[8, 0.02], [32, 0.16]], (1, -2): linear, (1, -1): root}
    assert_shows(figure, {(0, 0): [[0.01, 2], [0.02, 1]]} | found)
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[0.02, 1]]
    layers = {line.get_label(): line.zorder for line in figure.axes[1].lines}
    assert layers["one seed"] < min(layers["batch 8"], layers["batch 32"])
    assert figure.axes[1].get_title(loc="left") == "slope 1"


def test_against_size_shows_every_seed_and_the_mean_that_its_axis_asks_for():
    values = {8: [1.0, 4.0, None], 64: [9.0]}
    figure = figures.against_size({"φ": {"plain": values, "gone": {8: [None]}}})
    assert_shows(figure, {(0, 0): [[8, 2], [64, 9]]}, ["no finite value: gone"])
    assert figure.axes[0].lines[1].get_ydata() == pytest.approx([1, 4])
    shares = {8: [0.5, 0.7], 64: [0.8]}
    figure = figures.against_size({"a": {"plain": shares}}, "accuracy (%)", percent=True)
    assert_shows(figure, {(0, 0): [[8, 0.6], [64, 0.8]]})


def test_convergence_goes_against_epochs_and_seconds():
    runs = {8: [curve(4.0, 1.0, seconds=[0, 3.0])], 64: [curve(4.0, 2.0, seconds=[0, 1.5])]}
    left, right = figures.convergence(runs, 0.5).axes
    assert {line.get_xdata()[-1] for line in left.lines[:-1]} == {1}
    assert {line.get_xdata()[-1] for line in right.lines[:-1]} == {3, 1.5}


@pytest.mark.parametrize("high", [1.0, 1.00001, 1.01, 30, 1e9])
def test_surfaces_share_one_scale(high):
    at = np.linspace(-1, 1, 7).tolist()
    flat = np.ones((7, 7))
    steep = 1 + (high - 1) * np.abs(np.add.outer(at, at)) / 2
    steep[0, 0] = NAN
    figure = figures.surfaces_side_by_side(at, at, {"flat": flat, "steep": steep})
    assert_readable(figure)
    first, second = (axes.collections[0] for axes in figure.axes[:2])
    assert first.get_clim() == second.get_clim()
    with pytest.raises(ValueError, match="steep must have the shape"):
        figures.surfaces_side_by_side(at, at[:3], {"steep": steep})
    with pytest.raises(ValueError, match="at least one that is finite"):
        figures.surfaces_side_by_side(at, at, {"gone": np.full((7, 7), NAN)})


def test_the_paper_s_numbers_stand_beside_ours():
    rows = {
        "φ": {"small": ([1.0, 4.0], (1.23, 0.83)), "large": ([50.0, None], (205.0, None))},
        "φ in a subspace": {"small": ([], (0.1, None)), "large": ([9.0], (9.2, 0.5))},
    }
    figure = figures.beside_paper(rows, "φ (%)")
    assert_shows(figure, {}, legend=["small, ours", "large, ours"])
    drawn = [(float(x), line.get_marker()) for line in figure.axes[0].lines
             for x in np.atleast_1d(line.get_xdata())]  # fmt: skip
    assert {(1.23, "D"), (205.0, "D"), (0.1, "D"), (9.2, "D")} <= set(drawn)
    assert {(1.23 + 0.83, "None"), (9.2 - 0.5, "None"), (9.2 + 0.5, "None")} <= set(drawn)
    # The geometric mean of 1 and 4.
    assert any(x == pytest.approx(2) for x, marker in drawn if marker not in "Do")


def test_tried_values_draw_means_and_cross_out_what_diverged():
    accuracy = {
        "plain": {0.1: [0.7, 0.8], 1.0: [0.6, None], 10.0: [None, None]},
        "BN": {0.1: [0.75, 0.85], 1.0: [0.9, 0.92], 10.0: [0.3, 0.5]},
    }
    figure = figures.tried_values(accuracy, "rate", "accuracy (%)", goal=0.6, goal_label="goal")
    assert_shows(figure, {}, legend=["a seed diverged", "goal"])
    (axes,) = figure.axes
    plain, crosses = [line for line in axes.lines if line.get_color() == "#000000"]
    np.testing.assert_allclose(plain.get_xydata(), [[0.1, 0.75]])
    assert (crosses.get_marker(), list(crosses.get_xdata())) == ("x", [1, 10])
    bn = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(bn.get_ydata(), [0.8, 0.91, 0.4])
    assert any(set(line.get_ydata()) == {0.6} for line in axes.lines)
    figure = figures.tried_values({"BN": accuracy["BN"]}, "rate", "accuracy (%)")
    assert "a seed diverged" not in legend_words(figure)
    # Whatever the interval, accuracies stay within a hundred per cent.
    wild = {"BN": {0.1: [0.05, 0.99], 1.0: [0.9, 0.99]}}
    low, high = figures.tried_values(wild, "rate", "accuracy (%)").axes[0].get_ylim()
    assert 0 <= low < high <= 1


def test_tried_values_of_losses_have_geometric_means_on_a_log_axis():
    losses = {"BN": {0.5: [1, 4], 2.0: [9, 9]}}
    figure = figures.tried_values(losses, "scale", "loss", percent=False)
    assert_shows(figure, {(0, 0): [[0.5, 2], [2, 9]]})
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize(("seeds", "dots"), [(1, 0), (2, 4), (3, 0)])
def test_two_seeds_are_dots_and_not_an_interval(seeds, dots):
    values = {0.01: [0.7, 0.9, 0.72][:seeds], 0.1: [0.6, 0.8, 0.63][:seeds]}
    figure = figures.strength_curves({"L1": {"conv": values}})
    drawn = [line for line in figure.axes[0].lines if line.get_label() == "one seed"]
    assert sum(len(line.get_xdata()) for line in drawn) == dots
    assert ("95 % interval over seeds" in " ".join(legend_words(figure))) == (seeds == 3)
    (means,) = (line for line in figure.axes[0].lines if line.get_label() == "conv")
    assert means.get_ydata() == pytest.approx([np.mean(numbers) for numbers in values.values()])


def test_the_way_to_a_target_marks_it_and_tells_the_geometric_mean_of_the_steps():
    curve = {"step": [0, 50, 100], "accuracy": [0.1, 0.6, 0.8]}
    curves = {"plain": [curve, curve], "BN": [curve, None]}
    figure = figures.way_to_target(curves, 0.7, {"plain": [75, 75], "BN": [10, 40]})
    assert_readable(figure)
    left, right = figure.axes
    assert any(set(line.get_ydata()) == {0.7} for line in left.lines)
    assert {"BN\n20.0 steps", "plain\n75.0 steps"} <= set(words(figure))
    assert right.get_xscale() == "log"


def test_progress_has_a_panel_for_each_key_on_its_own_scale():
    run = {"epoch": [0, 1], "a": [1.0, 100.0], "b": [0.5, 0.7], "c": [None, -1.0]}
    other = {"epoch": [0, 1], "a": [4.0, 1.0], "b": [0.7, 0.9], "c": [None, 1.0]}
    panels = {"a": ("size", "log"), "b": ("share (%)", "percent"), "c": ("cosine", "linear")}
    figure = figures.through_training({"BN": [run, other]}, panels)
    lines = {(0, 0): [[0, 2], [1, 10]], (1, 0): [[0, 0.6], [1, 0.8]], (2, 0): [[1, 0]]}
    assert_shows(figure, lines)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]


def test_shifted_inputs_show_the_pictures_beside_their_accuracy():
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    shown = {"grey": [picture, picture], "tinted": [picture]}
    accuracy = {
        "plain": {"grey": [0.8, 0.9], "tinted": [0.5, 0.6]},
        "BN": {"grey": [0.8, None], "tinted": [None, None]},
    }
    figure = figures.shifted_inputs(shown, accuracy, 0.1)
    assert_readable(figure)
    *pictures, rows, _ = figure.axes
    np.testing.assert_array_equal(pictures[0].images[0].get_array()[:, :4], picture)
    means = [line.get_xdata()[0] for line in rows.lines if line.get_markersize() == 7]
    assert means == pytest.approx([0.85, 0.8, 0.55])
    assert {"85 %", "55 %", "80 %"} <= set(words(figure))


def test_noise_falls_and_gaps_go_with_the_loss():
    gaps = {"plain": [{"level": [2.0, 0.5], "gap": [0.1, 0.3]}], "BN": []}
    figure = figures.batch_noise({4: [0.5, 0.5], 16: [0.125, None]}, gaps)
    like_1_over_size = [[4, 0.5], [16, 0.125]]
    lines = {(0, 0): like_1_over_size, (0, 1): like_1_over_size, (1, 0): [[0.5, 0.3], [2, 0.1]]}
    assert_shows(figure, lines)
    first, last = figure.axes[1].get_xlim()
    assert first > last  # falling


SHARPNESS = {"lambda_max": ("top eigenvalue", "log")}


def test_geometric_interval_is_the_t_interval_of_the_logarithms():
    summary = geometric([1, None, 4, 0, -3])
    # Student's t with 1 degree of freedom: 12.7062 (any table). ln 1 and ln 4 lie ln 2 from theirs.
    assert summary.mean == pytest.approx(2)
    assert math.log(summary.high / 2) == pytest.approx(12.7062 * math.log(2), rel=1e-5)
    assert math.log(2 / summary.low) == pytest.approx(12.7062 * math.log(2), rel=1e-5)
    assert (summary.note, summary.seeds) == ("3 of 5 seeds not finite", (0, 2))


@pytest.mark.parametrize(("factor", "is_cut"), [(1.25, False), (100, True)])
def test_a_log_axis_reaches_its_intervals_or_says_that_it_cuts_them(factor, is_cut):
    factors = (1 / factor, 1, factor)
    runs = [{"epoch": [0, 1], "lambda_max": [9 * f, 10 * f]} for f in factors]
    figure = figures.through_training({"SGD": runs}, SHARPNESS)
    (low, high), interval = figure.axes[0].get_ylim(), geometric([10 * f for f in factors])
    assert (interval.low < low < 1 and 100 < high < interval.high) == is_cut
    assert (low < 0.9 * interval.low and interval.high < high) != is_cut
    assert legend_words(figure)[-1] == "95 % interval over seeds" + ", cut at the axis" * is_cut


@pytest.mark.parametrize(
    ("low", "high"),
    [(3.7, 16.3), (1, 2), (0.95, 1.04), (6.1, 6.9), (0.02, 3), (1e-12, 1), (4700, 2.1e5),
     (0.027, 4.4), (1, 3e6)],
)  # fmt: skip
def test_a_log_axis_has_a_few_round_numbers_in_one_form(low, high):
    places = log_places(low, high)
    assert 3 <= len(places) <= 8
    assert all(low <= place <= high for place in places)
    names = place_names(places)
    assert len(set(names)) == len(names)
    assert not (any("10⁵" in name for name in names) and any(",000" in name for name in names))


def test_what_is_not_finite_or_not_positive_is_left_out_and_told():
    curves = {
        "none": [{"epoch": [0, 1], "lambda_max": [1.0, 2.0]}],
        "L2": [{"epoch": [0, 1], "lambda_max": [NAN, None]}],
    }
    assert_shows(figures.through_training(curves, SHARPNESS), {}, ["no finite value: L2"])
    norms = {"at initialisation": {"deep": {"a": [0.0, 1.0], "b": [4.0, 1.0]}, "dead": {"a": []}}}
    figure = figures.gradient_flow(norms)
    assert figure.axes[0].texts[0].get_text() == "no finite value: dead"
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 2])


GONE = {"epoch": [0], "lambda_max": [NAN]}
POSITIONS = {"position": [0, 1], "loss": [NAN] * 2, "accuracy": [None] * 2}
PERCENTILES = {"step": [0, 10], "percentiles": {15: [None] * 2, 85: [NAN] * 2}}
ACCURACIES = {"plain": {"grey": [0.8, 0.9], "tinted": [None, None]}}
STEPS = {"step": [0, 50], "accuracy": [0.1, 0.6]}
TRIAL = {"strengths": {"conv_l2": 0.1, "dense_l2": 0.2}, "scores": [NAN]}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("method_accuracy", [{method: [None, NAN] for method in samples.METHODS}]),
        ("through_training", [{"none": [GONE, None]}, SHARPNESS]),
        ("losses_along", [{"training": [POSITIONS]}, "α"]),
        ("activation_percentiles", [{"none": PERCENTILES, "BN": PERCENTILES}]),
        ("way_to_target", [{"plain": []}, None, {}]),
        ("way_to_target", [{"plain": [STEPS]}, None, {"plain": [None]}]),
        ("batch_noise", [{}, {"plain": [{"level": [2.0, 0.5], "gap": [0.1, 0.3]}]}]),
        ("batch_noise", [{4: [NAN]}, {"BN": []}]),
        ("shifted_inputs", [{}, ACCURACIES, 0.1]),
        ("convergence", [{8: [curve(4.0, 1.0, seconds=[NAN] * 2)]}, 0.5]),
        ("loss_curves", [{"none": [None]}, "none"]),
        ("strength_curves", [{"L1": {"conv": {0.01: [None], 0.1: [None]}}}]),
        ("response_surface", [[TRIAL], [], ((0.1, 1), (0.1, 1))]),
    ],
)
def test_nothing_finite_or_no_pictures_still_draws(name, arguments):
    figure = getattr(figures, name)(*arguments)
    figure.canvas.draw()
    assert len(words(figure)) > 2


def test_losses_along_a_line_have_accuracy_on_an_axis_of_its_own():
    lines, label, solutions = samples.RESULTS["losses_along"]
    figure = figures.losses_along(lines, label, solutions)
    left, right = figure.axes
    loss = np.mean(np.log([run["loss"] for run in lines["training"]]), axis=0)
    accuracy = np.mean([run["accuracy"] for run in lines["training"]], axis=0)
    np.testing.assert_allclose(np.log(left.lines[0].get_ydata()), loss)
    np.testing.assert_allclose(right.lines[0].get_ydata(), accuracy, atol=1e-12)
    assert [line.get_xdata()[0] for line in left.lines[2:]] == [0, 1]
    assert left.get_xlabel() == label
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
    # What is missing is left out.
    lines = {(0, 0): [[0, -1], [5, 0]], (0, 1): [[0, 1]], (0, 2): [[0, 3], [5, 4]]}
    names = ["50th percentile", "15th percentile", "85th percentile"]
    assert_shows(figure, lines, legend=names)


def test_deep_nets_name_their_first_and_last_layer():
    (norms,) = samples.arguments("gradient_flow", ("none",))
    layers = list(norms["before training"]["none"])
    axes = figures.gradient_flow(norms).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert (names[0], names[-1]) == (layers[0], layers[-1]) and len(names) <= 12
    assert len(axes.lines[0].get_xdata()) == len(layers) > 12
