"""Loss levels: the step at which gradient descent on a quadratic reaches a loss is known."""

import copy
import math
import pickle

import numpy as np
import pytest
from callback_models import least_squares

from callbacks import LossLevels

START, RATE = 3.0, 0.1
X, Y = np.ones((8, 1), "float32"), np.zeros((8, 1), "float32")


def loss_after(steps):
    return START**2 * (1 - 2 * RATE) ** (2 * steps)


def first_step_at(level):
    return math.ceil(math.log(level / START**2) / (2 * math.log(1 - 2 * RATE)))


def fitted(levels, measures=None, epochs=5, rate=RATE, **options):
    recorder = LossLevels((X, Y), levels, measures, **options)
    # 4 steps an epoch, all on the same examples.
    model = least_squares([START], rate)
    model.fit(X, Y, batch_size=2, epochs=epochs, callbacks=[recorder], verbose=0)
    return recorder


def test_levels_are_reached_at_the_steps_of_the_closed_form():
    rows = fitted((1.0, 0.1, 5.0)).rows
    assert [row["level"] for row in rows] == [5.0, 1.0, 0.1, None]
    assert [row["step"] for row in rows[:3]] == [first_step_at(level) for level in (5, 1, 0.1)]
    assert [row["step"] for row in rows[:3]] == [2, 5, 11]  # within epochs 1, 2 and 3
    for row in rows:
        assert row["loss"] == pytest.approx(loss_after(row["step"]), rel=1e-5)
    assert rows[-1]["step"] == 20


def test_a_level_may_be_behind_the_untrained_net_and_one_may_never_be_reached():
    first, second, last, end = fitted((20.0, 9.5, 1e-6)).rows
    assert (first["step"], second["step"]) == (0, 0)
    assert (last["level"], last["step"], last["loss"]) == (1e-6, None, None)
    assert end["loss"] == pytest.approx(loss_after(20), rel=1e-5)


def test_the_loss_lies_below_its_level_by_the_steps_between_two_evaluations():
    rows = fitted((5.0, 1.0), every_n_batches=3).rows
    assert [row["step"] for row in rows[:2]] == [3, 6]  # first at 2 and 5
    assert rows[0]["loss"] == pytest.approx(loss_after(3), rel=1e-5)


def test_the_state_measured_is_the_one_at_that_step():
    def weight(function):
        return float(function.parameters()[0])

    rows = fitted((1.0,), {"weight": weight}).rows
    for row in rows:
        assert row["weight"] == pytest.approx(START * (1 - 2 * RATE) ** row["step"], rel=1e-5)
    missed = fitted((1e-9,), {"weight": weight}).rows[0]
    assert missed["weight"] is None


def test_levels_reached_at_once_are_measured_once():
    calls = []
    rows = fitted((8.0, 7.0), {"call": lambda function: calls.append(1)}, every_n_batches=4).rows
    assert [row["step"] for row in rows[:2]] == [4, 4]
    assert len(calls) == 2  # there, and at the end


def test_training_that_diverges_is_recorded_as_far_as_it_got():
    rows = fitted((1.0,), {"one": lambda function: 1}, epochs=20, rate=1.5).rows
    assert rows[0]["step"] is None
    assert rows[-1]["one"] is None and not math.isfinite(rows[-1]["loss"])


def test_it_can_be_copied_and_pickled():
    recorder = fitted((1.0,))
    for twin in (copy.deepcopy(recorder), pickle.loads(pickle.dumps(recorder))):
        assert twin.rows == recorder.rows
        assert twin.levels == (1.0,)


@pytest.mark.parametrize(
    "levels", [(0.0,), (-1.0, 2.0), (math.nan,), (math.inf,), 0.0, "low", None]
)
def test_levels_are_losses_above_0(levels):
    with pytest.raises(ValueError, match="losses above 0"):
        LossLevels((X, Y), levels)


@pytest.mark.parametrize("measures", [{"a": 3}, {"loss": float}, ["a"]])
def test_measures_are_named_functions(measures):
    with pytest.raises(ValueError, match="measures must be a dict of functions"):
        LossLevels((X, Y), 1.0, measures)
