"""Five claims on two networks that differ in batch norm alone, at one learning rate.

bn-landscape, bn-predictiveness, bn-beta: the loss landscape (see `callbacks.Landscape`).
bn-independence: how much layers change each other's gradients (see `callbacks.GradientShift`).
bn-noise: the noise of the batch statistics, and whether it regularizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean

from dlip_reg.evidence.matching import at_levels, common_levels
from dlip_reg.evidence.paired import LOG_RATIO, NATS, minus, percent
from dlip_reg.studies.batch_norm.arms import DECAY
from dlip_reg.studies.batch_norm.readings import (
    Content,
    both,
    geometric,
    is_finished,
    lines,
    log_ratio_over_probes,
    means_text,
    over_probes,
    series,
    smaller_claim,
)
from dlip_reg.studies.papers.ioffe_fig1 import by_net, columns
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Measurement, Part
from dlip_reg.training.records import Record

ARMS = ("same_rate/plain", "same_rate/bn")
_LONGEST = 4  # of the landscape's steps, in initial learning rates
_LEVELS = 5  # of training loss at which gaps are compared
_RANGES = ("loss_low", "loss_high", "loss_range", "gradient_distance_low",
           "gradient_distance_high", "gradient_distance_range", "effective_beta")  # fmt: skip


def measure_landscape(name: str, text: str, unit: str, runs: Runs) -> Measurement:
    """ln of a landscape measure with batch norm over without, mean over the probes."""
    measured = series("landscape", name)
    means = by_net(runs, "same_rate", over_probes(measured, geometric))
    return Measurement(
        log_ratio_over_probes(runs, "same_rate", measured),
        both(f"geometric mean of the {text}", unit, means),
    )


def measure_independence(runs: Runs) -> Measurement:
    """ln of the relative change of a layer's gradient, with batch norm over without."""
    cosine = by_net(runs, "same_rate", over_probes(series("shift", "shift_cosine"), fmean))
    relative, distance = (
        log_ratio_over_probes(runs, "same_rate", series("shift", name))
        for name in ("shift_relative", "shift_distance")
    )
    return Measurement(
        relative,
        (
            Part("the distance itself, with batch norm over without", LOG_RATIO, distance),
            Part("cosine of the angle without batch norm", "", cosine["plain"]),
            Part("cosine, with batch norm minus without", "", minus(cosine["bn"], cosine["plain"])),
        ),
    )


def measure_noise(runs: Runs) -> Measurement:
    """The gap at matched training loss, with batch norm minus without."""
    pairs = zip(*(runs[arm] for arm in ARMS), strict=True)
    without, with_ = zip(*map(_matched_gaps, pairs), strict=True)
    variance = {
        size: percent(runs.values("same_rate/bn", partial(_relative_variance, size)))
        for size in (8, 32, 256)
    }
    return Measurement(
        minus(with_, without),
        (
            Part("gap without batch norm at the same training losses", NATS, without),
            *(
                Part(f"variance over batches ÷ between examples, batches of {size}", "%", values)
                for size, values in variance.items()
            ),
        ),
    )


def _gap(record: Record) -> list[float]:
    """Validation minus training loss, epoch by epoch."""
    pairs = zip(record.curves.clean_val_loss, record.curves.clean_loss, strict=True)
    return [math.nan if None in pair else pair[0] - pair[1] for pair in pairs]


def _matched_gaps(records: Sequence[Record | None]) -> list[float]:
    """The mean gap of each run at training losses that all went through; NaN without any."""
    finished = all(map(is_finished, records))
    levels = finished and common_levels([r.curves.clean_loss for r in records], _LEVELS)
    if not levels:
        return [math.nan] * len(records)
    return [fmean(at_levels(r.curves.clean_loss, _gap(r), levels)) for r in records]


def _relative_variance(size: int, record: Record) -> float | None:
    rows = [row.relative_variance for row in record.batch_noise if row.batch_size == size]
    return rows[0] if rows else None


def _last_loss(record: Record) -> float | None:
    return record.curves.clean_loss[-1]


def draw_landscape(runs: Runs) -> Content:
    """The three landscape measures through training."""
    from dlip_reg.report import figures
    from dlip_reg.report.numbers import format_constant

    rates = [r.spec.learning_rate for arm in ARMS for r in runs.finished(arm)]
    if not rates:
        return
    curves = lines(runs, "same_rate", lambda r: columns(r.landscape, "step", *_RANGES))
    yield (
        "Both networks start from the same weights, see the same batches in the same order and "
        f"train at the same initial learning rate, {format_constant(rates[0])}: the best one for "
        "the network without batch normalization."
    )
    yield (
        "At any weights but the trained ones the moving statistics are wrong, so everything here "
        "normalizes by the statistics of the fixed batch it is measured on."
    )
    yield (
        "A step of the same length in the weights is not the same step for both networks: only the "
        "direction of a kernel before a batch normalization matters, not its scale, and the larger "
        "the kernel has grown, the less such a step turns it. The two need not be at the same "
        "stage of training at the same step, either: their training losses end at "
        f"{means_text(runs, 'same_rate', _last_loss, 'nats')}."
    )
    yield (
        "landscape",
        figures.landscape_bands(curves),
        "Ranges of loss and gradient along the gradient, with and without batch normalization.",
        "Figure 4 of Santurkar et al. 2018: at each probe the weights move along the gradient by "
        f"0.5 to {_LONGEST} times the initial learning rate and return; as the rate decays to "
        f"{100 * DECAY:g} % of that, the longest step is {_LONGEST / DECAY:.0f} of the last ones. "
        "Above: the lowest and highest value along the way; the narrower the band, the better the "
        "gradient predicts a step. Below: the widths of the bands, and effective beta.",
    )


def draw_independence(runs: Runs) -> Content:
    """The change of a layer's gradient through training."""
    from dlip_reg.report import figures

    panels = {
        "shift_relative": ("change of a layer's gradient ÷ its length", "log"),
        "shift_cosine": ("cosine between the gradient before and after", "linear"),
    }
    curves = lines(runs, "same_rate", lambda r: columns(r.shift, "epoch", *panels))
    figure = figures.through_training(curves, panels)
    cosine = figure.axes[1]
    cosine.set_ylim(max(-1, cosine.get_ylim()[0]), 1.02)
    yield (
        "Internal covariate shift has two definitions. Ioffe & Szegedy mean the distribution of a "
        "layer's inputs. Santurkar et al. 2018 mean what matters for learning: how much a layer's "
        "gradient changes because the layers before it have moved. They found batch normalization "
        "no better, at times worse, in that sense, so that it does not explain its success."
    )
    yield (
        "independence",
        figure,
        "Change of a layer's gradient with the layers before it: distance and cosine.",
        "Definition 2.1 of Santurkar et al. 2018, mean over the layers but the first, for a step "
        "of the initial learning rate. A layer that learns independently of those before it has a "
        "change of 0 and a cosine of 1, where intervals are cut off.",
    )


def draw_noise(runs: Runs) -> Content:
    """The noise by batch size, and the gap against the training loss."""
    from dlip_reg.report import figures

    variance: dict[int, list[float | None]] = {}
    for row in (row for record in runs.finished("same_rate/bn") for row in record.batch_noise):
        variance.setdefault(row.batch_size, []).append(row.relative_variance)
    gaps = lines(
        runs, "same_rate", lambda r: list(zip(r.curves.clean_loss, _gap(r), strict=True))[1:]
    )
    yield (
        "The noise of batch normalization comes from the other examples in the batch; as that of a "
        "mean, it should fall in inverse proportion to the batch size. Whether it regularizes is "
        "measured at equal training losses, because after equally many epochs the two networks "
        "need not have fitted the training images equally well."
    )
    yield (
        "noise",
        figures.batch_noise(variance, gaps),
        "Variance of the noise against batch size; generalization gap against training loss.",
        "Left: how much the inputs of the last hidden activation of a fixed example vary with the "
        "other examples in its batch, drawn at random, relative to how much they vary between "
        "examples. Right: a line for each seed, from the first epoch on; a lower line at the same "
        "training loss is a smaller gap.",
    )


LANDSCAPE = (
    smaller_claim(
        id="bn-landscape",
        sentence="Batch norm reduces the variation of the loss landscape.",
        experiment="Range (max - min) of the loss over steps of 0.5 to 4 initial learning rates "
        "along the gradient, probed through training; log-ratio with batch norm over without, same "
        "network and learning rate (Santurkar et al. 2018, figure 4a).",
        measure=partial(measure_landscape, "loss_range", "range of the loss", "nats"),
        needs=ARMS,
        figures=("landscape",),
    ),
    smaller_claim(
        id="bn-predictiveness",
        sentence="Batch norm improves the predictiveness of gradients.",
        experiment="Range of the L2 distance between the gradient at the weights and at those "
        "moved points; log-ratio with batch norm over without; smaller is better (figure 4b).",
        measure=partial(
            measure_landscape, "gradient_distance_range", "range of the gradient's change", ""
        ),
        needs=ARMS,
        figures=("landscape",),
    ),
    smaller_claim(
        id="bn-beta",
        sentence="Batch norm improves the beta-smoothness.",
        experiment="Effective beta: the largest change of the gradient per distance moved over "
        "those points; log-ratio with batch norm over without; smaller is smoother (figure 4c).",
        measure=partial(measure_landscape, "effective_beta", "effective beta", ""),
        needs=ARMS,
        figures=("landscape",),
    ),
)
INDEPENDENCE = smaller_claim(
    id="bn-independence",
    sentence="With batch norm each layer learns a little more independently of the others.",
    experiment="How far a layer's gradient moves, relative to its length, when the layers before "
    "it take their step on the same batch, mean over layers, probed through training; log-ratio "
    "with batch norm over without (Santurkar et al. 2018, section 2.2).",
    measure=measure_independence,
    needs=ARMS,
    figures=("independence",),
)
NOISE = Claim(
    id="bn-noise",
    sentence="Batch norm adds noise to the activations, which regularizes slightly.",
    experiment="Generalization gap (validation minus training loss) at equal training losses, same "
    "network and learning rate, with batch norm minus without. Also shown: the noise itself, the "
    "variance of a fixed example's activations with the other examples in its batch drawn at "
    "random.",
    unit=NATS,
    direction=-1,
    smallest_effect=0.02,
    smallest_effect_source="as fixed in the first edition: 2 % in the probability of the class",
    measure=measure_noise,
    needs=ARMS,
    figures=("noise",),
)
