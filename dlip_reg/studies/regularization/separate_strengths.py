"""reg-separate: strengths for convolution and dense layers should be tuned separately."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlip_reg.evidence.paired import POINTS, Values, minus
from dlip_reg.regularization import Regularization
from dlip_reg.studies.regularization.arms import (
    L2_RANGE,
    candidate,
    log_grid,
    penalty,
    verdict_run,
)
from dlip_reg.studies.regularization.dropout_best import accuracy
from dlip_reg.studies.regularization.surface import (
    choose_on_surface,
    optimum_by_seed,
    trial_points,
)
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import (
    Arm,
    Chosen,
    Claim,
    Control,
    Measurement,
    Part,
    Setting,
    Tuning,
)
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

FIELDS = ("conv_l2", "dense_l2")
SEPARATE = {"conv_l2": ("conv_l2",), "dense_l2": ("dense_l2",)}
TIED = {"dense_l2": FIELDS}


def search_arms(setting: Setting) -> list[Arm]:
    """Two searches of equal budgets: over pairs of strengths, and over one strength for both."""
    side = setting.preset.side
    pairs = itertools.product(log_grid(L2_RANGE, side), repeat=2)
    separate = [Regularization(conv_l2=conv, dense_l2=dense) for conv, dense in pairs]
    tied = [penalty("l2", strength) for strength in log_grid(L2_RANGE, side * side)]
    return [
        _search("l2_separate", setting, separate, SEPARATE, "L2, conv and dense apart"),
        _search("l2_tied", setting, tied, TIED, "L2, tied"),
    ]


def _search(
    name: str,
    setting: Setting,
    values: Sequence[Regularization],
    tied: dict[str, tuple[str, ...]],
    label: str,
) -> Arm:
    def candidates(chosen: Chosen) -> list[RunSpec]:
        rate = chosen["l2"].learning_rate
        return [candidate(setting, learning_rate=rate, regularization=value) for value in values]

    def found(chosen: Chosen) -> RunSpec:
        return verdict_run(setting, chosen[name])

    tuning = Tuning(candidates, functools.partial(choose_on_surface, tied), expected=len(values))
    return Arm(name, found, tuning, uses=("l2",), label=label)


def measure(runs: Runs) -> Measurement:
    """Test accuracy at the separate optimum minus that at the tied one."""
    separate, tied = accuracy(runs, "l2_separate"), accuracy(runs, "l2_tied")
    optima = optimum_by_seed(runs.trials["l2_separate"], FIELDS)
    decades = tuple((conv - dense) / math.log(10) for conv, dense in optima)
    return Measurement(
        minus(separate, tied),
        (
            Part("test accuracy at the tied optimum", "%", tied),
            Part("best conv over best dense strength, by tuning seed", "decades", decades),
        ),
    )


def _again(runs: Runs) -> Values:
    return minus(accuracy(runs, "l2"), accuracy(runs, "l2_tied"))


def draw(runs: Runs) -> Sequence[FigureItem]:
    """The response surface over both strengths, the tied diagonal and the optimum."""
    from dlip_reg.report import FigureItem, figures

    separate = _to_draw(runs, "l2_separate", FIELDS)
    if not separate:  # L2 itself could not be trained
        return []
    best = runs.chosen["l2_separate"]
    optimum = best and (best.regularization.conv_l2, best.regularization.dense_l2)
    tried = [tuple(trial["strengths"].values()) for trial in separate]
    # A little beyond the outermost trials, so that their marks are whole.
    ranges = [(min(each) / 1.2, max(each) * 1.2) for each in zip(*tried, strict=True)]
    return [
        FigureItem(
            "strength_surface",
            figures.response_surface(
                separate, _to_draw(runs, "l2_tied", FIELDS[:1]), ranges, optimum
            ),
            "Mean validation accuracy over convolution and dense L2 strength: the trials of both "
            "searches, the tied diagonal and the optimum of the fitted surface.",
            "A mark is a trial, coloured by its mean over tuning seeds; the colours between the "
            "marks are a smoothed surface. A tied search sees only the diagonal; the star is the "
            "optimum of the quadratic surface through all trials, which is what is trained.",
        )
    ]


def _to_draw(runs: Runs, arm: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The trials as `figures.response_surface` takes them."""
    points, accuracies = trial_points(runs.trials.get(arm, {}), fields)
    return [
        {"strengths": dict(zip(fields, map(math.exp, point), strict=True)), "scores": scores}
        for point, scores in zip(points, accuracies, strict=True)
    ]


CLAIM = Claim(
    id="reg-separate",
    sentence="Regularization strengths for convolution and dense layers should be tuned "
    "separately.",
    experiment="Test accuracy at the optimum of the response surface over (conv, dense) L2 "
    "strengths minus that at the optimum over one tied strength: quadratic surfaces in the logs "
    "through all trials, equal numbers of trials over the same range, the same learning rate and "
    "tuning seeds. A diverged run has the accuracy of guessing.",
    unit=POINTS,
    direction=+1,
    smallest_effect=0.5,
    smallest_effect_source="half a point, about one image in 200: less is not worth a second "
    "strength to tune",
    measure=measure,
    needs=("l2_separate", "l2_tied"),
    controls=(
        Control(
            "negative",
            "L2 as the other claims have it, the best of another search over one tied strength, "
            "minus the tied optimum: nothing is separate.",
            _again,
            ("l2_tied", "l2"),
        ),
    ),
    arms=search_arms,
    draw=draw,
)
