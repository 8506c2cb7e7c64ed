"""The note's seven statements on regularization, and how each is measured.

Outcomes are those of `dlip_reg.experiments.regularization`: method -> seed -> Outcome. Each
measurement pairs by seed: the same initial weights, data split and order of examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.paired import (
    LOG_RATIO,
    NATS,
    POINTS,
    Record,
    log_ratio,
    mean_of,
    measure,
    minus,
    per_seed,
    percent,
)

Outcomes = Mapping[str, Mapping[int, Any]]
_PENALTIES = ("dropout", "l1", "l2")
_LABELS = {"dropout": "dropout", "l1": "L1", "l2": "L2"}


def _reg_overfit(outcomes: Outcomes) -> Measurement:
    gaps = {name: _finals(outcomes, name, _gap) for name in ("none", *_PENALTIES)}
    by_method = {name: minus(gaps[name], gaps["none"]) for name in _PENALTIES}
    return Measurement(
        mean_of(*by_method.values()),
        (
            Part("gap without regularization", NATS, gaps["none"]),
            *(
                Part(f"{_LABELS[name]} minus none", NATS, values)
                for name, values in by_method.items()
            ),
        ),
    )


def _reg_dropout_best(outcomes: Outcomes) -> Measurement:
    accuracy = {
        name: percent(_finals(outcomes, name, measure("test_accuracy")))
        for name in (*_PENALTIES, "dropout_l2", "dropout_max_norm")
    }
    validation = {name: _finals(outcomes, name, measure("val_accuracy")) for name in ("l1", "l2")}
    # The rival is picked on validation data, like every strength: picking it by its test accuracy
    # would favour it.
    rival = tuple(
        accuracy["l1" if first > second else "l2"][i]
        if not (math.isnan(first) or math.isnan(second))
        else math.nan
        for i, (first, second) in enumerate(zip(validation["l1"], validation["l2"], strict=True))
    )
    dropout = accuracy["dropout"]
    return Measurement(
        minus(dropout, rival),
        (
            Part("test accuracy of dropout", "%", dropout),
            Part("dropout minus L1", POINTS, minus(dropout, accuracy["l1"])),
            Part("dropout minus L2", POINTS, minus(dropout, accuracy["l2"])),
            Part("dropout + L2 minus dropout", POINTS, minus(accuracy["dropout_l2"], dropout)),
            Part(
                "dropout + max-norm minus dropout",
                POINTS,
                minus(accuracy["dropout_max_norm"], dropout),
            ),
        ),
    )


def _reg_dropout_weights(outcomes: Outcomes) -> Measurement:
    def change(statistic: str, kind: str) -> tuple[float, ...]:
        return log_ratio(
            *(_finals(outcomes, name, _kernels(statistic, kind)) for name in ("dropout", "none"))
        )

    return Measurement(
        change("rms", "dense"),
        (
            Part("largest dense weight, dropout over none", LOG_RATIO, change("max", "dense")),
            Part("RMS of conv weights, dropout over none", LOG_RATIO, change("rms", "conv")),
        ),
    )


def _reg_dropout_sparse(outcomes: Outcomes) -> Measurement:
    shares = {
        name: percent(_finals(outcomes, name, _dense_activations("near_zero")))
        for name in ("none", "dropout")
    }
    means = [_finals(outcomes, n, _dense_activations("mean")) for n in ("dropout", "none")]
    return Measurement(
        minus(shares["dropout"], shares["none"]),
        (
            Part("near-zero activations without dropout", "%", shares["none"]),
            Part("mean activation, dropout over none", LOG_RATIO, log_ratio(*means)),
        ),
    )


def _reg_l1_sparse(outcomes: Outcomes) -> Measurement:
    shares = {
        name: percent(_finals(outcomes, name, _kernels("near_zero")))
        for name in ("none", "l1", "l2")
    }
    kept = _finals(outcomes, "l1", measure("pruned_val_accuracy"))
    before = _finals(outcomes, "l1", measure("val_accuracy"))
    return Measurement(
        minus(shares["l1"], shares["none"]),
        (
            Part("near-zero weights without regularization", "%", shares["none"]),
            Part("near-zero weights, L1 minus L2", POINTS, minus(shares["l1"], shares["l2"])),
            Part(
                "validation accuracy change when L1's near-zero weights are set to zero",
                POINTS,
                percent(minus(kept, before)),
            ),
        ),
    )


def _reg_l2_small(outcomes: Outcomes) -> Measurement:
    def statistic(method: str, name: str) -> tuple[float, ...]:
        return _finals(outcomes, method, _kernels(name))

    def near_zero(method: str) -> tuple[float, ...]:
        return percent(statistic(method, "near_zero"))

    return Measurement(
        log_ratio(statistic("l2", "rms"), statistic("none", "rms")),
        (
            Part(
                "largest weight, L2 over none",
                LOG_RATIO,
                log_ratio(statistic("l2", "max"), statistic("none", "max")),
            ),
            Part(
                "RMS of weights, L2 over L1",
                LOG_RATIO,
                log_ratio(statistic("l2", "rms"), statistic("l1", "rms")),
            ),
            Part(
                "near-zero weights, L2 minus none",
                POINTS,
                minus(near_zero("l2"), near_zero("none")),
            ),
        ),
    )


def _reg_separate(outcomes: Outcomes) -> Measurement:
    tied, separate = (
        percent(_finals(outcomes, name, measure("test_accuracy"))) for name in ("l2", "l2_separate")
    )
    ratios = tuple(
        math.log10(outcome.best.conv_l2 / outcome.best.dense_l2)
        if outcome.best is not None
        else math.nan
        for outcome in outcomes["l2_separate"].values()
    )
    return Measurement(
        minus(separate, tied),
        (
            Part("test accuracy of the tied winner", "%", tied),
            Part("each seed's best conv strength over its best dense one", "decades", ratios),
        ),
    )


CLAIMS: Sequence[Claim] = (
    Claim(
        "reg-overfit",
        "Regularization reduces overfitting.",
        "Generalization gap at the end of training, clean validation loss minus clean training "
        "loss: the mean over dropout, L1 and L2 at their tuned strengths, minus the gap without.",
        NATS,
        direction=-1,
        smallest_effect=0.05,
        measure=_reg_overfit,
        needs=("none", "dropout", "l1", "l2"),
        figures=("gap", "loss_curves"),
    ),
    Claim(
        "reg-dropout-best",
        "Dropout performs best among the regularizers.",
        "Test accuracy of dropout minus that of the better of L1 and L2 (by validation accuracy), "
        "each at its own strength tuned with the same number of trials.",
        POINTS,
        direction=+1,
        smallest_effect=0.5,
        measure=_reg_dropout_best,
        needs=("dropout", "l1", "l2", "dropout_l2", "dropout_max_norm"),
        figures=("test_accuracy", "strengths"),
    ),
    Claim(
        "reg-dropout-weights",
        "Dropout has a weight-regularization effect.",
        "Log-ratio of the RMS of the dense layers' weights at the end, dropout over none.",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.05,
        measure=_reg_dropout_weights,
        needs=("none", "dropout"),
        figures=("weights",),
    ),
    Claim(
        "reg-dropout-sparse",
        "Dropout induces sparsity.",
        "Share of near-zero activations (at most 1/1000 of the layer's RMS activation) in the "
        "hidden dense layers on a fixed probe of validation images, dropout minus none.",
        POINTS,
        direction=+1,
        smallest_effect=2.0,
        measure=_reg_dropout_sparse,
        needs=("none", "dropout"),
        figures=("activations",),
    ),
    Claim(
        "reg-l1-sparse",
        "L1 gives sparse weights.",
        "Share of weights with |w| below 5 % of their layer's RMS at initialisation, over all conv "
        "and dense kernels, L1 minus none (gradient descent gives near-zeros, not zeros).",
        POINTS,
        direction=+1,
        smallest_effect=5.0,
        measure=_reg_l1_sparse,
        needs=("none", "l1", "l2"),
        figures=("weights",),
    ),
    Claim(
        "reg-l2-small",
        "L2 gives small weights.",
        "Log-ratio of the RMS of all conv and dense weights at the end, L2 over none.",
        LOG_RATIO,
        direction=-1,
        smallest_effect=0.05,
        measure=_reg_l2_small,
        needs=("none", "l1", "l2"),
        figures=("weights",),
    ),
    Claim(
        "reg-separate",
        "Regularization strengths for convolution and dense layers should be tuned separately.",
        "Test accuracy of the winner of a search over (conv, dense) L2 strengths minus that of a "
        "search over one tied strength: same range, number of trials and seeds.",
        POINTS,
        direction=+1,
        smallest_effect=0.5,
        measure=_reg_separate,
        needs=("l2", "l2_separate"),
        figures=("strength_surface", "strengths"),
    ),
)


def _finals(
    outcomes: Outcomes, method: str, read: Callable[[Record], float | None]
) -> tuple[float, ...]:
    """`read` of the method's final record for each seed; NaN where there is nothing to read."""
    return per_seed({seed: o.final for seed, o in outcomes[method].items()}, read)


def _gap(record: Record) -> float:
    return record["measures"]["val_loss"] - record["measures"]["train_loss"]


def _kernels(statistic: str, *kinds: str) -> Callable[[Record], float | None]:
    """A statistic of the trained kernels of some kinds (all, if none is named), pooled."""

    def read(record: Record) -> float | None:
        pooled = record["weights"]["rows"][-1]["kinds"]
        rows = [row for kind, row in pooled.items() if not kinds or kind in kinds]
        size = sum(row["size"] for row in rows)
        if not rows:
            return None
        if statistic == "max":
            return max(row["max"] for row in rows)
        if statistic == "rms":
            return math.sqrt(sum(row["size"] * row["rms"] ** 2 for row in rows) / size)
        return sum(row["size"] * row[statistic] for row in rows) / size

    return read


def _dense_activations(statistic: str) -> Callable[[Record], float | None]:
    """A statistic of the hidden dense layers' activations, weighted by their number of values."""

    def read(record: Record) -> float | None:
        rows = [r for r in record["weights"]["rows"][-1]["activations"] if r["kind"] == "dense"]
        size = sum(row["size"] for row in rows)
        return sum(row["size"] * row[statistic] for row in rows) / size if rows else None

    return read
