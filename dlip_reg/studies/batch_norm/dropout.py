"""bn-no-dropout, bn-with-dropout, bn-less-dropout: batch norm with and without dropout.

All runs are trained for so many epochs that the validation loss stops falling, and are read where
it was lowest: as if training had been stopped there.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, POINTS, Values, log_ratio, minus, percent
from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.rule import LOOKS
from dlip_reg.studies import Arm, Claim, Measurement, Part, Runs, Setting, Trials, Tuning, readings
from dlip_reg.studies.batch_norm.arms import NETS
from dlip_reg.studies.batch_norm.learning_rates import best_accuracy, steps_to
from dlip_reg.studies.batch_norm.nets import by_net, drawn, placebo_control
from dlip_reg.studies.drawing import Drawn, figure, together
from dlip_reg.studies.readings import finished_trials, note
from dlip_reg.studies.result import effect_text
from dlip_reg.studies.study import negative, positive, times, varied
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


def dropout_arms(setting: Setting) -> list[Arm]:
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
        return Arm(name, "bn", Tuning(tried, choose), label=label)

    more = longer | {
        "data": lambda data: replace(data, n_train=MORE * data.n_train),
        "epochs": max(2, preset.dropout_epochs // MORE),  # as many updates
    }
    return [
        *(
            varied(f"dropout/{net}/{rate:g}", net, label, dense_dropout=rate, **longer)
            for net, label in NETS.items()
            for rate in preset.dropout_curve
        ),
        tuned(TUNED, 1.0, "with batch norm and dropout"),
        tuned(TUNED_USELESS, USELESS, "with batch norm and a useless dropout"),
        varied(MORE_IMAGES, "bn", f"with batch norm, {MORE} times the images", **more),
    ]


def lowest(record: Record) -> int:
    """The epoch with the lowest validation loss."""
    losses = record.curves.clean_val_loss
    known = [epoch for epoch, loss in enumerate(losses) if loss is not None]
    return min(known, key=losses.__getitem__)


def stopped_validation_accuracy(record: Record) -> float | None:
    """Validation accuracy where the validation loss was lowest."""
    return record.curves.clean_val_accuracy[lowest(record)]


def stopped_accuracy(record: Record) -> float | None:
    """Test accuracy where the validation loss was lowest."""
    return record.curves.clean_test_accuracy[lowest(record)]


def choose(trials: Trials) -> RunSpec | None:
    """The candidate with the highest mean validation accuracy where its loss was lowest."""
    scores = {
        spec: fmean(map(stopped_validation_accuracy, records))
        for spec, records in finished_trials(trials).items()
    }
    return max(scores, key=scores.__getitem__, default=None)


def accuracy(runs: Runs, arm: str) -> Values:
    """Test accuracy in per cent where training was stopped; guessing's for a diverged run."""
    return readings.accuracy(runs, arm, stopped_accuracy)


def gain(runs: Runs, arm: str, over: str) -> Values:
    """Points of test accuracy of one arm over another."""
    return minus(accuracy(runs, arm), accuracy(runs, over))


def _still_falling(runs: Runs, *arms: str) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    for arm in arms:
        records = runs.finished(arm)
        count = sum(lowest(record) == len(record.curves.epoch) - 1 for record in records)
        notes += note(
            count,
            f"{runs.labels[arm].capitalize()}: the validation loss was lowest after the last "
            f"epoch in {count} of {len(records)} runs.",
        )
    return notes


def measure_no_dropout(runs: Runs) -> Measurement:
    """Test accuracy with batch norm alone minus that with batch norm and its best dropout, tuned
    over as many candidates on other seeds, each where its validation loss was lowest.
    Non-inferiority: at most half a point may be lost, so the effect is the difference plus 0.5. A
    diverged run has the accuracy of guessing, and 0 with batch norm alone.
    """
    alone = percent(runs.values(ALONE, stopped_accuracy, 0.0))
    at_end = (readings.accuracy(runs, arm) for arm in (ALONE, TUNED))
    return Measurement(
        minus(alone, accuracy(runs, TUNED)),
        (
            Part("test accuracy with batch norm alone", "%", alone),
            Part("alone minus with dropout, at the end of training", POINTS, minus(*at_end)),
            Part("steps to the accuracy that both reach, with dropout over alone", LOG_RATIO,
                 slowing(runs)),
        ),
        _still_falling(runs, ALONE, TUNED),
    )  # fmt: skip


def slowing(runs: Runs) -> Values:
    """By seed, ln of the steps with dropout over those alone, to the lower best accuracy."""

    def steps(*pair: Record) -> list[float]:
        goal = min(map(best_accuracy, pair))
        return [max(1.0, steps_to(record, goal)) for record in pair]

    unknown = (math.nan, math.nan)
    return log_ratio(*zip(*runs.each((TUNED, ALONE), steps, unknown, unknown), strict=True))


def measure_with_dropout(runs: Runs) -> Measurement:
    """Test accuracy with batch norm and its best dropout minus that with batch norm alone, from the
    same runs as bn-no-dropout.
    """
    return Measurement(
        gain(runs, TUNED, ALONE),
        (Part("test accuracy with batch norm alone", "%", accuracy(runs, ALONE)),),
        _still_falling(runs, ALONE, TUNED),
    )


def best_rate(rates: Sequence[float], rows: Sequence[Sequence[float]]) -> float:
    """The dropout rate at which a quadratic through the mean accuracies is highest.

    Args:
        rates: The dropout rates tried.
        rows: For each seed, one accuracy per rate.

    Returns:
        The rate, within the range of those tried.
    """
    means = [fmean(column) for column in zip(*rows, strict=True)]
    return optimum([[rate] for rate in rates], means)[0]


def pseudo_values(statistic: Callable[[Sequence], float], rows: Sequence) -> Values:
    """One number per seed for a statistic of all seeds together: Tukey's jackknife.

    The best rate of a single seed is the highest point of a noisy curve; where that is flat it
    jumps from one end to the other. The best rate of the mean curve does not, and the jackknife's
    pseudo-values n T - (n - 1) T without the seed have its mean (less its bias of order 1/n) and
    its standard error (Tukey 1958; Efron & Stein 1981). So that later seeds do not change the
    number of an earlier one, each is that of the first look which has its seed.

    Args:
        statistic: A function of several rows, at least one.
        rows: One row per seed; None for a seed that cannot be used, which gets NaN.
    """
    values: list[float] = []
    for look in (*LOOKS, len(rows)):
        seen = [(i, row) for i, row in enumerate(rows[:look]) if row is not None]
        every = [row for _, row in seen]
        for i in range(len(values), min(look, len(rows))):
            others = [row for j, row in seen if j != i]
            if rows[i] is None or not others:
                values.append(math.nan)
            else:
                values.append(len(every) * statistic(every) - len(others) * statistic(others))
    return tuple(values)


def measure_less_dropout(runs: Runs, treated: str = "bn") -> Measurement:
    """The dropout rate at which a quadratic through the mean test accuracies is highest, without
    batch norm minus with it; each network at its own best learning rate. One number per seed by the
    jackknife. A diverged run has the accuracy of guessing.
    """
    rates = list(runs.grid("dropout/plain/*"))
    by_net_and_seed = {net: _rows(runs, net) for net in ("plain", treated)}

    def best(net: str) -> Values:
        return pseudo_values(lambda rows: best_rate(rates, rows), by_net_and_seed[net])

    def difference(rows: Sequence[Sequence[Sequence[float]]]) -> float:
        plain, other = (best_rate(rates, side) for side in zip(*rows, strict=True))
        return plain - other

    paired = [None if None in row else row for row in zip(*by_net_and_seed.values(), strict=True)]
    return Measurement(
        pseudo_values(difference, paired),
        tuple(by_net("best dropout rate", "", by_net_and_seed, best)),
        (f"Dropout rates tried: {', '.join(f'{rate:g}' for rate in rates)}.",),
    )


def _rows(runs: Runs, net: str) -> list[tuple[float, ...] | None]:
    """By seed, the accuracy in per cent at each dropout rate; None where one is not known."""
    by_rate = runs.over(f"dropout/{net}/*", stopped_accuracy, runs.guessing)
    rows = zip(*map(percent, by_rate.values()), strict=True)
    return [None if any(map(math.isnan, row)) else row for row in rows]


@figure("dropout_rates")
def draw_rates(runs: Runs) -> Drawn:
    """Test accuracy against the dropout rate for {networks}.

    On the dense layers. The claim compares where quadratics through these means are highest, and
    not how high they are.
    """
    title = "each at its own learning rate"
    curves = {
        label: by_rate
        for label, by_rate in drawn(runs, "dropout/{}/*", stopped_accuracy).items()
        if len(by_rate) > 1
    }
    if curves:
        plot = report.figures.strength_curves(
            {title: curves}, linear=title, y_label="test accuracy (%)"
        )
        yield plot, {"networks": curves}


@figure("dropout")
def draw_accuracy(runs: Runs) -> Drawn:
    """Test accuracy for {arms}.

    Where the validation loss was lowest. Learning rates and dropout rates were tuned on validation
    images with other seeds; the other arms are controls.
    """
    values = {
        runs.labels[arm]: [share / 100 for share in accuracy(runs, arm)]
        for arm in (ALONE, TUNED, TUNED_USELESS, MORE_IMAGES)
        if arm in runs
    }
    if len(values) > 1:
        yield report.figures.method_accuracy(values), {"arms": values}


DRAW = together(draw_rates, draw_accuracy)


def section(claims: Sequence[ClaimResult]) -> "report.Section | None":
    """What the note says twice, with the verdicts side by side; None without both claims."""
    both = [claim for claim in claims if claim.id in (NO_DROPOUT.id, WITH_DROPOUT.id)]
    if len(both) < 2 or any(claim.effect is None for claim in both):
        return None
    results = " ".join(
        f"“{claim.sentence.rstrip('.')}”: {claim.verdict or 'estimate'} "
        f"({effect_text(claim)}{f', {-claim.null:g} of them allowed' if claim.null else ''})."
        for claim in both
    )
    return report.Section(
        "With or without dropout",
        (
            "On dropout the note contradicts itself: it says that batch normalization makes "
            "dropout unnecessary, and that the two are better together. The same runs answer "
            f"both. {results} Both sentences come from papers on other networks and data: dropout "
            "helps where a network overfits, and how much this one does depends on the number of "
            "images.",
        ),
    )


NO_DROPOUT = Claim(
    id="bn-no-dropout",
    sentence="With batch norm dropout can be removed: it can hurt or slow training.",
    unit=POINTS,
    direction=+1,
    null=-MARGIN,
    smallest_effect=0.25,
    smallest_effect_source="half of the margin, so that equal accuracies lie clearly within it; "
    "the margin of half a point is the least for which a practitioner would keep dropout, about "
    "what the regularizers of Srivastava et al. 2014 (table 9) differ by",
    measure=measure_no_dropout,
    needs=(ALONE, TUNED),
    shown=("dropout/",),
    arms=dropout_arms,
    controls=(
        negative(
            "Batch norm alone, set back by half a point, minus batch norm with dropout at a "
            "thousandth of the rates, tuned over as many candidates: it loses just the margin, so "
            "this must not pass.",
            lambda runs: tuple(x - MARGIN for x in gain(runs, ALONE, TUNED_USELESS)),
            (ALONE, TUNED_USELESS),
        ),
        positive(
            f"Batch norm alone on {MORE} times as many images with as many updates, minus batch "
            "norm with its best dropout: more images are known to help.",
            lambda runs: gain(runs, MORE_IMAGES, TUNED),
            (MORE_IMAGES, TUNED),
        ),
    ),
    draw=DRAW,
)
WITH_DROPOUT = Claim(
    id="bn-with-dropout",
    sentence="Batch norm is better used together with dropout.",
    unit=POINTS,
    direction=+1,
    smallest_effect=0.5,
    smallest_effect_source="half a point, the margin of bn-no-dropout",
    measure=measure_with_dropout,
    needs=(ALONE, TUNED),
    controls=(
        negative(
            "Batch norm with dropout at a thousandth of the rates, tuned over as many candidates, "
            "minus batch norm alone: what choosing the best of many is worth.",
            lambda runs: gain(runs, TUNED_USELESS, ALONE),
            (TUNED_USELESS, ALONE),
        ),
        positive(
            f"Batch norm on {MORE} times as many images with as many updates, minus batch norm: "
            "more images are known to help.",
            lambda runs: gain(runs, MORE_IMAGES, ALONE),
            (MORE_IMAGES, ALONE),
        ),
    ),
    draw=DRAW,
)
LESS_DROPOUT = Claim(
    id="bn-less-dropout",
    sentence="With batch norm less dropout is used.",
    unit="dropout rate",
    direction=+1,
    bound=HIGHEST_RATE,
    smallest_effect=0.1,
    smallest_effect_source="0.1, the step in which dropout rates are commonly chosen and that of "
    "the rates tried",
    measure=measure_less_dropout,
    needs=("dropout/plain/", "dropout/bn/"),
    controls=(placebo_control(measure_less_dropout, "dropout/{}/"),),
    draw=DRAW,
)
