"""reg-dropout-weights, reg-dropout-sparse: what dropout does to weights and activations.

Dropout has a weight-regularization effect, and it induces sparsity: of activations (Srivastava et
al. 2014, section 7.2).

A smaller learning rate is no control for the weights: with Adam the distance travelled to the same
loss grows with the learning rate itself, with or without dropout (the number is shown beside the
headline). All rates are therefore compared at one learning rate, and the control is dropout at a
rate of next to nothing. Slower fitting alone, at the same learning rate, takes more steps to a loss
and so a greater distance, and after the same number of steps it may be a smaller one. So both
comparisons have to show an effect.
"""

from dlip_reg import report
from dlip_reg.evidence import (
    LOG_RATIO,
    POINTS,
    Question,
    Values,
    minus,
    nearer_to_zero,
    percent,
    slope,
)
from dlip_reg.studies import Measured, Part, Runs, activations, figure, matched_difference, negative
from dlip_reg.studies.drawing import Drawn, against_loss, by_label
from dlip_reg.studies.readings import at_matched_loss, at_the_end, kernels, matching_notes
from dlip_reg.studies.regularization.arms import LABELS, METHODS, dropout
from dlip_reg.studies.runs import known
from dlip_reg.studies.study import Arm, Arms, Setting, claimed, controlled, drawn_by

RATES = (0.1, 0.3, 0.5)
NO_RATE = 0.005  # drops one unit in 200: dropout's code without its effect
DOSES = {rate: f"dose/{rate:g}" for rate in (0.0, *RATES)}
NONE, NEXT_TO_NONE = DOSES[0.0], f"dose/{NO_RATE}"
DOSED = [f"{rate:g}" for rate in DOSES]
LOG_DISTANCE = kernels("distance", log=True)
DISTANCE_AT_END = at_the_end(LOG_DISTANCE)
_UNIT = "log-ratio per unit of dropout rate"
# The rate that Srivastava et al. 2014 recommend, whatever rate tuning would choose: a rate next to
# nothing, which does as well on few images, says nothing about what dropout does.
RATE = RATES[-1]
DROPPED = f"dose/{RATE}"
HOYER = "Hoyer sparseness (0 to 1)"


def dose_arms(setting: Setting) -> Arms:
    """Dropout at several rates from 0 on, all at the learning rate that is best without it.

    Without `dose_epochs` the runs at a rate of 0 are those of "none", with what these watch.
    """
    preset = setting.preset
    epochs = preset.dose_epochs or preset.epochs
    for rate in (*DOSES, NO_RATE):
        yield Arm(
            f"dose/{rate:g}",
            "none",
            changes={"regularization": dropout(rate), "epochs": epochs},
            label=f"dropout {rate:g}" if rate else "none",
            watch=() if rate else ("curvature",),
            watch_seeds=preset.sharpness_seeds,
        )


def _slope(runs: Runs, statistic: str) -> Values:
    values = at_matched_loss(runs, tuple(DOSES.values()), kernels(statistic, log=True))
    return slope({rate: values[arm] for rate, arm in DOSES.items()})


@negative(NONE, NEXT_TO_NONE)
def next_to_none(runs: Runs) -> Values:
    """Dropout at a rate of {NO_RATE:g} in the place of the highest rate: the same code and random
    draws, and next to no dropout.
    """
    at_loss = matched_difference(runs, NEXT_TO_NONE, NONE, LOG_DISTANCE)
    at_end = minus(*(runs.values(arm, DISTANCE_AT_END) for arm in (NEXT_TO_NONE, NONE)))
    return tuple(value / RATE for value in nearer_to_zero(at_loss, at_end))


@figure("distance_at_loss")
def draw_distance(runs: Runs) -> Drawn:
    """Distance of the weights from their initial values against clean training loss, for {arms}.

    At the same training loss, a regularizer of the weights would show as a shorter distance the
    higher the dropout rate.
    """
    arms = (*DOSES.values(), "none_slow")
    curves = by_label(runs, arms, lambda record: against_loss(record, kernels("distance")))
    label = "‖w − w₀‖ ÷ ‖w₀‖, mean over layers"
    if curves:
        yield report.figures.against_falling_loss(curves, label), {"arms": curves}


@negative("none", "none_slow")
def fits_more_slowly(runs: Runs) -> Values:
    """No regularization at a third of the learning rate, minus no regularization: it fits more
    slowly and drops nothing.
    """
    return matched_difference(runs, "none_slow", "none", activations("hoyer"))


@figure("activations")
def draw_activations(runs: Runs) -> Drawn:
    """Hoyer sparseness of the activations among alive units, and share of dead units, by layer and
    method.

    At the end of training on fixed validation images, dropout off (compare figure 8 of Srivastava
    et al. 2014). A dead unit is zero on every image and counts apart.
    """
    finished = {
        arm: [known(record.weights).rows[-1].activations for record in records]
        for arm in ("none", *METHODS)
        if (records := runs.finished(arm))
    }

    def by_layer(statistic: str) -> dict[str, dict[str, list[float | None]]]:
        return {
            LABELS[arm]: {
                row.stage or row.layer: [getattr(rows[place], statistic) for rows in of_runs]
                for place, row in enumerate(of_runs[0])
            }
            for arm, of_runs in finished.items()
        }

    if finished:
        yield report.figures.activation_sparsity(by_layer("hoyer"), by_layer("dead"))


@drawn_by(draw_distance)
@controlled(next_to_none)
@claimed(
    "reg-dropout-weights",
    _UNIT,
    Question(-1, 0.2),
    *DOSES.values(),
    "none",
    "none_slow",
    arms=dose_arms,
)
def weights(runs: Runs) -> Measured:
    """Dropout has a weight-regularization effect.

    Slope of the log of the distance from the initial weights (mean over layers, relative to the
    initial norm) against the dropout rate, over rates {DOSED}, at the same learning rate: at
    matched clean training loss or after the same number of steps, whichever mean slope is nearer to
    0, and 0 if they lie on different sides. A diverged run counts as no difference.

    Smallest effect: 10 % at a rate of 0.5, the rate that Srivastava et al. 2014 recommend; less is
    not visible in a histogram of the weights
    """
    at_loss = _slope(runs, "distance")
    at_end = slope({rate: runs.values(arm, DISTANCE_AT_END) for rate, arm in DOSES.items()})
    slower = matched_difference(runs, "none_slow", "none", LOG_DISTANCE)
    yield nearer_to_zero(at_loss, at_end)
    yield Part("slope of the distance at matched loss", _UNIT, at_loss)
    yield Part("slope of the distance after the same number of steps", _UNIT, at_end)
    yield Part("slope of the norm (RMS) of the weights", _UNIT, _slope(runs, "rms"))
    yield Part("slope of the largest weight", _UNIT, _slope(runs, "max"))
    yield Part("distance at a third of the learning rate, over none", LOG_RATIO, slower)
    yield from matching_notes(runs, tuple(DOSES.values()))


@drawn_by(draw_activations, "none", *METHODS)
@controlled(fits_more_slowly)
@claimed("reg-dropout-sparse", HOYER, Question(+1, 0.05), NONE, DROPPED, arms=dose_arms)
def sparsity(runs: Runs) -> Measured:
    """Dropout induces sparsity.

    Hoyer sparseness of the hidden activations over the units that are alive, mean over images
    and layers, at matched clean training loss: dropout at a rate of {RATE:g} minus none, at the
    same learning rate. A diverged run counts as no difference.

    Smallest effect: about half of what separates normally distributed values (0.20) from
    Laplace-distributed ones (0.29)
    """
    sparseness = activations("hoyer")
    end = {arm: runs.values(arm, at_the_end(sparseness)) for arm in (NONE, DROPPED)}
    dead = matched_difference(runs, DROPPED, NONE, activations("dead"))
    weights = matched_difference(runs, DROPPED, NONE, kernels("hoyer"))
    yield matched_difference(runs, DROPPED, NONE, sparseness)
    yield Part("at the end of training", HOYER, minus(end[DROPPED], end[NONE]))
    yield Part("share of dead units", POINTS, percent(dead))
    yield Part("sparseness of the weights", HOYER, weights)
    yield from matching_notes(runs, (NONE, DROPPED))
