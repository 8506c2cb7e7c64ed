"""The figures of batch sizes, speed and minimizers show what they were given, and can be read."""

import math

import numpy as np
import pytest
from test_report_figures import assert_readable, legend_words

from dlip_reg.report import figures
from dlip_reg.report.figures.series import geometric

# Layout that fails is a warning in Matplotlib.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

MANY = (8, 16, 32, 64, 128, 256, 512, 1024, 5120)


def curve(*losses, **more):
    return {
        "epoch": list(range(len(losses))),
        "train_loss": list(losses),
        "validation_loss": [loss and 2 * loss for loss in losses],
        **more,
    }


def rates(sizes, seeds=5):
    rng = np.random.default_rng(0)
    grid = (0.005, 0.02, 0.08, 0.32)
    losses = {
        size: {r: (1 + rng.normal(0.2, 0.05, seeds) ** 2).tolist() for r in grid} for size in sizes
    }
    return losses, {size: rng.choice(grid, seeds).tolist() for size in sizes}


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
    values = {size: rng.uniform(1, 100, seeds).tolist() for size in sizes}
    shares = {size: rng.uniform(0.7, 0.8, seeds).tolist() for size in sizes}
    titles = ("one", "another of which there is more to say than of one", "a third")
    for figure in (
        figures.loss_by_size(dict.fromkeys(titles, curves)),
        figures.best_rates(*rates(sizes, seeds), "slope 0.49 [0.23, 0.75]"),
        figures.against_size({title: {"a": values, "b": values} for title in titles}),
        figures.against_size(
            {t: {"series": shares} for t in titles[:2]}, "share (%)", percent=True
        ),
        figures.convergence(curves, 0.3),
    ):
        assert_readable(figure)
        assert figure.get_figwidth() == 9


def test_sizes_go_from_dark_to_bright_and_differ_in_grey():
    styles = figures.size_styles(reversed(MANY))
    assert list(styles) == list(MANY)
    rgb = [[int(s.colour[i : i + 2], 16) for i in (1, 3, 5)] for s in styles.values()]
    luminance = np.array(rgb) @ (0.299, 0.587, 0.114)
    assert (np.diff(luminance) > 5).all() and luminance[-1] < 200  # white paper is 255
    for first, second in zip(styles.values(), list(styles.values())[1:], strict=False):
        assert first.line != second.line and first.marker != second.marker


def test_losses_are_geometric_means_and_what_diverges_is_told():
    runs = {
        8: [curve(4.0, 1.0), curve(4.0, 4.0)],
        16: [curve(4.0, 3.0), curve(4.0, 1e9, None), None],
    }
    figure = figures.loss_by_size({"case": runs})
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0, 4], [1, 2]])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [8, 4])
    assert left.texts[0].get_text().replace("\n", " ") == "batch 16: 2 of 3 diverged"
    assert left.get_ylim()[1] < 20  # the run on its way to infinity leaves the axis
    assert legend_words(figure)[:2] == ["batch 8", "batch 16"]


def test_best_rates_mark_the_best_of_all_and_leave_out_what_diverged():
    losses = {8: {0.01: [1.0, 4.0], 0.02: [1.0, 1.0], 0.04: [0.1, None]}}
    figure = figures.best_rates(losses, {8: [0.01, 0.04], 32: [0.08, 0.32]}, "slope 1")
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0.01, 2], [0.02, 1]])
    (star,) = [line for line in left.lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[0.02, 1]]
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[8, 0.02], [32, 0.16]])
    linear, root = right.lines[-2:]
    np.testing.assert_allclose(linear.get_ydata(), [0.02, 0.08])
    np.testing.assert_allclose(root.get_ydata(), [0.02, 0.04])
    assert right.get_title(loc="left") == "slope 1"


def test_against_size_shows_every_seed_and_the_mean_that_its_axis_asks_for():
    values = {8: [1.0, 4.0, None], 64: [9.0]}
    (axes,) = figures.against_size({"φ": {"plain": values, "gone": {8: [None]}}}).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[8, 2], [64, 9]])
    assert axes.lines[1].get_ydata() == pytest.approx([1, 4])
    assert axes.texts[0].get_text() == "no finite value: gone"
    shares = {8: [0.5, 0.7], 64: [0.8]}
    (axes,) = figures.against_size({"a": {"plain": shares}}, "accuracy (%)", percent=True).axes[:1]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.6, 0.8])


def test_convergence_goes_against_epochs_and_seconds():
    runs = {8: [curve(4.0, 1.0, seconds=[0, 3.0])], 64: [curve(4.0, 2.0, seconds=[0, 1.5])]}
    left, right = figures.convergence(runs, 0.5).axes
    assert {line.get_xdata()[-1] for line in left.lines[:-1]} == {1}
    assert {line.get_xdata()[-1] for line in right.lines[:-1]} == {3, 1.5}
    unknown = {8: [curve(4.0, 1.0, seconds=[math.nan] * 2)]}
    assert_readable(figures.convergence(unknown, 0.5))


def line(width):
    at = np.linspace(-1, 1, 9)
    return {
        "position": at.tolist(),
        "loss": (0.01 + width * at**2).tolist(),
        "accuracy": (1 - width * at**2 / 4).tolist(),
    }


def test_lines_around_two_solutions_lie_over_each_other():
    figure = figures.lines_around({"batch 8": [line(1)] * 3, "batch 128": [line(3), line(3)]})
    assert_readable(figure)
    left, right = figure.axes
    assert [min(drawn.get_ydata()) for drawn in left.lines[:2]] == pytest.approx([0.01, 0.01])
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()
    assert [drawn.get_ydata()[0] for drawn in right.lines] == pytest.approx([0.75, 0.25])
    assert {"around batch 8", "around batch 128"} < set(legend_words(figure))


@pytest.mark.parametrize("high", [1.0, 1.00001, 1.01, 30, 1e9])
def test_surfaces_share_one_scale(high):
    at = np.linspace(-1, 1, 7).tolist()
    flat = np.ones((7, 7))
    steep = 1 + (high - 1) * np.abs(np.add.outer(at, at)) / 2
    steep[0, 0] = math.nan
    figure = figures.surfaces_side_by_side(at, at, {"flat": flat, "steep": steep})
    assert_readable(figure)
    first, second = (axes.collections[0] for axes in figure.axes[:2])
    assert first.get_clim() == second.get_clim()
    with pytest.raises(ValueError, match="steep must have the shape"):
        figures.surfaces_side_by_side(at, at[:3], {"steep": steep})
    with pytest.raises(ValueError, match="at least one that is finite"):
        figures.surfaces_side_by_side(at, at, {"gone": np.full((7, 7), math.nan)})


def test_the_paper_s_numbers_stand_beside_ours():
    rows = {
        "φ": {"small": ([1.0, 4.0], (1.23, 0.83)), "large": ([50.0, None], (205.0, None))},
        "φ in a subspace": {"small": ([], (0.1, None)), "large": ([9.0], (9.2, 0.5))},
    }
    figure = figures.beside_paper(rows, "φ (%)")
    assert_readable(figure)
    (axes,) = figure.axes
    drawn = {(float(x), marker) for drawn in axes.lines for x in np.atleast_1d(drawn.get_xdata())
             for marker in [drawn.get_marker()]}  # fmt: skip
    assert {(1.23, "D"), (205.0, "D"), (0.1, "D"), (9.2, "D")} <= drawn
    assert geometric([1.0, 4.0]).mean == pytest.approx(2)
    assert any(x == pytest.approx(2) for x, marker in drawn if marker not in "Do")
