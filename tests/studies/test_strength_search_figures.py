"""What the figures of a search draw."""

import math

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from dlip_reg.report import figures
from dlip_reg.studies.strength_search.sections import tuning_sections

RANGE = (3e-4, 3e-2)
RANGES = dict.fromkeys(("conv_l2", "dense_l2", "l2"), RANGE)


def make_trials(n=8, seeds=3, failed=()):
    """Separate strengths, best at number 5."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(n):
        conv, dense = 3e-4 * 100 ** draw.uniform(size=2)
        mean = 0.9 if number == 5 else 0.7 + 0.01 * number
        scores = [] if number in failed else [mean - 0.01, mean, mean + 0.01][:seeds]
        found.append({"strengths": {"conv_l2": conv, "dense_l2": dense}, "scores": scores})
    return found


def tied_trials(values=(1e-3, 3e-3, 1e-2)):
    return [{"strengths": {"l2": v}, "scores": [0.7, 0.72, 0.74]} for v in values]


LINE = [3e-4 * 100 ** (i / 9) for i in range(10)]


def offsets(figure):
    """Of every scatter in the first axes: (dense, conv) of its points."""
    drawn = figure.axes[0].collections
    return [c.get_offsets().tolist() for c in drawn if isinstance(c, PathCollection)]


def test_the_surface_shows_every_trial_where_it_is_and_the_best_with_a_ring():
    trials, tied = make_trials(failed=(2,)), tied_trials()
    figure = figures.response_surface(trials, tied, (RANGE, RANGE))
    separate, diagonal = offsets(figure)
    places = [
        [t["strengths"]["dense_l2"], t["strengths"]["conv_l2"]] for t in trials if t["scores"]
    ]
    assert separate == places
    assert diagonal == [[v, v] for v in (1e-3, 3e-3, 1e-2)]
    rings = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert {ring.get_marker(): ring.get_xydata().tolist() for ring in rings} == {
        "o": [places[4]],  # number 5, without number 2
        "s": [[1e-3, 1e-3]],  # the first of three that are alike
    }
    # What has the colour bar's colours is not paler than they are.
    (surface,) = [c for c in figure.axes[0].collections if not isinstance(c, PathCollection)]
    assert surface.get_alpha() is None
    assert any("1 without a score" in text.get_text() for text in figure.axes[0].texts)


@pytest.mark.parametrize(
    ("trials", "tied"), [*((make_trials(n), []) for n in (1, 2, 4, 30)), ([], tied_trials(LINE))]
)
def test_a_surface_needs_trials_around_and_the_figure_does_not(trials, tied):
    figure = figures.response_surface(trials, tied, (RANGE, RANGE))
    surfaces = [c for c in figure.axes[0].collections if not isinstance(c, PathCollection)]
    assert bool(surfaces) == (len(trials) >= 5)


def test_every_strength_has_its_panel_with_its_range_and_intervals_within_seeds():
    # Loftus and Masson 1994: sqrt(MS / n) times the t quantile with (trials - 1)(seeds - 1).
    strengths = {"conv_l2": 1e-3, "dense_l2": 1e-3}
    trials = [{"strengths": strengths, "scores": s} for s in ([0.7, 0.8], [0.72, 0.8], [0.7, 0.84])]
    # Differences of the seeds .10, .08, .14: variance .000933, half of which is the mean square.
    half = 4.302653 * math.sqrt(0.0028 / 3 / 2 / 2)
    figure = figures.score_against_strength({"separate": trials}, RANGES, [0.6, 0.6])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["conv L2 (separate)", "dense L2 (separate)"]
    axes = figure.axes[0]
    intervals = [
        line.get_ydata() for line in axes.lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]  # fmt: skip
    assert [high - low for low, high in intervals] == pytest.approx([2 * half] * 3, rel=1e-6)
    bottom, top = axes.get_ylim()
    assert all(bottom <= low and high <= top for low, high in intervals)
    ends = ["3·10⁻⁴", "10⁻³", "10⁻²", "3·10⁻²"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ends


def test_best_so_far_never_falls_and_ends_at_the_best():
    trials = make_trials(failed=(0,))
    figure = figures.best_so_far({"separate": trials, "tied": tied_trials()})
    (steps, *_) = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    values = steps.get_ydata()
    assert math.isnan(values[0])  # the first trial failed
    assert list(values[1:]) == sorted(values[1:])
    assert values[-1] == pytest.approx(0.9)
    assert list(steps.get_xdata()) == list(range(1, 9))


def test_trials_that_were_ended_early_count_by_their_cost_and_are_never_the_best():
    trials = make_trials(4)
    for trial, cost in zip(trials, (0.2, 0.2, 0.8, 1.0), strict=True):
        trial |= {"cost": cost, "whole": cost > 0.5}
    trials[0]["scores"] = [0.99] * 3
    axes = figures.best_so_far({"separate": trials}).axes[0]
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(steps.get_xdata()) == pytest.approx([0.2, 0.4, 1.2, 2.2])
    assert list(steps.get_ydata())[2:] == pytest.approx([0.72, 0.73])
    assert np.isnan(steps.get_ydata()[:2]).all()
    assert "early" in axes.get_xlabel()
    sections = tuning_sections({"hyperband, separate": searched(trials)}, RANGES, [0.7])
    assert "all epochs are drawn" in sections[1].paragraphs[0]
    surface = sections[1].figures[0]
    assert "2 trials with separate strengths" in surface.alt


def searched(trials, errors=()):
    """A search as the report takes it."""
    best = {
        "trial": 5, "score": 0.9, "epochs": 10, "python": "model = None",
        "hyperparameters": {"conv_l2": 1e-3, "dense_l2": 2e-3},
    }  # fmt: skip
    return {"tied": False, "trials": trials, "best": best, "test": [0.8, None], "errors": errors}


@pytest.mark.parametrize("failed", [(), (1, 2), range(8)])
def test_the_sections_tell_of_failures(failed):
    whole = len(failed) == 8
    search = searched(make_trials(failed=failed), ["MemoryError: no room"] if failed else [])
    if whole:
        search["best"] = None
    sections = tuning_sections({"random, separate": search}, RANGES, [0.7, 0.71])
    text = " ".join(sections[0].paragraphs)
    assert ("MemoryError: no room" in text) == bool(failed)
    assert ("2 of 8 trials without a score" in text) == (len(failed) == 2)
    assert ("validation accuracy 90.0 % after 10 epochs" in text) == (not whole)
    if not whole:
        assert "test accuracy 80.0 % (mean over 1 seed)" in text
