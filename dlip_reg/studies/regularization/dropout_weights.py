"""reg-dropout-weights: dropout has a weight-regularization effect.

A smaller learning rate is no control here: with Adam the distance travelled to the same loss grows
with the learning rate itself, with or without dropout (the number is shown beside the headline).
All rates are therefore compared at one learning rate, and the control is dropout at a rate of next
to nothing. What slower fitting alone does at the same learning rate, more steps and so a longer
way, speaks against the claim; so the slope after the same number of steps is shown, too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, minus, slope
from dlip_reg.studies.drawing import against_loss, by_label
from dlip_reg.studies.readings import at_matched_loss, at_the_end, kernels, matching_notes
from dlip_reg.studies.regularization.arms import dropout
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

RATES = (0.1, 0.3, 0.5)
NO_RATE = 0.005  # drops one unit in 200: dropout's code without its effect
DOSES = {0.0: "none", **{rate: f"dose/{rate}" for rate in RATES}}
_UNIT = "log-ratio per unit of dropout rate"


def dose_arms(setting: Setting) -> list[Arm]:
    """Dropout at several rates, all at the learning rate that is best without it."""
    return [
        Arm(
            f"dose/{rate}",
            functools.partial(_dropped, rate),
            uses=("none",),
            label=f"dropout {rate:g}",
        )
        for rate in (*RATES, NO_RATE)
    ]


def _dropped(rate: float, chosen: Chosen) -> RunSpec:
    return replace(chosen["none"], regularization=dropout(rate))


def _slope(runs: Runs, statistic: str) -> Values:
    values = at_matched_loss(runs, tuple(DOSES.values()), kernels(statistic, log=True))
    return slope(tuple(DOSES), [values[arm] for arm in DOSES.values()])


def measure(runs: Runs) -> Measurement:
    """The slope of the log-distance from the initial weights against the dropout rate."""
    return Measurement(
        _slope(runs, "distance"),
        (
            Part(
                "slope of the distance after the same number of steps",
                _UNIT,
                _slope_at_end(runs),
            ),
            Part("slope of the norm (RMS) of the weights", _UNIT, _slope(runs, "rms")),
            Part("slope of the largest weight", _UNIT, _slope(runs, "max")),
            Part(
                "distance at a third of the learning rate, over none",
                LOG_RATIO,
                _difference(runs, "none_slow"),
            ),
        ),
        matching_notes(runs, tuple(DOSES.values())),
    )


def _slope_at_end(runs: Runs) -> Values:
    end = at_the_end(kernels("distance", log=True))
    return slope(tuple(DOSES), [runs.values(arm, end) for arm in DOSES.values()])


def _difference(runs: Runs, arm: str) -> Values:
    values = at_matched_loss(runs, ("none", arm), kernels("distance", log=True))
    return minus(values[arm], values["none"])


def _no_dose(runs: Runs) -> Values:
    # As if it were the highest rate.
    return tuple(value / RATES[-1] for value in _difference(runs, f"dose/{NO_RATE}"))


def draw(runs: Runs) -> Sequence[FigureItem]:
    """Distance from the initial weights against the training loss, one colour a rate."""
    from dlip_reg.report import FigureItem, figures

    arms = (*DOSES.values(), "none_slow")
    curves = by_label(runs, arms, lambda record: against_loss(record, kernels("distance")))
    return [
        FigureItem(
            "distance_at_loss",
            figures.against_falling_loss(curves, "‖w − w₀‖ ÷ ‖w₀‖, mean over layers"),
            "Distance of the weights from their initial values against clean training loss, for "
            + ", ".join(curves) + ".",
            "At the same training loss, a regularizer of the weights would show as a shorter "
            "distance the higher the dropout rate.",
        )
    ]  # fmt: skip


CLAIM = Claim(
    id="reg-dropout-weights",
    sentence="Dropout has a weight-regularization effect.",
    experiment="Slope of the log of the distance from the initial weights (mean over layers, "
    "relative to the initial norm) against the dropout rate, over rates "
    + ", ".join(f"{rate:g}" for rate in DOSES)
    + ", at matched clean training loss and the same learning rate; a diverged run counts as no "
    "difference.",
    unit=_UNIT,
    direction=-1,
    smallest_effect=0.2,
    smallest_effect_source="10 % at a rate of 0.5, the rate that Srivastava et al. 2014 recommend; "
    "less is not visible in a histogram of the weights",
    measure=measure,
    needs=(*DOSES.values(), "none_slow"),
    controls=(
        Control(
            "negative",
            f"Dropout at a rate of {NO_RATE:g} in the place of the highest rate: the same code and "
            "random draws, and next to no dropout.",
            _no_dose,
            ("none", f"dose/{NO_RATE}"),
        ),
    ),
    arms=dose_arms,
    draw=draw,
)
