"""bs-lr-match: small batches want a small learning rate, large batches a large one."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import LOG_RATIO, Values, slope
from dlip_reg.studies.batch_size.arms import between, rounded
from dlip_reg.studies.batch_size.curves import full_batch, listed
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Measurement, Part, Setting
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

# Two-fold steps around the rate that the tuning seeds chose.
FACTORS = (0.25, 0.5, 1, 2, 4)
DECADES = "decades per decade"


def neighbour_arms(setting: Setting) -> list[Arm]:
    """Each batch size at rates around its tuned one: "neighbours/SIZE/FACTOR"."""

    def spec(size: int, factor: float, chosen: Chosen) -> RunSpec:
        run = chosen[f"rates/{size}"]
        return replace(run, learning_rate=rounded(factor * run.learning_rate), measures=())

    return [
        Arm(
            f"neighbours/{size}/{factor}",
            functools.partial(spec, size, factor),
            uses=(f"rates/{size}",),
        )
        for size in (*setting.preset.batch_sizes, setting.preset.n_train)
        for factor in FACTORS
        if factor != 1  # that is "rates/SIZE"
    ]


def best_rates(runs: Runs) -> dict[int, Values]:
    """Batch size -> the rate with that seed's own lowest validation loss, by seed.

    Of five rates with two-fold steps around the rate that the tuning seeds chose, all run with the
    verdict's seeds. A run that diverged never wins.
    """
    found = {}
    for size, by_factor in runs.tree("neighbours").items():
        tried = [*by_factor.values(), runs.by_seed(f"rates/{size}")]
        losses = [
            {
                r.spec.learning_rate: r.measures.val_loss
                for r in (by_seed[seed] for by_seed in tried)
                if r is not None and r.status == "finished"
            }
            for seed in runs.seeds
        ]
        found[size] = tuple(min(of, key=of.__getitem__) if of else math.nan for of in losses)
    return found


def measure(runs: Runs) -> Measurement:
    """The slope of ln best rate against ln batch size, for each seed's own best rates.

    A seed that has no best rate for a batch size has no slope.
    """
    best = best_rates(runs)
    *minis, full = best
    small, large = minis[0], minis[-1]
    return Measurement(
        _slope(best, list(best)),
        (
            Part("the slope over the mini-batches alone", DECADES, _slope(best, minis)),
            Part(f"best rate, batch {large:,} over batch {small}", LOG_RATIO,
                 between(best, large, small)),
            Part(f"best rate, full batch over batch {large:,}", LOG_RATIO,
                 between(best, full, large)),
        ),
        _at_ends(runs, best),
    )  # fmt: skip


def _slope(best: dict[int, Values], sizes: Sequence[int]) -> Values:
    return slope([math.log(s) for s in sizes], [tuple(map(math.log, best[s])) for s in sizes])


def _at_ends(runs: Runs, best: dict[int, Values]) -> tuple[str, ...]:
    """How often a seed's best rate was the smallest or the largest of those it was tried with."""
    number = 0
    for size, rates in best.items():
        spec = runs.chosen[f"rates/{size}"]
        if spec is not None:
            ends = [rounded(factor * spec.learning_rate) for factor in (FACTORS[0], FACTORS[-1])]
            number += sum(rate in ends for rate in rates)
    if not number:
        return ()
    total = sum(map(len, best.values()))
    return (f"{number} of {total} best rates lie at an end of the rates tried.",)


def draw(runs: Runs) -> list[FigureItem]:
    """Validation loss against the learning rate, and the best rate against the batch size."""
    from dlip_reg.evidence.intervals import t_interval
    from dlip_reg.report import FigureItem, figures
    from dlip_reg.report.numbers import format_estimate

    best = best_rates(runs)
    losses = {
        size: {
            spec.learning_rate: [r.measures.val_loss if r else None for r in records]
            for spec, records in sorted(
                runs.trials[f"rates/{size}"].items(), key=lambda trial: trial[0].learning_rate
            )
        }
        for size in best
    }
    slopes = [value for value in measure(runs).differences if math.isfinite(value)]
    text = f"slope {format_estimate(*t_interval(slopes))}" if slopes else ""
    return [
        FigureItem(
            "best_rates",
            figures.best_rates(losses, best, text, figures.size_styles(best)),
            f"Validation loss against the learning rate for batch sizes {listed(best)}, and the "
            f"best rate against the batch size on log-log axes, {text}.",
            "Left: the validation loss after equally many epochs, with the tuning seeds; rates at "
            "which a seed diverged are left out, and the star is the rate that is best over these "
            "seeds. Right: the best rate of each of the verdict's seeds (dots), their geometric "
            f"mean (line), the slope with its plain 95 % interval over seeds. {full_batch(best)}",
        )
    ]


TEXT = (
    "Each batch size is tuned over the same coarse grid of learning rates, which is extended while "
    "the best rate lies at an end of it, and refined by two-fold steps next to the best. A rate at "
    "which any seed diverged never wins. Beyond a rate that the curvature of the loss sets (see "
    "the section on minimizers) gradient descent overshoots, whatever the batch size."
)

CLAIM = Claim(
    id="bs-lr-match",
    sentence="Small batches want a small learning rate, large batches a large one.",
    experiment="Slope of the logarithm of the best learning rate (lowest validation loss after "
    "equal epochs of SGD) against the logarithm of the batch size, the full batch included.",
    unit=DECADES,
    direction=+1,
    smallest_effect=0.1,
    smallest_effect_source="a tenth of the linear scaling rule's slope of 1",
    measure=measure,
    needs=("rates/", "neighbours/"),
    arms=neighbour_arms,
    figures=("best_rates",),
)
