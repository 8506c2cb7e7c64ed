"""bn-easier: batch norm makes the global minimum much easier to find."""

import itertools
import math
from collections.abc import Sequence

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, Question, Values, mean_of, minus
from dlip_reg.studies import Arm, Arms, Part, Setting, Trials, Tuning, drawn_by, figure, is_finished
from dlip_reg.studies.batch_norm.arms import NETS, he_scaled, run_of, with_options
from dlip_reg.studies.batch_norm.nets import drawn, with_placebo
from dlip_reg.studies.drawing import Drawn
from dlip_reg.studies.readings import log_loss
from dlip_reg.studies.runs import Runs, curves_of
from dlip_reg.studies.study import Measured, claimed
from dlip_reg.training import Record, RunSpec


def start_arms(setting: Setting) -> Arms:
    """Each network from initial weights of several scales, with a learning rate for each scale."""
    preset = setting.preset
    for (net, label), scale in itertools.product(NETS.items(), preset.start_scales):
        # At scale 1 it is the builders' own start, whose runs other arms share.
        start = {} if scale == 1 else {"builder": with_options(**he_scaled(scale))}
        tuning = Tuning([{"learning_rate": r, **start} for r in preset.start_rates], choose_lowest)
        name, label = f"start/{net}/{scale:g}", f"{label}, scale {scale:g}"
        yield Arm(name, run_of(setting, net), tuning, label=label)


def choose_lowest(trials: Trials) -> RunSpec | None:
    """The candidate with the lowest training loss, by the mean over seeds of its logarithm.

    A candidate with a run that diverged or failed is chosen only if all have one, and one without
    any record never.
    """
    scores = {}
    for spec, records in trials.items():
        if not any(records):
            continue
        logs = [log_lowest(record) for record in filter(is_finished, records)]
        scores[spec] = (len(records) - len(logs), sum(logs) / len(logs) if logs else math.inf)
    return min(scores, key=scores.__getitem__, default=None)


def log_lowest(record: Record) -> float:
    """The logarithm of the lowest clean training loss of the run at the end of any epoch."""
    return log_loss(min(loss for loss in curves_of(record).clean_loss if loss is not None))


@figure("lowest_loss")
def draw(runs: Runs) -> Drawn:
    """Lowest clean training loss in a fixed number of steps against the scale of the initial
    weights: {networks}.

    Each point at its own learning rate, tuned on other seeds. Runs that diverged are not drawn; in
    the measurement they count with ln {classes} = {guessing:.2f} nats, the loss of guessing. A low
    training loss says how easily a good minimum is found, and nothing about the test images.
    """
    losses = {
        label: {
            scale: [math.exp(value) for value in values if not math.isnan(value)]
            for scale, values in by_scale.items()
        }
        for label, by_scale in drawn(runs, "start/{}/*", log_lowest).items()
    }
    plot = report.figures.tried_values(
        losses,
        "initial weights over those of He et al. 2015",
        "lowest training loss (nats)",
        percent=False,
    )
    guessing = math.log(runs.classes)
    yield plot, {"networks": losses, "classes": runs.classes, "guessing": guessing}


@drawn_by(draw)
@with_placebo(
    "start/{}/",
    description="The scale and shift of batch norm without normalization, minus the plain network: "
    "as many parameters, tuned alike.",
)
@claimed(
    "bn-easier", LOG_RATIO, Question(-1, math.log(2)), "start/plain/", "start/bn/", arms=start_arms
)
def claim(runs: Runs, treated: str = "bn") -> Measured:
    """Batch norm makes the global minimum much easier to find.

    ln of the lowest clean training loss reached in a fixed number of steps, mean over initial
    weights of 0.5, 1 and 2 times the size of He et al. 2015, each network and scale at its own best
    learning rate; with batch norm minus without. A diverged run counts with the loss of guessing.

    Smallest effect: ln 2: “much” is at least a factor of two
    """
    failure = math.log(math.log(runs.classes))
    lowest, plain = (runs.over(f"start/{net}/*", log_lowest, failure) for net in (treated, "plain"))

    def difference(scales: Sequence[float]) -> Values:
        return minus(*(mean_of(*(by_scale[s] for s in scales)) for by_scale in (lowest, plain)))

    yield difference(list(plain))
    for scale in plain:
        label = f"from initial weights of {scale:g} times their size"
        yield Part(label, LOG_RATIO, difference([scale]))
