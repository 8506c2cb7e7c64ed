"""reg-separate: strengths for convolution and dense layers should be tuned separately."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import POINTS, Question, Values, minus
from dlip_reg.regularization import Regularization
from dlip_reg.studies import (
    Arm,
    Arms,
    Measured,
    Part,
    Runs,
    Setting,
    Trials,
    claimed,
    controlled,
    negative,
    positive,
)
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.readings import accuracy, best, val_accuracy
from dlip_reg.studies.regularization.arms import L2_RANGE, for_tuning, log_grid, penalties, tuned
from dlip_reg.studies.study import drawn_by
from dlip_reg.studies.surface import choose_on_surface, optimum_by_seed, trial_points
from dlip_reg.training import RunSpec

FIELDS = ("conv_l2", "dense_l2")


def search_arms(setting: Setting) -> Arms:
    """Two searches of equal budgets: over pairs of strengths, and over one strength for both; and
    what the worst choice among the pairs gives.
    """
    side = setting.preset.side
    pairs = itertools.product(log_grid(L2_RANGE, side), repeat=2)
    separate = [Regularization(conv_l2=conv, dense_l2=dense) for conv, dense in pairs]
    tied = penalties("l2", L2_RANGE, side * side)

    def search(name: str, values: Sequence[Regularization], choose: Any, label: str) -> Arm:
        tried = [{"regularization": value, **for_tuning(setting)} for value in values]
        return tuned(name, setting, tried, label, "l2", choose)

    on_surface = functools.partial(choose_on_surface, {field: (field,) for field in FIELDS})
    on_curve = functools.partial(choose_on_surface, {"dense_l2": FIELDS})
    yield search("l2_separate", separate, on_surface, "L2, conv and dense apart")
    yield search("l2_tied", tied, on_curve, "L2, tied")
    yield search("l2_ill_matched", separate, worst_pair, "L2, ill-matched")


def worst_pair(trials: Trials) -> RunSpec | None:
    """The pair of different strengths with the lowest mean validation accuracy."""
    pairs = {
        spec: records
        for spec, records in trials.items()
        if spec.regularization.conv_l2 != spec.regularization.dense_l2
    }
    return best(pairs, lambda record: -val_accuracy(record))


@figure("strength_surface")
def draw(runs: Runs) -> Drawn:
    """Mean validation accuracy over convolution and dense L2 strength: the trials of both searches,
    the tied diagonal and the optimum of the fitted surface.

    A mark is a trial, coloured by its mean over tuning seeds; the colours between the marks are a
    smoothed surface. A tied search sees only the diagonal; the star is the optimum of the quadratic
    surface through all trials, which is what is trained.
    """
    separate = _to_draw(runs, "l2_separate", FIELDS)
    if not separate:  # L2 itself could not be trained
        return
    optimum = None
    if best := runs.chosen["l2_separate"]:
        strengths = best.runs[0].regularization
        optimum = strengths.conv_l2, strengths.dense_l2
    tried = [tuple(trial["strengths"].values()) for trial in separate]
    # A little beyond the outermost trials, so that their marks are whole.
    conv, dense = ((min(each) / 1.2, max(each) * 1.2) for each in zip(*tried, strict=True))
    tied = _to_draw(runs, "l2_tied", FIELDS[:1])
    yield report.figures.response_surface(separate, tied, (conv, dense), optimum)


def _to_draw(runs: Runs, arm: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The trials as `figures.response_surface` takes them."""
    points, accuracies = trial_points(runs.trials.get(arm, {}), fields)
    return [
        {"strengths": dict(zip(fields, map(math.exp, point), strict=True)), "scores": scores}
        for point, scores in zip(points, accuracies, strict=True)
    ]


@negative("l2_tied", "l2")
def nothing_separate(runs: Runs) -> Values:
    """L2 as the other claims have it, the best of another search over one tied strength, minus the
    tied optimum: nothing is separate.
    """
    return minus(accuracy(runs, "l2"), accuracy(runs, "l2_tied"))


@positive("l2_tied", "l2_ill_matched")
def ill_matched(runs: Runs) -> Values:
    """The tied optimum minus the pair of different strengths that tuning found worst: how one
    strength stands to the other must matter.
    """
    return minus(accuracy(runs, "l2_tied"), accuracy(runs, "l2_ill_matched"))


@drawn_by(draw)
@controlled(nothing_separate, ill_matched)
@claimed("reg-separate", POINTS, Question(+1, 0.5), "l2_separate", "l2_tied", arms=search_arms)
def claim(runs: Runs) -> Measured:
    """Regularization strengths for convolution and dense layers should be tuned separately.

    Test accuracy at the optimum of the response surface over (conv, dense) L2 strengths minus
    that at the optimum over one tied strength: quadratic surfaces in the logs through all trials,
    equal numbers of trials over the same range, the same learning rate and tuning seeds. A diverged
    run has the accuracy of guessing.

    Smallest effect: half a point, about one image in 200: less is not worth a second strength to
    tune
    """
    separate, tied = accuracy(runs, "l2_separate"), accuracy(runs, "l2_tied")
    optima = optimum_by_seed(runs.trials["l2_separate"], FIELDS)
    decades = tuple((conv - dense) / math.log(10) for conv, dense in optima)
    yield minus(separate, tied)
    yield Part("test accuracy at the tied optimum", "%", tied)
    yield Part("best conv over best dense strength, by tuning seed", "decades", decades)
