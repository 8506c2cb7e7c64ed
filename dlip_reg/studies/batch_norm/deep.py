"""bn-vanishing, bn-exploding, bn-bounded: signals in deep perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from dlip_reg.evidence.intervals import t_interval
from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, log_ratio, minus, percent
from dlip_reg.studies.batch_norm.arms import DEEP_RATE, DEPTH, WIDTH, perceptron
from dlip_reg.studies.batch_norm.readings import (
    Content,
    Grid,
    Records,
    both,
    grid,
    lines,
    log_ratio_over_probes,
    over_probes,
    present,
    ratio,
    series,
    smaller_claim,
)
from dlip_reg.studies.batch_norm.same_rate import ARMS as SAME_RATE
from dlip_reg.studies.papers.ioffe_fig1 import LABELS, by_net, columns
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Claim, Measurement, Part, Setting
from dlip_reg.training.records import FlowRow, Record

SHALLOW = 5
# He et al. 2015 initialize ReLU networks with a variance of 2 / fan-in, which preserves signals.
TOO_LARGE = 3.0
WELL_SCALED = "without, He-initialized"
STARTS = {**LABELS, "well_scaled": WELL_SCALED}
DEEP = ("deep/plain", "deep/bn")
LARGE = (f"too_large/plain/{DEPTH}", f"too_large/bn/{DEPTH}")
EVERY_LARGE = tuple(f"too_large/{start}/{depth}" for start in STARTS for depth in (SHALLOW, DEPTH))


def deep_arms(setting: Setting) -> list[Arm]:
    """Sigmoid networks, and ReLU networks of two depths whose initial weights are too large."""
    sigmoid = {"activation": "sigmoid", "kernel_initializer": "glorot_normal"}
    measures = ("curves", "flow", "percentiles")
    arms = [
        Arm(f"deep/{net}", perceptron(setting, net, DEPTH, sigmoid, measures), label=label)
        for net, label in LABELS.items()
    ]
    for start, label in STARTS.items():
        scale = 2 * (1.0 if start == "well_scaled" else TOO_LARGE)
        initializer = {"class_name": "VarianceScaling", "config": {"scale": scale}}
        for depth in (SHALLOW, DEPTH):
            builder = {"kernel_initializer": initializer}
            spec = perceptron(setting, start, depth, builder, ("flow", "percentiles"))
            arms.append(Arm(f"too_large/{start}/{depth}", spec, label=label))
    return arms


def measure_vanishing(runs: Runs) -> Measurement:
    """By how many decades batch norm brings first over last layer nearer to 1."""
    off = by_net(runs, "deep", over_probes(_decades_off_one, fmean))
    start = by_net(runs, "deep", lambda record: _decades(record.flow[0]))
    return Measurement(
        minus(off["plain"], off["bn"]),
        (
            *both("first over last layer at initialization,", "decades", start),
            *both("validation accuracy above chance,", POINTS, _above_chance(runs)),
        ),
    )


def _decades(row: FlowRow) -> float | None:
    ratio = row.gradient_first_over_last
    return math.log10(ratio) if ratio else None


def _decades_off_one(record: Record) -> Mapping[int, float]:
    """The distance from 1 in either direction: a gradient that explodes instead is no solution."""
    decades = {row.epoch: _decades(row) for row in record.flow}
    return {epoch: abs(value) for epoch, value in decades.items() if value is not None}


def _above_chance(runs: Runs) -> dict[str, Values]:
    accuracy = by_net(runs, "deep", lambda record: record.measures.val_accuracy - runs.guessing)
    return {net: percent(values) for net, values in accuracy.items()}


def at_start(records: Records, read: Callable[[Record], float | None]) -> Values:
    """By seed, `read` of what was measured before training, also of runs that diverged later."""
    values = [None if record is None else read(record) for record in records]
    return tuple(math.nan if value is None else value for value in values)


def gradient_norm(record: Record) -> float | None:
    """The norm of the whole gradient before training."""
    return record.flow[0].gradient_norm


def growth_per_layer(by_depth: Grid) -> Values:
    """By seed, ln of the factor by which one more layer multiplies the initial gradient's norm.

    Between the networks of the least and the greatest depth. Too large weights leave the norms of a
    ReLU network's layers alike, because every kernel's gradient contains the product of all the
    others: this explosion does not show in the ratio of first to last layer, but in the norm
    against depth.
    """
    shallow, deep = min(by_depth), max(by_depth)
    ratios = log_ratio(*(at_start(by_depth[depth], gradient_norm) for depth in (deep, shallow)))
    return tuple(ratio / (deep - shallow) for ratio in ratios)


def _share_diverged(by_depth: Grid) -> Values:
    rows = [present(records) for records in zip(*by_depth.values(), strict=True)]
    return tuple(100 * fmean(_diverged(row)) if row else math.nan for row in rows)


def _diverged(records: Sequence[Record]) -> list[bool]:
    return [record.status == "diverged" for record in records]


def measure_exploding(runs: Runs) -> Measurement:
    """The growth per layer with batch norm minus that without."""
    starts = {start: grid(runs, f"too_large/{start}") for start in STARTS}
    growth = {start: growth_per_layer(by_depth) for start, by_depth in starts.items()}
    diverged = {net: _share_diverged(starts[net]) for net in LABELS}
    return Measurement(
        minus(growth["bn"], growth["plain"]),
        (
            *both("growth per layer", LOG_RATIO, growth),
            Part(f"growth per layer {WELL_SCALED}", LOG_RATIO, growth["well_scaled"]),
            *both("runs that diverge", "%", diverged),
        ),
    )


def measure_bounded(runs: Runs) -> Measurement:
    """ln of the largest activation input with batch norm over without, mean over probes."""
    largest = series("percentiles", "activation_largest")
    start = {
        net: at_start(runs[f"too_large/{net}/{DEPTH}"], lambda record: largest(record)[0])
        for net in LABELS
    }
    means = by_net(runs, "same_rate", over_probes(largest, max))
    return Measurement(
        log_ratio_over_probes(runs, "same_rate", largest),
        (
            *both("largest through training,", "", means),
            ratio(f"{DEPTH} ReLU layers initialized too large", start),
            *both(f"{DEPTH} sigmoid layers: accuracy above chance,", POINTS, _above_chance(runs)),
        ),
    )


def _layer_norms(records: Records, row: int) -> dict[str, list[float | None]]:
    """Layer -> its kernel's gradient norm in that row of the record's flow, by seed."""
    norms: dict[str, list[float | None]] = {}
    for layer in (layer for record in present(records) for layer in record.flow[row].layers):
        norms.setdefault(layer.layer, []).append(layer.norm)
    return norms


def draw_vanishing(runs: Runs) -> Content:
    """Gradient norm by layer, and the training of the deep sigmoid networks."""
    from dlip_reg.report import figures

    norms = {
        title: {label: _layer_norms(runs[f"deep/{net}"], row) for net, label in LABELS.items()}
        for title, row in (("before training", 0), ("after training", -1))
    }
    panels = {
        "clean_val_accuracy": ("validation accuracy (%)", "percent"),
        "clean_loss": ("training loss (nats)", "linear"),
    }
    curves = lines(runs, "deep", lambda r: {x: getattr(r.curves, x) for x in ("epoch", *panels)})
    yield (
        f"{DEPTH} layers of {WIDTH} sigmoids, initialized as in Glorot & Bengio 2010: the slope of "
        "a sigmoid is at most a quarter, so every layer reduces the gradient to a quarter at most. "
        "A gradient of the first layer that is far larger than that of the last one would be no "
        "better than a far smaller one, so the claim counts the distance from 1 either way."
    )
    yield (
        "vanishing",
        figures.gradient_flow(norms),
        f"Gradient norm by layer, {DEPTH} sigmoid layers, before and after training.",
        "Norm of the gradient of each layer's kernel on a fixed batch.",
    )
    yield (
        "deep_training",
        figures.through_training(curves, panels),
        f"Validation accuracy and training loss of the {DEPTH}-layer sigmoid network.",
        f"SGD at {DEEP_RATE:g}. Chance is {100 * runs.guessing:.3g} %, at a loss of "
        f"ln {runs.classes} = {math.log(runs.classes):.2f}.",
    )


def draw_exploding(runs: Runs) -> Content:
    """The gradient norm by depth and by layer."""
    from dlip_reg.report import figures

    starts = {label: grid(runs, f"too_large/{start}") for start, label in STARTS.items()}
    norms = {
        label: {depth: at_start(present(r), gradient_norm) for depth, r in by_depth.items()}
        for label, by_depth in starts.items()
    }
    by_layer = {
        title: {label: _layer_norms(starts[label][DEPTH], row) for label in starts}
        for title, row in (("before training", 0), ("at the end of training", -1))
    }
    diverged = {
        label: [lost for records in starts[label].values() for lost in _diverged(present(records))]
        for label in LABELS.values()
    }
    counts = " and ".join(f"{sum(x)} of {len(x)} runs {label}" for label, x in diverged.items())
    factors = {label: _factor(by_depth) for label, by_depth in starts.items()}
    yield (
        f"ReLU networks whose initial weights have {TOO_LARGE:g} times the variance of He et al. "
        f"2015, so that every layer multiplies the signal by √{TOO_LARGE:g} = "
        f"{math.sqrt(TOO_LARGE):.2f}. Every kernel's gradient then contains the product of all the "
        "other layers, so the ratio between layers shows nothing: the explosion shows in the norm "
        f"of the whole gradient against depth. Trained at {DEEP_RATE:g}, {counts} diverged. Batch "
        "normalization divides the scale out, but has a growth of its own: at initialization its "
        "gradients grow by about √(π/(π − 1)) = 1.21 per ReLU layer (Yang et al. 2019)."
    )
    yield (
        "exploding_depth",
        figures.growth_with_depth(norms, factors),
        "Norm of the whole gradient before training against the number of layers: "
        + "; ".join(f"{label} {text}" for label, text in factors.items())
        + ".",
        f"Networks of {SHALLOW} and of {DEPTH} layers; the slope between them on a log axis is the "
        "factor by which each further layer multiplies the gradient.",
    )
    yield (
        "exploding",
        figures.gradient_flow(by_layer),
        f"Gradient norm by layer, {DEPTH} ReLU layers, before and after training.",
        "A run that diverged has no gradient at the end. Too large weights multiply the gradients "
        "of all kernels alike: compare how high the lines lie, rather than how they slope.",
    )


def _factor(by_depth: Grid) -> str:
    from dlip_reg.report.numbers import format_number

    mean, _, _ = t_interval(growth_per_layer(by_depth))
    return "" if math.isnan(mean) else f"× {format_number(math.exp(mean))} per layer"


def draw_bounded(runs: Runs) -> Content:
    """The largest input through training."""
    from dlip_reg.report import figures

    panels = {"activation_largest": ("largest |input| of any hidden activation", "log")}
    curves = lines(runs, "same_rate", lambda r: columns(r.percentiles, "epoch", *panels))
    yield (
        "largest_activation",
        figures.through_training(curves, panels),
        "Largest absolute input of any hidden activation through training.",
        "Over all units of all hidden layers on fixed validation images, same network and learning "
        "rate. Normalized inputs have a variance of 1 before scale and shift are learnt, but a "
        "unit that is active for one value in a thousand still reaches 30.",
    )


VANISHING = Claim(
    id="bn-vanishing",
    sentence="Batch norm solves the vanishing gradient.",
    experiment=f"{DEPTH} sigmoid layers: by how many decades batch norm brings the gradient norm "
    "of the first layer over that of the last nearer to 1, mean over the beginning, the middle and "
    "the end of training.",
    unit="decades",
    direction=+1,
    smallest_effect=1.0,
    smallest_effect_source="as fixed in the first edition: a factor of ten",
    measure=measure_vanishing,
    needs=DEEP,
    arms=deep_arms,
    figures=("vanishing", "deep_training"),
)
EXPLODING = smaller_claim(
    id="bn-exploding",
    sentence="Batch norm solves the exploding gradient.",
    experiment=f"ReLU networks of {SHALLOW} and {DEPTH} layers whose initial weights have "
    f"{TOO_LARGE:g} times the variance of He et al. 2015: ln of the factor by which each further "
    "layer multiplies the norm of the whole gradient before training, with batch norm minus "
    "without.",
    unit="log-ratio per layer",
    smallest_effect_source="as fixed in the first edition: 10 % per layer",
    measure=measure_exploding,
    needs=EVERY_LARGE,
    figures=("exploding_depth", "exploding"),
)
BOUNDED = smaller_claim(
    id="bn-bounded",
    sentence="With batch norm no activation goes really high or low, and what would not train, "
    "trains.",
    experiment="Largest absolute input of any hidden activation on fixed images, mean over all "
    "epochs; log-ratio with batch norm over without, same network and learning rate.",
    measure=measure_bounded,
    needs=(*SAME_RATE, *DEEP, *LARGE),
    figures=("largest_activation", "deep_training"),
)
