"""Every figure shows what it was given, leaves out what is missing, and can be read."""

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
import report_samples as samples
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from further_cases import thorough_after
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from dlip_reg.report import figures
from dlip_reg.report.figures import kit
from dlip_reg.report.figures.interactive import describe
from dlip_reg.report.figures.kit import plain, power_of_ten, rendered, style

MANY = tuple(f"method number {i}" for i in range(12))

# Layout that fails is a warning in Matplotlib.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def drawn_texts(figure):
    """(text, bounding box) of all that a reader can read, laid out as for a drawing."""
    canvas = FigureCanvasAgg(figure)
    with style():
        figure.draw_without_rendering()
    tick_labels, texts = set(), []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            tick_labels |= {tick.label1, tick.label2}
            if low <= tick.get_loc() <= high:
                texts += [tick.label1, tick.label2]
    texts += [text for text in figure.findobj(Text) if text not in tick_labels]
    return [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in texts
        if text.get_visible() and text.get_text().strip()
        if text.axes is None or text.axes.get_visible()
    ]


def assert_readable(figure):
    texts, boxes = zip(*drawn_texts(figure), strict=True)
    assert len(texts) > 5
    x0, y0, x1, y1 = np.transpose([box.extents for box in boxes])
    left, bottom, right, top = figure.bbox.padded(1).extents
    outside = (x0 < left) | (y0 < bottom) | (x1 > right) | (y1 > top)
    assert not [texts[i] for i in np.flatnonzero(outside)]
    # A pixel in common is antialiasing, not overlap.
    beside = np.less_equal.outer(x1 - 1, x0 + 1) | np.less_equal.outer(y1 - 1, y0 + 1)
    pairs = np.argwhere(np.triu(~(beside | beside.T), 1))
    assert not [(texts[i], texts[j]) for i, j in pairs]


def words(figure):
    return [text for text, _ in drawn_texts(figure)]


def legend_words(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


SAMPLES = {  # what is drawn -> options of `all_figures`
    "12 methods, 3 seeds": {"methods": MANY},
    "1 seed": {"methods": ("none", "L2"), "seeds": 1},
}


@pytest.mark.parametrize("case", thorough_after(2, ["surfaces", *SAMPLES]))
def test_figures_are_as_wide_as_the_page_name_their_axes_and_can_be_read(case):
    drawn = samples.surfaces() if case == "surfaces" else samples.all_figures(**SAMPLES[case])
    for figure in drawn.values():
        assert figure.get_figwidth() == 9 and figure.legends
        labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
        assert any(labels) or figure.get_supxlabel()
        assert_readable(figure)


@pytest.mark.thorough
def test_long_labels_stay_readable():
    long = (
        "none",
        "dropout of the dense layers together with max-norm",
        "L1 and then some words " * 2,
    )
    curves = samples.curves(long)
    curves[long[1]] = [None] * 5
    assert_readable(figures.loss_curves(curves, "none"))
    for name in ("method_accuracy", "weight_histograms", "activation_sparsity"):
        assert_readable(getattr(figures, name)(*samples.arguments(name, long)))
    series = {f"convolution, the other strength at its best {i}": {1e-4: [0.9]} for i in range(4)}
    gone = {"a series of runs that all of them diverged": {1e-4: [None]}}
    assert_readable(figures.strength_curves(dict.fromkeys(("L1", "L2", "L1L2"), series | gone)))


@pytest.mark.parametrize("places", [((0.5, 0.5), (0.5, 0.51)), ((0.99, 0.5),)])
def test_texts_that_overlap_or_leave_the_figure_are_noticed(places):
    figure = figures.method_accuracy({"none": [0.1, 0.2]})
    for place in places:
        figure.text(*place, "there")
    with pytest.raises(AssertionError, match="there"):
        assert_readable(figure)


def test_twelve_methods_are_told_apart_without_colour():
    looks = figures.method_styles(MANY).values()
    assert len({(look.marker, look.line) for look in looks}) == 12
    assert len({(look.colour, look.marker) for look in looks}) == 12
    assert len({(look.colour, look.line) for look in looks}) == 12
    assert len({look.colour for look in looks}) == 12


def test_loss_curves_show_means_by_epoch_with_the_baseline_in_the_others():
    curves = samples.curves()
    figure = figures.loss_curves(curves, "none")
    assert [axes.get_title("left") for axes in figure.axes] == list(samples.METHODS)
    assert [len(axes.lines) for axes in figure.axes] == [2, 3, 3, 3, 3, 3]
    train = np.mean([run["train_loss"] for run in curves["none"]], axis=0)
    # The mean of floats may differ in its last bits.
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), train, rtol=1e-12)
    baseline, own = figure.axes[0].lines[1], figure.axes[1].lines[-1]
    np.testing.assert_array_equal(own.get_ydata(), baseline.get_ydata())
    assert baseline.get_linestyle() != figure.axes[0].lines[0].get_linestyle()
    with pytest.raises(ValueError, match="baseline"):
        figures.loss_curves(curves, "L3")
    # What Keras reports begins after the first epoch.
    misleading = figures.training_loss_misleads(*samples.arguments("training_loss_misleads"))
    assert [line.get_xdata()[0] for line in misleading.axes[2].lines] == [0, 1]


def test_diverged_curves_are_noted_and_leave_the_axis_alone():
    curves = samples.curves()
    whole_top = figures.loss_curves(curves, "none").axes[0].get_ylim()[1]
    for run in curves["L2"]:
        epochs = len(run["epoch"])
        run["train_loss"] = [2.3, 1e30, *[math.nan] * (epochs - 2)]
        run["validation_loss"] = [2.3, 1e30, *[None] * (epochs - 2)]
    curves["L1"] = [None] * 3
    curves["dropout"][1]["validation_loss"][-1] = math.inf
    curves["dropout + L2"] = []
    figure = figures.loss_curves(curves, "none")
    assert_readable(figure)
    notes = {axes.get_title("left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert notes == {
        "none": [],
        "dropout": ["1 of 3 seeds not finite"],
        "L1": ["none of 3 seeds finite"],
        "L2": ["none of 3 seeds finite"],
        "dropout + L2": ["no runs"],
        "dropout + max-norm": [],
    }
    assert figure.axes[0].get_ylim()[1] < 3 * whole_top


def test_rows_show_mean_interval_and_every_seed():
    values = {"none": [0.1, 0.2, 0.3], "L1": [0.1, None, math.nan], "L2": [None] * 3}
    figure = figures.method_accuracy(values)
    assert_readable(figure)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["none", "L1", "L2"]
    notes = [label.get_text() for label in right.get_yticklabels()]
    assert notes[0] == "20.00 %"
    assert notes[1].endswith("2 of 3 seeds not finite")
    assert notes[2] == "none of 3 seeds finite"
    seeds = [sorted(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 3]
    assert [0.1, 0.2, 0.3] in seeds
    (interval,) = [line.get_xdata() for line in left.lines if len(line.get_xdata()) == 2]
    # sd 0.1, n = 3, t = 4.30265 from the table.
    assert interval[1] - interval[0] == pytest.approx(2 * 4.30265 * 0.1 / math.sqrt(3), abs=1e-6)


def test_histogram_lines_are_shares_of_all_weights():
    histogram = {"edges": [-2, -1, 0, 1, 2], "counts": [[0, 1, 4, 3, 1, 1], [0, 1, 5, 2, 1, 1]]}
    figure = figures.weight_histograms({"L1": {"Adam": histogram}, "L2": {}}, 0.05)
    (axes,) = figure.axes
    assert axes.get_title("left") == "Adam"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0, 0.1, 0.45, 0.25, 0.1, 0.1])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert sorted(line.get_xdata()[0] for line in axes.lines[1:]) == [-0.05, 0.05]
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["no weights of L2"]
    assert "near zero: |w| < 0.05 RMS" in legend_words(figure)


def test_strengths_have_a_log_axis_rates_a_linear_one_and_collapsed_means_a_mark():
    figure = figures.strength_curves(*samples.strengths())
    l1, dropout = figure.axes
    assert [l1.get_xscale(), dropout.get_xscale()] == ["log", "linear"]
    figure.canvas.draw()
    ticks = [tick.get_text() for tick in l1.get_xticklabels()]
    assert ticks == ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²"]
    np.testing.assert_array_equal(l1.lines[0].get_xdata(), samples.STRENGTHS)
    assert "collapsed: below the axis" in legend_words(figure)  # 10 % among 90 %
    assert [line.get_xdata()[0] for line in l1.lines if line.get_marker() == "v"] == [1e-2]
    assert l1.get_ylim()[0] > 0.5


def test_series_that_collapse_at_the_same_strength_and_shares_at_zero_can_be_seen():
    collapsed = {0.1: [0.9], 0.7: [0.1]}
    methods = dict.fromkeys(map(str, range(13)), collapsed)
    (axes,) = figures.strength_curves({"dropout": methods}).axes
    heights = {line.get_ydata()[0] for line in axes.lines if line.get_marker() == "v"}
    assert len(heights) == 13 and max(heights) < 0.9  # no method's own mark is one of them

    shares = {"none": {"conv1": [0.0, 0.0, 0.06], "dense1": [0.8, 1.0, 1.0]}}
    figure = figures.activation_sparsity(shares, shares)
    low, high = figure.axes[1].get_xlim()
    assert -0.05 < low < 0 and 1 < high < 1.05  # the intervals reach from -7 to 122 %
    assert "95 % interval over seeds, cut at the axis" in legend_words(figure)


def test_the_surface_marks_the_optimum():
    figure = figures.response_surface(*samples.RESULTS["response_surface"][:3], (2e-4, 1e-3))
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[1e-3, 2e-4]]  # dense across, convolution up
    assert "optimum of the fitted surface" in legend_words(figure)
    assert "%" in figure.axes[1].get_ylabel()


def drawing_functions():
    names = [name for name in vars(figures) if name not in ("loss_curves", "shared_styles")]
    found = [getattr(figures, name) for name in names]
    return [draw for draw in found if inspect.isfunction(draw) and "styles" not in draw.__name__]


@pytest.mark.parametrize("draw", drawing_functions(), ids=lambda draw: draw.__name__)
def test_nothing_to_draw_is_said(draw):
    parameters = inspect.signature(draw).parameters.values()
    nothing = [{} for one in parameters if one.default is one.empty]
    with pytest.raises(ValueError, match=r"give at least one|needs a claim"):
        draw(*nothing)


def test_dollar_signs_are_no_formulas():
    figure = figures.method_accuracy({"costs $1 or $2": [0.1, 0.2], r"\frac{": [0.1, 0.2]})
    assert "costs $1 or $2" in words(figure)
    assert_readable(figure)


def test_a_reader_s_matplotlibrc_changes_nothing():
    import matplotlib

    def drawn():
        return figures.strength_curves(*samples.strengths())

    described = describe(drawn())
    settings = {"font.size": 40, "lines.linewidth": 9, "axes.grid": False, "savefig.format": "pdf"}
    with matplotlib.rc_context(settings):
        assert_readable(drawn())
        assert describe(drawn()) == described
        assert matplotlib.rcParams["font.size"] == 40


@pytest.fixture
def font_of_one_letter(tmp_path, monkeypatch):
    """Installs a font that is never bold and has "가" alone, in place of those of the systems."""
    builder, pen = FontBuilder(1000, isTTF=True), TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "ga"])
    builder.setupCharacterMap({ord("가"): "ga"})
    builder.setupGlyf(dict.fromkeys([".notdef", "ga"], pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", "ga"], (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One letter", "styleName": "Light"})
    builder.setupOS2(usWeightClass=300)
    builder.setupPost()
    builder.save(tmp_path / "font.ttf")
    fonts = font_manager.fontManager
    monkeypatch.setattr(fonts, "ttflist", list(fonts.ttflist))

    def install():
        fonts.addfont(tmp_path / "font.ttf")
        kit._fonts.cache_clear()

    monkeypatch.setattr(kit, "_EAST_ASIAN", ("Not installed", "One letter"))
    kit._fonts.cache_clear()
    yield install
    kit._fonts.cache_clear()


def test_letters_that_the_first_font_lacks_are_drawn_by_an_installed_one(
    font_of_one_letter, caplog
):
    def drawn(method):
        figure = figures.method_accuracy({method: [0.1, 0.2]})
        return [rendered(figure, kind, 50) for kind in ("png", "svg")]

    latin = drawn("none")
    with pytest.warns(UserWarning, match="HANGUL SYLLABLE GA"):
        drawn("가")
    font_of_one_letter()
    drawn("가")  # any warning would be an error
    assert drawn("none") == latin
    assert not caplog.messages


def test_tick_labels():
    plains = ["0.05", "2", "100", "200,000", "10⁻⁵", "2·10⁶"]
    assert [plain(x) for x in (0.05, 2, 100, 2e5, 1e-5, 2e6)] == plains
    assert [power_of_ten(x) for x in (0, 1e-4, 3e-4, 0.5, 1)] == ["0", "10⁻⁴", "3·10⁻⁴", "0.5", "1"]


@pytest.mark.thorough
def test_displaying_a_figure_needs_neither_pyplot_nor_tensorflow():
    code = (
        "import sys; from dlip_reg.report import figures;"
        "figures.method_accuracy({'none': [0.1, 0.2]})._repr_png_();"
        "print({'matplotlib.pyplot', 'tensorflow', 'keras'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_method_looks_the_same_in_all_figures_of_a_page():
    def colours(figure):
        handles = figure.legends[0].legend_handles
        return {handle.get_label(): handle.get_color() for handle in handles}

    def draw(*methods):
        return colours(
            figures.activation_sparsity(*samples.arguments("activation_sparsity", methods))
        )

    alone = draw("L2", "none")
    with figures.shared_styles(["none", "dropout"]):
        first, second = draw("none", "L2", "dropout"), draw("L2", "L1", "none")
        assert figures.method_styles(["L2"])["L2"].colour == first["L2"]
    assert first["none"] == second["none"] and first["L2"] == second["L2"]
    assert len({first["none"], first["dropout"], first["L2"], second["L1"]}) == 4
    assert draw("L2", "none") == alone  # the block is over


def test_a_wide_interval_does_not_hide_the_differences_of_accuracies():
    epochs = [1, 2, 3]
    runs = {
        name: [{"epoch": epochs, "accuracy": [top - 0.02, top - 0.01, top]} for top in tops]
        for name, tops in {"a": (0.80, 0.90), "b": (0.83, 0.93)}.items()
    }
    figure = figures.through_training(runs, {"accuracy": ("accuracy (%)", "percent")})
    low, high = figure.axes[0].get_ylim()
    # Two seeds 10 points apart: the 95 % interval is 12.7 x 5 = 64 points to either side.
    assert 0.8 < low < 0.83 and 0.88 < high < 0.91
    assert "95 % interval over seeds, cut at the axis" in legend_words(figure)


def test_activations_have_a_row_per_layer_and_panels_whose_tick_labels_are_apart():
    shares, dead = samples.arguments("activation_sparsity")
    shares["L1"] = {layer: [math.nan] * 3 for layer in shares["L1"]}
    figure = figures.activation_sparsity(shares, dead)
    assert "no finite value: L1" in words(figure)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["conv1", "conv2", "dense1", "dense2"]
    # The last label of the left axis, and the first of the right one.
    boxes = [(text, box) for text, box in drawn_texts(figure) if text in ("1.0", "0")]
    (one,) = (box for text, box in boxes if text == "1.0")
    zero = max((box for text, box in boxes if text == "0"), key=lambda box: box.x0)
    assert zero.x0 - one.x1 > one.width / 2
