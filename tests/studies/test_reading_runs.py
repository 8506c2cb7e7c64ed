"""Runs compared by seed and by number, and the texts of figures."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from dlip_reg.studies import Runs, figure, together
from dlip_reg.studies.drawing import by_label, filled
from dlip_reg.studies.readings import accuracy, still_falling, stopped_accuracy
from dlip_reg.studies.surface import lowest_point

LEVELS = [4, 8]


def record(value, status="finished"):
    return SimpleNamespace(value=value, status=status)


def runs_of(**arms):
    """Arm -> its records by seed; "_" in a name stands for "/"."""
    records = {name.replace("_", "/"): dict(enumerate(found)) for name, found in arms.items()}
    return Runs(range(3), records, {}, {}, {name: name for name in records})


def test_seeds_are_compared_where_every_arm_has_a_finished_run():
    runs = runs_of(a=[record(5), record(6), record(7)], b=[record(1), record(2, "diverged"), None])

    def difference(first, second):
        return first.value - second.value

    assert runs.each("ab", difference, failure=0.0)[:2] == (4, 0.0)
    assert runs.each("ab", difference)[:2] == (4, 4)
    assert math.isnan(runs.each("ab", difference)[2])
    assert runs.each("ab", difference, missing="lost")[2] == "lost"
    assert runs.count("ab", lambda r: r.value > 1) == 4


def test_diverged_runs_get_the_failure_value_and_lost_runs_nan():
    runs = runs_of(a=[record(0.5), record(9.9, "diverged"), None], b=[record(None), record(True)])
    nan = pytest.approx(math.nan, nan_ok=True)

    def read(found):
        return found.value

    assert runs.values("a", read) == (0.5, nan, nan)
    assert runs.values("a", read, failure=2.3) == (0.5, 2.3, nan)
    assert runs.values("b", read) == (nan, 1.0, nan)
    # Their accuracy, in per cent, is that of guessing among the classes.
    runs = Runs([0], {"a": {0: record(None, "diverged")}}, {}, {}, {}, classes=4)
    assert accuracy(runs, "a") == (25.0,)


def test_training_is_stopped_by_the_validation_loss_and_the_test_images_are_judged():
    def run(*validation_losses):
        curves = SimpleNamespace(
            clean_val_loss=validation_losses, clean_test_loss=(0.9, 0.6, 0.3, 0.1),
            clean_test_accuracy=(0.1, 0.2, 0.3, 0.4), clean_val_accuracy=(0.5, 0.6, 0.7, 0.8),
        )  # fmt: skip
        return SimpleNamespace(curves=curves, status="finished")

    records = [run(0.9, 0.5, 0.5, 0.7), run(0.9, None, 0.5, 0.6), run(0.9, 0.8, 0.7, 0.6)]
    runs = runs_of(a=records)
    assert accuracy(runs, "a", stopped_accuracy) == pytest.approx((20, 30, 40))
    assert still_falling(runs, "a") == 1


def test_seeds_with_which_an_arm_was_not_run_are_no_lost_runs():
    runs = runs_of(a=[record(1), None], b=[record(2), record(3), record(4)])
    assert list(runs.where_run("a").seeds) == [0, 1]
    assert [found.value for found in runs.where_run("a", "b")["b"]] == [2, 3, 4]
    assert list(runs.where_run().seeds) == []


def test_arms_of_one_label_are_told_apart_by_their_names():
    made = SimpleNamespace(spec=SimpleNamespace(seed=0), status="finished")
    runs = replace(runs_of(a=[made], b=[made], c=[made]), labels={"a": "x", "b": "x", "c": "y"})
    assert list(by_label(runs, "abc", lambda record: {"loss": [1]})) == ["x (a)", "x (b)", "y"]
    assert list(by_label(runs, "ac", lambda record: {"loss": [1]})) == ["x", "y"]


def test_a_grid_is_in_rising_order_of_its_numbers():
    names = ("rates/bn/10", "rates/bn/0.5", "rates/bn/-1", "rates/bn/best", "rates/plain/1")
    runs = Runs((), {key: {} for key in names}, {}, {}, {})
    assert list(runs.grid("rates/bn/*").items()) == [
        (-1, "rates/bn/-1"), (0.5, "rates/bn/0.5"), (10, "rates/bn/10")
    ]  # fmt: skip
    assert runs.grid("rates/*/1") == {}
    runs = runs_of(grid_8_0=[], grid_16_0=[], grid_16_1=[])
    assert list(runs.grid("grid/*/0")) == [8, 16]


@pytest.mark.parametrize("neighbours", [1, 2])
@pytest.mark.parametrize("lowest", [0.06, 0.13, 0.15])
def test_the_lowest_point_of_a_parabola(neighbours, lowest):
    heights = {rate: math.log(rate / lowest) ** 2 for rate in (0.4, 0.05, 0.1, 0.2, 0.025)}
    assert lowest_point(heights, neighbours) == pytest.approx(lowest)
    assert lowest_point({0.1: 1.0, 0.2: 2.0, 0.4: 3.0}, neighbours) == 0.1


@pytest.mark.parametrize(
    ("heights", "lowest"), [((1, 5, 0.9, 5, 2), 0.1), ((9, 8, 1, 1.01, 1.02), 0.2)]
)
def test_the_lowest_point_is_no_maximum_and_at_most_the_next_one_tried(heights, lowest):
    tried = dict(zip((0.025, 0.05, 0.1, 0.2, 0.4), heights, strict=True))
    assert lowest_point(tried, neighbours=2) == lowest


def test_a_parabola_that_is_almost_a_line_has_a_lowest_point():
    tried = dict(zip((0.025, 0.05, 0.1, 0.2, 0.4), (2, 1, 2, 1, 3), strict=True))
    assert lowest_point(tried, neighbours=2) in (0.05, 0.1)  # its curvature is rounding alone


PLOT = Figure()


@figure("sizes_{kind}")
def draw(runs):
    """Accuracy of {methods}, at {LEVELS}.

    The {kind} share is {share:.2f}; {unknown} stays.
    """
    if runs:
        yield PLOT, {"methods": {"none": 1, "l2": 2}, "kind": "test", "share": 0.125}


def test_a_figure_has_its_docstring_as_texts():
    (item,) = draw([1])
    assert item.name == "sizes_test" and item.figure is PLOT
    assert item.alt == "Accuracy of none, l2, at 4, 8."
    assert item.caption == f"{item.alt} The test share is 0.12; {{unknown}} stays."
    assert list(draw([])) == []
    # Names with commas are told apart by semicolons, and other braces are left alone.
    known = {"of": ["b", "b, slower"], "z": 2}
    assert filled("a {of}\n  {} {z!r}", known) == "a b; b, slower {} {z!r}"
    assert [item.name for item in together(draw, draw)([1])] == ["sizes_test"] * 2
