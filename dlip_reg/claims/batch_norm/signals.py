"""What the note says about signals in deep nets: gradients that vanish or explode, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dlip_reg.claims.batch_norm.rates import CHANCE
from dlip_reg.claims.batch_norm.readings import (
    arithmetic,
    named,
    over_probes,
    paired_rows,
)
from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.paired import (
    LOG_RATIO,
    POINTS,
    Record,
    Records,
    Values,
    log_ratio,
    mean_of,
    measure,
    minus,
    per_seed,
    percent,
)
from dlip_reg.experiments.batch_norm import DEPTH, SHALLOW, TOO_LARGE


def _vanishing(outcomes: Mapping[str, Any]) -> Measurement:
    arms = outcomes["deep"]
    # The distance from 1 in either direction: a gradient that explodes instead is no solution.
    off = {arm: over_probes(arms[arm], "flow", _decades_off_one, arithmetic) for arm in arms}
    start = {arm: per_seed(arms[arm], lambda record: _decades(record["flow"][0])) for arm in arms}
    above = {arm: _above_chance(arms[arm]) for arm in arms}
    return Measurement(
        minus(off["plain"], off["bn"]),
        (
            Part("first over last layer at initialisation, without", "decades", start["plain"]),
            Part("first over last layer at initialisation, with", "decades", start["bn"]),
            Part("validation accuracy above chance, without", POINTS, above["plain"]),
            Part("validation accuracy above chance, with", POINTS, above["bn"]),
        ),
    )


def _decades(row: Mapping[str, Any]) -> float | None:
    ratio = row["gradient_first_over_last"]
    return math.log10(ratio) if ratio else None


def _decades_off_one(row: Mapping[str, Any]) -> float | None:
    decades = _decades(row)
    return None if decades is None else abs(decades)


def _above_chance(records: Records) -> Values:
    return percent(per_seed(records, lambda r: r["measures"]["val_accuracy"] - CHANCE))


def _exploding(outcomes: Mapping[str, Any]) -> Measurement:
    arms = outcomes["too_large"]
    growth = {arm: growth_per_layer(by_depth) for arm, by_depth in arms.items()}
    lost = {arm: _share_diverged(by_depth) for arm, by_depth in arms.items()}
    return Measurement(
        minus(growth["bn"], growth["plain"]),
        (
            Part("growth per layer without batch norm", LOG_RATIO, growth["plain"]),
            Part("growth per layer with batch norm", LOG_RATIO, growth["bn"]),
            Part(
                "growth per layer without, weights started at the right scale",
                LOG_RATIO,
                growth["well_scaled"],
            ),
            Part("runs that reach NaN or infinity, without", "%", lost["plain"]),
            Part("runs that reach NaN or infinity, with", "%", lost["bn"]),
        ),
    )


def gradient_norms(records: Records) -> Values:
    """By seed, the norm of the whole gradient before training, of runs that diverged later too."""
    return tuple(
        math.nan if record is None else _or_nan(record["flow"][0]["gradient_norm"])
        for record in records.values()
    )


def growth_per_layer(by_depth: Mapping[int, Records]) -> Values:
    """By seed, ln of the factor that one more layer puts on the gradient's norm at the start.

    Between the nets of the least and the greatest depth. Too large weights leave the norms of a
    ReLU net's layers alike, for every kernel's gradient holds the product of all the others: the
    ratio of first to last layer is blind to this explosion, and the norm against depth is not.
    """
    shallow, deep = min(by_depth), max(by_depth)
    ratios = log_ratio(gradient_norms(by_depth[deep]), gradient_norms(by_depth[shallow]))
    return tuple(ratio / (deep - shallow) for ratio in ratios)


def _share_diverged(by_depth: Mapping[int, Records]) -> Values:
    shares = []
    for records in zip(*(by_seed.values() for by_seed in by_depth.values()), strict=True):
        known = [record["status"] == "diverged" for record in records if record is not None]
        shares.append(100 * sum(known) / len(known) if known else math.nan)
    return tuple(shares)


def _bounded(outcomes: Mapping[str, Any]) -> Measurement:
    arms, deep, large = (outcomes[name] for name in ("same_rate", "deep", "too_large"))
    largest = {
        arm: over_probes(arms[arm], "percentiles", named("activation_largest"), max) for arm in arms
    }
    start = {arm: _largest_at_start(large[arm][DEPTH]) for arm in ("plain", "bn")}
    return Measurement(
        paired_rows(arms, "percentiles", named("activation_largest")),
        (
            Part("largest through training, without batch norm", "", largest["plain"]),
            Part("largest through training, with batch norm", "", largest["bn"]),
            Part(
                f"{DEPTH} ReLU layers started too large, with over without",
                LOG_RATIO,
                log_ratio(start["bn"], start["plain"]),
            ),
            Part(
                f"{DEPTH} sigmoid layers: accuracy above chance, without",
                POINTS,
                _above_chance(deep["plain"]),
            ),
            Part(
                f"{DEPTH} sigmoid layers: accuracy above chance, with",
                POINTS,
                _above_chance(deep["bn"]),
            ),
        ),
    )


def _largest_at_start(records: Records) -> Values:
    return tuple(
        math.nan if record is None else _or_nan(record["percentiles"][0]["activation_largest"])
        for record in records.values()
    )


def _internal_shift(outcomes: Mapping[str, Any]) -> Measurement:
    arms = outcomes["sigmoid"]
    drift = {
        arm: over_probes(arms[arm], "percentiles", named("activation_drift"), arithmetic)
        for arm in arms
    }
    accuracy = {arm: percent(per_seed(arms[arm], measure("val_accuracy"))) for arm in arms}
    return Measurement(
        log_ratio(drift["bn"], drift["plain"]),
        (
            Part("drift between probes without batch norm", "spreads", drift["plain"]),
            Part("drift between probes with batch norm", "spreads", drift["bn"]),
            Part("validation accuracy, with minus without", POINTS,
                 minus(accuracy["bn"], accuracy["plain"])),
        ),
    )  # fmt: skip


SHIFTED = ("tinted", "inverted")


def _input_shift(outcomes: Mapping[str, Any]) -> Measurement:
    arms = outcomes["colours"]
    drop = {
        arm: {v: minus(_colour(arms[arm], v), _colour(arms[arm], "grey")) for v in SHIFTED}
        for arm in arms
    }
    back = {variant: won_back(arms["bn"], variant) for variant in SHIFTED}
    return Measurement(
        mean_of(*drop["plain"].values()),
        (
            Part("accuracy on grey images without batch norm", "%", _colour(arms["plain"], "grey")),
            *_parts("{} images, without batch norm", drop["plain"]),
            *_parts("{} images, with batch norm", drop["bn"]),
            *_parts("{} images, re-estimated minus moving statistics", back),
        ),
    )  # fmt: skip


def won_back(records: Records, variant: str) -> Values:
    """By seed, the points of accuracy on images of that variant that re-estimation brings."""
    return minus(_colour(records, variant, "recalibrated_accuracy"), _colour(records, variant))


def _parts(label: str, by_variant: Mapping[str, Values]) -> list[Part]:
    return [Part(label.format(v), POINTS, values) for v, values in by_variant.items()]


def _colour(records: Records, variant: str, key: str = "accuracy") -> Values:
    def read(record: Record) -> float | None:
        return next((row[key] for row in record["colours"] if row["variant"] == variant), None)

    return percent(per_seed(records, read))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


DEPTH_CLAIMS = (
    Claim(
        "bn-vanishing",
        "Batch norm solves the vanishing gradient.",
        f"{DEPTH} sigmoid layers: by how many decades batch norm brings the gradient norm of the "
        "first layer over that of the last nearer to 1, mean over the beginning, the middle and "
        "the end of training.",
        "decades",
        direction=+1,
        smallest_effect=1.0,
        measure=_vanishing,
        needs=("deep",),
        figures=("vanishing", "deep_training"),
    ),
    Claim(
        "bn-exploding",
        "Batch norm solves the exploding gradient.",
        f"ReLU nets of {SHALLOW} and {DEPTH} layers whose weights start with {TOO_LARGE:g} times "
        "the variance of He et al. 2015: ln of the factor by which each layer more multiplies the "
        "norm of the whole gradient before training, with batch norm minus without.",
        "log-ratio per layer",
        direction=-1,
        smallest_effect=0.1,
        measure=_exploding,
        needs=("too_large",),
        figures=("exploding_depth", "exploding"),
    ),
)

SHIFT_CLAIM = Claim(
    "bn-internal-shift",
    "Batch norm reduces the internal covariate shift.",
    "3 sigmoid layers of 100: how far the 15th, 50th and 85th percentiles of the inputs of the "
    "last layer's sigmoids move from epoch to epoch, over their spread, mean over 8 units and all "
    "epochs; log-ratio with batch norm over without (Ioffe & Szegedy 2015, figure 1).",
    LOG_RATIO,
    direction=-1,
    smallest_effect=0.1,
    measure=_internal_shift,
    needs=("sigmoid",),
    figures=("sigmoid_inputs", "sigmoid_drift"),
)

BOUNDED_CLAIM = Claim(
    "bn-bounded",
    "With batch norm no activation goes really high or low, and what would not train, trains.",
    "Largest absolute input of any hidden activation on fixed images, mean over all epochs; "
    "log-ratio with batch norm over without, same net and learning rate.",
    LOG_RATIO,
    direction=-1,
    smallest_effect=0.1,
    measure=_bounded,
    needs=("same_rate", "deep", "too_large"),
    figures=("largest_activation", "deep_training"),
)

INPUT_SHIFT_CLAIM = Claim(
    "bn-input-shift",
    "A net trained on black cats does poorly on coloured cats: its input distribution shifts.",
    "Trained on grey images, tested on the same images tinted and with inverted brightness: "
    "accuracy on these minus accuracy on the grey ones, mean of the two, without batch norm; "
    "beside it the same with batch norm, before and after its statistics are re-estimated on "
    "unlabelled images of the new kind.",
    POINTS,
    direction=-1,
    smallest_effect=5.0,
    measure=_input_shift,
    needs=("colours",),
    figures=("input_shift",),
)
