"""Response surfaces: the optimum of a quadratic that is known."""

import functools
import itertools
import math

import pytest
from fake_records import make_record
from fake_studies import spec

from dlip_reg.regularization import Regularization
from dlip_reg.studies.surface import (
    STEPS,
    choose_on_surface,
    optimum,
    optimum_by_seed,
)

GRID = (-3.0, -1.0, 0.5, 2.0)
SEEDS = 2
NOTHING = [(math.nan, math.nan)] * SEEDS  # the same NaN, which is equal to itself in a tuple


@pytest.mark.parametrize("best", [(-2.0, 1.0), (0.3, 0.3), (1.5, -2.5)])
@pytest.mark.parametrize("tilt", [0.0, 0.8])
def test_the_optimum_in_one_and_in_two_dimensions(best, tilt):
    step = (GRID[-1] - GRID[0]) / (STEPS - 1)
    for one in best:
        values = [-((x - one) ** 2) for x in GRID]
        assert optimum([[x] for x in GRID], values) == pytest.approx((one,), abs=step / 2 + 1e-12)
    points = list(itertools.product(GRID, GRID))
    moved = [(x - best[0], y - best[1]) for x, y in points]
    values = [-(x * x) - y * y - tilt * x * y for x, y in moved]
    assert optimum(points, values) == pytest.approx(best, abs=step)


def test_an_optimum_outside_is_at_the_end_of_what_was_tried():
    assert optimum([[x] for x in GRID], [-((x - 9) ** 2) for x in GRID]) == (2.0,)
    assert optimum([[x] for x in GRID], [x * x for x in GRID]) == (-3.0,)  # no maximum inside


STRENGTHS = (1e-4, 1e-3, 1e-2)
BEST = {"conv_l2": 1e-3, "dense_l2": 3e-3}


def trials_of(candidates, accuracy):
    return {
        spec(0.1, regularization=Regularization(**candidate)): [
            accuracy(candidate, seed) for seed in range(SEEDS)
        ]
        for candidate in candidates
    }


def recorded(candidate, seed, best=BEST):
    miss = sum(math.log(candidate[name] / best[name]) ** 2 for name in best)
    return make_record(spec(0.1), val_accuracy=0.9 - 0.01 * miss + 0.05 * seed)


PAIRS = [
    {"conv_l2": conv, "dense_l2": dense} for conv, dense in itertools.product(STRENGTHS, repeat=2)
]
TIED = [{"conv_l2": strength, "dense_l2": strength} for strength in STRENGTHS]
separately = functools.partial(choose_on_surface, {name: (name,) for name in BEST})
together = functools.partial(choose_on_surface, {"dense_l2": tuple(BEST)})


def test_the_two_strengths_are_found_within_a_step_of_the_surface():
    chosen = separately(trials_of(PAIRS, recorded))
    step = math.log(100) / (STEPS - 1)
    for name, best in BEST.items():
        assert math.log(getattr(chosen.regularization, name) / best) == pytest.approx(0, abs=step)
    assert chosen.learning_rate == 0.1


def test_a_tied_search_finds_the_compromise():
    chosen = together(trials_of(TIED, recorded)).regularization
    assert chosen.conv_l2 == chosen.dense_l2
    compromise = math.sqrt(BEST["conv_l2"] * BEST["dense_l2"])
    assert chosen.conv_l2 == pytest.approx(compromise, rel=0.05)


def test_seeds_are_averaged_and_each_has_an_optimum_of_its_own():
    def by_seed(candidate, seed):
        best = dict(zip(BEST, ((1e-3, 1e-3), (1e-3, 9e-3))[seed], strict=True))
        return recorded(candidate, seed, best)

    trials = trials_of(PAIRS, by_seed)
    assert separately(trials).regularization.dense_l2 == pytest.approx(3e-3, rel=0.06)
    optima = optimum_by_seed(trials, tuple(BEST))
    assert [math.exp(dense) for _, dense in optima] == pytest.approx([1e-3, 9e-3], rel=0.06)


def test_what_failed_is_left_out_of_the_surface():
    def corner_lost(candidate, seed):
        lost = candidate["conv_l2"] == candidate["dense_l2"] == 1e-2
        return None if lost and seed == 0 else recorded(candidate, seed)

    trials = trials_of(PAIRS, corner_lost)
    # The seeds' own levels differ, and one of 18 trials is missing.
    assert separately(trials).regularization.conv_l2 == pytest.approx(1e-3, rel=0.2)


def test_a_diverged_trial_counts_as_the_worst_there_was():
    def chosen(accuracy, status):
        def with_corner(candidate, seed):
            if candidate["conv_l2"] == candidate["dense_l2"] == 1e-2:
                return make_record(spec(0.1), None, status, val_accuracy=accuracy)
            return recorded(candidate, seed)

        return separately(trials_of(PAIRS, with_corner))

    worst = min(recorded(one, 0).measures.val_accuracy for one in PAIRS)
    assert chosen(1.0, "diverged") == chosen(worst, "finished")


@pytest.mark.parametrize("choose", [separately, together])
def test_too_few_different_strengths_choose_nothing(choose):
    # Six trials on the diagonal make no surface over pairs, and four of two strengths no curve.
    diagonal = TIED if choose is separately else TIED[:2]
    trials = trials_of(diagonal, recorded)
    assert choose(trials) is None
    assert optimum_by_seed(trials, tuple(BEST)) == NOTHING


@pytest.mark.parametrize("status", [None, "diverged"])
def test_nothing_is_chosen_where_all_trials_failed(status):
    def failed(candidate, seed):
        return status and make_record(spec(0.1), None, status)

    trials = trials_of(PAIRS, failed)
    assert separately(trials) is None and optimum_by_seed(trials, tuple(BEST)) == NOTHING
    assert optimum_by_seed({}, tuple(BEST)) == []


def test_each_optimum_has_the_place_of_its_seed():
    def second_alone(candidate, seed):
        return recorded(candidate, seed) if seed else None

    first, second = optimum_by_seed(trials_of(PAIRS, second_alone), tuple(BEST))
    _, known = optimum_by_seed(trials_of(PAIRS, recorded), tuple(BEST))
    assert (first, second) == (NOTHING[0], known)
