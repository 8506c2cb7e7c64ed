"""bn-no-dropout, bn-with-dropout, bn-less-dropout: batch norm with and without dropout.

All runs are trained for so many epochs that the validation loss stops falling, and are read where
it was lowest: as if training had been stopped there.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dlip_reg import report
from dlip_reg.evidence import (
    FAILED,
    LOG_RATIO,
    POINTS,
    ClaimResult,
    Question,
    Values,
    by_seed,
    failures_as_zero,
    log_ratio,
    minus,
    percent,
)
from dlip_reg.studies import Arms, Measured, Part, Tuning, claimed, controlled, positive, readings
from dlip_reg.studies.batch_norm.arms import NETS
from dlip_reg.studies.batch_norm.learning_rates import TRAINS, best_accuracy, steps_to
from dlip_reg.studies.batch_norm.nets import against_plain, by_net, drawn
from dlip_reg.studies.drawing import Drawn, figure, section, together
from dlip_reg.studies.readings import best, lowest_epoch, still_falling, stopped_accuracy
from dlip_reg.studies.result import effect_text
from dlip_reg.studies.runs import Runs, Trials, curves_of, known
from dlip_reg.studies.study import Arm, Setting, drawn_by, negative, times, varied
from dlip_reg.studies.surface import optimum
from dlip_reg.training import Record, RunSpec

# Dropout is tried at the network's own best learning rate and at half of it: noise slows training.
RATE_FACTORS = (1.0, 0.5)
USELESS = 1e-3  # of a dropout rate, so that about one unit in a thousand steps is dropped
MARGIN = 0.5  # points of accuracy that removing dropout may cost
MORE = 3  # times as many images, for the control that is known to be better
ALONE, TUNED, TUNED_USELESS = "dropout/bn/0", "bn_dropout", "bn_useless_dropout"
MORE_IMAGES = "bn_more_images"
HIGHEST_RATE = 0.5


def dropout_arms(setting: Setting) -> Arms:
    """All networks at every dropout rate, batch norm with tuned dropout, and the controls."""
    preset = setting.preset
    longer = {"measures": ("curves", "test"), "epochs": preset.dropout_epochs}
    pairs = list(itertools.product(RATE_FACTORS, preset.dropout_rates))

    def tuned(name: str, factor: float, label: str) -> Arm:
        tried = [
            {"learning_rate": times(scale), "dense_dropout": factor * rate, **longer}
            # Batch norm alone was tuned over as many learning rates.
            for scale, rate in pairs[: len(preset.rates)]
        ]
        return Arm(name, "bn", Tuning(tried, most_accurate_when_stopped), label=label)

    more = longer | {
        "data": lambda data: replace(data, n_train=MORE * data.n_train),
        "epochs": max(2, preset.dropout_epochs // MORE),  # as many updates
    }
    for (net, label), rate in itertools.product(NETS.items(), preset.dropout_curve):
        yield varied(f"dropout/{net}/{rate:g}", net, label, dense_dropout=rate, **longer)
    yield tuned(TUNED, 1.0, "with batch norm and dropout")
    yield tuned(TUNED_USELESS, USELESS, "with batch norm and a useless dropout")
    yield varied(MORE_IMAGES, "bn", f"with batch norm, {MORE} times the images", **more)


def most_accurate_when_stopped(trials: Trials) -> RunSpec | None:
    """The best candidate by validation accuracy where the validation loss was lowest."""

    def accuracy(record: Record) -> float:
        curves = curves_of(record)
        return known(curves.clean_val_accuracy[lowest_epoch(curves.clean_val_loss)])

    return best(trials, accuracy)


def accuracy(runs: Runs, arm: str) -> Values:
    """Test accuracy in per cent where training was stopped; guessing's for a diverged run."""
    return readings.accuracy(runs, arm, stopped_accuracy)


def gain(runs: Runs, arm: str, over: str) -> Values:
    """Points of test accuracy of one arm over another."""
    return minus(accuracy(runs, arm), accuracy(runs, over))


def _still_falling(runs: Runs) -> Iterator[str]:
    for arm in (ALONE, TUNED):
        if count := still_falling(runs, arm):
            yield (
                f"{runs.labels[arm].capitalize()}: the validation loss was lowest after the last "
                f"epoch in {count} of {len(runs.finished(arm))} runs."
            )


def slowing(runs: Runs) -> Values:
    """By seed, ln of the steps with dropout over those alone, to the lower best accuracy."""

    def steps(*pair: Record) -> list[float]:
        goal = min(map(best_accuracy, pair))
        return [max(1.0, known(steps_to(record, goal))) for record in pair]

    unknown = (math.nan, math.nan)
    return log_ratio(*zip(*runs.each((TUNED, ALONE), steps, unknown, unknown), strict=True))


def best_rates(runs: Runs, net: str) -> Values:
    """By seed, the dropout rate at which a quadratic through the test accuracies is highest.

    It is fitted to each seed's own accuracies, so that the scatter over seeds contains what noise
    does to the best rate: where the curve is flat, that jumps from one end to the other. A seed
    whose accuracies are all equal, as where every run diverged, has no best rate and has failed.
    """
    by_rate = runs.over(f"dropout/{net}/*", stopped_accuracy, runs.guessing)

    def of_seed(curve: Mapping[float, float]) -> float:
        if any(map(math.isnan, curve.values())):
            return math.nan
        if len(set(curve.values())) == 1:
            return FAILED
        return optimum([[rate] for rate in curve], [*curve.values()])[0]

    return tuple(map(of_seed, by_seed(by_rate)))


@figure("dropout_rates")
def draw_rates(runs: Runs) -> Drawn:
    """Test accuracy against the dropout rate: {networks}.

    On the dense layers; a diverged run has the accuracy of guessing. The claim compares where
    quadratics through each seed's accuracies are highest, and not how high they are.
    """
    title = "each at its own learning rate"
    curves = {
        label: by_rate
        for label, by_rate in drawn(runs, "dropout/{}/*", stopped_accuracy, runs.guessing).items()
        if len(by_rate) > 1
    }
    if curves:
        plot = report.figures.strength_curves(
            {title: curves}, linear=title, y_label="test accuracy (%)"
        )
        yield plot, {"networks": curves}


@figure("dropout")
def draw_accuracy(runs: Runs) -> Drawn:
    """Test accuracy: {arms}.

    Where the validation loss was lowest. Learning rates and dropout rates were tuned on validation
    images with other seeds; the other arms are controls.
    """
    values = {
        runs.labels[arm]: [share / 100 for share in accuracy(runs.where_run(arm), arm)]
        for arm in (ALONE, TUNED, TUNED_USELESS, MORE_IMAGES)
        if arm in runs
    }
    if len(values) > 1:
        yield report.figures.method_accuracy(values), {"arms": values}


DRAW = together(draw_rates, draw_accuracy)


@section("With or without dropout")
def with_or_without(runs: Runs, claims: Sequence[ClaimResult]) -> Drawn:
    """On dropout the note contradicts itself: it says that batch normalization makes dropout
    unnecessary, and that the two are better together. The same runs answer both. {results} Both
    sentences come from papers on other networks and data: dropout helps where a network overfits,
    and how much this one does depends on the number of images.
    """
    both = [claim for claim in claims if claim.id in (no_dropout.id, with_dropout.id)]
    results = " ".join(
        f"“{claim.sentence.rstrip('.')}”: {claim.verdict or 'estimate'} "
        f"({effect_text(claim)}{f', {-claim.null:g} of them allowed' if claim.null else ''})."
        for claim in both
    )
    if len(both) == 2 and not any(claim.effect is None for claim in both):
        yield (), {"results": results}


@negative(ALONE, TUNED_USELESS)
def set_back(runs: Runs) -> Values:
    """Batch norm alone, set back by half a point, minus batch norm with dropout at a thousandth of
    the rates, tuned over as many candidates: it loses just the margin, so this must not pass.
    """
    return tuple(x - MARGIN for x in gain(runs, ALONE, TUNED_USELESS))


@positive(MORE_IMAGES, TUNED)
def more_images_alone(runs: Runs) -> Values:
    """Batch norm alone on {MORE} times as many images with as many updates, minus batch norm with
    its best dropout: more images are known to help.
    """
    return gain(runs, MORE_IMAGES, TUNED)


@negative(TUNED_USELESS, ALONE)
def useless_dropout(runs: Runs) -> Values:
    """Batch norm with dropout at a thousandth of the rates, tuned over as many candidates, minus
    batch norm alone: what choosing the best of many is worth.
    """
    return gain(runs, TUNED_USELESS, ALONE)


@positive(MORE_IMAGES, ALONE)
def more_images(runs: Runs) -> Values:
    """Batch norm on {MORE} times as many images with as many updates, minus batch norm: more images
    are known to help.
    """
    return gain(runs, MORE_IMAGES, ALONE)


@drawn_by(DRAW, "dropout/")
@controlled(set_back, more_images_alone)
@claimed("bn-no-dropout", POINTS, Question(+1, 0.25, -MARGIN), ALONE, TUNED, arms=dropout_arms)
def no_dropout(runs: Runs) -> Measured:
    """With batch norm dropout can be removed: it can hurt or slow training.

    Test accuracy with batch norm alone minus that with batch norm and its best dropout, tuned
    over as many candidates on other seeds, each where its validation loss was lowest.
    Non-inferiority: at most half a point may be lost, so the effect is the difference plus 0.5. A
    diverged run has the accuracy of guessing, and 0 with batch norm alone. A seed with which
    neither ends ten points above chance is left out.

    Smallest effect: half of the margin, so that equal accuracies lie clearly within it; the margin
    of half a point is the least for which a practitioner would keep dropout, about what the
    regularizers of Srivastava et al. 2014 (table 9) differ by
    """
    alone = percent(runs.values(ALONE, stopped_accuracy, 0.0))
    at_end = (readings.accuracy(runs, arm) for arm in (ALONE, TUNED))
    pairs = list(zip(alone, accuracy(runs, TUNED), strict=True))
    trained = 100 * (runs.guessing + TRAINS)
    # That both are at chance is no evidence that nothing is lost.
    yield tuple(math.nan if max(pair) < trained else pair[0] - pair[1] for pair in pairs)
    yield Part("test accuracy with batch norm alone", "%", alone)
    yield Part("alone minus with dropout, at the end of training", POINTS, minus(*at_end))
    label = "steps to the accuracy that both reach, with dropout over alone"
    yield Part(label, LOG_RATIO, slowing(runs))
    yield from _still_falling(runs)


@drawn_by(DRAW)
@controlled(useless_dropout, more_images)
@claimed("bn-with-dropout", POINTS, Question(+1, 0.5), ALONE, TUNED)
def with_dropout(runs: Runs) -> Measured:
    """Batch norm is better used together with dropout.

    Test accuracy with batch norm and its best dropout minus that with batch norm alone, from the
    same runs as bn-no-dropout.

    Smallest effect: half a point, the margin of bn-no-dropout
    """
    yield gain(runs, TUNED, ALONE)
    yield Part("test accuracy with batch norm alone", "%", accuracy(runs, ALONE))
    yield from _still_falling(runs)


@drawn_by(DRAW)
@against_plain(
    "bn-less-dropout", "dropout rate", Question(+1, 0.1, bound=HIGHEST_RATE), "dropout/{}/"
)
def less_dropout(runs: Runs, treated: str = "bn") -> Measured:
    """With batch norm less dropout is used.

    The dropout rate at which a quadratic through a seed's test accuracies is highest, without
    batch norm minus with it; each network at its own best learning rate. A diverged run has the
    accuracy of guessing. A seed with which a network has the same accuracy at all rates counts as
    no difference; if most are such, nothing is decided.

    Smallest effect: 0.1, the step in which dropout rates are commonly chosen and that of the rates
    tried
    """
    best_of = {net: best_rates(runs, net) for net in ("plain", treated)}
    pairs = zip(*best_of.values(), strict=True)
    yield failures_as_zero([FAILED if a + b == FAILED else a - b for a, b in pairs])
    yield from by_net("best dropout rate", "", best_of)
    rates = runs.grid("dropout/plain/*")
    yield f"Dropout rates tried: {', '.join(f'{rate:g}' for rate in rates)}."
