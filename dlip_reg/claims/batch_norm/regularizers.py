"""What the note says batch norm does to, with, and as a regularizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlip_reg.claims.batch_norm.readings import best_accuracy, steps_by_seed
from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.paired import (
    LOG_RATIO,
    NATS,
    POINTS,
    Record,
    Records,
    Values,
    log_ratio,
    measure,
    minus,
    per_seed,
    percent,
)
from dlip_reg.experiments.batch_norm import STRENGTHS

# Accuracies this far apart (one percentage point) count about alike when strengths are compared.
_ALIKE = 0.01
_LEVELS = 5  # of training loss at which gaps are compared


def _gains(outcomes: Mapping[str, Any]) -> dict[str, Values]:
    """By arm, the test accuracy that dropout brings, in percentage points."""
    gains = {}
    for arm, cells in outcomes["dropout"].items():
        accuracy = [
            percent(per_seed(cells[name], measure("test_accuracy"))) for name in ("with", "without")
        ]
        gains[arm] = minus(*accuracy)
    return gains


def steps_with_dropout(arms: Mapping[str, Mapping[str, Records]]) -> dict[str, dict[str, Values]]:
    """By arm, "without" and "with" dropout: steps to an accuracy that all four nets reach.

    It is the lowest of the best validation accuracies of the seed's four nets.
    """
    every = [records for by_name in arms.values() for records in by_name.values()]
    goals: dict[int, float | None] = {}
    for seed in every[0]:
        records = [by_seed[seed] for by_seed in every]
        usable = all(r is not None and r["status"] == "finished" for r in records)
        goals[seed] = min(map(best_accuracy, records)) if usable else None
    return {
        arm: {name: steps_by_seed(records, goals) for name, records in by_name.items()}
        for arm, by_name in arms.items()
    }


def _no_dropout(outcomes: Mapping[str, Any]) -> Measurement:
    gains = _gains(outcomes)
    slowing = {
        arm: log_ratio(steps["with"], steps["without"])
        for arm, steps in steps_with_dropout(outcomes["dropout"]).items()
    }
    return Measurement(
        minus(gains["bn"], gains["plain"]),
        (
            Part("gain from dropout without batch norm", POINTS, gains["plain"]),
            Part("gain from dropout with batch norm", POINTS, gains["bn"]),
            Part("steps, dropout over none, without batch norm", LOG_RATIO, slowing["plain"]),
            Part("steps, dropout over none, with batch norm", LOG_RATIO, slowing["bn"]),
            Part(
                "the second minus the first",
                LOG_RATIO,
                minus(slowing["bn"], slowing["plain"]),
            ),
        ),
    )


def _with_dropout(outcomes: Mapping[str, Any]) -> Measurement:
    gains = _gains(outcomes)
    accuracy = per_seed(outcomes["dropout"]["bn"]["without"], measure("test_accuracy"))
    return Measurement(
        gains["bn"],
        (
            Part("test accuracy with batch norm alone", "%", percent(accuracy)),
            Part("the same gain without batch norm", POINTS, gains["plain"]),
        ),
    )


def centre_of_best(accuracies: Mapping[float, float]) -> float:
    """The best strength, smoothed: the geometric mean weighted by e^(accuracy / 1 point).

    The single best of a grid jumps between strengths that do alike; here those share the weight.
    `accuracies`: strength -> validation accuracy in [0, 1]; NaN (a run that diverged) weighs
    nothing. NaN if nothing is left.
    """
    known = {s: a for s, a in accuracies.items() if s > 0 and math.isfinite(a)}
    if not known:
        return math.nan
    best = max(known.values())
    weights = {s: math.exp((a - best) / _ALIKE) for s, a in known.items()}
    total = sum(weights.values())
    return math.exp(sum(w * math.log(s) for s, w in weights.items()) / total)


def strength_that_costs_a_point(accuracies: Mapping[float, float]) -> float:
    """The strongest L2 that is within a percentage point of the best accuracy.

    Between two strengths the accuracy is taken to go straight in the logarithm. `accuracies` as in
    `centre_of_best`; other than that, this does not depend on where the grid begins. NaN where the
    strongest of the grid costs less than a point.
    """
    known = sorted((s, a) for s, a in accuracies.items() if s > 0 and math.isfinite(a))
    if not known:
        return math.nan
    level = max(a for _, a in known) - _ALIKE
    last = max(index for index, (_, a) in enumerate(known) if a >= level)
    if last == len(known) - 1:
        return math.nan
    (low, before), (high, after) = known[last : last + 2]
    return low * (high / low) ** ((before - level) / (before - after))


def best_strengths(grid: Mapping[float, Records]) -> Values:
    """By seed, the `centre_of_best` of the strengths tried."""
    return _by_seed(grid, centre_of_best)


def _by_seed(
    grid: Mapping[float, Records], read: Callable[[Mapping[float, float]], float]
) -> Values:
    """By seed, what `read` gives for strength -> validation accuracy."""
    accuracies = {s: per_seed(records, measure("val_accuracy")) for s, records in grid.items()}
    return tuple(
        read(dict(zip(accuracies, row, strict=True)))
        for row in zip(*accuracies.values(), strict=True)
    )


def _less_l2(outcomes: Mapping[str, Any]) -> Measurement:
    best, winners, costly = (
        {arm: _by_seed(grid, read) for arm, grid in outcomes["l2"].items()}
        for read in (centre_of_best, _single_best, strength_that_costs_a_point)
    )
    return Measurement(
        log_ratio(best["bn"], best["plain"]),
        (
            Part("best strength without batch norm", "decades", _decades(best["plain"])),
            Part("best strength with batch norm", "decades", _decades(best["bn"])),
            Part(
                "the single best of the grid, with over without",
                LOG_RATIO,
                log_ratio(winners["bn"], winners["plain"]),
            ),
            Part(
                "the strength that costs a point of accuracy, with over without",
                LOG_RATIO,
                log_ratio(costly["bn"], costly["plain"]),
            ),
        ),
    )


def _single_best(accuracies: Mapping[float, float]) -> float:
    known = {s: a for s, a in accuracies.items() if math.isfinite(a)}
    return max(known, key=known.__getitem__) if known else math.nan


def _decades(values: Sequence[float]) -> Values:
    return tuple(math.log10(v) if v > 0 else math.nan for v in values)


def _noise(outcomes: Mapping[str, Any]) -> Measurement:
    arms, watched = outcomes["gaps"], outcomes["same_rate"]["bn"]
    gaps: list[tuple[float, float]] = []
    for plain, bn in zip(arms["plain"].values(), arms["bn"].values(), strict=True):
        usable = all(r is not None and r["status"] == "finished" for r in (plain, bn))
        gaps.append(_matched_gaps(plain, bn) if usable else (math.nan, math.nan))
    without, with_ = zip(*gaps, strict=True)
    return Measurement(
        minus(with_, without),
        (
            Part("gap without batch norm at the same training losses", NATS, without),
            *(
                Part(
                    f"variance over companions ÷ between examples, batches of {size}",
                    "%",
                    percent(per_seed(watched, _relative_variance(size))),
                )
                for size in (8, 32, 256)
            ),
        ),
    )


def _relative_variance(size: int):
    return lambda record: next(
        (r["relative_variance"] for r in record["companions"] if r["batch_size"] == size), None
    )


def _matched_gaps(first: Record, second: Record) -> tuple[float, float]:
    """The mean gap of both runs at training losses that both went through.

    The losses are evenly spaced in logarithm from the lower of the two losses after the first epoch
    down to the higher of the two lowest. NaN where the two have no loss in common.
    """
    curves = [list(loss_and_gap(record)) for record in (first, second)]
    high = min(curve[1][0] for curve in curves)
    low = max(min(loss for loss, _ in curve) for curve in curves)
    if not 0 < low < high:
        return math.nan, math.nan
    levels = [low * (high / low) ** (i / (_LEVELS - 1)) for i in range(_LEVELS)]
    means = [sum(_gap_at(curve, level) for level in levels) / _LEVELS for curve in curves]
    return means[0], means[1]


def loss_and_gap(record: Record):
    """(clean training loss, validation minus training loss) at the end of each epoch, from 0."""
    curves = record["curves"]
    for train, validation in zip(curves["clean_loss"], curves["clean_val_loss"], strict=True):
        yield train, validation - train


def _gap_at(curve: Sequence[tuple[float, float]], level: float) -> float:
    """The gap where the training loss first is down to `level`, straight between two epochs."""
    before = curve[0]
    for loss, gap in curve:
        if loss <= level:
            share = (before[0] - level) / (before[0] - loss) if before[0] > loss else 1.0
            return before[1] + share * (gap - before[1])
        before = (loss, gap)
    return before[1]  # rounding alone puts the lowest level below the lowest loss


REGULARIZER_CLAIMS = (
    Claim(
        "bn-no-dropout",
        "With batch norm dropout can be removed: it can hurt or slow training.",
        "Test accuracy gained by dropout (at its best rate on validation data) with batch norm "
        "minus that gained without: the interaction of the 2 × 2 experiment.",
        POINTS,
        direction=-1,
        smallest_effect=1.0,
        measure=_no_dropout,
        needs=("dropout",),
        figures=("dropout",),
    ),
    Claim(
        "bn-with-dropout",
        "Batch norm is better used together with dropout.",
        "Test accuracy gained by dropout (at its best rate on validation data) in the net with "
        "batch norm, from the same 2 × 2 experiment.",
        POINTS,
        direction=+1,
        smallest_effect=0.5,
        measure=_with_dropout,
        needs=("dropout",),
        figures=("dropout",),
    ),
    Claim(
        "bn-less-l2",
        "With batch norm L2 regularization can be reduced.",
        "Best L2 strength by validation accuracy over one grid, two to a decade from "
        f"{STRENGTHS[0]:g} to {STRENGTHS[-1]:g} (smoothed: strengths within a point of each other "
        "share the weight), log-ratio with batch norm over without.",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.5,
        measure=_less_l2,
        needs=("l2",),
        figures=("l2",),
    ),
)

NOISE_CLAIM = Claim(
    "bn-noise",
    "Batch norm adds noise to the activations, which regularizes slightly.",
    "Generalization gap (validation minus training loss) at equal training losses, same net and "
    "learning rate, with batch norm minus without; beside it the noise itself: the variance of a "
    "fixed example's activations over random companions in its batch.",
    NATS,
    direction=-1,
    smallest_effect=0.02,
    measure=_noise,
    needs=("gaps", "same_rate"),
    figures=("noise",),
)
